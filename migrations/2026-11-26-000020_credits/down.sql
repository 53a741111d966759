DELETE FROM limits WHERE window_kind = 'credits';
ALTER TABLE limits DROP CONSTRAINT limits_check5;
ALTER TABLE limits ADD CONSTRAINT limits_check5 CHECK ((time_zone IS NOT NULL)
    = coalesce(window_kind IN ('day', 'week', 'month'), false));
ALTER TABLE limits DROP CONSTRAINT limits_refilled_credits;
ALTER TABLE limits DROP CONSTRAINT limits_window_kind_check;
ALTER TABLE limits ADD CONSTRAINT limits_window_kind_check
    CHECK (window_kind IN ('fixed', 'sliding', 'day', 'week', 'month'));
ALTER TABLE limits DROP COLUMN refilled;
