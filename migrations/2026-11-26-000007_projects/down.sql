DROP INDEX keys_rotated;
DROP INDEX keys_working;
ALTER TABLE projects DROP COLUMN updated_at;
ALTER TABLE projects DROP COLUMN archived_at;
