-- What changed about keys and tokens, in the order of the commits, so that every process can answer from memory and knows
-- when it may not. Triggers write it: no verb, import or psql session can forget to.
SET LOCAL lock_timeout = '2s';

-- The number of the last change. Whoever changes something takes the next one while it commits and holds this row until it
-- has: a number that is seen is committed, and so is every lower one. A sequence would not do: of two transactions the one
-- with the lower number may commit later, and whoever had read past it would never see it.
CREATE TABLE change_log_head (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    n bigint NOT NULL,
    -- Rows up to this number were removed.
    pruned bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10);
INSERT INTO change_log_head (n) VALUES (0);

CREATE TABLE change_log (
    n bigint NOT NULL,
    -- What is no longer as it was: a key or token by its handle; everything of a project, an owner or a tenant; or which
    -- projects a tenant has.
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('key', 'token', 'project', 'owner', 'tenant', 'projects')),
    subject text COLLATE "C" NOT NULL,
    logged_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (n, kind, subject)
);

-- Called while a transaction commits, so that the head is held for as short as can be. One number a transaction.
CREATE FUNCTION tronch_log_change(changed_kind text, changed_subject text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    noted text := coalesce(current_setting('tronch.change', true), '');
    transaction_id text := pg_current_xact_id()::text;
    number bigint;
BEGIN
    IF split_part(noted, ':', 1) = transaction_id THEN
        number := split_part(noted, ':', 2)::bigint;
    ELSE
        UPDATE change_log_head SET n = n + 1 RETURNING n INTO number;
        PERFORM set_config('tronch.change', transaction_id || ':' || number, true);
        -- A full queue would fail the commit. Without the word processes look by themselves, only later.
        IF pg_notification_queue_usage() < 0.5 THEN
            PERFORM pg_notify('tronch_changes', number::text);
        END IF;
    END IF;
    INSERT INTO change_log (n, kind, subject) VALUES (number, changed_kind, changed_subject) ON CONFLICT DO NOTHING;
END
$$;

-- When a key or token was made, in Unix milliseconds: the first eight characters of its handle, in base 62.
CREATE FUNCTION tronch_handle_ms(handle text) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT sum((strpos('0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz', substr(handle, place, 1)) - 1)
        * (62::numeric ^ (8 - place)))::bigint
    FROM generate_series(1, 8) AS place
$$;

-- A fresh handle is in nobody's memory as absent: none is remembered so that was made within ten minutes of now. So only
-- what looks older is a change, such as an import.
CREATE FUNCTION tronch_may_be_known_as_absent(handle text) RETURNS boolean LANGUAGE sql VOLATILE AS $$
    SELECT abs(tronch_handle_ms(handle) - extract(epoch FROM clock_timestamp()) * 1000) > 9 * 60 * 1000
$$;

CREATE FUNCTION tronch_log_credential() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM tronch_log_change(TG_ARGV[0], OLD.handle);
    ELSE
        PERFORM tronch_log_change(TG_ARGV[0], NEW.handle);
    END IF;
    RETURN NULL;
END
$$;

-- Every column but those that no answer depends on; `server/tests/it/schema_rules.rs` knows both lists.
CREATE CONSTRAINT TRIGGER keys_log_change AFTER UPDATE ON keys DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN ((OLD.id, OLD.tenant_id, OLD.project_id, OLD.environment, OLD.handle, OLD.name, OLD.owner_external_id, OLD.metadata,
           OLD.permissions, OLD.tag, OLD.tag_key, OLD.created_at, OLD.expires_at, OLD.disabled_at, OLD.revoked_at,
           OLD.grace_ends_at, OLD.predecessor_id, OLD.successor_id)
        IS DISTINCT FROM
          (NEW.id, NEW.tenant_id, NEW.project_id, NEW.environment, NEW.handle, NEW.name, NEW.owner_external_id, NEW.metadata,
           NEW.permissions, NEW.tag, NEW.tag_key, NEW.created_at, NEW.expires_at, NEW.disabled_at, NEW.revoked_at,
           NEW.grace_ends_at, NEW.predecessor_id, NEW.successor_id))
    EXECUTE FUNCTION tronch_log_credential('key');
CREATE CONSTRAINT TRIGGER keys_log_removal AFTER DELETE ON keys DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    EXECUTE FUNCTION tronch_log_credential('key');
CREATE CONSTRAINT TRIGGER keys_log_import AFTER INSERT ON keys DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (tronch_may_be_known_as_absent(NEW.handle)) EXECUTE FUNCTION tronch_log_credential('key');

CREATE CONSTRAINT TRIGGER service_tokens_log_change AFTER UPDATE ON service_tokens DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW
    WHEN ((OLD.id, OLD.tenant_id, OLD.project_id, OLD.environment, OLD.handle, OLD.name, OLD.permissions, OLD.tag,
           OLD.tag_key, OLD.created_at, OLD.expires_at, OLD.revoked_at)
        IS DISTINCT FROM
          (NEW.id, NEW.tenant_id, NEW.project_id, NEW.environment, NEW.handle, NEW.name, NEW.permissions, NEW.tag,
           NEW.tag_key, NEW.created_at, NEW.expires_at, NEW.revoked_at))
    EXECUTE FUNCTION tronch_log_credential('token');
CREATE CONSTRAINT TRIGGER service_tokens_log_removal AFTER DELETE ON service_tokens DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION tronch_log_credential('token');
CREATE CONSTRAINT TRIGGER service_tokens_log_import AFTER INSERT ON service_tokens DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (tronch_may_be_known_as_absent(NEW.handle)) EXECUTE FUNCTION tronch_log_credential('token');

-- Answers name the project. Whether a tenant has one project or several decides what must be asked for.
CREATE FUNCTION tronch_log_project() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM tronch_log_change('project', OLD.id::text);
    END IF;
    PERFORM tronch_log_change('projects', CASE TG_OP WHEN 'DELETE' THEN OLD.tenant_id ELSE NEW.tenant_id END::text);
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER projects_log_change AFTER UPDATE ON projects DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN ((OLD.id, OLD.tenant_id, OLD.slug, OLD.archived_at) IS DISTINCT FROM (NEW.id, NEW.tenant_id, NEW.slug, NEW.archived_at))
    EXECUTE FUNCTION tronch_log_project();
CREATE CONSTRAINT TRIGGER projects_log_others AFTER INSERT OR DELETE ON projects DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION tronch_log_project();

-- For how long a tenant's keys are answered from memory while Postgres is out of reach.
ALTER TABLE tenants ADD COLUMN offline_lease_seconds integer NOT NULL DEFAULT 30
    CHECK (offline_lease_seconds BETWEEN 0 AND 300);

CREATE FUNCTION tronch_log_tenant() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tronch_log_change('tenant', OLD.id::text);
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER tenants_log_change AFTER UPDATE ON tenants DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN ((OLD.id, OLD.slug, OLD.offline_lease_seconds) IS DISTINCT FROM (NEW.id, NEW.slug, NEW.offline_lease_seconds))
    EXECUTE FUNCTION tronch_log_tenant();
CREATE CONSTRAINT TRIGGER tenants_log_removal AFTER DELETE ON tenants DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    EXECUTE FUNCTION tronch_log_tenant();

-- TRUNCATE runs no row's trigger, so nobody would hear of it.
CREATE FUNCTION tronch_refuse_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'TRUNCATE of % is refused: running processes would go on with what they remember; use DELETE', TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;
CREATE TRIGGER keys_no_truncate BEFORE TRUNCATE ON keys EXECUTE FUNCTION tronch_refuse_truncate();
CREATE TRIGGER service_tokens_no_truncate BEFORE TRUNCATE ON service_tokens EXECUTE FUNCTION tronch_refuse_truncate();
CREATE TRIGGER projects_no_truncate BEFORE TRUNCATE ON projects EXECUTE FUNCTION tronch_refuse_truncate();
CREATE TRIGGER tenants_no_truncate BEFORE TRUNCATE ON tenants EXECUTE FUNCTION tronch_refuse_truncate();

-- The processes that answer validations: one row for each start, written with every renewal of its lease.
CREATE TABLE nodes (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    version text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    renewed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Every change up to this number is taken in.
    applied bigint NOT NULL,
    -- Ids of the master secrets it has.
    master_ids bytea[] NOT NULL
) WITH (fillfactor = 10);
