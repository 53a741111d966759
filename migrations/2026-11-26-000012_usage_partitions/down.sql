SELECT tronch_roll_up_usage(at) FROM (SELECT DISTINCT at FROM usage_hours_due) AS due;

CREATE OR REPLACE FUNCTION pg_temp.move_back(parent_name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TEMP TABLE usage_kept AS SELECT * FROM %I', parent_name);
    EXECUTE format('DROP TABLE %I', parent_name);
    PERFORM tronch_create_usage_table(parent_name);
    EXECUTE format('INSERT INTO %I SELECT * FROM usage_kept', parent_name);
    DROP TABLE usage_kept;
END
$$;
SELECT pg_temp.move_back('usage_minutes');
SELECT pg_temp.move_back('usage_hours');
SELECT pg_temp.move_back('usage_days');

DROP FUNCTION tronch_roll_up_usage(timestamptz);
DROP FUNCTION tronch_drop_old_usage(text, timestamptz);
DROP FUNCTION tronch_make_usage_partition(text, timestamptz);
DROP TABLE usage_hours_due, usage_partitions;
