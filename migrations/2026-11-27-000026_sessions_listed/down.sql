-- Where sessions were begun and when they were last used is forgotten.
ALTER TABLE sessions DROP COLUMN id, DROP COLUMN user_agent, DROP COLUMN address, DROP COLUMN last_used_at;
