-- Wrong passwords since somebody was last signed in: whoever signs in is told.
SET LOCAL lock_timeout = '2s';

ALTER TABLE users ADD COLUMN failed_sign_ins bigint NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN last_failed_at timestamptz;
