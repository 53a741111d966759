DROP TABLE usage_days, usage_hours, usage_minutes;
DROP FUNCTION tronch_create_usage_table(text);
DROP TABLE usage_batches, usage_incarnations;
