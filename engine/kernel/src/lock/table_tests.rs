#![allow(clippy::unwrap_used)]

use std::sync::Barrier;
use std::time::Duration;

use super::Mode::*;
use super::*;
use crate::error::{Code, Error, Field, Result};
use crate::events::EventQueue;
use crate::stats::{Stats, Timed};
use crate::sync::{Arc, AtomicBool, AtomicI64, AtomicU64, Ordering};

struct Fixed {
    started_at: i64,
    work: u64,
}

impl Work for Fixed {
    fn started_at(&self) -> i64 {
        self.started_at
    }
    fn work(&self) -> u64 {
        self.work
    }
}

struct World {
    table: LockTable,
    events: Arc<EventQueue>,
    stats: Arc<Stats>,
}

impl World {
    fn new(victim: VictimPolicy) -> Self {
        let (stats, events) = (Arc::new(Stats::new()), Arc::new(EventQueue::default()));
        let options = LockOptions { timeout: Duration::from_secs(20), victim };
        let table = LockTable::new(options, Arc::clone(&stats), Arc::clone(&events));
        World { table, events, stats }
    }

    /// Transactions 1 to `count`, each younger and with less work than the one before.
    fn with(count: u64, victim: VictimPolicy) -> Self {
        let world = World::new(victim);
        for number in 1..=count {
            let work = Fixed { started_at: number as i64, work: 100 - number };
            world.table.register(TxnId(number), Arc::new(work));
        }
        world
    }

    fn lock(&self, txn: u64, name: &str, mode: Mode) -> Result<()> {
        self.table.acquire(TxnId(txn), named(name), mode, None)
    }

    fn stamp(&self, waiter: u64, holder: u64) -> Result<()> {
        let resource = Resource::Record { tree: TreeId(7), key_hash: 1 };
        self.table.wait_behind(TxnId(waiter), TxnId(holder), resource, Exclusive, None)
    }

    /// Returns once `txn` waits; the table itself tells, so no sleep can be too short.
    fn until_waiting(&self, txn: u64) {
        while self.table.waiting_for(TxnId(txn)).is_none() {
            std::thread::yield_now();
        }
    }
}

fn named(name: &str) -> Resource {
    Resource::Name(name.to_owned())
}

fn code(result: Result<()>) -> Code {
    result.unwrap_err().code
}

#[test]
fn modes_that_agree_are_held_together_and_others_are_refused() {
    for first in Mode::ALL {
        for second in Mode::ALL {
            let world = World::with(2, VictimPolicy::Youngest);
            world.lock(1, "a", first).unwrap();
            let granted = world.table.try_acquire(TxnId(2), named("a"), second).unwrap();
            assert_eq!(granted, first.is_compatible(second), "{first} then {second}");
        }
    }
}

#[test]
fn requests_are_served_in_the_order_in_which_they_came() {
    let world = World::with(4, VictimPolicy::Youngest);
    let order = crate::sync::Mutex::new(Vec::new());
    world.lock(1, "a", Exclusive).unwrap();
    std::thread::scope(|scope| {
        for txn in 2..=4 {
            let (world, order) = (&world, &order);
            scope.spawn(move || {
                world.lock(txn, "a", Exclusive).unwrap();
                order.lock().push(txn);
                world.table.ended(TxnId(txn));
            });
            world.until_waiting(txn);
        }
        world.table.ended(TxnId(1));
    });
    assert_eq!(*order.lock(), [2, 3, 4]);
}

#[test]
fn a_reader_does_not_pass_a_waiting_writer() {
    let world = World::with(3, VictimPolicy::Youngest);
    world.lock(1, "a", Shared).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| world.lock(2, "a", Exclusive));
        world.until_waiting(2);
        assert!(!world.table.try_acquire(TxnId(3), named("a"), Shared).unwrap());
        world.table.ended(TxnId(1));
        writer.join().unwrap().unwrap();
    });
}

#[test]
fn an_upgrade_goes_before_those_who_wait() {
    let world = World::with(3, VictimPolicy::Youngest);
    world.lock(1, "a", Shared).unwrap();
    world.lock(2, "a", Shared).unwrap();
    std::thread::scope(|scope| {
        let late = scope.spawn(|| world.lock(3, "a", Exclusive));
        world.until_waiting(3);
        let upgrade = scope.spawn(|| world.lock(1, "a", Exclusive));
        world.until_waiting(1);
        world.table.ended(TxnId(2));
        upgrade.join().unwrap().unwrap();
        assert_eq!(world.table.held(TxnId(1)), [(named("a"), Exclusive)]);
        assert_eq!(world.table.waiting_for(TxnId(3)), Some(TxnId(1)));
        world.table.ended(TxnId(1));
        late.join().unwrap().unwrap();
    });
}

#[test]
fn shared_and_intention_exclusive_join_to_both() {
    let world = World::with(1, VictimPolicy::Youngest);
    world.lock(1, "a", Shared).unwrap();
    world.lock(1, "a", IntentionExclusive).unwrap();
    world.lock(1, "a", IntentionShared).unwrap();
    assert_eq!(world.table.held(TxnId(1)), [(named("a"), SharedIntentionExclusive)]);
}

#[test]
fn two_upgrades_of_one_lock_are_a_deadlock() {
    let world = World::with(2, VictimPolicy::Youngest);
    world.lock(1, "a", Shared).unwrap();
    world.lock(2, "a", Shared).unwrap();
    std::thread::scope(|scope| {
        let older = scope.spawn(|| world.lock(1, "a", Exclusive));
        world.until_waiting(1);
        assert_eq!(code(world.lock(2, "a", Exclusive)), Code::Deadlock);
        world.table.ended(TxnId(2));
        older.join().unwrap().unwrap();
    });
}

#[test]
fn a_wait_ends_with_its_timeout_and_leaves_no_trace() {
    let world = World::with(2, VictimPolicy::Youngest);
    world.lock(1, "a", Exclusive).unwrap();
    let short = Some(Duration::from_millis(5));
    let error = world.table.acquire(TxnId(2), named("a"), Shared, short).unwrap_err();
    assert_eq!(error.code, Code::LockTimeout);
    assert_eq!(error.field("holder"), Some(&Field::from("1")));
    let stamp = world.table.wait_behind(TxnId(2), TxnId(1), named("r"), Exclusive, short);
    assert_eq!(code(stamp), Code::LockTimeout);
    assert!(world.table.wait_for_graph().is_empty());
    assert_eq!(world.table.counters().timeouts, 2);
    assert_eq!(world.stats.latency(Timed::LockWait).count, 2);
    world.table.ended(TxnId(1));
    world.lock(2, "a", Shared).unwrap();
}

#[test]
fn a_request_behind_one_that_gave_up_moves_on() {
    let world = World::with(3, VictimPolicy::Youngest);
    world.lock(1, "a", Shared).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| world.lock(2, "a", Exclusive));
        world.until_waiting(2);
        let reader = scope.spawn(|| world.lock(3, "a", Shared));
        world.until_waiting(3);
        world.table.doom(TxnId(2), Error::new(Code::TransactionAborted));
        reader.join().unwrap().unwrap();
        assert_eq!(code(writer.join().unwrap()), Code::TransactionAborted);
    });
}

#[test]
fn a_deadlock_of_two_takes_the_youngest_and_tells_the_cycle() {
    let world = World::with(2, VictimPolicy::Youngest);
    world.lock(1, "a", Exclusive).unwrap();
    world.lock(2, "b", Exclusive).unwrap();
    std::thread::scope(|scope| {
        let young = scope.spawn(|| world.lock(2, "a", Exclusive));
        world.until_waiting(2);
        let old = scope.spawn(|| world.lock(1, "b", Exclusive));
        let error = young.join().unwrap().unwrap_err();
        assert_eq!((error.code, error.field("victim")), (Code::Deadlock, Some(&Field::Int(2))));
        assert_eq!(world.table.doomed(TxnId(2)).unwrap().code, Code::Deadlock);
        assert_eq!(code(world.lock(2, "c", Shared)), Code::Deadlock);
        world.table.ended(TxnId(2));
        old.join().unwrap().unwrap();
    });
    let (events, _) = world.events.drain(10);
    assert_eq!((events.len(), events[0].kind), (1, "deadlock"));
    let Field::List(cycle) = &events[0].fields[1].1 else { panic!("no list") };
    assert_eq!(
        cycle,
        &[
            "transaction 1 waits for transaction 2: exclusive on name b",
            "transaction 2 waits for transaction 1: exclusive on name a",
        ]
    );
    let list = |name: &str| {
        let field = events[0].fields.iter().find(|(field, _)| *field == name);
        let Some((_, Field::List(list))) = field else { panic!("no list {name}") };
        list.clone()
    };
    assert_eq!(list("transactions"), ["1", "2"]);
    assert_eq!(list("resources"), ["name b", "name a"]);
    assert_eq!(list("modes"), ["exclusive", "exclusive"]);
    let waited: Vec<f64> = list("waited_s").iter().map(|text| text.parse().unwrap()).collect();
    assert!(waited[1] >= waited[0], "the younger one waited first: {waited:?}");
}

#[test]
fn those_behind_a_transaction_are_woken_to_look_again() {
    let world = World::with(2, VictimPolicy::Youngest);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| world.stamp(2, 1));
        world.until_waiting(2);
        world.table.look_again(TxnId(1));
        waiter.join().unwrap().unwrap();
    });
    assert!(world.table.wait_for_graph().is_empty());
}

#[test]
fn a_deadlock_of_three_takes_the_one_with_least_work() {
    let world = World::new(VictimPolicy::LeastWork);
    for (txn, work) in [(1, 50), (2, 3), (3, 70)] {
        world.table.register(TxnId(txn), Arc::new(Fixed { started_at: txn as i64, work }));
        world.lock(txn, &txn.to_string(), Exclusive).unwrap();
    }
    std::thread::scope(|scope| {
        let first = scope.spawn(|| world.lock(1, "2", Shared));
        world.until_waiting(1);
        let second = scope.spawn(|| world.lock(2, "3", Shared));
        world.until_waiting(2);
        let third = scope.spawn(|| world.lock(3, "1", Shared));
        assert_eq!(code(second.join().unwrap()), Code::Deadlock);
        world.table.ended(TxnId(2));
        first.join().unwrap().unwrap();
        world.table.ended(TxnId(1));
        third.join().unwrap().unwrap();
    });
    assert_eq!(world.table.counters().deadlocks, 1);
}

#[test]
fn stamps_and_locks_make_cycles_together() {
    let world = World::with(2, VictimPolicy::Youngest);
    world.lock(2, "a", Exclusive).unwrap();
    std::thread::scope(|scope| {
        let old = scope.spawn(|| world.lock(1, "a", Shared));
        world.until_waiting(1);
        assert_eq!(code(world.stamp(2, 1)), Code::Deadlock);
        world.table.ended(TxnId(2));
        old.join().unwrap().unwrap();
    });
}

#[test]
fn a_stamp_is_waited_for_until_its_writer_has_ended() {
    let world = World::with(3, VictimPolicy::Youngest);
    world.stamp(1, 99).unwrap();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for waiter in [2, 3] {
            let (world, ended) = (&world, &ended);
            scope.spawn(move || {
                world.stamp(waiter, 1).unwrap();
                assert!(ended.load(Ordering::SeqCst));
            });
            world.until_waiting(waiter);
        }
        let locks = world.table.locks();
        assert_eq!((locks.len(), locks[0].waiters.len()), (1, 2));
        assert_eq!(locks[0].holders, [(TxnId(1), Exclusive)]);
        assert_eq!(world.table.wait_for_graph().len(), 2);
        ended.store(true, Ordering::SeqCst);
        world.table.ended(TxnId(1));
    });
}

#[test]
fn doom_wakes_a_waiter_and_fails_its_later_waits() {
    let world = World::with(2, VictimPolicy::Youngest);
    world.lock(1, "a", Exclusive).unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| world.lock(2, "a", Shared));
        world.until_waiting(2);
        world.table.doom(TxnId(2), Error::new(Code::TransactionAborted));
        assert_eq!(code(waiter.join().unwrap()), Code::TransactionAborted);
    });
    assert_eq!(code(world.stamp(2, 1)), Code::TransactionAborted);
    assert_eq!(world.table.doomed(TxnId(1)).map(|error| error.code), None);
}

#[test]
fn the_end_of_a_waiting_transaction_ends_its_wait() {
    let world = World::with(2, VictimPolicy::Youngest);
    world.lock(1, "a", Exclusive).unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| world.lock(2, "a", Shared));
        world.until_waiting(2);
        world.table.ended(TxnId(2));
        assert_eq!(code(waiter.join().unwrap()), Code::TransactionEnded);
    });
    assert_eq!(code(world.lock(2, "a", Shared)), Code::TransactionEnded);
}

#[test]
fn locks_are_given_back_one_by_one_and_all_at_once() {
    let world = World::with(2, VictimPolicy::Youngest);
    for name in ["a", "b", "c"] {
        world.lock(1, name, Exclusive).unwrap();
    }
    assert!(world.table.release(TxnId(1), &named("b")));
    assert!(!world.table.release(TxnId(1), &named("b")));
    world.lock(2, "b", Exclusive).unwrap();
    assert_eq!(world.table.release_all(TxnId(1), |resource| *resource == named("a")), 1);
    world.lock(2, "a", Exclusive).unwrap();
    assert_eq!(world.table.held(TxnId(1)), [(named("c"), Exclusive)]);
    assert_eq!(world.table.release_all(TxnId(1), |_| true), 1);
    world.table.ended(TxnId(2));
    assert!(world.table.locks().is_empty());
}

/// A model of exclusion: every grant is written down beside the table and must never meet a
/// grant that it conflicts with. Waits without end would hang the test into its timeout.
#[test]
fn sixteen_threads_never_meet_and_never_sleep_for_ever() {
    const NAMES: u64 = 5;
    let world = World::new(VictimPolicy::Youngest);
    // For each name: exclusive holders times 1000 plus shared holders.
    let model: Vec<AtomicI64> = (0..NAMES).map(|_| AtomicI64::new(0)).collect();
    let (next, barrier) = (AtomicU64::new(1), Barrier::new(16));
    std::thread::scope(|scope| {
        for seed in 1..=16u64 {
            let (world, model, next, barrier) = (&world, &model, &next, &barrier);
            scope.spawn(move || {
                barrier.wait();
                let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                for _ in 0..400 {
                    let txn = next.fetch_add(1, Ordering::SeqCst);
                    world
                        .table
                        .register(TxnId(txn), Arc::new(Fixed { started_at: txn as i64, work: 1 }));
                    use_some_locks(world, model, txn, &mut random);
                    world.table.ended(TxnId(txn));
                }
            });
        }
    });
    assert!(world.table.locks().is_empty());
    let counters = world.table.counters();
    assert_eq!((counters.timeouts, counters.transactions, counters.waiting_now), (0, 0, 0));
    assert!(counters.waits > 0 && counters.deadlocks > 0, "{counters:?}");
}

fn use_some_locks(world: &World, model: &[AtomicI64], txn: u64, random: &mut u64) {
    let mut taken: Vec<(usize, i64)> = Vec::new();
    for _ in 0..3 {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        let name = (*random >> 20) as usize % model.len();
        if taken.iter().any(|(other, _)| *other == name) {
            continue;
        }
        let (mode, weight) = if *random & 3 == 0 { (Exclusive, 1000) } else { (Shared, 1) };
        match world.lock(txn, &name.to_string(), mode) {
            Ok(()) => {}
            Err(error) if error.code == Code::Deadlock => break,
            Err(error) => panic!("{error}"),
        }
        let before = model[name].fetch_add(weight, Ordering::SeqCst);
        assert!(before == 0 || (weight == 1 && before < 1000), "met at {name}: {before}");
        taken.push((name, weight));
        std::thread::yield_now();
    }
    for (name, weight) in taken {
        model[name].fetch_sub(weight, Ordering::SeqCst);
    }
}
