-- Limits of namespaces are lost.
DROP TRIGGER limits_of_namespaces_log_removal ON limits;
DROP TRIGGER limits_of_namespaces_log_change ON limits;
DROP TRIGGER limits_log_removal ON limits;
DROP TRIGGER limits_log_change ON limits;
DROP FUNCTION tronch_log_limit_of_namespace();
DROP TRIGGER limits_stay ON limits;
DROP TRIGGER limits_note ON limits;
DELETE FROM limits WHERE namespace IS NOT NULL;
DROP INDEX limits_of_namespace;
DROP INDEX limits_name_unique;
ALTER TABLE limits DROP CONSTRAINT limits_on_one;
ALTER TABLE limits DROP COLUMN identifiers, DROP COLUMN namespace;
ALTER TABLE limits ADD CONSTRAINT limits_check CHECK (num_nonnulls(key_id, owner_external_id, project_id) = 1);
CREATE UNIQUE INDEX limits_name_unique ON limits (tenant_id, key_id, owner_external_id, project_id, environment, name)
    NULLS NOT DISTINCT WHERE removed_at IS NULL;
CREATE TRIGGER limits_note BEFORE INSERT ON limits FOR EACH ROW EXECUTE FUNCTION tronch_note_limits();
CREATE TRIGGER limits_stay BEFORE UPDATE ON limits FOR EACH ROW
    WHEN ((OLD.id, OLD.tenant_id, OLD.key_id, OLD.owner_external_id, OLD.project_id, OLD.environment, OLD.counts_as)
        IS DISTINCT FROM
          (NEW.id, NEW.tenant_id, NEW.key_id, NEW.owner_external_id, NEW.project_id, NEW.environment, NEW.counts_as))
    EXECUTE FUNCTION tronch_refuse_moved_limit();
CREATE CONSTRAINT TRIGGER limits_log_change AFTER INSERT OR UPDATE OR DELETE ON limits DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION tronch_log_limit();
