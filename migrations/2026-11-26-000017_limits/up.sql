-- How much may be used: by a key, by all keys of an owner together, or by each key of a project. What was used lies in memory.
SET LOCAL lock_timeout = '2s';

CREATE TABLE limits (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    -- Whose calls count. Of limits with one name a key is held to its own, else to its owner's, else to its project's in its
    -- environment, else to its project's.
    key_id uuid,
    owner_external_id text COLLATE "C",
    project_id uuid,
    environment text COLLATE "C" CHECK (environment IN ('test', 'live')),
    CHECK (num_nonnulls(key_id, owner_external_id, project_id) = 1),
    CHECK (environment IS NULL OR project_id IS NOT NULL),
    name text COLLATE "C" NOT NULL,
    -- The limit of a rotated key that this one goes on counting for; NULL is this one.
    counts_as uuid,
    -- Whether each call is charged to it, or only one that names it.
    is_automatic boolean NOT NULL,
    -- A burst: at most so many at once, of which so many come back in a period.
    capacity bigint CHECK (capacity > 0),
    refill integer CHECK (refill > 0),
    refill_seconds integer CHECK (refill_seconds > 0),
    CHECK (num_nonnulls(capacity, refill, refill_seconds) IN (0, 3)),
    -- A total in a window, which is cut by the clock, slides, or is the calendar's.
    total bigint CHECK (total > 0),
    window_kind text COLLATE "C" CHECK (window_kind IN ('fixed', 'sliding', 'day', 'week', 'month')),
    window_seconds integer CHECK (window_seconds > 0),
    time_zone text COLLATE "C",
    CHECK ((total IS NULL) = (window_kind IS NULL)),
    CHECK ((window_seconds IS NOT NULL) = coalesce(window_kind IN ('fixed', 'sliding'), false)),
    CHECK ((time_zone IS NOT NULL) = coalesce(window_kind IN ('day', 'week', 'month'), false)),
    CHECK (capacity IS NOT NULL OR total IS NOT NULL),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    -- It counts no more. The row stays, so that a removal that is sent twice is answered twice.
    removed_at timestamptz,
    FOREIGN KEY (tenant_id, key_id) REFERENCES keys (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, project_id) REFERENCES projects (tenant_id, id)
);
CREATE UNIQUE INDEX limits_name_unique ON limits (tenant_id, key_id, owner_external_id, project_id, environment, name)
    NULLS NOT DISTINCT WHERE removed_at IS NULL;
CREATE INDEX limits_of_tenant ON limits (tenant_id, created_at, id);
-- For looking up keys of several tenants at once; those that were removed are in nobody's way.
CREATE INDEX limits_of_key ON limits (key_id) WHERE removed_at IS NULL;
CREATE INDEX limits_of_owner ON limits (owner_external_id, tenant_id) WHERE removed_at IS NULL;
CREATE INDEX limits_of_project ON limits (project_id) WHERE removed_at IS NULL;
CREATE INDEX limits_removed ON limits (removed_at) WHERE removed_at IS NOT NULL;
SELECT tronch_isolate_tenants('limits', 'tenant_id');

CREATE FUNCTION tronch_note_limits() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE tenants SET has_limits = true WHERE id = NEW.tenant_id AND NOT has_limits;
    RETURN NEW;
END
$$;
CREATE TRIGGER limits_note BEFORE INSERT ON limits FOR EACH ROW EXECUTE FUNCTION tronch_note_limits();

-- A limit moves to nobody else.
CREATE FUNCTION tronch_refuse_moved_limit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a limit stays where it was set; remove it and set another' USING ERRCODE = 'integrity_constraint_violation';
END
$$;
CREATE TRIGGER limits_stay BEFORE UPDATE ON limits FOR EACH ROW
    WHEN ((OLD.id, OLD.tenant_id, OLD.key_id, OLD.owner_external_id, OLD.project_id, OLD.environment, OLD.counts_as)
        IS DISTINCT FROM
          (NEW.id, NEW.tenant_id, NEW.key_id, NEW.owner_external_id, NEW.project_id, NEW.environment, NEW.counts_as))
    EXECUTE FUNCTION tronch_refuse_moved_limit();

CREATE FUNCTION tronch_log_limit() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed limits := CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
    handle text;
BEGIN
    -- One that was removed before is in nobody's memory.
    IF TG_OP = 'DELETE' AND changed.removed_at IS NOT NULL THEN
        RETURN NULL;
    END IF;
    IF changed.key_id IS NOT NULL THEN
        -- A key that is gone was logged as such.
        SELECT keys.handle INTO handle FROM keys WHERE id = changed.key_id AND tenant_id = changed.tenant_id;
        IF handle IS NOT NULL THEN
            PERFORM tronch_log_change('key', handle);
        END IF;
    ELSIF changed.owner_external_id IS NOT NULL THEN
        PERFORM tronch_log_change('owner', changed.tenant_id || ':' || changed.owner_external_id);
    ELSE
        PERFORM tronch_log_change('project', changed.project_id::text);
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER limits_log_change AFTER INSERT OR UPDATE OR DELETE ON limits DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION tronch_log_limit();
CREATE TRIGGER limits_no_truncate BEFORE TRUNCATE ON limits EXECUTE FUNCTION tronch_refuse_truncate();
