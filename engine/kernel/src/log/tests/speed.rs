//! Figures, on demand: `cargo test --release --lib log::tests::speed -- --ignored --nocapture`.

use std::time::Instant;

use super::*;
use crate::disk::memory::MemoryDisk;
use crate::disk::os::OsDisk;
use crate::disk::tests::TempFolder;

fn per_second(count: u64, begun: Instant) -> f64 {
    count as f64 / begun.elapsed().as_secs_f64()
}

#[test]
#[ignore = "measures"]
fn appends_commits_and_reading() {
    append_cost();
    for (threads, count) in [(1, 3000), (4, 3000), (16, 3000), (16, 25_000)] {
        commits(threads, count);
    }
    reading();
}

fn append_cost() {
    // The first round pays for the memory; the second is the figure.
    for threads in [1u64, 1, 4] {
        // All of it fits the buffer, so that no flush is in the figure.
        let options =
            LogOptions { buffer_bytes: 512 << 20, segment_bytes: 600 << 20, ..LogOptions::default() };
        let log = Log::create(MemoryDisk::new(1), options, ID).unwrap();
        let begun = Instant::now();
        let count = 1_000_000 / threads;
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let log = &log;
                scope.spawn(move || {
                    let parts: [&[u8]; 2] = [&[1; 40], &[2; 120]];
                    let entry = NewEntry::new(TxnId(thread), Op::Update, Lsn(600), &parts);
                    for _ in 0..count {
                        log.append(&entry, |_| {}).unwrap();
                    }
                });
            }
        });
        let nanos = begun.elapsed().as_nanos() as f64 / 1e6;
        println!("append of 200 bytes, {threads} threads: {nanos:.0} ns each");
    }
}

fn commits(threads: u64, count: u64) {
    let folder = TempFolder::new("log-speed");
    let options = LogOptions { segment_bytes: 16 << 20, ..LogOptions::default() };
    let log = Log::create(Arc::new(OsDisk::new(&folder.0)), options, ID).unwrap();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let log = &log;
            scope.spawn(move || {
                for n in 0..count {
                    append(log, thread << 32 | n, 160).unwrap();
                    let span = append(log, n, 16).unwrap();
                    log.commit_wait(span.end).unwrap();
                }
            });
        }
    });
    let rate = per_second(count * threads, begun);
    let status = log.status();
    println!(
        "durable commits, {threads} threads: {rate:.0}/s, {} syncs, {} rotations, {:?}",
        status.syncs, status.rotations, status.sync_latency
    );
}

fn reading() {
    let folder = TempFolder::new("log-speed");
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::new(&folder.0));
    let log =
        Log::create(disk.clone(), LogOptions { sync_mode: SyncMode::Off, ..LogOptions::default() }, ID)
            .unwrap();
    let begun = Instant::now();
    for n in 0..2_500_000 {
        append(&log, n, 160).unwrap();
    }
    log.close().unwrap();
    let bytes = log.end().0;
    println!("writing {} MB: {:.0} MB/s", bytes >> 20, per_second(bytes, begun) / 1e6);
    let begun = Instant::now();
    let mut reader = LogReader::open(disk, ID, FIRST_LSN, Lsn::NONE).unwrap();
    let mut count = 0u64;
    while reader.next().unwrap().is_some() {
        count += 1;
    }
    println!("reading {count} entries: {:.0} MB/s", per_second(bytes, begun) / 1e6);
}
