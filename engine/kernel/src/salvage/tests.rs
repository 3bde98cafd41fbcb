//! Databases that were crashed, then damaged; cut logs, and salvages.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::*;
use crate::disk::memory::MemoryDisk;
use crate::disk::overlay;
use crate::log::segments;
use crate::rows::key::Collation;
use crate::rows::schema::{Column, ColumnType, Index};
use crate::txn::Transaction;

type Files = BTreeMap<String, Vec<u8>>;

fn options() -> StoreOptions {
    let mut options = StoreOptions { background: false, page_size: 4096, ..StoreOptions::default() };
    options.opening.cache_bytes = 256 * 4096;
    options.opening.log.segment_bytes = 256 << 10;
    options.opening.log.buffer_bytes = 128 << 10;
    options.opening.log.background = false;
    options
}

fn key(i: u64) -> Vec<u8> {
    format!("key{i:06}").into_bytes()
}

fn value(i: u64) -> Vec<u8> {
    // Every fortieth is long.
    vec![i as u8; if i.is_multiple_of(40) { 6000 } else { 100 }]
}

/// Commits records one by one, `flushed` of them before a checkpoint that writes everything out;
/// then an unfinished transaction, and a crash. Returns the files and where each commit ends.
fn crashed(flushed: u64, after: u64) -> (Files, Vec<Lsn>) {
    let disk = MemoryDisk::new(1);
    let store = Store::create(Arc::clone(&disk) as Arc<dyn Disk>, &options()).unwrap();
    let mut ends = Vec::new();
    for i in 0..flushed + after {
        if i == flushed {
            store.checkpoint().unwrap();
        }
        let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
        let at = txn.tree("t", true).unwrap().unwrap();
        txn.put(at, &key(i), &value(i)).unwrap();
        txn.commit().unwrap();
        ends.push(store.shared().core.log.end());
    }
    if after == 0 {
        store.checkpoint().unwrap();
    }
    let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
    let at = txn.tree("t", false).unwrap().unwrap();
    txn.put(at, b"unfinished", b"x").unwrap();
    store.flush().unwrap();
    disk.kill();
    std::mem::forget(txn);
    drop(store);
    (disk.reopen().snapshot(), ends)
}

/// Alters the log at an LSN.
fn damage_log(files: &Files, at: Lsn) -> Arc<MemoryDisk> {
    let disk = MemoryDisk::from_snapshot(2, files);
    let data = Control::read(&*disk).unwrap();
    let found = segments::discover(&*disk, data.database).unwrap();
    let extents = segments::extents(&found, data.redo_lsn).unwrap();
    let extent = extents.iter().find(|e| e.start <= at && at < e.limit).unwrap();
    let file = disk.open(&extent.path, OpenMode::Write).unwrap();
    file.write_at(&[0xA5; 8], extent.offset(at)).unwrap();
    file.sync().unwrap();
    disk
}

fn rows(txn: &mut Transaction, name: &str) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let at = txn.tree(name, false).unwrap().unwrap();
    let mut found = BTreeMap::new();
    let mut from: Option<Vec<u8>> = None;
    loop {
        let batch = txn.scan(at, &crate::txn::Range::default(), from.as_deref(), 100).unwrap();
        found.extend(batch.records);
        match batch.next {
            Some(next) => from = Some(next),
            None => return found,
        }
    }
}

fn expected(count: u64) -> BTreeMap<Vec<u8>, Vec<u8>> {
    (0..count).map(|i| (key(i), value(i))).collect()
}

fn assert_sound(store: &Store) {
    let report = store.check(false, &Progress::default()).unwrap();
    assert!(report.ok, "{:?}", report.problems);
}

/// Recovers up to the last valid record.
fn recover_cut(disk: &Arc<MemoryDisk>) -> Result<(crate::recovery::Cut, Store)> {
    let progress = Progress::default();
    let base = Arc::clone(disk) as Arc<dyn Disk>;
    let mut recovering = Recovering::begin(base, &options(), Ground::Overlay)?;
    let cut = match recovering.opening.cut_log(Beyond::Rebuild, &progress) {
        Ok(cut) => cut.clone(),
        Err(error) => {
            recovering.abandon()?;
            return Err(error);
        }
    };
    if let Err(error) = recovering.run(&progress) {
        recovering.abandon()?;
        return Err(error);
    }
    let store = recovering.finish(&progress).map_err(|unfinished| unfinished.error)?;
    Ok((cut, store))
}

#[test]
fn a_recovery_up_to_the_last_valid_record_keeps_every_commit_before_the_damage() {
    let (files, ends) = crashed(50, 250);
    for kept in [60, 100, 175, 299] {
        let damaged_at = ends[kept as usize - 1];
        let disk = damage_log(&files, damaged_at.plus(60));
        let strict = Store::open_recovering(disk.clone(), &options(), &Progress::default());
        assert_eq!(strict.err().unwrap().code, Code::WalCorrupted);
        let (cut, store) = recover_cut(&disk).unwrap();
        assert!(cut.at >= damaged_at && cut.reason.contains("damaged"), "{cut:?}");
        // The entry that was hit belongs to a commit; what follows can still be counted.
        assert!(cut.lost_commits >= 300 - kept - 1 && cut.lost_commits <= 300 - kept, "{cut:?}");
        let mut txn = store.begin(Isolation::RepeatableRead, true).unwrap();
        assert_eq!(rows(&mut txn, "t"), expected(kept));
        drop(txn);
        assert_sound(&store);
    }
}

#[test]
fn after_a_cut_new_entries_begin_above_all_that_were_lost_and_survive_the_next_crash() {
    let (files, ends) = crashed(50, 250);
    let disk = damage_log(&files, ends[100].plus(60));
    let (cut, store) = recover_cut(&disk).unwrap();
    assert!(cut.start > ends[299]);
    assert!(store.shared().core.log.end() > cut.start);
    let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
    let at = txn.tree("t", false).unwrap().unwrap();
    txn.put(at, b"after", b"the cut").unwrap();
    txn.commit().unwrap();
    disk.kill();
    drop(store);
    let store = Store::open_recovering(disk.reopen(), &options(), &Progress::default()).unwrap();
    let mut txn = store.begin(Isolation::RepeatableRead, true).unwrap();
    let mut rows_after = expected(101);
    rows_after.insert(b"after".to_vec(), b"the cut".to_vec());
    assert_eq!(rows(&mut txn, "t"), rows_after);
    drop(txn);
    assert_sound(&store);
}

#[test]
fn pages_from_beyond_the_cut_are_rebuilt_or_told_and_the_originals_stay() {
    // Everything was written out after the damage: pages know what the log has lost.
    let disk = MemoryDisk::new(1);
    let store = Store::create(Arc::clone(&disk) as Arc<dyn Disk>, &options()).unwrap();
    store.checkpoint().unwrap();
    let mut ends = Vec::new();
    for i in 0..200 {
        let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
        let at = txn.tree("t", true).unwrap().unwrap();
        txn.put(at, &key(i), &value(i)).unwrap();
        txn.commit().unwrap();
        ends.push(store.shared().core.log.end());
    }
    store.shared().core.pool.write_out_all().unwrap();
    disk.kill();
    drop(store);
    let files = disk.reopen().snapshot();
    let disk = damage_log(&files, ends[99].plus(60));
    let before = disk.snapshot();
    match recover_cut(&disk) {
        Ok((cut, store)) => {
            assert!(!cut.pages.is_empty());
            let mut txn = store.begin(Isolation::RepeatableRead, true).unwrap();
            assert_eq!(rows(&mut txn, "t"), expected(100));
            drop(txn);
            assert_sound(&store);
        }
        Err(error) => {
            assert_eq!(error.code, Code::InconsistentState, "{error}");
            assert_eq!(disk.snapshot(), before);
        }
    }
}

#[test]
fn a_cut_needs_a_checkpoint_before_the_damage_and_an_overlay() {
    let (files, _) = crashed(50, 50);
    let disk = MemoryDisk::from_snapshot(2, &files);
    let redo = Control::read(&*disk).unwrap().redo_lsn;
    let disk = damage_log(&files, redo.plus(4));
    let before = disk.snapshot();
    assert_eq!(recover_cut(&disk).err().unwrap().code, Code::RecoveryImpossible);
    assert_eq!(disk.snapshot(), before);
    let base = Arc::clone(&disk) as Arc<dyn Disk>;
    let mut in_place = Recovering::begin(base, &options(), Ground::InPlace).unwrap();
    let refused = in_place.opening.cut_log(Beyond::Rebuild, &Progress::default());
    assert_eq!(refused.err().unwrap().code, Code::InternalError);
}

/// Salvages into a new database and opens it.
fn salvaged(disk: &Arc<MemoryDisk>) -> (SalvageReport, Store) {
    let before = disk.snapshot();
    let (scratch, target) = (MemoryDisk::new(8), MemoryDisk::new(9));
    let base = Arc::clone(disk) as Arc<dyn Disk>;
    let new = Arc::clone(&target) as Arc<dyn Disk>;
    let report = salvage(base, scratch.clone(), new, &options(), &Progress::default()).unwrap();
    assert_eq!(disk.snapshot(), before, "a salvage only reads");
    assert!(!overlay::is_left(&*scratch).unwrap());
    let store = Store::open(target, &options()).unwrap();
    assert_sound(&store);
    (report, store)
}

#[test]
fn a_salvage_of_a_crashed_database_finds_every_commit_and_undoes_the_rest() {
    let (files, _) = crashed(100, 200);
    let (report, store) = salvaged(&MemoryDisk::from_snapshot(2, &files));
    let mut txn = store.begin(Isolation::RepeatableRead, true).unwrap();
    assert_eq!(rows(&mut txn, "t"), expected(300));
    assert_eq!(report.without_log, "");
    assert!(!report.has_unfinished && report.damaged.is_empty());
    let tree = SavedTree { name: "t".to_owned(), records: 300, ..SavedTree::default() };
    assert_eq!(report.trees, [tree]);
}

#[test]
fn a_salvage_saves_the_records_of_every_page_that_can_be_read() {
    let (files, _) = crashed(2000, 0);
    let disk = MemoryDisk::from_snapshot(2, &files);
    // A leaf in the middle, the root, and all of the log and the control file are gone.
    let pages = files[DATA_PATH].len() / 4096;
    let page_at = |number: usize| {
        let mut page = Page::zeroed(4096);
        page.bytes_mut().copy_from_slice(&files[DATA_PATH][number * 4096..(number + 1) * 4096]);
        page
    };
    let leaves: Vec<usize> = (0..pages)
        .filter(|n| page_at(*n).validate(PageId(*n as u32), Lsn::MAX).is_ok())
        .filter(|n| page_at(*n).kind() == Kind::Leaf && page_at(*n).tree() > CATALOGUE)
        .collect();
    let lost = leaves[leaves.len() / 2];
    let in_lost = page_at(lost).slots() as u64;
    disk.flip_bit(DATA_PATH, lost as u64 * 4096 + 300, 3).unwrap();
    for name in disk.list("wal").unwrap() {
        disk.remove(&format!("wal/{name}")).unwrap();
    }
    disk.remove(crate::control::PATH).unwrap();
    disk.remove(crate::buffer::DOUBLEWRITE_PATH).unwrap();
    let (report, store) = salvaged(&disk);
    assert!(!report.without_log.is_empty() && report.has_unfinished);
    assert_eq!(report.damaged, [PageId(lost as u32)]);
    assert_eq!((report.trees[0].gaps, report.trees[0].lost_values), (1, 0));
    assert_eq!(report.trees[0].records, 2000 - in_lost);
    let mut txn = store.begin(Isolation::RepeatableRead, true).unwrap();
    let found = rows(&mut txn, "t");
    let all = expected(2000);
    assert!(found.iter().all(|(key, value)| all.get(key) == Some(value)));
}

#[test]
fn a_salvaged_table_has_its_schema_its_rows_and_its_indexes() {
    let disk = MemoryDisk::new(1);
    let store = Store::create(Arc::clone(&disk) as Arc<dyn Disk>, &options()).unwrap();
    let schema = Schema {
        name: "people".to_owned(),
        columns: vec![Column::new("id", ColumnType::Integer), Column::new("name", ColumnType::Text)],
        primary_key: vec![0],
        indexes: vec![Index {
            name: "by_name".to_owned(),
            columns: vec![1],
            collations: vec![Collation::Binary],
            unique: false,
        }],
    };
    let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
    let table = tables::create(&mut txn, &schema).unwrap();
    for i in 0..300i64 {
        table.insert(&mut txn, vec![i.into(), format!("name {i}").as_str().into()]).unwrap();
    }
    txn.commit().unwrap();
    store.close().unwrap();
    drop(store);
    disk.flip_bit(crate::control::PATH, 20, 1).unwrap();
    disk.flip_bit(crate::control::PATH, 4096 + 20, 1).unwrap();
    let (report, store) = salvaged(&disk);
    assert!(report.trees[0].is_table && report.trees[0].lost_indexes.is_empty());
    let mut txn = store.begin(Isolation::RepeatableRead, true).unwrap();
    let table = tables::open(&mut txn, "people").unwrap();
    assert_eq!(table.schema, schema);
    assert_eq!(table.count(&mut txn).unwrap(), 300);
}
