//! What every test stands on: an app with its own database, an owner, tokens, and short words for asking.

mod app;
mod database;
mod process;
mod proxy;
mod redis;
mod smtp;
mod tls_front;

pub use app::{Answer, PASSWORD, TestApp, Visitor, Wish, owner};
pub use database::{TestDatabase, connect};
pub use process::{DataDir, Server, bootstrap, command, pg_bin, pg_bin_of, run, times_from_environment};
pub use proxy::{Proxy, Weather};
pub use redis::{RedisCluster, RedisSentinel, RedisServer};
pub use smtp::SmtpServer;
pub use tls_front::TlsFront;

/// Waits for what happens beside the request, such as a batch being written. A machine that does many things at once, such
/// as all tests, may take long over it; one that never does it costs half a minute.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    for _ in 0..300 {
        if holds().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("within thirty seconds it never came to be that {what}");
}

/// A generator that gives the same numbers on every machine (Marsaglia's xorshift64).
pub struct Lots(pub u64);

impl Lots {
    pub fn draw(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.draw(choices.len() as u64)).expect("small")]
    }
}
