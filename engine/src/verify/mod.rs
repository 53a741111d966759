//! The data plane: who may ask, and whether a key may pass. It has its own pool and changes nothing. What was asked about
//! before is answered from memory, as long as that is known to count.

mod absent;
mod budget;
mod cache;
mod key;
mod memory;
mod token;

use std::sync::Arc;
use std::time::Duration;

use metrics::Counter;
use tronch_core::{
    Ask, Environment, MalformedReason, PermissionQuery, PresentedKey, ProjectId, ProjectSlug, VerdictCode, decide,
};

use crate::Engine;
use crate::clock::{self, Moment};
use crate::error::Error;
use crate::keyring::TagLabel;
use crate::node::Node;
use crate::usage::Event;
use cache::Remembered;
use memory::{Known, Memory, Presented};
use token::TokenFacts;

pub use key::KeyFacts;
pub(crate) use key::Places;
pub use token::ServiceToken;

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
}

/// The answer.
#[derive(Debug)]
pub struct Verdict {
    /// The first check that failed, or VALID.
    pub code: VerdictCode,
    /// Why the text is no key.
    pub reason: Option<MalformedReason>,
    known: Option<Arc<Remembered<KeyFacts>>>,
    /// How old the knowledge behind the answer is; zero when it was read for this call.
    pub data_age: Duration,
}

impl Verdict {
    fn bare(code: VerdictCode, reason: Option<MalformedReason>) -> Self {
        Self { code, reason, known: None, data_age: Duration::ZERO }
    }

    /// What the service may know of the key: with every code but MALFORMED and NOT_FOUND.
    pub fn facts(&self) -> Option<&KeyFacts> {
        self.known.as_ref().map(|entry| &entry.facts)
    }
}

/// The state of the data plane.
#[derive(Clone)]
pub struct Verifier {
    engine: Engine,
    node: Arc<Node>,
    keys: Arc<Memory<KeyFacts>>,
    tokens: Arc<Memory<TokenFacts>>,
    verdicts: Arc<[Counter]>,
}

impl Verifier {
    pub(crate) fn new(engine: &Engine, node: Arc<Node>, patience: Duration) -> Self {
        let counter = |code: VerdictCode| metrics::counter!("tronch_verdicts_total", "code" => code.as_str());
        Self {
            engine: engine.clone(),
            node,
            keys: Arc::new(Memory::new(patience)),
            tokens: Arc::new(Memory::new(patience)),
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
            Ok(presented) => self.check(token, presented, environment, project, request.permissions.as_ref()).await?,
            Err(reason) => Verdict::bare(VerdictCode::Malformed, Some(*reason)),
        };
        self.engine.usage().offer(event(token, environment, &verdict));
        if let Some(counter) = self.verdicts.get(verdict.code as usize) {
            counter.increment(1);
        }
        Ok(verdict)
    }

    async fn check(
        &self,
        token: &ServiceToken,
        presented: &PresentedKey,
        environment: Environment,
        project: &ProjectSlug,
        permissions: Option<&PermissionQuery>,
    ) -> Result<Verdict, Error> {
        let known = match self.keys.recall(&self.node, presented.handle()) {
            Ok(known) => known,
            Err(_) if !self.passes_gate(presented) => return Ok(gate_refused()),
            Err(_) => {
                let asked = Presented { handle: presented.handle(), created_ms: presented.created_ms() };
                memory::require_budget(token.unknown_keys(), Moment::now())?;
                match self.keys.look_up(&self.engine, &self.node, asked).await? {
                    Some(known) => known,
                    None => return self.unknown(token, Moment::now()),
                }
            }
        };
        let facts = &known.entry.facts;
        // The tenant is compared before the tag: another tenant's key must not even be recognised.
        if facts.snapshot.tenant_id != token.tenant_id() {
            return if self.passes_gate(presented) { self.unknown(token, known.now) } else { Ok(gate_refused()) };
        }
        if !self.tag_matches(facts, presented)? {
            return Ok(if self.passes_gate(presented) { not_found() } else { gate_refused() });
        }
        Ok(judge(token, environment, project, permissions, known))
    }

    /// A handle that is nobody's, or a stranger's: both cost the same, so that nobody can tell them apart by what comes
    /// after.
    fn unknown(&self, token: &ServiceToken, now: Moment) -> Result<Verdict, Error> {
        memory::require_budget(token.unknown_keys(), now)?;
        token.unknown_keys().charge(now);
        Ok(not_found())
    }

    fn passes_gate(&self, presented: &PresentedKey) -> bool {
        self.engine.keyring().gate_value(presented.gate_input()) == presented.gate_value()
    }

    fn tag_matches(&self, facts: &KeyFacts, presented: &PresentedKey) -> Result<bool, Error> {
        let tenant_id = facts.snapshot.tenant_id;
        match self.engine.keyring().tag_with(facts.tag_key, TagLabel::Key, tenant_id, presented.expose()) {
            Some(tag) => Ok(tag.matches(&facts.tag)),
            // Made with a master secret that is not at hand: we cannot know.
            None => Err(Error::Unavailable { what: "the master secret this key was made with", source: None }),
        }
    }
}

fn not_found() -> Verdict {
    Verdict::bare(VerdictCode::NotFound, None)
}

fn gate_refused() -> Verdict {
    Verdict::bare(VerdictCode::Malformed, Some(MalformedReason::Gate))
}

fn event(token: &ServiceToken, asked: Environment, verdict: &Verdict) -> Event {
    let facts = verdict.facts();
    Event {
        at: clock::now(),
        tenant_id: token.tenant_id(),
        token_id: token.id(),
        key: facts.map(|facts| (facts.key_id(), facts.project_id())),
        environment: facts.map_or(asked, KeyFacts::environment),
        code: verdict.code,
    }
}

fn judge(
    token: &ServiceToken,
    environment: Environment,
    project: &ProjectSlug,
    permissions: Option<&PermissionQuery>,
    known: Known<KeyFacts>,
) -> Verdict {
    let facts = &known.entry.facts;
    let ask =
        Ask { tenant_id: token.tenant_id(), project_id: expected_project_id(facts, project), environment, permissions };
    match decide(&facts.snapshot, &ask, clock::at(known.now)) {
        VerdictCode::NotFound => not_found(),
        code => Verdict { code, reason: None, known: Some(known.entry), data_age: known.age },
    }
}

/// The key's own project when the slugs agree, else one that no key has: another project's key is not found.
fn expected_project_id(facts: &KeyFacts, expected: &ProjectSlug) -> ProjectId {
    if facts.project() == expected { facts.project_id() } else { ProjectId::from_uuid(uuid::Uuid::nil()) }
}
