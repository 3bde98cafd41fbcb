//! What works on a store at the same time in races under the seeded scheduler: writers whose
//! accounts say what must be found, readers, and somebody who keeps house.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashSet};

use super::tests::{all, options, tree, try_all};
use super::*;
use crate::txn::{LogLimits, Range};
use crate::types::Lsn;

pub(crate) const WRITERS: u64 = 3;
const ROUNDS: u64 = 8;

/// Who runs in a schedule.
pub(crate) type Tasks<'t> = Vec<Box<dyn FnOnce() + Send + 't>>;

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// What one writer was told.
#[derive(Clone, Default)]
pub(crate) struct Account {
    own: Records,
    raised: u64,
    /// What it had after each of its commits, with the LSN of that.
    past: Vec<(Lsn, Records, u64)>,
}

impl Account {
    /// What was committed before `end`.
    pub fn at(&self, end: Lsn) -> Account {
        let last = self.past.iter().rfind(|(lsn, ..)| *lsn < end);
        let (own, raised) = last.map(|(_, own, raised)| (own.clone(), *raised)).unwrap_or_default();
        Account { own, raised, past: Vec::new() }
    }
}

/// A few numbers for a task, from the seed of the run and its own.
pub(crate) struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

pub(crate) fn small(seed: u64) -> StoreOptions {
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

pub(crate) fn is_over(error: &Error) -> bool {
    // A close rolls back what others have not ended, and cancels what they are at.
    matches!(error.code, Code::StoreClosed | Code::TransactionEnded | Code::Cancelled)
}

fn is_refusal(error: &Error) -> bool {
    let was_given_up = matches!(error.code, Code::SnapshotTooOld | Code::TransactionAborted);
    was_given_up || matches!(error.code, Code::Deadlock | Code::WriteConflict | Code::LockTimeout)
}

/// One transaction: some records of its own, and one of the counter that all raise.
fn transact(store: &Store, dice: &mut Dice, writer: u64, after: &mut Account) -> Result<Lsn> {
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
    txn.commit()
}

pub(crate) fn write(store: &Store, seed: u64, writer: u64, account: &mut Account) {
    let mut dice = Dice(seed * 31 + writer);
    for _ in 0..ROUNDS {
        let mut after = Account { own: account.own.clone(), raised: account.raised, past: Vec::new() };
        match transact(store, &mut dice, writer, &mut after) {
            Ok(lsn) => {
                account.past.push((lsn, after.own.clone(), after.raised));
                (account.own, account.raised) = (after.own, after.raised);
            }
            Err(error) if is_refusal(&error) => {}
            Err(error) if is_over(&error) => return,
            Err(error) => panic!("writer {writer}: {error}"),
        }
    }
}

/// What a snapshot shows does not change while it is looked at, whichever way.
pub(crate) fn read(store: &Store) {
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
pub(crate) fn wander(store: &Store) {
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

pub(crate) fn keep_house(store: &Store, seed: u64) {
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

pub(crate) fn prepare(store: &Store) {
    let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
    let (own, shared) = (tree(&mut txn, "own"), tree(&mut txn, "shared"));
    txn.put(shared, b"n", &0u64.to_le_bytes()).unwrap();
    all_stays().iter().for_each(|key| assert!(!txn.put(own, key, &[1; 90]).unwrap()));
    txn.commit().unwrap();
}

pub(crate) fn compare(store: &Store, accounts: &[Account]) {
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

/// Nothing but what the accounts say is there, and every invariant holds.
pub(crate) fn assert_whole(store: &Store, accounts: &[Account]) {
    compare(store, accounts);
    store.maintain().unwrap();
    assert_eq!(store.check(false, &Progress::default()).unwrap().problems, []);
}

/// The writers, each with its account, and the readers.
pub(crate) fn workers<'t>(store: &'t Store, seed: u64, accounts: &'t mut [Account]) -> Tasks<'t> {
    let mut tasks: Tasks<'t> = Vec::new();
    for (writer, account) in accounts.iter_mut().enumerate() {
        tasks.push(Box::new(move || write(store, seed, writer as u64, account)));
    }
    tasks.push(Box::new(|| read(store)));
    tasks.push(Box::new(|| wander(store)));
    tasks
}

/// Closes the store after a while that the seed draws.
pub(crate) fn close_meanwhile(store: &Store, seed: u64) -> Box<dyn FnOnce() + Send + '_> {
    let waits = Dice(seed).below(4000);
    Box::new(move || {
        (0..waits).for_each(|_| crate::sync::yield_now());
        store.close().unwrap();
    })
}

/// Runs `count` seeds, or as many as `HOLDFAST_SCHEDULES` says, from `HOLDFAST_FIRST_SEED` on; a
/// race returns the number of its interleaving.
pub(crate) fn each_seed(count: u64, race: impl Fn(u64) -> u64) {
    let from = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let first = from("HOLDFAST_FIRST_SEED").unwrap_or(0);
    let count = from("HOLDFAST_SCHEDULES").unwrap_or(count);
    let mut traces = HashSet::new();
    for seed in first..first + count {
        let outcome = catch_unwind(AssertUnwindSafe(|| race(seed)));
        traces.insert(outcome.unwrap_or_else(|_| panic!("seed {seed} went wrong")));
    }
    assert_eq!(traces.len() as u64, count, "seeds that gave the same interleaving");
}
