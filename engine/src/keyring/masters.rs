//! The master secrets an installation has had: which is in use, which may be put in its place, and what still depends on
//! one that is to go. The secrets themselves are files and variables; here are only their ids.

use chrono::TimeDelta;
use diesel::prelude::*;
use diesel_async::{AsyncConnection as _, RunQueryDsl};

use super::{Master, hex};
use crate::caller::Caller;
use crate::clock;
use crate::db::{Connection, OpenError};
use crate::error::Error;
use crate::schema::{keys, master_keys, nodes, service_tokens};
use crate::{Engine, PreparedDatabase};

/// A node that was not heard of for so long is gone.
const HEARD_OF_SECONDS: i64 = 305;

/// A master secret, by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterView {
    /// 16 hexadecimal digits.
    pub id: String,
    /// Whether new keys are tagged with it.
    pub is_current: bool,
    /// Whether this process has it.
    pub is_at_hand: bool,
    /// Keys whose tag was made with it.
    pub keys: i64,
    /// The same of service tokens.
    pub tokens: i64,
    /// Running nodes that have it.
    pub nodes_with: Vec<String>,
    /// Running nodes that have it not.
    pub nodes_without: Vec<String>,
}

/// Every master secret that is at hand, current, or that a key or token depends on.
///
/// # Errors
/// `Forbidden` for anybody but the operator; `Unavailable` when Postgres is.
pub async fn keyring_status(engine: &Engine, caller: &Caller) -> Result<Vec<MasterView>, Error> {
    caller.require_operator()?;
    let mut connection = engine.db().system().await?;
    let at_hand: Vec<Vec<u8>> = engine.keyring().ids().iter().map(|id| id.as_bytes().to_vec()).collect();
    read_status(&mut connection, &at_hand).await
}

/// This crosses tenants because the master secret is one for all of them.
async fn read_status(connection: &mut Connection, at_hand: &[Vec<u8>]) -> Result<Vec<MasterView>, Error> {
    use diesel::dsl::count_star;
    let known: Vec<(Vec<u8>, bool)> =
        master_keys::table.select((master_keys::id, master_keys::current)).load(connection).await?;
    let of_keys: Vec<(Vec<u8>, i64)> =
        keys::table.group_by(keys::tag_key).select((keys::tag_key, count_star())).load(connection).await?;
    let of_tokens: Vec<(Vec<u8>, i64)> = service_tokens::table
        .group_by(service_tokens::tag_key)
        .select((service_tokens::tag_key, count_star()))
        .load(connection)
        .await?;
    let heard_of = clock::now() - TimeDelta::seconds(HEARD_OF_SECONDS);
    let running: Vec<(String, Vec<Vec<u8>>)> = nodes::table
        .filter(nodes::renewed_at.gt(heard_of))
        .select((nodes::name, nodes::master_ids))
        .order(nodes::name)
        .load(connection)
        .await?;
    let mut ids: Vec<&Vec<u8>> = known.iter().map(|(id, _)| id).chain(at_hand).collect();
    ids.extend(of_keys.iter().chain(&of_tokens).map(|(id, _)| id));
    ids.sort_unstable();
    ids.dedup();
    let count = |counts: &[(Vec<u8>, i64)], id: &[u8]| {
        counts.iter().find(|(counted, _)| counted == id).map_or(0, |(_, count)| *count)
    };
    let view = |id: &Vec<u8>| {
        let (with, without): (Vec<_>, Vec<_>) = running.iter().partition(|(_, held)| held.contains(id));
        let names = |nodes: Vec<&(String, Vec<Vec<u8>>)>| nodes.into_iter().map(|(name, _)| name.clone()).collect();
        MasterView {
            id: hex(id),
            is_current: known.iter().any(|(known, current)| known == id && *current),
            is_at_hand: at_hand.contains(id),
            keys: count(&of_keys, id),
            tokens: count(&of_tokens, id),
            nodes_with: names(with),
            nodes_without: names(without),
        }
    };
    Ok(ids.into_iter().map(view).collect())
}

/// Makes another master secret the current one: new keys are tagged with it, and every running node must have it.
///
/// # Errors
/// `Forbidden` for anybody but the operator; `Invalid` when it is not at hand; `Conflict` when a running node has it not;
/// `Unavailable`.
pub async fn activate_master(engine: &Engine, caller: &Caller, id: &str) -> Result<(), Error> {
    let status = keyring_status(engine, caller).await?;
    let wanted = status.iter().find(|master| master.id == id && master.is_at_hand);
    let wanted = wanted.ok_or_else(|| Error::invalid("id", "no master secret of this id is at hand here"))?;
    if !wanted.nodes_without.is_empty() {
        return Err(Error::Conflict {
            code: tronch_core::ErrorCode::Conflict,
            message: format!("these nodes do not have it yet: {}", wanted.nodes_without.join(", ")),
            field: None,
        });
    }
    let id = engine
        .keyring()
        .ids()
        .into_iter()
        .find(|one| hex(one.as_bytes()) == id)
        .ok_or_else(|| Error::invalid("id", "no master secret of this id is at hand here"))?;
    let mut connection = engine.db().system().await?;
    make_current(&mut connection, id.as_bytes()).await
}

impl PreparedDatabase {
    /// Whether `id` is the master secret that this database uses: to be asked before another is made.
    ///
    /// # Errors
    /// `Verb(Invalid)` when it is not.
    pub async fn require_current_master(&self, id: &str) -> Result<Vec<u8>, OpenError> {
        let mut connection = self.db.system().await?;
        let current = super::current_id(&mut connection).await?;
        let current = current.ok_or_else(|| Error::invalid("id", "this database uses no master secret yet"))?;
        if hex(&current) != id {
            let message = format!("this database uses the master secret {}, not {id}", hex(&current));
            return Err(Error::invalid("id", message).into());
        }
        Ok(current)
    }

    /// Gives up the master secret that this database uses, and puts the first of `masters` in its place. Its keys and
    /// tokens are proven by their slow hashes from then on, once each. `lost` is the id of the one that is gone, so that
    /// nobody gives up another by mistake.
    ///
    /// # Errors
    /// `Verb(Invalid)` when it is not the one in use, or is at hand after all.
    pub async fn give_up_master(&self, masters: &[Master], lost: &str) -> Result<String, OpenError> {
        let current = self.require_current_master(lost).await?;
        let mut connection = self.db.system().await?;
        if masters.iter().any(|master| master.id().as_bytes() == current.as_slice()) {
            return Err(Error::invalid("id", "this master secret is not lost: it is at hand").into());
        }
        let first = masters.first().ok_or_else(|| Error::invalid("id", "there is no other master secret at hand"))?;
        make_current(&mut connection, first.id().as_bytes()).await?;
        Ok(hex(first.id().as_bytes()))
    }
}

async fn make_current(connection: &mut Connection, id: &[u8]) -> Result<(), Error> {
    connection
        .transaction::<(), Error, _>(async |connection| {
            diesel::update(master_keys::table.filter(master_keys::current))
                .set(master_keys::current.eq(false))
                .execute(connection)
                .await?;
            diesel::insert_into(master_keys::table)
                .values((master_keys::id.eq(id), master_keys::current.eq(true)))
                .on_conflict(master_keys::id)
                .do_update()
                .set(master_keys::current.eq(true))
                .execute(connection)
                .await?;
            Ok(())
        })
        .await
}
