//! Races of snapshots under the seeded scheduler: they are taken, dropped and read while writers
//! work, pages are written out and checkpoints taken. `HOLDFAST_SCHEDULES=n` runs more seeds.
#![allow(clippy::unwrap_used)]

use super::tests::seen;
use super::*;
use crate::disk::memory::MemoryDisk;
use crate::disk::{Disk, OpenMode};
use crate::recovery::{DATA_PATH, Progress};
use crate::store::racing::*;
use crate::store::{Store, StoreOptions};
use crate::sync::{Arc, schedule};

/// Takes snapshots and drops some of them; they may be given up where the disk is full.
fn take_and_drop(store: &Store, chain: &Arc<Chain>, (seed, who): (u64, u64)) {
    let mut dice = Dice(seed * 7 + who);
    for round in 0..5 {
        let wanted = Wanted { name: format!("{who} {round}"), is_scheduled: false };
        match take(store, chain, &wanted, &Progress::default()) {
            Ok(taken) => assert_eq!(taken.moment.name, wanted.name),
            Err(error) if is_over(&error) => return,
            Err(error) => panic!("{}: {error}", wanted.name),
        }
        let there = chain.snapshots();
        if dice.below(2) == 0 && !there.is_empty() {
            let name = &there[dice.below(there.len() as u64) as usize].moment.name;
            let dropped = chain.drop_named(name).err();
            assert!(dropped.is_none_or(|error| error.code == Code::SnapshotNotFound));
        }
    }
}

/// Every page of a snapshot, by whoever keeps it now.
fn pages(chain: &Chain, snapshot: &Snapshot, data: &dyn crate::disk::File) -> Vec<Vec<u8>> {
    let which = (snapshot.number, snapshot.moment.name.as_str());
    let size = view::page_size_of(chain, snapshot.number).unwrap();
    let read = |id: u64| {
        let mut page = vec![0; size];
        chain.read_page(which, data, id as u32, &mut page).unwrap();
        page
    };
    (0..snapshot.data_bytes / size as u64).map(read).collect()
}

/// What a snapshot shows stays what it was, whoever is dropped or overwritten meanwhile.
fn look_twice(chain: &Arc<Chain>, seed: u64) {
    let data = chain.base().open(DATA_PATH, OpenMode::Read).unwrap();
    let mut dice = Dice(seed ^ 0x100C);
    for _ in 0..4 {
        (0..dice.below(600)).for_each(|_| crate::sync::yield_now());
        let there = chain.snapshots();
        if there.is_empty() {
            continue;
        }
        let name = there[dice.below(there.len() as u64) as usize].moment.name.clone();
        // It may have been dropped just now.
        let Ok((_reader, snapshot)) = chain.hold(&name) else { continue };
        let first = pages(chain, &snapshot, &*data);
        (0..dice.below(600)).for_each(|_| crate::sync::yield_now());
        assert!(first == pages(chain, &snapshot, &*data), "{name} shows something else now");
    }
}

/// Each snapshot that is left is what was committed before its moment.
fn assert_moments(chain: &Arc<Chain>, accounts: &[Account], told: &str) {
    for snapshot in chain.snapshots() {
        let name = &snapshot.moment.name;
        assert_eq!(snapshot.state, State::Whole, "{told}: {name}");
        let then: Vec<Account> =
            accounts.iter().map(|account| account.at(snapshot.moment.end_lsn)).collect();
        let seen = seen(chain, name).unwrap_or_else(|error| panic!("{told}: {name}: {error}"));
        compare(&seen, &then);
        assert_eq!(seen.check(false, &Progress::default()).unwrap().problems, []);
    }
}

fn kept(base: Arc<dyn Disk>) -> (Arc<dyn Disk>, Arc<Chain>) {
    let (disk, chain) = KeepingDisk::over(base).unwrap();
    chain.leave_spare(0);
    (disk, chain)
}

/// One seed; returns the number of its interleaving.
fn race(seed: u64) -> u64 {
    let memory = MemoryDisk::new(seed);
    let (disk, chain) = kept(memory.clone());
    // Limits would give up what the accounts say.
    let options: StoreOptions = small(0);
    let store = Store::create(disk, &options).unwrap();
    chain.attend(&store.shared().events);
    prepare(&store);
    let closes = seed.is_multiple_of(3);
    let mut accounts = vec![Account::default(); WRITERS as usize];
    let trace = {
        let (store, chain) = (&store, &chain);
        let mut tasks = workers(store, seed, &mut accounts);
        tasks.push(Box::new(move || keep_house(store, seed)));
        for who in 0..2 {
            tasks.push(Box::new(move || take_and_drop(store, chain, (seed, who))));
        }
        tasks.push(Box::new(move || look_twice(chain, seed)));
        if closes {
            tasks.push(close_meanwhile(store, seed));
        }
        schedule::run(seed, tasks)
    };
    if !closes {
        assert_moments(&chain, &accounts, "at work");
        memory.crash(seed);
    }
    drop((store, chain));
    let (disk, chain) = kept(memory.reopen());
    let store = Store::open_recovering(disk, &options, &Progress::default()).unwrap();
    assert_moments(&chain, &accounts, "opened again");
    assert_whole(&store, &accounts);
    trace
}

#[test]
fn snapshots_that_are_taken_dropped_and_read_race_with_work_without_harm() {
    each_seed(10, race);
}
