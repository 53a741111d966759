-- Somebody forgot their password. Whether the address is an account's is not asked before the mail is sent, so that nobody learns it by
-- how long asking takes.
SET LOCAL lock_timeout = '2s';

CREATE TABLE password_resets (
    id uuid PRIMARY KEY,
    email_normalized text NOT NULL,
    -- Of the newest link; none until the mail is made.
    token_hash bytea CHECK (octet_length(token_hash) = 32),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    mail_due_at timestamptz,
    mail_attempts integer NOT NULL DEFAULT 0,
    mail_error text,
    mail_sent_at timestamptz
);
CREATE UNIQUE INDEX password_resets_token ON password_resets (token_hash);
CREATE INDEX password_resets_by_address ON password_resets (email_normalized);
CREATE INDEX password_resets_by_end ON password_resets (expires_at);
CREATE INDEX password_resets_mail_due ON password_resets (mail_due_at) WHERE mail_due_at IS NOT NULL;
