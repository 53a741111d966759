//! Charging whatever a service limits that is no key: an identifier of a namespace. What limits a namespace has is remembered for as
//! long as what is known of keys would be.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::time::Instant;
use tronch_core::{Identifier, Namespace, Permission, TenantId, VerdictCode};

use super::budget::NoneLeft;
use super::charge::{Costs, LimitsTold, Said, charge_limits};
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

/// Namespaces that are remembered at most.
const REMEMBERED_MAX: usize = 10_000;

/// Those without limits.
const ABSENT_MAX: usize = 1_000;

/// How long a question to Postgres may take. Nobody waits for it so long, but who comes later finds what it brought.
const READ_MAX: Duration = Duration::from_secs(1);

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
    pub fn limits(&self) -> LimitsTold<'_> {
        LimitsTold::new(&self.said, &self.held_to)
    }
}

/// Why a question to Postgres brought nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unread {
    /// Too many were asked about that have no limits.
    OverBudget,
    /// It failed, which is logged where it did.
    Failed,
}

/// A question that several may wait for.
type Flight = Shared<BoxFuture<'static, Result<Arc<KnownNamespace>, Unread>>>;

/// A namespace, and whose.
type Of = (TenantId, Namespace);

type Known = HashMap<Of, Arc<KnownNamespace>, ahash::RandomState>;

/// What is remembered of namespaces.
#[derive(Default)]
pub(super) struct Namespaces {
    known: Mutex<Known>,
    /// Those that have no limits, apart: names that somebody makes up drive out no others.
    absent: Mutex<Known>,
    flights: Mutex<HashMap<Of, Flight, ahash::RandomState>>,
}

/// A namespace's limits as they were read.
struct KnownNamespace {
    read_at: Position,
    dependencies: Dependencies,
    limits: NamespaceLimits,
}

impl Namespaces {
    /// From memory alone: with how old it is.
    fn recall(&self, node: &Node, token: &ServiceToken, of: &Of) -> Result<(Arc<KnownNamespace>, Duration), Missing> {
        let (age, is_offline) = match node.lease.standing(Moment::now()) {
            Standing::Live { age } => (age, false),
            Standing::Offline { age } => (age, true),
            Standing::Unknown => return Err(Missing::Standing),
        };
        let missing = if is_offline { Missing::CutOff } else { Missing::Entry };
        let find = |held: &Mutex<Known>| {
            let known = held.lock().unwrap_or_else(PoisonError::into_inner).get(of).cloned();
            known.filter(|known| node.marks.counts(known.read_at, &known.dependencies))
        };
        let known = find(&self.known).or_else(|| find(&self.absent)).ok_or(missing)?;
        if is_offline && age >= token.offline_lease() {
            return Err(missing);
        }
        Ok((known, age))
    }

    fn remember(&self, node: &Node, of: Of, known: &Arc<KnownNamespace>) {
        let (held, most) =
            if known.limits.is_empty() { (&self.absent, ABSENT_MAX) } else { (&self.known, REMEMBERED_MAX) };
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= most && !held.contains_key(&of) {
            held.retain(|_, known| node.marks.counts(known.read_at, &known.dependencies));
            if held.len() >= most {
                held.clear();
            }
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
        let (code, said, _) = charge_limits(&self.engine, &held_to, &request.costs, when).await?;
        Ok(Checked { code, held_to, said, data_age })
    }

    async fn namespace(
        &self,
        token: &ServiceToken,
        namespace: Namespace,
    ) -> Result<(Arc<KnownNamespace>, Duration), Error> {
        let (deadline, of) = (Instant::now() + self.patience, (token.tenant_id(), namespace));
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
            let known = match tokio::time::timeout(left, self.join(token, &of)).await {
                Ok(Ok(known)) => known,
                Ok(Err(Unread::OverBudget)) => return Err(memory::over_budget()),
                Ok(Err(Unread::Failed)) | Err(_) => return Err(cannot_know()),
            };
            // Whoever joined may have come after a change that the question was too early for.
            let is_live = matches!(self.node.standing(), Standing::Live { .. });
            if is_live && self.node.marks.counts(known.read_at, &known.dependencies) {
                return Ok((known, Duration::ZERO));
            }
        }
    }

    /// Asks Postgres, or waits with those who have asked. What is brought is remembered, though nobody waits so long.
    fn join(&self, token: &ServiceToken, of: &Of) -> Flight {
        let mut flights = self.namespaces.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(of) {
            return flight.clone();
        }
        let (verifier, token, asked) = (self.clone(), token.clone(), of.clone());
        let reading = tokio::spawn(async move {
            let _landing = Landing { namespaces: &verifier.namespaces, of: asked.clone() };
            let reading = tokio::time::timeout(READ_MAX, verifier.read_namespace(&token, asked)).await;
            reading.unwrap_or(Err(Unread::Failed))
        });
        let flight = reading.map(|joined| joined.unwrap_or(Err(Unread::Failed))).boxed().shared();
        flights.insert(of.clone(), flight.clone());
        flight
    }

    /// Reads its limits, and remembers them.
    async fn read_namespace(&self, token: &ServiceToken, of: Of) -> Result<Arc<KnownNamespace>, Unread> {
        let reserved = match token.unknown_keys().reserve(Instant::now() + READ_MAX).await {
            Ok(reserved) => reserved,
            Err(NoneLeft::Spent) => return Err(Unread::OverBudget),
            Err(NoneLeft::Late) => return Err(Unread::Failed),
        };
        let read_at = self.node.marks.position();
        let (known_to, limits) = read(&self.engine, &of).await.map_err(|error| {
            error.log_if_ours();
            Unread::Failed
        })?;
        if known_to < read_at.number() {
            // It follows another server, and is behind what this process knows already.
            return Err(Unread::Failed);
        }
        if limits.is_empty() {
            reserved.charge(Moment::now());
        }
        let subject = format!("{}:{}", of.0.uuid(), of.1);
        let marked = self.node.hash_shared(Kind::Namespace, &subject);
        let tenant = self.node.hash_shared(Kind::Tenant, &of.0.uuid().to_string());
        // It has no handle.
        let dependencies = Dependencies::new(SHARED_BY_NONE, [marked, tenant, tenant]);
        let known = Arc::new(KnownNamespace { read_at, dependencies, limits });
        self.namespaces.remember(&self.node, of, &known);
        Ok(known)
    }
}

/// Takes a flight off the list, also when it crashed.
struct Landing<'a> {
    namespaces: &'a Namespaces,
    of: Of,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.namespaces.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.of);
    }
}

fn cannot_know() -> Error {
    Error::Unavailable { what: "the database", source: None }
}

/// The number of the last change that was known, and the limits; in this order.
async fn read(engine: &Engine, of: &Of) -> Result<(u64, NamespaceLimits), Error> {
    let mut connection = engine.db().data_plane().await?;
    let head: i64 = change_log_head::table.select(change_log_head::n).first(&mut connection).await?;
    let limits = NamespaceLimits::read(&mut connection, engine.cells(), of.0, &of.1).await?;
    Ok((u64::try_from(head).unwrap_or(0), limits))
}
