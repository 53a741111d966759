//! What answers mean: as a table, and in any order in which they may come. Thousands of short histories of changes, questions,
//! answers and reads, with a database that another takes the place of and a list that loses this process. The two rules
//! about other databases are also taken out, and then a history must be found that breaks the promise.

use super::apply::{Applier, Meaning, Question};
use super::database_model::{CHANGES_MAX, Database, Dice, touched};
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
        // It knows of some changes, of which often the last are gone when it asks again.
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

    /// Postgres works on the next one, or on another where there are several connections.
    fn execute(&mut self) {
        let skipped = if self.dice.throw(4) == 0 { 1 } else { 0 };
        let mut waiting = self.asked.iter_mut().filter(|asked| asked.answer.is_none());
        let Some(asked) = waiting.nth(skipped) else { return };
        self.is_listed |= asked.joins;
        asked.was_listed = self.is_listed;
        let mut answer = self.database.answer(asked.question.position.number(), self.is_listed, false);
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

/// The first history, by its number, in which the promise is broken.
fn first_failure(broken: Broken) -> Option<(u64, String)> {
    // Rounds are counted in few bits, which histories that follow each other would use up.
    let mut marks = Marks::new(0);
    (0..HISTORIES).find_map(|number| {
        if number % 1_000 == 0 {
            marks = Marks::new(0);
        }
        Some((number, history(number, broken, &marks).err()?))
    })
}

fn history(number: u64, broken: Broken, marks: &Marks) -> Result<(), String> {
    World::new(number * 7_919 + 1, broken, marks).explore()
}

#[test]
fn no_order_of_answers_breaks_the_promise() {
    assert_eq!(first_failure(Broken::Nothing), None);
}

#[test]
fn without_either_of_the_rules_some_order_does() {
    for broken in [Broken::AskedBeforeForgotten, Broken::AnotherIsTheSame] {
        let (number, _) = first_failure(broken).unwrap_or_else(|| panic!("{broken:?} goes unnoticed"));
        assert_eq!(history(number, Broken::Nothing, &Marks::new(0)), Ok(()), "{number} is broken either way");
    }
}

/// A process that has taken in the first two changes of a database, and remembers a key that it read after them.
struct Known {
    marks: Marks,
    applier: Applier,
    read_at: Position,
}

impl Known {
    fn of(database: &mut Database) -> Self {
        let (marks, mut applier) = (Marks::new(0), Applier::default());
        (0..2).for_each(|_| database.change(false));
        let asked = Question { number: 1, position: marks.position() };
        assert_eq!(applier.apply(&marks, asked, &database.answer(0, true, false), touched), Meaning::Renewed);
        Self { read_at: marks.position(), marks, applier }
    }

    fn ask(&self, number: u64) -> Question {
        Question { number, position: self.marks.position() }
    }

    fn is_remembered(&self) -> bool {
        self.marks.counts(self.read_at, &Dependencies::of_handle(0))
    }
}

#[test]
fn what_was_changed_is_forgotten_and_nothing_else() {
    let mut database = Database::default();
    let mut known = Known::of(&mut database);
    database.change(false);
    let second = known.ask(2);
    let answer = database.answer(2, true, false);
    assert_eq!(known.applier.apply(&known.marks, second, &answer, touched), Meaning::Renewed);
    assert!(known.is_remembered());
    database.change(true);
    let (third, answer) = (known.ask(3), database.answer(3, true, true));
    assert_eq!(known.applier.apply(&known.marks, third, &answer, touched), Meaning::Told, "others did not wait for it");
    assert_eq!((known.is_remembered(), known.marks.position().number()), (false, 4));
    // One that was asked before, of another connection: it knows less, and takes nothing back.
    let mut earlier = Database::default();
    (0..3).for_each(|_| earlier.change(false));
    assert_eq!(known.applier.apply(&known.marks, second, &earlier.answer(2, true, false), touched), Meaning::Renewed);
    assert_eq!(known.marks.position().number(), 4);
}

#[test]
fn everything_is_forgotten_where_nobody_knows_what_changed() {
    // The log has gone back, though the database says that it is the same.
    let mut database = Database::default();
    let mut known = Known::of(&mut database);
    let (asked, mut shorter) = (known.ask(2), Database::default());
    shorter.change(false);
    assert_eq!(known.applier.apply(&known.marks, asked, &shorter.answer(2, true, false), touched), Meaning::Renewed);
    assert_eq!((known.is_remembered(), known.marks.position().number()), (false, 1));

    // More has changed than is told.
    let mut database = Database::default();
    let mut known = Known::of(&mut database);
    (0..CHANGES_MAX + 1).for_each(|_| database.change(false));
    let (asked, answer) = (known.ask(2), database.answer(2, true, false));
    assert_eq!(known.applier.apply(&known.marks, asked, &answer, touched), Meaning::Renewed);
    assert_eq!((known.is_remembered(), known.marks.position().number()), (false, database.head()));
}

#[test]
fn off_the_list_it_forgets_once_and_counts_when_it_is_back() {
    for is_another in [false, true] {
        let mut database = Database::default();
        let mut known = Known::of(&mut database);
        if is_another {
            database.replace(1);
        }
        let under_way = [known.ask(2), known.ask(3)];
        let off = database.answer(2, false, true);
        assert_eq!(known.applier.apply(&known.marks, under_way[0], &off, touched), Meaning::Nothing);
        assert!(!known.is_remembered());
        assert_eq!(known.applier.lineage(), Some(off.lineage.as_str()));
        let forgotten = known.marks.position();
        assert_eq!(known.applier.apply(&known.marks, under_way[1], &off, touched), Meaning::Nothing);
        assert_eq!(known.marks.position(), forgotten, "once");
        let back = known.ask(4);
        assert!(known.applier.joins(4) && !known.applier.joins(5));
        let on = database.answer(forgotten.number(), true, false);
        assert_eq!(known.applier.apply(&known.marks, back, &on, touched), Meaning::Renewed);
        assert_eq!(known.marks.position(), forgotten, "nothing has changed since");
    }
}
