//! Totals as Postgres keeps them: a row for each, which says how much was taken of it by all nodes together. What a row means is
//! the plain rule's business (`core/src/limit/window.rs`); here it is locked, changed and stored.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};
use tronch_core::{LimitId, TenantId, Timestamp, Window, WindowKind, WindowState, Wish};
use uuid::Uuid;

use super::share::Rest;
use crate::clock;
use crate::db::Connection;
use crate::error::Error;
use crate::schema::limit_totals;
use crate::tenancy::TenantTx;

/// What is asked about one total. Before more is reserved, what is left over is given back and what is owed is made up for.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) tenant_id: TenantId,
    pub(crate) limit_id: LimitId,
    pub(crate) whose: Uuid,
    pub(crate) window: Window,
    pub(crate) left_over: Option<Rest>,
    pub(crate) owed: Option<Rest>,
    pub(crate) wish: Option<Wish>,
    /// To be added to credits.
    pub(crate) added: u64,
}

/// How a total stands, and how much of it was reserved for whoever asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) state: WindowState,
    pub(crate) granted: u64,
}

/// What a row is found by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Place(Uuid, Uuid, String);

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = SqlUuid)]
    limit_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    whose: Uuid,
    #[diesel(sql_type = Text)]
    stretches: String,
    #[diesel(embed)]
    stored: StoredTotal,
}

/// How a total stands, in columns.
#[derive(Queryable, Selectable, QueryableByName)]
#[diesel(table_name = limit_totals)]
pub(super) struct StoredTotal {
    started_at: Timestamp,
    used: i64,
    used_before: i64,
    added: i64,
}

impl StoredTotal {
    pub(super) fn state(&self) -> WindowState {
        let count = |stored: i64| stored.unsigned_abs();
        WindowState {
            start_seconds: self.started_at.timestamp(),
            used: count(self.used),
            used_before: count(self.used_before),
            added: count(self.added),
        }
    }
}

impl Ask {
    fn place(&self) -> Place {
        Place(self.limit_id.uuid(), self.whose, stretches(self.window.kind()))
    }

    fn answer(&self, mut state: WindowState, now: Timestamp) -> Answer {
        let span = self.window.span(now);
        if let Some(Rest { start_seconds, units }) = self.left_over {
            state = self.window.give_back(state, start_seconds, units);
        }
        if let Some(Rest { start_seconds, units }) = self.owed {
            state = self.window.make_up(state, start_seconds, units);
        }
        if self.added > 0 {
            state = self.window.top_up(state, span, self.added);
        }
        match self.wish {
            None => Answer { state, granted: 0 },
            Some(wish) => {
                let (state, granted) = self.window.reserve(state, span, now, wish);
                Answer { state, granted }
            }
        }
    }
}

/// How time is cut, as rows of one cut are known by.
pub(super) fn stretches(kind: WindowKind) -> String {
    match kind {
        WindowKind::Fixed { seconds } => format!("fixed {seconds}"),
        WindowKind::Sliding { seconds } => format!("sliding {seconds}"),
        WindowKind::Calendar { unit, zone } => format!("{} {zone}", unit.as_str()),
        // However it is filled up, a balance goes on.
        WindowKind::Credits { .. } => "credits".to_owned(),
    }
}

/// A total of which so much was used in the stretch of now, as a demo has it.
pub(crate) async fn insert_used(
    transaction: &mut TenantTx,
    limit_id: LimitId,
    whose: Uuid,
    window: &Window,
    used: u64,
) -> Result<(), Error> {
    let span = window.span(clock::now());
    let state = WindowState { start_seconds: span.start.timestamp(), used, ..WindowState::default() };
    let row = (
        limit_totals::limit_id.eq(limit_id.uuid()),
        limit_totals::whose.eq(whose),
        limit_totals::stretches.eq(stretches(window.kind())),
        limit_totals::started_at.eq(span.start),
        limit_totals::over_at.eq(over_at(window, state)),
        limit_totals::used.eq(i64::try_from(used).unwrap_or(i64::MAX)),
        limit_totals::used_before.eq(0),
        limit_totals::added.eq(0),
    );
    transaction.insert(limit_totals::table, row).execute(transaction).await?;
    Ok(())
}

/// Since when nothing of a state counts any more, and a while: clocks differ.
fn over_at(window: &Window, state: WindowState) -> Timestamp {
    const A_WHILE: chrono::TimeDelta = chrono::TimeDelta::hours(1);
    let start = Timestamp::from_timestamp(state.start_seconds, 0).unwrap_or_default();
    let end = window.span(start).end;
    match window.kind() {
        WindowKind::Credits { .. } => Timestamp::from_timestamp(FOREVER_SECONDS, 0).unwrap_or_default(),
        WindowKind::Sliding { .. } => end + (end - start) + A_WHILE,
        _ => end + A_WHILE,
    }
}

/// The first second of the year 10000: a balance is over when its limit is.
const FOREVER_SECONDS: i64 = 253_402_300_800;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// Nothing was changed yet.
    Early(Error),
    /// Nobody knows whether it counts.
    Unknown(Error),
}

impl Unanswered {
    pub(super) fn into_error(self) -> Error {
        let (Self::Early(error) | Self::Unknown(error)) = self;
        error
    }
}

/// Asks about several totals, and answers in their order. All of it counts or nothing.
pub(super) async fn reserve(
    connection: &mut Connection,
    asks: &[Ask],
    now: Timestamp,
) -> Result<Vec<Answer>, Unanswered> {
    let mut has_begun = false;
    let answered = connection
        .transaction::<Vec<Answer>, Error, _>(async |connection| {
            let states = lock(connection, asks).await?;
            has_begun = true;
            change(connection, states, asks, now).await
        })
        .await;
    answered.map_err(|error| if has_begun { Unanswered::Unknown(error) } else { Unanswered::Early(error) })
}

/// The same inside a transaction of the caller's.
pub(super) async fn reserve_within(
    connection: &mut AsyncPgConnection,
    asks: &[Ask],
    now: Timestamp,
) -> Result<Vec<Answer>, Error> {
    let states = lock(connection, asks).await?;
    change(connection, states, asks, now).await
}

async fn change(
    connection: &mut AsyncPgConnection,
    mut states: HashMap<Place, WindowState>,
    asks: &[Ask],
    now: Timestamp,
) -> Result<Vec<Answer>, Error> {
    let new: Vec<&Ask> = asks.iter().filter(|ask| !states.contains_key(&ask.place())).collect();
    if !new.is_empty() {
        insert(connection, &new).await?;
        states.extend(lock_each(connection, &new).await?);
    }
    let mut answers = Vec::with_capacity(asks.len());
    let mut changed: HashMap<Place, (&Ask, WindowState)> = HashMap::new();
    for ask in asks {
        // Under two rules of one cut, one row may be asked about twice.
        let state = states.entry(ask.place()).or_default();
        let answer = ask.answer(*state, now);
        *state = answer.state;
        changed.insert(ask.place(), (ask, answer.state));
        answers.push(answer);
    }
    store(connection, changed.into_values().collect()).await?;
    Ok(answers)
}

async fn lock(connection: &mut AsyncPgConnection, asks: &[Ask]) -> Result<HashMap<Place, WindowState>, Error> {
    lock_each(connection, &asks.iter().collect::<Vec<_>>()).await
}

/// This crosses tenants because one question is about totals of several; each ask names the row of its own limit.
///
/// In one order for everybody, so that no two wait for each other.
#[expect(clippy::disallowed_methods, reason = "Diesel cannot join what a statement brings along")]
async fn lock_each(connection: &mut AsyncPgConnection, asks: &[&Ask]) -> Result<HashMap<Place, WindowState>, Error> {
    let (limits, whose, stretches) = columns(asks);
    let rows: Vec<Row> = diesel::sql_query(
        "SELECT total.limit_id, total.whose, total.stretches, started_at, used, used_before, added \
         FROM limit_totals AS total JOIN unnest($1, $2, $3) AS asked (limit_id, whose, stretches) \
         ON total.limit_id = asked.limit_id AND total.whose = asked.whose AND total.stretches = asked.stretches \
         ORDER BY total.limit_id, total.whose, total.stretches FOR NO KEY UPDATE OF total",
    )
    .bind::<Array<SqlUuid>, _>(limits)
    .bind::<Array<SqlUuid>, _>(whose)
    .bind::<Array<Text>, _>(stretches)
    .load(connection)
    .await?;
    let placed = rows.into_iter().map(|row| (row.stored.state(), row));
    Ok(placed.map(|(state, row)| (Place(row.limit_id, row.whose, row.stretches), state)).collect())
}

fn columns(asks: &[&Ask]) -> (Vec<Uuid>, Vec<Uuid>, Vec<String>) {
    let limits = asks.iter().map(|ask| ask.limit_id.uuid()).collect();
    let whose = asks.iter().map(|ask| ask.whose).collect();
    (limits, whose, asks.iter().map(|ask| stretches(ask.window.kind())).collect())
}

/// Rows of which nothing was taken yet; whoever else inserts one of them first is waited for.
///
/// This crosses tenants because one question is about totals of several.
#[expect(clippy::disallowed_methods, reason = "Diesel cannot insert from unnest in an order")]
async fn insert(connection: &mut AsyncPgConnection, asks: &[&Ask]) -> Result<(), Error> {
    let (limits, whose, stretches) = columns(asks);
    diesel::sql_query(
        "INSERT INTO limit_totals (tenant_id, limit_id, whose, stretches, started_at, over_at, used, used_before, added) \
         SELECT tenant_id, limit_id, whose, stretches, to_timestamp(0), to_timestamp(0), 0, 0, 0 \
         FROM unnest($1, $2, $3, $4) AS asked (tenant_id, limit_id, whose, stretches) ORDER BY limit_id, whose, stretches \
         ON CONFLICT DO NOTHING",
    )
    .bind::<Array<SqlUuid>, _>(asks.iter().map(|ask| ask.tenant_id.uuid()).collect::<Vec<_>>())
    .bind::<Array<SqlUuid>, _>(limits)
    .bind::<Array<SqlUuid>, _>(whose)
    .bind::<Array<Text>, _>(stretches)
    .execute(connection)
    .await?;
    Ok(())
}

/// This crosses tenants because one question is about totals of several; the rows are locked.
#[expect(clippy::disallowed_methods, reason = "Diesel cannot update from unnest")]
async fn store(connection: &mut AsyncPgConnection, changed: Vec<(&Ask, WindowState)>) -> Result<(), Error> {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let states = || changed.iter().map(|(_, state)| *state);
    let (limits, whose, stretches) = columns(&changed.iter().map(|(ask, _)| *ask).collect::<Vec<_>>());
    let starts = states().map(|state| Timestamp::from_timestamp(state.start_seconds, 0).unwrap_or_default());
    let ends = changed.iter().map(|(ask, state)| over_at(&ask.window, *state));
    diesel::sql_query(
        "UPDATE limit_totals AS total SET started_at = new.started_at, over_at = new.over_at, used = new.used, \
         used_before = new.used_before, added = new.added \
         FROM unnest($1, $2, $3, $4, $5, $6, $7, $8) \
         AS new (limit_id, whose, stretches, started_at, over_at, used, used_before, added) \
         WHERE total.limit_id = new.limit_id AND total.whose = new.whose AND total.stretches = new.stretches",
    )
    .bind::<Array<SqlUuid>, _>(limits)
    .bind::<Array<SqlUuid>, _>(whose)
    .bind::<Array<Text>, _>(stretches)
    .bind::<Array<Timestamptz>, _>(starts.collect::<Vec<_>>())
    .bind::<Array<Timestamptz>, _>(ends.collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(states().map(|state| number(state.used)).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(states().map(|state| number(state.used_before)).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(states().map(|state| number(state.added)).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
