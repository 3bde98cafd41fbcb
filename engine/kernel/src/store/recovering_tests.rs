//! Recoveries on an overlay: the originals stay what they were until all is done.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::tests::{key, options, tree};
use super::*;
use crate::control::Control;
use crate::disk::File;
use crate::disk::memory::MemoryDisk;
use crate::disk::overlay;
use crate::types::Incarnation;

const COMMITTED: u64 = 600;

/// A crashed database: everything on it is certain, a transaction is unfinished.
fn crashed(seed: u64) -> BTreeMap<String, Vec<u8>> {
    let disk = MemoryDisk::new(seed);
    let store = Store::create(Arc::clone(&disk) as Arc<dyn Disk>, &options()).unwrap();
    let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
    let at = tree(&mut txn, "t");
    for i in 0..COMMITTED {
        txn.put(at, &key(i), &[i as u8; 100]).unwrap();
    }
    txn.commit().unwrap();
    let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
    for i in 0..COMMITTED {
        txn.put(at, &key(i), &[0xEE; 120]).unwrap();
    }
    store.flush().unwrap();
    disk.kill();
    std::mem::forget(txn);
    drop(store);
    disk.reopen().snapshot()
}

fn assert_whole(store: &Store) {
    let mut txn = store.begin(Isolation::RepeatableRead, true).unwrap();
    let at = txn.tree("t", false).unwrap().unwrap();
    assert_eq!(txn.count(at).unwrap(), COMMITTED);
    for i in 0..COMMITTED {
        assert_eq!(txn.get(at, &key(i)).unwrap(), Some(vec![i as u8; 100]));
    }
    drop(txn);
    let report = store.check(false, &Progress::default()).unwrap();
    assert!(report.ok, "{:?}", report.problems);
}

fn recover(disk: &Arc<MemoryDisk>, progress: &Progress) -> Result<Store> {
    let disk = Arc::clone(disk) as Arc<dyn Disk>;
    Store::open_recovering_on(disk, &options(), Ground::Overlay, progress)
}

#[test]
fn a_recovery_on_an_overlay_is_installed_whole() {
    let disk = MemoryDisk::from_snapshot(1, &crashed(1));
    let store = recover(&disk, &Progress::default()).unwrap();
    assert_whole(&store);
    assert!(!overlay::is_left(&*disk).unwrap());
    store.close().unwrap();
    assert_whole(&Store::open(disk, &options()).unwrap());
}

#[test]
fn an_abandoned_recovery_leaves_every_byte_as_it_was() {
    let before = crashed(2);
    for steps in 0..5 {
        let disk = MemoryDisk::from_snapshot(2, &before);
        let base = Arc::clone(&disk) as Arc<dyn Disk>;
        let mut recovering = Recovering::begin(base, &options(), Ground::Overlay).unwrap();
        let progress = Progress::default();
        let works: [&dyn Fn(&mut Recovering); 5] = [
            &|r| r.opening.validate_log(&progress).map(|_| ()).unwrap(),
            &|r| r.restore_doublewrite(&progress).map(|_| ()).unwrap(),
            &|r| r.opening.analyse(&progress).map(|_| ()).unwrap(),
            &|r| r.opening.redo(&progress).map(|_| ()).unwrap(),
            &|r| r.opening.undo(&progress).map(|_| ()).unwrap(),
        ];
        works[..=steps].iter().for_each(|work| work(&mut recovering));
        recovering.abandon().unwrap();
        assert_eq!(disk.snapshot(), before, "after {} steps", steps + 1);
    }
}

#[test]
fn a_cancelled_recovery_leaves_every_byte_as_it_was() {
    let before = crashed(3);
    let disk = MemoryDisk::from_snapshot(3, &before);
    let progress = Progress::default();
    progress.cancel();
    assert_eq!(recover(&disk, &progress).err().unwrap().code, Code::Cancelled);
    assert_eq!(disk.snapshot(), before);
    assert_whole(&recover(&disk, &Progress::default()).unwrap());
}

#[test]
fn a_rehearsal_does_everything_and_changes_nothing() {
    let before = crashed(4);
    let disk = MemoryDisk::from_snapshot(4, &before);
    let store = MemoryDisk::new(5);
    let base = Arc::clone(&disk) as Arc<dyn Disk>;
    let ground = Ground::Rehearsal(Arc::clone(&store) as Arc<dyn Disk>);
    let mut rehearsal = Recovering::begin(base, &options(), ground).unwrap();
    rehearsal.run(&Progress::default()).unwrap();
    assert!(rehearsal.overlay_bytes() > 0);
    assert!(rehearsal.rehearsed(&Progress::default()).unwrap() > 0);
    assert_eq!(disk.snapshot(), before);
    assert!(store.snapshot().is_empty());
}

#[test]
fn a_crash_at_any_step_of_a_recovery_on_an_overlay_leaves_the_originals_or_the_outcome() {
    let before = crashed(6);
    let mut outcomes = [0, 0];
    for nth in (1..).step_by(7) {
        let disk = MemoryDisk::from_snapshot(nth, &before);
        disk.crash_after(nth);
        let recovered = recover(&disk, &Progress::default());
        let was_struck = disk.is_dead();
        let is_done = recovered.is_ok();
        drop(recovered);
        let disk = disk.reopen();
        overlay::settle(&*disk).unwrap();
        let is_untouched = disk.snapshot() == before;
        // Afterwards the installed database is opened like any other, and may crash like any.
        let is_installed = Control::read(&*disk).unwrap().incarnation > Incarnation(1);
        assert!(is_untouched != is_installed, "crash at {nth}");
        assert!(is_installed || !is_done, "crash at {nth}");
        outcomes[usize::from(is_untouched)] += 1;
        // Again, and with a crash in the retry as well.
        disk.crash_after(nth / 2 + 1);
        let again = recover(&disk, &Progress::default());
        drop(again);
        assert_whole(&recover(&disk.reopen(), &Progress::default()).unwrap());
        if !was_struck {
            break;
        }
    }
    assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
}

#[test]
fn a_full_disk_leaves_every_byte_as_it_was_and_the_next_attempt_succeeds() {
    let before = crashed(7);
    let used: usize = before.values().map(Vec::len).sum();
    let mut refused = 0;
    for room in (0..2_000_000).step_by(40_000) {
        let disk = MemoryDisk::from_snapshot(7, &before);
        disk.set_capacity(Some((used + room) as u64));
        match recover(&disk, &Progress::default()) {
            Ok(store) => assert_whole(&store),
            Err(error) => {
                refused += 1;
                assert!(matches!(error.code, Code::DiskFull | Code::StoreFailed), "{error}");
                disk.set_capacity(None);
                // Where it had been decided, the rest is done by the next open.
                assert!(overlay::is_left(&*disk).unwrap() || disk.snapshot() == before);
                assert_whole(&recover(&disk, &Progress::default()).unwrap());
            }
        }
    }
    assert!(refused > 0);
}

/// A disk that asks a recovery to stop when the first original is opened to be written to, which is
/// after the decision: until then all that is written goes beside them.
struct StopsAtOriginals {
    inner: Arc<MemoryDisk>,
    progress: Arc<Progress>,
}

impl Disk for StopsAtOriginals {
    fn open(&self, path: &str, mode: OpenMode) -> Result<Arc<dyn File>> {
        if mode != OpenMode::Read && !path.starts_with("recovery.") {
            self.progress.cancel();
        }
        self.inner.open(path, mode)
    }
    fn remove(&self, path: &str) -> Result<()> {
        self.inner.remove(path)
    }
    fn list(&self, folder: &str) -> Result<Vec<String>> {
        self.inner.list(folder)
    }
    fn sync_dir(&self, folder: &str) -> Result<()> {
        self.inner.sync_dir(folder)
    }
    fn free_bytes(&self) -> Result<u64> {
        self.inner.free_bytes()
    }
}

#[test]
fn a_recovery_stopped_while_it_is_installed_answers_and_the_next_open_does_the_rest() {
    let inner = MemoryDisk::from_snapshot(8, &crashed(8));
    let progress = Progress::new();
    let disk = Arc::new(StopsAtOriginals { inner: Arc::clone(&inner), progress: Arc::clone(&progress) });
    let mut recovering = Recovering::begin(disk, &options(), Ground::Overlay).unwrap();
    recovering.run(&progress).unwrap();
    let stopped = recovering.finish(&progress).err().unwrap();
    assert_eq!(stopped.error.code, Code::Cancelled);
    assert!(stopped.is_decided && stopped.rollback.is_ok());
    assert!(overlay::is_left(&*inner).unwrap());
    assert_eq!(overlay::settle(&*inner).unwrap(), overlay::Settled::Installed);
    assert_whole(&Store::open(inner, &options()).unwrap());
}
