//! Tests through the doors, against a real Postgres: one database each. One binary, because linking is what takes time.

mod access;
mod bad_input;
mod support;
mod verdicts;
