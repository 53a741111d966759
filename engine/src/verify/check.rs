//! Charging whatever a service limits that is no key: an identifier of a namespace. What limits a namespace has is remembered for as
//! long as what is known of keys would be.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use tokio::time::{Instant, timeout_at};
use tronch_core::{Identifier, Namespace, Permission, TenantId, VerdictCode};

use super::charge::{Costs, LimitTold, Said, charge_limits};
use super::memory::{self, Missing};
use super::token::ServiceToken;
use super::{Verifier, clock};
use crate::Engine;
use crate::clock::Moment;
use crate::error::Error;
use crate::limits::cells::KeyLimit;
use crate::limits::namespaces::NamespaceLimits;
use crate::node::lease::Standing;
use crate::node::marks::{Dependencies, Position, SHARED_BY_NONE};
use crate::node::{Kind, Node};
use crate::schema::change_log_head;

/// Namespaces that are remembered at most, those without limits among them.
const REMEMBERED_MAX: usize = 10_000;

/// What a service asks about an identifier.
pub struct CheckRequest {
    /// Of which kind it is.
    pub namespace: Namespace,
    /// Whose calls are counted.
    pub identifier: Identifier,
    /// What the call takes of its limits.
    pub costs: Costs,
}

/// The answer.
#[derive(Debug)]
pub struct Checked {
    /// VALID, or what it was refused with.
    pub code: VerdictCode,
    held_to: Box<[KeyLimit]>,
    said: Vec<Said>,
    /// How old the knowledge of the limits is; zero when it was read for this call.
    pub data_age: Duration,
}

impl Checked {
    /// What each limit said that the call was charged to, or refused by.
    pub fn limits(&self) -> impl Iterator<Item = LimitTold<'_>> {
        self.said.iter().filter_map(|said| said.of(&self.held_to))
    }
}

/// What is remembered of namespaces.
#[derive(Default)]
pub(super) struct Namespaces {
    known: Mutex<HashMap<(TenantId, Namespace), Arc<KnownNamespace>, ahash::RandomState>>,
    /// Held by whoever asks Postgres: there are few namespaces, and those who want the same find it remembered afterwards.
    asking: tokio::sync::Mutex<()>,
}

/// A namespace's limits as they were read.
struct KnownNamespace {
    read_at: Position,
    dependencies: Dependencies,
    limits: NamespaceLimits,
}

impl Namespaces {
    /// From memory alone: with how old it is.
    fn recall(
        &self,
        node: &Node,
        token: &ServiceToken,
        of: &(TenantId, Namespace),
    ) -> Result<(Arc<KnownNamespace>, Duration), Missing> {
        let (age, is_offline) = match node.lease.standing(Moment::now()) {
            Standing::Live { age } => (age, false),
            Standing::Offline { age } => (age, true),
            Standing::Unknown => return Err(Missing::Standing),
        };
        let missing = if is_offline { Missing::CutOff } else { Missing::Entry };
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get(of).ok_or(missing)?;
        let counts = node.marks.counts(known.read_at, &known.dependencies);
        if !counts || (is_offline && age >= token.offline_lease()) {
            return Err(missing);
        }
        Ok((Arc::clone(known), age))
    }

    fn remember(&self, of: (TenantId, Namespace), known: &Arc<KnownNamespace>) {
        let mut held = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= REMEMBERED_MAX
            && !held.contains_key(&of)
            && let Some(any) = held.keys().next().cloned()
        {
            held.remove(&any);
        }
        held.insert(of, Arc::clone(known));
    }
}

impl Verifier {
    /// Whether an identifier's call fits its limits; then it is charged to all of them.
    ///
    /// # Errors
    /// `Forbidden` without `keys.verify`; `OutsideToken` for a limited token, as namespaces belong to no project; `NotFound` for a
    /// namespace without limits; `OverBudget` where many such were asked about; `Unavailable` when we cannot know.
    pub async fn check_limits(&self, token: &ServiceToken, request: CheckRequest) -> Result<Checked, Error> {
        token.require(Permission::KeysVerify)?;
        token.require_unlimited()?;
        let at = clock::now();
        if token.is_used_anew(at) {
            self.engine.usage().token_used(token.id(), at);
        }
        let (known, data_age) = self.namespace(token, request.namespace).await?;
        if known.limits.is_empty() {
            return Err(Error::NotFound { noun: "namespace with limits" });
        }
        let held_to = known.limits.of(self.engine.cells(), &request.identifier);
        let when = (Moment::now(), self.patience);
        let (code, said) = charge_limits(&self.engine, &held_to, &request.costs, when).await?;
        Ok(Checked { code, held_to, said, data_age })
    }

    async fn namespace(
        &self,
        token: &ServiceToken,
        namespace: Namespace,
    ) -> Result<(Arc<KnownNamespace>, Duration), Error> {
        let (deadline, of) = (Instant::now() + self.patience, (token.tenant_id(), namespace));
        let cannot_know = || Error::Unavailable { what: "the database", source: None };
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(cannot_know());
            }
            match self.namespaces.recall(&self.node, token, &of) {
                Ok(known) => return Ok(known),
                Err(Missing::CutOff) => return Err(cannot_know()),
                Err(Missing::Standing) => {
                    self.node.change_of_standing(left).await.ok_or_else(cannot_know)?;
                    continue;
                }
                Err(Missing::Entry) => {}
            }
            let asking = async {
                let _asking = self.namespaces.asking.lock().await;
                // Whoever had it may have asked about the same.
                match self.namespaces.recall(&self.node, token, &of) {
                    Err(Missing::Entry) => self.read_namespace(token, &of, deadline).await,
                    _ => Ok(()),
                }
            };
            timeout_at(deadline, asking).await.map_err(|_| cannot_know())??;
        }
    }

    /// Reads its limits, and remembers them.
    async fn read_namespace(
        &self,
        token: &ServiceToken,
        of: &(TenantId, Namespace),
        deadline: Instant,
    ) -> Result<(), Error> {
        let reserved = token.unknown_keys().reserve(deadline).await.map_err(memory::none_left)?;
        let read_at = self.node.marks.position();
        let (known_to, limits) = read(&self.engine, of).await?;
        if known_to < read_at.number() {
            // It follows another server, and is behind what this process knows already.
            return Err(Error::Unavailable { what: "a server of the database that is not behind", source: None });
        }
        if limits.is_empty() {
            reserved.charge(Moment::now());
        }
        let subject = format!("{}:{}", of.0.uuid(), of.1);
        let marked = self.node.hash_shared(Kind::Namespace, &subject);
        let tenant = self.node.hash_shared(Kind::Tenant, &of.0.uuid().to_string());
        // It has no handle.
        let dependencies = Dependencies::new(SHARED_BY_NONE, [marked, tenant, tenant]);
        self.namespaces.remember(of.clone(), &Arc::new(KnownNamespace { read_at, dependencies, limits }));
        Ok(())
    }
}

/// The number of the last change that was known, and the limits; in this order.
async fn read(engine: &Engine, of: &(TenantId, Namespace)) -> Result<(u64, NamespaceLimits), Error> {
    let mut connection = engine.db().data_plane().await?;
    let head: i64 = change_log_head::table.select(change_log_head::n).first(&mut connection).await?;
    let limits = NamespaceLimits::read(&mut connection, engine.cells(), of.0, &of.1).await?;
    Ok((u64::try_from(head).unwrap_or(0), limits))
}
