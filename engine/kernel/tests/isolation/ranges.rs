//! What serializable readers lock, and what they do not: who waits, and who must not have to.

use std::time::Duration;

use _kernel::error::Code;
use _kernel::lock::{MOST_INTERVALS, Resource};
use _kernel::txn::Isolation::{self, *};

use crate::operation::tree;
use crate::schedule::{Before, Run, Stage};

const BELOW: [Isolation; 2] = [ReadCommitted, RepeatableRead];

fn play(rows: &str, schedule: &str) -> Run {
    Stage::new(Before { rows, ..Before::default() }).play(schedule, |_| Serializable)
}

/// The first transaction is serializable, the others are not.
fn play_mixed(rows: &str, schedule: &str, others: Isolation) -> Run {
    let level = |number| if number == 1 { Serializable } else { others };
    Stage::new(Before { rows, ..Before::default() }).play(schedule, level)
}

fn play_colours(schedule: &str) -> Run {
    let before = Before { colours: "1=red 2=blue 3=red 4=green", ..Before::default() };
    Stage::new(before).play(schedule, |_| Serializable)
}

fn nobody_waits(run: &Run) {
    assert!(run.waits.is_empty() && run.failed.is_empty(), "{run:#?}");
}

fn second_waits_for_first(run: &Run) {
    assert_eq!(run.waits, [(2, 1)], "{run:#?}");
    assert!(run.failed.is_empty(), "{run:#?}");
}

#[test]
fn ranges_that_do_not_meet_are_read_and_written_side_by_side() {
    nobody_waits(&play("c=1 p=1", "1 rows a..m | 2 put p 2 | 2 put q 3 | 2 commit | 1 commit"));
    nobody_waits(&play("c=1 p=1", "1 back a..m | 2 put m 2 | 2 put q 3 | 2 commit | 1 commit"));
    nobody_waits(&play("a=1 b=1", "1 get a | 2 get b | 1 put a 2 | 2 put b 2 | 1 commit | 2 commit"));
}

#[test]
fn a_read_of_an_absent_key_locks_no_more_than_that_key() {
    nobody_waits(&play("a=1 z=1", "1 get k | 2 put j 1 | 2 put k0 1 | 2 commit | 1 commit"));
    second_waits_for_first(&play("a=1 z=1", "1 get k | 2 put k 1 | 1 commit | 2 commit"));
}

#[test]
fn a_scan_locks_as_far_as_it_has_looked() {
    nobody_waits(&play("c=1 p=1", "1 first | 2 put d 2 | 2 put q 3 | 2 commit | 1 commit"));
    second_waits_for_first(&play("c=1 p=1", "1 first | 2 put b 2 | 1 commit | 2 commit"));
    second_waits_for_first(&play("c=1 p=1", "1 first | 2 delete c | 1 commit | 2 commit"));
    second_waits_for_first(&play("c=1 p=1", "1 rows d..p | 2 put o 2 | 1 commit | 2 commit"));
    nobody_waits(&play("c=1 p=1", "1 rows d..p | 2 put p 2 | 2 put c 2 | 2 commit | 1 commit"));
}

#[test]
fn writers_below_serializable_wait_for_what_serializable_readers_have_seen() {
    for others in BELOW {
        for write in ["put x 12", "put m 1", "delete x", "put zz 1", "put a 1"] {
            let schedule = format!("1 rows | 2 {write} | 1 rows | 1 commit | 2 commit");
            let run = play_mixed("x=10 y=20", &schedule, others);
            second_waits_for_first(&run);
            assert_eq!(run.reads(1), ["x=10 y=20", "x=10 y=20"], "{write} at {}", others.name());
            assert!(run.have_committed(&[1, 2]));
        }
    }
}

#[test]
fn readers_below_serializable_wait_for_nobody() {
    for others in BELOW {
        nobody_waits(&play_mixed("x=10", "1 rows | 1 put x 1 | 2 rows | 2 commit | 1 commit", others));
    }
}

#[test]
fn the_first_updater_wins_over_a_snapshot_that_has_waited() {
    let schedule = "2 get x | 1 get x | 2 put x 12 | 1 put x 11 | 1 commit | 2 commit";
    let run = play_mixed("x=10", schedule, RepeatableRead);
    assert_eq!(run.failed.get(&2), Some(&Code::WriteConflict), "{run:#?}");
    let run = play_mixed("x=10", schedule, ReadCommitted);
    assert!(run.have_committed(&[1, 2]) && run.left == "x=12", "{run:#?}");
}

#[test]
fn a_reader_that_comes_later_waits_behind_a_writer_that_waits() {
    let run = play("x=10", "1 rows | 2 put m 5 | 3 rows | 1 commit | 2 commit | 3 commit");
    assert!(run.waits.starts_with(&[(2, 1), (3, 2)]), "{run:#?}");
    assert_eq!(run.reads(3), ["m=5 x=10"]);
    // It has what it has already: only what is new to it has to wait.
    nobody_waits(&play("x=10", "1 rows | 1 get m | 1 rows a..z | 1 commit"));
}

#[test]
fn a_reader_goes_on_when_the_writer_before_it_gives_up() {
    // The second gives up its change of m, and goes on with its transaction.
    let before = Before { rows: "x=10", timeout: Some(Duration::from_millis(200)), ..Before::default() };
    let schedule =
        "1 rows | 2 try m 5 | 3 again rows | 0 await 2 | 2 get z | 3 commit | 2 commit | 1 commit";
    let run = Stage::new(before).play(schedule, |_| Serializable);
    assert_eq!(run.reads(2), ["lock timeout", "-"], "{run:#?}");
    assert_eq!(run.reads(3), ["x=10"]);
    assert!(run.have_committed(&[1, 2, 3]), "{run:#?}");
}

#[test]
fn a_record_that_a_savepoint_took_back_can_be_read_again() {
    let schedule = "1 savepoint | 1 put x 11 | 2 get x | 1 rewind | 2 commit | 1 commit";
    let run = play("x=10", schedule);
    second_waits_for_first(&run);
    assert_eq!(run.reads(2), ["10"]);
}

#[test]
fn a_split_loses_no_range() {
    for around in ["fill c 300", "fill n 300"] {
        let schedule = format!(
            "1 rows d..m | 2 {around} | 2 commit | 3 put e 1 | 1 rows d..m | 1 commit | 3 commit"
        );
        let run = play("c=1 d=1 h=1 m=1", &schedule);
        assert_eq!(run.waits, [(3, 1)], "{run:#?}");
        assert_eq!(run.reads(1)[0], run.reads(1)[1]);
    }
}

#[test]
fn a_leaf_that_is_purged_and_taken_out_of_its_tree_loses_no_range() {
    let schedule = "2 fill e 400 | 2 fill n 400 | 2 commit | 3 clear e | 3 commit \
        | 1 rows d..m | 0 maintain | 4 put e0200 1 | 1 rows d..m | 1 commit | 4 commit";
    let run = play("d=1 k=1", schedule);
    assert_eq!(run.waits, [(4, 1)], "{run:#?}");
    assert_eq!(run.reads(1), ["d=1 k=1", "d=1 k=1"]);
}

#[test]
fn scans_over_many_leaves_lock_all_of_them() {
    for scan in ["rows", "back"] {
        for key in ["a", "b0001x", "b0150x", "b0399x", "c", "zzz"] {
            let schedule =
                format!("2 fill b 400 | 2 commit | 1 {scan} | 3 put {key} 1 | 1 commit | 3 commit");
            let run = play("", &schedule);
            assert_eq!(run.waits, [(3, 1)], "{scan}, {key}: {:?}", run.waits);
        }
    }
}

#[test]
fn trees_that_come_or_go_are_phantoms_too() {
    let run = play("", "1 trees | 2 make new | 1 trees | 1 commit | 2 commit");
    second_waits_for_first(&run);
    assert_eq!(run.reads(1), ["t", "t"]);
    nobody_waits(&play("", "1 make one | 2 make two | 1 commit | 2 commit"));
}

#[test]
fn rows_found_by_an_index_stay_as_they_are() {
    for change in ["insert 9 red", "paint 2 red", "paint 1 blue", "remove 3"] {
        let run = play_colours(&format!("1 find red | 2 {change} | 1 find red | 1 commit | 2 commit"));
        second_waits_for_first(&run);
        assert_eq!(run.reads(1), ["1 3", "1 3"], "{change}");
    }
}

#[test]
fn a_range_of_an_index_has_no_phantoms() {
    for change in ["insert 9 violet", "paint 2 red", "remove 1", "insert 9 zebra"] {
        let schedule = format!("1 find from red | 2 {change} | 1 find from red | 1 commit | 2 commit");
        let run = play_colours(&schedule);
        second_waits_for_first(&run);
        assert_eq!(run.reads(1), ["1 3", "1 3"], "{change}");
    }
}

#[test]
fn rows_of_other_index_entries_are_free() {
    nobody_waits(&play_colours("1 find red | 2 insert 9 blue | 2 paint 4 blue | 2 commit | 1 commit"));
}

#[test]
fn write_skew_through_an_index_is_kept_away() {
    let schedule = "1 find red | 2 find red | 1 insert 8 red | 2 insert 9 red | 1 commit | 2 commit";
    let run = play_colours(schedule);
    assert_eq!(run.failed.values().collect::<Vec<_>>(), [&Code::Deadlock], "{run:#?}");
}

#[test]
fn a_transaction_of_many_reads_holds_few_locks_and_no_hole() {
    let stage = Stage::new(Before::default());
    let mut txn = stage.store.begin(Serializable, false).unwrap();
    let at = tree(&mut txn).unwrap();
    let key = |number: usize| format!("{number:06}").into_bytes();
    for number in 0..4 * MOST_INTERVALS {
        txn.get(at, &key(number)).unwrap();
    }
    let shared = stage.store.shared();
    let held = shared.locks.ranges().held(txn.id());
    assert!(held.iter().all(|(_, intervals)| *intervals <= MOST_INTERVALS), "{held:?}");
    let mut other = stage.store.begin(ReadCommitted, false).unwrap();
    for number in (0..4 * MOST_INTERVALS).step_by(97) {
        let holder = shared.locks.ranges().in_the_way(other.id(), at.id, &key(number));
        assert_eq!(holder, Some(txn.id()));
    }
    shared.locks.ranges().leave(other.id(), at.id);
    other.put(at, &key(5 * MOST_INTERVALS), b"").unwrap();
    other.commit().unwrap();
    txn.commit().unwrap();
    assert_eq!(shared.locks.locks().len(), 0);
}

#[test]
fn ranges_are_shown_without_a_key() {
    let stage = Stage::new(Before { rows: "secret=1", ..Before::default() });
    let mut txn = stage.store.begin(Serializable, true).unwrap();
    let at = tree(&mut txn).unwrap();
    txn.get(at, b"secret").unwrap();
    let shared = stage.store.shared();
    let info = shared.locks.locks().into_iter().find(|info| info.resource == Resource::Ranges(at.id));
    let info = info.unwrap();
    assert_eq!(info.holders.iter().map(|(holder, _)| *holder).collect::<Vec<_>>(), [txn.id()]);
    assert_eq!(info.resource.to_string(), format!("key ranges of tree {}", at.id));
    assert!(shared.locks.held(txn.id()).iter().any(|(held, _)| *held == info.resource));
}
