-- People, tenants, what keeps tenants apart, and the audit log.

-- Turns on row security for one tenant table. `tronch.tenant` is set for one transaction by the tenancy module;
-- `tronch.scope` is set at connect by the pools that may cross tenants. After a transaction the first reads '' rather
-- than NULL, hence the nullif.
CREATE FUNCTION tronch_isolate_tenants(target regclass, tenant_column name) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', target);
    EXECUTE format(
        'CREATE POLICY tenant_isolation ON %s USING ('
        '%I = nullif(current_setting(''tronch.tenant'', true), '''')::uuid '
        'OR current_setting(''tronch.scope'', true) = ''system'')', target, tenant_column);
END
$$;

-- The gate refuses typing errors and forgeries before any look-up. It travels with the keys, so it lives here and is
-- made here; four UUIDs of 122 random bits each are condensed to 32 bytes.
CREATE TABLE gate_keys (
    range_from_ms bigint PRIMARY KEY,
    range_until_ms bigint NOT NULL,
    gate_key bytea NOT NULL CHECK (octet_length(gate_key) = 32),
    CHECK (range_from_ms < range_until_ms)
);
INSERT INTO gate_keys (range_from_ms, range_until_ms, gate_key)
VALUES (0, 3521614606208, sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
                              || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())));

-- Which master secrets tags in this database were made with. Only their ids: the secrets stay outside.
CREATE TABLE master_keys (
    id bytea PRIMARY KEY CHECK (octet_length(id) = 8),
    current boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX master_keys_one_current ON master_keys (current) WHERE current;

CREATE TABLE users (
    id uuid PRIMARY KEY,
    email text NOT NULL,
    email_normalized text NOT NULL,
    name text NOT NULL,
    password_phc text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    password_changed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT users_email_unique UNIQUE (email_normalized)
);

CREATE TABLE tenants (
    id uuid PRIMARY KEY,
    slug text COLLATE "C" NOT NULL,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tenants_slug_unique UNIQUE (slug)
);
SELECT tronch_isolate_tenants('tenants', 'id');

CREATE TABLE memberships (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    user_id uuid NOT NULL REFERENCES users (id),
    role text NOT NULL CHECK (role IN ('owner', 'admin', 'developer', 'viewer')),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, user_id)
);
CREATE INDEX memberships_by_user ON memberships (user_id);
SELECT tronch_isolate_tenants('memberships', 'tenant_id');

CREATE TABLE projects (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    slug text COLLATE "C" NOT NULL,
    name text NOT NULL,
    grace_default_seconds integer NOT NULL DEFAULT 86400,
    grace_max_seconds integer NOT NULL DEFAULT 2592000,
    auto_revoke boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT projects_slug_unique UNIQUE (tenant_id, slug),
    CONSTRAINT projects_tenant_and_id UNIQUE (tenant_id, id),
    CHECK (grace_default_seconds BETWEEN 0 AND grace_max_seconds)
);
SELECT tronch_isolate_tenants('projects', 'tenant_id');

-- Browser sessions. The row is found by a hash of the cookie's id, so a copy of this table opens no door.
CREATE TABLE sessions (
    id_hash bytea PRIMARY KEY CHECK (octet_length(id_hash) = 32),
    user_id uuid REFERENCES users (id),
    data text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

-- At most one setup code: it opens the first sign-up and is gone with it.
CREATE TABLE setup_codes (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    code_hash bytea NOT NULL CHECK (octet_length(code_hash) = 32),
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Who changed what, written in the transaction of the change.
CREATE TABLE audit_events (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    occurred_at timestamptz NOT NULL,
    actor_kind text NOT NULL CHECK (actor_kind IN ('member', 'service_token', 'operator')),
    actor_id text NOT NULL,
    actor_name text NOT NULL,
    action text NOT NULL,
    target_kind text NOT NULL,
    target_id text NOT NULL,
    target_name text NOT NULL,
    before jsonb,
    after jsonb,
    reason text,
    address text,
    user_agent text,
    request_id uuid
);
CREATE INDEX audit_events_newest ON audit_events (tenant_id, occurred_at DESC, id DESC);
CREATE INDEX audit_events_by_target ON audit_events (tenant_id, target_id, occurred_at DESC, id DESC);
CREATE INDEX audit_events_by_action ON audit_events (tenant_id, action, occurred_at DESC, id DESC);
CREATE INDEX audit_events_by_actor ON audit_events (tenant_id, actor_id, occurred_at DESC, id DESC);
SELECT tronch_isolate_tenants('audit_events', 'tenant_id');

-- The audit log is appended to and never rewritten.
CREATE FUNCTION tronch_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: its rows are never changed', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;
CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE ON audit_events
    FOR EACH ROW EXECUTE FUNCTION tronch_refuse_change();
