//! Tests through the doors, against a real Postgres: one database each. One binary, because linking is what takes time.

mod access;
mod bad_input;
mod bad_start;
mod commands;
mod config;
mod demo;
mod forms;
mod idempotency;
mod keyring;
mod keys_table;
mod kill;
mod many_keys;
mod migrations;
mod nodes;
mod openapi;
mod private_postgres;
mod projects;
mod request_log;
mod row_security;
mod schema_rules;
mod secrecy;
mod support;
mod surface;
mod texts;
mod usage;
mod verdicts;
