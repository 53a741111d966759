DROP INDEX change_log_tenants;
