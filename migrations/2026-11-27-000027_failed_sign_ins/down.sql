-- How often sign-in failed is forgotten; the audit log keeps what it was told.
ALTER TABLE users DROP COLUMN last_failed_at, DROP COLUMN failed_sign_ins;
