#![allow(clippy::unwrap_used)]

use super::tests::{kept_bank, opened, seen, taken, work};
use super::*;
use crate::backup::increment_tests::{Contents, contents};
use crate::backup::tests::{assert_sound, begin};
use crate::disk::Disk;
use crate::disk::faults::{Failure, Fault, FaultDisk};
use crate::disk::memory::MemoryDisk;
use crate::store::Store;
use crate::sync::Arc;
use crate::txn::TreeRef;

fn tree_of(store: &Store) -> TreeRef {
    begin(store).tree("accounts", false).unwrap().unwrap()
}

type Known = Vec<(String, Contents)>;

/// What the snapshots take, but for their manifests.
fn room_on(memory: &MemoryDisk) -> u64 {
    let is_counted = |path: &str| path.starts_with(FOLDER) && !path.ends_with(".json");
    let files = memory.snapshot().into_iter().filter(|(path, _)| is_counted(path));
    files.map(|(_, bytes)| bytes.len() as u64).sum()
}

/// Snapshots s0, s1, ... with work before each, and after the last.
fn life(base: &Arc<dyn Disk>, count: u64) -> (Store, Arc<Chain>, TreeRef, Known) {
    let (store, chain, tree) = kept_bank(base, false);
    let mut known = Vec::new();
    for round in 0..count {
        work(&store, tree, round * 60, 60);
        known.push((format!("s{round}"), contents(&store)));
        taken(&store, &chain, &format!("s{round}"));
    }
    work(&store, tree, count * 60, 60);
    store.checkpoint().unwrap();
    (store, chain, tree, known)
}

/// Every snapshot that is left is what it was.
fn assert_left(chain: &Arc<Chain>, known: &Known, left: &[&str], told: &str) {
    let names: Vec<String> = chain.snapshots().into_iter().map(|found| found.moment.name).collect();
    assert_eq!(names, left, "{told}");
    for name in left {
        let seen = seen(chain, name).unwrap_or_else(|error| panic!("{told}: {name}: {error}"));
        let (_, then) = known.iter().find(|(known, _)| known == name).unwrap();
        assert!(contents(&seen) == *then, "{told}: {name}");
        assert_sound(&seen);
    }
}

#[test]
fn the_room_of_a_dropped_snapshot_is_given_back_though_an_older_one_is_there() {
    let memory = MemoryDisk::new(21);
    let base: Arc<dyn Disk> = memory.clone();
    let (store, chain, tree, known) = life(&base, 5);
    let files_of = |number: u64| {
        let prefix = format!("{FOLDER}/{number:08}.");
        memory.snapshot().keys().filter(|path| path.starts_with(&prefix)).count()
    };
    let mut left = vec!["s0", "s1", "s2", "s3", "s4"];
    // One in the middle, then the newest, then the one in the middle of what is left.
    for name in ["s2", "s4", "s1"] {
        let (before, kept) = (room_on(&memory), chain.bytes());
        let number = chain.named(name).unwrap().number;
        chain.drop_named(name).unwrap();
        left.retain(|one| *one != name);
        assert!(room_on(&memory) < before, "{name}: {before} to {}", room_on(&memory));
        assert!(chain.bytes() < kept && chain.bytes() == room_on(&memory), "{name}");
        assert_eq!(files_of(number), 0, "{name}");
        assert_left(&chain, &known, &left, name);
    }
    // No page is kept for longer than one of them needs it: at most once for each that is left.
    let data = store.shared().core.pool.file_pages();
    for snapshot in chain.snapshots() {
        assert!(snapshot.pages <= u64::from(data));
    }
    // The ones before go on keeping what is overwritten from now on.
    work(&store, tree, 400, 120);
    store.checkpoint().unwrap();
    assert_left(&chain, &known, &left, "after work");
    store.close().unwrap();
    drop((store, chain));
    let (_store, chain) = opened(&base, false);
    assert_left(&chain, &known, &left, "opened again");
    chain.drop_named("s0").unwrap();
    chain.drop_named("s3").unwrap();
    assert_eq!(room_on(&memory), 0);
}

#[test]
fn a_snapshot_that_is_looked_at_is_given_back_later_and_read_to_the_end() {
    let memory = MemoryDisk::new(22);
    let base: Arc<dyn Disk> = memory.clone();
    let (store, chain, tree, known) = life(&base, 3);
    let looked_at = seen(&chain, "s1").unwrap();
    chain.drop_named("s1").unwrap();
    work(&store, tree, 400, 60);
    store.checkpoint().unwrap();
    assert!(contents(&looked_at) == known[1].1);
    let before = room_on(&memory);
    drop(looked_at);
    chain.drop_named("s2").unwrap();
    assert!(room_on(&memory) < before);
    assert_left(&chain, &known, &["s0"], "both are gone");
    assert_eq!(base.list(FOLDER).unwrap().len(), 3);
}

/// The power fails at every changing call of a drop, in turn.
#[test]
fn a_crash_at_any_step_of_a_drop_leaves_every_other_snapshot_whole() {
    let first = MemoryDisk::new(23);
    let base: Arc<dyn Disk> = first.clone();
    let (store, chain, _, known) = life(&base, 4);
    store.close().unwrap();
    drop((store, chain));
    let files = first.snapshot();
    let mut crashed = 0;
    for (name, others) in [("s1", ["s0", "s2", "s3"]), ("s3", ["s0", "s1", "s2"])] {
        for nth in 1.. {
            let memory = MemoryDisk::from_snapshot(nth, &files);
            let base: Arc<dyn Disk> = memory.clone();
            let (store, chain) = opened(&base, false);
            memory.crash_after(nth);
            let done = chain.drop_named(name);
            drop((store, chain));
            let memory = memory.reopen();
            let base: Arc<dyn Disk> = memory.clone();
            let (store, chain) = opened(&base, false);
            let told = format!("{name}, crash at call {nth}");
            let all = ["s0", "s1", "s2", "s3"];
            let is_there = chain.named(name).is_ok();
            assert!(!is_there || done.is_err(), "{told}");
            assert_left(&chain, &known, if is_there { &all } else { &others }, &told);
            // Work goes on; the next one that is taken finishes what the crash cut off.
            work(&store, tree_of(&store), 500, 20);
            taken(&store, &chain, "after");
            assert_eq!(chain.bytes(), room_on(&memory), "{told}");
            let kept = base.list(FOLDER).unwrap().into_iter().filter(|file| file.ends_with("kept"));
            assert_eq!(kept.count(), chain.snapshots().len(), "{told}");
            chain.drop_named("after").unwrap();
            assert_left(&chain, &known, if is_there { &all } else { &others }, &told);
            if done.is_ok() {
                break;
            }
            crashed += 1;
        }
    }
    assert!(crashed > 8, "{crashed}");
}

#[test]
fn a_disk_that_fails_at_any_step_of_a_drop_costs_no_other_snapshot() {
    let first = MemoryDisk::new(24);
    let base: Arc<dyn Disk> = first.clone();
    let (store, chain, _, known) = life(&base, 3);
    store.close().unwrap();
    drop((store, chain));
    let files = first.snapshot();
    for failure in [Failure::Device, Failure::Full] {
        let mut struck = 0;
        for nth in 1.. {
            let failing = FaultDisk::over_memory(MemoryDisk::from_snapshot(nth, &files));
            let base: Arc<dyn Disk> = failing.clone();
            let (_store, chain) = opened(&base, false);
            failing.fail(Fault { call: None, nth, for_good: false, failure });
            let done = chain.drop_named("s1");
            let is_struck = failing.struck() > 0;
            failing.heal();
            let told = format!("{failure:?} at call {nth}: {done:?}");
            let is_there = chain.named("s1").is_ok();
            let left: &[&str] = if is_there { &["s0", "s1", "s2"] } else { &["s0", "s2"] };
            assert_left(&chain, &known, left, &told);
            struck += u32::from(is_struck);
            if !is_struck {
                break;
            }
        }
        assert!(struck > 5, "{failure:?}: {struck}");
    }
}
