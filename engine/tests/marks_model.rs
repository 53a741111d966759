//! A fill against an apply, in every order that the memory model allows (loom): what a slow read brings after a revocation
//! must not count. Each rule is also taken out, and then the model must find what it was there for.

use std::panic::{AssertUnwindSafe, catch_unwind};

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

mod atomics {
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};

    pub(crate) const HANDLE_BITS: u32 = 1;
    pub(crate) const SHARED_BITS: u32 = 1;
}

#[path = "../src/node/marks.rs"]
#[expect(dead_code, reason = "the model needs a part of it")]
mod marks;

use marks::{Dependencies, Marks, Position, Touched};

/// What is changed on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// The position is taken after the read instead of before it.
    PositionAfterRead,
    /// The process says that it has taken the change in before it marks the handle.
    ConfirmedBeforeMarks,
    /// What a read brings is let out without looking at the marks.
    MarksNotLookedAt,
}

/// A key that Postgres has revoked or not, one entry of a cache, and one process.
struct World {
    revoked: AtomicBool,
    entry: Mutex<Option<(Position, bool)>>,
    marks: Marks,
    confirmed: AtomicBool,
}

fn run(broken: Broken) {
    loom::model(move || {
        let world = Arc::new(World {
            revoked: AtomicBool::new(false),
            entry: Mutex::new(None),
            marks: Marks::new(0),
            confirmed: AtomicBool::new(false),
        });
        let reads = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let before = world.marks.position();
                let revoked = world.revoked.load(Ordering::Acquire);
                let read_at = if broken == Broken::PositionAfterRead { world.marks.position() } else { before };
                *world.entry.lock().expect("no panic") = Some((read_at, revoked));
            })
        };
        let follows = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                // Somebody commits, and the thread that follows the log hears of it.
                world.revoked.store(true, Ordering::Release);
                if broken == Broken::ConfirmedBeforeMarks {
                    world.marks.advance(1, []);
                    world.confirmed.store(true, Ordering::Release);
                }
                world.marks.advance(1, [Touched::Handle(0)]);
                world.confirmed.store(true, Ordering::Release);
            })
        };
        // A call that begins after the change was confirmed.
        if world.confirmed.load(Ordering::Acquire) {
            let entry = *world.entry.lock().expect("no panic");
            if let Some((read_at, revoked)) = entry {
                let counts =
                    broken == Broken::MarksNotLookedAt || world.marks.counts(read_at, &Dependencies::of_handle(0));
                assert!(revoked || !counts, "a revoked key came back");
            }
        }
        reads.join().expect("no panic");
        follows.join().expect("no panic");
    });
}

#[test]
fn what_a_slow_read_brings_after_a_change_does_not_count() {
    run(Broken::Nothing);
}

#[test]
fn without_any_one_of_its_rules_a_revoked_key_comes_back() {
    for broken in [Broken::PositionAfterRead, Broken::ConfirmedBeforeMarks, Broken::MarksNotLookedAt] {
        let found = catch_unwind(AssertUnwindSafe(|| run(broken)));
        assert!(found.is_err(), "{broken:?} goes unnoticed");
    }
}
