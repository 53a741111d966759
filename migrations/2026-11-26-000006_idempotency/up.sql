-- Writes that were sent with an idempotency key, and what came of them. Written in the transaction of the write. Neither
-- the key nor the body stands here, only keyed digests; and no secret: a repeat is answered without one.
SET LOCAL lock_timeout = '2s';
CREATE TABLE idempotency_keys (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    -- HMAC of door, caller, tenant, address and the key itself.
    key_mac bytea NOT NULL CHECK (octet_length(key_mac) = 32),
    body_mac bytea NOT NULL CHECK (octet_length(body_mac) = 32),
    result_id uuid NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, key_mac)
);
CREATE INDEX idempotency_keys_by_expiry ON idempotency_keys (expires_at);
SELECT tronch_isolate_tenants('idempotency_keys', 'tenant_id');
