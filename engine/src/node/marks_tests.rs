//! The rule of `marks.rs` as tables and against a plain one. They stand here because its model reads that file, too.

use proptest::prelude::*;

use super::marks::*;

#[test]
fn what_was_read_before_a_change_of_it_does_not_count() {
    let marks = Marks::new(7);
    let (mine, other) = (Dependencies::new(1 << 48, [1 << 50, 2 << 50, 3 << 50]), Dependencies::new(9 << 48, [0; 3]));
    for touched in [Touched::Handle(1 << 48), Touched::Shared(2 << 50), Touched::Shared(3 << 50)] {
        let read_at = marks.position();
        assert!(marks.counts(read_at, &mine) && marks.counts(read_at, &other));
        marks.advance(read_at.number() + 1, [touched]);
        assert!(!marks.counts(read_at, &mine), "{touched:?}");
        assert!(marks.counts(read_at, &other), "{touched:?}");
        assert!(marks.counts(marks.position(), &mine), "{touched:?}");
    }
}

#[test]
fn after_everything_was_forgotten_only_what_is_read_anew_counts() {
    let marks = Marks::new(100);
    let dependencies = Dependencies::new(0, [0; 3]);
    let read_at = marks.position();
    // As after a failover that lost the last changes.
    marks.forget_everything(90);
    assert_eq!(marks.position().number(), 90);
    assert!(!marks.counts(read_at, &dependencies));
    let again = marks.position();
    marks.advance(101, []);
    assert!(!marks.counts(read_at, &dependencies));
    assert!(marks.counts(again, &dependencies));
}

proptest! {
    /// Against the plain rule over a list of all changes: never more than it allows.
    #[test]
    fn never_counts_what_the_plain_rule_refuses(
        changes in prop::collection::vec((0_u64..4, any::<bool>()), 1..40), read in 0_usize..40,
        handle in 0_u64..4, shared in prop::array::uniform3(0_u64..4),
    ) {
        let marks = Marks::new(0);
        let dependencies = Dependencies::new(handle << 48, shared.map(|hash| hash << 50));
        let mut read_at = None;
        let mut changed_since = false;
        for (index, (hash, of_handle)) in changes.iter().enumerate() {
            if index == read {
                read_at = Some(marks.position());
            }
            let touched = if *of_handle { Touched::Handle(hash << 48) } else { Touched::Shared(hash << 50) };
            let mine = if *of_handle { *hash == handle } else { shared.contains(hash) };
            changed_since |= read_at.is_some() && mine;
            marks.advance(index as u64 + 1, [touched]);
        }
        if let Some(read_at) = read_at {
            prop_assert_eq!(marks.counts(read_at, &dependencies), !changed_since);
        }
    }
}
