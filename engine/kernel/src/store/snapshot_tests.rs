//! Snapshots against a model that keeps all versions: whatever writers, cleaning, checkpoints and
//! the cutting of the log do meanwhile, a snapshot sees what was committed when it began.
//!
//! Every value names its writer. What each committed transaction wrote is noted with the log
//! entries of its changes, which are in order for each key; what a snapshot read is compared with
//! that once all threads are done. `HOLDFAST_SEEDS=n` runs more seeds.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicU64;

use super::tests::{all, options};
use super::*;
use crate::disk::memory::MemoryDisk;
use crate::txn::{LogLimits, Range, Snapshot, TreeRef};
use crate::types::{Lsn, TxnId};

const WRITERS: u64 = 12;
const READERS: u64 = 4;
const KEYS: u64 = 80;

struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// One change of a key: its log entry, its writer, and whether it left a value.
type Change = (Lsn, TxnId, bool);

/// Every committed change, and when each commit was acknowledged.
#[derive(Default)]
struct Model {
    changes: HashMap<u64, Vec<Change>>,
    acknowledged: HashMap<TxnId, u64>,
}

/// What a snapshot read of each key: the writer of its value.
struct Seen {
    snapshot: Snapshot,
    /// Commits acknowledged up to here had happened before it began.
    after: u64,
    values: BTreeMap<u64, TxnId>,
}

#[derive(Default)]
struct Run {
    clock: AtomicU64,
    model: Mutex<Model>,
    seen: Mutex<Vec<Seen>>,
    writing: AtomicU64,
    too_old: AtomicU64,
}

fn key(number: u64) -> Vec<u8> {
    format!("{number:04}").into_bytes()
}

fn value(dice: &mut Dice, writer: TxnId) -> Vec<u8> {
    // One in eight is long enough for pages of its own.
    let length = if dice.below(8) == 0 { 1500 + dice.below(5000) } else { 8 + dice.below(150) };
    let mut value = vec![7; length as usize];
    value[..8].copy_from_slice(&writer.0.to_le_bytes());
    value
}

fn writer_of(value: &[u8]) -> TxnId {
    TxnId(u64::from_le_bytes(*value.first_chunk().unwrap()))
}

fn write(run: &Run, store: &Store, at: TreeRef, dice: &mut Dice) -> Result<()> {
    let isolation =
        if dice.below(3) == 0 { Isolation::ReadCommitted } else { Isolation::RepeatableRead };
    let mut txn = store.begin(isolation, false)?;
    let mut changed: HashMap<u64, Change> = HashMap::new();
    for step in 0..1 + dice.below(6) {
        // One key is hot.
        let number = if dice.below(4) == 0 { 0 } else { dice.below(KEYS) };
        let is_value = dice.below(4) > 0;
        if step == 3 {
            txn.savepoint("s")?;
            txn.put(at, &key(dice.below(KEYS)), &value(dice, TxnId(u64::MAX)))?;
            txn.rollback_to("s")?;
        }
        if is_value {
            txn.put(at, &key(number), &value(dice, txn.id()))?;
        } else if !txn.delete(at, &key(number))? {
            continue;
        }
        changed.insert(number, (txn.state().last_lsn(), txn.id(), is_value));
    }
    if dice.below(5) == 0 {
        return txn.abort();
    }
    txn.commit()?;
    let acknowledged = run.clock.fetch_add(1, Ordering::SeqCst) + 1;
    let mut model = run.model.lock();
    model.acknowledged.insert(txn.id(), acknowledged);
    for (number, change) in changed {
        model.changes.entry(number).or_default().push(change);
    }
    Ok(())
}

fn read(run: &Run, store: &Store, at: TreeRef, dice: &mut Dice) -> Result<()> {
    let after = run.clock.load(Ordering::SeqCst);
    let mut txn = store.begin(Isolation::RepeatableRead, true)?;
    let snapshot = txn.state().snapshot.clone();
    for _ in 0..1 + dice.below(6) {
        let range = Range { reverse: dice.below(2) == 0, ..Range::default() };
        let (mut values, mut from) = (BTreeMap::new(), None::<Vec<u8>>);
        loop {
            let batch = txn.scan(at, &range, from.as_deref(), 7)?;
            for (key, value) in &batch.records {
                let number = std::str::from_utf8(key).unwrap().parse().unwrap();
                assert!(values.insert(number, writer_of(value)).is_none(), "seen twice");
            }
            match batch.next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
        for _ in 0..8 {
            let number = dice.below(KEYS);
            let found = txn.get(at, &key(number))?.map(|value| writer_of(&value));
            assert_eq!(found, values.get(&number).copied(), "a scan and a get disagree");
        }
        assert_eq!(txn.count(at)?, values.len() as u64);
        run.seen.lock().push(Seen { snapshot: snapshot.clone(), after, values });
        std::thread::yield_now();
    }
    txn.commit().map(|_| ())
}

/// What a reader finds of a key that sees these writers.
fn visible(changes: &[Change], sees: impl Fn(TxnId) -> bool) -> Option<TxnId> {
    let newest = changes.iter().filter(|(_, writer, _)| sees(*writer)).max_by_key(|(lsn, ..)| *lsn);
    newest.and_then(|(_, writer, is_value)| is_value.then_some(*writer))
}

fn state(model: &Model, sees: impl Fn(TxnId) -> bool) -> BTreeMap<u64, TxnId> {
    let found = model.changes.iter().map(|(number, changes)| (*number, visible(changes, &sees)));
    found.filter_map(|(number, writer)| Some((number, writer?))).collect()
}

/// Counts a writer off, however it ends.
struct Writing<'r>(&'r Run);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.writing.fetch_sub(1, Ordering::SeqCst);
    }
}

fn live(run: &Run, store: &Store, at: TreeRef, seed: u64, rounds: u64) {
    run.writing.store(WRITERS, Ordering::SeqCst);
    let is_expected = |code: Code| {
        run.too_old.fetch_add(u64::from(code == Code::SnapshotTooOld), Ordering::Relaxed);
        matches!(code, Code::Deadlock | Code::WriteConflict | Code::SnapshotTooOld)
    };
    std::thread::scope(|scope| {
        for thread in 0..WRITERS {
            scope.spawn(move || {
                let _writing = Writing(run);
                let mut dice = Dice(seed * 1000 + thread);
                for _ in 0..rounds {
                    let done = write(run, store, at, &mut dice);
                    done.unwrap_or_else(|error| assert!(is_expected(error.code), "{error}"));
                }
            });
        }
        for thread in 0..READERS {
            scope.spawn(move || {
                let mut dice = Dice(seed * 1000 + 500 + thread);
                while run.writing.load(Ordering::SeqCst) > 0 {
                    let done = read(run, store, at, &mut dice);
                    done.unwrap_or_else(|error| assert!(is_expected(error.code), "{error}"));
                }
            });
        }
        scope.spawn(move || {
            while run.writing.load(Ordering::SeqCst) > 0 {
                store.checkpoint().unwrap();
                store.maintain().unwrap();
            }
        });
    });
}

fn check(run: &Run, seed: u64) {
    let model = run.model.lock();
    for seen in run.seen.lock().drain(..) {
        assert_eq!(state(&model, |writer| seen.snapshot.sees(writer)), seen.values, "seed {seed}");
        for (writer, acknowledged) in &model.acknowledged {
            let is_seen = seen.snapshot.sees(*writer);
            assert!(is_seen || *acknowledged > seen.after, "seed {seed}: {writer} was acknowledged");
        }
    }
}

fn run(seed: u64, snapshot_bytes: u64, rounds: u64) -> u64 {
    let disk = MemoryDisk::new(seed);
    let mut options = StoreOptions { background: true, ..options() };
    options.opening.log.segment_bytes = 32 << 10;
    options.opening.log.buffer_bytes = 16 << 10;
    options.opening.limits = LogLimits { snapshot_bytes, ..LogLimits::default() };
    options.opening.image_every = 40;
    let store = Store::create(disk.clone(), &options).unwrap();
    let mut txn = store.begin(Isolation::RepeatableRead, false).unwrap();
    let at = super::tests::tree(&mut txn, "t");
    txn.commit().unwrap();
    let run = Run::default();
    live(&run, &store, at, seed, rounds);
    check(&run, seed);
    disk.crash(seed);
    drop(store);
    // After a crash nothing is cleaned that a new snapshot may have to see.
    let store = Store::open_recovering(disk.reopen(), &options, &Progress::default()).unwrap();
    let mut txn = store.begin(Isolation::RepeatableRead, true).unwrap();
    let expected = state(&run.model.lock(), |_| true);
    let values = all(&mut txn, at, false);
    assert_eq!(
        values.iter().map(|(_, value)| writer_of(value)).collect::<Vec<_>>(),
        expected.into_values().collect::<Vec<_>>(),
        "seed {seed}"
    );
    drop(txn);
    live(&run, &store, at, seed + 77, rounds);
    check(&run, seed);
    store.maintain().unwrap();
    assert_eq!(store.check(false, &Progress::default()).unwrap().problems, [], "seed {seed}");
    store.close().unwrap();
    run.too_old.load(Ordering::Relaxed)
}

fn seeds() -> u64 {
    std::env::var("HOLDFAST_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(3)
}

#[test]
fn a_snapshot_sees_the_state_at_its_beginning_whatever_happens_later() {
    for seed in 0..seeds() {
        assert_eq!(run(seed, u64::MAX, 60), 0);
    }
}

#[test]
fn a_snapshot_whose_log_is_taken_away_fails_and_never_misleads() {
    let too_old: u64 = (100..100 + seeds()).map(|seed| run(seed, 24 << 10, 60)).sum();
    assert!(too_old > 0, "no snapshot became too old");
}
