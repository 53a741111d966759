-- Changes of limits in namespaces are lost with them.
DELETE FROM change_log WHERE kind = 'namespace';
ALTER TABLE change_log DROP CONSTRAINT change_log_kind_check;
ALTER TABLE change_log ADD CONSTRAINT change_log_kind_check
    CHECK (kind IN ('key', 'token', 'project', 'owner', 'tenant', 'projects'));
