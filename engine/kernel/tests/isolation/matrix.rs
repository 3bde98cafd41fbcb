//! The anomalies, after Berenson et al. 1995, Adya, Liskov and O'Neil 2000 and Fekete, O'Neil and
//! O'Neil 2004: each as a schedule, a way to tell that it happened, and what becomes of it at
//! read committed, repeatable read and serializable, in this order.

use _kernel::error::Code;
use _kernel::txn::Isolation;

use crate::schedule::{Before, Run, Stage};
use Verdict::*;

/// What becomes of an anomaly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Happens,
    /// A reader is shown what was there before; nobody waits.
    OldVersion,
    /// Somebody waits until it can do no harm.
    Waits,
    /// Somebody is rolled back with this error.
    Fails(Code),
}

const LOST: Verdict = Fails(Code::WriteConflict);
const DEADLOCK: Verdict = Fails(Code::Deadlock);

pub fn judge(run: &Run, happened: impl Fn(&Run) -> bool) -> Verdict {
    match run.failed.values().next() {
        _ if happened(run) => Happens,
        Some(code) => Fails(*code),
        None if run.waits.is_empty() => OldVersion,
        None => Waits,
    }
}

/// One test for each level.
macro_rules! anomaly {
    ($name:ident, $before:expr, $schedule:expr, $happened:expr, [$committed:expr, $repeatable:expr, $serializable:expr]) => {
        mod $name {
            use super::*;

            fn becomes(level: Isolation, expected: Verdict) {
                let before = Before { rows: $before, ..Before::default() };
                let run = Stage::new(before).play($schedule, |_| level);
                let happened: fn(&Run) -> bool = $happened;
                assert_eq!(judge(&run, happened), expected, "{run:#?}");
            }

            #[test]
            fn at_read_committed() {
                becomes(Isolation::ReadCommitted, $committed);
            }

            #[test]
            fn at_repeatable_read() {
                becomes(Isolation::RepeatableRead, $repeatable);
            }

            #[test]
            fn at_serializable() {
                becomes(Isolation::Serializable, $serializable);
            }
        }
    };
}

// Writes over writes.

anomaly!(
    dirty_write_g0,
    "x=10 y=20",
    "1 put x 11 | 2 put x 12 | 1 put y 21 | 1 commit | 2 put y 22 | 2 commit",
    |run| !["x=11 y=21", "x=12 y=22"].contains(&run.left.as_str()),
    [Waits, LOST, Waits]
);

anomaly!(
    dirty_write_crossed_g0,
    "x=10 y=20",
    "1 put x 11 | 2 put y 22 | 1 put y 21 | 2 put x 12 | 1 commit | 2 commit",
    |run| !["x=11 y=21", "x=12 y=22"].contains(&run.left.as_str()),
    [DEADLOCK, DEADLOCK, DEADLOCK]
);

anomaly!(
    lost_update_p4,
    "x=10",
    "1 get x | 2 get x | 1 put x 11 | 2 put x 12 | 1 commit | 2 commit",
    |run| run.have_committed(&[1, 2]) && run.reads(1) == ["10"] && run.reads(2) == ["10"],
    [Happens, LOST, DEADLOCK]
);

anomaly!(
    lost_update_after_the_commit_p4,
    "x=10",
    "1 get x | 2 get x | 2 put x 12 | 2 commit | 1 put x 11 | 1 commit",
    |run| run.have_committed(&[1, 2]) && run.reads(1) == ["10"] && run.left == "x=11",
    [Happens, LOST, DEADLOCK]
);

anomaly!(
    lost_update_through_a_cursor_p4c,
    "x=10",
    "1 rows | 2 rows | 1 raise 1 | 2 raise 2 | 1 commit | 2 commit",
    |run| run.have_committed(&[1, 2]) && run.left != "x=13",
    [Happens, LOST, DEADLOCK]
);

anomaly!(
    lost_insert_p4,
    "",
    "1 get k | 2 get k | 1 put k 1 | 2 put k 2 | 1 commit | 2 commit",
    |run| run.have_committed(&[1, 2]) && run.reads(1) == ["-"] && run.reads(2) == ["-"],
    [Happens, LOST, DEADLOCK]
);

anomaly!(
    lost_delete_p4,
    "x=10",
    "1 get x | 2 get x | 1 delete x | 2 put x 12 | 1 commit | 2 commit",
    |run| run.have_committed(&[1, 2]) && run.reads(1) == ["10", "gone"] && run.reads(2) == ["10"],
    [Happens, LOST, DEADLOCK]
);

// Reads of what was never, or not yet, committed.

anomaly!(
    aborted_read_g1a,
    "x=10",
    "1 put x 101 | 2 get x | 1 abort | 2 get x | 2 commit",
    |run| run.reads(2).contains(&"101"),
    [OldVersion, OldVersion, Waits]
);

anomaly!(
    aborted_insert_read_g1a,
    "x=10",
    "1 put k 1 | 2 rows | 1 abort | 2 rows | 2 commit",
    |run| run.reads(2) != ["x=10", "x=10"],
    [OldVersion, OldVersion, Waits]
);

anomaly!(
    read_of_what_a_savepoint_took_back_g1a,
    "x=10",
    "1 savepoint | 1 put x 101 | 2 get x | 1 rewind | 2 get x | 1 commit | 2 commit",
    |run| run.reads(2).contains(&"101"),
    [OldVersion, OldVersion, Waits]
);

anomaly!(
    intermediate_read_g1b,
    "x=10",
    "1 put x 101 | 2 get x | 1 put x 11 | 1 commit | 2 get x | 2 commit",
    |run| run.reads(2).contains(&"101"),
    [OldVersion, OldVersion, Waits]
);

anomaly!(
    circular_information_flow_g1c,
    "x=10 y=20",
    "1 put x 11 | 2 put y 22 | 1 get y | 2 get x | 1 commit | 2 commit",
    |run| run.reads(1) == ["22"] && run.reads(2) == ["11"],
    [OldVersion, OldVersion, DEADLOCK]
);

anomaly!(
    observed_transaction_vanishes_otv,
    "x=10 y=20",
    "1 put x 11 | 1 put y 19 | 2 put x 12 | 1 commit | 3 get x | 2 put y 18 | 3 get y | 2 commit \
     | 3 get y | 3 get x | 3 commit",
    |run| {
        let reads = run.reads(3);
        // Having seen one write of a transaction, it sees another as if that had not been.
        (reads[..2] == ["12", "19"]) || (reads[2..] == ["18", "11"])
    },
    [Waits, LOST, Waits]
);

// Reads that do not agree with each other.

anomaly!(
    fuzzy_read_p2,
    "x=10",
    "1 get x | 2 put x 12 | 2 commit | 1 get x | 1 commit",
    |run| run.reads(1) == ["10", "12"],
    [Happens, OldVersion, Waits]
);

anomaly!(
    read_skew_g_single,
    "x=10 y=20",
    "1 get x | 2 get x | 2 get y | 2 put x 12 | 2 put y 18 | 2 commit | 1 get y | 1 commit",
    |run| run.reads(1) == ["10", "18"],
    [Happens, OldVersion, Waits]
);

anomaly!(
    read_skew_over_a_predicate_g_single,
    "x=10 y=20",
    "1 rows | 2 put x 12 | 2 put y 18 | 2 commit | 1 rows ..y | 1 rows y.. | 1 commit",
    |run| run.reads(1)[1..] != ["x=10", "y=20"],
    [Happens, OldVersion, Waits]
);

anomaly!(
    read_skew_with_a_write_g_single,
    "x=10 y=20",
    "1 get x | 2 get x | 2 get y | 2 put x 12 | 2 put y 18 | 2 commit | 1 put y 0 | 1 commit",
    |run| run.have_committed(&[1, 2]) && run.left == "x=12 y=0",
    [Happens, LOST, DEADLOCK]
);

anomaly!(
    predicate_many_preceders_pmp,
    "x=10 y=20",
    "1 rows | 2 put z 30 | 2 commit | 1 rows | 1 commit",
    |run| run.reads(1)[0] != run.reads(1)[1],
    [Happens, OldVersion, Waits]
);

anomaly!(
    predicate_many_preceders_of_a_write_pmp,
    "x=10 y=20",
    "1 raise 10 | 2 drop 20 | 1 commit | 2 commit",
    // The row that is 20 afterwards is there although both went on.
    |run| run.have_committed(&[1, 2]) && run.left != "y=30",
    [Happens, LOST, Waits]
);

anomaly!(
    vanished_row_pmp,
    "x=10 y=20",
    "1 rows | 2 delete x | 2 commit | 1 rows | 1 commit",
    |run| run.reads(1)[0] != run.reads(1)[1],
    [Happens, OldVersion, Waits]
);

anomaly!(
    count_that_changes_pmp,
    "x=10 y=20",
    "1 count | 2 put z 30 | 2 commit | 1 count | 1 commit",
    |run| run.reads(1) == ["2", "3"],
    [Happens, OldVersion, Waits]
);

// Cycles of reads that were overtaken: what a snapshot alone does not keep away.

fn both_went_on(run: &Run) -> bool {
    run.have_committed(&[1, 2])
}

anomaly!(
    write_skew_g2_item,
    "x=10 y=20",
    "1 get x | 1 get y | 2 get x | 2 get y | 1 put x 11 | 2 put y 21 | 1 commit | 2 commit",
    both_went_on,
    [Happens, Happens, DEADLOCK]
);

anomaly!(
    write_skew_of_three_g2_item,
    "x=1 y=2 z=3",
    "1 get x | 2 get y | 3 get z | 1 put y 20 | 2 put z 30 | 3 put x 10 | 1 commit | 2 commit \
     | 3 commit",
    |run| run.have_committed(&[1, 2, 3]),
    [Happens, Happens, DEADLOCK]
);

anomaly!(
    read_only_transaction_anomaly_g2,
    "x=0 y=0",
    "2 get x | 2 get y | 1 get y | 1 put y 20 | 1 commit | 3 get x | 3 get y | 3 commit \
     | 2 put x -11 | 2 commit",
    // The third has seen the deposit, and not the withdrawal that did not know of it.
    |run| run.have_committed(&[1, 2, 3]) && run.reads(3) == ["0", "20"],
    [Happens, Happens, DEADLOCK]
);

anomaly!(
    phantoms_on_both_sides_g2,
    "x=10 y=20",
    "1 rows | 2 rows | 1 put a 30 | 2 put b 42 | 1 commit | 2 commit",
    both_went_on,
    [Happens, Happens, DEADLOCK]
);

anomaly!(
    write_skew_through_an_insert_into_a_range_g2,
    "c=1 p=1 x=1",
    "1 rows d..m | 2 rows d..m | 1 put e 1 | 2 put f 1 | 1 commit | 2 commit",
    both_went_on,
    [Happens, Happens, DEADLOCK]
);

anomaly!(
    write_skew_through_a_delete_in_a_range_g2,
    "e=1 f=1",
    "1 rows d..m | 2 rows d..m | 1 delete e | 2 delete f | 1 commit | 2 commit",
    both_went_on,
    [Happens, Happens, DEADLOCK]
);

anomaly!(
    write_skew_over_absent_keys_g2,
    "x=10",
    "1 get a | 2 get b | 1 put b 1 | 2 put a 1 | 1 commit | 2 commit",
    both_went_on,
    [Happens, Happens, DEADLOCK]
);

anomaly!(
    write_skew_over_a_deleted_key_g2,
    "a=1 b=1",
    "3 delete a | 3 delete b | 3 commit | 1 get a | 2 get b | 1 put b 1 | 2 put a 1 | 1 commit \
     | 2 commit",
    both_went_on,
    [Happens, Happens, DEADLOCK]
);

anomaly!(
    write_skew_through_a_delete_of_nothing_g2,
    "x=10",
    "1 delete a | 2 delete b | 1 put b 1 | 2 put a 1 | 1 commit | 2 commit",
    |run| both_went_on(run) && run.reads(1) == ["-"] && run.reads(2) == ["-"],
    [Happens, Happens, DEADLOCK]
);

anomaly!(
    phantoms_under_a_reverse_cursor_g2,
    "x=10 y=20",
    "1 back d..y | 2 back d..y | 1 put e 30 | 2 put f 42 | 1 commit | 2 commit",
    both_went_on,
    [Happens, Happens, DEADLOCK]
);

anomaly!(
    phantoms_in_an_empty_tree_g2,
    "",
    "1 rows | 2 rows | 1 put a 1 | 2 put b 2 | 1 commit | 2 commit",
    both_went_on,
    [Happens, Happens, DEADLOCK]
);

anomaly!(
    phantoms_in_an_empty_tree_read_backwards_g2,
    "",
    "1 back | 2 back | 1 put a 1 | 2 put b 2 | 1 commit | 2 commit",
    both_went_on,
    [Happens, Happens, DEADLOCK]
);

anomaly!(
    phantoms_beyond_the_largest_key_g2,
    "a=1 b=2",
    "1 rows c.. | 2 rows c.. | 1 put x 1 | 2 put y 2 | 1 commit | 2 commit",
    both_went_on,
    [Happens, Happens, DEADLOCK]
);

anomaly!(
    phantoms_below_the_smallest_key_g2,
    "m=1 n=2",
    "1 back ..c | 2 back ..c | 1 put a 1 | 2 put b 2 | 1 commit | 2 commit",
    both_went_on,
    [Happens, Happens, DEADLOCK]
);

anomaly!(
    a_new_first_row_g2,
    "m=1 n=2",
    "1 first | 2 first | 1 put a 1 | 2 put b 2 | 1 commit | 2 commit",
    both_went_on,
    [Happens, Happens, DEADLOCK]
);

anomaly!(
    write_skew_over_counts_g2,
    "x=10 y=20",
    "1 count | 2 count | 1 put a 1 | 2 put b 2 | 1 commit | 2 commit",
    both_went_on,
    [Happens, Happens, DEADLOCK]
);

anomaly!(
    phantom_where_an_insert_was_undone_g2,
    "x=10",
    "3 put m 1 | 3 abort | 1 rows k..n | 2 rows k..n | 1 put m 2 | 2 put l 3 | 1 commit | 2 commit",
    both_went_on,
    [Happens, Happens, DEADLOCK]
);

anomaly!(
    write_skew_over_what_a_savepoint_took_back_g2,
    "x=1 y=1",
    "1 savepoint | 1 delete x | 1 rewind | 2 get y | 2 put x 2 | 1 put y 2 | 2 commit | 1 commit",
    |run| run.have_committed(&[1, 2]) && run.reads(2) == ["1"],
    [Happens, Happens, DEADLOCK]
);
