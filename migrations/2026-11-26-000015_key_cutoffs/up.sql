-- Many keys revoked at once, however many they are: one row says that all keys made before a time are, and one line of the
-- change log tells every process. The keys' own rows follow in portions.
SET LOCAL lock_timeout = '2s';

CREATE TABLE key_cutoffs (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    -- Which keys: those that meet all of these; NULL stands for any. All three NULL are the tenant's every key.
    project_id uuid,
    environment text COLLATE "C" CHECK (environment IN ('test', 'live')),
    owner_external_id text COLLATE "C",
    -- Those made before are revoked.
    valid_after timestamptz NOT NULL,
    set_at timestamptz NOT NULL,
    reason text,
    -- How many keys were revoked when this was set last.
    revoked_keys bigint NOT NULL,
    -- Whether each of these keys' own rows says so too.
    is_marked boolean NOT NULL DEFAULT false,
    CONSTRAINT key_cutoffs_one_each UNIQUE NULLS NOT DISTINCT (tenant_id, owner_external_id, project_id, environment),
    FOREIGN KEY (tenant_id, project_id) REFERENCES projects (tenant_id, id)
);
CREATE INDEX key_cutoffs_unmarked ON key_cutoffs (set_at) WHERE NOT is_marked;
SELECT tronch_isolate_tenants('key_cutoffs', 'tenant_id');

-- Whoever makes a key or changes one holds this with others, and a cut-off holds it alone: a successor that is made beside a
-- cut-off would be younger than it, and undo it.
CREATE FUNCTION tronch_hold_key_cutoffs(of_tenant uuid, alone boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF alone THEN
        PERFORM pg_advisory_xact_lock(hashtext('key cutoffs'), hashtext(of_tenant::text));
    ELSE
        PERFORM pg_advisory_xact_lock_shared(hashtext('key cutoffs'), hashtext(of_tenant::text));
    END IF;
END
$$;

CREATE FUNCTION tronch_check_key_cutoff() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tronch_hold_key_cutoffs(NEW.tenant_id, true);
    IF TG_OP = 'UPDATE' AND (
        NEW.valid_after < OLD.valid_after
        OR (NEW.tenant_id, NEW.project_id, NEW.environment, NEW.owner_external_id)
            IS DISTINCT FROM (OLD.tenant_id, OLD.project_id, OLD.environment, OLD.owner_external_id)
    ) THEN
        RAISE EXCEPTION 'what is revoked stays revoked: a cut-off only moves forward'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    UPDATE tenants SET latest_key_cutoff = greatest(latest_key_cutoff, NEW.valid_after) WHERE id = NEW.tenant_id;
    RETURN NEW;
END
$$;
CREATE TRIGGER key_cutoffs_check BEFORE INSERT OR UPDATE OF tenant_id, project_id, environment, owner_external_id, valid_after
    ON key_cutoffs FOR EACH ROW EXECUTE FUNCTION tronch_check_key_cutoff();

-- When a key was revoked with others, if it was. A function, so that a query which does not come to it does not pay for it.
CREATE FUNCTION tronch_key_cut_off_at(
    of_tenant uuid, of_project uuid, of_environment text, of_owner text, created timestamptz
) RETURNS timestamptz LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT min(set_at) FROM key_cutoffs WHERE tenant_id = of_tenant AND valid_after > created
        AND (owner_external_id IS NULL OR owner_external_id = of_owner)
        AND (project_id IS NULL OR project_id = of_project)
        AND (environment IS NULL OR environment = of_environment));
END
$$;

CREATE FUNCTION tronch_log_key_cutoff() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed key_cutoffs := CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
BEGIN
    IF changed.owner_external_id IS NOT NULL THEN
        PERFORM tronch_log_change('owner', changed.tenant_id || ':' || changed.owner_external_id);
    ELSIF changed.project_id IS NOT NULL THEN
        PERFORM tronch_log_change('project', changed.project_id::text);
    ELSE
        PERFORM tronch_log_change('tenant', changed.tenant_id::text);
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER key_cutoffs_log_change AFTER UPDATE ON key_cutoffs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN ((OLD.tenant_id, OLD.project_id, OLD.environment, OLD.owner_external_id, OLD.valid_after)
        IS DISTINCT FROM (NEW.tenant_id, NEW.project_id, NEW.environment, NEW.owner_external_id, NEW.valid_after))
    EXECUTE FUNCTION tronch_log_key_cutoff();
CREATE CONSTRAINT TRIGGER key_cutoffs_log_others AFTER INSERT OR DELETE ON key_cutoffs DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION tronch_log_key_cutoff();
CREATE TRIGGER key_cutoffs_no_truncate BEFORE TRUNCATE ON key_cutoffs EXECUTE FUNCTION tronch_refuse_truncate();
