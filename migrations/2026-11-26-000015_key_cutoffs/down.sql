-- What is revoked stays so: from here on each key's own row alone says it.
UPDATE keys SET revoked_at = cutoff.set_at, revoke_reason = cutoff.reason FROM key_cutoffs AS cutoff
    WHERE keys.revoked_at IS NULL AND keys.created_at < cutoff.valid_after AND keys.tenant_id = cutoff.tenant_id
    AND (cutoff.project_id IS NULL OR cutoff.project_id = keys.project_id)
    AND (cutoff.environment IS NULL OR cutoff.environment = keys.environment)
    AND (cutoff.owner_external_id IS NULL OR cutoff.owner_external_id = keys.owner_external_id);
DROP TABLE key_cutoffs;
DROP FUNCTION tronch_key_cut_off_at(uuid, uuid, text, text, timestamptz);
DROP FUNCTION tronch_log_key_cutoff();
DROP FUNCTION tronch_check_key_cutoff();
DROP FUNCTION tronch_hold_key_cutoffs(uuid, boolean);
