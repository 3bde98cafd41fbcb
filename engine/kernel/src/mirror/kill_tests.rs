//! Processes that are killed, and syncs that fail: what the mirror's disk shows afterwards need not
//! be on its medium, and must be before anybody counts on it.
#![allow(clippy::unwrap_used)]

use super::tests::*;
use super::*;
use crate::backup::tests::*;
use crate::disk::Disk;
use crate::disk::faults::{Call, Failure, Fault, FaultDisk};
use crate::disk::memory::MemoryDisk;
use crate::recovery::Progress;
use crate::store::Store;
use crate::sync::Arc;

/// Brings the mirror level, its pages too.
fn level(store: &Store, follower: &Follower) {
    // The first try may be the one that notices what happened.
    let _ = follower.step();
    follower.step().unwrap();
    store.checkpoint().unwrap();
    follower.step().unwrap();
    follower.redo(true, &Progress::default()).unwrap();
    assert_eq!(follower.status().lag_bytes, 0);
}

/// The power fails at the mirror, which was told to be level: nothing is missing.
fn assert_certain(store: &Store, mirror: &Arc<MemoryDisk>, told: &str) {
    let expected = contents(store, tree_of(store));
    mirror.crash(5);
    let taken = taken_over(&mirror.reopen(), None);
    assert!(contents(&taken, tree_of(&taken)) == expected, "{told}");
    assert_sound(&taken);
}

#[test]
fn what_a_failed_sync_of_a_mirror_dropped_is_written_again() {
    let mut struck = 0;
    for nth in 1..16 {
        let memory = MemoryDisk::new(nth);
        let mirror = FaultDisk::over_memory(memory.clone());
        let (store, tree) = bank(MemoryDisk::new(800 + nth), false);
        let follower = store.mirrors().add_on(PLACE, mirror.clone(), false).unwrap();
        follower.step().unwrap();
        let (call, failure) = (Some(Call::Sync), Failure::Device);
        level(&store, &follower);
        mirror.fail(Fault { call, nth, for_good: false, failure });
        // No checkpoint from here on: a recovery of the mirror needs all of what was shipped.
        for round in 0..16 {
            write(&store, tree, 8 * round..8 * (round + 1));
            let _ = follower.step();
        }
        struck += mirror.struck();
        mirror.heal();
        let _ = follower.step();
        follower.step().unwrap();
        assert_eq!(follower.status().lag_bytes, 0);
        drop(follower);
        assert_certain(&store, &memory, &format!("sync {nth}"));
    }
    assert!(struck > 12, "{struck}");
}

#[test]
fn a_mirror_left_by_a_process_that_was_killed_at_any_call_is_certain_before_it_counts() {
    let mut killed = 0;
    for nth in (1..60).step_by(3) {
        let (store, tree, primary, mirror, follower) = mirrored(2000 + nth);
        mirror.kill_after(nth);
        for round in 0..5 {
            write(&store, tree, 40 + 8 * round..40 + 8 * (round + 1));
            store.checkpoint().unwrap();
            let _ = follower.step();
            let _ = follower.redo(false, &Progress::default());
        }
        killed += u64::from(mirror.is_dead());
        primary.kill();
        drop((store, follower));
        let (primary, mirror) =
            (primary.reopen(), if mirror.is_dead() { mirror.reopen() } else { mirror });
        let store = recovered(primary);
        let follower = store.mirrors().attach_on(PLACE, mirror.clone()).unwrap();
        level(&store, &follower);
        drop(follower);
        assert_certain(&store, &mirror, &format!("call {nth}"));
    }
    assert!(killed > 10, "{killed}");
}

#[test]
fn damage_in_an_older_segment_of_a_mirrors_log_is_written_over_or_copied_anew() {
    for place in [20, 100, 300, 500, 700] {
        let (store, tree, _, mirror, follower) = mirrored(2100 + place);
        store.checkpoint().unwrap();
        follower.step().unwrap();
        follower.redo(true, &Progress::default()).unwrap();
        while mirror.list("wal").unwrap().len() < 3 {
            write(&store, tree, 40..80);
            follower.step().unwrap();
        }
        // In a segment that is full, and that a recovery of the mirror still needs.
        let name = mirror.list("wal").unwrap().remove(1);
        mirror.flip_bit(&format!("wal/{name}"), place << 10, 4).unwrap();
        drop(follower);
        let follower = store.mirrors().attach_on(PLACE, mirror.clone()).unwrap();
        write(&store, tree, 80..120);
        level(&store, &follower);
        drop(follower);
        assert_certain(&store, &mirror, &format!("{place} KiB"));
    }
}
