DROP TABLE service_tokens, keys;
