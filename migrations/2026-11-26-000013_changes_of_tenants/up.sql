-- Whoever waits until all processes know a change asks whether its tenant was changed lately. Such changes are few among
-- many, so they have an index of their own.
SET LOCAL lock_timeout = '2s';
CREATE INDEX change_log_tenants ON change_log (subject, logged_at) WHERE kind = 'tenant';
