//! What answers mean, in any order in which they may come: thousands of short histories of changes, questions, answers and reads,
//! with a database that another takes the place of and a list that loses this process. Each rule is also taken out, and then
//! a history must be found that breaks the promise.

use super::apply::{Applier, Meaning, Question};
use super::database_model::{Database, Dice, touched};
use super::log::Renewal;
use super::marks::{Dependencies, Marks, Position};

const HISTORIES: u64 = 100_000;
const STEPS: u64 = 40;

/// What is changed on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// What was asked before everything was forgotten counts.
    AskedBeforeForgotten,
    /// What is remembered outlives the database that it was read from.
    AnotherIsTheSame,
    /// What a process is told that nobody waits for counts.
    CountedOffTheList,
}

/// A question under way.
struct Asked {
    question: Question,
    joins: bool,
    /// Whether the key was revoked when it was sent, and the process on the list when it was executed.
    was_revoked: bool,
    was_listed: bool,
    /// What was answered, and which database did.
    answer: Option<(u64, Renewal)>,
}

struct World<'m> {
    broken: Broken,
    dice: Dice,
    database: Database,
    is_listed: bool,
    is_revoked: bool,
    marks: &'m Marks,
    applier: Applier,
    asked: Vec<Asked>,
    count: u64,
    answering: u64,
    /// A read under way: the position before it, and what it saw.
    read: Option<(Position, bool)>,
    entry: Option<(Position, bool)>,
}

impl<'m> World<'m> {
    /// Of marks that others have used: they are large, and forgotten at once.
    fn new(seed: u64, broken: Broken, marks: &'m Marks) -> Self {
        marks.forget_everything(0);
        Self {
            broken,
            dice: Dice(seed),
            database: Database::default(),
            is_listed: true,
            is_revoked: false,
            marks,
            applier: Applier::default(),
            asked: Vec::new(),
            count: 0,
            answering: 0,
            read: None,
            entry: None,
        }
    }

    /// The first answer that breaks the promise.
    fn explore(mut self) -> Result<(), String> {
        // It knows of some changes, and asks again: often the last of them are gone by then.
        (0..self.dice.throw(4)).for_each(|_| self.database.change(false));
        self.ask();
        self.execute();
        self.answer()?;
        if self.dice.throw(2) == 0 {
            self.replace();
        }
        for step in 0..STEPS {
            match self.dice.throw(12) {
                0 => self.database.change(false),
                1 if !self.is_revoked => {
                    self.is_revoked = true;
                    self.database.change(true);
                }
                // Before the key is revoked, for that may be lost otherwise.
                2 if !self.is_revoked && self.dice.throw(4) == 0 => self.replace(),
                3 if self.dice.throw(8) == 0 => self.is_listed = false,
                4..=5 => self.ask(),
                6..=7 => self.execute(),
                8..=9 => self.answer().map_err(|why| format!("step {step}: {why}"))?,
                10 => self.read = Some((self.marks.position(), self.is_revoked)),
                11 => self.entry = self.read.take().or(self.entry),
                _ => {}
            }
        }
        Ok(())
    }

    fn replace(&mut self) {
        let lost = self.dice.throw(4);
        self.database.replace(lost);
    }

    fn ask(&mut self) {
        self.count += 1;
        self.asked.push(Asked {
            question: Question { number: self.count, position: self.marks.position() },
            joins: self.applier.joins(self.count),
            was_revoked: self.is_revoked,
            was_listed: false,
            answer: None,
        });
    }

    /// Postgres works on the next one.
    fn execute(&mut self) {
        let Some(asked) = self.asked.iter_mut().find(|asked| asked.answer.is_none()) else { return };
        self.is_listed |= asked.joins;
        asked.was_listed = self.is_listed;
        let is_known = self.is_listed || self.broken == Broken::CountedOffTheList;
        let mut answer = self.database.answer(asked.question.position.number(), is_known, false);
        if self.broken == Broken::AnotherIsTheSame {
            answer.lineage.clear();
        }
        asked.answer = Some((self.database.number, answer));
    }

    /// One of the answers arrives: the first, or another one where there are several connections.
    fn answer(&mut self) -> Result<(), String> {
        let answered = self.asked.iter().filter(|asked| asked.answer.is_some()).count();
        if answered == 0 {
            return Ok(());
        }
        let place = if self.dice.throw(2) == 0 { 0 } else { self.dice.throw(answered as u64) };
        let mut asked = self.asked.remove(usize::try_from(place).expect("few"));
        let Some((database, answer)) = asked.answer.take() else { return Ok(()) };
        // By then its connection has been taken the place of, too.
        if database < self.answering {
            return Ok(());
        }
        self.answering = database;
        if self.broken == Broken::AskedBeforeForgotten {
            asked.question.position = asked.question.position.in_round_of(self.marks.position());
        }
        let meaning = self.applier.apply(self.marks, asked.question, &answer, touched);
        if meaning != Meaning::Renewed {
            return Ok(());
        }
        if !asked.was_listed {
            return Err("nobody waits for it, and it may answer".to_owned());
        }
        let counts = |(read_at, _): &(Position, bool)| self.marks.counts(*read_at, &Dependencies::of_handle(0));
        match self.entry.filter(counts) {
            Some((_, false)) if asked.was_revoked => Err("what was read before the revocation counts".to_owned()),
            _ => Ok(()),
        }
    }
}

fn first_failure(broken: Broken) -> Option<String> {
    let marks = Marks::new(0);
    (0..HISTORIES).find_map(|seed| {
        World::new(seed * 7_919 + 1, broken, &marks).explore().err().map(|why| format!("{seed}: {why}"))
    })
}

#[test]
fn no_order_of_answers_breaks_the_promise() {
    assert_eq!(first_failure(Broken::Nothing), None);
}

#[test]
fn without_any_one_of_the_rules_some_order_does() {
    for broken in [Broken::AskedBeforeForgotten, Broken::AnotherIsTheSame, Broken::CountedOffTheList] {
        assert!(first_failure(broken).is_some(), "{broken:?} goes unnoticed");
    }
}
