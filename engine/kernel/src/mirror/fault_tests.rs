//! Disks that fail, fill up, are damaged or lose power, at every call in turn.
#![allow(clippy::unwrap_used)]

use super::tests::*;
use super::*;
use crate::backup::tests::*;
use crate::disk::Disk;
use crate::disk::faults::{Failure, Fault, FaultDisk};
use crate::disk::memory::MemoryDisk;
use crate::recovery::{DATA_PATH, Progress};
use crate::store::Store;
use crate::sync::Arc;
use crate::txn::TreeRef;

/// Some rounds of work, shipping and redo; ends with the first error. The states that the mirror
/// may be in are those that the database was in at the ends of transfers.
fn work(store: &Store, tree: TreeRef, follower: &Follower, rounds: u64) -> crate::error::Result<()> {
    for round in 0..rounds {
        write(store, tree, 1000 + 8 * round..1000 + 8 * (round + 1));
        if round % 3 == 2 {
            store.checkpoint()?;
        }
        follower.step()?;
        follower.redo(false, &Progress::default())?;
    }
    Ok(())
}

/// Fails over to a copy of the mirror; the money must add up. False where it is not whole yet.
fn proved(mirror: &Arc<MemoryDisk>) -> bool {
    match Standing::read(&**mirror) {
        Ok(Some(standing)) if standing.role == Role::Mirror => {}
        _ => {
            assert!(fail_over(&dynamic(mirror), PLACE, None, true).is_err());
            return false;
        }
    }
    fail_over(&dynamic(mirror), PLACE, None, true).unwrap();
    let taken = recovered(mirror.clone());
    assert_sound(&taken);
    assert_eq!(total(&taken, tree_of(&taken)), ACCOUNTS * START);
    true
}

#[test]
fn a_mirror_that_loses_power_at_any_call_is_none_yet_or_a_whole_one() {
    let (mut whole, mut none) = (0, 0);
    for nth in (1..48).step_by(2).chain((50..400).step_by(23)) {
        let mirror = MemoryDisk::new(500 + nth);
        let (store, tree) = bank(MemoryDisk::new(nth), false);
        let follower = store.mirrors().add_on(PLACE, mirror.clone(), false).unwrap();
        mirror.crash_after(nth);
        let done = follower.step().and_then(|()| work(&store, tree, &follower, 12));
        let mirror = mirror.reopen();
        drop(follower);
        if proved(&copy_of(&mirror)) {
            whole += 1;
        } else {
            none += 1;
        }
        if done.is_ok() {
            continue;
        }
        // When it is back it goes on, or is made anew, and is level again.
        store.mirrors().remove(PLACE, false).unwrap();
        let back = store.mirrors().add_on(PLACE, mirror.clone(), false).unwrap();
        let _ = back.step();
        back.step().unwrap();
        work(&store, tree, &back, 4).unwrap();
        let expected = contents(&store, tree);
        let taken = taken_over(&copy_of(&mirror), None);
        assert!(contents(&taken, tree_of(&taken)) == expected, "call {nth}");
        assert_sound(&taken);
    }
    assert!(whole > 10 && none > 10, "{whole} {none}");
}

#[test]
fn a_mirror_whose_disk_fails_or_is_full_at_any_call_never_holds_the_database_up() {
    let mut struck = 0;
    for failure in [Failure::Device, Failure::Full] {
        for for_good in [false, true] {
            for nth in (1..260).step_by(23) {
                let memory = MemoryDisk::new(700 + nth);
                let mirror = FaultDisk::over_memory(memory.clone());
                let (store, tree) = bank(MemoryDisk::new(nth), false);
                let follower = store.mirrors().add_on(PLACE, mirror.clone(), false).unwrap();
                mirror.fail(Fault { call: None, nth, for_good, failure });
                let mut failed = follower.step().is_err();
                for round in 0..6 {
                    write(&store, tree, 1000 + 8 * round..1000 + 8 * (round + 1));
                    store.checkpoint().unwrap();
                    failed |= follower.step().is_err();
                    failed |= follower.redo(false, &Progress::default()).is_err();
                }
                struck += u64::from(failed);
                mirror.heal();
                let _ = follower.step();
                follower.step().unwrap();
                store.checkpoint().unwrap();
                follower.step().unwrap();
                follower.redo(true, &Progress::default()).unwrap();
                let expected = contents(&store, tree);
                let taken = taken_over(&copy_of(&memory), None);
                assert!(contents(&taken, tree_of(&taken)) == expected, "{failure:?} {for_good} {nth}");
                assert_sound(&taken);
            }
        }
    }
    assert!(struck > 20, "{struck}");
}

#[test]
fn damaged_pages_in_the_mirror_that_redo_meets_are_replaced_by_the_databases() {
    let (store, tree, _, mirror, follower) = mirrored(811);
    store.checkpoint().unwrap();
    follower.step().unwrap();
    follower.redo(false, &Progress::default()).unwrap().unwrap();
    let pages = mirror.snapshot()[DATA_PATH].len() as u64 / 4096;
    for page in 0..pages {
        mirror.flip_bit(DATA_PATH, page * 4096 + 900, 3).unwrap();
    }
    write(&store, tree, 40..80);
    store.checkpoint().unwrap();
    follower.step().unwrap();
    follower.redo(false, &Progress::default()).unwrap().unwrap();
    let status = follower.status();
    assert_eq!((status.copies, status.mended > 10), (1, true), "{}", status.mended);
    let expected = contents(&store, tree);
    let taken = taken_over(&mirror, None);
    assert!(contents(&taken, tree_of(&taken)) == expected);
    assert_sound(&taken);
}

#[test]
fn a_fail_over_that_is_cut_off_at_any_call_leaves_never_two_primaries_and_can_be_repeated() {
    let mut cut_off = 0;
    for nth in 1..40 {
        for on_primary in [true, false] {
            let (store, tree, primary, mirror, follower) = mirrored(900 + 3 * nth);
            write(&store, tree, 40..60);
            follower.step().unwrap();
            let expected = contents(&store, tree);
            store.close().unwrap();
            drop((store, follower));
            let broken = if on_primary { &primary } else { &mirror };
            broken.crash_after(nth);
            let done = fail_over(&dynamic(&mirror), PLACE, Some(&dynamic(&primary)), false);
            cut_off += u64::from(done.is_err());
            let (primary, mirror) = match on_primary {
                true => (primary.reopen(), mirror),
                false => (primary, mirror.reopen()),
            };
            let opens = |disk: &Arc<MemoryDisk>| standing::ensure_primary(&**disk).is_ok();
            // A primary that died before it could be fenced is told by the epoch when they meet.
            let is_told = Standing::read(&*primary).unwrap().is_none_or(|s| s.role == Role::Superseded);
            assert!(!(opens(&primary) && opens(&mirror)) || (on_primary && !is_told), "call {nth}");
            if !opens(&mirror) {
                fail_over(&dynamic(&mirror), PLACE, Some(&dynamic(&primary)), false).unwrap();
            }
            let taken = recovered(mirror);
            assert!(contents(&taken, tree_of(&taken)) == expected);
        }
    }
    assert!(cut_off > 2, "{cut_off}");
}

#[test]
fn damage_in_the_log_of_a_mirror_is_told_before_a_fail_over_loses_what_lies_beyond() {
    let (store, tree, _, mirror, follower) = mirrored(951);
    write(&store, tree, 40..90);
    follower.step().unwrap();
    drop((store, follower));
    let name = mirror.list("wal").unwrap().pop().unwrap();
    let path = format!("wal/{name}");
    let used = mirror.snapshot()[&path].iter().rposition(|byte| *byte != 0).unwrap() as u64;
    mirror.flip_bit(&path, used - 3000, 1).unwrap();
    let now = outlook(&dynamic(&mirror), None).unwrap();
    assert!(now.broken.is_some());
    let error = fail_over(&dynamic(&mirror), PLACE, None, false).unwrap_err();
    assert_eq!(error.code, crate::error::Code::MirrorIncomplete);
    fail_over(&dynamic(&mirror), PLACE, None, true).unwrap();
    let taken = recovered(mirror);
    assert_sound(&taken);
    assert_eq!(total(&taken, tree_of(&taken)), ACCOUNTS * START);
}
