-- Whether a tenant has ever set a limit: who looks up the keys of one that has not need not look for limits.
SET LOCAL lock_timeout = '2s';

ALTER TABLE tenants ADD COLUMN has_limits boolean NOT NULL DEFAULT false;
