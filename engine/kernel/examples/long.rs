//! A transaction of millions of changes: how long, and in how much memory beyond the cache.
//!
//! `cargo run --release --example long -- DIRECTORY work [CHANGES]` commits one, rolls another
//! back, undoes 1,000 changes, and ends the process in the middle of a third; `... DIRECTORY cut`
//! recovers, is cancelled in the undo and ends the process there; `... DIRECTORY recover` recovers
//! in full, checks every invariant, and tells.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use _kernel::disk::os::OsDisk;
use _kernel::error::{Code, Result};
use _kernel::log::SyncMode;
use _kernel::recovery::{Opening, Progress};
use _kernel::store::{Store, StoreOptions};
use _kernel::txn::{Isolation, Transaction, TreeRef};

const CACHE: u64 = 64 << 20;

fn options() -> StoreOptions {
    let mut options = StoreOptions::default();
    options.opening.cache_bytes = CACHE;
    options.opening.log.segment_bytes = 4 << 20;
    options.opening.log.buffer_bytes = 4 << 20;
    options.opening.log.sync_mode = SyncMode::Interval(50);
    options
}

/// The process's memory in bytes; zero where the system does not tell.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

/// Watches the memory of the process while it works.
struct Watch {
    most: AtomicU64,
    over: AtomicBool,
}

fn watched<T>(what: &str, changes: u64, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let watch = Watch { most: AtomicU64::new(0), over: AtomicBool::new(false) };
    let started = Instant::now();
    let done = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !watch.over.load(Ordering::Acquire) {
                watch.most.fetch_max(resident(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let done = work();
        watch.over.store(true, Ordering::Release);
        done
    })?;
    let seconds = started.elapsed().as_secs_f64();
    let beyond = watch.most.load(Ordering::Relaxed) as i64 - CACHE as i64;
    println!(
        "{what:<30} {seconds:>7.1} s {:>9.0} changes/s, {:>4} MiB beyond the cache",
        changes as f64 / seconds,
        beyond >> 20
    );
    Ok(done)
}

fn key(i: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&i.to_be_bytes());
    key
}

/// Inserts, updates and deletions, over rows that were there and rows of its own, in places that
/// wander through the tree.
fn change(txn: &mut Transaction, at: TreeRef, count: u64, base: u64) -> Result<()> {
    let mut seed = base + 1;
    for n in 0..count {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Old rows have even keys.
        let near = n + (seed >> 40) % 4000;
        match seed >> 33 & 7 {
            0..=2 => txn.put(at, &key(2 * (base + n) + 1), &[n as u8; 100]).map(|_| ())?,
            3..=5 => txn.put(at, &key(2 * near), &[n as u8; 60 + 30]).map(|_| ())?,
            6 => txn.delete(at, &key(2 * near)).map(|_| ())?,
            _ => txn.delete(at, &key(2 * (base + near) + 1)).map(|_| ())?,
        }
    }
    Ok(())
}

fn table(txn: &mut Transaction) -> Result<TreeRef> {
    Ok(txn.tree("t", true)?.unwrap_or_else(|| unreachable!("it is created")))
}

fn work(directory: &Path, count: u64) -> Result<()> {
    let store = Store::create(Arc::new(OsDisk::new(directory)), &options())?;
    let begin = || store.begin(Isolation::RepeatableRead, false);
    let mut txn = begin()?;
    let at = table(&mut txn)?;
    let rows = count / 4;
    watched("old rows", rows, || {
        (0..rows).try_for_each(|i| txn.put(at, &key(2 * i), &[7; 100]).map(|_| ()))?;
        txn.commit()
    })?;
    let mut txn = begin()?;
    watched("a transaction that commits", count, || {
        change(&mut txn, at, count, 0)?;
        txn.commit()
    })?;
    let before = begin()?.count(at)?;
    let mut txn = begin()?;
    watched("one that is to be rolled back", count, || change(&mut txn, at, count, count))?;
    let held = store.shared().core.log.status();
    println!(
        "  the log: {} MiB in {} segments, {} MiB of them set aside for undo",
        held.segment_bytes >> 20,
        held.segments,
        held.reserved_undo >> 20
    );
    watched("its rollback", count, || txn.abort())?;
    store.checkpoint()?;
    assert_eq!(begin()?.count(at)?, before);
    println!(
        "  the log after a checkpoint: {} MiB",
        store.shared().core.log.status().segment_bytes >> 20
    );
    for is_savepoint in [false, true] {
        let mut txn = begin()?;
        txn.savepoint("here")?;
        change(&mut txn, at, 1000, 2 * count)?;
        let started = Instant::now();
        if is_savepoint {
            txn.rollback_to("here")?
        } else {
            txn.abort()?
        }
        let how = if is_savepoint { "to a savepoint" } else { "whole" };
        println!("1,000 changes undone, {how}: {:.2} ms", started.elapsed().as_secs_f64() * 1e3);
    }
    let mut txn = begin()?;
    watched("one that the crash cuts off", count, || change(&mut txn, at, count, 3 * count))?;
    store.flush()?;
    println!("{before} rows are committed; the process ends here");
    std::process::exit(0);
}

fn recover(directory: &Path, is_cut: bool) -> Result<()> {
    let disk = Arc::new(OsDisk::new(directory));
    let progress = Progress::new();
    let mut opening = Opening::begin(Arc::clone(&disk) as _, options().opening)?;
    opening.validate_log(&progress)?;
    opening.restore_doublewrite(&progress)?;
    let losers = opening.analyse(&progress)?.losers.clone();
    println!("losers: {losers:?}");
    watched("redo", 0, || opening.redo(&progress))?;
    if is_cut {
        let cut = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_secs(4));
                progress.cancel();
            });
            watched("undo, cancelled", 0, || match opening.undo(&progress) {
                Err(error) if error.code == Code::Cancelled => Ok(true),
                done => done.map(|_| false),
            })
        })?;
        println!("cancelled: {cut}; the process ends here");
        std::process::exit(0);
    }
    let changes = losers.iter().map(|loser| loser.changes).sum();
    let report = watched("undo", changes, || opening.undo(&progress))?;
    println!("{report:?}");
    let store = Store::finish(disk, opening, &options())?;
    let mut txn = store.begin(Isolation::RepeatableRead, true)?;
    let at = table(&mut txn)?;
    println!("{} rows", txn.count(at)?);
    drop(txn);
    let found = watched("check", 0, || store.check(false, &Progress::new()))?;
    println!("problems: {:?}", found.problems);
    store.close().map(|_| ())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let directory = Path::new(arguments.get(1).map_or("long.holdfast", String::as_str));
    let count = arguments.get(3).and_then(|text| text.parse().ok()).unwrap_or(5_000_000);
    match arguments.get(2).map(String::as_str) {
        Some("cut") => recover(directory, true),
        Some("recover") => recover(directory, false),
        _ => work(directory, count),
    }
}
