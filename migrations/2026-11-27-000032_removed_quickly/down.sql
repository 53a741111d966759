ALTER TABLE keys ADD CONSTRAINT keys_tenant_id_successor_id_fkey
    FOREIGN KEY (tenant_id, successor_id) REFERENCES keys (tenant_id, id) DEFERRABLE INITIALLY DEFERRED;
