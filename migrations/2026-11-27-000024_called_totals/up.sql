-- Whose total it is, where that is no key: so that people can see who is close to a limit's end.
SET LOCAL lock_timeout = '2s';

ALTER TABLE limit_totals ADD COLUMN identifier text COLLATE "C";
