-- Mails that wait are not sent.
ALTER TABLE invitations DROP COLUMN mail_due_at, DROP COLUMN mail_attempts, DROP COLUMN mail_error, DROP COLUMN mail_sent_at;
