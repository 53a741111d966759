DROP INDEX keys_newest;
CREATE INDEX keys_newest ON keys (tenant_id, created_at DESC, id DESC) INCLUDE (name_folded, owner_external_id);
CREATE OR REPLACE FUNCTION tronch_isolate_tenants(target regclass, tenant_column name) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', target);
    EXECUTE format('DROP POLICY IF EXISTS tenant_isolation ON %s', target);
    EXECUTE format(
        'CREATE POLICY tenant_isolation ON %s USING ('
        '%I = nullif(current_setting(''tronch.tenant'', true), '''')::uuid '
        'OR current_setting(''tronch.scope'', true) = ''system'')', target, tenant_column);
END
$$;
SELECT tronch_isolate_tenants(polrelid::regclass, CASE WHEN polrelid = 'tenants'::regclass THEN 'id' ELSE 'tenant_id' END)
FROM pg_policy WHERE polname = 'tenant_isolation';
