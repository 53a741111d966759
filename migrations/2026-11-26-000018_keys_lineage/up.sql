-- The key that a key's rotations began with; NULL is the key itself. Keys of one line share what is used of their limits, or each
-- rotation would hand out all of it anew.
SET LOCAL lock_timeout = '2s';

ALTER TABLE keys ADD COLUMN lineage_id uuid;
