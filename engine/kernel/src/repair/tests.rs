#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use super::*;
use crate::disk::memory::MemoryDisk;
use crate::recovery::{DATA_PATH, Progress};
use crate::store::{Store, StoreOptions};
use crate::txn::Isolation;

fn options() -> StoreOptions {
    let mut options = StoreOptions { background: false, ..StoreOptions::default() };
    options.opening.cache_bytes = 64 * 8192;
    options.opening.log.segment_bytes = 8 << 20;
    options.opening.log.buffer_bytes = 1 << 20;
    options.opening.log.background = false;
    options
}

fn key(i: u64) -> [u8; 8] {
    i.to_be_bytes()
}

/// A store of some hundred pages, more than its cache holds, each of them written out.
fn filled(disk: &Arc<dyn Disk>, options: &StoreOptions) -> Store {
    let store = Store::create(Arc::clone(disk), options).unwrap();
    for round in 0..2u64 {
        for first in (0..6000).step_by(100) {
            let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
            let tree = txn.tree("t", true).unwrap().unwrap();
            for i in first..first + 100 {
                txn.put(tree, &key(i), &[(i + round) as u8; 300]).unwrap();
            }
            txn.commit().unwrap();
        }
    }
    store.shared().core.pool.write_out_all().unwrap();
    store
}

fn reads_all(store: &Store) -> Result<()> {
    let mut txn = store.begin(Isolation::RepeatableRead, true)?;
    let tree = txn.tree("t", false)?.unwrap();
    for i in 0..6000 {
        assert_eq!(txn.get(tree, &key(i))?.unwrap(), vec![(i + 1) as u8; 300]);
    }
    txn.commit().map(|_| ())
}

/// All of the log, and no word on what lies in the pages' places.
fn of<'p>(store: &Store, pages: &'p [PageId]) -> Wanted<'p> {
    let core = &store.shared().core;
    let (page_size, end) = (core.pool.page_size(), core.log.durable());
    Wanted { pages, page_size, end, sums: std::collections::HashMap::new() }
}

/// Damages the places of every page that is not in memory; returns the pages.
fn damage_all(store: &Store, disk: &Arc<dyn Disk>) -> Vec<PageId> {
    let pool = &store.shared().core.pool;
    let file = disk.open(DATA_PATH, OpenMode::Write).unwrap();
    let size = pool.page_size();
    let mut damaged = Vec::new();
    for id in (0..pool.file_pages()).map(PageId) {
        let mut page = pool.read_raw(id).unwrap();
        if pool.read_cached(id).is_some() || page.validate(id, Lsn::MAX).is_err() {
            continue;
        }
        let middle = u64::from(id.0) * size as u64 + 400;
        file.write_at(b"what a failing disk left", middle).unwrap();
        damaged.push(id);
    }
    damaged
}

#[test]
fn damaged_pages_are_repaired_from_the_log_when_they_are_read() {
    let disk: Arc<dyn Disk> = MemoryDisk::new(1);
    let store = filled(&disk, &options());
    let damaged = damage_all(&store, &disk);
    assert!(damaged.len() > 150, "{}", damaged.len());
    reads_all(&store).unwrap();
    let (events, _) = store.shared().events.drain(10_000);
    let repaired = events.iter().filter(|event| event.kind == "page_repaired").count();
    assert!(repaired > 100, "{repaired}");
    assert!(disk.list(QUARANTINE).unwrap().len() >= repaired);
    assert!(Repairs::of(store.shared()).unwrap().set_apart().is_empty());
    for id in damaged {
        let _ = Repairs::of(store.shared()).unwrap().repair(id, &Elsewhere::default());
    }
    assert_eq!(store.check(false, &Progress::default()).unwrap().problems, vec![]);
    store.close().unwrap();
    reads_all(&Store::open(disk, &options()).unwrap()).unwrap();
}

#[test]
fn what_was_repaired_survives_a_crash_before_it_was_written_out() {
    let memory = MemoryDisk::new(2);
    let disk: Arc<dyn Disk> = memory.clone();
    let store = filled(&disk, &options());
    store.checkpoint().unwrap();
    // The log that is left reaches back to the checkpoint only, so pages are changed once more.
    let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
    let tree = txn.tree("t", true).unwrap().unwrap();
    for i in 0..6000 {
        txn.put(tree, &key(i), &[(i + 1) as u8; 300]).unwrap();
    }
    txn.commit().unwrap();
    store.shared().core.pool.write_out_all().unwrap();
    damage_all(&store, &disk);
    let _ = reads_all(&store);
    let told = Repairs::of(store.shared()).unwrap().set_apart();
    drop(store);
    let store = Store::open_recovering(disk, &options(), &Progress::default());
    // Pages whose history is not all in the log stay damaged, and say so: never a wrong value.
    match store {
        Ok(store) => {
            let _ = reads_all(&store);
            assert!(Repairs::of(store.shared()).unwrap().set_apart().len() >= told.len().min(1));
        }
        Err(error) => assert_eq!(error.code, Code::InconsistentState),
    }
}

#[test]
fn a_page_without_history_is_set_apart_and_the_rest_stays_in_use() {
    let disk: Arc<dyn Disk> = MemoryDisk::new(3);
    let store = filled(&disk, &options());
    store.close().unwrap();
    let mut small = options();
    small.opening.log.segment_bytes = 1 << 20;
    let store = Store::open(Arc::clone(&disk), &small).unwrap();
    for _ in 0..4 {
        store.shared().core.log.rotate().unwrap();
        store.checkpoint().unwrap();
    }
    // The catalogue is in memory now; everything else is damaged.
    let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
    let other = txn.tree("other", true).unwrap().unwrap();
    txn.put(other, b"k", b"v").unwrap();
    txn.commit().unwrap();
    damage_all(&store, &disk);
    let error = reads_all(&store).unwrap_err();
    assert_eq!(error.code, Code::ChecksumMismatch);
    assert_eq!(Repairs::of(store.shared()).unwrap().set_apart().len(), 1);
    let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
    let other = txn.tree("other", true).unwrap().unwrap();
    txn.put(other, b"k2", b"v2").unwrap();
    assert_eq!(txn.get(other, b"k").unwrap().unwrap(), b"v");
    txn.commit().unwrap();
    assert!(reads_all(&store).is_err());
}

#[test]
fn damage_stops_all_changes_where_the_setting_says_halt() {
    let disk: Arc<dyn Disk> = MemoryDisk::new(4);
    filled(&disk, &options()).close().unwrap();
    let mut halting = options();
    halting.opening.on_damage = OnDamage::Halt;
    let store = Store::open(Arc::clone(&disk), &halting).unwrap();
    let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
    let other = txn.tree("other", true).unwrap().unwrap();
    txn.put(other, b"k", b"v").unwrap();
    txn.commit().unwrap();
    for _ in 0..2 {
        store.shared().core.log.rotate().unwrap();
        store.checkpoint().unwrap();
    }
    let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
    assert_eq!(txn.get(other, b"k").unwrap().unwrap(), b"v");
    damage_all(&store, &disk);
    assert_eq!(reads_all(&store).unwrap_err().code, Code::ChecksumMismatch);
    assert_eq!(txn.put(other, b"k", b"w").unwrap_err().code, Code::WritesHalted);
    assert_eq!(txn.get(other, b"k").unwrap().unwrap(), b"v");
    // What was changed before does not become lasting either: it is rolled back.
    store.shared().halt.lift();
    txn.put(other, b"k", b"w").unwrap();
    store.shared().halt.begin(Error::new(Code::WritesHalted));
    assert_eq!(txn.commit().unwrap_err().code, Code::WritesHalted);
    let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
    assert_eq!(txn.get(other, b"k").unwrap().unwrap(), b"v");
    store.shared().halt.lift();
    txn.put(other, b"k", b"w").unwrap();
    txn.commit().unwrap();
}

#[test]
fn a_copy_older_than_the_log_that_is_kept_is_never_a_base() {
    let disk: Arc<dyn Disk> = MemoryDisk::new(5);
    let store = filled(&disk, &options());
    let pool = &store.shared().core.pool;
    let id = (3..pool.file_pages())
        .map(PageId)
        .find(|id| {
            pool.read_cached(*id).is_none()
                && pool.read_raw(*id).unwrap().validate(*id, Lsn::MAX).is_ok()
        })
        .unwrap();
    let copy = pool.read_raw(id).unwrap();
    store.shared().core.log.rotate().unwrap();
    store.checkpoint().unwrap();
    let log = &store.shared().core.log;
    let oldest = log.first_entry_from(Lsn::NONE).unwrap().unwrap();
    let base = Base { page: copy.clone(), origin: Origin::DoubleWrite, as_of: copy.lsn(), changes: 0 };
    let rebuilt = rebuild(log, &of(&store, &[id]), vec![base], None, &mut || true).unwrap();
    assert_eq!(rebuilt.contains_key(&id), copy.lsn() >= oldest);
}

#[test]
fn redo_does_not_mend_one_by_one_what_it_brings_back_itself() {
    let memory = MemoryDisk::new(9);
    let disk: Arc<dyn Disk> = memory.clone();
    let mut options = options();
    options.opening.cache_bytes = 64 << 20;
    let store = Store::create(disk, &options).unwrap();
    let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
    let tree = txn.tree("t", true).unwrap().unwrap();
    (0..6000).for_each(|i| assert!(!txn.put(tree, &key(i), &[1; 300]).unwrap()));
    txn.commit().unwrap();
    memory.crash(2);
    let store = Store::open_recovering(memory.reopen(), &options, &Progress::default()).unwrap();
    let (events, _) = store.shared().events.drain(10_000);
    assert!(events.iter().all(|event| event.kind != "page_repaired"), "{events:?}");
    let mut txn = store.begin(Isolation::RepeatableRead, true).unwrap();
    assert_eq!(txn.count(tree).unwrap(), 6000);
}

#[test]
fn a_damaged_page_is_mended_in_memory_where_the_database_is_only_read() {
    let disk: Arc<dyn Disk> = MemoryDisk::new(10);
    let mut options = options();
    let store = filled(&disk, &options);
    assert!(damage_all(&store, &disk).len() > 150);
    store.close().unwrap();
    options.read_only = true;
    let view = Store::open(Arc::clone(&disk), &options).unwrap();
    reads_all(&view).unwrap();
    assert!(disk.list(QUARANTINE).unwrap_or_default().is_empty());
}

#[test]
fn a_page_is_rebuilt_from_the_noted_places_as_from_the_whole_log() {
    let disk: Arc<dyn Disk> = MemoryDisk::new(11);
    let mut options = options();
    options.opening.log.segment_bytes = 256 << 10;
    let store = filled(&disk, &options);
    let (pool, log) = (&store.shared().core.pool, &store.shared().core.log);
    let pages: Vec<PageId> = (0..pool.file_pages()).map(PageId).collect();
    let mut places = Places::default();
    let mut begins = Vec::new();
    for round in 0..3u8 {
        let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
        let tree = txn.tree("t", true).unwrap().unwrap();
        for i in (u64::from(round)..6000).step_by(7) {
            txn.put(tree, &key(i), &[round; 200]).unwrap();
        }
        txn.commit().unwrap();
        if round == 1 {
            // Part of what the places name is no longer there.
            store.checkpoint().unwrap();
        }
        begins.push(log.first_entry_from(Lsn::NONE).unwrap().unwrap());
        let whole = rebuild(log, &of(&store, &pages), Vec::new(), None, &mut || true).unwrap();
        assert!(round > 0 || whole.len() > 200);
        for wanted in pages.chunks(5) {
            let some =
                rebuild(log, &of(&store, wanted), Vec::new(), Some(&mut places), &mut || true).unwrap();
            for id in wanted {
                let (found, expected) = (some.get(id), whole.get(id));
                assert_eq!(found.map(|f| f.changes), expected.map(|e| e.changes), "{id}");
                assert!(found.map(|f| f.page.bytes()) == expected.map(|e| e.page.bytes()), "{id}");
            }
        }
    }
    assert!(begins[0] < begins[1], "{begins:?}");
}

#[test]
fn places_that_were_noted_in_part_are_noted_anew() {
    let disk: Arc<dyn Disk> = MemoryDisk::new(12);
    let store = filled(&disk, &options());
    let log = &store.shared().core.log;
    let pages: Vec<PageId> = (3..40).map(PageId).collect();
    let (wanted, mut places) = (of(&store, &pages), Places::default());
    let mut asked = 0;
    let mut keep_on = || {
        asked += 1;
        asked != 2
    };
    let cancelled = rebuild(log, &wanted, Vec::new(), Some(&mut places), &mut keep_on);
    assert_eq!(cancelled.err().unwrap().code, Code::Cancelled);
    let again = rebuild(log, &wanted, Vec::new(), Some(&mut places), &mut || true).unwrap();
    let whole = rebuild(log, &wanted, Vec::new(), None, &mut || true).unwrap();
    assert!(!whole.is_empty());
    assert_eq!(again.len(), whole.len());
}

#[test]
fn pages_are_rebuilt_past_a_hole_in_the_log_where_what_follows_proves_them() {
    let disk: Arc<dyn Disk> = MemoryDisk::new(13);
    let store = filled(&disk, &options());
    let (pool, log) = (&store.shared().core.pool, &store.shared().core.log);
    let pages: Vec<PageId> = (0..pool.file_pages()).map(PageId).collect();
    let whole = rebuild(log, &of(&store, &pages), Vec::new(), None, &mut || true).unwrap();
    // An entry in the middle goes, as at a cut.
    let hole = log.first_entry_from(Lsn(log.durable().0 / 2)).unwrap().unwrap();
    let path = crate::log::segments::segment_path("wal", 1);
    let file = disk.open(&path, OpenMode::Write).unwrap();
    let offset = crate::log::segments::HEADER_BYTES + hole.0 - crate::log::segments::FIRST_LSN.0;
    file.write_at(&[0; 40], offset).unwrap();
    let mut places = Places::default();
    let with_places =
        rebuild(log, &of(&store, &pages), Vec::new(), Some(&mut places), &mut || true).unwrap();
    let sums = pages.iter().map(|id| (*id, sum_of(&pool.read_raw(*id).unwrap()))).collect();
    let wanted = Wanted { sums, ..of(&store, &pages) };
    let with_sums = rebuild(log, &wanted, Vec::new(), None, &mut || true).unwrap();
    for some in [&with_places, &with_sums] {
        assert!(some.len() > 50, "{} of {}", some.len(), whole.len());
        for (id, found) in some {
            assert!(found.page.bytes() == whole[id].page.bytes(), "page {id}");
        }
    }
    assert!(with_sums.len() > with_places.len(), "{} {}", with_sums.len(), with_places.len());
}

/// Writes rubbish into one page of the kind at the level, of the tree "t", past the cache; true where
/// there is one that is not its root.
fn damage_one(store: &Store, disk: &Arc<dyn Disk>, level: u8) -> bool {
    let pool = &store.shared().core.pool;
    let file = disk.open(DATA_PATH, OpenMode::Write).unwrap();
    let found: Vec<PageId> = (0..pool.file_pages())
        .map(PageId)
        .filter(|id| {
            let page = pool.read_raw(*id).unwrap();
            let is_tree = matches!(page.kind(), Kind::Leaf | Kind::Inner) && page.tree().0 > 1;
            is_tree && page.level() == level && pool.read_cached(*id).is_none()
        })
        .collect();
    let Some(id) = found.get(found.len() / 2).filter(|_| found.len() > 1) else { return false };
    let middle = u64::from(id.0) * pool.page_size() as u64 + 400;
    file.write_at(b"what a failing disk left", middle).unwrap();
    true
}

#[test]
fn a_tree_with_damaged_pages_is_given_back_when_it_is_dropped_and_so_is_what_follows() {
    let disk: Arc<dyn Disk> = MemoryDisk::new(9);
    filled(&disk, &options()).close().unwrap();
    let mut small = options();
    small.opening.log.segment_bytes = 1 << 20;
    let store = Store::open(Arc::clone(&disk), &small).unwrap();
    for _ in 0..4 {
        store.shared().core.log.rotate().unwrap();
        store.checkpoint().unwrap();
    }
    assert!(damage_one(&store, &disk, 0));
    let used = |store: &Store| store.shared().core.space.used_pages();
    let full = used(&store);
    let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
    let other = txn.tree("other", true).unwrap().unwrap();
    for i in 0..1000 {
        txn.put(other, &key(i), &[7; 300]).unwrap();
    }
    txn.commit().unwrap();
    for name in ["t", "other"] {
        let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
        assert!(txn.drop_tree(crate::txn::CatalogueKind::Tree, name).unwrap());
        txn.commit().unwrap();
        store.give_back().unwrap();
    }
    assert!(used(&store) < 20 && full > 200, "{} of {full} pages are left", used(&store));
    assert_eq!(store.check(false, &Progress::default()).unwrap().problems, []);
    store.close().unwrap();
    let store = Store::open(Arc::clone(&disk), &small).unwrap();
    assert_eq!(store.check(false, &Progress::default()).unwrap().problems, []);
}

#[test]
fn pages_that_were_taken_and_never_written_are_not_set_apart_when_that_is_undone() {
    let disk: Arc<dyn Disk> = MemoryDisk::new(11);
    let store = filled(&disk, &options());
    for _ in 0..2 {
        let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
        let at = txn.tree("built", true).unwrap().unwrap();
        let mut rows = (0..3000).map(|i| (key(i).to_vec(), vec![7; 300]));
        assert_eq!(txn.fill(at, &mut || Ok(rows.next())).unwrap(), 3000);
        txn.abort().unwrap();
    }
    store.give_back().unwrap();
    assert!(Repairs::of(store.shared()).unwrap().set_apart().is_empty());
    assert_eq!(store.check(false, &Progress::default()).unwrap().problems, []);
}
