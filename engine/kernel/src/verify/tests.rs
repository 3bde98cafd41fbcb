#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::core::{Author, CATALOGUE_ROOT};
use crate::disk::memory::MemoryDisk;
use crate::log::Op;
use crate::page::{Change, Version};
use crate::recovery::DATA_PATH;
use crate::rows::{Column, ColumnType, Schema, Value, tables};
use crate::store::{Store, StoreOptions};
use crate::txn::{Isolation, Range, Transaction, TreeRef, collect};
use crate::types::{DatabaseId, PageId};

fn options(background: bool) -> StoreOptions {
    let mut options = StoreOptions {
        background,
        database: Some(DatabaseId([7; 16])),
        page_size: 4096,
        ..StoreOptions::default()
    };
    options.opening.cache_bytes = 64 * 4096;
    options.opening.log.segment_bytes = 1 << 20;
    options.opening.log.buffer_bytes = 256 << 10;
    options.opening.log.background = background;
    options
}

fn begin(store: &Store) -> Transaction {
    store.begin(Isolation::RepeatableRead, false).unwrap()
}

fn key(i: u64) -> Vec<u8> {
    format!("key{:08}", i.wrapping_mul(2_654_435_761) % 100_000_000).into_bytes()
}

/// A store with a tree of several levels, long values and a table with an index.
fn filled(disk: &Arc<MemoryDisk>) -> (Store, TreeRef) {
    let store = Store::create(disk.clone(), &options(false)).unwrap();
    let mut txn = begin(&store);
    let tree = txn.tree("t", true).unwrap().unwrap();
    for i in 0..6000 {
        txn.put(tree, &key(i), &[7; 60]).unwrap();
    }
    for i in 0..8 {
        txn.put(tree, &key(i), &vec![i as u8; 20_000]).unwrap();
    }
    for i in 6000..6500 {
        txn.put(tree, &key(i), b"x").unwrap();
        txn.delete(tree, &key(i)).unwrap();
    }
    let schema = Schema {
        name: "people".into(),
        columns: vec![Column::new("id", ColumnType::Integer), Column::new("name", ColumnType::Text)],
        primary_key: vec![0],
        indexes: vec![],
    };
    let table = tables::create(&mut txn, &schema).unwrap();
    for i in 0..500 {
        table.insert(&mut txn, vec![Value::Integer(i), Value::Text(format!("name {i}"))]).unwrap();
    }
    let disk: Arc<dyn crate::disk::Disk> = disk.clone();
    tables::create_index(&mut txn, &disk, "people", "by_name", &["name"], false).unwrap();
    txn.commit().unwrap();
    store.maintain().unwrap();
    store.checkpoint().unwrap();
    (store, tree)
}

fn checked(store: &Store) -> CheckReport {
    store.check(false, &Progress::default()).unwrap()
}

fn assert_clean(store: &Store) -> CheckReport {
    let report = checked(store);
    assert!(report.ok, "{:#?}", report.problems);
    report
}

/// Applies a change to a page behind the back of its tree, logged as any other.
fn tamper(store: &Store, page: PageId, change: &Change<'_>) {
    let core = &store.shared().core;
    let mut page = core.pool.write(page).unwrap();
    core.change_page(Author::system(Op::Structure), &mut page, change).unwrap();
}

/// Some leaf of a tree, not its first or last, and the page above it.
fn inner_leaf(store: &Store, tree: TreeRef) -> (PageId, PageId, usize) {
    let pool = &store.shared().core.pool;
    let mut parent = tree.root;
    loop {
        let page = pool.read(parent).unwrap();
        if page.level() == 1 {
            let slot = page.slots() / 2;
            return (page.child(slot), parent, slot);
        }
        parent = page.child(page.slots() / 2);
    }
}

#[test]
fn a_sound_database_has_no_problems_and_everything_was_looked_at() {
    let (store, _) = filled(&MemoryDisk::new(1));
    let report = assert_clean(&store);
    assert_eq!(report.records, 6000 + 500 + 500 + 3);
    assert_eq!(report.pages, store.shared().core.space.used_pages());
    assert!(report.bytes > report.pages * 4096);
    let quick = store.check(true, &Progress::default()).unwrap();
    assert!(quick.ok && quick.pages == report.pages && quick.records == 0);
}

#[test]
fn a_flipped_bit_in_the_file_is_found_with_page_and_tree() {
    let disk = MemoryDisk::new(2);
    let (store, tree) = filled(&disk);
    let (leaf, ..) = inner_leaf(&store, tree);
    store.close().unwrap();
    disk.flip_bit(DATA_PATH, u64::from(leaf.0) * 4096 + 2000, 3).unwrap();
    let store = Store::open(disk.clone(), &options(false)).unwrap();
    for is_quick in [true, false] {
        let report = store.check(is_quick, &Progress::default()).unwrap();
        let problem = &report.problems[0];
        assert_eq!((problem.code, problem.page), (Code::ChecksumMismatch, Some(leaf)));
        assert_eq!(problem.tree.as_deref(), (!is_quick).then_some("t"));
        assert_eq!(report.problems.len(), 1, "{:#?}", report.problems);
    }
}

#[test]
fn where_nobody_writes_a_flipped_bit_is_found_in_whatever_page_it_is() {
    let disk = MemoryDisk::new(2);
    let (store, _) = filled(&disk);
    let options = CheckOptions { is_quick: false, redo_lsn: None, reports_leaks: false, is_still: true };
    let still = || check(store.shared(), &Progress::default(), options).unwrap();
    let sound = still();
    assert!(sound.ok && sound.pages == store.shared().core.space.used_pages());
    let core = &store.shared().core;
    let used = |page: &PageId| {
        let map = core.space.map(page.0 / crate::space::GROUP).unwrap();
        map.is_some_and(|map| crate::space::is_used(&map, *page))
    };
    let pages: Vec<PageId> = (0..core.pool.file_pages()).map(PageId).filter(used).collect();
    assert!(pages.len() > 150, "{}", pages.len());
    for page in pages.into_iter().step_by(3) {
        let flip = || disk.flip_bit(DATA_PATH, u64::from(page.0) * 4096 + 1000, 5).unwrap();
        flip();
        let found = still();
        flip();
        let told: Vec<_> = found.problems.iter().map(|problem| (problem.code, problem.page)).collect();
        assert!(told.contains(&(Code::ChecksumMismatch, Some(page))), "page {page}: {told:?}");
    }
    assert!(still().ok);
}

#[test]
fn a_missing_parent_link_is_legal_and_a_wrong_one_is_not() {
    let (store, tree) = filled(&MemoryDisk::new(3));
    let (leaf, parent, slot) = inner_leaf(&store, tree);
    tamper(&store, parent, &Change::RemoveChild { slot: slot as u16 });
    assert_clean(&store);
    let pool = &store.shared().core.pool;
    let (low, other) = {
        let page = pool.read(leaf).unwrap();
        (page.low_fence().to_vec(), page.right())
    };
    tamper(&store, parent, &Change::AddChild { slot: slot as u16, key: &low, child: other });
    let report = checked(&store);
    assert!(
        report.problems.iter().any(|p| p.code == Code::PageDamaged && p.tree.as_deref() == Some("t"))
    );
}

#[test]
fn a_level_whose_chain_leads_astray_is_found() {
    let (store, tree) = filled(&MemoryDisk::new(4));
    let (leaf, ..) = inner_leaf(&store, tree);
    let (right, high) = {
        let page = store.shared().core.pool.read(leaf).unwrap();
        let right = store.shared().core.pool.read(page.right()).unwrap();
        (right.right(), page.high_fence().unwrap().to_vec())
    };
    tamper(&store, leaf, &Change::Absorb { right, high: Some(&high) });
    let report = checked(&store);
    assert!(report.problems.iter().any(|p| p.page == Some(leaf)), "{:#?}", report.problems);
}

#[test]
fn a_page_in_use_but_marked_free_and_a_page_in_use_for_nothing_are_found() {
    let (store, tree) = filled(&MemoryDisk::new(5));
    let (leaf, ..) = inner_leaf(&store, tree);
    let map = crate::space::map_page_of(leaf);
    tamper(&store, map, &Change::Map { first: leaf.0, count: 1, used: false });
    let report = checked(&store);
    assert_eq!((report.problems[0].code, report.problems[0].page), (Code::PageDamaged, Some(leaf)));
    tamper(&store, map, &Change::Map { first: leaf.0, count: 1, used: true });
    assert_clean(&store);
    tamper(&store, map, &Change::Map { first: 3000, count: 1, used: true });
    let report = checked(&store);
    assert_eq!(report.problems[0].code, Code::PagesLeaked);
    assert_eq!((report.problems[0].page, report.problems.len()), (Some(PageId(3000)), 1));
}

#[test]
fn a_record_behind_the_back_of_its_counts_and_stamps_is_found() {
    let (store, tree) = filled(&MemoryDisk::new(6));
    let (leaf, ..) = inner_leaf(&store, tree);
    let low = store.shared().core.pool.read(leaf).unwrap().low_fence().to_vec();
    let new = Version { flags: 0, value: b"" };
    let mut page = store.shared().core.pool.write(leaf).unwrap();
    let slot = page.search(&low).unwrap_err() as u16;
    let change = Change::Put { slot, key: &low, new, old: None };
    let author = Author::new(TxnId(1 << 40), Op::Insert, Lsn::NONE);
    store.shared().core.change_page(author, &mut page, &change).unwrap();
    drop(page);
    let report = checked(&store);
    assert_eq!((report.problems[0].code, report.problems[0].page), (Code::PageDamaged, Some(leaf)));
    // Undone, but for the count.
    tamper(&store, leaf, &Change::Remove { slot });
    tamper(&store, leaf, &Change::Remove { slot });
    let report = checked(&store);
    assert_eq!((report.problems[0].code, report.problems.len()), (Code::InconsistentState, 1));
}

/// The head of the chain that holds the value of `key(3)`, and the page after it.
fn long_value(store: &Store, tree: TreeRef) -> (PageId, PageId) {
    let core = &store.shared().core;
    let walked = crate::tree::Tree { core, id: tree.id, root: tree.root };
    let leaf = walked.leaf::<crate::tree::Waiting>(crate::tree::Seek::At(&key(3))).unwrap().unwrap();
    let slot = leaf.search(&key(3)).unwrap();
    let head = crate::tree::overflow::Reference::decode(leaf.record(slot).value).unwrap().head;
    (head, core.pool.read(head).unwrap().right())
}

#[test]
fn a_long_value_that_lost_a_page_is_found() {
    let (store, tree) = filled(&MemoryDisk::new(7));
    let (_, second) = long_value(&store, tree);
    tamper(&store, second, &Change::Free);
    let report = checked(&store);
    assert_eq!(report.problems[0].tree.as_deref(), Some("t"));
    assert_eq!(report.problems[0].detail, "the pages of a long value are not all there");
}

/// It was read again and again, in the belief that the record had just changed.
#[test]
fn reading_a_long_value_that_lost_a_page_is_an_error_and_not_endless() {
    let (store, tree) = filled(&MemoryDisk::new(7));
    let (head, second) = long_value(&store, tree);
    tamper(&store, second, &Change::Free);
    let mut txn = begin(&store);
    let error = txn.get(tree, &key(3)).unwrap_err();
    assert_eq!((error.code, error.field("page_id")), (Code::PageDamaged, Some(&head.0.into())));
    assert!(txn.get(tree, &key(4)).unwrap().is_some());
    let mut from = None;
    let error = loop {
        match txn.scan(tree, &Range::default(), from.as_deref(), 100) {
            Ok(batch) => from = Some(batch.next.expect("the damaged record comes first")),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code, Code::PageDamaged);
}

#[test]
fn an_index_that_has_parted_from_its_table_is_found_and_named() {
    let (store, _) = filled(&MemoryDisk::new(8));
    let mut txn = begin(&store);
    let table = tables::open(&mut txn, "people").unwrap();
    let tree = table.index_trees[0];
    let first = txn
        .scan(tree, &crate::txn::Range::default(), None, 1)
        .unwrap()
        .records
        .into_iter()
        .next()
        .unwrap();
    txn.delete(tree, &first.0).unwrap();
    txn.put(tree, b"\x7f nobody", b"").unwrap();
    txn.commit().unwrap();
    let damaged = damaged_indexes(store.shared(), &Progress::default()).unwrap();
    assert_eq!((damaged.len(), damaged[0].index.as_str()), (1, "by_name"));
    let report = checked(&store);
    assert_eq!(report.problems.len(), 1, "{:#?}", report.problems);
    assert_eq!(report.problems[0].tree.as_deref(), Some("by_name"));
    assert!(report.problems[0].detail.contains("1 rows lack their entry, 1 entries"));
}

#[test]
fn a_damaged_catalogue_is_a_finding_and_no_failure() {
    let disk = MemoryDisk::new(9);
    let (store, _) = filled(&disk);
    store.close().unwrap();
    disk.flip_bit(DATA_PATH, u64::from(CATALOGUE_ROOT.0) * 4096 + 300, 0).unwrap();
    let store = Store::open(disk.clone(), &options(false)).unwrap();
    let report = checked(&store);
    assert_eq!(report.problems[0].page, Some(CATALOGUE_ROOT));
}

#[test]
fn a_check_can_be_cancelled() {
    let (store, _) = filled(&MemoryDisk::new(10));
    let progress = Progress::default();
    progress.cancel();
    assert_eq!(store.check(false, &progress).unwrap_err().code, Code::Cancelled);
}

/// One writer's round: inserts, deletions, long values, trees made and dropped, aborts.
fn churn(store: &Store, thread: u64, round: u64) {
    let mut txn = begin(store);
    let tree = txn.tree(&format!("w{thread}"), true).unwrap().unwrap();
    for i in 0..60 {
        let k = key((thread << 20) + (round * 37 + i) % 3000);
        let done = match (i + round) % 5 {
            0 => txn.delete(tree, &k).map(|_| ()),
            1 if i < 10 => txn.put(tree, &k, &vec![1; 9000]).map(|_| ()),
            _ => txn.put(tree, &k, &[thread as u8; 90]).map(|_| ()),
        };
        done.unwrap();
    }
    match round % 4 {
        0 => txn.abort().unwrap(),
        1 => {
            let name = format!("scratch{thread}");
            let scratch = txn.tree(&name, true).unwrap().unwrap();
            for i in 0..300 {
                txn.put(scratch, &key(i), &[0; 50]).unwrap();
            }
            txn.commit().unwrap();
            let mut txn = begin(store);
            txn.drop_tree(crate::txn::CatalogueKind::Tree, &name).unwrap();
            txn.commit().unwrap();
        }
        _ => {
            txn.commit().unwrap();
        }
    }
}

#[test]
fn a_database_in_full_use_raises_no_false_alarm() {
    let store = Store::create(MemoryDisk::new(11), &options(true)).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (store, stop) = (&store, &stop);
            scope.spawn(move || {
                let mut round = 0;
                while !stop.load(Ordering::Acquire) {
                    churn(store, thread, round);
                    round += 1;
                }
            });
        }
        let mut checks = Vec::new();
        for _ in 0..25 {
            checks.push(checked(&store));
        }
        stop.store(true, Ordering::Release);
        for report in checks {
            assert!(report.ok, "{:#?}", report.problems);
        }
    });
    store.shared().core.log.flush_to(store.shared().core.log.end()).unwrap();
    collect(store.shared(), &mut || true).unwrap();
    while !store.shared().txns.pending().is_empty() {
        std::thread::yield_now();
    }
    assert_clean(&store);
}
