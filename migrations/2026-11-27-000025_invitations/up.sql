-- Who is asked into a tenant, and as what. The link that takes somebody in is stored as a hash, so a copy of this table opens no door.
SET LOCAL lock_timeout = '2s';

CREATE TABLE invitations (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    email text NOT NULL,
    email_normalized text NOT NULL,
    role text COLLATE "C" NOT NULL CHECK (role IN ('owner', 'admin', 'developer', 'viewer')),
    -- Of the newest link; none until one was made.
    token_hash bytea CHECK (octet_length(token_hash) = 32),
    invited_by text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    -- At most one of the two: it was used, or taken back.
    accepted_at timestamptz,
    revoked_at timestamptz,
    CHECK (accepted_at IS NULL OR revoked_at IS NULL),
    CONSTRAINT invitations_tenant_and_id UNIQUE (tenant_id, id)
);
CREATE UNIQUE INDEX invitations_open ON invitations (tenant_id, email_normalized)
    WHERE accepted_at IS NULL AND revoked_at IS NULL;
CREATE UNIQUE INDEX invitations_token ON invitations (token_hash);
SELECT tronch_isolate_tenants('invitations', 'tenant_id');
