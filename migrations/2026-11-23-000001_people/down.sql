DROP TABLE audit_events, setup_codes, sessions, projects, memberships, tenants, users, master_keys, gate_keys;
DROP FUNCTION tronch_refuse_change();
DROP FUNCTION tronch_isolate_tenants(regclass, name);
