//! Reading keys before anybody asks about them, so that a process that was just started does not ask Postgres about each.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use tronch_core::Handle;

use super::memory::Facts as _;
use super::{KeyFacts, Verifier};
use crate::error::Error;
use crate::schema::keys;

/// Keys of one question.
const AT_ONCE: usize = 1_000;

impl Verifier {
    /// Reads at most so many keys that are not revoked, the ones that were used last first. Gives how many it read.
    ///
    /// # Errors
    /// `Unavailable` when Postgres is; what was read so far is remembered.
    pub async fn warm_up(&self, most: u32) -> Result<usize, Error> {
        let handles = self.used_last(most).await?;
        for some in handles.chunks(AT_ONCE) {
            // Before the question: what is committed from now on may be missing in the answer.
            let read_at = self.node.marks.position();
            for (handle, found) in KeyFacts::read(&self.engine, some).await? {
                match found {
                    Ok(found) => self.keys.take_in(&self.node, handle, read_at, found),
                    // What is wrong with one keeps no other from being read.
                    Err(error) => error.log_if_ours(),
                }
            }
        }
        Ok(handles.len())
    }

    /// This crosses tenants because a process answers for all of them.
    async fn used_last(&self, most: u32) -> Result<Vec<Handle>, Error> {
        if most == 0 {
            return Ok(Vec::new());
        }
        let mut connection = self.engine.db().system().await?;
        let handles: Vec<String> = keys::table
            .filter(keys::revoked_at.is_null())
            .filter(keys::last_used_at.is_not_null())
            .order((keys::last_used_at.desc(), keys::id))
            .limit(most.into())
            .select(keys::handle)
            .load(&mut connection)
            .await?;
        handles.iter().map(|handle| handle.parse().map_err(Error::internal)).collect()
    }
}
