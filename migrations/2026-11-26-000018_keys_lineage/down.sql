ALTER TABLE keys DROP COLUMN lineage_id;
