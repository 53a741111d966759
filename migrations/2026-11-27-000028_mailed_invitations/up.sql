-- Invitations that go by mail. The link is made when the mail is, so that none waits here to be read.
SET LOCAL lock_timeout = '2s';

-- When it is to be tried next; none where nobody waits for a mail.
ALTER TABLE invitations ADD COLUMN mail_due_at timestamptz;
ALTER TABLE invitations ADD COLUMN mail_attempts integer NOT NULL DEFAULT 0;
ALTER TABLE invitations ADD COLUMN mail_error text;
ALTER TABLE invitations ADD COLUMN mail_sent_at timestamptz;
CREATE INDEX invitations_mail_due ON invitations (mail_due_at) WHERE mail_due_at IS NOT NULL;
