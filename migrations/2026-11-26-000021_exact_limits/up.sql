-- Whether several nodes agree on a limit call by call, or each holds a little of it. And the tokens that nodes hold of a bucket.
SET LOCAL lock_timeout = '2s';

ALTER TABLE limits ADD COLUMN is_exact boolean NOT NULL DEFAULT false;
-- By node: how many, and until when, in milliseconds since 1970. Only rows of buckets have it.
ALTER TABLE limit_totals ADD COLUMN held jsonb;
