-- Keys that tenants hand to their customers, and the service tokens their services call us with.

-- Every handle ever given out. It is reserved here before its secret is hashed, and stays when its key is purged, so that
-- a revoked key never becomes an unknown one. A handle is public and belongs to no tenant by itself.
CREATE TABLE key_handles (
    handle text COLLATE "C" PRIMARY KEY CHECK (length(handle) = 11)
);
CREATE TABLE service_token_handles (
    handle text COLLATE "C" PRIMARY KEY CHECK (length(handle) = 11)
);

CREATE TABLE keys (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    project_id uuid NOT NULL,
    environment text COLLATE "C" NOT NULL CHECK (environment IN ('test', 'live')),
    handle text COLLATE "C" NOT NULL REFERENCES key_handles (handle),
    name text NOT NULL,
    -- What the list is ordered and searched by. Byte order: row security lets an index be used only with operators that
    -- leak nothing about other tenants' rows, and comparing bytes is one.
    name_folded text COLLATE "C" NOT NULL GENERATED ALWAYS AS (lower(name)) STORED,
    owner_external_id text COLLATE "C",
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
    -- The earlier of the two ends; lists order and filter by it.
    ends_at timestamptz NOT NULL
        GENERATED ALWAYS AS (coalesce(least(expires_at, grace_ends_at), 'infinity'::timestamptz)) STORED,
    used_at timestamptz NOT NULL GENERATED ALWAYS AS (coalesce(last_used_at, '-infinity'::timestamptz)) STORED,
    CONSTRAINT keys_handle_unique UNIQUE (handle),
    CONSTRAINT keys_tenant_and_id UNIQUE (tenant_id, id),
    CONSTRAINT keys_one_successor UNIQUE (tenant_id, predecessor_id),
    FOREIGN KEY (tenant_id, project_id) REFERENCES projects (tenant_id, id),
    FOREIGN KEY (tenant_id, predecessor_id) REFERENCES keys (tenant_id, id),
    FOREIGN KEY (tenant_id, successor_id) REFERENCES keys (tenant_id, id) DEFERRABLE INITIALLY DEFERRED
);
SELECT tronch_isolate_tenants('keys', 'tenant_id');

-- One index for each order and each filter the list offers; the id makes every order total, so pages never overlap. The
-- first two carry what a search looks at, so that a search reads no row that it does not show.
CREATE INDEX keys_newest ON keys (tenant_id, created_at DESC, id DESC) INCLUDE (name_folded, owner_external_id);
CREATE INDEX keys_by_name ON keys (tenant_id, name_folded, id) INCLUDE (owner_external_id);
CREATE INDEX keys_by_use ON keys (tenant_id, used_at DESC, id DESC);
CREATE INDEX keys_by_end ON keys (tenant_id, ends_at, id);
CREATE INDEX keys_by_environment ON keys (tenant_id, environment, created_at DESC, id DESC);
CREATE INDEX keys_by_project ON keys (tenant_id, project_id, created_at DESC, id DESC);
CREATE INDEX keys_by_owner ON keys (tenant_id, owner_external_id, created_at DESC, id DESC)
    WHERE owner_external_id IS NOT NULL;
CREATE INDEX keys_revoked ON keys (tenant_id, created_at DESC, id DESC) WHERE revoked_at IS NOT NULL;
CREATE INDEX keys_disabled ON keys (tenant_id, created_at DESC, id DESC)
    WHERE disabled_at IS NOT NULL AND revoked_at IS NULL;

CREATE TABLE service_tokens (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    project_id uuid,
    environment text COLLATE "C" CHECK (environment IN ('test', 'live')),
    handle text COLLATE "C" NOT NULL REFERENCES service_token_handles (handle),
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
