#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use super::Repairs;
use super::reach::reach_of;
use crate::disk::memory::MemoryDisk;
use crate::disk::{Disk, OpenMode};
use crate::error::{Error, Field, KeyBounds};
use crate::page::Kind;
use crate::recovery::DATA_PATH;
use crate::store::{Store, StoreOptions};
use crate::txn::Isolation;
use crate::types::{Lsn, PageId};

const ROWS: u64 = 6000;
const LONG: u64 = 3000;

fn key(i: u64) -> [u8; 8] {
    i.to_be_bytes()
}

fn options() -> StoreOptions {
    let mut options = StoreOptions { background: false, ..StoreOptions::default() };
    options.opening.cache_bytes = 64 * 8192;
    options.opening.log.segment_bytes = 1 << 20;
    options.opening.log.buffer_bytes = 1 << 20;
    options.opening.log.background = false;
    options
}

/// A closed store of some hundred pages, one value of which is long; its log does not reach back.
fn filled() -> Arc<dyn Disk> {
    let disk: Arc<dyn Disk> = MemoryDisk::new(1);
    let store = Store::create(Arc::clone(&disk), &options()).unwrap();
    for first in (0..ROWS).step_by(100) {
        let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
        let tree = txn.tree("t", true).unwrap().unwrap();
        for i in first..first + 100 {
            let length = if i == LONG { 50_000 } else { 300 };
            txn.put(tree, &key(i), &vec![i as u8; length]).unwrap();
        }
        txn.commit().unwrap();
    }
    for _ in 0..3 {
        store.shared().core.log.rotate().unwrap();
        store.checkpoint().unwrap();
    }
    store.close().unwrap();
    disk
}

/// Spoils the first page that is `wanted`; returns it.
fn spoil(disk: &Arc<dyn Disk>, wanted: impl Fn(&crate::page::Page) -> bool) -> PageId {
    let store = Store::open(Arc::clone(disk), &options()).unwrap();
    let pool = &store.shared().core.pool;
    let is_wanted = |id: &PageId| {
        let mut page = pool.read_raw(*id).unwrap();
        page.validate(*id, Lsn::MAX).is_ok() && wanted(&page)
    };
    let found = (3..pool.file_pages()).map(PageId).find(is_wanted).unwrap();
    let size = pool.page_size();
    store.close().unwrap();
    let file = disk.open(DATA_PATH, OpenMode::Write).unwrap();
    file.write_at(b"what a failing disk left", u64::from(found.0) * size as u64 + 400).unwrap();
    found
}

fn get(store: &Store, i: u64) -> Result<Option<Vec<u8>>, Error> {
    let mut txn = store.begin(Isolation::RepeatableRead, true)?;
    let tree = txn.tree("t", false)?.unwrap();
    txn.get(tree, &key(i))
}

/// The error of the first row that cannot be read, and the rows that cannot.
fn lost(store: &Store) -> (Error, Vec<u64>) {
    let failures: Vec<(u64, Error)> =
        (0..ROWS).filter_map(|i| Some((i, get(store, i).err()?))).collect();
    let rows = failures.iter().map(|(i, _)| *i).collect();
    (failures.into_iter().next().unwrap().1, rows)
}

fn holds(bounds: &KeyBounds, i: u64) -> bool {
    bounds.low.as_ref().is_none_or(|low| key(i).as_slice() >= low.as_slice())
        && bounds.high.as_ref().is_none_or(|high| key(i).as_slice() < high.as_slice())
}

/// The error names page and tree in its text, and to programs just those keys that cannot be read.
fn assert_told(store: &Store, page: PageId) -> (KeyBounds, Vec<u64>) {
    let (error, rows) = lost(store);
    assert_eq!(error.field("page_id"), Some(&Field::from(page.0)));
    assert!(matches!(error.field("tree"), Some(Field::Int(_))));
    let bounds = *error.key_bounds.clone().unwrap();
    assert_eq!((0..ROWS).filter(|i| holds(&bounds, *i)).collect::<Vec<_>>(), rows);
    assert!(!format!("{error}").contains("Bounds"));
    assert!(format!("{error:?}").contains("key_bounds: Some(KeyBounds)"), "{error:?}");
    (bounds, rows)
}

#[test]
fn a_read_of_a_damaged_page_tells_programs_between_which_keys_it_lies() {
    let disk = filled();
    let page = spoil(&disk, |page| page.kind() == Kind::Leaf && page.low_fence() > &key(500)[..]);
    let store = Store::open(disk, &options()).unwrap();
    let (bounds, rows) = assert_told(&store, page);
    let reached = reach_of(&store.shared().core, &[page]);
    let (tree, reach) = reached.first().unwrap();
    assert_eq!((tree.as_str(), reach.page, &reach.bounds), ("t", page, &bounds));
    let (guess, there) = (reach.records.unwrap(), rows.len() as u64);
    assert!((there / 3..=there * 3).contains(&guess), "{guess} of {there}");
}

#[test]
fn so_does_a_read_below_a_damaged_inner_page() {
    let disk: Arc<dyn Disk> = MemoryDisk::new(2);
    let store = Store::create(Arc::clone(&disk), &options()).unwrap();
    let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
    let tree = txn.tree("t", true).unwrap().unwrap();
    // Long keys: inner pages hold few children, so that there are some below the root.
    for i in 0..ROWS {
        txn.put(tree, &[&key(i)[..], &[7; 900]].concat(), b"v").unwrap();
    }
    txn.commit().unwrap();
    for _ in 0..3 {
        store.shared().core.log.rotate().unwrap();
        store.checkpoint().unwrap();
    }
    store.close().unwrap();
    let page =
        spoil(&disk, |page| page.kind() == Kind::Inner && page.level() == 1 && page.right().0 > 0);
    let store = Store::open(disk, &options()).unwrap();
    let mut txn = store.begin(Isolation::RepeatableRead, true).unwrap();
    let tree = txn.tree("t", false).unwrap().unwrap();
    let long = |i: u64| [&key(i)[..], &[7; 900]].concat();
    let errors: Vec<Option<Error>> = (0..ROWS).map(|i| txn.get(tree, &long(i)).err()).collect();
    let error = errors.iter().flatten().next().unwrap();
    assert_eq!(error.field("page_id"), Some(&Field::from(page.0)));
    let bounds = error.key_bounds.clone().unwrap();
    for (i, error) in errors.iter().enumerate() {
        let long = long(i as u64);
        let is_within = bounds.low.as_ref().is_none_or(|low| &long >= low)
            && bounds.high.as_ref().is_none_or(|high| &long < high);
        assert_eq!(is_within, error.is_some(), "row {i}");
    }
    let reached = reach_of(&store.shared().core, &[page]);
    assert_eq!(reached.first().unwrap().1.bounds, *bounds);
}

#[test]
fn damage_in_a_long_value_is_told_of_its_key_alone() {
    let disk = filled();
    let page = spoil(&disk, |page| page.kind() == Kind::Overflow);
    let store = Store::open(disk, &options()).unwrap();
    let (bounds, rows) = assert_told(&store, page);
    assert_eq!((rows, bounds), (vec![LONG], KeyBounds::only(&key(LONG))));
    assert_eq!(reach_of(&store.shared().core, &[page]), vec![], "no page leads to it");
    // The read knew the record, and whoever tells of the page is told.
    let shared = store.shared();
    let told = shared.events.drain(100).0;
    let place = |kind: &str| told.iter().position(|event| event.kind == kind).unwrap();
    assert!(place("page_set_apart") < place("page_placed"), "{told:?}");
    let known = Repairs::of(shared).unwrap().reach_of(shared, &[page]);
    let (tree, reach) = known.first().unwrap();
    assert_eq!((tree.as_str(), reach.page, reach.records), ("t", page, Some(1)));
    assert_eq!(reach.bounds, KeyBounds::only(&key(LONG)));
}

#[test]
fn a_scan_that_meets_damage_tells_the_same_keys_from_either_end() {
    let disk = filled();
    let page = spoil(&disk, |page| page.kind() == Kind::Leaf && page.low_fence() > &key(500)[..]);
    let store = Store::open(disk, &options()).unwrap();
    let (bounds, _) = assert_told(&store, page);
    for reverse in [false, true] {
        let mut txn = store.begin(Isolation::RepeatableRead, true).unwrap();
        let tree = txn.tree("t", false).unwrap().unwrap();
        let range = crate::txn::Range { reverse, ..Default::default() };
        let mut from = None;
        let error = loop {
            match txn.scan(tree, &range, from.as_deref(), 100) {
                Ok(batch) => from = Some(batch.next.unwrap()),
                Err(error) => break error,
            }
        };
        assert_eq!(*error.key_bounds.unwrap(), bounds);
    }
}

#[test]
fn ranges_up_to_the_damage_and_from_its_end_on_are_read() {
    let disk = filled();
    spoil(&disk, |page| page.kind() == Kind::Leaf && page.low_fence() > &key(500)[..]);
    let store = Store::open(disk, &options()).unwrap();
    let (error, rows) = lost(&store);
    let bounds = *error.key_bounds.unwrap();
    let mut read = 0;
    for reverse in [false, true] {
        for (start, stop) in [(None, bounds.low.clone()), (bounds.high.clone(), None)] {
            let range =
                crate::txn::Range { start: start.unwrap_or_default(), stop, reverse, keys_only: true };
            let mut txn = store.begin(Isolation::RepeatableRead, true).unwrap();
            let tree = txn.tree("t", false).unwrap().unwrap();
            let mut from = None;
            loop {
                let batch = txn.scan(tree, &range, from.as_deref(), 1000).unwrap();
                read += batch.records.len();
                from = batch.next;
                if from.is_none() {
                    break;
                }
            }
        }
    }
    assert_eq!(read, 2 * (ROWS as usize - rows.len()));
}
