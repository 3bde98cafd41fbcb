//! What is deleted is given back, not before nobody can see it, and trees do not grow by use.
#![allow(clippy::unwrap_used)]

use super::tests::{all, key, options, tree};
use super::*;
use crate::disk::memory::MemoryDisk;
use crate::page::{Change, PartReader};
use crate::tree::{Seek, Tree, Waiting};
use crate::txn::TreeRef;

const ROWS: u64 = 6000;

fn begin(store: &Store) -> Transaction {
    store.begin(Isolation::RepeatableRead, false).unwrap()
}

fn used(store: &Store) -> u64 {
    store.shared().core.space.used_pages()
}

fn assert_sound(store: &Store) {
    assert_eq!(store.check(false, &Progress::default()).unwrap().problems, []);
}

/// Keys of one round, in an order of their own: each round has keys above all before it.
fn keys(round: u64) -> impl Iterator<Item = Vec<u8>> {
    (0..ROWS).map(move |i| format!("{:09}", round * ROWS + i * 7919 % ROWS).into_bytes())
}

fn fill(store: &Store, at: TreeRef, round: u64) {
    let mut txn = begin(store);
    keys(round).for_each(|key| assert!(!txn.put(at, &key, &[3; 400]).unwrap()));
    txn.commit().unwrap();
}

fn empty(store: &Store, at: TreeRef, round: u64) {
    let mut txn = begin(store);
    keys(round).for_each(|key| assert!(txn.delete(at, &key).unwrap()));
    txn.commit().unwrap();
}

fn new_store(seed: u64) -> (Arc<MemoryDisk>, Store, TreeRef) {
    let disk = MemoryDisk::new(seed);
    let store = Store::create(disk.clone(), &options()).unwrap();
    let mut txn = begin(&store);
    let at = tree(&mut txn, "t");
    txn.commit().unwrap();
    (disk, store, at)
}

#[test]
fn a_tree_that_is_filled_and_emptied_ten_times_does_not_grow() {
    for moves in [false, true] {
        let (_, store, at) = new_store(71);
        let bare = used(&store);
        let mut left = Vec::new();
        for round in 0..10 {
            let round = if moves { round } else { 0 };
            fill(&store, at, round);
            assert!(used(&store) > bare + 600);
            empty(&store, at, round);
            store.maintain().unwrap();
            store.maintain().unwrap();
            left.push(used(&store) - bare);
        }
        // What stays is a leaf and its parents.
        assert!(*left.last().unwrap() <= 6, "moves: {moves}, {left:?}");
        assert!(all(&mut begin(&store), at, false).is_empty());
        assert_sound(&store);
        fill(&store, at, 3);
        assert_eq!(all(&mut begin(&store), at, true).len() as u64, ROWS);
        assert_sound(&store);
    }
}

#[test]
fn deleted_records_stay_as_long_as_a_snapshot_sees_them_and_no_longer() {
    let (_, store, at) = new_store(72);
    fill(&store, at, 0);
    let full = used(&store);
    let mut old = begin(&store);
    empty(&store, at, 0);
    let mut late = begin(&store);
    store.maintain().unwrap();
    assert!(used(&store) >= full);
    assert_eq!(all(&mut old, at, false).len() as u64, ROWS);
    assert!(all(&mut late, at, false).is_empty());
    old.commit().unwrap();
    store.maintain().unwrap();
    store.maintain().unwrap();
    assert!(used(&store) < full / 20, "{} of {full} pages are left", used(&store));
    assert!(all(&mut late, at, true).is_empty());
    assert_sound(&store);
}

#[test]
fn what_a_rollback_leaves_empty_is_given_back() {
    let (_, store, at) = new_store(73);
    let bare = used(&store);
    let mut txn = begin(&store);
    keys(0).for_each(|key| assert!(!txn.put(at, &key, &[3; 400]).unwrap()));
    txn.abort().unwrap();
    store.maintain().unwrap();
    store.maintain().unwrap();
    assert!(used(&store) <= bare + 6, "{} pages", used(&store) - bare);
    assert_sound(&store);
}

#[test]
fn deleted_records_are_cleaned_after_a_crash_too() {
    let (disk, store, at) = new_store(74);
    fill(&store, at, 0);
    store.checkpoint().unwrap();
    let full = used(&store);
    empty(&store, at, 0);
    disk.crash(74);
    drop(store);
    let store = Store::open_recovering(disk.reopen(), &options(), &Progress::default()).unwrap();
    let mut early = begin(&store);
    store.maintain().unwrap();
    store.maintain().unwrap();
    assert!(used(&store) < full / 20, "{} of {full} pages are left", used(&store));
    assert!(all(&mut early, at, false).is_empty());
    assert_sound(&store);
}

#[test]
fn a_crash_while_leaves_are_taken_out_leaves_a_sound_tree() {
    for budget in [1, 7, 60, 300] {
        for is_flushed in [false, true] {
            let (disk, store, at) = new_store(76 + budget);
            fill(&store, at, 0);
            let mut txn = begin(&store);
            // Some records stay, so that not every leaf goes.
            let gone = |key: &Vec<u8>| !key.ends_with(b"77");
            keys(0).filter(gone).for_each(|key| assert!(txn.delete(at, &key).unwrap()));
            txn.commit().unwrap();
            let mut left = budget;
            crate::txn::tidy(store.shared(), &mut || {
                left = left.saturating_sub(1);
                left > 0
            })
            .unwrap();
            store.shared().core.pool.write_out_cold().unwrap();
            if is_flushed {
                store.flush().unwrap();
            }
            disk.crash(budget);
            drop(store);
            let store = Store::open_recovering(disk.reopen(), &options(), &Progress::default()).unwrap();
            let stays: Vec<Vec<u8>> = {
                let mut stays: Vec<_> = keys(0).filter(|key| !gone(key)).collect();
                stays.sort();
                stays
            };
            let found = |reverse| -> Vec<Vec<u8>> {
                let mut found: Vec<_> =
                    all(&mut begin(&store), at, reverse).into_iter().map(|(key, _)| key).collect();
                found.sort();
                found
            };
            assert_eq!((found(false), found(true)), (stays.clone(), stays), "{budget} {is_flushed}");
            store.maintain().unwrap();
            assert_sound(&store);
            let mut txn = begin(&store);
            keys(0).for_each(|key| assert_eq!(txn.put(at, &key, &[4; 400]).unwrap(), !gone(&key)));
            txn.commit().unwrap();
            assert_eq!(all(&mut begin(&store), at, true).len() as u64, ROWS);
            assert_sound(&store);
        }
    }
}

/// How many older versions the record's chain has, as far as it can be followed.
fn chain(store: &Store, at: TreeRef, key: &[u8]) -> usize {
    let core = &store.shared().core;
    let leaf = Tree { core, id: at.id, root: at.root }.leaf::<Waiting>(Seek::At(key)).unwrap().unwrap();
    let mut stamp = leaf.record(leaf.search(key).unwrap()).stamp;
    drop(leaf);
    for length in 0.. {
        let entry = if stamp.lsn.is_none() { None } else { core.log.read(stamp.lsn).ok() };
        let Some(entry) = entry else { return length };
        let part = PartReader::new(&entry.body).unwrap().next_part().unwrap().unwrap();
        let Change::Put { old: Some(old), .. } = part.change else { return length };
        stamp = old.stamp;
    }
    unreachable!("a chain ends")
}

#[test]
fn the_versions_of_a_hot_key_are_as_many_as_snapshots_tell_apart() {
    let (disk, store, at) = new_store(75);
    let update = |i: u64| {
        let mut txn = begin(&store);
        txn.put(at, b"hot", &i.to_le_bytes()).unwrap();
        // Twice, and once taken back: what it replaced itself stays while it may be undone.
        txn.put(at, b"hot", &(i + 1_000_000).to_le_bytes()).unwrap();
        txn.savepoint("s").unwrap();
        txn.put(at, b"hot", b"nothing").unwrap();
        txn.rollback_to("s").unwrap();
        if i % 5 == 4 { txn.abort().unwrap() } else { txn.commit().map(drop).unwrap() }
    };
    update(0);
    let mut snapshots = vec![(0, begin(&store))];
    for i in 1..3000 {
        update(i);
        if i % 1000 == 0 {
            snapshots.push((i, begin(&store)));
        }
    }
    let length = chain(&store, at, b"hot");
    assert!(length <= 10, "{length} versions for {} snapshots", snapshots.len());
    for (i, snapshot) in &mut snapshots {
        let seen = snapshot.get(at, b"hot").unwrap().unwrap();
        assert_eq!(u64::from_le_bytes(*seen.first_chunk().unwrap()), *i + 1_000_000);
    }
    // A writer that is undone finds what was there.
    let mut loser = begin(&store);
    loser.put(at, b"hot", b"lost").unwrap();
    loser.put(at, &key(1), b"lost").unwrap();
    store.flush().unwrap();
    disk.crash(75);
    std::mem::forget(loser);
    drop(snapshots);
    drop(store);
    let store = Store::open_recovering(disk.reopen(), &options(), &Progress::default()).unwrap();
    let seen = begin(&store).get(at, b"hot").unwrap().unwrap();
    assert_eq!(u64::from_le_bytes(*seen.first_chunk().unwrap()), 2998 + 1_000_000);
    assert_sound(&store);
}

/// Once somebody gave leaves back between the last checkpoint of a close and its end: the database
/// counted as closed, and did not open.
#[test]
fn nobody_gives_pages_back_behind_a_close() {
    let (_, store, at) = new_store(76);
    fill(&store, at, 0);
    empty(&store, at, 0);
    let (pages, end) = (used(&store), store.shared().core.log.end());
    store.shared().closed.store(true, Ordering::SeqCst);
    store.give_back().unwrap();
    assert_eq!((used(&store), store.shared().core.log.end()), (pages, end));
    store.shared().closed.store(false, Ordering::SeqCst);
    store.give_back().unwrap();
    assert!(used(&store) < pages);
    store.close().unwrap();
}
