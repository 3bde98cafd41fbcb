//! Races under the seeded scheduler: writers, a reader, and a housekeeper who takes checkpoints,
//! rotates the log, cuts it, writes pages out and gives pages back, in every order a seed can think
//! of; some runs end with a close in the middle, in some old snapshots and transactions that hold
//! log are given up. `HOLDFAST_SCHEDULES=n` runs more seeds.
#![allow(clippy::unwrap_used)]

use super::racing::*;
use super::tests::tree;
use super::*;
use crate::disk::memory::MemoryDisk;
use crate::sync::schedule;

/// One seed; returns the number of its interleaving.
fn race(seed: u64) -> u64 {
    let disk = MemoryDisk::new(seed);
    let store = Store::create(disk.clone(), &small(seed)).unwrap();
    prepare(&store);
    let closes = seed.is_multiple_of(3);
    let mut accounts = vec![Account::default(); WRITERS as usize];
    let trace = {
        let mut tasks = workers(&store, seed, &mut accounts);
        tasks.push(Box::new(|| keep_house(&store, seed)));
        if closes {
            tasks.push(close_meanwhile(&store, seed));
        }
        schedule::run(seed, tasks)
    };
    end(&store, &disk, &accounts, closes, seed);
    drop(store);
    let store = Store::open_recovering(disk.reopen(), &small(seed), &Progress::default()).unwrap();
    assert_whole(&store, &accounts);
    trace
}

/// A clean end or a power failure, whatever the race has not closed.
fn end(store: &Store, disk: &MemoryDisk, accounts: &[Account], is_closed: bool, seed: u64) {
    if is_closed {
        return;
    }
    compare(store, accounts);
    if seed.is_multiple_of(2) {
        store.close().unwrap();
    } else {
        disk.crash(seed);
    }
}

#[test]
fn checkpoints_rotation_cleanup_eviction_commits_and_close_race_without_harm() {
    each_seed(40, race);
}

/// A database that lost power, with transactions that nobody ended, and what it must hold.
fn cut_off(seed: u64) -> (std::sync::Arc<MemoryDisk>, Vec<Account>) {
    let disk = MemoryDisk::new(seed);
    // Nothing may be given up here: what the accounts say is to be there.
    let store = Store::create(disk.clone(), &small(0)).unwrap();
    prepare(&store);
    let mut accounts = vec![Account::default(); WRITERS as usize];
    let mut dice = Dice(seed ^ 0x5EED);
    for (writer, account) in accounts.iter_mut().enumerate() {
        write(&store, seed + 1000, writer as u64, account);
        if dice.below(2) == 0 {
            store.checkpoint().unwrap();
        }
    }
    let mut losers: Vec<Transaction> = Vec::new();
    for loser in 0..dice.below(3) {
        let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
        let at = tree(&mut txn, if loser == 0 { "own" } else { "lost" });
        for _ in 0..1 + dice.below(30) {
            let key = format!("{loser}-{:03}", dice.below(60)).into_bytes();
            txn.put(at, &key, &vec![9; 20 + dice.below(6000) as usize]).unwrap();
        }
        losers.push(txn);
    }
    if dice.below(2) == 0 {
        store.checkpoint().unwrap();
    }
    store.flush().unwrap();
    disk.crash(seed);
    (disk.reopen(), accounts)
}

/// Carries the recovery on, as the background does, with a backup's wish to have it done in between.
fn recover(store: &Store, seed: u64) {
    let mut dice = Dice(seed ^ 0xFACE);
    for _ in 0..10 {
        let done = match dice.below(8) {
            0 => store.finish_redo(&Progress::default()),
            1 => store.maintain(),
            2 => store.checkpoint().map(|_| ()),
            3 => store.finish_recovery(&Progress::default()),
            _ => store.redo_some(1),
        };
        assert!(done.as_ref().err().is_none_or(is_over), "recovery: {}", done.unwrap_err());
    }
}

/// One seed of a database that is open before its redo and its undo are through.
fn race_early(seed: u64) -> u64 {
    let (disk, mut accounts) = cut_off(seed);
    let store = Store::open_on_demand(disk.clone(), &small(seed), &Progress::default()).unwrap();
    let closes = seed.is_multiple_of(3);
    let trace = {
        let mut tasks = workers(&store, seed, &mut accounts);
        tasks.push(Box::new(|| keep_house(&store, seed)));
        tasks.push(Box::new(|| recover(&store, seed)));
        if closes {
            tasks.push(close_meanwhile(&store, seed));
        }
        schedule::run(seed, tasks)
    };
    end(&store, &disk, &accounts, closes, seed);
    drop(store);
    let again = Store::open_on_demand(disk.reopen(), &small(seed), &Progress::default()).unwrap();
    again.finish_recovery(&Progress::default()).unwrap();
    assert_whole(&again, &accounts);
    trace
}

#[test]
fn redo_on_demand_undo_checkpoints_writers_and_close_race_without_harm() {
    each_seed(16, race_early);
}
