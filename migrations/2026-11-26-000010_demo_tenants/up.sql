-- A demo tenant may be removed with everything of it, its audit log included; any other tenant's log is kept for ever.

SET LOCAL lock_timeout = '2s';

ALTER TABLE tenants ADD COLUMN demo boolean NOT NULL DEFAULT false;

-- Whether a tenant is a demo is settled when it is made: were it not, the log of a real one could be deleted after all.
CREATE FUNCTION tronch_refuse_demo_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: whether a tenant is a demo never changes', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;
CREATE TRIGGER tenants_demo_for_ever BEFORE UPDATE ON tenants
    FOR EACH ROW WHEN (OLD.demo IS DISTINCT FROM NEW.demo) EXECUTE FUNCTION tronch_refuse_demo_change();

CREATE OR REPLACE FUNCTION tronch_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('tronch.scope', true) = 'system' THEN
        IF EXISTS (SELECT FROM tenants WHERE id = OLD.tenant_id AND demo) THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION '% on % is refused: its rows are never changed', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;
