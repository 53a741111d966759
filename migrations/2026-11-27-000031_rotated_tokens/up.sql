-- The token that takes another's place. The old one ends by its expiry, which the rotation sets to the end of the grace: what a process of
-- an older version knows as well.
SET LOCAL lock_timeout = '2s';

ALTER TABLE service_tokens
    ADD COLUMN successor_id uuid,
    ADD CONSTRAINT service_tokens_successor FOREIGN KEY (tenant_id, successor_id) REFERENCES service_tokens (tenant_id, id)
        DEFERRABLE INITIALLY DEFERRED;
