//! A panic inside the kernel fails the store, never the process: whoever comes after gets the coded
//! error, nobody hangs, reads go on, and recovery finds what was acknowledged.
#![allow(clippy::unwrap_used)]

use super::tests::{key, options, tree};
use super::*;
use crate::disk::memory::MemoryDisk;
use crate::sync::trips;

const BASE: u64 = 50;

fn store() -> (Arc<MemoryDisk>, Store) {
    let disk = MemoryDisk::new(5);
    let store = Store::create(disk.clone(), &options()).unwrap();
    let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
    let at = tree(&mut txn, "t");
    (0..BASE).for_each(|i| assert!(!txn.put(at, &key(i), b"base").unwrap()));
    txn.commit().unwrap();
    (disk, store)
}

/// Puts and commits until the store refuses; the error it refused with.
fn work_until_refused(store: &Store) -> Error {
    for number in 0.. {
        let done = store.begin(Isolation::ReadCommitted, false).and_then(|mut txn| {
            let at = txn.tree("t", true)?.unwrap();
            txn.put(at, &key(100 + number % 1000), b"more")?;
            txn.commit()
        });
        if let Err(error) = done {
            return error;
        }
    }
    unreachable!("a store that is never refused")
}

fn assert_base(store: &Store) {
    let mut txn = store.begin(Isolation::RepeatableRead, true).unwrap();
    let at = txn.tree("t", false).unwrap().unwrap();
    (0..BASE).for_each(|i| assert_eq!(txn.get(at, &key(i)).unwrap().unwrap(), b"base"));
}

/// One thread panics at `place` while another one works.
fn panic_at(place: &'static str) {
    let (disk, store) = store();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| work_until_refused(&store));
        let panicked = scope.spawn(|| {
            // The other one may flush for both, again and again: sooner or later the turn is here.
            trips::arm(place);
            for number in 0.. {
                let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
                let at = tree(&mut txn, "t");
                txn.put(at, &key(3000 + number % 10), b"half").unwrap();
                txn.commit().unwrap();
            }
        });
        assert!(panicked.join().is_err(), "{place}: nobody panicked");
        assert_eq!(other.join().unwrap().code, Code::StoreFailed, "{place}");
    });
    let failed = store.shared().core.log.status().failed.unwrap();
    assert!(failed.to_string().contains("panicked"), "{failed}");
    assert_base(&store);
    assert_eq!(store.checkpoint().unwrap_err().code, Code::StoreFailed);
    assert_eq!(store.close().unwrap_err().code, Code::StoreFailed);
    drop(store);
    let store = Store::open_recovering(disk.reopen(), &options(), &Progress::default()).unwrap();
    assert_base(&store);
    assert_eq!(store.check(false, &Progress::default()).unwrap().problems, []);
}

#[test]
fn a_panic_in_the_middle_of_an_append_fails_the_store() {
    panic_at("append");
}

#[test]
fn a_panic_between_the_log_and_the_page_fails_the_store() {
    panic_at("apply");
}

#[test]
fn a_panic_of_the_thread_that_flushes_for_all_fails_the_store() {
    panic_at("flush");
}

#[test]
fn a_page_that_a_panic_left_half_changed_is_never_written_out() {
    let (disk, store) = store();
    std::thread::scope(|scope| {
        let panicked = scope.spawn(|| {
            let mut page = store.shared().core.pool.write(crate::core::CATALOGUE_ROOT).unwrap();
            page.begin_change();
            page.payload_mut()[7] ^= 0xFF;
            panic!("half way");
        });
        assert!(panicked.join().is_err());
    });
    assert_eq!(store.shared().core.pool.write_out_all().unwrap_err().code, Code::StoreFailed);
    drop(store);
    let store = Store::open_recovering(disk.reopen(), &options(), &Progress::default()).unwrap();
    assert_base(&store);
}

#[test]
fn a_panic_of_a_background_thread_fails_the_store() {
    let (_, store) = store();
    store.work.run(|_| panic!("in the background"));
    assert_eq!(work_until_refused(&store).code, Code::StoreFailed);
    assert_base(&store);
}
