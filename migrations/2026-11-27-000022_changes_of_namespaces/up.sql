-- What services limit that is no key is remembered, too, and has to be forgotten when it changes. A process that does not know the
-- kind forgets everything.
SET LOCAL lock_timeout = '2s';

ALTER TABLE change_log DROP CONSTRAINT change_log_kind_check;
ALTER TABLE change_log ADD CONSTRAINT change_log_kind_check
    CHECK (kind IN ('key', 'token', 'project', 'owner', 'tenant', 'projects', 'namespace'));
