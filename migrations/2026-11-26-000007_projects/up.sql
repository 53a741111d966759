-- A project can be put away once none of its keys works. Its slug stays taken.
ALTER TABLE projects ADD COLUMN archived_at timestamptz;
ALTER TABLE projects ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now();

-- What still works in a project, which keeps it from being archived.
CREATE INDEX keys_working ON keys (tenant_id, project_id, ends_at) WHERE revoked_at IS NULL;

-- The keys that are being rotated, for the list of them.
CREATE INDEX keys_rotated ON keys (tenant_id, created_at DESC, id DESC)
    WHERE successor_id IS NOT NULL AND revoked_at IS NULL;
