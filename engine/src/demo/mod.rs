//! A demo tenant to look around in: keys in every state, an audit trail, a month of usage. It is made whole and can be
//! removed again at once, where any other tenant is deleted first and stays for a week.

mod calls;
mod cast;
mod dice;
mod history;
mod limits;
mod remove;
mod script;
mod store;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use tronch_core::{
    CredentialKind, EmailAddress, ErrorCode, KeyId, PersonName, ProjectId, Role, SecretOnce, ServiceTokenId, TenantId,
    TenantSlug, Timestamp,
};
use zeroize::Zeroizing;

use crate::Engine;
use crate::caller::{Caller, Scope};
use crate::clock;
use crate::error::Error;
use crate::members::Password;
use crate::schema::tenants;
use crate::secret::{self, Minted};
use crate::tenancy::TenantTx;
use cast::PEOPLE;
use dice::Dice;
use history::{History, Ids};
use script::Script;
use store::{Arrived, Newcomer};

pub use remove::{RemovedDemo, remove_demo};

/// Every demo has the same shape.
const SEED: u64 = 0x7472_6f6e_6368;

/// What a new demo is to be.
pub struct NewDemo {
    /// Its place in addresses.
    pub slug: TenantSlug,
    /// Who is to own it; otherwise somebody is made up.
    pub owner: Option<(EmailAddress, Password)>,
}

/// A demo that was just made, and what opens it.
pub struct MadeDemo {
    /// Its people: address, role, and whether they existed before; those keep their password. The owner is the first.
    pub people: Vec<(String, Role, bool)>,
    /// The password of those who were made up.
    pub password: SecretOnce,
    /// A service token that may do everything in the demo.
    pub service_token: SecretOnce,
    /// A live key that is valid.
    pub key: SecretOnce,
    /// That key's project.
    pub project: &'static str,
    /// How many keys there are.
    pub keys: usize,
}

/// What a slug stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing yet.
    Free,
    /// A demo.
    Demo,
    /// A tenant that is no demo.
    Tenant,
}

/// What there is under a slug.
///
/// This crosses tenants because which tenant a slug names is not known before it is read.
///
/// # Errors
/// `Forbidden` for anybody but the operator; `Unavailable`.
pub async fn standing(engine: &Engine, caller: &Caller, slug: &TenantSlug) -> Result<Standing, Error> {
    caller.require_operator()?;
    let mut connection = engine.db().system().await?;
    let demo: Option<bool> = tenants::table
        .filter(tenants::slug.eq(slug.as_str()))
        .select(tenants::demo)
        .first(&mut connection)
        .await
        .optional()?;
    Ok(match demo {
        None => Standing::Free,
        Some(true) => Standing::Demo,
        Some(false) => Standing::Tenant,
    })
}

/// Makes a demo, all or nothing. Its keys are real keys; but for one, nobody ever learns their secrets.
///
/// # Errors
/// `Forbidden` for anybody but the operator; `Conflict` when the slug is taken; `Unavailable`.
pub async fn make_demo(engine: &Engine, caller: &Caller, new_demo: NewDemo) -> Result<MadeDemo, Error> {
    caller.require_operator()?;
    let slug = new_demo.slug.clone();
    if standing(engine, caller, &slug).await? != Standing::Free {
        return Err(Error::Conflict {
            code: ErrorCode::NameTaken,
            message: format!("the tenant {slug} exists already"),
            field: Some("tenant"),
        });
    }
    let mut dice = Dice::seeded(SEED);
    let script = script::write(clock::now(), &mut dice);
    let tenant_id = TenantId::generate(script.founded_at, crate::random::bytes()?);
    // Hashing takes most of the time and waits outside of a transaction.
    // 119 bits.
    let password = crate::random::grouped_digits::<20>(5)?;
    let newcomers = newcomers(engine, new_demo, &password).await?;
    let (mut keys, mut tokens) = mint(engine, tenant_id, &script).await?;
    let project_ids = project_ids(&script)?;

    let mut transaction = TenantTx::begin(engine.db().tenant().await?, tenant_id, Scope::default()).await?;
    let arrived = store::found(&mut transaction, &script, slug.as_str(), &newcomers, &project_ids).await?;
    let ids = Ids {
        tenant: tenant_id,
        people: arrived.iter().map(|one| (one.user_id, one.email.clone(), one.name.clone())).collect(),
        projects: project_ids,
        keys: ids(&keys, KeyId::generate)?,
        tokens: ids(&tokens, ServiceTokenId::generate)?,
    };
    let history = History::of(&script, &ids, slug.as_str(), &keys, &tokens)?;
    let calls = calls::count(&script, &history.keys, &mut dice);
    let lines = history.keys.iter().map(|key| (key.row.id, key.row.predecessor_id.unwrap_or(key.row.id))).collect();
    store::fill(&mut transaction, history, (&keys, &tokens), &calls).await?;
    limits::set(&mut transaction, &script, &ids.projects, &history::owner(&ids), (&calls, &lines)).await?;
    transaction.commit().await?;

    Ok(MadeDemo {
        people: told(&arrived),
        password: SecretOnce::new(password.to_string()),
        service_token: tokens.swap_remove(script::SHOWN_TOKEN).secret,
        project: cast::PROJECTS[script.keys[script::SHOWN_KEY].project].slug,
        keys: keys.len(),
        key: keys.swap_remove(script::SHOWN_KEY).secret,
    })
}

/// Address, role, and whether they were there before. Somebody who was named as owner by an address of the demo's own is
/// told of once, as what they are.
fn told(arrived: &[Arrived]) -> Vec<(String, Role, bool)> {
    let first = |index: usize, one: &Arrived| arrived[..index].iter().all(|earlier| earlier.user_id != one.user_id);
    let people = arrived.iter().zip(&PEOPLE).enumerate().filter(|(index, (one, _))| first(*index, one));
    people.map(|(_, (one, person))| (one.email.clone(), person.role, !one.is_new)).collect()
}

/// The demo's people with their hashes; each has one of their own, also where the password is the same.
async fn newcomers(engine: &Engine, new_demo: NewDemo, password: &Zeroizing<String>) -> Result<Vec<Newcomer>, Error> {
    let mut newcomers = Vec::with_capacity(PEOPLE.len());
    let mut owner = new_demo.owner;
    for person in &PEOPLE {
        let (email, name, password) = match owner.take() {
            Some((email, password)) => {
                let name = PersonName::parse(email.local_part()).map_err(|error| Error::invalid("email", error))?;
                (email, name, password.into_inner())
            }
            None => {
                let email = EmailAddress::parse(&format!("{}@{}.example", person.mailbox, new_demo.slug))
                    .map_err(|error| Error::invalid("tenant", error))?;
                (email, PersonName::parse(person.name).map_err(Error::internal)?, password.clone())
            }
        };
        newcomers.push(Newcomer { email, name, phc: engine.passwords().hash(password).await? });
    }
    Ok(newcomers)
}

/// Makes all credentials, two at a time: a running server's own hashing must not wait for ours.
async fn mint(engine: &Engine, tenant_id: TenantId, script: &Script) -> Result<(Vec<Minted>, Vec<Minted>), Error> {
    let wanted: Vec<(CredentialKind, Timestamp)> = (script.keys.iter())
        .map(|key| (CredentialKind::Key(key.environment), key.created_at))
        .chain(script.tokens.iter().map(|token| (CredentialKind::ServiceToken, token.created_at)))
        .collect();
    let lane = async |wanted: &[(CredentialKind, Timestamp)]| -> Result<Vec<Minted>, Error> {
        let mut minted = Vec::with_capacity(wanted.len());
        for (kind, created_at) in wanted {
            minted.push(secret::mint_of(engine, *kind, tenant_id, *created_at).await?);
        }
        Ok(minted)
    };
    let (first, second) = wanted.split_at(wanted.len() / 2);
    let (mut keys, rest) = tokio::try_join!(lane(first), lane(second))?;
    keys.extend(rest);
    let tokens = keys.split_off(script.keys.len());
    Ok((keys, tokens))
}

fn ids<Id>(minted: &[Minted], generate: impl Fn(Timestamp, [u8; 10]) -> Id) -> Result<Vec<Id>, Error> {
    minted.iter().map(|one| Ok(generate(one.created_at, crate::random::bytes()?))).collect()
}

fn project_ids(script: &Script) -> Result<Vec<uuid::Uuid>, Error> {
    (cast::PROJECTS.iter())
        .map(|_| Ok(ProjectId::generate(script.founded_at, crate::random::bytes()?).uuid()))
        .collect()
}
