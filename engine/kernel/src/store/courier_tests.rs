//! Trees filled by two threads: what either of them meets, the tree is whole or as it was before.
#![allow(clippy::unwrap_used)]

use super::tests::{all, options, tree};
use super::*;
use crate::disk::faults::{Call, Failure, Fault, FaultDisk};
use crate::disk::memory::MemoryDisk;
use crate::disk::os::OsDisk;
use crate::disk::tests::TempFolder;
use crate::txn::{Push, TreeRef};

const ROWS: u64 = 20_000;

fn pair(number: u64) -> (Vec<u8>, Vec<u8>) {
    let length = if number.is_multiple_of(4000) { 300_000 } else { number as usize % 200 };
    (number.to_be_bytes().to_vec(), vec![number as u8; length])
}

fn begin(store: &Store) -> Transaction {
    store.begin(Isolation::RepeatableRead, false).unwrap()
}

fn push_rows(count: u64, push: Push<'_>) -> Result<()> {
    (0..count).try_for_each(|number| {
        let (key, value) = pair(number);
        push(&key, &value)
    })
}

fn fill(
    txn: &mut Transaction,
    at: TreeRef,
    bring: &mut dyn FnMut(Push<'_>) -> Result<()>,
) -> Result<u64> {
    txn.fill_beside(at, (ROWS as usize, ROWS * 150), bring)
}

fn fill_whole(txn: &mut Transaction, at: TreeRef) -> Result<u64> {
    fill(txn, at, &mut |push| push_rows(ROWS, push))
}

fn used(store: &Store) -> u64 {
    store.shared().core.space.used_pages()
}

fn assert_sound(store: &Store) {
    store.maintain().unwrap();
    assert_eq!(store.check(false, &Progress::default()).unwrap().problems, []);
}

fn assert_whole(store: &Store, at: TreeRef) {
    let rows = all(&mut begin(store), at, false);
    assert!(rows.into_iter().eq((0..ROWS).map(pair)));
    assert_sound(store);
}

/// Nothing is left of a build that failed, and its transaction can go on.
fn assert_gone(store: &Store, mut txn: Transaction, at: TreeRef, before: u64) {
    assert_eq!(txn.count(at).unwrap(), 0);
    assert!(!txn.put(at, b"k", b"v").unwrap());
    assert_eq!(all(&mut txn, at, false).len(), 1);
    txn.abort().unwrap();
    drop(txn);
    assert_sound(store);
    assert_eq!(used(store), before);
}

/// What `bring` answers becomes the answer, and nothing else becomes of it.
fn assert_refused(code: Code, bring: &mut dyn FnMut(Push<'_>) -> Result<()>) {
    let store = Store::create(MemoryDisk::new(41), &options()).unwrap();
    let before = used(&store);
    let mut txn = begin(&store);
    let at = tree(&mut txn, "t");
    assert_eq!(fill(&mut txn, at, bring).unwrap_err().code, code);
    assert_gone(&store, txn, at, before);
}

#[test]
fn a_tree_filled_by_two_threads_is_whole_and_survives_a_crash() {
    let disk = MemoryDisk::new(40);
    let store = Store::create(disk.clone(), &options()).unwrap();
    let mut txn = begin(&store);
    let at = tree(&mut txn, "t");
    assert_eq!(fill_whole(&mut txn, at).unwrap(), ROWS);
    assert_eq!(txn.count(at).unwrap(), ROWS);
    txn.commit().unwrap();
    assert_whole(&store, at);
    disk.crash(40);
    drop(store);
    let store = Store::open_recovering(disk.reopen(), &options(), &Progress::default()).unwrap();
    assert_whole(&store, at);
}

#[test]
fn an_abort_of_a_tree_filled_by_two_threads_leaves_nothing() {
    let store = Store::create(MemoryDisk::new(42), &options()).unwrap();
    let before = used(&store);
    let mut txn = begin(&store);
    let at = tree(&mut txn, "t");
    fill_whole(&mut txn, at).unwrap();
    txn.abort().unwrap();
    drop(txn);
    assert_sound(&store);
    assert_eq!(used(&store), before);
}

#[test]
fn who_brings_can_stop_in_the_middle() {
    assert_refused(Code::Cancelled, &mut |push| {
        push_rows(ROWS / 2, push)?;
        Err(Error::new(Code::Cancelled))
    });
    assert_refused(Code::Cancelled, &mut |_| Err(Error::new(Code::Cancelled)));
}

#[test]
fn a_record_that_the_builder_refuses_is_told_to_who_brings_the_next_ones() {
    assert_refused(Code::KeyTooLong, &mut |push| {
        push_rows(100, push)?;
        push(&[255; 4000], b"long")?;
        // As many as it takes: sooner or later nobody takes them.
        loop {
            push(&[255; 400], &[1; 400])?;
        }
    });
}

#[test]
fn a_panic_of_who_brings_takes_back_what_was_built() {
    let store = Store::create(MemoryDisk::new(43), &options()).unwrap();
    let before = used(&store);
    let mut txn = begin(&store);
    let at = tree(&mut txn, "t");
    let work = || fill(&mut txn, at, &mut |push| push_rows(ROWS / 2, push).map(|()| panic!("half way")));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err());
    assert_gone(&store, txn, at, before);
}

#[test]
fn a_full_disk_takes_back_what_was_built() {
    let disk = FaultDisk::over_memory(MemoryDisk::new(44));
    let store = Store::create(disk.clone(), &options()).unwrap();
    let before = used(&store);
    let mut txn = begin(&store);
    let at = tree(&mut txn, "t");
    disk.full_after(3 << 20);
    assert_eq!(fill_whole(&mut txn, at).unwrap_err().code, Code::DiskFull);
    disk.heal();
    assert_gone(&store, txn, at, before);
}

#[test]
fn a_tree_filled_by_two_threads_on_a_failing_disk_is_whole_or_not_there() {
    let failing = |call, nth| {
        let memory = MemoryDisk::new(nth);
        let disk = FaultDisk::over_memory(memory.clone());
        let store = Store::create(disk.clone(), &options()).unwrap();
        disk.fail(Fault { call: Some(call), nth, for_good: true, failure: Failure::Device });
        let mut txn = begin(&store);
        let at = tree(&mut txn, "t");
        let done = fill_whole(&mut txn, at).and_then(|_| txn.commit());
        drop(txn);
        drop(store);
        memory.crash(nth);
        let store = Store::open_recovering(memory.reopen(), &options(), &Progress::default()).unwrap();
        let is_there = begin(&store).tree("t", false).unwrap().is_some();
        assert!(is_there || done.is_err(), "{call:?} {nth}");
        if is_there {
            assert_whole(&store, at)
        } else {
            assert_sound(&store)
        }
        done.is_err()
    };
    for call in [Call::Write, Call::Sync, Call::Allocate] {
        let mut nth = 1;
        while failing(call, nth) {
            nth = nth * 3 / 2 + 1;
        }
        assert!(nth > 3, "{call:?}: no call failed in the middle");
    }
}

#[test]
fn what_goes_to_the_log_past_the_systems_cache_is_recovered() {
    let folder = TempFolder::new("courier");
    let mut wide = options();
    wide.opening.log.segment_bytes = 4 << 20;
    wide.opening.log.buffer_bytes = 5 << 18;
    let store = Store::create(Arc::new(OsDisk::new(&folder.0)), &wide).unwrap();
    let mut txn = begin(&store);
    let at = tree(&mut txn, "t");
    let groups = || store.shared().core.log.status().groups;
    let before = groups();
    fill_whole(&mut txn, at).unwrap();
    assert!(groups() > before + 1, "too little for groups that are long enough");
    txn.commit().unwrap();
    drop(txn);
    drop(store);
    let disk = Arc::new(OsDisk::new(&folder.0));
    let store = Store::open_recovering(disk, &wide, &Progress::default()).unwrap();
    assert_whole(&store, at);
}
