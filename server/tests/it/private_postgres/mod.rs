//! The private Postgres with real processes: what the launcher makes of a data directory, and how a server lives with it.
//! What is stored in it concerns other tests.

mod launcher;
mod process;
