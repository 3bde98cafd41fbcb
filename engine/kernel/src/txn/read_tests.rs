#![allow(clippy::unwrap_used)]

use super::{Isolation, Range};
use crate::disk::memory::MemoryDisk;
use crate::store::{Store, StoreOptions};
use crate::tree::Waiting;

/// Found by the history checker: a reader that had begun to follow the log took a version that
/// the writer had itself replaced, because the writer had committed by then.
#[test]
fn a_read_under_way_when_its_writer_commits_shows_nothing_half_done() {
    let options = StoreOptions { background: false, ..StoreOptions::default() };
    let store = Store::create(MemoryDisk::new(1), &options).unwrap();
    let mut txn = store.begin(Isolation::RepeatableRead, false).unwrap();
    let at = txn.tree("t", true).unwrap().unwrap();
    txn.put(at, b"x", b"before").unwrap();
    txn.commit().unwrap();
    let mut writer = store.begin(Isolation::ReadCommitted, false).unwrap();
    writer.put(at, b"x", b"half done").unwrap();
    writer.put(at, b"x", b"done").unwrap();
    let mut reader = store.begin(Isolation::ReadCommitted, true).unwrap();
    let found = reader.find::<Waiting>(at, b"x").unwrap().unwrap();
    writer.commit().unwrap();
    let value = reader.settle(at, found, &mut None).unwrap().unwrap();
    assert_eq!(value.as_deref(), Some(&b"before"[..]));
    assert_eq!(reader.get(at, b"x").unwrap().as_deref(), Some(&b"done"[..]));
}

/// Once a batch held every long value of a leaf, some gigabytes where they were long enough.
#[test]
fn a_scan_holds_few_long_values_at_a_time_and_misses_none() {
    let options = StoreOptions { background: false, ..StoreOptions::default() };
    let store = Store::create(MemoryDisk::new(1), &options).unwrap();
    let mut txn = store.begin(Isolation::RepeatableRead, false).unwrap();
    let at = txn.tree("t", true).unwrap().unwrap();
    let long = |key: u8| vec![key; if key.is_multiple_of(5) { 10 } else { 700 << 10 }];
    (0..20).for_each(|key| assert!(!txn.put(at, &[key], &long(key)).unwrap()));
    txn.commit().unwrap();
    for isolation in [Isolation::ReadCommitted, Isolation::RepeatableRead, Isolation::Serializable] {
        for reverse in [false, true] {
            let mut txn = store.begin(isolation, false).unwrap();
            let range = Range { start: vec![1], stop: Some(vec![19]), reverse, ..Range::default() };
            let (mut found, mut from) = (Vec::new(), None);
            loop {
                let batch = txn.scan(at, &range, from.as_deref(), 100).unwrap();
                assert!(batch.records.size_bytes() < 2 << 20, "{}", batch.records.size_bytes());
                for (key, value) in &batch.records {
                    assert!(value == long(key[0]), "{key:?}");
                    found.push(key[0]);
                }
                match batch.next {
                    Some(next) => from = Some(next),
                    None => break,
                }
            }
            if reverse {
                found.reverse();
            }
            assert_eq!(found, (1..19).collect::<Vec<u8>>());
        }
    }
}
