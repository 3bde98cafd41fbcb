//! A creation that is cut off, and a database that is only read.
#![allow(clippy::unwrap_used)]

use super::tests::{all, key, options, tree};
use super::*;
use crate::control::{self, Control};
use crate::disk::memory::MemoryDisk;
use crate::recovery::DATA_PATH;

fn reading() -> StoreOptions {
    StoreOptions { read_only: true, background: true, ..options() }
}

fn closed(disk: &Arc<MemoryDisk>) {
    let store = Store::create(disk.clone(), &options()).unwrap();
    let mut txn = store.begin(Isolation::RepeatableRead, false).unwrap();
    let at = tree(&mut txn, "t");
    for i in 0..1000 {
        txn.put(at, &key(i), &[5; 60]).unwrap();
    }
    txn.put(at, b"long", &[1; 9000]).unwrap();
    txn.commit().unwrap();
    store.close().unwrap();
}

#[test]
fn a_creation_that_is_cut_off_anywhere_is_begun_again_or_recovered() {
    let clean = MemoryDisk::new(0);
    drop(Store::create(clean.clone(), &options()).unwrap());
    let calls = clean.counters().changes;
    let (mut again, mut recovered) = (0, 0);
    for nth in 1..=calls {
        let disk = MemoryDisk::new(nth);
        disk.crash_after(nth);
        let made = Store::create(disk.clone(), &options());
        drop(made);
        disk.crash(nth);
        let disk = disk.reopen();
        let has_control = disk.exists(control::PATH).unwrap() && !Control::is_blank(&*disk).unwrap();
        let store = if has_control {
            recovered += 1;
            Store::open_recovering(disk.clone(), &options(), &Progress::default()).unwrap()
        } else {
            again += 1;
            assert!(is_half_made(&*disk).unwrap() || disk.list("").unwrap().is_empty(), "call {nth}");
            Store::create(disk.clone(), &options()).unwrap()
        };
        assert!(!disk.exists(".creating").unwrap(), "call {nth}");
        let mut txn = store.begin(Isolation::RepeatableRead, false).unwrap();
        let at = tree(&mut txn, "t");
        txn.put(at, b"k", b"v").unwrap();
        txn.commit().unwrap();
        store.close().unwrap();
    }
    assert!(again > 3 && recovered > 3, "{again} begun again, {recovered} recovered");
}

#[test]
fn a_database_is_never_taken_for_a_half_made_one_once_it_was_open() {
    let disk = MemoryDisk::new(31);
    closed(&disk);
    // A crash may bring the marker back between the control file and the marker's removal.
    put_marker(&*disk, ".creating").unwrap();
    assert!(!is_half_made(&*disk).unwrap());
    Store::open(disk.clone(), &options()).unwrap().close().unwrap();
    disk.remove(control::PATH).unwrap();
    assert!(!is_half_made(&*disk).unwrap());
    let error = Store::create(disk.clone(), &options()).err().unwrap();
    assert_eq!(error.code, Code::DatabaseExists);
}

#[test]
fn files_of_others_keep_a_half_made_database_from_being_cleared() {
    for name in ["letter.txt", "wal/letter.txt"] {
        let disk = MemoryDisk::new(32);
        put_marker(&*disk, ".creating").unwrap();
        for path in [DATA_PATH, name] {
            disk.open(path, OpenMode::Create).unwrap().write_at(b"dear reader", 0).unwrap();
        }
        assert!(!is_half_made(&*disk).unwrap());
        assert!(Store::create(disk.clone(), &options()).is_err());
        assert!(disk.exists(name).unwrap() && disk.exists(DATA_PATH).unwrap());
    }
}

#[test]
fn a_database_opened_for_reading_is_left_as_it_is_to_the_last_byte() {
    let disk = MemoryDisk::new(33);
    closed(&disk);
    let (before, changes) = (disk.hash(), disk.counters().changes);
    let store = Store::open(disk.clone(), &reading()).unwrap();
    let mut txn = store.begin(Isolation::RepeatableRead, true).unwrap();
    let at = txn.tree("t", false).unwrap().unwrap();
    assert_eq!(all(&mut txn, at, false).len(), 1001);
    txn.commit().unwrap();
    let mut txn = store.begin(Isolation::RepeatableRead, false).unwrap();
    let refused = |error: Error| assert_eq!(error.code, Code::ReadOnlyDatabase, "{error}");
    refused(txn.put(at, b"k", b"v").unwrap_err());
    drop(txn);
    refused(store.checkpoint().unwrap_err());
    refused(store.set_read_only(false).unwrap_err());
    refused(store.shared().core.log.rotate().unwrap_err());
    store.maintain().unwrap();
    assert_eq!(store.check(false, &Progress::default()).unwrap().problems, []);
    assert_eq!(store.close().unwrap(), 0);
    drop(store);
    assert_eq!((disk.hash(), disk.counters().changes), (before, changes));
    assert_eq!(Store::open(disk, &options()).unwrap().close().unwrap(), 0);
}

#[test]
fn a_database_that_needs_recovery_is_not_opened_for_reading() {
    let disk = MemoryDisk::new(34);
    let store = Store::create(disk.clone(), &options()).unwrap();
    disk.kill();
    drop(store);
    let disk = disk.reopen();
    let before = disk.hash();
    let told = |opened: Result<Store>| opened.err().unwrap().code;
    assert_eq!(told(Store::open(disk.clone(), &reading())), Code::RecoveryNeeded);
    let opened = Store::open_recovering(disk.clone(), &reading(), &Progress::default());
    assert_eq!(told(opened), Code::RecoveryNeeded);
    assert_eq!(disk.hash(), before);
}
