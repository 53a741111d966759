//! The server: configuration, the private Postgres, the doors, and how a process starts and stops. Business rules are
//! the engine's.

mod commands;
pub mod config;
pub mod data_dir;
mod demo_command;
pub mod doors;
pub mod local_postgres;
mod logging;
mod open;
mod revoke_command;
mod serve;
mod terminal;

pub use commands::run;
pub use open::{Opened, open};
