-- A tenant that its owner has deleted: nobody and no service comes in any more, and a week later it is removed with all of its rows.
SET LOCAL lock_timeout = '2s';

ALTER TABLE tenants ADD COLUMN deleted_at timestamptz;
CREATE INDEX tenants_deleted ON tenants (deleted_at) WHERE deleted_at IS NOT NULL;

-- Service tokens are let in or not by it.
DROP TRIGGER tenants_log_change ON tenants;
CREATE CONSTRAINT TRIGGER tenants_log_change AFTER UPDATE ON tenants DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN ((OLD.id, OLD.slug, OLD.offline_lease_seconds, OLD.deleted_at)
        IS DISTINCT FROM (NEW.id, NEW.slug, NEW.offline_lease_seconds, NEW.deleted_at))
    EXECUTE FUNCTION tronch_log_tenant();

-- The log of a tenant goes with it, and not before.
CREATE OR REPLACE FUNCTION tronch_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('tronch.scope', true) = 'system' THEN
        IF EXISTS (SELECT FROM tenants WHERE id = OLD.tenant_id
                   AND (demo OR deleted_at <= now() - interval '7 days')) THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION '% on % is refused: its rows are never changed', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;
