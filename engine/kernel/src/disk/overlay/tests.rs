//! An overlay against a plain disk that gets the same calls; then crashes at every step.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::blocks::{Place, Run};
use super::journal::{Change, FileChange};
use super::*;
use crate::disk::faults::{Call, Failure, Fault, FaultDisk};
use crate::disk::memory::MemoryDisk;
use crate::disk::simulated::Dice;

type Files = BTreeMap<String, Vec<u8>>;

const NAMES: [&str; 5] = ["data", "control", "wal/1", "wal/2", "wal/3"];

fn bytes(dice: &mut Dice, count: usize) -> Vec<u8> {
    (0..count).map(|_| dice.next() as u8).collect()
}

fn originals(dice: &mut Dice) -> Files {
    let files = NAMES[..4].iter().map(|name| {
        let size = dice.below(5 * BLOCK);
        ((*name).to_owned(), bytes(dice, size))
    });
    files.collect()
}

/// One call of those that a store makes, drawn from `dice`.
fn act(disk: &dyn Disk, dice: &mut Dice) -> Result<()> {
    let path = NAMES[dice.below(NAMES.len())];
    let (kind, place, size) = (dice.below(12), dice.below(6 * BLOCK), dice.below(3 * BLOCK));
    if kind == 0 {
        return disk.remove(path);
    }
    let file = disk.open(path, OpenMode::Create)?;
    match kind {
        1 => file.truncate(place as u64),
        2 => file.allocate(place as u64),
        3 => file.write_at(&vec![0; size], place as u64),
        4..=7 => {
            let start = place - place % BLOCK;
            file.write_at(&bytes(dice, 1 + size - size % BLOCK), start as u64)
        }
        _ => file.write_at(&bytes(dice, 1 + size), place as u64),
    }
}

fn contents(disk: &dyn Disk) -> Files {
    let mut files = Files::new();
    for folder in ["", "wal"] {
        for name in disk.list(folder).unwrap() {
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            let file = disk.open(&path, OpenMode::Read).unwrap();
            let mut found = vec![0; file.size().unwrap() as usize + 10];
            let count = file.read_at(&mut found, 0).unwrap();
            found.truncate(count);
            files.insert(path, found);
        }
    }
    files
}

/// Draws originals and the calls after them; returns what the originals and the outcome are.
fn expected(seed: u64, calls: usize) -> (Files, Files) {
    let mut dice = Dice::new(seed);
    let before = originals(&mut dice);
    let plain = MemoryDisk::from_snapshot(1, &before);
    (0..calls).for_each(|_| act(&*plain, &mut dice).unwrap());
    (before, plain.snapshot())
}

fn act_on_overlay(overlay: &Overlay, seed: u64, calls: usize) -> Result<()> {
    let mut dice = Dice::new(seed);
    originals(&mut dice);
    (0..calls).try_for_each(|_| act(overlay, &mut dice))
}

#[test]
fn an_overlay_shows_what_a_plain_disk_would_and_leaves_the_originals_alone() {
    for seed in 0..300 {
        let (before, after) = expected(seed, 60);
        let base = MemoryDisk::from_snapshot(1, &before);
        let store = MemoryDisk::new(2);
        let overlay = Overlay::beside(base.clone(), store.clone()).unwrap();
        act_on_overlay(&overlay, seed, 60).unwrap();
        assert_eq!(contents(&overlay), after, "seed {seed}");
        assert_eq!(base.snapshot(), before, "seed {seed}");
        overlay.discard().unwrap();
        assert!(store.snapshot().is_empty());
    }
}

#[test]
fn every_handle_of_a_file_sees_what_another_wrote() {
    let base = MemoryDisk::from_snapshot(1, &Files::from([("data".to_owned(), vec![7; 9000])]));
    let overlay = Overlay::inside(base).unwrap();
    let reader = overlay.open("data", OpenMode::Read).unwrap();
    overlay.open("data", OpenMode::Write).unwrap().write_at(&[1, 2, 3], 4095).unwrap();
    let mut found = [0; 5];
    assert_eq!(reader.read_at(&mut found, 4094).unwrap(), 5);
    assert_eq!(found, [7, 1, 2, 3, 7]);
    assert_eq!(reader.write_at(&[1], 0).unwrap_err().code, Code::PermissionDenied);
}

#[test]
fn its_own_files_are_not_part_of_what_it_shows() {
    let overlay = Overlay::inside(MemoryDisk::new(1)).unwrap();
    assert!(overlay.list("").unwrap().is_empty());
    assert_eq!(overlay.open(BLOCKS_PATH, OpenMode::Create).err().unwrap().code, Code::InvalidArgument);
    assert_eq!(overlay.remove(JOURNAL_PATH).unwrap_err().code, Code::InvalidArgument);
}

#[test]
fn blocks_of_zeros_take_no_room() {
    let base = MemoryDisk::new(1);
    let overlay = Overlay::inside(base.clone()).unwrap();
    let file = overlay.open("wal/1", OpenMode::Create).unwrap();
    file.write_at(&vec![0; 1 << 20], 0).unwrap();
    assert_eq!(overlay.bytes(), 0);
    file.write_at(&[1; 10], 512).unwrap();
    assert_eq!(overlay.bytes(), BLOCK as u64);
    overlay.install(false, &|_| Ok(())).unwrap();
    let installed = &base.snapshot()["wal/1"];
    assert_eq!((installed.len(), installed[511..513].to_vec()), (1 << 20, vec![0, 1]));
}

#[test]
fn an_installation_tells_of_every_byte_that_goes_a_step_on() {
    for with_threads in [false, true] {
        let overlay = Overlay::inside(MemoryDisk::new(1)).unwrap();
        let file = overlay.open("data", OpenMode::Create).unwrap();
        // Blocks of zeros between those that are not, an end inside a block, and a file of zeros only.
        file.write_at(&[7; 3 * BLOCK], 0).unwrap();
        file.write_at(&[7; 3 * BLOCK + 100], 9 * BLOCK as u64).unwrap();
        file.write_at(&vec![7; 20 << 20], 1 << 20).unwrap();
        overlay.open("wal/1", OpenMode::Create).unwrap().write_at(&[0; 5 * BLOCK], 0).unwrap();
        let (told, total) = (AtomicU64::new(0), overlay.install_bytes());
        let add = |bytes| {
            told.fetch_add(bytes, Ordering::Relaxed);
            Ok(())
        };
        overlay.install(with_threads, &add).unwrap();
        assert_eq!(told.into_inner(), total);
        assert!(total > 3 * (20 << 20), "{total}");
    }
}

#[test]
fn an_installation_that_is_stopped_at_any_byte_leaves_the_originals_or_is_finished_by_settling() {
    let mut outcomes = [0, 0];
    for seed in 0..20 {
        let (before, after) = expected(seed, 20);
        for (nth, with_threads) in (1..).flat_map(|nth| [(nth, false), (nth, true)]) {
            let disk = MemoryDisk::from_snapshot(seed, &before);
            let overlay = Overlay::inside(disk.clone()).unwrap();
            act_on_overlay(&overlay, seed, 20).unwrap();
            let told = AtomicU64::new(0);
            let stop_there = |_| match told.fetch_add(1, Ordering::Relaxed) + 1 {
                count if count >= nth => Err(Error::new(Code::Cancelled)),
                _ => Ok(()),
            };
            let Err(stopped) = overlay.install(with_threads, &stop_there) else { break };
            assert_eq!(stopped.code, Code::Cancelled);
            let is_decided = overlay.is_decided().unwrap();
            drop(overlay);
            let settled = if is_decided { Settled::Installed } else { Settled::Dropped };
            assert_eq!(settle(&*disk).unwrap(), settled, "seed {seed} stopped at {nth}");
            let found = disk.reopen().snapshot();
            assert_eq!(found, if is_decided { after.clone() } else { before.clone() }, "seed {seed}");
            outcomes[usize::from(is_decided)] += 1;
        }
    }
    assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
}

#[test]
fn originals_that_could_not_grow_are_told_before_they_are_touched() {
    let base = MemoryDisk::from_snapshot(1, &Files::from([("data".to_owned(), vec![7; 9000])]));
    let overlay = Overlay::inside(base.clone()).unwrap();
    overlay.open("data", OpenMode::Write).unwrap().allocate(1 << 20).unwrap();
    base.set_capacity(Some(100_000));
    assert_eq!(overlay.install(false, &|_| Ok(())).unwrap_err().code, Code::DiskFull);
    assert!(!overlay.is_decided().unwrap());
    overlay.discard().unwrap();
    assert_eq!(base.snapshot(), Files::from([("data".to_owned(), vec![7; 9000])]));
}

/// Works on an overlay and installs it, and is killed, or loses power, at the `nth` change; then
/// settles, with a power failure at the change `again` of that; then settles in peace.
fn live(
    (seed, nth, again): (u64, u64, u64),
    before: &Files,
    (with_threads, is_killed): (bool, bool),
) -> (bool, bool, Files) {
    let disk = MemoryDisk::from_snapshot(seed, before);
    if is_killed {
        disk.kill_after(nth)
    } else {
        disk.crash_after(nth)
    }
    let installed = Overlay::inside(disk.clone()).and_then(|overlay| {
        act_on_overlay(&overlay, seed, 20)?;
        if with_threads {
            overlay.sync_ahead();
        }
        overlay.install(with_threads, &|_| Ok(()))
    });
    let struck = disk.is_dead();
    let disk = disk.reopen();
    disk.crash_after(again);
    let settled = settle(&*disk);
    let disk = if settled.is_err() { disk.reopen() } else { disk };
    settle(&*disk).unwrap();
    assert_eq!(settle(&*disk).unwrap(), Settled::Nothing);
    let disk = disk.reopen();
    // The blocks may be there once more: that they went need not have been certain.
    assert_ne!(settle(&*disk).unwrap(), Settled::Installed);
    (installed.is_ok(), struck, disk.snapshot())
}

#[test]
fn a_crash_at_any_step_twice_over_leaves_the_originals_or_the_whole_outcome() {
    end_at_any_step(false);
}

/// What the next process reads may be in the system's memory only: the decision too.
#[test]
fn a_kill_at_any_step_and_a_power_failure_after_it_leave_the_originals_or_the_whole_outcome() {
    end_at_any_step(true);
}

fn end_at_any_step(is_killed: bool) {
    let mut outcomes = [0, 0];
    let seeds = if is_killed { 18..32 } else { 0..40 };
    for seed in seeds {
        // With threads the steps come in any order: what holds is the same.
        let with_threads = seed >= 25;
        let (before, after) = expected(seed, 20);
        for nth in 1.. {
            let mut struck = false;
            for again in [1, 2, 3, 5, 8, 13, 21, 1000] {
                let how = (with_threads, is_killed);
                let (installed, crashed, found) = live((seed, nth, again), &before, how);
                struck |= crashed;
                let is_whole = found == after;
                assert!(is_whole || found == before, "seed {seed} crashes {nth} and {again}");
                assert!(is_whole || !installed, "seed {seed} crashes {nth} and {again}");
                outcomes[usize::from(is_whole)] += 1;
            }
            if !struck {
                break;
            }
        }
    }
    assert!(outcomes[0] > 300 && outcomes[1] > 300, "{outcomes:?}");
}

#[test]
fn a_crash_at_any_step_of_dropping_leaves_the_originals() {
    for seed in 0..40 {
        let (before, _) = expected(seed, 20);
        for nth in 1..8 {
            let disk = MemoryDisk::from_snapshot(seed, &before);
            let overlay = Overlay::inside(disk.clone()).unwrap();
            act_on_overlay(&overlay, seed, 20).unwrap();
            disk.crash_after(nth);
            let discarded = overlay.discard().is_ok();
            let disk = disk.reopen();
            if discarded {
                assert!(!is_left(&*disk).unwrap());
            }
            assert_ne!(settle(&*disk).unwrap(), Settled::Installed);
            assert_eq!(disk.reopen().snapshot(), before, "seed {seed} crash {nth}");
        }
    }
}

#[test]
fn an_installation_without_its_last_sync_would_be_noticed() {
    // A journal that is removed before the copies are certain: the crash tests must see it.
    let mut torn = false;
    for seed in 0..60 {
        let (before, after) = expected(seed, 20);
        let disk = MemoryDisk::from_snapshot(seed, &before);
        disk.ignore_sync("data");
        let overlay = Overlay::inside(disk.clone()).unwrap();
        act_on_overlay(&overlay, seed, 20).unwrap();
        overlay.install(false, &|_| Ok(())).unwrap();
        let found = disk.reopen().snapshot();
        torn |= found != before && found != after;
    }
    assert!(torn);
}

#[test]
fn a_sync_ahead_that_failed_is_told_before_anything_is_decided() {
    let (before, _) = expected(5, 20);
    let disk = MemoryDisk::from_snapshot(5, &before);
    let faulty = FaultDisk::over_memory(disk.clone());
    let overlay = Overlay::inside(faulty.clone()).unwrap();
    act_on_overlay(&overlay, 5, 20).unwrap();
    let fault = Fault { call: Some(Call::Sync), nth: 1, for_good: false, failure: Failure::Device };
    faulty.fail(fault);
    overlay.sync_ahead();
    // The one sync that fails is that one: all later ones would succeed, without what it lost.
    assert_eq!(overlay.install(true, &|_| Ok(())).unwrap_err().code, Code::IoError);
    assert!(!overlay.is_decided().unwrap());
    overlay.discard().unwrap();
    assert_eq!(disk.snapshot(), before);
}

#[test]
fn a_damaged_journal_decides_nothing() {
    let (before, _) = expected(3, 20);
    let disk = MemoryDisk::from_snapshot(3, &before);
    let overlay = Overlay::inside(disk.clone()).unwrap();
    act_on_overlay(&overlay, 3, 20).unwrap();
    let journal = journal::encode(&[]);
    for cut in 0..journal.len() {
        assert!(journal::decode(&journal[..cut]).is_none());
        let mut flipped = journal.clone();
        flipped[cut] ^= 4;
        assert!(journal::decode(&flipped).is_none());
    }
    disk.open(JOURNAL_PATH, OpenMode::Create).unwrap().write_at(&journal[..9], 0).unwrap();
    assert_eq!(settle(&*disk).unwrap(), Settled::Dropped);
    assert_eq!(disk.snapshot(), before);
}

fn a_decision() -> Vec<FileChange> {
    let run = |block, count, place| Run { block, count, place };
    let runs = vec![
        run(0, 2, Place::Slot(0)),
        run(2, 1, Place::Zero),
        run(5, 3, Place::Slot(2 * BLOCK as u64)),
    ];
    let change = Change::Written { size: 30_000, keep: 9000, runs };
    let removed = FileChange { path: "wal/2".to_owned(), change: Change::Removed };
    vec![FileChange { path: "data".to_owned(), change }, removed]
}

proptest! {
    /// Bytes that are changed and get a right checksum again: what comes out is an error, or what the
    /// journal says now; never a panic, and no more than the disk has room for.
    #[test]
    fn a_forged_journal_is_refused_or_carried_out(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::weighted(0.1, any::<prop::sample::Index>()),
    ) {
        let whole = journal::encode(&a_decision());
        let mut body = whole[..whole.len() - 32].to_vec();
        edits.iter().for_each(|(at, byte)| body[at.index(whole.len() - 32)] = *byte);
        body.truncate(cut.map_or(body.len(), |cut| cut.index(body.len())));
        let mut forged = body.clone();
        forged.extend_from_slice(blake3::hash(&body).as_bytes());
        let files = Files::from([
            ("data".to_owned(), vec![7; 20_000]),
            ("wal/2".to_owned(), vec![8; 600]),
            (BLOCKS_PATH.to_owned(), vec![9; 5 * BLOCK]),
            (JOURNAL_PATH.to_owned(), forged),
        ]);
        let disk = MemoryDisk::from_snapshot(1, &files);
        disk.set_capacity(Some(8 << 20));
        match settle(&*disk) {
            Ok(settled) => prop_assert_ne!(settled, Settled::Nothing),
            Err(error) => prop_assert_ne!(error.code, Code::InternalError),
        }
    }
}
