#![allow(clippy::unwrap_used)]

use super::*;
use crate::backup::increment_tests::contents;
use crate::backup::tests::{
    ACCOUNTS, START, WRITERS, assert_as_committed_before, assert_sound, bank, begin, options, total,
    transfer, while_writers_transfer,
};
use crate::disk::Disk;
use crate::disk::memory::MemoryDisk;
use crate::recovery::{DATA_PATH, Progress};
use crate::store::{Ground, Store, StoreOptions};
use crate::sync::Arc;
use crate::txn::Isolation;

pub(super) fn opened(base: &Arc<dyn Disk>, background: bool) -> (Store, Arc<Chain>) {
    let (disk, chain) = KeepingDisk::over(Arc::clone(base)).unwrap();
    chain.leave_spare(0);
    let store = Store::open_recovering(disk, &options(background), &Progress::default()).unwrap();
    chain.attend(&store.shared().events);
    (store, chain)
}

pub(super) fn taken(store: &Store, chain: &Arc<Chain>, name: &str) -> Snapshot {
    let wanted = Wanted { name: name.to_owned(), is_scheduled: false };
    take(store, chain, &wanted, &Progress::default()).unwrap()
}

/// An open snapshot.
pub(super) struct Seen {
    store: Store,
    _reader: Reader,
}

impl std::ops::Deref for Seen {
    type Target = Store;
    fn deref(&self) -> &Store {
        &self.store
    }
}

/// The snapshot as a store; the database stays in use.
pub(super) fn seen(chain: &Arc<Chain>, name: &str) -> crate::error::Result<Seen> {
    let scratch: Arc<dyn Disk> = MemoryDisk::new(9);
    let (store, reader) = look(chain, name, &scratch, &options(false), &Progress::default())?;
    Ok(Seen { store, _reader: reader })
}

pub(super) fn work(store: &Store, tree: crate::txn::TreeRef, from: u64, steps: u64) {
    for step in from..from + steps {
        transfer(store, tree, step % WRITERS, step);
        if step % 40 == 0 {
            store.maintain().unwrap();
        }
    }
}

/// A bank on a disk that keeps pages.
pub(super) fn kept_bank(
    base: &Arc<dyn Disk>,
    background: bool,
) -> (Store, Arc<Chain>, crate::txn::TreeRef) {
    let (disk, chain) = KeepingDisk::over(Arc::clone(base)).unwrap();
    chain.leave_spare(0);
    let (store, tree) = bank(disk, background);
    chain.attend(&store.shared().events);
    (store, chain, tree)
}

#[test]
fn a_snapshot_is_what_was_committed_at_its_moment_while_writers_go_on() {
    let base: Arc<dyn Disk> = MemoryDisk::new(1);
    let (store, chain, tree) = kept_bank(&base, true);
    let commits = while_writers_transfer(&store, tree, 1500, || {
        for round in 0..6 {
            taken(&store, &chain, &format!("round {round}"));
        }
    });
    for snapshot in chain.snapshots() {
        let seen = seen(&chain, &snapshot.moment.name).unwrap();
        assert_sound(&seen);
        assert_eq!(total(&seen, tree), ACCOUNTS * START);
        let mut txn = seen.begin(Isolation::ReadCommitted, true).unwrap();
        let (end, name) = (snapshot.moment.end_lsn, &snapshot.moment.name);
        assert_as_committed_before(&mut txn, tree, &commits, end, name);
    }
}

#[test]
fn each_of_several_snapshots_keeps_its_own_moment_whichever_is_dropped() {
    let memory = MemoryDisk::new(2);
    let base: Arc<dyn Disk> = memory.clone();
    let (store, chain, tree) = kept_bank(&base, false);
    let mut known = Vec::new();
    for round in 0..4u64 {
        work(&store, tree, round * 100, 100);
        known.push((format!("s{round}"), contents(&store)));
        taken(&store, &chain, &format!("s{round}"));
    }
    work(&store, tree, 400, 100);
    store.checkpoint().unwrap();
    let holds = |chain: &Arc<Chain>, dropped: &[&str]| {
        let left: Vec<_> = known.iter().filter(|(name, _)| !dropped.contains(&name.as_str())).collect();
        assert_eq!(chain.snapshots().len(), left.len());
        for (name, then) in left {
            let seen = seen(chain, name).unwrap();
            assert!(contents(&seen) == *then, "{name}");
            assert_sound(&seen);
        }
    };
    holds(&chain, &[]);
    chain.drop_named("s1").unwrap();
    holds(&chain, &["s1"]);
    store.close().unwrap();
    drop(store);
    let (store, chain) = opened(&base, false);
    work(&store, tree, 500, 60);
    holds(&chain, &["s1"]);
    chain.drop_named("s0").unwrap();
    holds(&chain, &["s1", "s0"]);
    assert!(
        !memory
            .snapshot()
            .keys()
            .any(|path| path.contains("00000001")
                || path.contains("00000002.") && path.starts_with(FOLDER))
    );
    chain.drop_named("s2").unwrap();
    chain.drop_named("s3").unwrap();
    assert!(!memory.snapshot().keys().any(|path| path.starts_with(FOLDER)));
    assert_eq!(chain.drop_named("s3").unwrap_err().code, Code::SnapshotNotFound);
}

#[test]
fn what_was_not_committed_at_the_moment_is_not_in_it() {
    let base: Arc<dyn Disk> = MemoryDisk::new(3);
    let (store, chain, tree) = kept_bank(&base, false);
    let then = contents(&store);
    let mut txn = begin(&store);
    txn.put(tree, b"unfinished", &[1; 3000]).unwrap();
    taken(&store, &chain, "before");
    txn.commit().unwrap();
    let seen = seen(&chain, "before").unwrap();
    assert!(contents(&seen) == then);
    assert_sound(&seen);
}

#[test]
fn a_recovery_keeps_the_pages_that_it_overwrites() {
    for is_in_place in [true, false] {
        let memory = MemoryDisk::new(4);
        let base: Arc<dyn Disk> = memory.clone();
        let (store, chain, tree) = kept_bank(&base, false);
        let then = contents(&store);
        taken(&store, &chain, "then");
        work(&store, tree, 1, 150);
        let now = contents(&store);
        memory.crash(5);
        drop((store, chain));
        let base: Arc<dyn Disk> = memory.reopen();
        let (disk, chain) = KeepingDisk::over(Arc::clone(&base)).unwrap();
        chain.leave_spare(0);
        let ground = if is_in_place { Ground::InPlace } else { Ground::Overlay };
        let store =
            Store::open_recovering_on(disk, &options(false), ground, &Progress::default()).unwrap();
        assert!(contents(&store) == now);
        let seen = seen(&chain, "then").unwrap();
        assert!(contents(&seen) == then, "in place: {is_in_place}");
        assert_sound(&seen);
    }
}

#[test]
fn a_snapshot_becomes_a_database_of_its_own_that_opens_without_recovery() {
    let base: Arc<dyn Disk> = MemoryDisk::new(6);
    let (store, chain, tree) = kept_bank(&base, false);
    work(&store, tree, 1, 50);
    let then = contents(&store);
    taken(&store, &chain, "then");
    work(&store, tree, 51, 50);
    let seen = seen(&chain, "then").unwrap();
    let target = MemoryDisk::new(7);
    restore(&seen, &*target, &Progress::default()).unwrap();
    let plain: StoreOptions = options(false);
    let restored = Store::open(target.clone(), &plain).unwrap();
    assert!(contents(&restored) == then);
    assert_sound(&restored);
    work(&restored, tree, 51, 30);
    restored.close().unwrap();
    assert!(contents(&store) != then);
}

#[test]
fn a_restore_that_fails_leaves_nothing_behind() {
    let base: Arc<dyn Disk> = MemoryDisk::new(6);
    let (store, chain, _) = kept_bank(&base, false);
    taken(&store, &chain, "then");
    let seen = seen(&chain, "then").unwrap();
    let target = MemoryDisk::new(7);
    target.set_capacity(Some(100_000));
    let error = restore(&seen, &*target, &Progress::default()).unwrap_err();
    assert_eq!(error.code, Code::DiskFull);
    assert!(target.snapshot().is_empty());
}

#[test]
fn pages_are_kept_once_and_compressed() {
    let base: Arc<dyn Disk> = MemoryDisk::new(8);
    let (store, chain, tree) = kept_bank(&base, false);
    taken(&store, &chain, "then");
    let grown = |steps: u64| {
        work(&store, tree, 1, steps);
        store.checkpoint().unwrap();
        let now = chain.snapshots().pop().unwrap();
        (now.pages, now.bytes)
    };
    let (pages, bytes) = grown(200);
    assert!(pages > 20, "{pages}");
    assert!(bytes * 2 < pages * 4096, "{bytes} bytes for {pages} pages");
    let data_pages = base.open(DATA_PATH, crate::disk::OpenMode::Read).unwrap().size().unwrap() / 4096;
    assert!(grown(400).0 <= data_pages);
}

#[test]
fn names_are_given_once_and_are_plain() {
    let base: Arc<dyn Disk> = MemoryDisk::new(9);
    let (store, chain, _) = kept_bank(&base, false);
    taken(&store, &chain, "then");
    for name in ["then", "", "  ", "two\nlines", &"x".repeat(101)] {
        let wanted = Wanted { name: name.to_owned(), is_scheduled: false };
        let error = take(&store, &chain, &wanted, &Progress::default()).unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument, "{name:?}");
    }
    assert_eq!(chain.snapshots().len(), 1);
}

#[test]
fn an_open_snapshot_is_read_to_the_end_though_it_was_dropped() {
    let base: Arc<dyn Disk> = MemoryDisk::new(10);
    let (store, chain, tree) = kept_bank(&base, false);
    let then = contents(&store);
    taken(&store, &chain, "then");
    let seen = seen(&chain, "then").unwrap();
    chain.drop_named("then").unwrap();
    assert!(chain.snapshots().is_empty());
    work(&store, tree, 1, 200);
    assert!(contents(&seen) == then);
    drop(seen);
    taken(&store, &chain, "later");
    assert_eq!(chain.snapshots().len(), 1);
    assert!(!base.list(FOLDER).unwrap().iter().any(|name| name.starts_with("00000001")));
}

#[test]
fn a_database_goes_back_and_forth_between_its_snapshots() {
    let base: Arc<dyn Disk> = MemoryDisk::new(11);
    let (store, chain, tree) = kept_bank(&base, false);
    work(&store, tree, 0, 60);
    let then = contents(&store);
    taken(&store, &chain, "then");
    work(&store, tree, 60, 120);
    let now = contents(&store);
    taken(&store, &chain, "now");
    drop((chain, store.close().unwrap(), store));
    for (name, wanted) in [("then", &then), ("now", &now), ("then", &then)] {
        let (disk, chain) = KeepingDisk::over(Arc::clone(&base)).unwrap();
        chain.leave_spare(0);
        revert(&disk, &chain, name, &options(false), &Progress::default()).unwrap();
        drop((disk, chain));
        let (store, chain) = opened(&base, false);
        assert!(contents(&store) == *wanted, "{name}");
        for (name, wanted) in [("then", &then), ("now", &now)] {
            assert!(contents(&seen(&chain, name).unwrap()) == *wanted, "{name}");
        }
        work(&store, tree, 200, 40);
        store.close().unwrap();
    }
}

#[test]
fn a_database_that_was_not_closed_does_not_go_back() {
    let base: Arc<dyn Disk> = MemoryDisk::new(12);
    let (store, chain, _) = kept_bank(&base, false);
    taken(&store, &chain, "then");
    drop(store);
    let (disk, chain) = KeepingDisk::over(base).unwrap();
    let error = revert(&disk, &chain, "then", &options(false), &Progress::default()).unwrap_err();
    assert_eq!(error.code, Code::RecoveryNeeded);
}

#[test]
fn log_from_before_the_start_of_redo_is_not_kept() {
    let base: Arc<dyn Disk> = MemoryDisk::new(13);
    let (store, chain, tree) = kept_bank(&base, false);
    for number in 0..60u64 {
        // Nothing that could be compressed.
        let mut value = vec![0; 9000];
        blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut value);
        let mut txn = begin(&store);
        txn.put(tree, &number.to_le_bytes(), &value).unwrap();
        txn.commit().unwrap();
    }
    let log = store.shared().core.log.end();
    assert!(log.0 > 400_000, "{log}");
    let then = contents(&store);
    let snapshot = taken(&store, &chain, "then");
    assert!(snapshot.bytes < 140_000, "{} bytes", snapshot.bytes);
    assert!(contents(&seen(&chain, "then").unwrap()) == then);
}
