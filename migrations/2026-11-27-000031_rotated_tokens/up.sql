-- The token that takes another's place. The old one ends by its expiry, which the rotation sets to the end of the grace: what a process of
-- an older version knows as well. No reference: each removal would look for it, and tokens are removed with their tenant alone.
SET LOCAL lock_timeout = '2s';

ALTER TABLE service_tokens ADD COLUMN successor_id uuid;
