//! A long transaction takes no memory for each of its changes: not while it works, not to commit,
//! to roll back, or to be undone after a crash. An allocator that counts watches.

// An allocator cannot be written without; it only counts and hands on to the system's.
#![allow(unsafe_code, clippy::unwrap_used)]

#[path = "common/folder.rs"]
mod folder;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use _kernel::disk::os::OsDisk;
use _kernel::log::SyncMode;
use _kernel::recovery::{Opening, Progress};
use _kernel::store::{Store, StoreOptions};
use _kernel::txn::{Isolation, Transaction, TreeRef};

use folder::Folder;

struct Counting;

static NOW: AtomicI64 = AtomicI64::new(0);
static MOST: AtomicI64 = AtomicI64::new(0);

fn grow(bytes: i64) {
    let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
    MOST.fetch_max(now, Ordering::Relaxed);
}

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size() as i64);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        grow(-(layout.size() as i64));
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How much memory `work` takes at most beyond what there was.
fn most<T>(work: impl FnOnce() -> T) -> (i64, T) {
    let before = NOW.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let done = work();
    (MOST.load(Ordering::Relaxed) - before, done)
}

const CACHE: u64 = 256 * 8192;
/// What a long transaction may take beyond a short one, for some ten bytes for each of its changes:
/// segments are known one by one, leaves to be cleaned are noted.
const ALLOWED: i64 = 1 << 20;

fn options() -> StoreOptions {
    let mut options = StoreOptions { background: false, ..StoreOptions::default() };
    options.opening.cache_bytes = CACHE;
    options.opening.log.segment_bytes = 256 << 10;
    options.opening.log.buffer_bytes = 256 << 10;
    options.opening.log.sync_mode = SyncMode::Off;
    options.opening.log.background = false;
    options
}

fn key(i: u64) -> [u8; 8] {
    i.to_be_bytes()
}

/// Inserts, updates and deletions of rows that were there and of its own.
fn change(txn: &mut Transaction, at: TreeRef, count: u64) {
    for i in 0..count {
        match i % 4 {
            0 => assert!(!txn.put(at, &key(1 << 40 | i), &[1; 60]).unwrap()),
            1 => assert!(txn.put(at, &key(i % 2000), &[i as u8; 50]).is_ok()),
            2 => assert!(txn.put(at, &key(1 << 40 | (i - 2)), &[2; 30]).unwrap()),
            _ => assert!(txn.delete(at, &key(1 << 40 | (i - 3))).unwrap()),
        }
    }
}

struct Taken {
    committing: i64,
    aborting: i64,
    undoing: i64,
}

fn measure(count: u64) -> Taken {
    let folder = Folder::new(&format!("memory-{count}"));
    let disk = Arc::new(OsDisk::new(&folder.0));
    let store = Store::create(disk.clone(), &options()).unwrap();
    let begin = || store.begin(Isolation::RepeatableRead, false).unwrap();
    let mut txn = begin();
    let at = txn.tree("t", true).unwrap().unwrap();
    (0..20_000).for_each(|i| assert!(!txn.put(at, &key(i), &[0; 50]).unwrap()));
    txn.commit().unwrap();
    let (committing, ()) = most(|| {
        let mut txn = begin();
        change(&mut txn, at, count);
        txn.commit().unwrap();
    });
    store.maintain().unwrap();
    let before = begin().count(at).unwrap();
    let (aborting, ()) = most(|| {
        let mut txn = begin();
        change(&mut txn, at, count);
        txn.abort().unwrap();
    });
    assert_eq!(begin().count(at).unwrap(), before);
    let mut txn = begin();
    change(&mut txn, at, count);
    store.flush().unwrap();
    std::mem::forget(txn);
    drop(store);
    let progress = Progress::default();
    let mut opening = Opening::begin(disk.clone(), options().opening).unwrap();
    opening.validate_log(&progress).unwrap();
    opening.restore_doublewrite(&progress).unwrap();
    opening.analyse(&progress).unwrap();
    opening.redo(&progress).unwrap();
    let (undoing, report) = most(|| opening.undo(&progress).unwrap());
    assert!(report.records > count / 2, "{report:?}");
    let store = Store::finish(disk, opening, &options()).unwrap();
    let mut txn = store.begin(Isolation::RepeatableRead, true).unwrap();
    assert_eq!(txn.count(at).unwrap(), before);
    drop(txn);
    assert_eq!(store.check(false, &Progress::default()).unwrap().problems, []);
    Taken { committing, aborting, undoing }
}

#[test]
fn a_long_transaction_takes_no_memory_for_each_of_its_changes() {
    let (short, long) = (measure(20_000), measure(160_000));
    for (what, short, long) in [
        ("commit", short.committing, long.committing),
        ("rollback", short.aborting, long.aborting),
        ("undo", short.undoing, long.undoing),
    ] {
        println!("{what}: {short} bytes for 20,000 changes, {long} for 160,000");
        assert!(long - short < ALLOWED, "{what}: {short} bytes, {long} for the long transaction");
    }
}
