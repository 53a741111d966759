ALTER TABLE tenants DROP COLUMN latest_key_cutoff;
