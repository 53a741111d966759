//! The `tronch` binary. Everything it does is in the library, so that tests do the same.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;
use zeroizing_alloc::ZeroAlloc;

/// What is given back is overwritten first: whoever reads this process's memory later finds no key that was asked about.
#[global_allocator]
static MEMORY: ZeroAlloc<Jemalloc> = ZeroAlloc(Jemalloc);

#[tokio::main]
async fn main() -> ExitCode {
    tronch_server::run().await
}
