#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::disk::Disk;
use crate::disk::memory::MemoryDisk;
use crate::recovery::{DATA_PATH, Opening};
use crate::store::StoreOptions;
use crate::txn::{Isolation, Transaction, TreeRef};

pub(crate) const WRITERS: u64 = 8;
pub(crate) const ACCOUNTS: u64 = 400;
pub(crate) const START: u64 = 1000;

pub(crate) fn options(background: bool) -> StoreOptions {
    let mut options = StoreOptions { background, page_size: 4096, ..StoreOptions::default() };
    // A small cache: pages go out and come back while they are copied.
    options.opening.cache_bytes = 48 * 4096;
    options.opening.log.segment_bytes = 1 << 20;
    options.opening.log.buffer_bytes = 256 << 10;
    options.opening.log.background = background;
    options.opening.image_every = 32;
    options.checkpoint_log_bytes = 600 << 10;
    options
}

pub(crate) fn begin(store: &Store) -> Transaction {
    store.begin(Isolation::ReadCommitted, false).unwrap()
}

pub(crate) fn account(number: u64) -> Vec<u8> {
    format!("account {:05}", number.wrapping_mul(7919) % 100_000).into_bytes()
}

pub(crate) fn number(txn: &mut Transaction, tree: TreeRef, key: &[u8]) -> u64 {
    let value = txn.get(tree, key).unwrap().unwrap();
    u64::from_le_bytes(value[..8].try_into().unwrap())
}

pub(crate) fn amount(value: u64) -> Vec<u8> {
    let mut bytes = value.to_le_bytes().to_vec();
    bytes.resize(300, 7);
    bytes
}

/// A store whose accounts add up, and its tree.
pub(crate) fn bank(disk: Arc<dyn Disk>, background: bool) -> (Store, TreeRef) {
    let store = Store::create(disk, &options(background)).unwrap();
    let tree = filled(&store);
    (store, tree)
}

/// Fills the accounts of an empty store.
pub(crate) fn filled(store: &Store) -> TreeRef {
    let mut txn = begin(store);
    let tree = txn.tree("accounts", true).unwrap().unwrap();
    for i in 0..ACCOUNTS {
        txn.put(tree, &account(i), &amount(START)).unwrap();
    }
    for writer in 0..WRITERS {
        txn.put(tree, &writer_key(writer), &amount(0)).unwrap();
    }
    txn.commit().unwrap();
    tree
}

pub(crate) fn writer_key(writer: u64) -> Vec<u8> {
    format!("writer {writer}").into_bytes()
}

/// Moves one unit between accounts of a writer and counts the step; returns the commit's LSN.
pub(crate) fn transfer(store: &Store, tree: TreeRef, writer: u64, step: u64) -> Lsn {
    let mut txn = begin(store);
    let each = ACCOUNTS / WRITERS;
    let pick = |i: u64| account(writer * each + (step * 31 + i * 17 + i) % each);
    let (from, to) = (pick(0), pick(1));
    if from != to {
        let (a, b) = (number(&mut txn, tree, &from), number(&mut txn, tree, &to));
        if a > 0 {
            txn.put(tree, &from, &amount(a - 1)).unwrap();
            txn.put(tree, &to, &amount(b + 1)).unwrap();
        }
    }
    if step % 7 == 3 {
        txn.put(tree, format!("note {writer} {}", step % 50).as_bytes(), &vec![3; 9000]).unwrap();
    }
    txn.put(tree, &writer_key(writer), &amount(step)).unwrap();
    if step % 11 == 5 {
        txn.abort().unwrap();
        return transfer(store, tree, writer, step + 1);
    }
    txn.commit().unwrap()
}

pub(crate) fn total(store: &Store, tree: TreeRef) -> u64 {
    let mut txn = begin(store);
    (0..ACCOUNTS).map(|i| number(&mut txn, tree, &account(i))).sum()
}

pub(crate) fn recovered(disk: Arc<MemoryDisk>) -> Store {
    Store::open_recovering(disk, &options(false), &Progress::default()).unwrap()
}

pub(crate) fn assert_sound(store: &Store) {
    assert_eq!(store.check(false, &Progress::default()).unwrap().problems, []);
}

pub(crate) struct StopOnDrop<'s>(pub &'s AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// What eight threads committed, at most `steps` steps each, while `work` went on: LSN and step, by writer.
pub(crate) fn while_writers_transfer(
    store: &Store,
    tree: TreeRef,
    steps: u64,
    work: impl FnOnce(),
) -> Vec<Vec<(Lsn, u64)>> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let stop = &stop;
                scope.spawn(move || {
                    let (mut commits, mut step) = (Vec::new(), 1);
                    // Bounded: on a busy machine the writers would outrun the work without end.
                    while step < steps && !stop.load(Ordering::Acquire) {
                        let counted = if step % 11 == 5 { step + 1 } else { step };
                        commits.push((transfer(store, tree, writer, step), counted));
                        step = counted + 1;
                    }
                    commits
                })
            })
            .collect();
        // Also where the work fails: the writers must not go on for ever.
        let working = StopOnDrop(&stop);
        work();
        drop(working);
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Each writer has come as far as it had committed before `end`, and no farther.
pub(crate) fn assert_as_committed_before(
    txn: &mut Transaction,
    tree: TreeRef,
    commits: &[Vec<(Lsn, u64)>],
    end: Lsn,
    what: &str,
) {
    for (writer, commits) in commits.iter().enumerate() {
        let before = commits.iter().filter(|(lsn, _)| *lsn < end);
        let expected = before.map(|(_, step)| *step).max().unwrap_or(0);
        assert_eq!(number(txn, tree, &writer_key(writer as u64)), expected, "{what}");
    }
}

#[test]
fn a_backup_during_work_is_the_committed_state_at_its_end() {
    let (store, tree) = bank(MemoryDisk::new(1), true);
    let mut taken = Vec::new();
    let commits = while_writers_transfer(&store, tree, 2000, || {
        for round in 0..6 {
            let target = MemoryDisk::new(100 + round);
            let summary = take_to(&store, &*target, &Progress::default()).unwrap();
            taken.push((target, summary));
        }
    });
    assert!(store.checkpointer().status().count > 1);
    for (target, summary) in taken {
        verify_on(&*target, &Progress::default()).unwrap();
        let disk = MemoryDisk::new(7);
        restore_to(&*target, &*disk, &Progress::default()).unwrap();
        let mut opening = Opening::begin(disk.clone(), options(false).opening).unwrap();
        assert_eq!(opening.validate_log(&Progress::default()).unwrap().end, summary.end_lsn);
        drop(opening);
        let restored = recovered(disk);
        assert_eq!(total(&restored, tree), ACCOUNTS * START);
        let mut txn = begin(&restored);
        assert_as_committed_before(&mut txn, tree, &commits, summary.end_lsn, "");
        drop(txn);
        assert_sound(&restored);
        transfer(&restored, tree, 0, 1);
        assert_sound(&restored);
    }
}

#[test]
fn what_was_unfinished_at_the_end_of_a_backup_is_undone() {
    let (store, tree) = bank(MemoryDisk::new(2), false);
    let mut open = begin(&store);
    open.put(tree, &account(3), &amount(1 << 40)).unwrap();
    for step in 0..3000 {
        transfer(&store, tree, 1, step * 11 + 1);
    }
    store.checkpoint().unwrap();
    assert!(store.checkpointer().status().redo_lsn > open.state().first_lsn());
    let target = MemoryDisk::new(3);
    take_to(&store, &*target, &Progress::default()).unwrap();
    open.commit().unwrap();
    let disk = MemoryDisk::new(4);
    restore_to(&*target, &*disk, &Progress::default()).unwrap();
    let restored = recovered(disk);
    assert_eq!(total(&restored, tree), ACCOUNTS * START);
    assert_sound(&restored);
}

#[test]
fn a_restored_database_that_crashes_in_its_recovery_recovers_again() {
    let (store, tree) = bank(MemoryDisk::new(5), false);
    let target = MemoryDisk::new(6);
    for step in 0..500 {
        transfer(&store, tree, 2, step * 11 + 1);
    }
    take_to(&store, &*target, &Progress::default()).unwrap();
    for nth in (1..200).step_by(13) {
        let disk = MemoryDisk::new(nth);
        restore_to(&*target, &*disk, &Progress::default()).unwrap();
        disk.crash_after(nth);
        let _ = Store::open_recovering(disk.clone(), &options(false), &Progress::default());
        let restored = recovered(disk.reopen());
        assert_eq!(total(&restored, tree), ACCOUNTS * START, "crash at call {nth}");
        assert_sound(&restored);
    }
}

#[test]
fn a_restore_that_is_killed_at_any_step_leaves_no_database_or_the_whole_of_it() {
    let (store, tree) = bank(MemoryDisk::new(20), false);
    for step in 0..500 {
        transfer(&store, tree, 2, step * 11 + 1);
    }
    let backup = MemoryDisk::new(21);
    take_to(&store, &*backup, &Progress::default()).unwrap();
    let (mut none, mut whole) = (0, 0);
    for nth in 1.. {
        let disk = MemoryDisk::new(100 + nth);
        disk.crash_after(nth);
        let is_done = restore_to(&*backup, &*disk, &Progress::default()).is_ok();
        let disk = disk.reopen();
        match Store::open_recovering(disk, &options(false), &Progress::default()) {
            Ok(restored) => {
                assert_eq!(total(&restored, tree), ACCOUNTS * START, "killed at call {nth}");
                assert_sound(&restored);
                whole += 1;
            }
            Err(error) => {
                assert!(!is_done, "what was restored does not open: {error}");
                none += 1;
            }
        }
        if is_done {
            break;
        }
    }
    assert!(none > 10 && whole > 0, "{none} without a database, {whole} with a whole one");
}

#[test]
fn any_damage_to_a_backup_is_found_and_nothing_is_restored_from_it() {
    let (store, _) = bank(MemoryDisk::new(8), false);
    let target = MemoryDisk::new(9);
    take_to(&store, &*target, &Progress::default()).unwrap();
    let whole = target.snapshot();
    assert!(verify_on(&*target, &Progress::default()).is_ok());
    for (name, bytes) in &whole {
        let mut versions = Vec::new();
        for place in [0, bytes.len() / 2, bytes.len() - 1] {
            let mut flipped = bytes.clone();
            flipped[place] ^= 0x10;
            versions.push(Some(flipped));
        }
        versions.push(Some(bytes[..bytes.len() / 2].to_vec()));
        versions.push(None);
        for version in versions {
            let mut files = whole.clone();
            match version {
                // White space at the end of the manifest is the one thing that says nothing.
                Some(version) if version.trim_ascii_end() == bytes.trim_ascii_end() => continue,
                Some(version) => files.insert(name.clone(), version),
                None => files.remove(name),
            };
            let damaged = MemoryDisk::from_snapshot(1, &files);
            let error = verify_on(&*damaged, &Progress::default()).unwrap_err();
            assert_eq!(error.code, Code::BackupDamaged, "{name}: {error}");
            let disk = MemoryDisk::new(2);
            assert!(restore_to(&*damaged, &*disk, &Progress::default()).is_err());
            assert!(disk.snapshot().is_empty(), "{name}");
        }
    }
}

#[test]
fn cancel_and_a_full_disk_leave_nothing_behind() {
    let (store, tree) = bank(MemoryDisk::new(10), false);
    let target = MemoryDisk::new(11);
    let progress = Progress::default();
    progress.cancel();
    assert_eq!(take_to(&store, &*target, &progress).unwrap_err().code, Code::Cancelled);
    assert!(target.snapshot().is_empty());
    for room in [100, 5_000, 20_000] {
        target.set_capacity(Some(room));
        let error = take_to(&store, &*target, &Progress::default()).unwrap_err();
        assert_eq!(error.code, Code::DiskFull, "{error}");
        assert!(target.snapshot().is_empty());
    }
    target.set_capacity(None);
    take_to(&store, &*target, &Progress::default()).unwrap();
    transfer(&store, tree, 0, 1);
    let disk = MemoryDisk::new(12);
    disk.set_capacity(Some(50_000));
    let error = restore_to(&*target, &*disk, &Progress::default()).unwrap_err();
    assert_eq!(error.code, Code::DiskFull, "{error}");
    assert!(disk.snapshot().is_empty());
}

#[test]
fn a_backup_with_a_damaged_page_is_refused_by_name() {
    let disk = MemoryDisk::new(13);
    let (store, tree) = bank(disk.clone(), false);
    store.close().unwrap();
    drop(store);
    disk.flip_bit(DATA_PATH, u64::from(tree.root.0) * 4096 + 500, 2).unwrap();
    let store = Store::open(disk, &options(false)).unwrap();
    let target = MemoryDisk::new(14);
    let error = take_to(&store, &*target, &Progress::default()).unwrap_err();
    assert_eq!(error.code, Code::ChecksumMismatch);
    assert_eq!(error.field("page_id"), Some(&tree.root.0.into()));
    assert!(target.snapshot().is_empty());
}

#[test]
fn the_newest_finished_backup_of_a_chain_is_taken_and_nothing_is_overwritten() {
    let place = std::env::temp_dir().join(format!("holdfast-chain-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&place);
    let (store, tree) = bank(MemoryDisk::new(15), false);
    let (chain, progress) = (place.join("chain"), Progress::default());
    std::fs::create_dir_all(&chain).unwrap();
    assert_eq!(verify(&chain, None, &progress).unwrap_err().code, Code::BackupDamaged);
    take(&store, &chain.join("full-1"), &Wanted::default(), &progress).unwrap();
    transfer(&store, tree, 0, 1);
    let newest = take(&store, &chain.join("full-2"), &Wanted::default(), &progress).unwrap();
    transfer(&store, tree, 0, 2);
    take(&store, &chain.join("full-3.partial"), &Wanted::default(), &progress).unwrap();
    assert_eq!(verify(&chain, None, &progress).unwrap().end_lsn, newest.end_lsn);
    let target = place.join("restored");
    let restored = restore(&chain, &target, None, &progress).unwrap();
    assert_eq!((restored.end_lsn, restored.pages), (newest.end_lsn, newest.pages));
    let again = restore(&chain, &target, None, &progress).unwrap_err();
    assert_eq!(again.code, Code::TargetNotEmpty);
    let again = take(&store, &chain.join("full-1"), &Wanted::default(), &progress).unwrap_err();
    assert_eq!(again.code, Code::TargetNotEmpty);
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::new(&target));
    let restored = Store::open_recovering(disk, &options(false), &progress).unwrap();
    assert_eq!(number(&mut begin(&restored), tree, &writer_key(0)), 1);
    assert_sound(&restored);
    drop(restored);
    std::fs::remove_dir_all(&place).unwrap();
}
