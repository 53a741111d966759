//! The setup code: a one-time secret that only whoever started the server has seen. It opens the first sign-up.

use std::net::IpAddr;

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::Engine;
use crate::error::Error;
use crate::schema::{setup_codes, users};

/// A fresh setup code, 24 base-62 characters (143 bits) in groups of six. It prints only on purpose.
pub struct SetupCode(Zeroizing<String>);

impl SetupCode {
    /// The text, for the terminal and the file.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Whether anybody has signed up.
///
/// # Errors
/// `Unavailable` when Postgres is.
pub async fn is_set_up(engine: &Engine) -> Result<bool, Error> {
    let mut connection = engine.db().system().await?;
    any_user(&mut connection).await
}

async fn any_user(connection: &mut AsyncPgConnection) -> Result<bool, Error> {
    Ok(diesel::select(diesel::dsl::exists(users::table.select(users::id))).get_result(connection).await?)
}

/// Replaces the setup code while nobody has signed up; `None` once somebody has.
///
/// # Errors
/// `Unavailable` when Postgres is.
pub async fn renew_setup_code(engine: &Engine) -> Result<Option<SetupCode>, Error> {
    if is_set_up(engine).await? {
        return Ok(None);
    }
    let code = SetupCode(crate::random::grouped_digits::<24>(6)?);
    let mut connection = engine.db().system().await?;
    let hash = fingerprint(engine, code.expose());
    diesel::insert_into(setup_codes::table)
        .values((setup_codes::single.eq(true), setup_codes::code_hash.eq(hash.as_slice())))
        .on_conflict(setup_codes::single)
        .do_update()
        .set(setup_codes::code_hash.eq(hash.as_slice()))
        .execute(&mut connection)
        .await?;
    Ok(Some(code))
}

fn fingerprint(engine: &Engine, code: &str) -> [u8; 32] {
    engine.keyring().fingerprint("setup code", code.trim().as_bytes())
}

/// Checks the code without using it up, so that a wrong one costs no hashing and shows beside everything else that is
/// wrong.
///
/// # Errors
/// `SetupClosed` once anybody exists; `SetupCodeInvalid`; `TooMany` after too many wrong ones from one address; `Unavailable`.
pub async fn check_setup_code(engine: &Engine, code: &str, address: Option<IpAddr>) -> Result<(), Error> {
    let tries = engine.own_limits().begin_try(None, address)?;
    let mut connection = engine.db().system().await?;
    if any_user(&mut connection).await? {
        return Err(Error::SetupClosed);
    }
    let stored: Option<Vec<u8>> =
        setup_codes::table.select(setup_codes::code_hash).first(&mut connection).await.optional()?;
    let right = stored.is_some_and(|stored| bool::from(stored.as_slice().ct_eq(&fingerprint(engine, code))));
    if right {
        tries.give_back();
        Ok(())
    } else {
        Err(Error::SetupCodeInvalid)
    }
}

/// Uses the code up inside the founding transaction: of two sign-ups at once, one deletes the row and one finds none.
pub(super) async fn consume(engine: &Engine, connection: &mut AsyncPgConnection, code: &str) -> Result<(), Error> {
    let hash = fingerprint(engine, code);
    let deleted = diesel::delete(setup_codes::table.filter(setup_codes::code_hash.eq(hash.as_slice())))
        .execute(connection)
        .await?;
    if deleted == 1 { Ok(()) } else { Err(Error::SetupClosed) }
}
