//! The data plane: who may ask, and whether a key may pass. It has its own pool and changes nothing.

mod snapshot;
mod token;

use chrono::Utc;
use tronch_core::{
    Ask, Environment, KeySnapshot, MalformedReason, PermissionQuery, PresentedKey, ProjectId, ProjectSlug, VerdictCode,
    decide,
};

use crate::Engine;
use crate::error::Error;
use crate::keyring::TagLabel;
use crate::usage::Event;
use snapshot::StoredKey;

pub use snapshot::KeyFacts;
pub use token::ServiceToken;

/// What a service asks about a key.
pub struct VerifyRequest {
    /// The key as its holder presented it.
    pub key: String,
    /// The project the service expects.
    pub project: Option<ProjectSlug>,
    /// The environment the service expects.
    pub environment: Option<Environment>,
    /// What the key must hold.
    pub permissions: Option<PermissionQuery>,
}

/// The answer. Facts come with every code but MALFORMED and NOT_FOUND.
#[derive(Debug)]
pub struct Verdict {
    /// The first check that failed, or VALID.
    pub code: VerdictCode,
    /// Why the text is no key.
    pub reason: Option<MalformedReason>,
    /// What the service may know of the key.
    pub facts: Option<Box<KeyFacts>>,
}

impl Verdict {
    fn bare(code: VerdictCode, reason: Option<MalformedReason>) -> Self {
        Self { code, reason, facts: None }
    }
}

/// The state of the data plane.
#[derive(Clone)]
pub struct Verifier {
    engine: Engine,
}

impl Verifier {
    /// A verifier over an open engine.
    pub fn new(engine: &Engine) -> Self {
        Self { engine: engine.clone() }
    }

    /// Whether a key may pass.
    ///
    /// # Errors
    /// `Forbidden` without `keys.verify` or outside the token's own limits; `Invalid` when the project is needed;
    /// `Unavailable` when we cannot know. Never a verdict because something of ours is down.
    pub async fn verify(&self, token: &ServiceToken, request: VerifyRequest) -> Result<Verdict, Error> {
        token.require(tronch_core::Permission::KeysVerify)?;
        let environment = token.expected_environment(request.environment)?;
        let project = token.expected_project(&self.engine, request.project.as_ref()).await?;
        let verdict = self.check(token, &request, environment, &project).await?;
        self.engine.usage().offer(event(token, environment, &verdict));
        metrics::counter!("tronch_verdicts_total", "code" => verdict.code.as_str()).increment(1);
        Ok(verdict)
    }

    async fn check(
        &self,
        token: &ServiceToken,
        request: &VerifyRequest,
        environment: Environment,
        project: &ProjectSlug,
    ) -> Result<Verdict, Error> {
        let malformed = |reason| Verdict::bare(VerdictCode::Malformed, Some(reason));
        let presented = match PresentedKey::parse(&request.key) {
            Ok(presented) => presented,
            Err(reason) => return Ok(malformed(reason)),
        };
        if self.engine.keyring().gate_value(presented.gate_input()) != presented.gate_value() {
            return Ok(malformed(MalformedReason::Gate));
        }
        let not_found = || Verdict::bare(VerdictCode::NotFound, None);
        let Some(stored) = snapshot::find(&self.engine, presented.handle()).await? else {
            return Ok(not_found());
        };
        // The tenant is compared before the tag: another tenant's key must not even be recognised.
        if stored.snapshot.tenant_id != token.tenant_id {
            return Ok(not_found());
        }
        if !self.tag_matches(&stored, presented.expose())? {
            return Ok(not_found());
        }
        Ok(judge(token, request, environment, project, stored))
    }

    fn tag_matches(&self, stored: &StoredKey, text: &str) -> Result<bool, Error> {
        let tenant_id = stored.snapshot.tenant_id;
        match self.engine.keyring().tag_with(&stored.tag_key, TagLabel::Key, tenant_id, text) {
            Some(tag) => Ok(tag.matches(&stored.tag)),
            // Made with a master secret that is not at hand: we cannot know.
            None => Err(Error::Unavailable { what: "the master secret this key was made with", source: None }),
        }
    }
}

fn event(token: &ServiceToken, asked: Environment, verdict: &Verdict) -> Event {
    let facts = verdict.facts.as_deref();
    Event {
        at: Utc::now(),
        tenant_id: token.tenant_id,
        token_id: token.id,
        key: facts.map(|facts| (facts.key_id, facts.project_id)),
        environment: facts.map_or(asked, |facts| facts.environment),
        code: verdict.code,
    }
}

fn judge(
    token: &ServiceToken,
    request: &VerifyRequest,
    environment: Environment,
    project: &ProjectSlug,
    stored: StoredKey,
) -> Verdict {
    let ask = Ask {
        tenant_id: token.tenant_id,
        project_id: expected_project_id(&stored.snapshot, &stored.facts, project),
        environment,
        permissions: request.permissions.clone(),
    };
    match decide(&stored.snapshot, &ask, Utc::now()) {
        VerdictCode::NotFound => Verdict::bare(VerdictCode::NotFound, None),
        code => Verdict { code, reason: None, facts: Some(Box::new(stored.facts)) },
    }
}

/// The key's own project when the slugs agree, else one that no key has: another project's key is not found.
fn expected_project_id(snapshot: &KeySnapshot, facts: &KeyFacts, expected: &ProjectSlug) -> ProjectId {
    if facts.project == *expected { snapshot.project_id } else { ProjectId::from_uuid(uuid::Uuid::nil()) }
}
