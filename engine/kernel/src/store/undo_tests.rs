//! Undo finds the room it needs, whatever the disk says, and is done once however often it is cut
//! off.
#![allow(clippy::unwrap_used)]

use super::tests::{all, key, options, tree};
use super::*;
use crate::disk::faults::FaultDisk;
use crate::disk::memory::MemoryDisk;
use crate::txn::{TreeRef, roll_back_whole};

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

fn begin(store: &Store) -> Transaction {
    store.begin(Isolation::RepeatableRead, false).unwrap()
}

fn rows(store: &Store, at: TreeRef) -> Rows {
    all(&mut begin(store), at, false)
}

fn imaging() -> StoreOptions {
    let mut options = options();
    // An image is wanted all the time, and must not stand in the way.
    options.opening.image_every = 5;
    options
}

fn prepared(store: &Store) -> TreeRef {
    let mut txn = begin(store);
    let at = tree(&mut txn, "t");
    for i in 0..1500 {
        txn.put(at, &key(i), &[1; 80]).unwrap();
    }
    txn.put(at, b"long", &vec![1; 30_000]).unwrap();
    txn.commit().unwrap();
    at
}

/// Writes until the disk is full, and then a byte less at a time: nothing is left.
fn fill_up(store: &Store, at: TreeRef) -> Transaction {
    let mut txn = begin(store);
    for length in [900, 100, 1] {
        for i in 0.. {
            if let Err(error) = txn.put(at, format!("filling{i}").as_bytes(), &vec![2; length]) {
                assert_eq!(error.code, Code::DiskFull, "{error}");
                break;
            }
        }
    }
    txn
}

fn put(txn: &mut Transaction, at: TreeRef, key: &[u8], value: &[u8]) {
    txn.put(at, key, value).unwrap();
}

type Changes = fn(&mut Transaction, TreeRef);

const KINDS: [(&str, Changes); 6] = [
    ("one insert", |txn, at| put(txn, at, b"new", b"v")),
    ("updates", |txn, at| {
        for round in 0..3u8 {
            (0..1500).for_each(|i| put(txn, at, &key(i), &[round; 80]));
        }
    }),
    ("inserts and deletions", |txn, at| {
        (1500..4000).for_each(|i| put(txn, at, &key(i), &[3; 50]));
        (1500..4000).step_by(2).for_each(|i| assert!(txn.delete(at, &key(i)).unwrap()));
    }),
    ("long values", |txn, at| {
        (0..20u64).for_each(|i| put(txn, at, &key(i), &vec![4; 20_000]));
        txn.put(at, b"long", &vec![4; 60_000]).unwrap();
    }),
    ("a tree", |txn, _| {
        let made = tree(txn, "made");
        (0..500).for_each(|i| put(txn, made, &key(i), &[5; 50]));
    }),
    ("a tree built in bulk", |txn, _| {
        let made = tree(txn, "built");
        let mut keys = 0..3000u32;
        let mut next = || Ok(keys.next().map(|i| (i.to_be_bytes().to_vec(), vec![6; 90])));
        txn.fill(made, &mut next).unwrap();
    }),
];

#[test]
fn an_abort_never_meets_a_full_disk() {
    for (kind, work) in KINDS {
        let disk = FaultDisk::over_memory(MemoryDisk::new(51));
        let store = Store::create(disk.clone(), &imaging()).unwrap();
        let at = prepared(&store);
        let mut txn = begin(&store);
        let other = tree(&mut txn, "other");
        txn.commit().unwrap();
        let before = rows(&store, at);
        let mut txn = begin(&store);
        work(&mut txn, at);
        disk.full_after(0);
        let mut filling = fill_up(&store, other);
        txn.abort().unwrap_or_else(|error| panic!("{kind}: {error}"));
        filling.abort().unwrap_or_else(|error| panic!("{kind}, filling: {error}"));
        assert!(rows(&store, at) == before, "{kind}");
        assert_eq!(store.shared().core.log.status().reserved_undo, 0, "{kind}");
        disk.heal();
        store.maintain().unwrap();
        assert_eq!(store.check(false, &Progress::default()).unwrap().problems, [], "{kind}");
        store.close().unwrap();
    }
}

#[test]
fn a_recovery_that_met_a_full_disk_is_run_again_once_there_is_room() {
    for (kind, work) in KINDS {
        let disk = MemoryDisk::new(52);
        let store = Store::create(disk.clone(), &imaging()).unwrap();
        let at = prepared(&store);
        let before = rows(&store, at);
        let mut txn = begin(&store);
        work(&mut txn, at);
        store.flush().unwrap();
        disk.crash(52);
        std::mem::forget(txn);
        drop(store);
        let disk = disk.reopen();
        disk.set_capacity(Some(1));
        let told = Store::open_recovering(disk.clone(), &imaging(), &Progress::default());
        assert_eq!(told.err().unwrap().code, Code::DiskFull, "{kind}");
        disk.set_capacity(None);
        let store = Store::open_recovering(disk, &imaging(), &Progress::default()).unwrap();
        assert!(rows(&store, at) == before, "{kind}");
        store.maintain().unwrap();
        assert_eq!(store.check(false, &Progress::default()).unwrap().problems, [], "{kind}");
    }
}

#[test]
fn a_change_that_was_made_is_not_told_as_failed_because_its_image_has_no_room() {
    let disk = FaultDisk::over_memory(MemoryDisk::new(53));
    let store = Store::create(disk.clone(), &imaging()).unwrap();
    let at = prepared(&store);
    disk.full_after(0);
    let mut txn = begin(&store);
    let mut done = 0;
    for i in 0..1500 {
        match txn.put(at, &key(i), &[7; 80]) {
            Ok(existed) => done += u64::from(existed),
            Err(error) => {
                assert_eq!(error.code, Code::DiskFull);
                assert_eq!(txn.get(at, &key(i)).unwrap(), Some(vec![1; 80]));
                break;
            }
        }
    }
    assert!((1..1500).contains(&done), "{done} changes before the disk was full");
    txn.abort().unwrap();
    assert!(rows(&store, at).iter().all(|(_, value)| value[0] == 1));
}

#[test]
fn an_undo_that_is_cut_off_again_and_again_is_done_once() {
    let disk = MemoryDisk::new(54);
    let store = Store::create(disk.clone(), &imaging()).unwrap();
    let at = prepared(&store);
    let before = rows(&store, at);
    let mut txn = begin(&store);
    for (_, work) in KINDS {
        work(&mut txn, at);
    }
    store.flush().unwrap();
    disk.crash(54);
    std::mem::forget(txn);
    drop(store);
    let mut undone = Vec::new();
    let mut disk = disk.reopen();
    let left = loop {
        let progress = Progress::default();
        let mut opening = Opening::begin(disk.clone(), imaging().opening).unwrap();
        opening.validate_log(&progress).unwrap();
        opening.restore_doublewrite(&progress).unwrap();
        opening.analyse(&progress).unwrap();
        opening.redo(&progress).unwrap();
        // Cut off in the middle of the undo, and then by the power.
        let shared = Arc::clone(opening.shared().unwrap());
        let (mut budget, loser) = (4000u64, opening.analysis().unwrap().losers[0]);
        shared.core.space.count_used().unwrap();
        let state = shared.txns.adopt(loser.id, loser.first, loser.last, loser.started_at);
        let told = roll_back_whole(&shared, &state, &mut || {
            budget = budget.saturating_sub(1);
            budget > 0
        });
        match told {
            Ok(records) => break records,
            Err(error) => assert_eq!(error.code, Code::Cancelled),
        }
        undone.push(loser.changes);
        shared.core.log.flush_to(shared.core.log.end()).unwrap();
        disk.crash(undone.len() as u64);
        disk = disk.reopen();
    };
    assert!(undone.len() >= 2 && left < 4000, "cut off {} times, {left} were left", undone.len());
    disk.crash(9);
    let store = Store::open_recovering(disk.reopen(), &imaging(), &Progress::default()).unwrap();
    assert!(rows(&store, at) == before);
    store.maintain().unwrap();
    assert_eq!(store.check(false, &Progress::default()).unwrap().problems, []);
}
