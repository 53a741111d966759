-- What still works in a project, which keeps it from being archived.
SET LOCAL lock_timeout = '2s';
CREATE INDEX IF NOT EXISTS keys_working ON keys (tenant_id, project_id, ends_at) WHERE revoked_at IS NULL;
