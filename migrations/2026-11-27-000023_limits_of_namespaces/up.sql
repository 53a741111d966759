-- Limits on what is no key: a service names what kind it is, and whose calls it counts.
SET LOCAL lock_timeout = '2s';

ALTER TABLE limits ADD COLUMN namespace text COLLATE "C";
-- An identifier, or a pattern with one `*`. Of limits with one name the nearest counts.
ALTER TABLE limits ADD COLUMN identifiers text COLLATE "C";
ALTER TABLE limits DROP CONSTRAINT limits_check;
ALTER TABLE limits ADD CONSTRAINT limits_on_one
    CHECK (num_nonnulls(key_id, owner_external_id, project_id, namespace) = 1);
ALTER TABLE limits ADD CONSTRAINT limits_identifiers CHECK ((namespace IS NULL) = (identifiers IS NULL));

DROP INDEX limits_name_unique;
CREATE UNIQUE INDEX limits_name_unique
    ON limits (tenant_id, key_id, owner_external_id, project_id, environment, namespace, identifiers, name)
    NULLS NOT DISTINCT WHERE removed_at IS NULL;
CREATE INDEX limits_of_namespace ON limits (tenant_id, namespace) WHERE removed_at IS NULL AND namespace IS NOT NULL;

-- Keys are not held to them, so nobody has to look for them with a key.
DROP TRIGGER limits_note ON limits;
CREATE TRIGGER limits_note BEFORE INSERT ON limits FOR EACH ROW WHEN (NEW.namespace IS NULL)
    EXECUTE FUNCTION tronch_note_limits();

DROP TRIGGER limits_stay ON limits;
CREATE TRIGGER limits_stay BEFORE UPDATE ON limits FOR EACH ROW
    WHEN ((OLD.id, OLD.tenant_id, OLD.key_id, OLD.owner_external_id, OLD.project_id, OLD.environment, OLD.namespace,
           OLD.identifiers, OLD.counts_as)
        IS DISTINCT FROM
          (NEW.id, NEW.tenant_id, NEW.key_id, NEW.owner_external_id, NEW.project_id, NEW.environment, NEW.namespace,
           NEW.identifiers, NEW.counts_as))
    EXECUTE FUNCTION tronch_refuse_moved_limit();

CREATE FUNCTION tronch_log_limit_of_namespace() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed limits := CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
BEGIN
    -- One that was removed before is in nobody's memory.
    IF TG_OP = 'DELETE' AND changed.removed_at IS NOT NULL THEN
        RETURN NULL;
    END IF;
    PERFORM tronch_log_change('namespace', changed.tenant_id || ':' || changed.namespace);
    RETURN NULL;
END
$$;
DROP TRIGGER limits_log_change ON limits;
CREATE CONSTRAINT TRIGGER limits_log_change AFTER INSERT OR UPDATE ON limits DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.namespace IS NULL) EXECUTE FUNCTION tronch_log_limit();
CREATE CONSTRAINT TRIGGER limits_log_removal AFTER DELETE ON limits DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (OLD.namespace IS NULL) EXECUTE FUNCTION tronch_log_limit();
CREATE CONSTRAINT TRIGGER limits_of_namespaces_log_change AFTER INSERT OR UPDATE ON limits DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.namespace IS NOT NULL) EXECUTE FUNCTION tronch_log_limit_of_namespace();
CREATE CONSTRAINT TRIGGER limits_of_namespaces_log_removal AFTER DELETE ON limits DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (OLD.namespace IS NOT NULL) EXECUTE FUNCTION tronch_log_limit_of_namespace();
