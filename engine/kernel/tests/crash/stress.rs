//! Many threads at once, with the store's own threads and a small cache: splits, purges, unlinked
//! leaves, evictions, checkpoints, deadlocks, rollbacks. Each thread keeps a model of the keys that
//! only it writes; counters that all of them write have to add up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use _kernel::disk::Disk;
use _kernel::disk::memory::MemoryDisk;
use _kernel::error::{Code, Error, Result};
use _kernel::recovery::Progress;
use _kernel::stats::Counter;
use _kernel::store::{Store, StoreOptions};
use _kernel::txn::{CatalogueKind, Isolation, Transaction, TreeRef};

use crate::audit::audit;
use crate::campaign::{chain, check};
use crate::dice::Dice;
use crate::life::{is_disk_fault, rows_of};

const COUNTERS: u64 = 12;

type Own = BTreeMap<Vec<u8>, Vec<u8>>;

/// How a run ends before its database is opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Close,
    Crash,
    /// The power goes while all threads are at work.
    CrashAtWork,
}

/// What one thread knows: the keys that are its own, and how often it raised a counter.
#[derive(Default)]
struct Account {
    own: Own,
    raised: u64,
    retries: u64,
    commits: u64,
    /// What a commit that nobody answered would have made of it.
    in_flight: Option<(Own, u64)>,
}

pub fn options(frames: u64) -> StoreOptions {
    let mut options = StoreOptions { page_size: 4096, ..StoreOptions::default() };
    options.opening.cache_bytes = frames * 4096;
    options.opening.log.segment_bytes = 256 << 10;
    options.opening.log.buffer_bytes = 256 << 10;
    options.opening.image_every = 64;
    options.opening.locks.timeout = Duration::from_secs(20);
    options.checkpoint_log_bytes = 512 << 10;
    options
}

/// Runs `threads` threads of `rounds` transactions each on a fresh database.
pub fn run(seed: u64, threads: u64, rounds: u64, ending: Ending) -> std::result::Result<String, String> {
    let told = |what: &'static str| move |error: Error| format!("{what}: {}", chain(&error));
    let memory = MemoryDisk::new(seed);
    let options = options(threads * 4);
    let store =
        Store::create(Arc::clone(&memory) as Arc<dyn Disk>, &options).map_err(told("creation"))?;
    prepare(&store).map_err(told("preparation"))?;
    if ending == Ending::CrashAtWork {
        memory.crash_after(Dice::new(seed).between(50, threads * rounds));
    }
    let over = AtomicBool::new(false);
    let accounts = std::thread::scope(|scope| {
        let keeper = scope.spawn(|| keep_house(&store, &over));
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let store = &store;
                scope.spawn(move || work(store, seed * 1000 + thread, thread, rounds))
            })
            .collect();
        let accounts: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        over.store(true, Ordering::Release);
        keeper.join().map_err(|_| "the housekeeper panicked".to_owned())??;
        let accounts: std::result::Result<Vec<_>, _> = accounts.into_iter().collect();
        let accounts = accounts.map_err(|_| "a worker panicked".to_owned())?;
        accounts.into_iter().collect::<std::result::Result<Vec<Account>, String>>()
    })?;
    if ending != Ending::CrashAtWork {
        compare(&store, &accounts)?;
    }
    let figures = figures(&store, &accounts);
    match ending {
        Ending::Close => store.close().map(|_| ()).map_err(told("close"))?,
        Ending::Crash => memory.crash(seed),
        // The disk's own seed decides.
        Ending::CrashAtWork => {}
    }
    drop(store);
    let life: Arc<dyn Disk> = memory.reopen();
    let store = match ending {
        Ending::Close => Store::open(Arc::clone(&life), &options),
        _ => Store::open_recovering(Arc::clone(&life), &options, &Progress::default()),
    };
    let store = store.map_err(told("opening again"))?;
    compare(&store, &accounts)?;
    // Without threads of its own, so that nothing is given back while it is looked at.
    store.close().map_err(told("last close"))?;
    drop(store);
    let quiet = StoreOptions { background: false, ..options };
    let store = Store::open(life, &quiet).map_err(told("last opening"))?;
    store.maintain().map_err(told("maintenance"))?;
    audit(&store)?;
    check(&store)?;
    Ok(figures)
}

fn prepare(store: &Store) -> Result<()> {
    let mut txn = store.begin(Isolation::RepeatableRead, false)?;
    let counters = tree(&mut txn, "counters")?;
    tree(&mut txn, "shared")?;
    tree(&mut txn, "hot")?;
    for counter in 0..COUNTERS {
        txn.put(counters, &counter.to_be_bytes(), &0u64.to_le_bytes())?;
    }
    txn.commit().map(|_| ())
}

fn tree(txn: &mut Transaction, name: &str) -> Result<TreeRef> {
    txn.tree(name, true)?.ok_or_else(|| Error::internal("a tree that was asked for is not there"))
}

/// Checkpoints, and checks of the database in use.
fn keep_house(store: &Store, over: &AtomicBool) -> std::result::Result<(), String> {
    while !over.load(Ordering::Acquire) {
        match store.checkpoint() {
            Err(error) if is_disk_fault(&error) => return Ok(()),
            Err(error) => return Err(format!("checkpoint: {}", chain(&error))),
            // A check that meets the end of the disk tells of it as damage.
            Ok(_) => check(store).or_else(|what| if is_at_work(store) { Err(what) } else { Ok(()) })?,
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn is_at_work(store: &Store) -> bool {
    store.disk().free_bytes().is_ok()
}

fn is_retryable(error: &Error) -> bool {
    matches!(error.code, Code::Deadlock | Code::WriteConflict | Code::LockTimeout)
}

fn work(store: &Store, seed: u64, thread: u64, rounds: u64) -> std::result::Result<Account, String> {
    let mut dice = Dice::new(seed);
    let mut account = Account::default();
    for _ in 0..rounds {
        loop {
            let mut own = account.own.clone();
            let mut raised = 0;
            match transact(store, &mut dice, thread, &mut own, &mut raised) {
                Ok(true) => {
                    account.own = own;
                    account.raised += raised;
                    account.commits += 1;
                    break;
                }
                Ok(false) => break,
                Err(error) if is_disk_fault(&error) => {
                    account.in_flight = Some((own, raised));
                    return Ok(account);
                }
                Err(error) if is_retryable(&error) => account.retries += 1,
                Err(error) => return Err(format!("thread {thread}: {}", chain(&error))),
            }
        }
    }
    Ok(account)
}

/// One transaction, and how many counters it raised; false where it was rolled back on purpose.
fn transact(
    store: &Store,
    dice: &mut Dice,
    thread: u64,
    own: &mut Own,
    raised: &mut u64,
) -> Result<bool> {
    let isolation = match dice.below(10) {
        0 => Isolation::Serializable,
        1..=3 => Isolation::ReadCommitted,
        _ => Isolation::RepeatableRead,
    };
    let mut txn = store.begin(isolation, false)?;
    if isolation == Isolation::ReadCommitted {
        // Blind writes in any order: whoever waits may close a cycle.
        let hot = tree(&mut txn, "hot")?;
        for _ in 0..dice.between(2, 4) {
            txn.put(hot, &dice.below(COUNTERS).to_be_bytes(), &thread.to_le_bytes())?;
        }
    }
    if dice.percent(5) {
        let name = format!("tree of {thread}");
        let own = tree(&mut txn, &name)?;
        (0..40u64).try_for_each(|n| txn.put(own, &n.to_be_bytes(), &[7; 300]).map(|_| ()))?;
        if dice.percent(70) {
            txn.drop_tree(CatalogueKind::Tree, &name)?;
        }
    }
    let shared = tree(&mut txn, "shared")?;
    if dice.percent(15) {
        // An empty stretch: leaves that are taken out of the tree.
        let keys: Vec<Vec<u8>> = own.keys().take(60).cloned().collect();
        for key in keys {
            change(&mut txn, shared, own, key, None)?;
        }
    }
    for _ in 0..dice.between(1, 25) {
        let key = format!("{:04}-{thread:03}-{:04}", dice.below(50), dice.below(40)).into_bytes();
        let length = if dice.percent(3) { dice.between(2000, 9000) } else { dice.below(200) };
        let value = dice.percent(70).then(|| vec![thread as u8; length as usize]);
        change(&mut txn, shared, own, key, value)?;
    }
    if dice.percent(10) {
        let kept = own.clone();
        txn.savepoint("here")?;
        for number in 0..30u64 {
            let key = format!("{number:04}-{thread:03}-undone").into_bytes();
            change(&mut txn, shared, own, key, Some(vec![1; 90]))?;
        }
        txn.rollback_to("here")?;
        *own = kept;
    }
    if isolation != Isolation::ReadCommitted && dice.percent(40) {
        let counters = tree(&mut txn, "counters")?;
        for _ in 0..dice.between(1, 3) {
            raise(&mut txn, counters, dice.below(COUNTERS))?;
            *raised += 1;
        }
    }
    if dice.percent(10) {
        txn.abort()?;
        return Ok(false);
    }
    txn.commit().map(|_| true)
}

fn change(
    txn: &mut Transaction,
    tree: TreeRef,
    own: &mut Own,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
) -> Result<()> {
    match value {
        Some(value) => {
            txn.put(tree, &key, &value)?;
            own.insert(key, value);
        }
        None => {
            let was_there = txn.delete(tree, &key)?;
            if was_there != own.remove(&key).is_some() {
                return Err(Error::internal("a deletion and its model disagree"));
            }
        }
    }
    Ok(())
}

fn raise(txn: &mut Transaction, counters: TreeRef, counter: u64) -> Result<()> {
    let key = counter.to_be_bytes();
    let value = txn.get(counters, &key)?.ok_or_else(|| Error::internal("a counter is gone"))?;
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&value);
    txn.put(counters, &key, &(u64::from_le_bytes(bytes) + 1).to_le_bytes()).map(|_| ())
}

/// Every thread's keys, and the sum of the counters. A commit in flight is there as a whole or not
/// at all.
fn compare(store: &Store, accounts: &[Account]) -> std::result::Result<(), String> {
    let read = || -> Result<(Own, u64, u64)> {
        let mut txn = store.begin(Isolation::RepeatableRead, true)?;
        let (shared, counters) = (tree(&mut txn, "shared")?, tree(&mut txn, "counters")?);
        let sum = rows_of(&mut txn, counters, true)?
            .values()
            .map(|value| value.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)))
            .sum();
        let count = txn.count(shared)?;
        Ok((rows_of(&mut txn, shared, false)?, count, sum))
    };
    let (found, count, sum) = read().map_err(|error| format!("reading back: {}", chain(&error)))?;
    if count != found.len() as u64 {
        return Err(format!("{} records, counted {count}", found.len()));
    }
    let mut raised = 0..=0;
    for (thread, account) in accounts.iter().enumerate() {
        let marker = format!("-{thread:03}-").into_bytes();
        let is_own = |key: &[u8]| key[4..9] == *marker;
        let mine: Own =
            found.iter().filter(|(key, _)| is_own(key)).map(|(k, v)| (k.clone(), v.clone())).collect();
        let (least, most) = match &account.in_flight {
            Some((own, more)) if mine == *own && mine == account.own => (0, *more),
            Some((own, more)) if mine == *own => (*more, *more),
            _ if mine == account.own => (0, 0),
            _ => {
                let (had, has) = (account.own.len(), mine.len());
                return Err(format!("thread {thread}: {has} records, not {had}"));
            }
        };
        let base = account.raised;
        raised = raised.start() + base + least..=raised.end() + base + most;
    }
    if !raised.contains(&sum) {
        return Err(format!("counters add up to {sum}, not {raised:?}"));
    }
    Ok(())
}

fn figures(store: &Store, accounts: &[Account]) -> String {
    let shared = store.shared();
    let sum = |of: fn(&Account) -> u64| accounts.iter().map(of).sum::<u64>();
    format!(
        "{} commits, {} retries, {} deadlocks, {} evictions, {} checkpoints, {} pages",
        sum(|account| account.commits),
        sum(|account| account.retries),
        shared.stats.counter(Counter::Deadlocks),
        shared.core.pool.counters.evictions.load(Ordering::Relaxed),
        store.checkpointer().status().count,
        shared.core.space.used_pages(),
    )
}
