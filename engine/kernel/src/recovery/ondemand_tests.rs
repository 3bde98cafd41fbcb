#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use super::tests::{PAGE, content, cut_off, key, options, put, value};
use super::{DATA_PATH, Progress};
use crate::buffer::DOUBLEWRITE_PATH;
use crate::disk::memory::MemoryDisk;
use crate::disk::{Disk, OpenMode};
use crate::error::Code;
use crate::page::{Kind, Page};
use crate::repair::{Copy, Elsewhere, OnDamage, Repairs, Source};
use crate::store::{CLEAN_MARKER, RECOVERY_MARKER, Store, StoreOptions, is_clean};
use crate::sync::Arc;
use crate::txn::{CatalogueKind, Isolation};
use crate::types::PageId;
use crate::{backup, control};

pub(super) type Files = BTreeMap<String, Vec<u8>>;

fn impatient() -> StoreOptions {
    let mut options = options();
    options.opening.locks.timeout = Duration::ZERO;
    options
}

pub(super) fn open(disk: &Arc<MemoryDisk>) -> Store {
    Store::open_on_demand(disk.clone(), &impatient(), &Progress::default()).unwrap()
}

/// What an ordinary recovery makes of the files.
fn recovered(files: &Files) -> Vec<(Vec<u8>, Vec<u8>)> {
    let disk = MemoryDisk::from_snapshot(9, files);
    content(&Store::open_recovering(disk, &options(), &Progress::default()).unwrap())
}

fn pages_left(store: &Store) -> u64 {
    store.recovery().unwrap().standing.pages_left
}

fn finish(store: &Store) {
    store.finish_recovery(&Progress::default()).unwrap();
    let recovery = store.recovery().unwrap();
    assert!(recovery.standing.is_complete && recovery.standing.pages_left == 0, "{recovery:?}");
    assert_eq!(store.check(false, &Progress::default()).unwrap().problems, []);
}

/// A power failure that leaves a transaction without its end, after a checkpoint or before it.
pub(super) fn with_a_loser(has_checkpoint: bool) -> Files {
    let disk = MemoryDisk::new(4);
    let store = Store::create(disk.clone(), &options()).unwrap();
    put(&store, 0..900);
    let mut loser = store.begin(Isolation::ReadCommitted, false).unwrap();
    let at = loser.tree("t", false).unwrap().unwrap();
    loser.put(at, &key(1), b"never committed").unwrap();
    loser.put(at, b"new", b"never committed").unwrap();
    if has_checkpoint {
        store.checkpoint().unwrap();
    }
    put(&store, 1000..1300);
    store.flush().unwrap();
    disk.crash(2);
    disk.reopen().snapshot()
}

#[test]
fn a_key_is_read_after_its_own_pages_were_redone_and_no_others() {
    let files = cut_off(300);
    let expected = recovered(&files);
    let disk = MemoryDisk::from_snapshot(1, &files);
    let store = open(&disk);
    let before = pages_left(&store);
    let mut txn = store.begin(Isolation::ReadCommitted, true).unwrap();
    let at = txn.tree("t", false).unwrap().unwrap();
    let (key, value) = &expected[expected.len() / 2];
    assert_eq!(txn.get(at, key).unwrap().as_ref(), Some(value));
    txn.commit().unwrap();
    let left = pages_left(&store);
    assert!(before > 50 && left < before && before - left < 20, "{left} of {before} pages are left");
    assert!(content(&store) == expected);
    finish(&store);
    assert!(content(&store) == expected);
    store.close().unwrap();
    assert!(disk.exists(CLEAN_MARKER).unwrap() && !disk.exists(RECOVERY_MARKER).unwrap());
    assert!(content(&Store::open(disk, &options()).unwrap()) == expected);
}

#[test]
fn a_close_redoes_what_is_left() {
    let files = cut_off(300);
    let disk = MemoryDisk::from_snapshot(1, &files);
    let store = open(&disk);
    assert!(pages_left(&store) > 50);
    store.close().unwrap();
    assert!(content(&Store::open(disk, &options()).unwrap()) == recovered(&files));
}

#[test]
fn a_close_that_is_to_be_prompt_leaves_the_rest_to_the_next_open_and_keeps_what_was_redone() {
    let leave = Progress::default();
    leave.cancel();
    for (files, has_loser) in
        [(cut_off(300), false), (with_a_loser(false), true), (with_a_loser(true), true)]
    {
        let expected = recovered(&files);
        let disk = MemoryDisk::from_snapshot(1, &files);
        let store = open(&disk);
        let before = pages_left(&store);
        store.redo_some(1).unwrap();
        let left = pages_left(&store);
        assert!(before > left);
        store.close_or_leave(&leave).unwrap();
        assert!(disk.exists(RECOVERY_MARKER).unwrap() && !disk.exists(CLEAN_MARKER).unwrap());
        // Nothing was undone, and what the medium has is known to be there.
        let again = open(&disk.reopen());
        let standing = again.recovery().unwrap().standing;
        assert_eq!(standing.losers, u64::from(has_loser));
        assert!(standing.pages <= left, "{} of {left} pages, {before} before", standing.pages);
        finish(&again);
        assert!(content(&again) == expected);
        again.close().unwrap();
        assert!(content(&Store::open(disk.reopen(), &options()).unwrap()) == expected);
    }
}

#[test]
fn a_close_that_is_to_be_prompt_is_clean_where_nothing_is_left() {
    let leave = Progress::default();
    leave.cancel();
    let disk = MemoryDisk::from_snapshot(1, &with_a_loser(true));
    let store = open(&disk);
    finish(&store);
    let mut unfinished = store.begin(Isolation::ReadCommitted, false).unwrap();
    let at = unfinished.tree("t", false).unwrap().unwrap();
    unfinished.put(at, &key(1), b"mine").unwrap();
    std::mem::forget(unfinished);
    assert_eq!(store.close_or_leave(&leave).unwrap(), 1);
    assert!(disk.exists(CLEAN_MARKER).unwrap() && !disk.exists(RECOVERY_MARKER).unwrap());
}

#[test]
fn a_checkpoint_keeps_the_pages_and_the_log_that_redo_still_needs() {
    let files = cut_off(300);
    let expected = recovered(&files);
    for steps in 0..4 {
        let disk = MemoryDisk::from_snapshot(1, &files);
        let store = open(&disk);
        store.redo_some(steps).unwrap();
        put(&store, 9_000..9_050);
        let told = store.checkpoint().unwrap();
        let oldest =
            store.shared().core.pool.overdue_pages().unwrap().into_iter().map(|(_, lsn)| lsn).min();
        assert!(oldest.is_none_or(|oldest| told.redo_lsn <= oldest), "{told:?} {oldest:?}");
        store.redo_some(1).unwrap();
        store.checkpoint().unwrap();
        disk.crash(steps as u64);
        let again = disk.reopen().snapshot();
        let found = recovered(&again);
        let early = open(&MemoryDisk::from_snapshot(3, &again));
        assert!(content(&early) == found, "after {steps} steps");
        finish(&early);
        let old = |rows: &[(Vec<u8>, Vec<u8>)]| {
            let is_new = |key: &Vec<u8>| (8_000..9_100).any(|i| *key == self::key(i));
            rows.iter().filter(|(key, _)| !is_new(key)).cloned().collect::<Vec<_>>()
        };
        assert!(old(&found) == old(&expected), "after {steps} steps");
    }
}

#[test]
fn what_a_loser_changed_is_locked_until_it_is_rolled_back() {
    for has_checkpoint in [false, true] {
        let files = with_a_loser(has_checkpoint);
        let store = open(&MemoryDisk::from_snapshot(1, &files));
        assert_eq!(store.recovery().unwrap().standing.losers_left, 1);
        let mut txn = store.begin(Isolation::RepeatableRead, false).unwrap();
        let at = txn.tree("t", false).unwrap().unwrap();
        // Readers read around it, writers wait.
        assert_eq!(txn.get(at, &key(1)).unwrap(), Some(value(1)));
        assert_eq!(txn.get(at, b"new").unwrap(), None);
        assert_eq!(txn.put(at, &key(1), b"mine").err().unwrap().code, Code::LockTimeout);
        assert_eq!(txn.put(at, b"new", b"mine").err().unwrap().code, Code::LockTimeout);
        assert!(!txn.put(at, b"other", b"mine").unwrap());
        txn.abort().unwrap();
        finish(&store);
        let mut txn = store.begin(Isolation::RepeatableRead, false).unwrap();
        assert!(txn.put(at, &key(1), b"mine").unwrap());
        assert!(!txn.put(at, b"new", b"mine").unwrap());
        txn.commit().unwrap();
    }
}

/// Once a transaction dropped a tree that a loser's records were still to be put back into.
#[test]
fn a_tree_is_not_dropped_before_the_records_of_losers_in_it_are_back() {
    for has_checkpoint in [false, true] {
        let store = open(&MemoryDisk::from_snapshot(1, &with_a_loser(has_checkpoint)));
        let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
        let refused = txn.drop_tree(CatalogueKind::Tree, "t");
        assert_eq!(refused.err().unwrap().code, Code::LockTimeout, "{has_checkpoint}");
        txn.abort().unwrap();
        finish(&store);
        let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
        assert!(txn.drop_tree(CatalogueKind::Tree, "t").unwrap());
        txn.commit().unwrap();
        assert_eq!(store.check(false, &Progress::default()).unwrap().problems, []);
    }
}

/// Once such a tree was written to, and a crash left both: the writer's undo found no tree.
#[test]
fn a_tree_that_a_loser_dropped_is_not_used_before_it_is_back() {
    for has_checkpoint in [false, true] {
        let disk = MemoryDisk::new(4);
        let store = Store::create(disk.clone(), &options()).unwrap();
        put(&store, 0..300);
        let mut loser = store.begin(Isolation::ReadCommitted, false).unwrap();
        assert!(loser.drop_tree(CatalogueKind::Tree, "t").unwrap());
        if has_checkpoint {
            store.checkpoint().unwrap();
        }
        store.flush().unwrap();
        disk.crash(2);
        let store = open(&disk.reopen());
        let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
        assert_eq!(txn.tree("t", false).err().unwrap().code, Code::LockTimeout);
        txn.abort().unwrap();
        finish(&store);
        assert!(content(&store).len() > 200);
    }
}

#[test]
fn an_index_without_room_is_no_reason_to_open_too_early() {
    let files = cut_off(60);
    let disk = MemoryDisk::from_snapshot(1, &files);
    let mut small = options();
    small.opening.redo_index_bytes = 600;
    let store = Store::open_on_demand(disk, &small, &Progress::default()).unwrap();
    assert!(store.recovery().is_none());
    assert!(content(&store) == recovered(&files));
}

#[test]
fn a_cancelled_analysis_leaves_every_file_as_it_was() {
    let files = cut_off(60);
    let disk = MemoryDisk::from_snapshot(1, &files);
    let progress = Progress::default();
    progress.cancel();
    let told = Store::open_on_demand(disk.clone(), &options(), &progress);
    assert_eq!(told.err().unwrap().code, Code::Cancelled);
    assert!(disk.snapshot() == files);
}

#[test]
fn power_lost_at_any_step_twice_over_loses_nothing() {
    let files = cut_off(60);
    let expected = recovered(&files);
    let work = |disk: &Arc<MemoryDisk>| -> crate::error::Result<()> {
        let store = Store::open_on_demand(disk.clone(), &impatient(), &Progress::default())?;
        store.redo_some(2)?;
        store.checkpoint()?;
        store.redo_some(1)?;
        store.maintain()?;
        store.finish_recovery(&Progress::default())
    };
    for nth in (1..).step_by(7) {
        let disk = MemoryDisk::from_snapshot(nth, &files);
        disk.crash_after(nth);
        if work(&disk).is_ok() && !disk.is_dead() {
            assert!(nth > 60, "only {nth} steps");
            break;
        }
        let disk = disk.reopen();
        disk.crash_after(1 + nth * 31 % 90);
        let _ = work(&disk);
        let store = open(&disk.reopen());
        assert!(content(&store) == expected, "{nth}");
        finish(&store);
        assert!(content(&store) == expected, "{nth}");
    }
}

#[test]
fn torn_pages_are_rebuilt_from_their_images_when_they_are_fetched() {
    let disk = MemoryDisk::new(5);
    let mut filling = options();
    filling.opening.cache_bytes = 2048 * PAGE as u64;
    let store = Store::create(disk.clone(), &filling).unwrap();
    put(&store, 0..2000);
    store.flush().unwrap();
    disk.crash(3);
    let mut files = disk.reopen().snapshot();
    files.remove(DOUBLEWRITE_PATH);
    let expected = recovered(&files);
    // Whole pages, written and then torn, as a recovery leaves them that wrote them without copies.
    let torn = MemoryDisk::from_snapshot(1, &files);
    drop(Store::open_recovering(torn.clone(), &options(), &Progress::default()).unwrap());
    let mut data = torn.snapshot()[DATA_PATH].clone();
    data.chunks_mut(PAGE).skip(3).for_each(|page| page[PAGE / 2..].fill(0xA5));
    files.insert(DATA_PATH.to_owned(), data);
    let store = open(&MemoryDisk::from_snapshot(2, &files));
    assert!(content(&store) == expected);
    finish(&store);
}

/// A leaf that lost a write; the page as it should be in the file.
fn with_a_lost_page() -> (Files, Page) {
    let disk = MemoryDisk::new(5);
    let store = Store::create(disk.clone(), &options()).unwrap();
    put(&store, 0..900);
    let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
    let at = txn.tree("one", true).unwrap().unwrap();
    (0..9u8).for_each(|i| assert!(!txn.put(at, &[i], b"first").unwrap()));
    txn.commit().unwrap();
    store.checkpoint().unwrap();
    put(&store, 900..1000);
    let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
    assert!(txn.put(at, &[8], b"there is no such slot any more").unwrap());
    txn.commit().unwrap();
    disk.crash(1);
    let disk = disk.reopen();
    let file = disk.open(DATA_PATH, OpenMode::Write).unwrap();
    let mut page = Page::zeroed(PAGE);
    let id = (0..).map(PageId).find(|id| {
        file.read_at(page.bytes_mut(), u64::from(id.0) * PAGE as u64).unwrap();
        page.kind() == Kind::Leaf && page.tree() == at.id && page.slots() == 9
    });
    let whole = page.clone();
    (3..9).rev().for_each(|slot| page.remove_slot(slot));
    page.seal();
    file.write_at(page.bytes(), u64::from(id.unwrap().0) * PAGE as u64).unwrap();
    drop(file);
    let mut files = disk.snapshot();
    files.remove(DOUBLEWRITE_PATH);
    (files, whole)
}

#[test]
fn a_page_that_cannot_be_redone_is_set_apart_and_never_shown_as_it_was() {
    let (files, whole) = with_a_lost_page();
    let id = whole.id();
    let disk = MemoryDisk::from_snapshot(1, &files);
    let mut reporting = options();
    // Else it would be rebuilt from its image, which the log still has at first.
    reporting.opening.on_damage = OnDamage::Report;
    for _ in 0..2 {
        let store = Store::open_on_demand(disk.clone(), &reporting, &Progress::default()).unwrap();
        let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
        let at = txn.tree("one", false).unwrap().unwrap();
        assert_eq!(txn.get(at, &[8]).err().unwrap().code, Code::PageDamaged);
        assert_eq!(txn.get(at, &[1]).err().unwrap().code, Code::PageDamaged);
        drop(txn);
        assert!(content(&store).len() > 500);
        store.finish_redo(&Progress::default()).unwrap();
        let recovery = store.recovery().unwrap();
        assert_eq!((recovery.stage, recovery.standing.pages_left), ("stuck", 1));
        assert_eq!(recovery.standing.damaged[0].0, id);
        let problems = store.check(true, &Progress::default()).unwrap().problems;
        assert_eq!(problems.iter().map(|problem| problem.page).collect::<Vec<_>>(), [Some(id)]);
        // What lacks it is neither a clean database nor a backup.
        let target = MemoryDisk::new(1);
        let taken = backup::take_to(&store, &*target, &Progress::default());
        assert_eq!(taken.err().unwrap().code, Code::PageDamaged);
        store.checkpoint().unwrap();
        store.close().unwrap();
        let control = control::Control::open(&*disk, OpenMode::Read).unwrap().data();
        assert!(!is_clean(&*disk, &control).unwrap());
    }
    let store = Store::open_on_demand(disk.clone(), &options(), &Progress::default()).unwrap();
    let mut txn = store.begin(Isolation::ReadCommitted, true).unwrap();
    let at = txn.tree("one", false).unwrap().unwrap();
    assert_eq!(txn.get(at, &[8]).err().unwrap().code, Code::PageDamaged);
    let as_of = store.shared().core.pool.overdue_pages().unwrap()[0].1;
    let (source, place) = (Source::Backup, String::new());
    let copy = Copy { page: whole, source, place, as_of, is_own: true, changes: 0 };
    let mut elsewhere = Elsewhere::default();
    elsewhere.copies.push(copy);
    Repairs::of(store.shared()).unwrap().repair(id, &elsewhere).unwrap();
    let value = txn.get(at, &[8]).unwrap().unwrap();
    assert_eq!(value, b"there is no such slot any more");
    txn.commit().unwrap();
    finish(&store);
    store.close().unwrap();
    Store::open(disk, &options()).unwrap();
}

#[test]
fn a_backup_that_is_taken_while_pages_are_left_has_all_of_them() {
    let files = cut_off(100);
    let store = open(&MemoryDisk::from_snapshot(1, &files));
    assert!(pages_left(&store) > 20);
    let (target, place) = (MemoryDisk::new(2), MemoryDisk::new(3));
    backup::take_to(&store, &*target, &Progress::default()).unwrap();
    assert_eq!(pages_left(&store), 0);
    backup::restore_to(&*target, &*place, &Progress::default()).unwrap();
    let restored = Store::open_recovering(place, &options(), &Progress::default()).unwrap();
    assert!(content(&restored) == recovered(&files));
}

#[test]
fn threads_of_the_store_carry_the_recovery_to_its_end() {
    let files = with_a_loser(true);
    let disk = MemoryDisk::from_snapshot(1, &files);
    let busy = StoreOptions { background: true, ..options() };
    let store = Store::open_on_demand(disk.clone(), &busy, &Progress::default()).unwrap();
    // A write to what the loser has waits for its end.
    let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
    let at = txn.tree("t", false).unwrap().unwrap();
    assert!(txn.put(at, &key(1), b"mine").unwrap());
    txn.commit().unwrap();
    let recovery = ended(&store);
    assert_eq!((recovery.stage, recovery.problems), ("done", Some(0)), "{recovery:?}");
    let (events, _) = store.shared().events.drain(10_000);
    for kind in ["recovery_opened", "recovery_completed", "recovery_checked"] {
        assert_eq!(events.iter().filter(|event| event.kind == kind).count(), 1, "{kind}");
    }
    assert!(!disk.exists(RECOVERY_MARKER).unwrap());
    store.close().unwrap();
}

/// Waits until the background has nothing left to do.
fn ended(store: &Store) -> crate::store::RecoveryStanding {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while store.recovery().unwrap().stage != "done" && std::time::Instant::now() < deadline {
        std::thread::yield_now();
    }
    store.recovery().unwrap()
}
