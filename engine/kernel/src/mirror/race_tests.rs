//! Races of mirrors under the seeded scheduler: two follow, one of them in step with the commits,
//! are lost and come back, get new copies, are given up and added again, while writers work and the
//! log is rotated and cut. At the end each takes over. `HOLDFAST_SCHEDULES=n` runs more seeds.
#![allow(clippy::unwrap_used)]

use super::tests::dynamic;
use super::*;
use crate::disk::faults::{Failure, Fault, FaultDisk};
use crate::disk::memory::MemoryDisk;
use crate::error::Result;
use crate::log::gate::Patience;
use crate::recovery::Progress;
use crate::store::racing::*;
use crate::store::{Store, StoreOptions};
use crate::sync::{Arc, AtomicBool, Ordering, schedule};
use std::time::Duration;

/// One mirror, and what its disk is.
struct Place {
    path: &'static str,
    is_synchronous: bool,
    memory: Arc<MemoryDisk>,
    disk: Arc<FaultDisk>,
}

impl Place {
    fn new(path: &'static str, is_synchronous: bool, seed: u64) -> Place {
        let memory = MemoryDisk::new(seed);
        Place { path, is_synchronous, disk: FaultDisk::over_memory(memory.clone()), memory }
    }
}

fn settings(seed: u64) -> StoreOptions {
    let mut options = small(0);
    options.mirrors.patience = Patience { time: Duration::from_secs(600), gives_up: true };
    // Little: who is away for a while needs a new copy.
    options.mirrors.hold_bytes = if seed.is_multiple_of(2) { 24 << 10 } else { 1 << 20 };
    options
}

/// What may become of a step of a mirror whose disk fails and that is stopped, or gone too long.
fn assert_expected(done: Result<()>, what: &str) {
    let Err(error) = done else { return };
    let is_expected = is_over(&error)
        || matches!(
            error.code,
            Code::IoError | Code::Cancelled | Code::MirrorIncomplete | Code::PageDamaged
        );
    assert!(is_expected, "{what}: {error}");
}

/// Ships what is durable, as the thread of a mirror does.
fn ship(follower: &Follower, is_over: &AtomicBool, seed: u64) {
    let mut dice = Dice(seed ^ 0x5417);
    while !is_over.load(Ordering::Acquire) && !follower.is_stopped() {
        assert_expected(follower.step(), "shipping");
        (0..dice.below(40)).for_each(|_| crate::sync::yield_now());
    }
}

/// Redoes in the mirror, as its other thread does.
fn redo(follower: &Follower, is_over: &AtomicBool, seed: u64) {
    let mut dice = Dice(seed ^ 0x4ED0);
    while !is_over.load(Ordering::Acquire) && !follower.is_stopped() {
        let done = follower.redo(dice.below(4) == 0, &Progress::default());
        assert_expected(done.map(|_| ()), "redo");
        (0..dice.below(200)).for_each(|_| crate::sync::yield_now());
    }
}

/// The mirror's disk fails and heals; now and then it gets a new copy on demand.
fn disturb(store: &Store, place: &Place, seed: u64) {
    let mut dice = Dice(seed ^ 0xD157);
    for _ in 0..4 {
        (0..dice.below(3000)).for_each(|_| crate::sync::yield_now());
        let failure = Failure::Device;
        let (nth, for_good) = (1 + dice.below(20), dice.below(2) == 0);
        place.disk.fail(Fault { call: None, nth, for_good, failure });
        (0..dice.below(3000)).for_each(|_| crate::sync::yield_now());
        place.disk.heal();
        if dice.below(3) == 0 {
            // Refused where it follows.
            let _ = store.mirrors().renew(place.path);
        }
    }
}

/// The mirror takes over: it holds what was committed before its end, and nothing of what came
/// later.
fn take_over(place: &Place, accounts: &[Account], options: &StoreOptions) -> u64 {
    let mirror = MemoryDisk::from_snapshot(7, &place.memory.snapshot());
    let end = match fail_over(&dynamic(&mirror), place.path, None, false) {
        Ok(outlook) => outlook.end,
        // It had just begun to be copied.
        Err(error) => {
            assert_eq!(error.code, Code::MirrorIncomplete, "{error}");
            return 0;
        }
    };
    let then: Vec<Account> = accounts.iter().map(|account| account.at(end)).collect();
    let store = Store::open_recovering(mirror, options, &Progress::default()).unwrap();
    assert_whole(&store, &then);
    end.0
}

/// One seed; returns the number of its interleaving.
fn race(seed: u64) -> u64 {
    let (primary, options) = (MemoryDisk::new(seed), settings(seed));
    let store = Store::create(primary.clone(), &options).unwrap();
    prepare(&store);
    let places = [Place::new("/one", false, seed + 1), Place::new("/two", true, seed + 2)];
    let followers: Vec<Arc<Follower>> = places
        .iter()
        .map(|place| {
            store.mirrors().add_on(place.path, place.disk.clone(), place.is_synchronous).unwrap()
        })
        .collect();
    let mut accounts = vec![Account::default(); WRITERS as usize];
    let trace = {
        let (store, left) = (&store, &crate::sync::AtomicUsize::new(accounts.len() + 2));
        let is_over = &AtomicBool::new(false);
        let mut tasks: Tasks<'_> = Vec::new();
        for work in workers(store, seed, &mut accounts) {
            tasks.push(Box::new(move || {
                work();
                if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                    is_over.store(true, Ordering::Release);
                }
            }));
        }
        tasks.push(Box::new(move || keep_house(store, seed)));
        for (place, follower) in places.iter().zip(&followers) {
            tasks.push(Box::new(move || ship(follower, is_over, seed)));
            tasks.push(Box::new(move || redo(follower, is_over, seed)));
            tasks.push(Box::new(move || disturb(store, place, seed)));
        }
        schedule::run(seed, tasks)
    };
    for place in &places {
        place.disk.heal();
        take_over(place, &accounts, &options);
    }
    for (place, follower) in places.iter().zip(&followers) {
        // One that was gone too long says so first, then it is copied.
        let followed = (0..3).any(|_| follower.step().is_ok());
        assert!(followed, "{}: {:?}", place.path, follower.status());
        let end = take_over(place, &accounts, &options);
        assert_eq!(end, store.shared().core.log.durable().0, "{}", place.path);
    }
    compare(&store, &accounts);
    if seed.is_multiple_of(2) {
        store.close().unwrap();
    } else {
        primary.crash(seed);
    }
    drop((store, followers));
    let store = Store::open_recovering(primary.reopen(), &options, &Progress::default()).unwrap();
    assert_whole(&store, &accounts);
    trace
}

#[test]
fn shipping_redo_new_copies_faults_cleanup_and_commits_race_without_harm() {
    each_seed(10, race);
}
