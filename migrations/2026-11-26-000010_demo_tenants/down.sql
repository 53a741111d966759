-- Demo tenants become ordinary ones: they stay, and can no longer be removed. Remove them before, if they are to go.

SET LOCAL lock_timeout = '2s';

CREATE OR REPLACE FUNCTION tronch_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: its rows are never changed', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;

DROP TRIGGER tenants_demo_for_ever ON tenants;
DROP FUNCTION tronch_refuse_demo_change();
ALTER TABLE tenants DROP COLUMN demo;
