-- Tenants that were deleted and are not removed yet are open again.
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
DROP TRIGGER tenants_log_change ON tenants;
CREATE CONSTRAINT TRIGGER tenants_log_change AFTER UPDATE ON tenants DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN ((OLD.id, OLD.slug, OLD.offline_lease_seconds) IS DISTINCT FROM (NEW.id, NEW.slug, NEW.offline_lease_seconds))
    EXECUTE FUNCTION tronch_log_tenant();
ALTER TABLE tenants DROP COLUMN deleted_at;
