#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Opening, Progress, RedoReport};
use crate::buffer::DOUBLEWRITE_PATH;
use crate::disk::memory::MemoryDisk;
use crate::disk::{Disk, OpenMode};
use crate::error::Code;
use crate::events::unix_micros;
use crate::log::SyncMode;
use crate::page::{Kind, Page};
use crate::recovery::DATA_PATH;
use crate::repair::OnDamage;
use crate::store::{Store, StoreOptions};
use crate::txn::{Isolation, Range, Transaction, TreeRef};
use crate::types::{DatabaseId, PageId};

pub(super) const PAGE: usize = 4096;
/// Redo takes several shares, and passes.
const SMALL_CACHE: u64 = 48 * PAGE as u64;
/// Nothing is written out for want of room: redo has all of it to do.
const LARGE_CACHE: u64 = 2048 * PAGE as u64;

/// Every way to redo: with whole passes, with the index; one worker, several.
const WAYS: [(usize, usize); 4] = [(0, 1), (0, 3), (1 << 20, 1), (1 << 20, 3)];

pub(super) fn options() -> StoreOptions {
    let mut options = StoreOptions {
        page_size: PAGE,
        background: false,
        database: Some(DatabaseId([3; 16])),
        ..StoreOptions::default()
    };
    options.opening.cache_bytes = SMALL_CACHE;
    // So small that entries run from one segment into the next.
    options.opening.log.segment_bytes = 48 << 10;
    options.opening.log.buffer_bytes = 64 << 10;
    options.opening.log.background = false;
    options
}

fn filling() -> StoreOptions {
    let mut options = options();
    options.opening.cache_bytes = LARGE_CACHE;
    options
}

pub(super) fn value(i: u64) -> Vec<u8> {
    let length = if i.is_multiple_of(97) { 9000 } else { 20 + (i % 90) as usize };
    vec![i as u8; length]
}

pub(super) fn key(i: u64) -> Vec<u8> {
    format!("{:06}", i.wrapping_mul(7919) % 5000).into_bytes()
}

pub(super) fn put(store: &Store, range: std::ops::Range<u64>) {
    let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
    let at = txn.tree("t", true).unwrap().unwrap();
    for i in range {
        txn.put(at, &key(i), &value(i)).unwrap();
        if i.is_multiple_of(5) {
            txn.delete(at, &key(i / 2)).unwrap();
        }
    }
    txn.commit().unwrap();
}

/// A database that lost power: pages that came, changed, were given back and taken again before
/// and after a checkpoint; some were written out, most were not.
pub(super) fn cut_off(rows_after: u64) -> BTreeMap<String, Vec<u8>> {
    let disk = MemoryDisk::new(5);
    let store = Store::create(disk.clone(), &filling()).unwrap();
    (0..8).for_each(|i| put(&store, 400 * i..400 * (i + 1)));
    store.maintain().unwrap();
    store.checkpoint().unwrap();
    (0..4).for_each(|i| put(&store, rows_after * i..rows_after * (i + 1)));
    store.flush().unwrap();
    disk.crash(3);
    disk.reopen().snapshot()
}

/// Recovers as far as redo; gives the data file and the report.
fn redone(files: &BTreeMap<String, Vec<u8>>, (index, workers): (usize, usize)) -> (Vec<u8>, RedoReport) {
    let disk = MemoryDisk::from_snapshot(1, files);
    let mut options = options().opening;
    (options.redo_index_bytes, options.redo_workers) = (index, workers);
    let mut opening = Opening::begin(disk.clone(), options).unwrap();
    let progress = Progress::default();
    opening.validate_log(&progress).unwrap();
    opening.restore_doublewrite(&progress).unwrap();
    opening.analyse(&progress).unwrap();
    let report = opening.redo(&progress).unwrap();
    (disk.snapshot()[DATA_PATH].clone(), report)
}

fn recover(files: &BTreeMap<String, Vec<u8>>) -> crate::error::Result<Store> {
    let disk = MemoryDisk::from_snapshot(2, files);
    Store::open_recovering(disk, &options(), &Progress::default())
}

fn rows(store: &Store) -> (TreeRef, u64) {
    let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
    let at = txn.tree("t", false).unwrap().unwrap();
    (at, txn.count(at).unwrap())
}

#[test]
fn every_way_to_redo_leaves_the_same_pages() {
    let files = cut_off(600);
    let (expected, report) = redone(&files, WAYS[0]);
    assert!(report.passes > 3 && report.applied > 2000, "{report:?}");
    for way in WAYS {
        let (found, other) = redone(&files, way);
        let differ = |(a, b): (&[u8], &[u8])| a != b;
        let pages = expected.chunks(PAGE).zip(found.chunks(PAGE));
        assert_eq!(pages.map(differ).position(|differs| differs), None, "{way:?}");
        assert_eq!(other.applied, report.applied, "{way:?}");
    }
}

#[test]
fn an_index_that_did_not_fit_is_no_reason_to_miss_a_change() {
    let files = cut_off(600);
    let (expected, _) = redone(&files, WAYS[0]);
    let (found, report) = redone(&files, (600, 2));
    assert!(expected == found, "{report:?}");
}

#[test]
fn what_redo_leaves_is_sound_and_complete() {
    let store = recover(&cut_off(300)).unwrap();
    assert_eq!(store.check(false, &Progress::default()).unwrap().problems, []);
    assert!(rows(&store).1 > 1000);
}

#[test]
fn a_torn_page_is_rebuilt_from_its_image_in_the_log_without_any_copy() {
    let disk = MemoryDisk::new(5);
    let store = Store::create(disk.clone(), &filling()).unwrap();
    put(&store, 0..2000);
    store.flush().unwrap();
    disk.crash(3);
    let mut files = disk.reopen().snapshot();
    files.remove(DOUBLEWRITE_PATH);
    let (whole, _) = redone(&files, WAYS[2]);
    let mut torn = whole.clone();
    let is_in_use = |page: &&mut [u8]| page.iter().any(|byte| *byte != 0);
    let in_use = torn.chunks_mut(PAGE).skip(3).filter(is_in_use);
    assert!(in_use.map(|page| page[PAGE / 2..].fill(0xA5)).count() > 100);
    files.insert(DATA_PATH.to_owned(), torn);
    for way in WAYS {
        let (found, _) = redone(&files, way);
        assert!(found == whole, "{way:?}");
    }
}

#[test]
fn a_page_that_a_change_did_not_fit_is_never_taken_for_sound_later() {
    let disk = MemoryDisk::new(5);
    let store = Store::create(disk.clone(), &filling()).unwrap();
    let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
    let at = txn.tree("t", true).unwrap().unwrap();
    (0..9u8).for_each(|i| assert!(!txn.put(at, &[i], b"first").unwrap()));
    txn.commit().unwrap();
    store.checkpoint().unwrap();
    let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
    assert!(txn.put(at, &[8], b"there is no such slot any more").unwrap());
    assert!(!txn.put(at, &[0, 0], b"this one would fit").unwrap());
    txn.commit().unwrap();
    disk.crash(1);
    let disk = disk.reopen();
    let file = disk.open(DATA_PATH, OpenMode::Write).unwrap();
    let mut page = Page::zeroed(PAGE);
    let root = (0..).map(PageId).find(|id| {
        file.read_at(page.bytes_mut(), u64::from(id.0) * PAGE as u64).unwrap();
        page.kind() == Kind::Leaf && page.tree() == at.id && page.slots() == 9
    });
    let offset = u64::from(root.unwrap().0) * PAGE as u64;
    (3..9).rev().for_each(|slot| page.remove_slot(slot));
    page.seal();
    file.write_at(page.bytes(), offset).unwrap();
    drop(file);
    let mut files = disk.snapshot();
    files.remove(DOUBLEWRITE_PATH);
    let mut reporting = options();
    reporting.opening.on_damage = OnDamage::Report;
    for _ in 0..2 {
        let disk: Arc<MemoryDisk> = MemoryDisk::from_snapshot(2, &files);
        let failed = Store::open_recovering(disk.clone(), &reporting, &Progress::default());
        assert_eq!(failed.err().unwrap().code, Code::InconsistentState);
        // As it was found, for whoever repairs it; and another attempt finds it again.
        files = disk.snapshot();
        assert_eq!(files[DATA_PATH][offset as usize..offset as usize + PAGE], *page.bytes());
    }
}

#[test]
fn a_recovery_keeps_to_its_share_of_a_large_cache() {
    let files = cut_off(300);
    let disk = MemoryDisk::from_snapshot(1, &files);
    let mut options = options().opening;
    options.cache_bytes = 1 << 30;
    let mut opening = Opening::begin(disk, options).unwrap();
    let progress = Progress::default();
    opening.validate_log(&progress).unwrap();
    opening.restore_doublewrite(&progress).unwrap();
    opening.analyse(&progress).unwrap();
    opening.redo(&progress).unwrap();
    let shared = Arc::clone(opening.shared().unwrap());
    let pool = &shared.core.pool;
    assert!(pool.usable_frames() * PAGE <= 40 << 20);
    opening.undo(&progress).unwrap();
    opening.finish().unwrap();
    assert_eq!(pool.usable_frames(), pool.frame_count());
}

/// Every row of the table, in order.
pub(super) fn content(store: &Store) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut txn = store.begin(Isolation::ReadCommitted, true).unwrap();
    let at = txn.tree("t", false).unwrap().unwrap();
    let (mut found, mut from) = (Vec::new(), None::<Vec<u8>>);
    loop {
        let batch = txn.scan(at, &Range::default(), from.as_deref(), 500).unwrap();
        found.extend(batch.records);
        match batch.next {
            Some(next) => from = Some(next),
            None => return found,
        }
    }
}

#[test]
fn a_redo_that_loses_power_at_any_step_is_made_good_by_the_next() {
    let files = cut_off(60);
    let whole = content(&recover(&files).unwrap());
    for (index, workers) in [WAYS[0], WAYS[2]] {
        let mut options = options();
        (options.opening.redo_index_bytes, options.opening.redo_workers) = (index, workers);
        for nth in (1..).step_by(5) {
            let disk = MemoryDisk::from_snapshot(nth, &files);
            disk.crash_after(nth);
            let first = Store::open_recovering(disk.clone(), &options, &Progress::default());
            if !disk.is_dead() {
                assert!(nth > 60 && content(&first.unwrap()) == whole);
                break;
            }
            drop(first);
            let store = Store::open_recovering(disk.reopen(), &options, &Progress::default()).unwrap();
            assert!(content(&store) == whole, "{nth}");
            assert_eq!(store.check(false, &Progress::default()).unwrap().problems, [], "{nth}");
        }
    }
}

#[test]
fn what_redo_puts_into_pages_is_in_the_log_for_good() {
    for seed in 0..6 {
        let disk = MemoryDisk::new(seed);
        let mut unsynced = filling();
        unsynced.opening.log.sync_mode = SyncMode::Off;
        let store = Store::create(disk.clone(), &unsynced).unwrap();
        (0..3).for_each(|i| put(&store, 400 * i..400 * (i + 1)));
        store.flush().unwrap();
        // The system has all of it, the medium has little.
        disk.kill();
        drop(store);
        let whole = content(&recover(&disk.reopen().snapshot()).unwrap());
        assert!(whole.len() > 500);
        let second = disk.reopen();
        let mut opening = Opening::begin(second.clone(), options().opening).unwrap();
        let progress = Progress::default();
        opening.validate_log(&progress).unwrap();
        opening.restore_doublewrite(&progress).unwrap();
        opening.analyse(&progress).unwrap();
        opening.redo(&progress).unwrap();
        second.crash(seed);
        drop(opening);
        let store = Store::open_recovering(second.reopen(), &options(), &progress).unwrap();
        assert!(content(&store) == whole, "{seed}");
    }
}

#[test]
fn a_loser_is_told_with_all_its_changes_and_its_beginning_whatever_checkpoints_came_between() {
    let disk = MemoryDisk::new(7);
    let store = Store::create(disk.clone(), &filling()).unwrap();
    put(&store, 0..10);
    let begun = unix_micros();
    let begin = || store.begin(Isolation::ReadCommitted, false).unwrap();
    let (mut long, mut quiet) = (begin(), begin());
    let at = long.tree("t", false).unwrap().unwrap();
    let change = |txn: &mut Transaction, name: &str, range: std::ops::Range<u64>| {
        for i in range {
            txn.put(at, format!("{name}{i}").as_bytes(), b"unfinished").unwrap();
        }
    };
    change(&mut long, "long", 0..30);
    store.checkpoint().unwrap();
    change(&mut long, "long", 30..37);
    store.checkpoint().unwrap();
    let checkpointed = unix_micros();
    change(&mut long, "long", 37..50);
    change(&mut quiet, "quiet", 0..4);
    let mut late = begin();
    change(&mut late, "late", 0..3);
    store.flush().unwrap();
    disk.crash(3);
    let mut opening = Opening::begin(disk.reopen(), options().opening).unwrap();
    opening.validate_log(&Progress::default()).unwrap();
    let losers = opening.analyse(&Progress::default()).unwrap().losers.clone();
    let changes: Vec<_> = losers.iter().map(|loser| (loser.id, loser.changes)).collect();
    assert_eq!(changes, [(long.id(), 50), (quiet.id(), 4), (late.id(), 3)]);
    assert!(losers[..2].iter().all(|loser| (begun..=checkpointed).contains(&loser.started_at)));
    assert_eq!(losers[2].started_at, 0, "no checkpoint has seen it");
}

#[test]
fn each_pass_tells_the_records_pages_and_bytes_it_has_gone_through() {
    let files = cut_off(100);
    for (index, workers) in WAYS {
        let disk = MemoryDisk::from_snapshot(1, &files);
        let mut options = options().opening;
        (options.redo_index_bytes, options.redo_workers) = (index, workers);
        let mut opening = Opening::begin(disk, options).unwrap();
        let progress = Progress::default();
        let found = opening.validate_log(&progress).unwrap();
        let [records, pages, bytes] = progress.counted();
        assert_eq!((records, bytes), (found.entries, found.bytes));
        assert!(pages > 0);
        opening.restore_doublewrite(&progress).unwrap();
        let dirty = opening.analyse(&progress).unwrap().dirty.len() as u64;
        let report = opening.redo(&progress).unwrap();
        let [records, pages, bytes] = progress.counted();
        // With passes, workers are told of an entry once for each of them that needs it.
        assert!(records == report.records && records > 0, "{records} of {}", report.records);
        assert!(pages >= report.pages && pages <= dirty && bytes > 0);
    }
}

/// What undoing a transaction reads and writes, where the pages that it changed are many times as
/// many as the frames, and each is changed some thirty times within a short while.
fn undo_of_a_long_transaction(workers: usize) -> (u64, u64, u64) {
    const ROWS: u64 = 6000;
    let disk = MemoryDisk::new(5);
    let store = Store::create(disk.clone(), &filling()).unwrap();
    let begin = || store.begin(Isolation::ReadCommitted, false).unwrap();
    let in_order = |i: u64| format!("{i:06}").into_bytes();
    let mut txn = begin();
    let at = txn.tree("t", true).unwrap().unwrap();
    (0..ROWS).for_each(|i| assert!(!txn.put(at, &in_order(i), &[1; 60]).unwrap()));
    txn.commit().unwrap();
    store.checkpoint().unwrap();
    let mut txn = begin();
    for i in 0..ROWS {
        txn.put(at, &in_order((i + i * 7919 % 150) % ROWS), &[2; 60]).unwrap();
        // One page is changed all the time.
        txn.put(at, &in_order(0), &i.to_le_bytes()).unwrap();
    }
    store.flush().unwrap();
    std::mem::forget(txn);
    disk.crash(3);
    let mut opening = options().opening;
    opening.redo_workers = workers;
    let mut opening = Opening::begin(disk.reopen(), opening).unwrap();
    let progress = Progress::default();
    opening.validate_log(&progress).unwrap();
    opening.restore_doublewrite(&progress).unwrap();
    opening.analyse(&progress).unwrap();
    let pages = opening.redo(&progress).unwrap().pages;
    let shared = Arc::clone(opening.shared().unwrap());
    let counters = &shared.core.pool.counters;
    let look = |counter: &crate::sync::AtomicU64| counter.load(crate::sync::Ordering::Relaxed);
    let before = (look(&counters.misses), look(&counters.pages_written));
    assert_eq!(opening.undo(&progress).unwrap().records, 2 * ROWS);
    (pages, look(&counters.misses) - before.0, look(&counters.pages_written) - before.1)
}

#[test]
fn undo_after_a_crash_reads_and_writes_pages_and_not_changes() {
    for workers in [1, 2] {
        let (pages, reads, writes) = undo_of_a_long_transaction(workers);
        assert!(pages > 100, "{pages} pages are hardly more than the frames");
        println!("{workers} workers, {pages} pages: {reads} reads, {writes} writes");
        // Of 12,000 changes, that is.
        assert!(reads < 5 * pages && writes < 10 * pages, "{pages} pages: {reads}, {writes}");
    }
}
