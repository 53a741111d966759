-- Sessions that people can tell apart, and that end when nobody uses them.
SET LOCAL lock_timeout = '2s';

-- What addresses name: the row is found by a hash of the cookie's id, which nobody is shown. The table is small.
ALTER TABLE sessions ADD COLUMN id uuid NOT NULL DEFAULT gen_random_uuid();
ALTER TABLE sessions ADD COLUMN user_agent text;
ALTER TABLE sessions ADD COLUMN address text;
-- To the minute.
ALTER TABLE sessions ADD COLUMN last_used_at timestamptz NOT NULL DEFAULT now();
CREATE UNIQUE INDEX sessions_id ON sessions (id);
