-- A project can be put away once none of its keys works. Its slug stays taken.
SET LOCAL lock_timeout = '2s';
ALTER TABLE projects ADD COLUMN archived_at timestamptz;
ALTER TABLE projects ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now();
