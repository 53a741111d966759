DROP TABLE service_tokens, keys, service_token_handles, key_handles;
