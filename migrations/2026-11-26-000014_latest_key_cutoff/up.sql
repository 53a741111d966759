-- The latest time before which any of a tenant's keys were revoked together: whoever reads a younger key looks no further.
SET LOCAL lock_timeout = '2s';
ALTER TABLE tenants ADD COLUMN latest_key_cutoff timestamptz;
