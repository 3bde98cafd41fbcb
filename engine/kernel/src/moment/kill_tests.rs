//! A process that is killed leaves kept pages that only the system's memory holds: they are made
//! certain before what they are copies of is overwritten.
#![allow(clippy::unwrap_used)]

use super::fault_tests::{assert_as_known, brief_life};
use super::tests::{kept_bank, opened, taken, work};
use super::*;
use crate::backup::tests::assert_sound;
use crate::disk::memory::MemoryDisk;
use crate::disk::{Disk, OpenMode};
use crate::recovery::DATA_PATH;
use crate::sync::{Arc, Mutex};

#[test]
fn a_page_kept_by_a_process_that_was_killed_is_certain_before_it_is_overwritten() {
    const SIZE: u64 = 4096;
    let first = MemoryDisk::new(1);
    let (store, chain, tree) = kept_bank(&(first.clone() as Arc<dyn Disk>), false);
    work(&store, tree, 0, 60);
    let number = taken(&store, &chain, "then").number;
    store.close().unwrap();
    drop((store, chain));
    let files = first.snapshot();
    let before = files[DATA_PATH][SIZE as usize * 2..SIZE as usize * 5].to_vec();
    let (mut killed, mut kept) = (0, 0);
    for (nth, seed) in (1..7).flat_map(|nth| (0..20).map(move |seed| (nth, seed))) {
        let memory = MemoryDisk::from_snapshot(seed, &files);
        let overwrite = |memory: &Arc<MemoryDisk>| {
            let (disk, chain) = KeepingDisk::over(memory.clone()).unwrap();
            chain.leave_spare(0);
            let file = disk.open(DATA_PATH, OpenMode::Write)?;
            file.will_write(&[(2 * SIZE, 3 * SIZE)]);
            (2..5u64).try_for_each(|page| file.write_at(&[7; SIZE as usize], page * SIZE))?;
            file.sync().map(|()| chain.snapshots()[0].pages)
        };
        memory.kill_after(nth);
        let done: crate::error::Result<u64> = overwrite(&memory);
        killed += u32::from(done.is_err());
        let memory = if done.is_err() { memory.reopen() } else { memory };
        memory.crash_after(u64::MAX);
        kept += u32::from(overwrite(&memory).unwrap() >= 3);
        memory.crash(seed);
        let base: Arc<dyn Disk> = memory.reopen();
        let chain = Chain::load(Arc::clone(&base)).unwrap();
        let data = base.open(DATA_PATH, OpenMode::Read).unwrap();
        for (index, expected) in before.chunks(SIZE as usize).enumerate() {
            let mut page = vec![0; SIZE as usize];
            chain.read_page((number, "then"), &*data, 2 + index as u32, &mut page).unwrap();
            assert!(page == expected, "killed at call {nth}, seed {seed}, page {}", 2 + index);
        }
    }
    assert!(killed > 40 && kept > 40, "{killed} {kept}");
}

/// The process is killed at every changing call, in turn, of a life with snapshots; the next one
/// works on, and then the power fails.
#[test]
fn snapshots_outlive_a_kill_at_any_step_and_a_power_failure_after_it() {
    let stride = std::env::var("HOLDFAST_STRIDE").map_or(31, |text| text.parse().unwrap());
    let (mut killed, mut whole) = (0, 0);
    for nth in (3..).step_by(stride) {
        let memory = MemoryDisk::new(nth);
        let base: Arc<dyn Disk> = memory.clone();
        let (store, chain, tree) = kept_bank(&base, false);
        memory.kill_after(nth);
        let known = Mutex::new(Vec::new());
        let done = brief_life(&store, &chain, tree, &known);
        drop((store, chain));
        let memory = if memory.is_dead() { memory.reopen() } else { memory };
        memory.crash_after(u64::MAX);
        let base: Arc<dyn Disk> = memory.clone();
        let (store, chain) = opened(&base, false);
        let known = known.into_inner();
        let seen = assert_as_known(&chain, &known, &format!("killed at call {nth}"));
        work(&store, tree, 200, 60);
        store.checkpoint().unwrap();
        drop((store, chain));
        memory.crash(nth);
        let base: Arc<dyn Disk> = memory.reopen();
        let (store, chain) = opened(&base, false);
        assert_sound(&store);
        let left = assert_as_known(&chain, &known, &format!("power lost after call {nth}"));
        // The one that was being taken, and that nobody was told of, may go.
        assert!(left + 1 >= seen, "{left} of {seen} after call {nth}");
        whole += left;
        if done.is_ok() {
            break;
        }
        killed += 1;
    }
    assert!(killed > 8 && whole > 5, "{killed} {whole}");
}

/// Every page of the snapshot `number`, as it is read now.
fn pages_of(base: &Arc<dyn Disk>, number: u64, count: u32) -> Vec<Vec<u8>> {
    let chain = Chain::load(Arc::clone(base)).unwrap();
    let data = base.open(DATA_PATH, OpenMode::Read).unwrap();
    let read = |id| {
        let mut page = vec![0; 4096];
        chain.read_page((number, "first"), &*data, id, &mut page).unwrap();
        page
    };
    (0..count).map(read).collect()
}

#[test]
fn pages_moved_by_a_drop_that_was_killed_are_certain_before_they_are_removed() {
    let whole = MemoryDisk::new(1);
    let base: Arc<dyn Disk> = whole.clone();
    let (store, chain, tree) = kept_bank(&base, false);
    work(&store, tree, 0, 40);
    let first = taken(&store, &chain, "first");
    work(&store, tree, 40, 40);
    taken(&store, &chain, "second");
    work(&store, tree, 80, 80);
    store.close().unwrap();
    drop((store, chain));
    let (files, count) = (whole.snapshot(), (first.data_bytes / 4096) as u32);
    let expected = pages_of(&base, first.number, count);
    let mut killed = 0;
    for (nth, seed) in (1..12).flat_map(|nth| (0..10).map(move |seed| (nth, seed))) {
        let memory = MemoryDisk::from_snapshot(seed, &files);
        let drop_second = |memory: &Arc<MemoryDisk>| {
            let chain = Chain::load(memory.clone())?;
            chain.leave_spare(0);
            match chain.named("second") {
                Ok(_) => chain.drop_named("second"),
                Err(_) => chain.settle(),
            }
        };
        memory.kill_after(nth);
        let done = drop_second(&memory);
        killed += u32::from(done.is_err());
        let memory = if memory.is_dead() { memory.reopen() } else { memory };
        memory.crash_after(u64::MAX);
        drop_second(&memory).unwrap();
        memory.crash(seed);
        let base: Arc<dyn Disk> = memory.reopen();
        assert!(pages_of(&base, first.number, count) == expected, "killed at call {nth}, seed {seed}");
    }
    assert!(killed > 30, "{killed}");
}
