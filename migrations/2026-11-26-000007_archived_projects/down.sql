-- Archived projects are open again, and when a project was last changed is lost.
SET LOCAL lock_timeout = '2s';
ALTER TABLE projects DROP COLUMN updated_at;
ALTER TABLE projects DROP COLUMN archived_at;
