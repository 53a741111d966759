//! What the script has done to keys and tokens: their rows at each time, and the audit events that tell of it. Purely;
//! writing them down is in `store.rs`.

use chrono::TimeDelta;
use serde_json::{Value, json};
use tronch_core::{KeyId, KeySnapshot, RequestId, ServiceTokenId, Timestamp};
use uuid::Uuid;

use super::cast::{PEOPLE, PROJECTS, SCRIPT_ADDRESS, SCRIPT_USER_AGENT, TENANT_NAME};
use super::script::{Actor, Deed, KeyPart, Script, TokenPart};
use crate::caller::{self, Caller, Origin};
use crate::error::Error;
use crate::keys::rows::{KeyRow, audited};
use crate::secret::Minted;
use crate::tokens::rows::{TokenRow, audited as audited_token};

/// The ids that rows and events name.
pub(super) struct Ids {
    pub(super) tenant: tronch_core::TenantId,
    /// As in [`PEOPLE`].
    pub(super) people: Vec<(tronch_core::UserId, String, String)>,
    /// As in [`PROJECTS`].
    pub(super) projects: Vec<Uuid>,
    pub(super) keys: Vec<KeyId>,
    pub(super) tokens: Vec<ServiceTokenId>,
}

/// A key, and what it was from which time on.
pub(super) struct LivedKey {
    pub(super) row: KeyRow,
    pub(super) life: Vec<(Timestamp, KeySnapshot<'static>)>,
}

/// Who did something, as the audit log tells of them, and where they came from. Nobody of them is a caller.
#[derive(Clone)]
pub(super) struct Doer {
    pub(super) actor: caller::Actor,
    pub(super) origin: Origin,
}

/// An audit event that is not written yet.
pub(super) struct Entry {
    pub(super) at: Timestamp,
    pub(super) doer: Doer,
    pub(super) action: &'static str,
    pub(super) target_kind: &'static str,
    pub(super) target_id: String,
    pub(super) target_name: String,
    pub(super) before: Option<Value>,
    pub(super) after: Option<Value>,
    pub(super) reason: Option<&'static str>,
}

/// Everything that happened, in the order of time.
pub(super) struct History {
    pub(super) keys: Vec<LivedKey>,
    pub(super) tokens: Vec<TokenRow>,
    pub(super) entries: Vec<Entry>,
}

impl History {
    /// Plays the script. `keys` and `tokens` were made for its parts, in their order.
    pub(super) fn of(
        script: &Script,
        ids: &Ids,
        slug: &str,
        keys: &[Minted],
        tokens: &[Minted],
    ) -> Result<Self, Error> {
        let mut history = Self { keys: Vec::new(), tokens: Vec::new(), entries: founding(script, ids, slug) };
        for (index, (part, minted)) in script.tokens.iter().zip(tokens).enumerate() {
            history.play_token(script, ids, part, (ids.tokens[index], minted))?;
        }
        for (index, (part, minted)) in script.keys.iter().zip(keys).enumerate() {
            history.play_key(ids, part, (ids.keys[index], minted))?;
        }
        history.entries.sort_by_key(|entry| entry.at);
        for entry in &mut history.entries {
            entry.doer.origin.request_id = Some(RequestId::generate(entry.at, crate::random::bytes()?));
        }
        Ok(history)
    }

    fn play_key(&mut self, ids: &Ids, part: &KeyPart, (id, minted): (KeyId, &Minted)) -> Result<(), Error> {
        let mut row = first_row(ids, part, id, minted);
        let mut life = vec![(row.created_at, row.snapshot()?)];
        let created_why = part.predecessor.map(|_| "successor of a rotated key");
        let entry = |at, actor, action, before: Option<&KeyRow>, after: &KeyRow, reason| Entry {
            at,
            doer: doer(ids, actor),
            action,
            target_kind: "key",
            target_id: id.to_string(),
            target_name: after.name.clone(),
            before: before.map(audited),
            after: Some(audited(after)),
            reason,
        };
        self.entries.push(entry(row.created_at, part.created_by, "create_key", None, &row, created_why));
        for (at, actor, deed) in &part.deeds {
            let before = row.clone();
            let (action, reason) = apply(&mut row, *at, deed, ids);
            row.updated_at = *at;
            self.entries.push(entry(*at, *actor, action, Some(&before), &row, reason));
            life.push((*at, row.snapshot()?));
        }
        self.keys.push(LivedKey { row, life });
        Ok(())
    }

    fn play_token(
        &mut self,
        script: &Script,
        ids: &Ids,
        part: &TokenPart,
        (id, minted): (ServiceTokenId, &Minted),
    ) -> Result<(), Error> {
        let mut row = TokenRow {
            id: id.uuid(),
            project_id: part.project.map(|project| ids.projects[project]),
            environment: part.environment.map(|environment| environment.as_str().to_owned()),
            handle: minted.handle.to_string(),
            name: part.name.to_owned(),
            permissions: part.permissions.iter().map(|permission| permission.as_str().to_owned()).collect(),
            created_at: minted.created_at,
            expires_at: part.expires_at,
            revoked_at: None,
            last_used_at: part.last_used_at,
            bootstrap: false,
            successor_id: None,
        };
        // What is made while somebody runs the command is made by them.
        let maker = if part.created_at == script.now { operator() } else { doer(ids, Actor::Person(1)) };
        let entry = |at, doer, action, before: Option<Value>, after: &TokenRow| Entry {
            at,
            doer,
            action,
            target_kind: "service_token",
            target_id: id.to_string(),
            target_name: part.name.to_owned(),
            before,
            after: Some(audited_token(after)),
            reason: None,
        };
        self.entries.push(entry(row.created_at, maker, "create_token", None, &row));
        if let Some(at) = part.revoked_at {
            let before = audited_token(&row);
            row.revoked_at = Some(at);
            self.entries.push(entry(at, doer(ids, Actor::Person(0)), "revoke_token", Some(before), &row));
        }
        self.tokens.push(row);
        Ok(())
    }
}

fn first_row(ids: &Ids, part: &KeyPart, id: KeyId, minted: &Minted) -> KeyRow {
    KeyRow {
        id: id.uuid(),
        tenant_id: ids.tenant.uuid(),
        project_id: ids.projects[part.project],
        environment: part.environment.as_str().to_owned(),
        handle: minted.handle.to_string(),
        name: part.name.clone(),
        name_folded: part.name.to_lowercase(),
        owner_external_id: Some(part.owner.to_owned()),
        metadata: part.metadata.clone(),
        permissions: part.permissions.iter().map(|text| (*text).to_owned()).collect(),
        created_at: minted.created_at,
        updated_at: minted.created_at,
        expires_at: part.expires_at,
        disabled_at: None,
        revoked_at: None,
        revoke_reason: None,
        grace_ends_at: None,
        predecessor_id: part.predecessor.map(|index| ids.keys[index].uuid()),
        successor_id: None,
        lineage_id: None,
        last_used_at: None,
    }
}

/// Does it, as the verbs do; returns the action's word and the reason.
fn apply(row: &mut KeyRow, at: Timestamp, deed: &Deed, ids: &Ids) -> (&'static str, Option<&'static str>) {
    match deed {
        Deed::Permit(permissions) => {
            row.permissions = permissions.iter().map(|text| (*text).to_owned()).collect();
            ("update_key", None)
        }
        Deed::Disable => {
            row.disabled_at = Some(at);
            ("disable_key", None)
        }
        Deed::Enable => {
            row.disabled_at = None;
            ("enable_key", None)
        }
        Deed::Revoke(reason) => {
            row.revoked_at = Some(at);
            row.revoke_reason = Some((*reason).to_owned());
            ("revoke_key", Some(*reason))
        }
        Deed::Rotate { successor, grace } => {
            row.successor_id = Some(ids.keys[*successor].uuid());
            row.grace_ends_at = Some(at + *grace);
            ("rotate_key", None)
        }
        Deed::FinishRotation => {
            row.grace_ends_at = Some(at);
            ("finish_rotation", None)
        }
    }
}

/// Tenant, people and second project.
fn founding(script: &Script, ids: &Ids, slug: &str) -> Vec<Entry> {
    let entry = |at, doer, action, target_kind, target_id, target_name: &str, after| Entry {
        at,
        doer,
        action,
        target_kind,
        target_id,
        target_name: target_name.to_owned(),
        before: None,
        after: Some(after),
        reason: None,
    };
    let (owner_id, email, _) = &ids.people[0];
    let founded = json!({ "slug": slug, "name": TENANT_NAME, "owner": email, "project": PROJECTS[0].slug });
    let owner = doer(ids, Actor::Person(0));
    let at = script.founded_at;
    let mut entries =
        vec![entry(at, owner.clone(), "create_tenant", "tenant", ids.tenant.to_string(), TENANT_NAME, founded)];
    for ((user_id, email, _), person) in ids.people.iter().zip(&PEOPLE).filter(|((id, ..), _)| id != owner_id) {
        let at = joined_at(script, person.joined_after_days);
        let role = json!({ "role": person.role.as_str() });
        entries.push(entry(at, operator(), "add_member", "member", user_id.to_string(), email, role));
    }
    for (id, project) in ids.projects.iter().zip(&PROJECTS).skip(1) {
        let after = json!({ "slug": project.slug, "name": project.name });
        let id = tronch_core::ProjectId::from_uuid(*id).to_string();
        entries.push(entry(
            at + TimeDelta::hours(2),
            owner.clone(),
            "create_project",
            "project",
            id,
            project.name,
            after,
        ));
    }
    entries
}

/// When somebody came to the tenant.
pub(super) fn joined_at(script: &Script, after_days: i64) -> Timestamp {
    script.founded_at + TimeDelta::days(after_days) + TimeDelta::minutes(after_days * 7)
}

fn doer(ids: &Ids, actor: Actor) -> Doer {
    let from = |address, user_agent: &str| Origin {
        address: Some(address),
        user_agent: Some(user_agent.to_owned()),
        request_id: None,
    };
    match actor {
        Actor::Person(index) => {
            let (user_id, _, name) = &ids.people[index];
            let person = &PEOPLE[index];
            Doer {
                actor: caller::Actor { kind: "member", id: user_id.to_string(), name: name.clone() },
                origin: from(person.address, person.user_agent),
            }
        }
        Actor::Provisioning => Doer {
            actor: caller::Actor {
                kind: "service_token",
                id: ids.tokens[0].to_string(),
                name: "Provisioning".to_owned(),
            },
            origin: from(SCRIPT_ADDRESS, SCRIPT_USER_AGENT),
        },
    }
}

/// The person who owns the organisation.
pub(super) fn owner(ids: &Ids) -> Doer {
    doer(ids, Actor::Person(0))
}

fn operator() -> Doer {
    Doer { actor: Caller::operator().actor(), origin: Origin::default() }
}
