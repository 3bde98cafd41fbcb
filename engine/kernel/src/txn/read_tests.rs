#![allow(clippy::unwrap_used)]

use super::Isolation;
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
