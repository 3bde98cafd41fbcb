//! Threads that append to lists and read them, one key or a range at a time, and write down what
//! they saw. Keys come into use one after the other, so that many reads find nothing yet; noise
//! between them splits leaves, leaves ghosts and is purged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use _kernel::disk::Disk;
use _kernel::disk::memory::MemoryDisk;
use _kernel::error::{Code, Error, Result};
use _kernel::recovery::Progress;
use _kernel::store::{Store, StoreOptions};
use _kernel::txn::{Isolation, Range, Transaction, TreeRef};

use crate::dice::Dice;
use crate::history::{Deed, Event, List, Outcome};
use crate::operation::rows;

/// Keys in use at a time.
const WINDOW: u64 = 8;
/// Appends after which the window has moved by one key.
const APPENDS_PER_KEY: u64 = 12;
const PAGE: usize = 4096;

/// A safeguard that is left out: the checker has to notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    RangeLocks,
    FirstUpdater,
}

#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    pub threads: u64,
    /// Transactions of each thread in each life of the database.
    pub rounds: u64,
    /// Any of the three where it is `None`.
    pub level: Option<Isolation>,
    /// Lives of the database: each but the last one ends with the power going.
    pub lives: u64,
    pub sabotage: Option<Sabotage>,
}

/// All that happened, and what is left.
pub struct History {
    pub deeds: Vec<Deed>,
    pub end: BTreeMap<u32, List>,
}

/// What all threads of a run share.
struct Shared {
    plan: Plan,
    clock: AtomicU64,
    elements: AtomicU64,
}

fn options() -> StoreOptions {
    let mut options = StoreOptions { page_size: PAGE, ..StoreOptions::default() };
    options.opening.cache_bytes = 96 * PAGE as u64;
    options.opening.log.segment_bytes = 256 << 10;
    options.opening.log.buffer_bytes = 256 << 10;
    options.opening.locks.timeout = Duration::from_secs(20);
    options.checkpoint_log_bytes = 256 << 10;
    options
}

/// Runs a plan; an error is anything that no transaction may meet.
pub fn run(plan: Plan) -> std::result::Result<History, String> {
    let shared = Shared { plan, clock: AtomicU64::new(0), elements: AtomicU64::new(0) };
    let mut disk = MemoryDisk::new(plan.seed);
    let mut deeds = Vec::new();
    for life in 0..plan.lives {
        let store = open(&disk, life)?;
        sabotage(&store, plan.sabotage);
        if life + 1 < plan.lives {
            let calls = plan.threads * plan.rounds;
            disk.crash_after(Dice::new(plan.seed + life).between(calls / 8, calls / 2));
        }
        deeds.extend(work(&shared, &store, life)?);
        if life + 1 < plan.lives {
            disk.crash(plan.seed + life);
            drop(store);
            disk = disk.reopen();
            continue;
        }
        let last = read_all(&shared, &store).map_err(|error| told("the last read", &error))?;
        let end = last.events.iter().filter_map(|event| match event {
            Event::Read { key, list } => Some((*key, list.clone())),
            Event::Append { .. } => None,
        });
        let end = end.collect();
        deeds.push(last);
        let report = store.check(false, &Progress::default()).map_err(|e| told("check", &e))?;
        if !report.ok {
            return Err(format!("{:?}", report.problems));
        }
        return Ok(History { deeds, end });
    }
    Err("a history has at least one life".to_owned())
}

fn told(what: &str, error: &Error) -> String {
    format!("{what}: {error}, fields {:?}, cause {:?}", error.fields, error.cause)
}

fn open(disk: &Arc<MemoryDisk>, life: u64) -> std::result::Result<Store, String> {
    let disk = Arc::clone(disk) as Arc<dyn Disk>;
    let make = || -> Result<Store> {
        if life > 0 {
            return Store::open_recovering(disk, &options(), &Progress::default());
        }
        let store = Store::create(disk, &options())?;
        let mut txn = store.begin(Isolation::RepeatableRead, false)?;
        txn.tree("t", true)?;
        txn.commit()?;
        Ok(store)
    };
    make().map_err(|error| told("opening", &error))
}

fn sabotage(store: &Store, what: Option<Sabotage>) {
    let shared = store.shared();
    match what {
        Some(Sabotage::RangeLocks) => shared.locks.ranges().is_disarmed.store(true, Ordering::Relaxed),
        Some(Sabotage::FirstUpdater) => shared.skip_first_updater.store(true, Ordering::Relaxed),
        None => {}
    }
}

fn work(shared: &Shared, store: &Store, life: u64) -> std::result::Result<Vec<Deed>, String> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..shared.plan.threads)
            .map(|thread| scope.spawn(move || Worker::new(shared, store, life, thread).run()))
            .collect();
        let mut deeds = Vec::new();
        for thread in threads {
            deeds.extend(thread.join().map_err(|_| "a thread panicked".to_owned())??);
        }
        Ok(deeds)
    })
}

fn read_all(shared: &Shared, store: &Store) -> Result<Deed> {
    let began = shared.tick();
    let mut txn = store.begin(Isolation::RepeatableRead, true)?;
    let at = crate::operation::tree(&mut txn)?;
    let mut events = Vec::new();
    read_range(&mut txn, at, 0, u32::MAX, false, &mut events)?;
    events.retain(|event| !matches!(event, Event::Read { list, .. } if list.is_empty()));
    txn.commit()?;
    Ok(Deed { events, outcome: Outcome::Committed, began, ended: shared.tick() })
}

impl Shared {
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }
}

struct Worker<'r> {
    shared: &'r Shared,
    store: &'r Store,
    thread: u64,
    dice: Dice,
    deeds: Vec<Deed>,
}

impl<'r> Worker<'r> {
    fn new(shared: &'r Shared, store: &'r Store, life: u64, thread: u64) -> Self {
        let dice = Dice::new((shared.plan.seed * 100 + life) * 100 + thread);
        Worker { shared, store, thread, dice, deeds: Vec::new() }
    }

    fn run(mut self) -> std::result::Result<Vec<Deed>, String> {
        for _ in 0..self.shared.plan.rounds {
            if !self.transact()? {
                break;
            }
        }
        Ok(self.deeds)
    }

    /// One transaction; false once the power has gone.
    fn transact(&mut self) -> std::result::Result<bool, String> {
        let all = [Isolation::ReadCommitted, Isolation::RepeatableRead, Isolation::Serializable];
        let level = self.shared.plan.level.unwrap_or_else(|| self.dice.pick(&all));
        let (began, mut events) = (self.shared.tick(), Vec::new());
        let mut txn = match self.store.begin(level, false) {
            Ok(txn) => txn,
            Err(error) => return self.explain(&error).map(|_| false),
        };
        let done = self.play(&mut txn, &mut events);
        let (outcome, failure) = match done {
            Err(error) => (Outcome::Aborted, Some(error)),
            Ok(()) if self.dice.percent(8) => (Outcome::Aborted, None),
            Ok(()) => match txn.commit() {
                Ok(_) => (Outcome::Committed, None),
                Err(error) if error.code == Code::Deadlock => (Outcome::Aborted, Some(error)),
                Err(error) => (Outcome::Unknown, Some(error)),
            },
        };
        let goes_on = match &failure {
            Some(error) => self.explain(error)?,
            None => true,
        };
        if outcome == Outcome::Aborted && goes_on {
            txn.abort().or_else(|error| self.explain(&error).map(|_| ()))?;
        }
        self.deeds.push(Deed { events, outcome, began, ended: self.shared.tick() });
        Ok(goes_on)
    }

    /// True where a transaction may meet this error while the disk works, false where the disk
    /// does not.
    fn explain(&self, error: &Error) -> std::result::Result<bool, String> {
        if self.store.disk().free_bytes().is_err() {
            return Ok(false);
        }
        match error.code {
            Code::Deadlock | Code::WriteConflict => Ok(true),
            _ => Err(told("a transaction", error)),
        }
    }

    fn play(&mut self, txn: &mut Transaction, events: &mut Vec<Event>) -> Result<()> {
        let at = crate::operation::tree(txn)?;
        for _ in 0..self.dice.between(1, 5) {
            if self.dice.percent(30) {
                std::thread::yield_now();
            }
            match self.dice.below(100) {
                0..30 => {
                    let key = self.key();
                    events.push(Event::Read { key, list: read(txn, at, key)? });
                }
                30..45 => {
                    let (from, reverse) = (self.key(), self.dice.percent(40));
                    let to = from + self.dice.between(1, WINDOW) as u32;
                    read_range(txn, at, from, to, reverse, events)?;
                }
                45..87 => self.append(txn, at, events)?,
                87..93 => self.make_noise(txn, at)?,
                _ => self.take_back(txn, at)?,
            }
        }
        Ok(())
    }

    fn key(&mut self) -> u32 {
        let appended = self.shared.elements.load(Ordering::Relaxed);
        (appended / APPENDS_PER_KEY + self.dice.below(WINDOW)) as u32
    }

    /// Appends to a list: by reading and writing it, or, where nothing keeps another one from
    /// coming in between, by taking the record first and then building on what was there.
    fn append(&mut self, txn: &mut Transaction, at: TreeRef, events: &mut Vec<Event>) -> Result<()> {
        let key = self.key();
        let element = self.shared.elements.fetch_add(1, Ordering::Relaxed) + 1;
        let mut list = if txn.isolation() == Isolation::ReadCommitted || self.dice.percent(30) {
            txn.put(at, &name(key), &element.to_le_bytes())?;
            list_of(txn.replaced(at, &name(key))?)
        } else {
            let list = read(txn, at, key)?;
            events.push(Event::Read { key, list: list.clone() });
            if self.dice.percent(50) {
                std::thread::yield_now();
            }
            list
        };
        list.push(element);
        let bytes: Vec<u8> = list.iter().flat_map(|element| element.to_le_bytes()).collect();
        txn.put(at, &name(key), &bytes)?;
        events.push(Event::Append { key, element });
        Ok(())
    }

    /// Records between the lists, of no meaning.
    fn make_noise(&mut self, txn: &mut Transaction, at: TreeRef) -> Result<()> {
        let mut noise = name(self.key());
        noise.extend_from_slice(format!("~{}-{}", self.thread, self.dice.below(20)).as_bytes());
        if self.dice.percent(60) {
            return txn.put(at, &noise, &[b'~'; 150]).map(|_| ());
        }
        txn.delete(at, &noise).map(|_| ())
    }

    /// Appends that a rollback to a savepoint undoes: nobody may ever read them.
    fn take_back(&mut self, txn: &mut Transaction, at: TreeRef) -> Result<()> {
        txn.savepoint("here")?;
        let (began, mut events) = (self.shared.tick(), Vec::new());
        let done = self.append(txn, at, &mut events);
        let done = done.and_then(|()| txn.rollback_to("here"));
        events.retain(|event| matches!(event, Event::Append { .. }));
        let ended = self.shared.tick();
        self.deeds.push(Deed { events, outcome: Outcome::Aborted, began, ended });
        done
    }
}

fn name(key: u32) -> Vec<u8> {
    format!("k{key:010}").into_bytes()
}

fn list_of(value: Option<Vec<u8>>) -> List {
    let value = value.unwrap_or_default();
    value.chunks_exact(8).map(|bytes| u64::from_le_bytes(*bytes.first_chunk().unwrap())).collect()
}

fn read(txn: &mut Transaction, at: TreeRef, key: u32) -> Result<List> {
    txn.get(at, &name(key)).map(list_of)
}

/// Reads the lists of a range of keys; those that are missing are empty, as far as one may ask.
fn read_range(
    txn: &mut Transaction,
    at: TreeRef,
    from: u32,
    to: u32,
    reverse: bool,
    events: &mut Vec<Event>,
) -> Result<()> {
    let range = Range { start: name(from), stop: Some(name(to)), reverse, keys_only: false };
    let mut lists = BTreeMap::new();
    for (key, value) in rows(txn, at, &range, usize::MAX)? {
        if let Some(key) = std::str::from_utf8(&key[1..]).ok().and_then(|key| key.parse().ok()) {
            lists.insert(key, list_of(Some(value)));
        }
    }
    if to - from <= WINDOW as u32 {
        for key in from..to {
            lists.entry(key).or_default();
        }
    }
    events.extend(lists.into_iter().map(|(key, list)| Event::Read { key, list }));
    Ok(())
}
