//! Checkpoints of many pages: written in large batches, when they are due, and what the cleaner leaves
//! to them.
#![allow(clippy::unwrap_used)]

use super::tests::{all, key, options, tree};
use super::*;
use crate::buffer::{DOUBLEWRITE_PATH, DOUBLEWRITE_SLOTS};
use crate::disk::memory::MemoryDisk;
use crate::types::{Lsn, PageId};

/// Few to a page.
const ROWS: u64 = 2_000;
const VALUE: usize = 900;
const PAGE: u64 = 4096;

/// All rows fit the cache, so that nothing is written out for want of room.
fn roomy(frames: u64) -> StoreOptions {
    let mut options = options();
    options.opening.cache_bytes = frames * PAGE;
    options.opening.image_every = 10_000;
    options
}

fn put(store: &Store, byte: u8) {
    let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
    let at = tree(&mut txn, "t");
    for i in 0..ROWS {
        txn.put(at, &key(i), &[byte; VALUE]).unwrap();
    }
    txn.commit().unwrap();
}

/// A database with a checkpoint behind it, and more dirty pages than one large batch takes.
fn ready(seed: u64) -> (Arc<MemoryDisk>, Store) {
    let disk = MemoryDisk::new(seed);
    let store = Store::create(disk.clone(), &roomy(4096)).unwrap();
    put(&store, 1);
    store.checkpoint().unwrap();
    put(&store, 2);
    (disk, store)
}

fn assert_recovers(disk: &MemoryDisk, what: &str) {
    let store = Store::open_recovering(disk.reopen(), &options(), &Progress::default()).unwrap();
    let mut txn = store.begin(Isolation::ReadCommitted, true).unwrap();
    let at = tree(&mut txn, "t");
    let rows = all(&mut txn, at, false);
    assert!(rows.len() as u64 == ROWS && rows.iter().all(|(_, value)| *value == [2; VALUE]), "{what}");
    drop(txn);
    assert_eq!(store.check(false, &Progress::default()).unwrap().problems, [], "{what}");
}

#[test]
fn a_checkpoint_in_large_batches_may_lose_power_at_any_call() {
    let (disk, store) = ready(1);
    let batches = store.shared().core.pool.counters.batches.load(Ordering::Relaxed);
    let calls = disk.counters().changes;
    let pages = store.checkpoint().unwrap().pages;
    let calls = disk.counters().changes - calls;
    let batches = store.shared().core.pool.counters.batches.load(Ordering::Relaxed) - batches;
    assert!(
        pages > 600 && batches < pages / DOUBLEWRITE_SLOTS as u64,
        "{batches} batches of {pages} pages"
    );
    drop(store);
    for nth in 1..=calls {
        let (disk, store) = ready(nth);
        disk.crash_after(nth);
        drop(store.checkpoint());
        assert!(disk.is_dead(), "call {nth} of {calls}");
        drop(store);
        assert_recovers(&disk, &format!("call {nth} of {calls}"));
    }
}

#[test]
fn a_checkpoint_on_a_full_disk_keeps_to_the_double_write_file_there_is() {
    let disk = MemoryDisk::new(2);
    let store = Store::create(disk.clone(), &roomy(4096)).unwrap();
    (1..=2).for_each(|byte| put(&store, byte));
    let used: usize = disk.snapshot().values().map(Vec::len).sum();
    disk.set_capacity(Some(used as u64));
    assert!(store.checkpoint().unwrap().pages > 600);
    assert_eq!(disk.snapshot()[DOUBLEWRITE_PATH].len(), DOUBLEWRITE_SLOTS * PAGE as usize);
    drop(store);
    disk.crash(2);
    disk.reopen().set_capacity(None);
    assert_recovers(&disk, "on a full disk");
}

#[test]
fn pages_that_need_not_give_way_are_left_to_the_checkpoint() {
    let written = |frames| {
        let store = Store::create(MemoryDisk::new(3), &roomy(frames)).unwrap();
        put(&store, 1);
        let pool = &store.shared().core.pool;
        let (used, dirty) = pool.usage();
        pool.keep_clean(|| true).unwrap();
        (used, dirty, dirty - pool.usage().1)
    };
    let (used, dirty, cleaned) = written(1400);
    assert!(dirty * 10 > 1400 * 4 && used < 1400, "{dirty} dirty of {used}");
    assert_eq!(cleaned, 0, "frames are still unused");
    let (used, dirty, cleaned) = written(600);
    assert!(used == 600 && cleaned > 0, "{cleaned} cleaned of {dirty} dirty ones");
}

#[test]
fn on_a_disk_that_is_nearly_full_checkpoints_come_sooner() {
    let due = |free: Option<u64>| {
        let disk = MemoryDisk::new(4);
        let store = Store::create(disk.clone(), &roomy(4096)).unwrap();
        (0..8).for_each(|round| put(&store, round));
        let log = store.shared().core.log.end().0 - store.checkpointer().status().lsn.0;
        assert!(log > 20 << 20 && log < 128 << 20, "{log}");
        let used: usize = disk.snapshot().values().map(Vec::len).sum();
        disk.set_capacity(free.map(|free| used as u64 + free));
        store.maintain().unwrap();
        let status = store.checkpointer().status();
        (status.due_bytes, status.count)
    };
    assert_eq!(due(None), (1 << 30, 1));
    assert_eq!(due(Some(1 << 30)), (128 << 20, 1));
    assert_eq!(due(Some(64 << 20)), (16 << 20, 2));
}

/// A cut of the log empties pages that were written after it; only an image before it brings one back.
#[test]
fn an_inner_page_is_logged_in_full_with_its_first_change_after_a_checkpoint_and_after_an_opening() {
    let disk = MemoryDisk::new(7);
    let store = Store::create(disk.clone(), &roomy(4096)).unwrap();
    put(&store, 1);
    let images = |store: &Store, since: Lsn| {
        let pool = &store.shared().core.pool;
        let inner = |id: &PageId| pool.read(*id).is_ok_and(|page| page.level() > 0);
        let inner: Vec<PageId> = (3..pool.file_pages()).map(PageId).filter(inner).collect();
        assert!(inner.len() > 1, "a tree of more than two levels");
        let lsns = inner.into_iter().map(|id| {
            let page = pool.read(id).unwrap();
            (page.lsn() > since, page.image_lsn() > since)
        });
        lsns.filter(|(is_changed, _)| *is_changed).map(|(_, has_image)| has_image).collect::<Vec<_>>()
    };
    let grow = |store: &Store, from: u64| {
        let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
        let at = tree(&mut txn, "t");
        for i in from..from + 40 {
            txn.put(at, &key(i), &[3; VALUE]).unwrap();
        }
        txn.commit().unwrap();
    };
    store.checkpoint().unwrap();
    let since = store.checkpointer().status().lsn;
    grow(&store, ROWS);
    let told = images(&store, since);
    assert!(!told.is_empty() && told.iter().all(|has_image| *has_image), "{told:?}");
    store.close().unwrap();
    let store = Store::open(disk, &roomy(4096)).unwrap();
    let since = store.shared().core.log.end();
    grow(&store, ROWS + 40);
    let told = images(&store, since);
    assert!(!told.is_empty() && told.iter().all(|has_image| *has_image), "{told:?}");
}
