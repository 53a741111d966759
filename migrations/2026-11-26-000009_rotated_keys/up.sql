-- The keys that are being rotated, for the list of them.
SET LOCAL lock_timeout = '2s';
CREATE INDEX IF NOT EXISTS keys_rotated ON keys (tenant_id, created_at DESC, id DESC)
    WHERE successor_id IS NOT NULL AND revoked_at IS NULL;
