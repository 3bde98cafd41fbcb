//! A measured workload: threads of the kernel's own put and get records of one tree.
//!
//! What each thread asks for follows from the seed alone, whatever the threads do to each other:
//! an attempt that meets a deadlock or a conflict is made again with the same keys and values.

use std::sync::Arc;
use std::time::Instant;

use crate::error::{Code, Error, Result};
use crate::recovery::Progress;
use crate::stats::{Histogram, Latency};
use crate::sync::begin_scoped;
use crate::txn::{Isolation, Shared, TreeRef};

/// What to do.
#[derive(Clone, Debug)]
pub struct Workload {
    pub threads: usize,
    /// Gets and puts of all threads together.
    pub operations: u64,
    /// The mean length of a value; lengths vary from half to one and a half of it.
    pub value_bytes: usize,
    /// The share of gets, 0 to 1.
    pub read_share: f64,
    /// Puts in one transaction.
    pub batch: usize,
    pub seed: u64,
    pub tree: String,
    /// How many different keys there are.
    pub keys: u64,
}

impl Default for Workload {
    fn default() -> Self {
        Workload {
            threads: 8,
            operations: 100_000,
            value_bytes: 150,
            read_share: 0.5,
            batch: 1,
            seed: 1,
            tree: "load".to_owned(),
            keys: 1_000_000,
        }
    }
}

/// What it came to.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    pub operations: u64,
    pub seconds: f64,
    pub per_second: f64,
    /// Transactions that had to be made again.
    pub deadlocks: u64,
    pub conflicts: u64,
    /// By kind of operation: get, put, commit.
    pub latency: Vec<(&'static str, Latency)>,
}

/// One record to be put: its key and the length of its value.
struct Put {
    key: [u8; KEY],
    bytes: usize,
}

const KEY: usize = 24;
/// The longest mean length; three halves of it still make a value.
const MOST_BYTES: usize = 64 << 20;
const MOST_THREADS: usize = 256;

#[derive(Default)]
struct Meters {
    get: Histogram,
    put: Histogram,
    commit: Histogram,
}

/// The numbers of one thread (splitmix64, Steele et al. 2014).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
    /// True in this share of the cases.
    fn chance(&mut self, share: f64) -> bool {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64 <= share && share > 0.0
    }
}

/// Runs a workload. `Cancelled` ends it early; what was committed stays.
pub fn load(shared: &Arc<Shared>, work: &Workload, progress: &Progress) -> Result<Measured> {
    work.validate()?;
    let mut txn = shared.begin(Isolation::ReadCommitted, false)?;
    let tree = txn.tree(&work.tree, true)?.ok_or_else(|| Error::internal("a tree was not made"))?;
    txn.commit()?;
    progress.begin("load", "operations", work.operations);
    let meters = Meters::default();
    let started = Instant::now();
    let ended = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..work.threads)
            .map(|thread| {
                let worker = Worker { shared, work, tree, progress, meters: &meters };
                begin_scoped(scope, move || worker.run(thread))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                let panicked = |_| Err(Error::internal("a loading thread panicked"));
                thread?.join().unwrap_or_else(panicked)
            })
            .collect::<Vec<Result<Measured>>>()
    });
    let seconds = started.elapsed().as_secs_f64();
    let mut sum = Measured { seconds, ..Measured::default() };
    for thread in ended {
        let thread = thread?;
        sum.operations += thread.operations;
        sum.deadlocks += thread.deadlocks;
        sum.conflicts += thread.conflicts;
    }
    sum.per_second = sum.operations as f64 / seconds.max(1e-9);
    sum.latency = vec![
        ("get", meters.get.snapshot()),
        ("put", meters.put.snapshot()),
        ("commit", meters.commit.snapshot()),
    ];
    Ok(sum)
}

impl Workload {
    fn validate(&self) -> Result<()> {
        let issue = |argument, issue: &str| Err(Error::argument(argument, issue));
        match self {
            work if !(1..=MOST_THREADS).contains(&work.threads) => issue("threads", "from 1 to 256"),
            work if work.batch == 0 => issue("batch", "at least 1"),
            work if work.keys == 0 => issue("keys", "at least 1"),
            work if work.value_bytes > MOST_BYTES => issue("value_bytes", "at most 64 MiB"),
            work if !(0.0..=1.0).contains(&work.read_share) => issue("read_share", "from 0 to 1"),
            _ => Ok(()),
        }
    }

    /// The operations of one thread.
    fn share_of(&self, thread: usize) -> u64 {
        let threads = self.threads as u64;
        self.operations / threads + u64::from((thread as u64) < self.operations % threads)
    }
}

struct Worker<'w> {
    shared: &'w Arc<Shared>,
    work: &'w Workload,
    tree: TreeRef,
    progress: &'w Progress,
    meters: &'w Meters,
}

impl Worker<'_> {
    fn run(&self, thread: usize) -> Result<Measured> {
        let mut numbers = Numbers(self.work.seed ^ (thread as u64).wrapping_mul(0xA076_1D64_78BD_642F));
        let mut done = Measured::default();
        let mut value = Vec::new();
        let wanted = self.work.share_of(thread);
        while done.operations < wanted {
            self.progress.ensure_going()?;
            // One in so many steps reads: a step that writes does `batch` operations at once.
            let (reads, writes) = (self.work.read_share, 1.0 - self.work.read_share);
            let step_share = reads / (reads + writes / self.work.batch as f64).max(1e-12);
            let operations = if numbers.chance(step_share) {
                self.get(&key(numbers.below(self.work.keys)))?;
                1
            } else {
                let left = wanted - done.operations;
                let puts: Vec<Put> =
                    (0..left.min(self.work.batch as u64)).map(|_| self.draw(&mut numbers)).collect();
                fill(&mut value, self.work.value_bytes * 3 / 2 + 1, &mut numbers);
                self.put_all(&puts, &value, &mut done)?;
                puts.len() as u64
            };
            done.operations += operations;
            self.progress.add(operations);
        }
        Ok(done)
    }

    fn draw(&self, numbers: &mut Numbers) -> Put {
        let (mean, key) = (self.work.value_bytes, key(numbers.below(self.work.keys)));
        Put { key, bytes: mean / 2 + numbers.below(mean as u64 + 1) as usize }
    }

    fn get(&self, key: &[u8]) -> Result<()> {
        let started = Instant::now();
        let mut txn = self.shared.begin(Isolation::ReadCommitted, true)?;
        txn.get(self.tree, key)?;
        txn.commit()?;
        self.meters.get.record(started.elapsed());
        Ok(())
    }

    /// Puts a batch in one transaction, as often as it takes.
    fn put_all(&self, puts: &[Put], value: &[u8], done: &mut Measured) -> Result<()> {
        loop {
            let Err(error) = self.try_put_all(puts, value) else { return Ok(()) };
            match error.code {
                Code::Deadlock => done.deadlocks += 1,
                Code::WriteConflict => done.conflicts += 1,
                _ => return Err(error),
            }
            self.progress.ensure_going()?;
        }
    }

    fn try_put_all(&self, puts: &[Put], value: &[u8]) -> Result<()> {
        let mut txn = self.shared.begin(Isolation::RepeatableRead, false)?;
        for put in puts {
            let started = Instant::now();
            txn.put(self.tree, &put.key, &value[..put.bytes])?;
            self.meters.put.record(started.elapsed());
        }
        let started = Instant::now();
        txn.commit()?;
        self.meters.commit.record(started.elapsed());
        Ok(())
    }
}

/// The key of a number: scattered over the tree, and always the same.
fn key(number: u64) -> [u8; KEY] {
    let mut key = [b'0'; KEY];
    let scattered = Numbers(number).next();
    for (place, digit) in key[..16].iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(scattered >> (60 - 4 * place) & 15) as usize];
    }
    let mut left = number;
    for digit in key[16..].iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
    }
    key
}

/// Bytes that differ from batch to batch and compress like ordinary text.
fn fill(value: &mut Vec<u8>, bytes: usize, numbers: &mut Numbers) {
    let mark = numbers.next();
    value.resize(bytes, 0);
    let words = value.chunks_mut(8).enumerate();
    words.for_each(|(place, chunk)| {
        let word = (mark ^ (place as u64 / 4)).to_le_bytes().map(|byte| b'a' + byte % 26);
        chunk.copy_from_slice(&word[..chunk.len()]);
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::disk::Disk;
    use crate::disk::memory::MemoryDisk;
    use crate::store::{Store, StoreOptions};
    use crate::txn::Range;

    fn store() -> Store {
        let disk: Arc<dyn Disk> = MemoryDisk::new(1);
        let mut options = StoreOptions::default();
        options.opening.log.segment_bytes = 4 << 20;
        options.opening.log.buffer_bytes = 1 << 20;
        Store::create(disk, &options).unwrap()
    }

    fn records(store: &Store) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut txn = store.begin(Isolation::RepeatableRead, true).unwrap();
        let tree = txn.tree("load", false).unwrap().unwrap();
        let mut found = Vec::new();
        let mut from: Option<Vec<u8>> = None;
        loop {
            let batch = txn.scan(tree, &Range::default(), from.as_deref(), 500).unwrap();
            found.extend(batch.records);
            match batch.next {
                Some(next) => from = Some(next),
                None => return found,
            }
        }
    }

    #[test]
    fn a_workload_does_what_it_was_asked_for_and_measures_it() {
        let store = store();
        let work = Workload { operations: 5003, batch: 3, keys: 40, ..Workload::default() };
        let progress = Progress::default();
        let measured = load(store.shared(), &work, &progress).unwrap();
        assert_eq!(measured.operations, 5003);
        assert_eq!(progress.look().2, 5003);
        let [(_, get), (_, put), (_, commit)] = measured.latency[..] else { panic!() };
        let share = get.count as f64 / 5003.0;
        assert!((0.45..0.55).contains(&share), "{share}");
        assert!(put.count >= 5003 - get.count && commit.count > 0);
        let found = records(&store);
        assert!(!found.is_empty() && found.len() <= 40);
        assert!(found.iter().all(|(_, value)| (75..=225).contains(&value.len())));
        assert!(store.check(false, &Progress::default()).unwrap().ok);
    }

    #[test]
    fn one_thread_leaves_the_same_records_for_the_same_seed() {
        let work = Workload { threads: 1, operations: 400, ..Workload::default() };
        let states = [7, 7, 8].map(|seed| {
            let store = store();
            load(store.shared(), &Workload { seed, ..work.clone() }, &Progress::default()).unwrap();
            records(&store)
        });
        assert_eq!(states[0], states[1]);
        assert_ne!(states[0], states[2]);
    }

    #[test]
    fn impossible_wishes_are_refused_and_cancel_is_heard() {
        let store = store();
        let none = Workload { threads: 0, ..Workload::default() };
        let error = load(store.shared(), &none, &Progress::default()).unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument);
        let progress = Progress::default();
        progress.cancel();
        let error = load(store.shared(), &Workload::default(), &progress).unwrap_err();
        assert_eq!(error.code, Code::Cancelled);
    }
}
