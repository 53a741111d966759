//! Limits as Postgres keeps them: a row for each half, which says how much was taken of it by all processes together. What a row
//! means is the plain rule's business (`core/src/limit/`); here it is locked, changed and stored.

use std::collections::{BTreeMap, HashMap};

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Jsonb, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};
use serde_json::Value;
use tronch_core::{Bucket, LimitId, Timestamp, TokenWish, Window, WindowKind, WindowState};
use uuid::Uuid;

use super::rate::RateShare;
use super::share::Rest;
use super::store::{Answer, Ask, Of, RateAsk, TotalAsk};
use crate::clock;
use crate::db::Connection;
use crate::error::Error;
use crate::schema::limit_totals;
use crate::tenancy::TenantTx;

/// The first second of the year 10000: a balance is over when its limit is.
const FOREVER_SECONDS: i64 = 253_402_300_800;

/// How long a row stays that counts no more: clocks differ.
const A_WHILE: chrono::TimeDelta = chrono::TimeDelta::hours(1);

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
    stored: Stored,
}

/// How it stands, in columns. Of a bucket: when that was, and its debt in ticks.
#[derive(Queryable, Selectable, QueryableByName, Clone)]
#[diesel(table_name = limit_totals)]
pub(super) struct Stored {
    started_at: Timestamp,
    used: i64,
    used_before: i64,
    added: i64,
    held: Option<Value>,
}

/// What each process holds of a bucket, by its id: how many tokens, and until when, in milliseconds since 1970.
type Held = BTreeMap<String, (u64, u64)>;

impl Stored {
    fn nothing() -> Self {
        Self { started_at: Timestamp::default(), used: 0, used_before: 0, added: 0, held: None }
    }

    pub(super) fn state(&self) -> WindowState {
        let count = |stored: i64| stored.unsigned_abs();
        WindowState {
            start_seconds: self.started_at.timestamp(),
            used: count(self.used),
            used_before: count(self.used_before),
            added: count(self.added),
        }
    }

    fn of_total(state: WindowState) -> Self {
        Self {
            started_at: Timestamp::from_timestamp(state.start_seconds, 0).unwrap_or_default(),
            used: number(state.used),
            used_before: number(state.used_before),
            added: number(state.added),
            held: None,
        }
    }
}

impl Ask {
    fn place(&self) -> Place {
        let cut = match &self.of {
            Of::Total(total) => stretches(total.window.kind()),
            Of::Rate(rate) => fill(&rate.bucket),
        };
        Place(self.limit_id.uuid(), self.whose, cut)
    }

    /// Whether it asks for anything but how it stands.
    fn changes(&self) -> bool {
        match &self.of {
            Of::Total(total) => {
                let wants = total.wish.is_some_and(|wish| wish.most > 0);
                total.left_over.is_some() || total.owed.is_some() || wants || total.added > 0
            }
            Of::Rate(RateAsk { bucket: _, held, left_over, owed, need, at_once, more }) => {
                [held, left_over, owed, need, at_once, more].into_iter().any(|units| *units > 0)
            }
        }
    }

    /// Since when nothing of what is stored counts any more.
    fn over_at(&self, stored: &Stored) -> Timestamp {
        match &self.of {
            Of::Total(total) => over_at(&total.window, stored.state()),
            Of::Rate(rate) => stored.started_at + rate.bucket.fill_time() + A_WHILE,
        }
    }

    fn answer(&self, stored: Stored, asker: &str, now: Timestamp) -> (Stored, Answer) {
        match &self.of {
            Of::Total(total) => total.answer(stored.state(), now),
            Of::Rate(rate) => rate.answer(&stored, asker, now),
        }
    }
}

impl TotalAsk {
    fn answer(&self, mut state: WindowState, now: Timestamp) -> (Stored, Answer) {
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
        let (state, granted) =
            self.wish.map_or((state, 0), |wish| self.window.reserve(state, span, now.timestamp_millis(), wish));
        (Stored::of_total(state), Answer::Total { state, granted })
    }
}

impl RateAsk {
    fn answer(&self, stored: &Stored, asker: &str, now: Timestamp) -> (Stored, Answer) {
        // Whoever waited for the row read the clock before whoever had it.
        let now = now.max(stored.started_at);
        let millis = |time: Timestamp| u64::try_from(time.timestamp_millis()).unwrap_or(0);
        let (now_ms, bucket) = (millis(now), &self.bucket);
        let mut held: Held = stored.held.clone().and_then(|held| serde_json::from_value(held).ok()).unwrap_or_default();
        held.retain(|holder, (_, until_ms)| *until_ms > now_ms && holder != asker);
        let mut state = bucket.in_debt(stored.used.unsigned_abs(), millis(stored.started_at));
        state = bucket.give_back(state, self.left_over);
        if self.owed > 0 {
            state = bucket.make_up(state, now_ms, self.owed);
        }
        let outstanding = self.held + held.values().map(|(units, _)| units).sum::<u64>();
        let wish = TokenWish { need: self.need, at_once: self.at_once, more: self.more, outstanding };
        let (state, granted) = bucket.reserve(state, now_ms, wish);
        let holds = self.held + granted.saturating_sub(self.at_once);
        if holds > 0 {
            let until =
                now_ms.saturating_add(u64::try_from(RateShare::held_for(bucket, false).as_millis()).unwrap_or(0));
            held.insert(asker.to_owned(), (holds, until));
        }
        let debt_ticks = bucket.debt_ticks(state, now_ms);
        let stored = Stored {
            started_at: now,
            used: number(debt_ticks),
            held: serde_json::to_value(held).ok(),
            ..Stored::nothing()
        };
        (stored, Answer::Rate { debt_ticks, granted })
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

/// How a bucket fills, as rows of one are known by: a level in one unit means nothing in another.
pub(super) fn fill(bucket: &Bucket) -> String {
    format!("bucket {}+{}/{}", bucket.capacity(), bucket.refill(), bucket.period_seconds())
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
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
    let state = WindowState { start_seconds: span.start_seconds, used, ..WindowState::default() };
    let row = (
        limit_totals::limit_id.eq(limit_id.uuid()),
        limit_totals::whose.eq(whose),
        limit_totals::stretches.eq(stretches(window.kind())),
        limit_totals::started_at.eq(span.start()),
        limit_totals::over_at.eq(over_at(window, state)),
        limit_totals::used.eq(number(used)),
        limit_totals::used_before.eq(0),
        limit_totals::added.eq(0),
    );
    transaction.insert(limit_totals::table, row).execute(transaction).await?;
    Ok(())
}

fn over_at(window: &Window, state: WindowState) -> Timestamp {
    let start = Timestamp::from_timestamp(state.start_seconds, 0).unwrap_or_default();
    let end = window.span(start).end();
    match window.kind() {
        WindowKind::Credits { .. } => Timestamp::from_timestamp(FOREVER_SECONDS, 0).unwrap_or_default(),
        WindowKind::Sliding { .. } => end + (end - start) + A_WHILE,
        _ => end + A_WHILE,
    }
}

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

/// Asks about several, and answers in their order. All of it counts or nothing.
pub(super) async fn reserve(
    connection: &mut Connection,
    asks: &[Ask],
    asker: &str,
    now: Timestamp,
) -> Result<Vec<Answer>, Unanswered> {
    let mut has_begun = false;
    let answered = connection
        .transaction::<Vec<Answer>, Error, _>(async |connection| {
            let rows = lock(connection, &asks.iter().collect::<Vec<_>>()).await?;
            has_begun = true;
            change(connection, rows, asks, asker, now).await
        })
        .await;
    answered.map_err(|error| if has_begun { Unanswered::Unknown(error) } else { Unanswered::Early(error) })
}

/// The same inside a transaction of the caller's.
pub(super) async fn reserve_within(
    connection: &mut AsyncPgConnection,
    ask: Ask,
    now: Timestamp,
) -> Result<Answer, Error> {
    let rows = lock(connection, &[&ask]).await?;
    let answers = change(connection, rows, &[ask], "", now).await?;
    answers.as_slice().first().copied().ok_or_else(|| Error::internal("a question without an answer"))
}

async fn change(
    connection: &mut AsyncPgConnection,
    mut rows: HashMap<Place, Stored>,
    asks: &[Ask],
    asker: &str,
    now: Timestamp,
) -> Result<Vec<Answer>, Error> {
    // Whoever only reads leaves nothing behind.
    let new: Vec<&Ask> = asks.iter().filter(|ask| ask.changes() && !rows.contains_key(&ask.place())).collect();
    if !new.is_empty() {
        insert(connection, &new).await?;
        rows.extend(lock(connection, &new).await?);
    }
    let mut answers = Vec::with_capacity(asks.len());
    let mut changed: HashMap<Place, (Stored, Timestamp)> = HashMap::new();
    for ask in asks {
        // Under two rules of one cut, one row may be asked about twice.
        let stored = rows.remove(&ask.place()).unwrap_or_else(Stored::nothing);
        let (stored, answer) = ask.answer(stored, asker, now);
        if ask.changes() {
            changed.insert(ask.place(), (stored.clone(), ask.over_at(&stored)));
        }
        rows.insert(ask.place(), stored);
        answers.push(answer);
    }
    if !changed.is_empty() {
        store(connection, changed).await?;
    }
    Ok(answers)
}

/// This crosses tenants because one question is about limits of several; each ask names the row of its own limit.
///
/// In one order for everybody, so that no two wait for each other.
#[expect(clippy::disallowed_methods, reason = "Diesel cannot join what a statement brings along")]
async fn lock(connection: &mut AsyncPgConnection, asks: &[&Ask]) -> Result<HashMap<Place, Stored>, Error> {
    let (limits, whose, stretches) = columns(asks.iter().map(|ask| ask.place()));
    let rows: Vec<Row> = diesel::sql_query(
        "SELECT total.limit_id, total.whose, total.stretches, started_at, used, used_before, added, held \
         FROM limit_totals AS total JOIN unnest($1, $2, $3) AS asked (limit_id, whose, stretches) \
         ON total.limit_id = asked.limit_id AND total.whose = asked.whose AND total.stretches = asked.stretches \
         ORDER BY total.limit_id, total.whose, total.stretches FOR NO KEY UPDATE OF total",
    )
    .bind::<Array<SqlUuid>, _>(limits)
    .bind::<Array<SqlUuid>, _>(whose)
    .bind::<Array<Text>, _>(stretches)
    .load(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (Place(row.limit_id, row.whose, row.stretches), row.stored)).collect())
}

fn columns(places: impl Iterator<Item = Place>) -> (Vec<Uuid>, Vec<Uuid>, Vec<String>) {
    let (mut limits, mut whose, mut stretches) = (Vec::new(), Vec::new(), Vec::new());
    for place in places {
        limits.push(place.0);
        whose.push(place.1);
        stretches.push(place.2);
    }
    (limits, whose, stretches)
}

/// Rows of which nothing was taken yet; whoever else inserts one of them first is waited for.
///
/// This crosses tenants because one question is about limits of several.
#[expect(clippy::disallowed_methods, reason = "Diesel cannot insert from unnest in an order")]
async fn insert(connection: &mut AsyncPgConnection, asks: &[&Ask]) -> Result<(), Error> {
    let (limits, whose, stretches) = columns(asks.iter().map(|ask| ask.place()));
    let identifiers: Vec<Option<&str>> =
        asks.iter().map(|ask| ask.identifier.as_ref().map(|identifier| identifier.as_str())).collect();
    diesel::sql_query(
        "INSERT INTO limit_totals \
         (tenant_id, limit_id, whose, stretches, identifier, started_at, over_at, used, used_before, added) \
         SELECT tenant_id, limit_id, whose, stretches, identifier, to_timestamp(0), to_timestamp(0), 0, 0, 0 \
         FROM unnest($1, $2, $3, $4, $5) AS asked (tenant_id, limit_id, whose, stretches, identifier) \
         ORDER BY limit_id, whose, stretches \
         ON CONFLICT DO NOTHING",
    )
    .bind::<Array<SqlUuid>, _>(asks.iter().map(|ask| ask.tenant_id.uuid()).collect::<Vec<_>>())
    .bind::<Array<SqlUuid>, _>(limits)
    .bind::<Array<SqlUuid>, _>(whose)
    .bind::<Array<Text>, _>(stretches)
    .bind::<Array<Nullable<Text>>, _>(identifiers)
    .execute(connection)
    .await?;
    Ok(())
}

/// This crosses tenants because one question is about limits of several; the rows are locked.
#[expect(clippy::disallowed_methods, reason = "Diesel cannot update from unnest")]
async fn store(connection: &mut AsyncPgConnection, changed: HashMap<Place, (Stored, Timestamp)>) -> Result<(), Error> {
    let (places, rows): (Vec<Place>, Vec<(Stored, Timestamp)>) = changed.into_iter().unzip();
    let (limits, whose, stretches) = columns(places.into_iter());
    let numbers = |of: fn(&Stored) -> i64| rows.iter().map(|(stored, _)| of(stored)).collect::<Vec<_>>();
    diesel::sql_query(
        "UPDATE limit_totals AS total SET started_at = new.started_at, over_at = new.over_at, used = new.used, \
         used_before = new.used_before, added = new.added, held = new.held \
         FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) \
         AS new (limit_id, whose, stretches, started_at, over_at, used, used_before, added, held) \
         WHERE total.limit_id = new.limit_id AND total.whose = new.whose AND total.stretches = new.stretches",
    )
    .bind::<Array<SqlUuid>, _>(limits)
    .bind::<Array<SqlUuid>, _>(whose)
    .bind::<Array<Text>, _>(stretches)
    .bind::<Array<Timestamptz>, _>(rows.iter().map(|(stored, _)| stored.started_at).collect::<Vec<_>>())
    .bind::<Array<Timestamptz>, _>(rows.iter().map(|(_, over_at)| *over_at).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(numbers(|stored| stored.used))
    .bind::<Array<BigInt>, _>(numbers(|stored| stored.used_before))
    .bind::<Array<BigInt>, _>(numbers(|stored| stored.added))
    .bind::<Array<Nullable<Jsonb>>, _>(rows.iter().map(|(stored, _)| stored.held.clone()).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
