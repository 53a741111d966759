-- A balance is a limit, too: what is not taken stays, and it may be filled up as a day, a week or a month begins.
SET LOCAL lock_timeout = '2s';

ALTER TABLE limits ADD COLUMN refilled text COLLATE "C" CHECK (refilled IN ('day', 'week', 'month'));
ALTER TABLE limits DROP CONSTRAINT limits_window_kind_check;
ALTER TABLE limits ADD CONSTRAINT limits_window_kind_check
    CHECK (window_kind IN ('fixed', 'sliding', 'day', 'week', 'month', 'credits'));
ALTER TABLE limits ADD CONSTRAINT limits_refilled_credits CHECK (refilled IS NULL OR window_kind = 'credits');
ALTER TABLE limits DROP CONSTRAINT limits_check5;
ALTER TABLE limits ADD CONSTRAINT limits_check5 CHECK ((time_zone IS NOT NULL)
    = coalesce(window_kind IN ('day', 'week', 'month') OR refilled IS NOT NULL, false));
