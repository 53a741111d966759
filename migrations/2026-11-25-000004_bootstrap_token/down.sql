DROP INDEX service_tokens_one_bootstrap;
ALTER TABLE service_tokens DROP COLUMN bootstrap;
