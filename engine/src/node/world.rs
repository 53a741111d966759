//! A small world to explore: a database that commits late, answers slowly, and is taken the place of by one that lacks the last
//! changes; a node with its real lease and marks that is stopped, cut off and resumed; and calls at any moment. Thousands of
//! histories, each from a number, and in each the promise is held against every answer, and against there being none. Rules
//! are also taken out, one at a time, and then a history must be found that breaks the promise.

use std::time::Duration;

use super::apply::{Applier, Meaning, Question};
use super::database_model::{Database, Dice, touched};
use super::lease::{AWAY, Keeper, LEASE, Lease, PATIENCE, RENEWAL_INTERVAL, Standing, UNANSWERED};
use super::log;
use super::marks::{Dependencies, Marks, Position};
use crate::clock::Moment;

/// Of one history, in steps of [`STEP_MS`].
const STEPS: u64 = 3_000;
const STEP_MS: u64 = 10;
const HISTORIES: u64 = 3_000;

/// What the tenant allows without Postgres.
const OFFLINE_LEASE: Duration = Duration::from_secs(5);

/// What is changed on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// A lease is counted from when the answer came.
    CountedFromAnswer,
    /// A renewal counts before its changes are taken in.
    CountedBeforeChanges,
    /// What a read brings is as new as when it came.
    ReadAsNewAsItsAnswer,
    /// Failures from before a stop still tell of an outage.
    FailuresSurviveAStop,
    /// A node says that it has taken in what it has only heard of.
    AppliedBeforeTakenIn,
    /// An answer makes up for those that are missing to what was asked after it.
    AnswersMakeUp,
    /// Who was away long enough to be left out counts what it is told first.
    CountedThoughAway,
    /// A number of one database's log is written into another one's list of nodes.
    NumberOfAnother,
}

/// What the network and Postgres do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Fair,
    /// Each answer comes, and late.
    Slow,
    Hanging,
    Cut,
}

impl Weather {
    fn passes(self) -> bool {
        matches!(self, Self::Fair | Self::Slow)
    }
}

struct Renewal {
    asked: Question,
    sent: u64,
    /// Of which database the number is that it has taken in, and whether it is to be put on the list.
    known: Option<String>,
    joins: bool,
    /// When Postgres begins to work on it, how long that takes, and how long the answer does; never while it hangs.
    executed: u64,
    work: u64,
    latency: u64,
    /// When Postgres began, which one, and what it knew then.
    begun: Option<(u64, u64, log::Renewal)>,
    committed: Option<u64>,
    /// What the list is told.
    applied: u64,
    is_counted: bool,
    /// Asked of a database that is gone.
    is_gone: bool,
}

struct Read {
    read_at: Position,
    executed: u64,
    answered: u64,
    saw_revoked: Option<bool>,
}

struct World {
    broken: Broken,
    dice: Dice,
    now: u64,
    weather: Weather,
    database: Database,
    /// When it last took the place of another.
    replaced: u64,
    /// When the key was revoked.
    revoked: Option<u64>,
    /// What the list of nodes says that ours has taken in. `None` when it is not on it.
    told: Option<u64>,
    /// And when it was last heard of.
    renewed_at: u64,
    /// When the key will be revoked, when another database takes the place of the one there is, one in how many steps something
    /// else is changed, and before when the weather stays as it is.
    revoked_at: u64,
    replaced_at: Vec<u64>,
    calm: u64,
    fair_again: u64,
    /// How late answers are where they are late.
    lateness: u64,
    /// Whether a renewal was ever answered.
    has_begun: bool,
    confirmed: Option<u64>,
    paused_until: u64,
    /// When it last went on after a stop.
    resumed: Option<u64>,
    /// When a renewal last failed at once, or was answered and meant nothing; and when one was answered that did not count, and
    /// the next was wished for.
    cut: u64,
    away: u64,
    lease: Lease,
    keeper: Keeper,
    marks: Marks,
    applier: Applier,
    /// The latest database that has answered.
    answering: u64,
    asked: u64,
    renewals: Vec<Renewal>,
    read: Option<Read>,
    entry: Option<(Position, bool)>,
    next_renewal: u64,
}

fn moment(ms: u64) -> Moment {
    Moment::from_nanos(ms * 1_000_000)
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("short")
}

impl World {
    fn new(seed: u64, broken: Broken) -> Self {
        let mut dice = Dice(seed);
        let revoked_at = 1_000 + seed.wrapping_mul(2_654_435_761) % (STEPS * STEP_MS);
        // Before that, for it may be lost otherwise.
        let replaced_at = (0..dice.throw(3)).map(|_| revoked_at.saturating_sub(dice.throw(2_000))).collect();
        let calm = [10, 100, 1_000][usize::try_from(dice.throw(3)).expect("small")];
        Self {
            broken,
            dice,
            now: 1_000,
            weather: Weather::Fair,
            database: Database::default(),
            replaced: 0,
            revoked: None,
            told: Some(0),
            renewed_at: 1_000,
            revoked_at,
            replaced_at,
            calm,
            fair_again: 0,
            lateness: 0,
            has_begun: false,
            confirmed: None,
            paused_until: 0,
            resumed: None,
            cut: 0,
            away: 0,
            lease: Lease::new(),
            keeper: Keeper::new(moment(1_000)),
            marks: Marks::new(0),
            applier: Applier::default(),
            answering: 0,
            asked: 0,
            renewals: Vec::new(),
            read: None,
            entry: None,
            next_renewal: 1_000,
        }
    }

    /// The first answer that breaks the promise.
    fn explore(mut self) -> Result<(), String> {
        for _ in 0..STEPS {
            self.now += STEP_MS;
            self.surroundings();
            self.postgres();
            if self.now >= self.paused_until {
                self.node();
                self.call()?;
            }
        }
        Ok(())
    }

    fn surroundings(&mut self) {
        if self.dice.throw(self.calm) == 0 {
            self.database.change(false);
        }
        let now = self.now;
        if self.replaced_at.extract_if(.., |at| *at <= now).count() > 0 {
            self.replace();
        }
        // Often just when a node that nobody waits for any more is asking.
        let is_asking = self.renewals.iter().any(|renewal| renewal.begun.is_some() && renewal.committed.is_none());
        let is_time = self.now >= self.revoked_at || (is_asking && self.is_left_out() && self.dice.throw(20) == 0);
        if self.revoked.is_none() && is_time {
            self.revoked = Some(self.now);
            self.database.change(true);
            self.replaced_at.clear();
        }
        match self.dice.throw(400) {
            0..=8 if self.now < self.fair_again => {}
            what @ 0..=1 => {
                self.weather = if what == 0 { Weather::Hanging } else { Weather::Cut };
                // Sometimes until nobody waits for the node any more.
                self.fair_again = if self.dice.throw(4) == 0 { self.now + 10_000 + self.dice.throw(6_000) } else { 0 };
            }
            2..=7 => self.weather = Weather::Fair,
            8 => {
                self.weather = Weather::Slow;
                self.lateness = self.dice.throw(2_000);
            }
            9 if self.now >= self.paused_until => {
                let pause = 100 + self.dice.throw(3_000);
                self.paused_until = self.now + pause;
                // A shorter one is no more than a thread that was not let run.
                if pause > 1_000 {
                    self.resumed = Some(self.paused_until);
                }
            }
            _ => {}
        }
    }

    /// Another database takes over, which has not heard of the last changes.
    fn replace(&mut self) {
        let lost = self.dice.throw(4);
        self.database.replace(lost);
        self.replaced = self.now;
        // It has everything from one moment.
        self.told = self.told.map(|told| told.min(self.database.head()));
        for renewal in self.renewals.iter_mut().filter(|renewal| renewal.committed.is_none()) {
            renewal.is_gone = renewal.begun.is_some() || self.dice.throw(2) == 0;
        }
    }

    fn is_left_out(&self) -> bool {
        self.now >= self.renewed_at + ms(OFFLINE_LEASE + PATIENCE + AWAY)
    }

    fn postgres(&mut self) {
        let (now, revoked) = (self.now, self.revoked.is_some());
        // One after the other, as they come on one connection.
        for renewal in self.renewals.iter_mut().filter(|renewal| self.weather.passes() && !renewal.is_gone) {
            if renewal.begun.is_none() {
                if now < renewal.executed {
                    break;
                }
                if renewal.joins && self.told.is_none() {
                    (self.told, self.renewed_at) = (Some(0), now);
                }
                let was_away = self.told.is_none() || now > self.renewed_at + ms(AWAY);
                let answer = self.database.answer(renewal.applied, self.told.is_some(), was_away);
                renewal.begun = Some((now, self.database.number, answer));
            }
            if let (Some((begun, _, answer)), None) = (&renewal.begun, renewal.committed) {
                if now < begun + renewal.work {
                    break;
                }
                renewal.committed = Some(now);
                if answer.is_known {
                    let is_of_it = renewal.known.as_ref().is_none_or(|known| *known == answer.lineage)
                        || self.broken == Broken::NumberOfAnother;
                    self.told = Some(if is_of_it { renewal.applied } else { 0 });
                    self.renewed_at = self.renewed_at.max(*begun);
                }
            }
        }
        if let Some(read) = &mut self.read
            && read.saw_revoked.is_none()
            && now >= read.executed
            && self.weather.passes()
        {
            read.saw_revoked = Some(revoked);
        }
        let is_left_out = self.is_left_out();
        let is_heard = |number| self.told.is_none_or(|told| told >= number);
        if self.database.revocation().is_some_and(|number| is_left_out || is_heard(number)) && self.confirmed.is_none()
        {
            self.confirmed = Some(now);
        }
        // Nobody keeps those on the list for ever that are not heard of.
        if is_left_out && self.dice.throw(1_000) == 0 {
            self.told = None;
        }
    }

    fn node(&mut self) {
        let now = moment(self.now);
        if self.broken == Broken::FailuresSurviveAStop {
            // As if it had looked all the time.
            for looked in (0..20_u32).rev().map(|step| u64::from(step) * 200) {
                self.keeper.look(&self.lease, moment(self.now.saturating_sub(looked).max(1_000)));
            }
        }
        self.keeper.look(&self.lease, now);
        if self.now >= self.next_renewal {
            self.next_renewal = self.now + ms(RENEWAL_INTERVAL);
            if self.keeper.may_send(now, self.renewals.iter().map(|renewal| moment(renewal.sent))) {
                self.send();
            }
        }
        self.take_answers();
        self.take_read();
        if self.read.is_none() && self.dice.throw(20) == 0 {
            let executed = self.now + self.dice.throw(30);
            let answered = executed + self.dice.throw(600);
            self.read = Some(Read { read_at: self.marks.position(), executed, answered, saw_revoked: None });
        }
    }

    fn send(&mut self) {
        if self.weather == Weather::Cut {
            self.cut = self.now;
            return self.keeper.failed(&self.lease, moment(self.now));
        }
        // What is lost on the way is sent again, and what comes behind it waits.
        let on_the_way = if self.dice.throw(8) == 0 { self.dice.throw(1_500) } else { self.dice.throw(40) };
        let executed = self.now + on_the_way;
        let work = if self.dice.throw(5) == 0 { self.dice.throw(4_000) } else { 0 };
        let late = if self.weather == Weather::Slow { self.lateness } else { 0 };
        let latency = self.dice.throw(300) + late;
        let position = self.marks.position();
        let mut applied = position.number();
        if self.broken == Broken::AppliedBeforeTakenIn {
            let heard = self.renewals.iter().filter_map(|renewal| Some(renewal.begun.as_ref()?.2.head));
            applied = applied.max(heard.max().unwrap_or(0));
        }
        self.asked += 1;
        self.renewals.push(Renewal {
            asked: Question { number: self.asked, position },
            sent: self.now,
            known: self.applier.lineage().map(str::to_owned),
            joins: self.applier.joins(self.asked),
            executed,
            work,
            latency,
            begun: None,
            committed: None,
            applied,
            is_counted: false,
            is_gone: false,
        });
    }

    fn take_answers(&mut self) {
        let (now, weather) = (self.now, self.weather);
        let mut waiting = Vec::new();
        for mut renewal in std::mem::take(&mut self.renewals) {
            let is_answered = renewal.committed.is_some_and(|at| now >= at + renewal.latency) && weather.passes();
            let is_late = now >= renewal.sent + ms(UNANSWERED);
            if is_answered && let Some((_, database, answer)) = &renewal.begun {
                let counted = if self.broken == Broken::CountedFromAnswer { now } else { renewal.sent };
                if self.broken == Broken::CountedBeforeChanges {
                    self.keeper.renewed(&self.lease, moment(counted));
                    if self.dice.throw(2) == 0 {
                        waiting.push(renewal);
                        continue;
                    }
                }
                let before = self.marks.position();
                let mut meaning = self.apply(*database, renewal.asked, answer);
                if meaning == Meaning::Told && self.broken == Broken::CountedThoughAway {
                    meaning = Meaning::Renewed;
                }
                if meaning == Meaning::Nothing && !renewal.is_counted {
                    self.cut = now;
                    self.keeper.failed(&self.lease, moment(renewal.sent));
                }
                if meaning == Meaning::Told || self.marks.position() != before {
                    self.next_renewal = now;
                }
                if meaning != Meaning::Renewed {
                    self.away = now;
                    continue;
                }
                if self.broken == Broken::AnswersMakeUp {
                    self.keeper = Keeper::new(moment(now));
                }
                self.keeper.renewed(&self.lease, moment(counted));
                self.has_begun = true;
            } else if weather == Weather::Cut || now >= renewal.sent + ms(PATIENCE) {
                self.cut = now;
                if !renewal.is_counted {
                    self.keeper.failed(&self.lease, moment(renewal.sent));
                }
            } else {
                if is_late && !renewal.is_counted {
                    renewal.is_counted = true;
                    self.keeper.failed(&self.lease, moment(renewal.sent));
                }
                waiting.push(renewal);
            }
        }
        self.renewals = waiting;
    }

    fn apply(&mut self, database: u64, asked: Question, answer: &log::Renewal) -> Meaning {
        // By then its connection has been taken the place of, too.
        if database < self.answering {
            return Meaning::Nothing;
        }
        self.answering = database;
        self.applier.apply(&self.marks, asked, answer, touched)
    }

    fn take_read(&mut self) {
        let Some(read) = self.read.take() else { return };
        match read.saw_revoked {
            Some(saw_revoked) if self.now >= read.answered && self.weather.passes() => {
                let latest = self.broken == Broken::ReadAsNewAsItsAnswer;
                let read_at = if latest { self.marks.position() } else { read.read_at };
                if self.entry.is_none_or(|(held, _)| held <= read_at) {
                    self.entry = Some((read_at, saw_revoked));
                }
            }
            _ => self.read = Some(read),
        }
    }

    /// What a call is answered from memory, held against the promise.
    fn call(&self) -> Result<(), String> {
        let Some((read_at, is_revoked)) = self.entry else { return Ok(()) };
        let standing = self.lease.standing(moment(self.now));
        // Whoever runs knows, or has asked twice without an answer.
        let away = if self.away < self.paused_until.max(self.replaced) + 1_500 { self.away } else { 0 };
        let may_be_unknown = self.paused_until.max(away) + STEP_MS + ms(RENEWAL_INTERVAL + UNANSWERED);
        if standing == Standing::Unknown && self.has_begun && self.now > may_be_unknown {
            return Err(format!("nothing is known at {}", self.now));
        }
        if is_revoked || standing == Standing::Unknown || !self.marks.counts(read_at, &Dependencies::of_handle(0)) {
            return Ok(());
        }
        let Some(revoked) = self.revoked else { return Ok(()) };
        if matches!(standing, Standing::Offline { age } if age >= OFFLINE_LEASE) {
            return Ok(());
        }
        if let Some(confirmed) = self.confirmed.filter(|confirmed| *confirmed < self.now) {
            return Err(format!("VALID at {} though confirmed at {confirmed}", self.now));
        }
        match standing {
            Standing::Live { .. } if self.now >= revoked + ms(LEASE) => {
                Err(format!("VALID at {} though revoked at {revoked} and live", self.now))
            }
            // Whoever says that it is cut off must not be, or have been woken only now.
            // Two renewals without an answer take their time; two that failed at once do not.
            Standing::Offline { .. } => match self.resumed {
                Some(resumed) if self.cut < resumed && self.now < resumed + ms(UNANSWERED) => {
                    Err(format!("offline at {} though resumed at {resumed}", self.now))
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

/// The first history, by its number, in which the promise is broken.
fn first_failure(broken: Broken) -> Option<(u64, String)> {
    (0..HISTORIES).find_map(|number| Some((number, history(number, broken).err()?)))
}

fn history(number: u64, broken: Broken) -> Result<(), String> {
    World::new(number * 7_919 + 1, broken).explore()
}

#[test]
fn no_history_breaks_the_promise() {
    assert_eq!(first_failure(Broken::Nothing), None);
}

#[test]
fn without_any_one_of_the_rules_some_history_does() {
    for broken in [
        Broken::CountedFromAnswer,
        Broken::CountedBeforeChanges,
        Broken::ReadAsNewAsItsAnswer,
        Broken::FailuresSurviveAStop,
        Broken::AppliedBeforeTakenIn,
        Broken::AnswersMakeUp,
        Broken::CountedThoughAway,
        Broken::NumberOfAnother,
    ] {
        let (number, _) = first_failure(broken).unwrap_or_else(|| panic!("{broken:?} goes unnoticed"));
        assert_eq!(history(number, Broken::Nothing), Ok(()), "{number} is broken either way");
    }
}
