//! Argon2id (RFC 9106) in bounded pools: one for keys, one for passwords, so that neither starves the other. The tags of
//! the warm path are not here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::error::Error;

/// How expensive a hash is. Raised values apply to what is hashed from then on.
#[derive(Debug, Clone, Copy)]
pub struct ArgonCost {
    /// Memory, in KiB. 19 456 (19 MiB) or more.
    pub memory_kib: u32,
    /// Passes over the memory. 2 or more.
    pub iterations: u32,
    /// Lanes. 1 or more.
    pub parallelism: u32,
}

impl Default for ArgonCost {
    /// OWASP's minimum for Argon2id.
    fn default() -> Self {
        Self { memory_kib: 19_456, iterations: 2, parallelism: 1 }
    }
}

/// Stored strings are read with caps, so that a tampered row cannot ask for gigabytes.
const CAPS: ArgonCost = ArgonCost { memory_kib: 65_536, iterations: 10, parallelism: 4 };

/// How long a hash waits for its turn.
const WAIT: Duration = Duration::from_secs(5);

/// A queue of Argon2id work with a fixed number of workers.
#[derive(Clone)]
pub(crate) struct ArgonPool {
    name: &'static str,
    turns: Arc<Semaphore>,
    cost: ArgonCost,
    runs: Arc<AtomicU64>,
}

impl ArgonPool {
    pub(crate) fn new(name: &'static str, cost: ArgonCost) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let turns = Arc::new(Semaphore::new((threads / 2).max(1)));
        Self { name, turns, cost, runs: Arc::default() }
    }

    /// How often Argon2id ran, for the counter that proves the warm path never does.
    #[cfg(test)]
    pub(crate) fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }

    async fn run<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> Result<R, Error> {
        let busy = || Error::Unavailable { what: "the hashing queue", source: None };
        let turn = tokio::time::timeout(WAIT, Arc::clone(&self.turns).acquire_owned())
            .await
            .map_err(|_| busy())?
            .map_err(|_| busy())?;
        self.runs.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("tronch_argon2_runs_total", "pool" => self.name).increment(1);
        tokio::task::spawn_blocking(move || {
            let outcome = work();
            drop(turn);
            outcome
        })
        .await
        .map_err(Error::internal)
    }

    /// A PHC string with a fresh 16-byte salt.
    pub(crate) async fn hash(&self, secret: Zeroizing<String>) -> Result<String, Error> {
        let cost = self.cost;
        let salt: [u8; 16] = crate::random::bytes()?;
        self.run(move || {
            let params = Params::new(cost.memory_kib, cost.iterations, cost.parallelism, Some(32))?;
            let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            let hash: PasswordHash = argon.hash_password_with_salt(secret.as_bytes(), &salt)?;
            Ok::<_, argon2::password_hash::Error>(hash.to_string())
        })
        .await?
        .map_err(|error| Error::internal(error.to_string()))
    }

    /// Whether a stored hash was cheaper to make than new ones are.
    pub(crate) fn is_cheap(&self, phc: &str) -> bool {
        let params = PasswordHash::new(phc).ok().and_then(|hash| Params::try_from(&hash).ok());
        params.is_some_and(|params| params.m_cost() < self.cost.memory_kib || params.t_cost() < self.cost.iterations)
    }

    /// Whether `secret` made `phc`. A string over the caps, or of another algorithm, is an error, not a "no".
    pub(crate) async fn verify(&self, secret: Zeroizing<String>, phc: &str) -> Result<bool, Error> {
        let hash = PasswordHash::new(phc).map_err(|error| Error::internal(error.to_string()))?;
        let params = Params::try_from(&hash).map_err(|error| Error::internal(error.to_string()))?;
        let within_caps = params.m_cost() <= CAPS.memory_kib
            && params.t_cost() <= CAPS.iterations
            && params.p_cost() <= CAPS.parallelism;
        if hash.algorithm.as_str() != "argon2id" || !within_caps {
            return Err(Error::internal("a stored hash is outside what this installation computes"));
        }
        self.run(move || {
            let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            argon.verify_password(secret.as_bytes(), &hash).is_ok()
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    #[tokio::test]
    async fn a_hash_verifies_its_own_secret_and_no_other() {
        let pool = ArgonPool::new("test", ArgonCost::default());
        for text in ["correct horse battery", "pässwörd ☃ 日本語", "\u{0}\n' OR 1=1 --", &"x".repeat(1024)] {
            let phc = pool.hash(secret(text)).await.expect("hashes");
            assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
            assert!(pool.verify(secret(text), &phc).await.expect("verifies"));
            assert!(!pool.verify(secret("something else"), &phc).await.expect("verifies"));
        }
        assert_eq!(pool.runs(), 12);
    }

    #[tokio::test]
    async fn the_same_secret_never_makes_the_same_hash() {
        let pool = ArgonPool::new("test", ArgonCost::default());
        let first = pool.hash(secret("same")).await.expect("hashes");
        let second = pool.hash(secret("same")).await.expect("hashes");
        assert_ne!(first, second);
    }

    #[tokio::test]
    async fn a_stored_hash_over_the_caps_is_refused_without_running() {
        let pool = ArgonPool::new("test", ArgonCost::default());
        let phc = pool.hash(secret("x")).await.expect("hashes");
        for (from, to) in [("m=19456", "m=4000000"), ("t=2", "t=999"), ("argon2id", "argon2i")] {
            assert!(pool.verify(secret("x"), &phc.replace(from, to)).await.is_err(), "{to}");
        }
        assert_eq!(pool.runs(), 1);
    }
}
