//! Pages that nothing leads to are given back, and no page that anything leads to ever is.
#![allow(clippy::unwrap_used)]

use super::tests::{all, key, options, tree};
use super::*;
use crate::disk::memory::MemoryDisk;
use crate::recovery::DATA_PATH;
use crate::txn::{CatalogueKind, TreeRef};
use crate::types::PageId;

const ROWS: u64 = 30_000;

fn begin(store: &Store) -> Transaction {
    store.begin(Isolation::RepeatableRead, false).unwrap()
}

fn used(store: &Store) -> u64 {
    store.shared().core.space.used_pages()
}

fn fill(store: &Store, name: &str) -> TreeRef {
    let mut txn = begin(store);
    let at = tree(&mut txn, name);
    for i in 0..ROWS {
        let value = if i % 997 == 5 { vec![7; 20_000] } else { vec![i as u8; 40] };
        txn.put(at, &key(i), &value).unwrap();
    }
    txn.commit().unwrap();
    at
}

fn sweep(store: &Store) -> Swept {
    store.sweep(&Progress::default()).unwrap()
}

fn assert_sound(store: &Store) {
    assert_eq!(store.check(false, &Progress::default()).unwrap().problems, []);
}

/// The first inner page of a tree below its root: no page to the left leads to what is below it.
fn inner_page(store: &Store, at: TreeRef) -> PageId {
    let root = store.shared().core.pool.read(at.root).unwrap();
    assert!(root.level() >= 2, "the tree has {} levels", root.level() + 1);
    root.child(0)
}

/// A closed database with a tree of which an inner page is damaged, with no log to repair it from, and
/// another one which is whole.
fn damaged(seed: u64) -> (Arc<MemoryDisk>, Store, TreeRef) {
    let disk = MemoryDisk::new(seed);
    let store = Store::create(disk.clone(), &options()).unwrap();
    fill(&store, "whole");
    let at = fill(&store, "damaged");
    let inner = inner_page(&store, at);
    forget_log(&store);
    store.close().unwrap();
    drop(store);
    disk.flip_bit(DATA_PATH, u64::from(inner.0) * 4096 + 1000, 3).unwrap();
    let store = Store::open(disk.clone(), &options()).unwrap();
    (disk, store, at)
}

/// Writes until the log holds no image of the pages that are there now.
fn forget_log(store: &Store) {
    for _ in 0..3 {
        store.checkpoint().unwrap();
        let mut txn = begin(store);
        let at = tree(&mut txn, "other");
        for i in 0..2000 {
            txn.put(at, &key(i), &[1; 1000]).unwrap();
        }
        txn.commit().unwrap();
    }
    store.checkpoint().unwrap();
    store.checkpoint().unwrap();
}

fn drop_damaged(store: &Store) {
    let mut txn = begin(store);
    txn.drop_tree(CatalogueKind::Tree, "damaged").unwrap();
    txn.commit().unwrap();
    store.maintain().unwrap();
}

#[test]
fn what_only_a_damaged_inner_page_led_to_is_given_back_and_used_again() {
    let (_, store, _) = damaged(1);
    drop_damaged(&store);
    let before = used(&store);
    let swept = sweep(&store);
    assert!(swept.pages > 20, "{swept:?}");
    assert_eq!((swept.left, used(&store)), (0, before - swept.pages));
    assert_sound(&store);
    assert_eq!(all(&mut begin(&store), whole(&store), true).len() as u64, ROWS);
    fill(&store, "again");
    assert_sound(&store);
    assert_eq!(all(&mut begin(&store), whole(&store), true).len() as u64, ROWS);
    assert_eq!(sweep(&store).pages, 0);
}

fn whole(store: &Store) -> TreeRef {
    begin(store).tree("whole", false).unwrap().unwrap()
}

#[test]
fn nothing_is_given_back_while_a_tree_is_damaged() {
    let (_, store, _) = damaged(2);
    let before = used(&store);
    let swept = sweep(&store);
    assert_eq!((swept.pages, swept.left, used(&store)), (0, 0, before));
    assert!(!swept.report.ok);
}

#[test]
fn nothing_is_given_back_while_a_transaction_is_under_way_or_a_snapshot_is_open() {
    let (_, store, _) = damaged(3);
    drop_damaged(&store);
    let before = used(&store);
    for is_read_only in [false, true] {
        let mut other = store.begin(Isolation::RepeatableRead, is_read_only).unwrap();
        assert!(other.get(whole(&store), &key(1)).unwrap().is_some());
        assert_eq!((sweep(&store).pages, used(&store)), (0, before));
        other.abort().unwrap();
    }
    assert!(sweep(&store).pages > 20);
    assert_sound(&store);
}

#[test]
fn a_damaged_page_that_nothing_leads_to_is_given_back_with_the_others() {
    let (disk, store, at) = damaged(4);
    drop_damaged(&store);
    store.checkpoint().unwrap();
    let pool = &store.shared().core.pool;
    let report = store.check_in_use(false, &Progress::default()).unwrap();
    let lost =
        *report.lost.iter().find(|page| pool.read(**page).is_ok_and(|p| p.tree() == at.id)).unwrap();
    store.close().unwrap();
    disk.flip_bit(DATA_PATH, u64::from(lost.0) * 4096 + 1000, 3).unwrap();
    let store = Store::open(disk.clone(), &options()).unwrap();
    let told = store.check_in_use(false, &Progress::default()).unwrap();
    assert!(told.problems.iter().any(|problem| problem.page == Some(lost)), "{told:?}");
    assert_eq!(sweep(&store).left, 0);
    assert_sound(&store);
}

#[test]
fn a_crash_at_any_write_of_a_sweep_loses_nothing() {
    for budget in [0, 1, 7, 30] {
        let (disk, store, _) = damaged(50 + budget);
        drop_damaged(&store);
        store.flush().unwrap();
        let mut left = budget + 1;
        let since = store.shared().core.log.end();
        let lost = store.check_in_use(false, &Progress::default()).unwrap().lost;
        assert!(lost.len() > 20, "{} pages are lost", lost.len());
        crate::txn::free_lost(store.shared(), &lost, since, &mut || {
            left -= 1;
            left > 0
        })
        .unwrap();
        if budget % 2 == 0 {
            store.shared().core.pool.write_out_cold().unwrap();
        }
        if budget % 3 == 0 {
            store.flush().unwrap();
        }
        disk.crash(budget);
        drop(store);
        let store = Store::open_recovering(disk.reopen(), &options(), &Progress::default()).unwrap();
        store.maintain().unwrap();
        assert_eq!(sweep(&store).left, 0, "{budget}");
        assert_sound(&store);
        assert_eq!(all(&mut begin(&store), whole(&store), true).len() as u64, ROWS);
    }
}
