-- Keys that tenants hand to their customers, and the service tokens their services call us with.

CREATE TABLE keys (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    project_id uuid NOT NULL,
    environment text COLLATE "C" NOT NULL CHECK (environment IN ('test', 'live')),
    handle text COLLATE "C" NOT NULL CHECK (length(handle) = 11),
    name text NOT NULL,
    owner_external_id text,
    metadata jsonb NOT NULL DEFAULT '{}',
    permissions text[] NOT NULL DEFAULT '{}',
    kdf_phc text NOT NULL,
    tag bytea NOT NULL CHECK (octet_length(tag) = 32),
    tag_key bytea NOT NULL CHECK (octet_length(tag_key) = 8),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    expires_at timestamptz,
    disabled_at timestamptz,
    revoked_at timestamptz,
    revoke_reason text,
    grace_ends_at timestamptz,
    predecessor_id uuid,
    successor_id uuid,
    last_used_at timestamptz,
    CONSTRAINT keys_handle_unique UNIQUE (handle),
    CONSTRAINT keys_tenant_and_id UNIQUE (tenant_id, id),
    CONSTRAINT keys_one_successor UNIQUE (tenant_id, predecessor_id),
    FOREIGN KEY (tenant_id, project_id) REFERENCES projects (tenant_id, id),
    FOREIGN KEY (tenant_id, predecessor_id) REFERENCES keys (tenant_id, id),
    FOREIGN KEY (tenant_id, successor_id) REFERENCES keys (tenant_id, id) DEFERRABLE INITIALLY DEFERRED
);
SELECT tronch_isolate_tenants('keys', 'tenant_id');

-- One index for each order and each filter the list offers; the id makes every order total, so pages never overlap.
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE INDEX keys_newest ON keys (tenant_id, project_id, created_at DESC, id DESC);
CREATE INDEX keys_by_name ON keys (tenant_id, project_id, lower(name), id);
CREATE INDEX keys_by_last_use ON keys (tenant_id, project_id, coalesce(last_used_at, '-infinity') DESC, id DESC);
CREATE INDEX keys_by_expiry ON keys (tenant_id, project_id, coalesce(expires_at, 'infinity'), id);
CREATE INDEX keys_by_environment ON keys (tenant_id, project_id, environment, created_at DESC, id DESC);
CREATE INDEX keys_by_owner ON keys (tenant_id, owner_external_id, created_at DESC, id DESC)
    WHERE owner_external_id IS NOT NULL;
CREATE INDEX keys_revoked ON keys (tenant_id, project_id, created_at DESC, id DESC) WHERE revoked_at IS NOT NULL;
CREATE INDEX keys_disabled ON keys (tenant_id, project_id, created_at DESC, id DESC) WHERE disabled_at IS NOT NULL;
CREATE INDEX keys_search ON keys USING gin (name gin_trgm_ops);

CREATE TABLE service_tokens (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    project_id uuid,
    environment text COLLATE "C" CHECK (environment IN ('test', 'live')),
    handle text COLLATE "C" NOT NULL CHECK (length(handle) = 11),
    name text NOT NULL,
    permissions text[] NOT NULL,
    kdf_phc text NOT NULL,
    tag bytea NOT NULL CHECK (octet_length(tag) = 32),
    tag_key bytea NOT NULL CHECK (octet_length(tag_key) = 8),
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    CONSTRAINT service_tokens_handle_unique UNIQUE (handle),
    CONSTRAINT service_tokens_tenant_and_id UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, project_id) REFERENCES projects (tenant_id, id)
);
CREATE INDEX service_tokens_newest ON service_tokens (tenant_id, created_at DESC, id DESC);
SELECT tronch_isolate_tenants('service_tokens', 'tenant_id');
