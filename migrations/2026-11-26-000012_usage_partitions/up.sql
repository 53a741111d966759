-- Usage in partitions, so that what is too old goes with a DROP; and counts of hours and days that are added up from the
-- minutes afterwards, so that a batch writes each of its counts once and not three times.
SET LOCAL lock_timeout = '2s';

-- Which partitions there are: minutes by the day, hours by the month, days by the year, all in UTC.
CREATE TABLE usage_partitions (
    name text COLLATE "C" PRIMARY KEY,
    parent text COLLATE "C" NOT NULL CHECK (parent IN ('usage_minutes', 'usage_hours', 'usage_days')),
    from_at timestamptz NOT NULL,
    until_at timestamptz NOT NULL,
    UNIQUE (parent, from_at),
    CHECK (from_at < until_at)
);

-- Makes the partition that holds a time, unless it is there. It locks only what is new, so counting goes on beside it.
CREATE FUNCTION tronch_make_usage_partition(parent_name text, held timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    unit text := CASE parent_name WHEN 'usage_minutes' THEN 'day' WHEN 'usage_hours' THEN 'month' ELSE 'year' END;
    first timestamp := date_trunc(unit, held AT TIME ZONE 'UTC');
    starts timestamptz := first AT TIME ZONE 'UTC';
    ends timestamptz := (first + ('1 ' || unit)::interval) AT TIME ZONE 'UTC';
    name text := format('%s_%s', parent_name, to_char(first, 'YYYYMMDD'));
BEGIN
    IF EXISTS (SELECT FROM usage_partitions WHERE parent = parent_name AND from_at = starts) THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('tronch usage partitions'));
    INSERT INTO usage_partitions (name, parent, from_at, until_at) VALUES (name, parent_name, starts, ends)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    -- Counts grow in place: with room on the page an update touches no index.
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING CONSTRAINTS, PRIMARY KEY '
        '(tenant_id, key_id, at, project_id, environment, code)) WITH (fillfactor = 70)', name, parent_name);
    PERFORM tronch_isolate_tenants(name::regclass, 'tenant_id');
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent_name, name, starts, ends);
END
$$;

-- Removes partitions that hold nothing newer, and no minutes that are still to be added up. Gives how many.
CREATE FUNCTION tronch_drop_old_usage(parent_name text, before timestamptz) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    old text;
    gone bigint := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('tronch usage partitions'));
    FOR old IN DELETE FROM usage_partitions WHERE parent = parent_name AND until_at <= before
        AND (parent_name <> 'usage_minutes'
             OR NOT EXISTS (SELECT FROM usage_hours_due WHERE at >= from_at AND at < until_at)) RETURNING name LOOP
        EXECUTE format('DROP TABLE %I', old);
        gone := gone + 1;
    END LOOP;
    RETURN gone;
END
$$;

-- Hours with counts in their minutes that the hour does not have yet. A row for each process that counts, so that they do
-- not wait for one another.
CREATE TABLE usage_hours_due (
    at timestamptz NOT NULL,
    incarnation_id uuid NOT NULL,
    batches bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (at, incarnation_id)
) WITH (fillfactor = 50);

-- Adds an hour up from its minutes, and its day by what the hour has grown: also a second time, when counts came late.
-- An hour never shrinks, for its oldest minutes may be gone already.
CREATE FUNCTION tronch_roll_up_usage(hour timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- First: a batch whose mark is taken away here is whole, and the next statement sees it. One that is still being
    -- stored leaves a mark of its own, and the hour is added up again.
    DELETE FROM usage_hours_due WHERE at = hour;
    WITH minutes AS MATERIALIZED (
        SELECT tenant_id, key_id, project_id, environment, code, sum(count)::bigint AS count
        FROM usage_minutes WHERE at >= hour AND at < hour + interval '1 hour' GROUP BY 1, 2, 3, 4, 5
    ), grown AS MATERIALIZED (
        SELECT tenant_id, key_id, project_id, environment, code, minutes.count - coalesce(before.count, 0) AS count
        FROM minutes LEFT JOIN (SELECT * FROM usage_hours WHERE at = hour) AS before
        USING (tenant_id, key_id, project_id, environment, code)
        WHERE minutes.count > coalesce(before.count, 0)
    ), hours AS (
        INSERT INTO usage_hours AS stored (tenant_id, key_id, at, project_id, environment, code, count)
        SELECT tenant_id, key_id, hour, project_id, environment, code, count FROM grown ORDER BY 1, 2, 3, 4, 5, 6
        ON CONFLICT (tenant_id, key_id, at, project_id, environment, code)
        DO UPDATE SET count = stored.count + excluded.count
    )
    INSERT INTO usage_days AS stored (tenant_id, key_id, at, project_id, environment, code, count)
    SELECT tenant_id, key_id, date_trunc('day', hour, 'UTC'), project_id, environment, code, count FROM grown
    ORDER BY 1, 2, 3, 4, 5, 6
    ON CONFLICT (tenant_id, key_id, at, project_id, environment, code)
    DO UPDATE SET count = stored.count + excluded.count;
END
$$;

-- What was counted so far moves over. No release has had these tables, so they are small.
CREATE OR REPLACE FUNCTION pg_temp.move(parent_name text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    held timestamptz;
BEGIN
    EXECUTE format('ALTER TABLE %I RENAME TO usage_before', parent_name);
    EXECUTE format('ALTER INDEX %I RENAME TO usage_before_pkey', parent_name || '_pkey');
    EXECUTE format('CREATE TABLE %I (LIKE usage_before INCLUDING CONSTRAINTS, PRIMARY KEY '
        '(tenant_id, key_id, at, project_id, environment, code)) PARTITION BY RANGE (at)', parent_name);
    PERFORM tronch_isolate_tenants(parent_name::regclass, 'tenant_id');
    FOR held IN SELECT DISTINCT date_trunc('day', at, 'UTC') FROM usage_before
        UNION SELECT now() UNION SELECT now() + interval '1 day' LOOP
        PERFORM tronch_make_usage_partition(parent_name, held);
    END LOOP;
    EXECUTE format('INSERT INTO %I SELECT * FROM usage_before', parent_name);
    DROP TABLE usage_before;
END
$$;
SELECT pg_temp.move('usage_minutes');
SELECT pg_temp.move('usage_hours');
SELECT pg_temp.move('usage_days');
