ALTER TABLE limit_totals DROP COLUMN held;
ALTER TABLE limits DROP COLUMN is_exact;
