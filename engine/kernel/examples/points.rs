//! Where the time of point operations goes: one thread, no interpreter.
//!
//! `cargo run --release --example points -- DIRECTORY [ROWS]`

use std::sync::Arc;
use std::time::Instant;

use _kernel::disk::os::OsDisk;
use _kernel::error::Result;
use _kernel::log::SyncMode;
use _kernel::store::{Store, StoreOptions};
use _kernel::txn::{Isolation, Range};

fn key(i: u64) -> Vec<u8> {
    format!("{:024}", i.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 1_000_000_007).into_bytes()
}

fn report(what: &str, count: u64, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    println!("{what:<28} {:>9.0} /s {:>9.2} us", count as f64 / seconds, seconds * 1e6 / count as f64);
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().unwrap_or_else(|| "points.holdfast".to_owned());
    let rows: u64 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let mut options = StoreOptions::default();
    options.opening.cache_bytes = 512 << 20;
    options.opening.log.sync_mode = SyncMode::Off;
    let store = Store::create(Arc::new(OsDisk::new(std::path::Path::new(&directory))), &options)?;
    let value = [7u8; 150];
    let mut txn = store.begin(Isolation::RepeatableRead, false)?;
    let at = txn.tree("t", true)?.unwrap_or_else(|| unreachable!("it was created"));
    let started = Instant::now();
    for i in 0..rows {
        txn.put(at, &key(i), &value)?;
    }
    report("random puts, one txn", rows, started);
    txn.commit()?;
    let mut txn = store.begin(Isolation::RepeatableRead, false)?;
    let started = Instant::now();
    for i in 0..rows {
        txn.get(at, &key(i * 7 % rows))?;
    }
    report("gets", rows, started);
    let started = Instant::now();
    for i in 0..rows {
        txn.try_put(at, &key(i), &value).transpose()?;
    }
    report("updates, tried", rows, started);
    txn.commit()?;
    let mut txn = store.begin(Isolation::RepeatableRead, true)?;
    let started = Instant::now();
    let (mut from, mut seen) = (None, 0);
    loop {
        let batch = txn.scan(at, &Range::default(), from.as_deref(), usize::MAX)?;
        seen += batch.records.len() as u64;
        match batch.next {
            Some(next) => from = Some(next),
            None => break,
        }
    }
    report("scan", seen, started);
    drop(txn);
    let started = Instant::now();
    for i in 0..20_000 {
        let mut txn = store.begin(Isolation::RepeatableRead, false)?;
        txn.put(at, &key(i), &value)?;
        txn.commit()?;
    }
    report("transactions of one put", 20_000, started);
    let started = Instant::now();
    store.close()?;
    report("close", 1, started);
    Ok(())
}
