-- The same policy, with its settings read once a query instead of once a row: on a list of 100 000 keys that halves the
-- time of a search. The sub-selects are what makes Postgres do so.
CREATE OR REPLACE FUNCTION tronch_isolate_tenants(target regclass, tenant_column name) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', target);
    EXECUTE format('DROP POLICY IF EXISTS tenant_isolation ON %s', target);
    EXECUTE format(
        'CREATE POLICY tenant_isolation ON %s USING ('
        '%I = (SELECT nullif(current_setting(''tronch.tenant'', true), '''')::uuid) '
        'OR (SELECT current_setting(''tronch.scope'', true) = ''system''))', target, tenant_column);
END
$$;
SELECT tronch_isolate_tenants(polrelid::regclass, CASE WHEN polrelid = 'tenants'::regclass THEN 'id' ELSE 'tenant_id' END)
FROM pg_policy WHERE polname = 'tenant_isolation';

-- A search walks the names, which carry the owner; the newest need not.
DROP INDEX keys_newest;
CREATE INDEX keys_newest ON keys (tenant_id, created_at DESC, id DESC);
