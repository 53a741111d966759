//! Tests through the doors, against a real Postgres: one database each. One binary, because linking is what takes time.

mod access;
mod bad_input;
mod row_security;
mod schema_rules;
mod support;
mod surface;
mod verdicts;
