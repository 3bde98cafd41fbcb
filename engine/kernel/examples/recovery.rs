//! How fast a log is recovered, and in how much memory.
//!
//! `cargo run --release --example recovery -- DIRECTORY fill [LOG_MIB]` works until the log has
//! that size and ends the process without closing; `... DIRECTORY recover` recovers in place and
//! tells, `... DIRECTORY recover-overlay` on an overlay that is installed at the end.
//! Filling keeps every page in memory, so that redo has all of the work; recovery has 40 MiB of cache.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use _kernel::disk::os::OsDisk;
use _kernel::error::Result;
use _kernel::log::SyncMode;
use _kernel::recovery::Progress;
use _kernel::store::{Ground, Recovering, Store, StoreOptions};
use _kernel::txn::Isolation;

const FILLING: u64 = 1 << 30;
const RECOVERING: u64 = 40 << 20;

fn options(cache_bytes: u64) -> StoreOptions {
    let mut options = StoreOptions {
        checkpoint_log_bytes: u64::MAX,
        checkpoint_interval: std::time::Duration::from_secs(100_000),
        ..StoreOptions::default()
    };
    options.opening.cache_bytes = cache_bytes;
    options.opening.log.sync_mode = SyncMode::Interval(50);
    options.opening.log.buffer_bytes = 8 << 20;
    options
}

fn fill(directory: &Path, bytes: u64) -> Result<()> {
    let store = Store::create(Arc::new(OsDisk::new(directory)), &options(FILLING))?;
    let mut seed = 42u64;
    let started = Instant::now();
    while store.shared().core.log.end().0 < bytes {
        let mut txn = store.begin(Isolation::ReadCommitted, false)?;
        let at = txn.tree("t", true)?.unwrap_or_else(|| unreachable!("it is created"));
        for _ in 0..100 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let key = format!("{:024}", (seed >> 33) % 1_000_000);
            txn.put(at, key.as_bytes(), &[seed as u8; 150])?;
        }
        txn.commit()?;
    }
    store.flush()?;
    println!("filled in {:.1} s; the process ends here", started.elapsed().as_secs_f64());
    std::process::exit(0);
}

fn recover(directory: &Path, ground: Ground) -> Result<()> {
    let progress = Progress::new();
    let whole = Instant::now();
    let mut recovering =
        Recovering::begin(Arc::new(OsDisk::new(directory)), &options(RECOVERING), ground)?;
    let mut lap = Instant::now();
    let mut tell = |what: &str, bytes: u64| {
        let seconds = lap.elapsed().as_secs_f64();
        println!("{what:<12} {seconds:>7.2} s {:>8.0} MB/s", bytes as f64 / 1e6 / seconds);
        lap = Instant::now();
    };
    let log = recovering.opening.validate_log(&progress)?;
    tell("validation", log.bytes);
    recovering.restore_doublewrite(&progress)?;
    tell("doublewrite", 0);
    let bytes = recovering.opening.analyse(&progress)?.bytes;
    tell("analysis", bytes);
    let redo = recovering.redo(&progress)?;
    tell("redo", redo.bytes);
    recovering.opening.undo(&progress)?;
    tell("undo", 0);
    let beside = recovering.overlay_bytes();
    let store = recovering.finish(&progress).map_err(|unfinished| unfinished.error)?;
    tell("finish", beside);
    let seconds = whole.elapsed().as_secs_f64();
    println!("in all {seconds:.2} s, {:.0} MB/s of log; {redo:?}", log.bytes as f64 / 1e6 / seconds);
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        status.lines().filter(|line| line.starts_with("VmHWM")).for_each(|line| println!("{line}"));
    }
    store.close().map(|_| ())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let directory = Path::new(arguments.get(1).map_or("recovery.holdfast", String::as_str));
    match arguments.get(2).map(String::as_str) {
        Some("recover") => recover(directory, Ground::InPlace),
        Some("recover-overlay") => recover(directory, Ground::Overlay),
        _ => fill(
            directory,
            arguments.get(3).and_then(|mib| mib.parse::<u64>().ok()).unwrap_or(1024) << 20,
        ),
    }
}
