//! The data plane: who may ask, and whether a key may pass. It has its own pool and stores nothing but what limits
//! reserve. What was asked about
//! before is answered from memory, as long as that is known to count.

mod absent;
mod budget;
mod cache;
mod charge;
mod check;
mod key;
mod memory;
mod questions;
mod recover;
mod token;
mod warm_up;

use std::sync::Arc;
use std::time::Duration;

use metrics::Counter;
use tokio::time::Instant;
use tronch_core::{
    Ask, Environment, Handle, KeyState, MalformedReason, PermissionQuery, PresentedKey, ProjectId, ProjectSlug,
    Timestamp, VerdictCode, decide, state,
};

use crate::Engine;
use crate::clock::{self, Moment};
use crate::error::Error;
use crate::keyring::TagLabel;
use crate::node::Node;
use crate::node::lease::LEASE;
use crate::usage::Event;
use cache::Remembered;
use charge::{Said, charge_limits};
use check::Namespaces;
use memory::{Known, Memory, Presented};
use recover::{Proof, Recovery, Unproven};
use token::TokenFacts;

pub use charge::{Costs, LimitTold, LimitsTold};
pub use check::{CheckRequest, Checked};
pub use key::KeyFacts;
pub(crate) use key::Places;
pub use token::ServiceToken;

/// How long a call waits for a proof of somebody else's, at least: a hash takes longer than a look-up.
const PROOF_PATIENCE: Duration = Duration::from_secs(1);

/// How soon whoever waits for a proof of somebody else's looks again.
const PROOF_RETRY: Duration = Duration::from_millis(10);

/// What a service asks about a key.
pub struct VerifyRequest {
    /// The key as its holder presented it, or why that is none.
    pub key: Result<PresentedKey, MalformedReason>,
    /// The project the service expects.
    pub project: Option<ProjectSlug>,
    /// The environment the service expects.
    pub environment: Option<Environment>,
    /// What the key must hold.
    pub permissions: Option<PermissionQuery>,
    /// What it takes of the key's limits.
    pub costs: Costs,
}

/// The answer.
#[derive(Debug)]
pub struct Verdict {
    /// The first check that failed, or VALID.
    pub code: VerdictCode,
    /// Why the text is no key.
    pub reason: Option<MalformedReason>,
    known: Option<Arc<Remembered<KeyFacts>>>,
    limits: Vec<Said>,
    /// How old the knowledge behind the answer is; zero when it was read for this call.
    pub data_age: Duration,
    /// When it was found out, and charged; nothing where no key is known.
    at: Option<Moment>,
}

impl Verdict {
    fn bare(code: VerdictCode, reason: Option<MalformedReason>) -> Self {
        Self { code, reason, known: None, limits: Vec::new(), data_age: Duration::ZERO, at: None }
    }

    /// What the service may know of the key: with every code but MALFORMED and NOT_FOUND.
    pub fn facts(&self) -> Option<&KeyFacts> {
        self.known.as_ref().map(|entry| &entry.facts)
    }

    /// Of which key, with the same codes.
    pub fn handle(&self) -> Option<Handle> {
        self.known.as_ref().map(|entry| entry.handle())
    }

    /// What each limit said that the call was charged to, or refused by.
    pub fn limits(&self) -> LimitsTold<'_> {
        LimitsTold::new(&self.limits, self.facts().map_or(&[], KeyFacts::limits))
    }
}

/// The state of the data plane.
#[derive(Clone)]
pub struct Verifier {
    engine: Engine,
    node: Arc<Node>,
    keys: Arc<Memory<KeyFacts>>,
    tokens: Arc<Memory<TokenFacts>>,
    namespaces: Arc<Namespaces>,
    recovery: Arc<Recovery>,
    /// How long a call waits for what it does not know.
    patience: Duration,
    verdicts: Arc<[Counter]>,
}

impl Verifier {
    pub(crate) fn new(engine: &Engine, node: Arc<Node>) -> Self {
        let counter = |code: VerdictCode| metrics::counter!("tronch_verdicts_total", "code" => code.as_str());
        Self {
            engine: engine.clone(),
            node,
            keys: Arc::new(Memory::new(engine.shared.remembered_keys)),
            tokens: Arc::new(Memory::new(token::REMEMBERED_MAX)),
            namespaces: Arc::default(),
            recovery: Arc::default(),
            patience: engine.shared.lookup_wait,
            verdicts: VerdictCode::ALL.into_iter().map(counter).collect(),
        }
    }

    /// Whether a key may pass.
    ///
    /// # Errors
    /// `Forbidden` without `keys.verify` or outside the token's own limits; `Invalid` when the project is needed;
    /// `Unavailable` when we cannot know. Never a verdict because something of ours is down.
    pub async fn verify(&self, token: &ServiceToken, request: VerifyRequest) -> Result<Verdict, Error> {
        token.require(tronch_core::Permission::KeysVerify)?;
        let environment = token.expected_environment(request.environment)?;
        let project = token.expected_project(request.project.as_ref())?;
        let verdict = match &request.key {
            Ok(presented) => {
                let permissions = request.permissions.as_ref();
                self.check(token, presented, Expected { environment, project, permissions, costs: &request.costs })
                    .await?
            }
            Err(reason) => Verdict::bare(VerdictCode::Malformed, Some(*reason)),
        };
        self.count(token, environment, &verdict);
        if let Some(counter) = self.verdicts.get(verdict.code as usize) {
            counter.increment(1);
        }
        Ok(verdict)
    }

    fn count(&self, token: &ServiceToken, asked: Environment, verdict: &Verdict) {
        let at = verdict.at.map_or_else(clock::now, clock::at);
        let passed = verdict.known.as_ref().filter(|_| verdict.code == VerdictCode::Valid);
        let usage = self.engine.usage();
        usage.offer(at, passed, || event(token, asked, verdict, at));
        // Once a minute is as exact as its time of last use is kept.
        if token.is_used_anew(at) {
            usage.token_used(token.id(), at);
        }
    }

    async fn check(
        &self,
        token: &ServiceToken,
        presented: &PresentedKey,
        expected: Expected<'_>,
    ) -> Result<Verdict, Error> {
        let mut waited_until = None;
        loop {
            let known = match self.keys.recall(&self.node, presented.handle()) {
                Ok(known) => known,
                Err(_) if !self.passes_gate(presented) => return Ok(gate_refused()),
                Err(_) => {
                    let deadline = Instant::now() + self.patience;
                    let asked = Presented { handle: presented.handle(), created_ms: presented.created_ms() };
                    let reserved = token.unknown_keys().reserve(deadline).await.map_err(memory::none_left)?;
                    match self.keys.look_up(&self.engine, &self.node, asked, deadline, Some(reserved)).await? {
                        Some(known) => known,
                        None => return Ok(not_found()),
                    }
                }
            };
            if let Some(verdict) = self.weigh(token, presented, expected, known).await? {
                return Ok(verdict);
            }
            self.wait_for_proof(&mut waited_until).await?;
        }
    }

    /// Whether it is the key, and what follows; nothing while others are proving it.
    async fn weigh(
        &self,
        token: &ServiceToken,
        presented: &PresentedKey,
        expected: Expected<'_>,
        known: Known<KeyFacts>,
    ) -> Result<Option<Verdict>, Error> {
        let facts = &known.entry.facts;
        // The tenant is compared before the tag: another tenant's key must not even be recognised.
        if facts.tenant_id() != token.tenant_id() {
            if !self.passes_gate(presented) {
                return Ok(Some(gate_refused()));
            }
            // An absent one could not be known either.
            if known.age >= LEASE {
                return Err(Error::Unavailable { what: "the database", source: None });
            }
            // The asker's own budget first: whoever is over it takes nothing from others.
            let verdict = self.unknown(token, known.now)?;
            self.keys.charge_unknown(known.now)?;
            return Ok(Some(verdict));
        }
        let tag = self.engine.keyring().tag_with(facts.tag_key, TagLabel::Key, token.tenant_id(), presented.expose());
        let proof = match tag {
            Some(tag) if tag.matches(&facts.tag) => Proof::Right,
            Some(_) => Proof::Wrong,
            None if !self.passes_gate(presented) => Proof::Wrong,
            // What has ended is refused without a proof.
            None if state(&facts.snapshot(), clock::at(known.now)) != KeyState::Active => Proof::Right,
            // Apart: it holds much, and few calls come here.
            None => Box::pin(self.recovery.prove(&self.engine, unproven_key(facts, presented))).await?,
        };
        Ok(match proof {
            Proof::Right => Some(self.judge(token, expected, known).await?),
            Proof::Wrong if self.passes_gate(presented) => Some(not_found()),
            Proof::Wrong => Some(gate_refused()),
            Proof::Proven | Proof::Busy => None,
        })
    }

    async fn judge(
        &self,
        token: &ServiceToken,
        expected: Expected<'_>,
        known: Known<KeyFacts>,
    ) -> Result<Verdict, Error> {
        let facts = &known.entry.facts;
        let ask = Ask {
            tenant_id: token.tenant_id(),
            project_id: expected_project_id(facts, expected.project),
            environment: expected.environment,
            permissions: expected.permissions,
        };
        let (code, limits, at) = match decide(&facts.snapshot(), &ask, clock::at(known.now)) {
            VerdictCode::NotFound => return Ok(not_found()),
            // Only what may pass otherwise is charged.
            VerdictCode::Valid if !facts.limits().is_empty() => {
                charge_limits(&self.engine, facts.limits(), expected.costs, (known.now, self.patience)).await?
            }
            code => (code, Vec::new(), known.now),
        };
        Ok(Verdict { code, reason: None, known: Some(known.entry), limits, data_age: known.age, at: Some(at) })
    }

    /// A moment, as long as there is time left.
    async fn wait_for_proof(&self, until: &mut Option<Instant>) -> Result<(), Error> {
        let until = *until.get_or_insert_with(|| Instant::now() + self.patience.max(PROOF_PATIENCE));
        if Instant::now() >= until {
            return Err(Error::Unavailable { what: "the hashing queue", source: None });
        }
        tokio::time::sleep(PROOF_RETRY).await;
        Ok(())
    }

    /// A handle that is nobody's, or a stranger's: both cost the same, so that nobody can tell them apart by what comes
    /// after.
    fn unknown(&self, token: &ServiceToken, now: Moment) -> Result<Verdict, Error> {
        if token.unknown_keys().take(now) { Ok(not_found()) } else { Err(memory::over_budget()) }
    }

    fn passes_gate(&self, presented: &PresentedKey) -> bool {
        self.engine.keyring().gate_value(presented.gate_input()) == presented.gate_value()
    }
}

fn not_found() -> Verdict {
    Verdict::bare(VerdictCode::NotFound, None)
}

fn gate_refused() -> Verdict {
    Verdict::bare(VerdictCode::Malformed, Some(MalformedReason::Gate))
}

fn event(token: &ServiceToken, asked: Environment, verdict: &Verdict, at: Timestamp) -> Event {
    let facts = verdict.facts();
    Event {
        at,
        tenant_id: token.tenant_id(),
        key: facts.map(|facts| (facts.key_id(), facts.project_id())),
        environment: facts.map_or(asked, KeyFacts::environment),
        code: verdict.code,
    }
}

/// What the service expects of the key.
#[derive(Clone, Copy)]
struct Expected<'a> {
    environment: Environment,
    project: &'a ProjectSlug,
    permissions: Option<&'a PermissionQuery>,
    costs: &'a Costs,
}

fn unproven_key<'a>(facts: &KeyFacts, presented: &'a PresentedKey) -> Unproven<'a> {
    Unproven {
        label: TagLabel::Key,
        id: facts.key_id().uuid(),
        handle: presented.handle(),
        tenant_id: facts.tenant_id(),
        tag_key: facts.tag_key,
        text: presented.expose(),
    }
}

/// The key's own project when the slugs agree, else one that no key has: another project's key is not found.
fn expected_project_id(facts: &KeyFacts, expected: &ProjectSlug) -> ProjectId {
    if facts.project() == expected { facts.project_id() } else { ProjectId::from_uuid(uuid::Uuid::nil()) }
}
