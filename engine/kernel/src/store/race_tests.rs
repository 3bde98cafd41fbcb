//! Races under the seeded scheduler: writers, a reader, and a housekeeper who takes checkpoints,
//! rotates the log, cuts it, writes pages out and gives pages back, in every order a seed can think
//! of; some runs end with a close in the middle, in some old snapshots and transactions that hold
//! log are given up. `HOLDFAST_SCHEDULES=n` runs more seeds.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::tests::{all, options, tree, try_all};
use super::*;
use crate::disk::memory::MemoryDisk;
use crate::sync::schedule;
use crate::txn::{LogLimits, Range};

const WRITERS: u64 = 3;
const ROUNDS: u64 = 8;

/// What one writer was told.
#[derive(Default)]
struct Account {
    own: BTreeMap<Vec<u8>, Vec<u8>>,
    raised: u64,
}

/// A few numbers for a task, from the seed of the run and its own.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn small(seed: u64) -> StoreOptions {
    let mut options = options();
    options.opening.cache_bytes = 20 * 4096;
    options.opening.log.segment_bytes = 24 << 10;
    options.opening.log.buffer_bytes = 32 << 10;
    options.opening.image_every = 6;
    options.checkpoint_log_bytes = 16 << 10;
    if seed % 4 == 1 {
        // Far less than what is under way holds: whoever looks gives up snapshots and writers.
        options.opening.limits =
            LogLimits { snapshot_bytes: 6 << 10, transaction_bytes: 3 << 10, aborts: true };
    }
    options
}

fn is_over(error: &Error) -> bool {
    // A close rolls back what others have not ended.
    matches!(error.code, Code::StoreClosed | Code::TransactionEnded)
}

fn is_refusal(error: &Error) -> bool {
    let was_given_up = matches!(error.code, Code::SnapshotTooOld | Code::TransactionAborted);
    was_given_up || matches!(error.code, Code::Deadlock | Code::WriteConflict | Code::LockTimeout)
}

/// One transaction: some records of its own, and one of the counter that all raise.
fn transact(store: &Store, dice: &mut Dice, writer: u64, after: &mut Account) -> Result<()> {
    let isolation = [Isolation::ReadCommitted, Isolation::RepeatableRead, Isolation::Serializable];
    let mut txn = store.begin(isolation[dice.below(3) as usize], false)?;
    let own = txn.tree("own", true)?.unwrap();
    if dice.below(5) == 0 {
        // Whole leaves are emptied, and taken out while others read along.
        for key in std::mem::take(&mut after.own).into_keys() {
            assert!(txn.delete(own, &key)?);
        }
    }
    for _ in 0..1 + dice.below(6) {
        let key = format!("{writer}-{:03}", dice.below(60)).into_bytes();
        if dice.below(3) == 0 {
            txn.delete(own, &key)?;
            after.own.remove(&key);
        } else {
            let length = if dice.below(12) == 0 { 5000 } else { 20 + dice.below(400) };
            let value = vec![dice.below(256) as u8; length as usize];
            txn.put(own, &key, &value)?;
            after.own.insert(key, value);
        }
    }
    let shared = txn.tree("shared", true)?.unwrap();
    let isolation = txn.isolation();
    // A lost update is what read committed may do: there the counter is left alone.
    if isolation != Isolation::ReadCommitted {
        let raised = u64::from_le_bytes(txn.get(shared, b"n")?.unwrap().try_into().unwrap()) + 1;
        txn.put(shared, b"n", &raised.to_le_bytes())?;
        after.raised += 1;
    }
    if dice.below(6) == 0 {
        txn.abort()?;
        return Err(Error::new(Code::WriteConflict));
    }
    txn.commit().map(|_| ())
}

fn write(store: &Store, seed: u64, writer: u64, account: &mut Account) {
    let mut dice = Dice(seed * 31 + writer);
    for _ in 0..ROUNDS {
        let mut after = Account { own: account.own.clone(), raised: account.raised };
        match transact(store, &mut dice, writer, &mut after) {
            Ok(()) => *account = after,
            Err(error) if is_refusal(&error) => {}
            Err(error) if is_over(&error) => return,
            Err(error) => panic!("writer {writer}: {error}"),
        }
    }
}

/// What a snapshot shows does not change while it is looked at, whichever way.
fn read(store: &Store) {
    for _ in 0..3 {
        let done = store.begin(Isolation::RepeatableRead, true).and_then(|mut txn| {
            let at = txn.tree("own", false)?.unwrap();
            let mut forward = try_all(&mut txn, at, false)?;
            forward.reverse();
            assert!(forward == try_all(&mut txn, at, true)?, "two ways to read a snapshot disagree");
            assert_eq!(forward.len() as u64, txn.count(at)?);
            Ok(())
        });
        let is_expected = |error: &Error| is_over(error) || error.code == Code::SnapshotTooOld;
        assert!(done.as_ref().err().is_none_or(is_expected), "reader: {}", done.unwrap_err());
    }
}

/// A cursor that moves while leaves go never misses a record that was there all the time.
fn wander(store: &Store) {
    for round in 0..4 {
        let done = store.begin(Isolation::ReadCommitted, true).and_then(|mut txn| {
            let at = txn.tree("own", false)?.unwrap();
            let range = Range { reverse: round % 2 == 1, ..Range::default() };
            let (mut stays, mut from) = (Vec::new(), None::<Vec<u8>>);
            loop {
                let batch = txn.scan(at, &range, from.as_deref(), 5)?;
                stays.extend(batch.records.into_iter().map(|(key, _)| key).filter(|key| is_stay(key)));
                match batch.next {
                    Some(next) => from = Some(next),
                    None => break,
                }
            }
            stays.sort();
            assert!(stays == all_stays(), "a cursor lost its way");
            Ok(())
        });
        assert!(done.as_ref().err().is_none_or(is_over), "cursor: {}", done.unwrap_err());
    }
}

fn is_stay(key: &[u8]) -> bool {
    key.last() == Some(&b'!')
}

/// Records that nobody changes, before, between and behind those that come and go.
fn all_stays() -> Vec<Vec<u8>> {
    let between =
        (0..WRITERS).flat_map(|writer| [0, 30].map(|n| format!("{writer}-{n:03}!").into_bytes()));
    between.chain((0..40u64).map(|n| format!("z{n:03}!").into_bytes())).collect()
}

fn keep_house(store: &Store, seed: u64) {
    let mut dice = Dice(seed ^ 0xABCD);
    for _ in 0..12 {
        let done = match dice.below(6) {
            0 => store.checkpoint().map(|_| ()),
            1 => store.shared().core.log.rotate(),
            2 => store.shared().core.pool.write_out_cold().map(|_| ()),
            3 => store.flush(),
            _ => store.maintain(),
        };
        assert!(done.as_ref().err().is_none_or(is_over), "housekeeper: {}", done.unwrap_err());
    }
}

fn prepare(store: &Store) {
    let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
    let (own, shared) = (tree(&mut txn, "own"), tree(&mut txn, "shared"));
    txn.put(shared, b"n", &0u64.to_le_bytes()).unwrap();
    all_stays().iter().for_each(|key| assert!(!txn.put(own, key, &[1; 90]).unwrap()));
    txn.commit().unwrap();
}

fn compare(store: &Store, accounts: &[Account]) {
    let mut txn = store.begin(Isolation::RepeatableRead, true).unwrap();
    let (own, shared) =
        (txn.tree("own", false).unwrap().unwrap(), txn.tree("shared", false).unwrap().unwrap());
    let found: BTreeMap<Vec<u8>, Vec<u8>> =
        all(&mut txn, own, false).into_iter().filter(|(key, _)| !is_stay(key)).collect();
    let expected = accounts.iter().flat_map(|account| account.own.clone()).collect();
    assert!(found == expected, "other records than those that were committed");
    let raised = u64::from_le_bytes(txn.get(shared, b"n").unwrap().unwrap().try_into().unwrap());
    assert_eq!(raised, accounts.iter().map(|account| account.raised).sum::<u64>());
}

/// One seed; returns the number of its interleaving.
fn race(seed: u64) -> u64 {
    let disk = MemoryDisk::new(seed);
    let store = Store::create(disk.clone(), &small(seed)).unwrap();
    prepare(&store);
    let closes = seed.is_multiple_of(3);
    let mut accounts: Vec<Account> = (0..WRITERS).map(|_| Account::default()).collect();
    let trace = {
        let store = &store;
        let mut tasks: Vec<Box<dyn FnOnce() + Send + '_>> = Vec::new();
        for (writer, account) in accounts.iter_mut().enumerate() {
            tasks.push(Box::new(move || write(store, seed, writer as u64, account)));
        }
        tasks.push(Box::new(|| read(store)));
        tasks.push(Box::new(|| wander(store)));
        tasks.push(Box::new(|| keep_house(store, seed)));
        if closes {
            let waits = Dice(seed).below(4000);
            tasks.push(Box::new(move || {
                (0..waits).for_each(|_| crate::sync::yield_now());
                store.close().unwrap();
            }));
        }
        schedule::run(seed, tasks)
    };
    if !closes {
        compare(&store, &accounts);
        if seed.is_multiple_of(2) {
            store.close().unwrap();
        } else {
            disk.crash(seed);
        }
    }
    drop(store);
    let store = Store::open_recovering(disk.reopen(), &small(seed), &Progress::default()).unwrap();
    compare(&store, &accounts);
    store.maintain().unwrap();
    assert_eq!(store.check(false, &Progress::default()).unwrap().problems, []);
    trace
}

#[test]
fn checkpoints_rotation_cleanup_eviction_commits_and_close_race_without_harm() {
    let from = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let first = from("HOLDFAST_FIRST_SEED").unwrap_or(0);
    let mut traces = std::collections::HashSet::new();
    let count = from("HOLDFAST_SCHEDULES").unwrap_or(40);
    for seed in first..first + count {
        let outcome = catch_unwind(|| race(seed));
        traces.insert(outcome.unwrap_or_else(|_| panic!("seed {seed} went wrong")));
    }
    assert_eq!(traces.len() as u64, count, "seeds that gave the same interleaving");
}
