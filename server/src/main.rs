//! The `tronch` binary. Everything it does is in the library, so that tests do the same.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    tronch_server::run().await
}
