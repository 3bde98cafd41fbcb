//! Steps that are only tried: they do what those that wait do, or nothing at all.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use super::{Isolation, Transaction};
use crate::disk::Disk;
use crate::disk::memory::MemoryDisk;
use crate::log::SyncMode;
use crate::store::{Store, StoreOptions};
use crate::types::DatabaseId;

fn store(sync_mode: SyncMode) -> (Arc<dyn Disk>, Store) {
    let mut options = StoreOptions {
        background: false,
        database: Some(DatabaseId([7; 16])),
        ..StoreOptions::default()
    };
    options.opening.cache_bytes = 64 * 8192;
    options.opening.log.background = false;
    options.opening.log.sync_mode = sync_mode;
    let disk: Arc<dyn Disk> = MemoryDisk::new(1);
    let store = Store::create(Arc::clone(&disk), &options).unwrap();
    let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
    let at = txn.tree("t", true).unwrap().unwrap();
    txn.put(at, b"a", b"1").unwrap();
    txn.commit().unwrap();
    (disk, store)
}

fn try_begin(store: &Store, isolation: Isolation) -> Transaction {
    store.shared().try_begin(isolation, false).unwrap()
}

#[test]
fn what_was_only_tried_is_committed_whole() {
    let (_, store) = store(SyncMode::Off);
    let mut txn = try_begin(&store, Isolation::RepeatableRead);
    let at = txn.try_tree("t").unwrap();
    assert!(!txn.try_put(at, b"b", b"2").unwrap().unwrap());
    assert!(txn.try_commit().is_some());
    assert_eq!(txn.status(), "committed");
    assert!(store.shared().locks.held(txn.id()).is_empty());
    assert!(store.shared().txns.active().is_empty());
    assert!(txn.try_commit().is_none(), "it has ended");
    let mut after = try_begin(&store, Isolation::RepeatableRead);
    assert_eq!(after.try_get(at, b"b").unwrap().unwrap(), Some(b"2".as_slice()));
    assert_eq!(after.count(at).unwrap(), 2);
}

/// A page of a small tree is changed for ever by changes that find nothing to wait for.
#[test]
fn a_leaf_whose_changes_are_only_tried_is_logged_in_full_as_often_as_any() {
    let (_, store) = store(SyncMode::Off);
    let every = store.shared().core.image_every;
    let mut most = 0;
    for number in 0..3 * u32::from(every) {
        let mut txn = try_begin(&store, Isolation::ReadCommitted);
        let at = txn.try_tree("t").unwrap();
        let value = number.to_le_bytes();
        match txn.try_put(at, b"a", &value) {
            Some(put) => drop(put.unwrap()),
            None => drop(txn.put(at, b"a", &value).unwrap()),
        }
        txn.commit().unwrap();
        let root = store.shared().core.pool.read(at.root).unwrap();
        most = most.max(root.changes_since_image());
    }
    assert_eq!(most, every - 1);
}

#[test]
fn a_commit_that_has_to_be_synced_is_not_only_tried() {
    let (_, store) = store(SyncMode::Durable);
    let mut reader = try_begin(&store, Isolation::RepeatableRead);
    let at = reader.try_tree("t").unwrap();
    assert!(reader.try_commit().is_some(), "nothing to sync");
    let mut writer = try_begin(&store, Isolation::RepeatableRead);
    writer.try_put(at, b"b", b"2").unwrap().unwrap();
    assert!(writer.try_commit().is_none());
    let lsn = writer.commit().unwrap();
    assert!(store.shared().core.log.durable() > lsn);
}

#[test]
fn a_commit_with_ranges_of_keys_is_not_only_tried() {
    let (_, store) = store(SyncMode::Off);
    let mut txn = try_begin(&store, Isolation::Serializable);
    let at = txn.tree("t", false).unwrap().unwrap();
    assert!(txn.try_get(at, b"a").is_none() && txn.try_put(at, b"a", b"2").is_none());
    txn.get(at, b"a").unwrap();
    assert!(store.shared().locks.ranges().is_watched(at.id));
    assert!(txn.try_commit().is_none());
    txn.commit().unwrap();
    assert!(!store.shared().locks.ranges().is_watched(at.id));
}

#[test]
fn where_a_table_is_in_use_nothing_is_begun_and_nothing_ended() {
    let (_, store) = store(SyncMode::Off);
    let shared = store.shared();
    let mut txn = try_begin(&store, Isolation::RepeatableRead);
    let at = txn.try_tree("t").unwrap();
    txn.try_put(at, b"b", b"2").unwrap().unwrap();
    let (id, end) = (txn.id(), shared.core.log.end());
    let registry = shared.locks.try_registry().unwrap();
    assert!(shared.try_begin(Isolation::RepeatableRead, false).is_none());
    assert!(txn.try_commit().is_none());
    drop(registry);
    let roll = shared.txns.try_roll().unwrap();
    assert!(shared.try_begin(Isolation::RepeatableRead, false).is_none());
    assert!(txn.try_commit().is_none());
    drop(roll);
    let counts = shared.logged_counts.lock();
    assert!(txn.try_commit().is_none());
    drop(counts);
    assert_eq!((shared.core.log.end(), txn.status()), (end, "active"));
    assert_eq!(shared.txns.active().len(), 1, "what was refused is in no table");
    assert!(shared.txns.is_active(id));
    assert!(txn.try_commit().is_some());
}

#[test]
fn a_transaction_that_the_store_ends_is_not_committed_beside_it() {
    let (_, store) = store(SyncMode::Off);
    let mut txn = try_begin(&store, Isolation::RepeatableRead);
    let at = txn.try_tree("t").unwrap();
    txn.try_put(at, b"b", b"2").unwrap().unwrap();
    assert!(txn.state().claim_end(), "as a close does");
    assert!(txn.try_commit().is_none());
    txn.state().unclaim_end();
    assert_eq!(store.close().unwrap(), 1);
    assert!(store.shared().try_begin(Isolation::RepeatableRead, false).is_none());
}

fn finds(store: &Store, name: &str) -> bool {
    let mut txn = try_begin(store, Isolation::ReadCommitted);
    let tried = txn.try_tree(name);
    let found = txn.tree(name, false).unwrap();
    assert!(tried.is_none() || tried == found, "what is known is what the catalogue tells");
    let finds = tried.is_some();
    txn.try_commit().unwrap();
    finds
}

#[test]
fn a_tree_that_is_known_is_what_the_catalogue_tells() {
    let (_, store) = store(SyncMode::Off);
    let known = |name: &str| store.shared().known_trees.get(name).is_some();
    assert!(!known("t") && finds(&store, "t") && known("t"));
    let mut old = store.begin(Isolation::RepeatableRead, true).unwrap();
    let mut maker = store.begin(Isolation::ReadCommitted, false).unwrap();
    let made = maker.tree("u", true).unwrap();
    assert!(!known("t") && maker.try_tree("u") == made && !known("u"), "it is not committed");
    maker.commit().unwrap();
    assert!(finds(&store, "u") && !known("u"), "a snapshot does not see it");
    assert!(old.try_tree("u").is_none() && old.tree("u", false).unwrap().is_none());
    old.commit().unwrap();
    assert!(finds(&store, "u") && known("u") && finds(&store, "t") && known("t"));

    let mut dropper = store.begin(Isolation::ReadCommitted, false).unwrap();
    dropper.drop_tree(super::CatalogueKind::Tree, "t").unwrap();
    assert!(!known("t"));
    dropper.abort().unwrap();
    assert!(finds(&store, "t") && known("t"), "the drop was taken back");
    let mut dropper = store.begin(Isolation::ReadCommitted, false).unwrap();
    dropper.drop_tree(super::CatalogueKind::Tree, "t").unwrap();
    dropper.commit().unwrap();
    assert!(!finds(&store, "t") && !known("t"));
    let mut maker = store.begin(Isolation::ReadCommitted, false).unwrap();
    let again = maker.tree("t", true).unwrap().unwrap();
    maker.commit().unwrap();
    assert!(finds(&store, "t"));
    assert_eq!(store.shared().known_trees.get("t").map(|(tree, _)| tree), Some(again));
}
