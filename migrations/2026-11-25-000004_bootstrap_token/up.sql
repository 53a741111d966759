-- The token that `tronch bootstrap` makes for a tenant: repeated, it replaces its own token and touches no other.
ALTER TABLE service_tokens ADD COLUMN bootstrap boolean NOT NULL DEFAULT false;
CREATE UNIQUE INDEX service_tokens_one_bootstrap ON service_tokens (tenant_id) WHERE bootstrap AND revoked_at IS NULL;
