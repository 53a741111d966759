-- Writes that are sent again are done again.
SET LOCAL lock_timeout = '2s';
DROP TABLE idempotency_keys;
