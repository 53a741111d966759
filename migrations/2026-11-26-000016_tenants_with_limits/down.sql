ALTER TABLE tenants DROP COLUMN has_limits;
