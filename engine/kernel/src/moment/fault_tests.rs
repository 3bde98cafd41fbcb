#![allow(clippy::unwrap_used)]

use super::tests::{kept_bank, opened, seen, taken, work};
use super::*;
use crate::backup::increment_tests::{Contents, contents};
use crate::backup::tests::{assert_sound, options, transfer};
use crate::disk::faults::{Failure, Fault, FaultDisk};
use crate::disk::memory::MemoryDisk;
use crate::disk::{Disk, File, OpenMode};
use crate::error::Result;
use crate::recovery::Progress;
use crate::store::Store;
use crate::sync::{Arc, Mutex};

/// Two disks seen as one: the snapshots' folder lies on a disk of its own, which fails alone.
struct Split {
    database: Arc<dyn Disk>,
    snapshots: Arc<dyn Disk>,
}

impl Split {
    fn of(&self, path: &str) -> &dyn Disk {
        if path.starts_with(FOLDER) { &*self.snapshots } else { &*self.database }
    }
}

impl Disk for Split {
    fn open(&self, path: &str, mode: OpenMode) -> Result<Arc<dyn File>> {
        self.of(path).open(path, mode)
    }
    fn remove(&self, path: &str) -> Result<()> {
        self.of(path).remove(path)
    }
    fn list(&self, folder: &str) -> Result<Vec<String>> {
        self.of(folder).list(folder)
    }
    fn sync_dir(&self, folder: &str) -> Result<()> {
        self.of(folder).sync_dir(folder)
    }
    fn free_bytes(&self) -> Result<u64> {
        self.snapshots.free_bytes()
    }
}

/// Works, with three snapshots in between; answers the contents that each that was taken must have.
fn life(store: &Store, chain: &Arc<Chain>, tree: crate::txn::TreeRef) -> Vec<(String, Contents)> {
    let mut known = Vec::new();
    for round in 0..3u64 {
        work(store, tree, round * 30, 30);
        let wanted = Wanted { name: format!("s{round}"), is_scheduled: false };
        let then = contents(store);
        if take(store, chain, &wanted, &Progress::default()).is_ok() {
            known.push((wanted.name, then));
        }
    }
    work(store, tree, 90, 60);
    store.checkpoint().unwrap();
    known
}

pub(super) fn assert_as_known(chain: &Arc<Chain>, known: &[(String, Contents)], told: &str) -> usize {
    let snapshots = chain.snapshots();
    for snapshot in &snapshots {
        let name = &snapshot.moment.name;
        let seen = seen(chain, name).unwrap_or_else(|error| panic!("{told}: {name}: {error}"));
        let (_, then) = known.iter().find(|(known, _)| known == name).unwrap();
        assert!(contents(&seen) == *then, "{told}: {name}");
        assert_sound(&seen);
    }
    snapshots.len()
}

#[test]
fn a_snapshot_disk_that_fails_costs_snapshots_and_never_the_database() {
    for failure in [Failure::Device, Failure::Full] {
        let (mut struck, mut given_up) = (0, 0);
        for nth in (1..).step_by(7) {
            let failing = FaultDisk::over_memory(MemoryDisk::new(2));
            let base: Arc<dyn Disk> =
                Arc::new(Split { database: MemoryDisk::new(1), snapshots: failing.clone() });
            let (store, chain, tree) = kept_bank(&base, false);
            failing.fail(Fault { call: None, nth, for_good: false, failure });
            let known = life(&store, &chain, tree);
            let told = format!("{failure:?} at call {nth}");
            let is_struck = failing.struck() > 0;
            failing.heal();
            assert_as_known(&chain, &known, &told);
            let events = store.shared().events.drain(10_000).0;
            given_up += events.iter().filter(|event| event.kind == "snapshot_given_up").count();
            let now = contents(&store);
            store.close().unwrap();
            drop((store, chain));
            let (store, chain) = opened(&base, false);
            assert!(contents(&store) == now, "{told}");
            assert_as_known(&chain, &known, &told);
            struck += u32::from(is_struck);
            if !is_struck {
                break;
            }
        }
        assert!(struck > 5 && given_up > 0, "{failure:?}: {struck} {given_up}");
    }
}

#[test]
fn a_disk_that_fills_up_costs_the_oldest_snapshots_first() {
    let snapshots = MemoryDisk::new(2);
    let base: Arc<dyn Disk> =
        Arc::new(Split { database: MemoryDisk::new(1), snapshots: snapshots.clone() });
    let (store, chain, tree) = kept_bank(&base, false);
    let mut known = Vec::new();
    for round in 0..4u64 {
        work(&store, tree, round * 40, 40);
        known.push((format!("s{round}"), contents(&store)));
        taken(&store, &chain, &format!("s{round}"));
    }
    let used: u64 = snapshots.snapshot().values().map(|bytes| bytes.len() as u64).sum();
    snapshots.set_capacity(Some(used + 4096));
    work(&store, tree, 160, 200);
    store.checkpoint().unwrap();
    let left = assert_as_known(&chain, &known, "full");
    assert!((1..4).contains(&left), "{left}");
    let names: Vec<String> = chain.snapshots().into_iter().map(|found| found.moment.name).collect();
    assert_eq!(names, ["s0", "s1", "s2", "s3"][4 - left..]);
    let events = store.shared().events.drain(10_000).0;
    let given_up = events.iter().filter(|event| event.kind == "snapshot_given_up");
    assert_eq!(given_up.count(), 4 - left);
}

/// The power fails at every changing call, in turn, of a life with snapshots.
#[test]
fn a_crash_at_any_step_leaves_a_whole_snapshot_or_none() {
    let stride = std::env::var("HOLDFAST_STRIDE").map_or(29, |text| text.parse().unwrap());
    let (mut crashed, mut whole) = (0, 0);
    for nth in (1..).step_by(stride) {
        let memory = MemoryDisk::new(nth);
        let base: Arc<dyn Disk> = memory.clone();
        let (store, chain, tree) = kept_bank(&base, false);
        memory.crash_after(nth);
        let known = Mutex::new(Vec::new());
        let done = brief_life(&store, &chain, tree, &known);
        drop((store, chain));
        let base: Arc<dyn Disk> = memory.reopen();
        let (store, chain) = opened(&base, false);
        assert_sound(&store);
        let known = known.into_inner();
        whole += assert_as_known(&chain, &known, &format!("crash at call {nth}"));
        // And it goes on: what is taken now is whole, the older ones stay what they were.
        work(&store, tree, 200, 20);
        let then = contents(&store);
        taken(&store, &chain, "after");
        work(&store, tree, 220, 40);
        store.checkpoint().unwrap();
        let all: Vec<_> = known.into_iter().chain([("after".to_owned(), then)]).collect();
        assert_as_known(&chain, &all, &format!("after the crash at call {nth}"));
        if done.is_ok() {
            break;
        }
        crashed += 1;
    }
    assert!(crashed > 8 && whole > 5, "{crashed} {whole}");
}

/// As `life`, until the power fails; what a snapshot must have is known before it is taken.
pub(super) fn brief_life(
    store: &Store,
    chain: &Arc<Chain>,
    tree: crate::txn::TreeRef,
    known: &Mutex<Vec<(String, Contents)>>,
) -> Result<()> {
    for round in 0..3u64 {
        for step in round * 12..round * 12 + 12 {
            try_transfer(store, tree, step)?;
        }
        let wanted = Wanted { name: format!("s{round}"), is_scheduled: false };
        known.lock().push((wanted.name.clone(), contents(store)));
        take(store, chain, &wanted, &Progress::default())?;
        if round == 1 {
            chain.drop_named("s0")?;
        }
    }
    store.checkpoint().map(|_| ())
}

fn try_transfer(store: &Store, tree: crate::txn::TreeRef, step: u64) -> Result<()> {
    let mut txn = store.begin(crate::txn::Isolation::ReadCommitted, false)?;
    for i in 0..4u64 {
        let key = crate::backup::tests::account((step * 97 + i * 31) % crate::backup::tests::ACCOUNTS);
        txn.put(tree, &key, &[step as u8; 300])?;
    }
    txn.commit().map(|_| ())?;
    if step % 5 == 4 { store.checkpoint().map(|_| ()) } else { Ok(()) }
}

#[test]
fn a_flipped_bit_is_found_or_does_no_harm() {
    let memory = MemoryDisk::new(3);
    let base: Arc<dyn Disk> = memory.clone();
    let (store, chain, tree) = kept_bank(&base, false);
    let known = life(&store, &chain, tree);
    assert_eq!(known.len(), 3);
    store.close().unwrap();
    drop((store, chain));
    let files: Vec<(String, u64)> = memory
        .snapshot()
        .into_iter()
        .filter(|(path, _)| path.starts_with(FOLDER))
        .map(|(path, bytes)| (path, bytes.len() as u64))
        .collect();
    let (mut found, mut harmless) = (0, 0);
    for (path, size) in &files {
        for turn in 0..12 {
            let (offset, bit) = (size * turn / 12 + turn * 7 % 5, turn as u8);
            let offset = offset.min(size - 1);
            memory.flip_bit(path, offset, bit).unwrap();
            let chain = Chain::load(Arc::clone(&base)).unwrap();
            for (name, then) in &known {
                let Ok(store) = seen(&chain, name) else {
                    found += 1;
                    continue;
                };
                let is_right =
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| contents(&store) == *then));
                match is_right {
                    Ok(is_right) => assert!(is_right, "{path} at {offset}: {name} is another one"),
                    Err(_) => found += 1,
                }
                harmless += 1;
            }
            memory.flip_bit(path, offset, bit).unwrap();
        }
    }
    assert!(found > 20 && harmless > 20, "{found} {harmless}");
    let (_store, chain) = opened(&base, false);
    assert_eq!(assert_as_known(&chain, &known, "mended"), 3);
}

#[test]
fn a_proof_names_the_damage() {
    let memory = MemoryDisk::new(4);
    let base: Arc<dyn Disk> = memory.clone();
    let (store, chain, tree) = kept_bank(&base, false);
    life(&store, &chain, tree);
    let proved = |chain: &Arc<Chain>, name: &str| {
        let scratch: Arc<dyn Disk> = MemoryDisk::new(5);
        verify(chain, name, &scratch, &Progress::default())
    };
    assert!(proved(&chain, "s0").unwrap() > 20);
    let path = path_of(chain.named("s0").unwrap().number, "kept");
    memory.flip_bit(&path, 400, 3).unwrap();
    let error = proved(&chain, "s0").unwrap_err();
    assert_eq!(error.code, Code::SnapshotDamaged);
    assert!(proved(&chain, "s1").is_ok() && proved(&chain, "s2").is_ok());
}

#[test]
fn a_page_that_was_written_past_the_snapshots_is_not_taken_for_its_own() {
    let base: Arc<dyn Disk> = MemoryDisk::new(5);
    let (store, chain, tree) = kept_bank(&base, false);
    taken(&store, &chain, "then");
    store.close().unwrap();
    drop((store, chain));
    let store = Store::open(Arc::clone(&base), &options(false)).unwrap();
    for step in 1..100 {
        transfer(&store, tree, step % 8, step);
    }
    store.close().unwrap();
    let chain = Chain::load(base).unwrap();
    let scratch: Arc<dyn Disk> = MemoryDisk::new(6);
    let error = verify(&chain, "then", &scratch, &Progress::default()).unwrap_err();
    assert_eq!(error.code, Code::SnapshotDamaged);
    assert!(seen(&chain, "then").map(|store| store.check(false, &Progress::default())).is_err());
}

/// The power fails at every changing call, in turn, of going back: the database is what it was, or
/// what the snapshot is, and every snapshot stays what it is.
#[test]
fn a_crash_while_a_database_goes_back_leaves_it_as_it_was_or_as_the_snapshot() {
    let stride = std::env::var("HOLDFAST_STRIDE").map_or(13, |text| text.parse().unwrap());
    let first = MemoryDisk::new(8);
    let base: Arc<dyn Disk> = first.clone();
    let (store, chain, tree) = kept_bank(&base, false);
    work(&store, tree, 0, 40);
    let then = contents(&store);
    taken(&store, &chain, "then");
    work(&store, tree, 40, 80);
    let now = contents(&store);
    taken(&store, &chain, "now");
    store.close().unwrap();
    drop((store, chain));
    let files = first.snapshot();
    let known = [("then".to_owned(), then.clone()), ("now".to_owned(), now.clone())];
    let (mut back, mut stayed) = (0, 0);
    for nth in (1..).step_by(stride) {
        let memory = MemoryDisk::from_snapshot(nth, &files);
        let base: Arc<dyn Disk> = memory.clone();
        let (disk, chain) = KeepingDisk::over(base).unwrap();
        chain.leave_spare(0);
        memory.crash_after(nth);
        let done = revert(&disk, &chain, "then", &options(false), &Progress::default());
        drop((disk, chain));
        let base: Arc<dyn Disk> = memory.reopen();
        let (store, chain) = opened(&base, false);
        assert_sound(&store);
        let found = contents(&store);
        back += u32::from(found == then);
        stayed += u32::from(found == now);
        assert!(found == then || (found == now && done.is_err()), "crash at call {nth}");
        assert_eq!(assert_as_known(&chain, &known, &format!("crash at call {nth}")), 2);
        work(&store, tree, 300, 20);
        store.close().unwrap();
        if done.is_ok() {
            break;
        }
    }
    assert!(back > 1 && stayed > 5, "{back} {stayed}");
}
