ALTER TABLE service_tokens DROP COLUMN successor_id;
