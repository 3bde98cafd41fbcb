#![allow(clippy::unwrap_used)]

use super::*;
use crate::disk::memory::MemoryDisk;
use crate::txn::{Range, TreeRef};

pub(super) fn options() -> StoreOptions {
    let mut options = StoreOptions {
        background: false,
        database: Some(DatabaseId([7; 16])),
        ..StoreOptions::default()
    };
    options.page_size = 4096;
    options.opening.cache_bytes = 64 * 4096;
    options.opening.log.segment_bytes = 1 << 20;
    options.opening.log.buffer_bytes = 256 << 10;
    options.opening.log.background = false;
    options
}

pub(super) fn tree(txn: &mut Transaction, name: &str) -> TreeRef {
    txn.tree(name, true).unwrap().unwrap()
}

pub(super) fn key(i: u64) -> Vec<u8> {
    format!("key{:08}", i.wrapping_mul(2_654_435_761) % 100_000_000).into_bytes()
}

pub(super) fn all(txn: &mut Transaction, at: TreeRef, reverse: bool) -> Vec<(Vec<u8>, Vec<u8>)> {
    try_all(txn, at, reverse).unwrap()
}

/// As [`all`], for a store that may be closed meanwhile.
pub(super) fn try_all(
    txn: &mut Transaction,
    at: TreeRef,
    reverse: bool,
) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let range = Range { reverse, ..Range::default() };
    let mut rows = Vec::new();
    let mut from: Option<Vec<u8>> = None;
    loop {
        let batch = txn.scan(at, &range, from.as_deref(), 37)?;
        rows.extend(batch.records);
        match batch.next {
            Some(next) => from = Some(next),
            None => return Ok(rows),
        }
    }
}

#[test]
fn what_was_put_is_read_back_after_a_clean_close() {
    let disk: Arc<dyn Disk> = MemoryDisk::new(1);
    let store = Store::create(Arc::clone(&disk), &options()).unwrap();
    let mut txn = store.begin(Isolation::RepeatableRead, false).unwrap();
    let at = tree(&mut txn, "t");
    for i in 0..5000 {
        txn.put(at, &key(i), format!("value {i}").as_bytes()).unwrap();
    }
    for i in (0..5000).step_by(3) {
        assert!(txn.delete(at, &key(i)).unwrap());
    }
    let long = vec![42u8; 50_000];
    txn.put(at, b"long", &long).unwrap();
    txn.commit().unwrap();
    assert_eq!(store.close().unwrap(), 0);
    drop(store);
    let store = Store::open(Arc::clone(&disk), &options()).unwrap();
    let mut txn = store.begin(Isolation::RepeatableRead, false).unwrap();
    let at = tree(&mut txn, "t");
    for i in 0..5000 {
        let expected = (i % 3 != 0).then(|| format!("value {i}").into_bytes());
        assert_eq!(txn.get(at, &key(i)).unwrap(), expected, "{i}");
    }
    assert_eq!(txn.get(at, b"long").unwrap().as_deref(), Some(long.as_slice()));
    assert_eq!(txn.count(at).unwrap(), 3334 - 1 + 1);
    let forward = all(&mut txn, at, false);
    assert_eq!(forward.len() as u64, txn.count(at).unwrap());
    assert!(forward.windows(2).all(|w| w[0].0 < w[1].0));
    let mut backward = all(&mut txn, at, true);
    backward.reverse();
    assert_eq!(forward, backward);
}

#[test]
fn an_abort_leaves_nothing_behind() {
    let disk: Arc<dyn Disk> = MemoryDisk::new(2);
    let store = Store::create(disk, &options()).unwrap();
    let mut txn = store.begin(Isolation::RepeatableRead, false).unwrap();
    let at = tree(&mut txn, "t");
    for i in 0..1000 {
        txn.put(at, &key(i), b"before").unwrap();
    }
    txn.commit().unwrap();
    let used = store.shared().core.space.used_pages();
    let mut txn = store.begin(Isolation::RepeatableRead, false).unwrap();
    for i in 0..3000 {
        txn.put(at, &key(i), &[1; 200]).unwrap();
    }
    txn.savepoint("s").unwrap();
    for i in 0..500 {
        txn.delete(at, &key(i)).unwrap();
    }
    txn.put(at, b"long", &vec![1; 100_000]).unwrap();
    txn.rollback_to("s").unwrap();
    assert_eq!(txn.count(at).unwrap(), 3000);
    let other = tree(&mut txn, "other");
    txn.put(other, b"a", b"b").unwrap();
    txn.abort().unwrap();
    let mut txn = store.begin(Isolation::RepeatableRead, false).unwrap();
    assert!(txn.tree("other", false).unwrap().is_none());
    let rows = all(&mut txn, at, false);
    assert_eq!(rows.len(), 1000);
    assert!(rows.iter().all(|(_, value)| value == b"before"));
    drop(txn);
    store.maintain().unwrap();
    assert!(store.shared().core.space.used_pages() >= used);
    store.close().unwrap();
}

#[test]
fn a_crash_keeps_what_was_committed_and_nothing_else() {
    let disk = MemoryDisk::new(3);
    let store = Store::create(Arc::clone(&disk) as Arc<dyn Disk>, &options()).unwrap();
    let mut txn = store.begin(Isolation::RepeatableRead, false).unwrap();
    let at = tree(&mut txn, "t");
    for i in 0..2000 {
        txn.put(at, &key(i), &[i as u8; 100]).unwrap();
    }
    txn.commit().unwrap();
    store.maintain().unwrap();
    let mut txn = store.begin(Isolation::RepeatableRead, false).unwrap();
    for i in 0..2000 {
        txn.put(at, &key(i), &[0xEE; 120]).unwrap();
    }
    store.flush().unwrap();
    disk.crash(99);
    std::mem::forget(txn);
    drop(store);
    let life: Arc<dyn Disk> = disk.reopen();
    let store = Store::open_recovering(life, &options(), &Progress::default()).unwrap();
    let mut txn = store.begin(Isolation::RepeatableRead, false).unwrap();
    assert_eq!(txn.count(at).unwrap(), 2000);
    for i in 0..2000 {
        assert_eq!(txn.get(at, &key(i)).unwrap(), Some(vec![i as u8; 100]));
    }
}

#[test]
fn a_tree_filled_in_bulk_reads_like_any_other_and_survives_a_crash() {
    let disk = MemoryDisk::new(4);
    let store = Store::create(Arc::clone(&disk) as Arc<dyn Disk>, &options()).unwrap();
    let fill = |store: &Store, name: &str, commit: bool| {
        let mut txn = store.begin(Isolation::RepeatableRead, false).unwrap();
        let at = tree(&mut txn, name);
        let mut i = 0u64;
        let mut next = || {
            i += 1;
            let value = if i.is_multiple_of(500) { vec![1; 9000] } else { vec![2; 90] };
            Ok((i <= 5000).then(|| (format!("key{i:08}").into_bytes(), value)))
        };
        assert_eq!(txn.fill(at, &mut next).unwrap(), 5000);
        txn.put(at, b"key00000001x", b"after").unwrap();
        if commit { txn.commit().map(|_| ()) } else { txn.abort() }.unwrap();
        at
    };
    let used = store.shared().core.space.used_pages();
    fill(&store, "dropped", false);
    store.maintain().unwrap();
    assert_eq!(store.shared().core.space.used_pages(), used);
    let at = fill(&store, "kept", true);
    store.maintain().unwrap();
    disk.crash(5);
    drop(store);
    let store = Store::open_recovering(disk.reopen(), &options(), &Progress::default()).unwrap();
    let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
    assert_eq!(txn.count(at).unwrap(), 5001);
    let rows = all(&mut txn, at, false);
    assert_eq!(rows.len(), 5001);
    assert_eq!(rows.iter().filter(|(_, value)| value.len() == 9000).count(), 10);
}

#[test]
fn a_tree_filled_in_bulk_keeps_room_for_fences_of_any_length() {
    let store = Store::create(MemoryDisk::new(7), &options()).unwrap();
    // Neighbours differ in length only, so that a fence is as long as the longer of the two.
    let key = |i: usize| format!("{:04}{}", i / 7, "y".repeat(i * 131 % 500)).into_bytes();
    let keys: std::collections::BTreeSet<Vec<u8>> = (0..6000).map(key).collect();
    let mut txn = store.begin(Isolation::RepeatableRead, false).unwrap();
    let at = tree(&mut txn, "t");
    let mut rest = keys.iter();
    let mut next = || Ok(rest.next().map(|key| (key.clone(), vec![3; 20])));
    assert_eq!(txn.fill(at, &mut next).unwrap(), keys.len() as u64);
    txn.commit().unwrap();
    let mut txn = store.begin(Isolation::RepeatableRead, true).unwrap();
    let found: Vec<Vec<u8>> = all(&mut txn, at, false).into_iter().map(|(key, _)| key).collect();
    assert!(found.iter().eq(keys.iter()));
    drop(txn);
    assert!(store.check(true, &Progress::default()).unwrap().ok);
}

#[test]
fn pages_of_deleted_records_are_given_back() {
    let store = Store::create(MemoryDisk::new(6), &options()).unwrap();
    let mut txn = store.begin(Isolation::RepeatableRead, false).unwrap();
    let at = tree(&mut txn, "t");
    for i in 0..5000 {
        txn.put(at, &key(i), &[3; 100]).unwrap();
    }
    txn.commit().unwrap();
    let full = store.shared().core.space.used_pages();
    let mut txn = store.begin(Isolation::RepeatableRead, false).unwrap();
    for (key, _) in all(&mut txn, at, false) {
        assert!(txn.delete(at, &key).unwrap());
    }
    txn.commit().unwrap();
    store.maintain().unwrap();
    let left = store.shared().core.space.used_pages();
    assert!(left * 4 < full, "{left} of {full} pages are left");
    let mut txn = store.begin(Isolation::RepeatableRead, false).unwrap();
    assert!(all(&mut txn, at, false).is_empty() && all(&mut txn, at, true).is_empty());
    for i in 0..5000 {
        txn.put(at, &key(i), &[3; 100]).unwrap();
    }
    assert_eq!(all(&mut txn, at, true).len(), 5000);
}

#[test]
fn a_file_that_grew_past_a_map_not_yet_written_opens_and_grows_on() {
    let disk: Arc<dyn Disk> = MemoryDisk::new(9);
    Store::create(Arc::clone(&disk), &options()).unwrap().close().unwrap();
    let pages = u64::from(crate::space::GROUP) + 3;
    disk.open("database.holdfast", crate::disk::OpenMode::Write)
        .unwrap()
        .allocate(pages * 4096)
        .unwrap();
    let store = Store::open(Arc::clone(&disk), &options()).unwrap();
    let mut txn = store.begin(Isolation::RepeatableRead, false).unwrap();
    let at = tree(&mut txn, "t");
    txn.put(at, b"k", b"v").unwrap();
    txn.commit().unwrap();
    assert_eq!(store.close().unwrap(), 0);
}

#[test]
fn a_loser_in_a_tree_with_a_long_description_is_undone_after_a_crash() {
    let disk = MemoryDisk::new(10);
    let store = Store::create(disk.clone(), &options()).unwrap();
    let mut txn = store.begin(Isolation::RepeatableRead, false).unwrap();
    let kind = crate::txn::CatalogueKind::Tree;
    let at = txn.create_tree(kind, "wide", &[b'x'; 3000]).unwrap();
    txn.put(at, b"k", b"committed").unwrap();
    txn.commit().unwrap();
    let mut txn = store.begin(Isolation::RepeatableRead, false).unwrap();
    txn.put(at, b"k", b"lost").unwrap();
    store.flush().unwrap();
    disk.crash(3);
    let store = Store::open_recovering(disk.reopen(), &options(), &Progress::default()).unwrap();
    let mut txn = store.begin(Isolation::RepeatableRead, false).unwrap();
    assert_eq!(txn.get(at, b"k").unwrap().as_deref(), Some(&b"committed"[..]));
    drop(txn);
    assert_eq!(store.check(false, &Progress::default()).unwrap().problems, []);
}

#[test]
fn pages_that_a_loser_took_beyond_the_end_of_the_file_are_given_back() {
    let mut went_beyond = false;
    for records in (700..900).step_by(20) {
        let disk = MemoryDisk::new(11);
        let store = Store::create(disk.clone(), &options()).unwrap();
        let mut txn = store.begin(Isolation::RepeatableRead, false).unwrap();
        let at = txn.create_tree(crate::txn::CatalogueKind::Tree, "bulk", &[]).unwrap();
        let mut keys = 0..records;
        let mut next = || Ok(keys.next().map(|i: u32| (i.to_be_bytes().to_vec(), vec![5; 900])));
        txn.fill(at, &mut next).unwrap();
        store.flush().unwrap();
        let (used, pages) =
            (store.shared().core.space.used_pages(), store.shared().core.pool.file_pages());
        went_beyond |= used > u64::from(pages);
        disk.kill();
        let store = Store::open_recovering(disk.reopen(), &options(), &Progress::default()).unwrap();
        store.maintain().unwrap();
        assert_eq!(store.check(false, &Progress::default()).unwrap().problems, []);
    }
    assert!(went_beyond);
}
