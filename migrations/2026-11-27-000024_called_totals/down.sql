-- What was used of limits of namespaces is forgotten.
DELETE FROM limit_totals WHERE identifier IS NOT NULL;
ALTER TABLE limit_totals DROP COLUMN identifier;
