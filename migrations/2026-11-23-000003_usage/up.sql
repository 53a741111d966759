-- How often which verdict was given: per minute, hour and day, for each key and for all of a tenant's keys together.

-- Who counts: one row for each start of a process that stored anything. One that was killed is never closed.
CREATE TABLE usage_incarnations (
    id uuid PRIMARY KEY,
    started_at timestamptz NOT NULL,
    last_stored_at timestamptz NOT NULL,
    closed_at timestamptz,
    -- Running totals: offered = stored + dropped.
    offered bigint NOT NULL,
    stored bigint NOT NULL,
    dropped bigint NOT NULL,
    CHECK (offered = stored + dropped)
);

-- Which batches are in the counts already. Written with them, so that a batch sent twice counts once; a process sends
-- only its newest batch again, so the ones before it go.
CREATE TABLE usage_batches (
    incarnation_id uuid NOT NULL REFERENCES usage_incarnations (id),
    number bigint NOT NULL,
    stored_at timestamptz NOT NULL,
    events bigint NOT NULL,
    PRIMARY KEY (incarnation_id, number)
);

-- `key_id` is the nil UUID for the sums over a tenant: among them are the calls about what was no key of the tenant's.
-- There is no foreign key: counting must not wait for a lock on a key, and counts outlive what they count.
CREATE FUNCTION tronch_create_usage_table(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'CREATE TABLE %I ('
        'tenant_id uuid NOT NULL, key_id uuid NOT NULL, at timestamptz NOT NULL, project_id uuid NOT NULL, '
        'environment text COLLATE "C" NOT NULL, code text COLLATE "C" NOT NULL, count bigint NOT NULL CHECK (count > 0), '
        -- Counts grow in place: with room on the page an update touches no index.
        'PRIMARY KEY (tenant_id, key_id, at, project_id, environment, code)) WITH (fillfactor = 70)', name);
    EXECUTE format('CREATE INDEX ON %I USING brin (at)', name);
    PERFORM tronch_isolate_tenants(name::regclass, 'tenant_id');
END
$$;
SELECT tronch_create_usage_table('usage_minutes');
SELECT tronch_create_usage_table('usage_hours');
SELECT tronch_create_usage_table('usage_days');
