//! One test for each fault that the crash campaigns found.
#![allow(clippy::unwrap_used)]

use super::tests::{all, key, options, tree};
use super::*;
use crate::disk::faults::{Call, Failure, Fault, FaultDisk};
use crate::disk::memory::MemoryDisk;
use crate::txn::CatalogueKind;

fn assert_sound(store: &Store) {
    store.maintain().unwrap();
    assert_eq!(store.check(false, &Progress::default()).unwrap().problems, []);
}

fn recover(disk: &MemoryDisk) -> Store {
    Store::open_recovering(disk.reopen(), &options(), &Progress::default()).unwrap()
}

fn begin(store: &Store) -> Transaction {
    store.begin(Isolation::RepeatableRead, false).unwrap()
}

#[test]
fn all_runs_of_pages_that_one_entry_takes_are_redone() {
    let disk = MemoryDisk::new(21);
    let store = Store::create(disk.clone(), &options()).unwrap();
    let mut txn = begin(&store);
    let at = tree(&mut txn, "t");
    (0..20u8).for_each(|i| assert!(!txn.put(at, &[i], &vec![i; 11_000]).unwrap()));
    txn.commit().unwrap();
    let mut txn = begin(&store);
    (0..20u8).step_by(2).for_each(|i| assert!(txn.delete(at, &[i]).unwrap()));
    txn.commit().unwrap();
    store.maintain().unwrap();
    store.checkpoint().unwrap();
    // The free pages lie in holes of three: this takes several runs of them at once.
    let mut txn = begin(&store);
    txn.put(at, b"long", &vec![9; 60_000]).unwrap();
    txn.commit().unwrap();
    disk.crash(1);
    let store = recover(&disk);
    assert_sound(&store);
    assert_eq!(begin(&store).get(at, b"long").unwrap().map(|value| value.len()), Some(60_000));
}

#[test]
fn a_snapshot_cannot_write_to_a_tree_that_was_dropped_after_it_began() {
    let disk = MemoryDisk::new(22);
    let store = Store::create(disk.clone(), &options()).unwrap();
    let mut txn = begin(&store);
    let at = tree(&mut txn, "t");
    txn.put(at, b"k", b"v").unwrap();
    txn.commit().unwrap();
    let mut late = begin(&store);
    let mut txn = begin(&store);
    assert!(txn.drop_tree(CatalogueKind::Tree, "t").unwrap());
    txn.commit().unwrap();
    let at = tree(&mut late, "t");
    assert_eq!(late.get(at, b"k").unwrap().as_deref(), Some(&b"v"[..]));
    for _ in 0..2 {
        assert_eq!(late.put(at, b"k", b"lost").unwrap_err().code, Code::WriteConflict);
    }
    let other = tree(&mut late, "other");
    late.put(other, b"k", b"v").unwrap();
    store.flush().unwrap();
    disk.crash(1);
    assert_sound(&recover(&disk));
}

#[test]
fn a_tree_taken_back_by_a_savepoint_is_given_back_however_its_transaction_ends() {
    for end in 0..3 {
        let disk = MemoryDisk::new(23);
        let store = Store::create(disk.clone(), &options()).unwrap();
        let used = store.shared().core.space.used_pages();
        let mut txn = begin(&store);
        txn.savepoint("s").unwrap();
        let at = tree(&mut txn, "t");
        (0..300).for_each(|i| assert!(!txn.put(at, &key(i), &[7; 90]).unwrap()));
        txn.rollback_to("s").unwrap();
        store.checkpoint().unwrap();
        match end {
            0 => txn.commit().map(|_| ()).unwrap(),
            1 => txn.abort().unwrap(),
            _ => disk.crash(1),
        }
        drop(txn);
        let store = if end == 2 { recover(&disk) } else { store };
        assert_sound(&store);
        assert_eq!(store.shared().core.space.used_pages(), used);
    }
}

#[test]
fn a_bulk_build_taken_back_by_a_savepoint_leaves_an_empty_tree() {
    let disk = MemoryDisk::new(24);
    let store = Store::create(disk.clone(), &options()).unwrap();
    let mut txn = begin(&store);
    let at = tree(&mut txn, "t");
    txn.savepoint("s").unwrap();
    let mut keys = 0..2000u32;
    let mut next = || Ok(keys.next().map(|i| (i.to_be_bytes().to_vec(), vec![5; 90])));
    assert_eq!(txn.fill(at, &mut next).unwrap(), 2000);
    txn.rollback_to("s").unwrap();
    assert_eq!(txn.count(at).unwrap(), 0);
    assert!(all(&mut txn, at, false).is_empty());
    txn.put(at, b"k", b"v").unwrap();
    txn.commit().unwrap();
    disk.crash(1);
    let store = recover(&disk);
    assert_sound(&store);
    assert_eq!(all(&mut begin(&store), at, true).len(), 1);
}

#[test]
fn a_creation_cut_off_at_any_call_can_be_made_again() {
    for nth in 1..60 {
        for seed in 0..8 {
            let disk = MemoryDisk::new(seed);
            disk.crash_after(nth);
            let _ = Store::create(disk.clone(), &options());
            let disk = disk.reopen();
            match Store::create(disk.clone(), &options()) {
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.code, Code::DatabaseExists, "call {nth}, seed {seed}");
                    Store::open_recovering(disk, &options(), &Progress::default()).unwrap();
                }
            }
        }
    }
}

/// A store on a disk that can be made to fail, with a committed tree of so many records.
fn failing_store(records: u64) -> (Arc<FaultDisk>, Store, crate::txn::TreeRef) {
    let disk = FaultDisk::over_memory(MemoryDisk::new(25));
    let store = Store::create(disk.clone(), &options()).unwrap();
    let mut txn = begin(&store);
    let at = tree(&mut txn, "t");
    (0..records).for_each(|i| assert!(!txn.put(at, &key(i), &[3; 100]).unwrap()));
    txn.commit().unwrap();
    (disk, store, at)
}

fn fail_all(disk: &FaultDisk, call: Call) {
    disk.fail(Fault { call: Some(call), nth: 1, for_good: true, failure: Failure::Device });
}

#[test]
fn a_failed_store_still_reads_when_its_cache_is_full_of_changed_pages() {
    let (disk, store, at) = failing_store(6000);
    let mut txn = begin(&store);
    fail_all(&disk, Call::Sync);
    let mut changed = (0..6000).map(|i| txn.put(at, &key(i), &[4; 100]));
    assert_eq!(changed.find_map(|done| done.err()).unwrap().code, Code::StoreFailed);
    let mut reader = store.begin(Isolation::RepeatableRead, true).unwrap();
    let rows = all(&mut reader, at, false);
    assert!(rows.len() == 6000 && rows.iter().all(|(_, value)| *value == [3; 100]));
    drop(reader);
    assert_eq!(begin(&store).put(at, b"k", b"v").unwrap_err().code, Code::StoreFailed);
}

#[test]
fn a_rollback_that_met_an_error_is_done_later() {
    let (disk, store, at) = failing_store(6000);
    let mut txn = begin(&store);
    (0..3000).for_each(|i| assert!(txn.put(at, &key(i), &[4; 100]).unwrap()));
    fail_all(&disk, Call::Read);
    assert_eq!(txn.abort().unwrap_err().code, Code::IoError);
    assert!(txn.commit().is_err(), "half undone, it must not be committed");
    drop(txn);
    disk.heal();
    store.maintain().unwrap();
    let mut txn = begin(&store);
    assert!(all(&mut txn, at, false).iter().all(|(_, value)| *value == [3; 100]));
    (0..3000).for_each(|i| assert!(txn.put(at, &key(i), &[5; 100]).unwrap()));
}

#[test]
fn nobody_waits_for_a_transaction_of_a_store_that_has_failed() {
    let (disk, store, at) = failing_store(10);
    let mut holder = begin(&store);
    holder.put(at, &key(1), b"held").unwrap();
    let mut waiter = begin(&store);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| waiter.put(at, &key(1), b"wanted"));
        while store.shared().locks.counters().waiting_now == 0 {
            std::thread::yield_now();
        }
        fail_all(&disk, Call::Sync);
        assert_eq!(holder.commit().unwrap_err().code, Code::StoreFailed);
        assert_eq!(waiting.join().unwrap().unwrap_err().code, Code::StoreFailed);
    });
    assert!(started.elapsed() < options().opening.locks.timeout);
}

#[test]
fn a_cache_larger_than_all_memory_is_refused_and_costs_nothing() {
    let disk = MemoryDisk::new(23);
    let huge = |cache_bytes| {
        let mut options = options();
        options.opening.cache_bytes = cache_bytes;
        options
    };
    let told = Store::create(MemoryDisk::new(24), &huge(u64::MAX)).err().unwrap();
    assert_eq!(told.code, Code::OutOfMemory, "{told}");
    let store = Store::create(disk.clone(), &options()).unwrap();
    let mut txn = begin(&store);
    let at = tree(&mut txn, "t");
    assert!(!txn.put(at, b"k", b"v").unwrap());
    txn.commit().unwrap();
    disk.crash(23);
    drop(store);
    let disk = disk.reopen();
    let told = Store::open_recovering(disk.clone(), &huge(1 << 60), &Progress::default()).err();
    assert!(told.as_ref().is_none_or(|error| error.code == Code::OutOfMemory), "{told:?}");
    let disk = disk.reopen();
    let store = Store::open_recovering(disk, &options(), &Progress::default()).unwrap();
    assert_eq!(all(&mut begin(&store), at, false).len(), 1);
}

#[test]
fn a_nearly_full_disk_is_not_asked_for_much_with_every_page() {
    let disk = FaultDisk::over_memory(MemoryDisk::new(31));
    let store = Store::create(disk.clone(), &options()).unwrap();
    let mut txn = begin(&store);
    let at = tree(&mut txn, "t");
    disk.full_after(3 << 20);
    let before = disk.counters().of(Call::Allocate);
    let full = (0..100_000u32).find_map(|i| {
        let told = txn.put(at, &i.to_be_bytes(), &[7; 900]);
        told.err().map(|error| (i, error.code))
    });
    let (rows, code) = full.unwrap();
    assert_eq!(code, Code::DiskFull);
    let calls = disk.counters().of(Call::Allocate) - before;
    assert!(rows > 500 && calls < u64::from(rows) / 8, "{calls} calls for {rows} rows");
    disk.heal();
    txn.abort().unwrap();
    assert_sound(&store);
}
