//! Who leads a flush, who waits for one, and how they learn of its end.

use super::*;
use crate::disk::faults::{Call, Failure, Fault, FaultDisk};
use crate::disk::memory::MemoryDisk;
use crate::error::Code;
use crate::sync::{Ordering, schedule};

/// Has `threads` of them append an entry each and wait for its sync, all at once: the disk is
/// theirs only when all have appended. Returns what they were told.
fn commit_together(log: &Log, threads: u64) -> Vec<Result<()>> {
    let io = log.core.io.lock();
    std::thread::scope(|scope| {
        let committers: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    let span = append(log, thread, 60)?;
                    log.commit_wait(span.end)?;
                    assert!(log.durable() >= span.end);
                    Ok(())
                })
            })
            .collect();
        while log.core.lead.lock().waiting() as u64 + 1 < threads {
            std::thread::yield_now();
        }
        drop(io);
        committers.into_iter().map(|committer| committer.join().unwrap()).collect()
    })
}

#[test]
fn who_waits_while_another_leads_needs_no_sync_of_its_own() {
    let options = LogOptions { segment_bytes: 64 << 10, ..small() };
    let log = Log::create(MemoryDisk::new(1), options, ID).unwrap();
    let before = log.status();
    assert!(commit_together(&log, 9).iter().all(Result::is_ok));
    let after = log.status();
    assert_eq!((after.groups - before.groups, after.syncs - before.syncs), (1, 1));
    assert_eq!(log.core.lead.lock().waiting(), 0);
}

#[test]
fn a_failed_sync_is_told_to_all_who_wait_and_leaves_nobody_waiting() {
    let disk = FaultDisk::new(MemoryDisk::new(1));
    let options = LogOptions { segment_bytes: 64 << 10, ..small() };
    let log = Log::create(disk.clone(), options, ID).unwrap();
    let fault = Fault { call: Some(Call::Sync), nth: 1, for_good: false, failure: Failure::Device };
    disk.fail(fault);
    let told = commit_together(&log, 9);
    assert!(told.iter().all(|told| told.as_ref().is_err_and(|error| error.code == Code::StoreFailed)));
    assert_eq!(log.core.lead.lock().waiting(), 0);
    assert_eq!(log.flush_to(log.end()).unwrap_err().code, Code::StoreFailed);
}

/// Three threads that commit again and again and wait for each other, in the order that the seed
/// draws, where time passes too; returns the syncs that it took, and whether one waited in vain.
fn commit_in_turns(seed: u64, rounds: u64) -> (u64, bool) {
    let options = LogOptions { segment_bytes: 64 << 10, ..small() };
    let log = Log::create(MemoryDisk::new(seed), options, ID).unwrap();
    let before = log.status().syncs;
    let commit = |thread: u64| {
        for round in 0..rounds {
            let span = append(&log, thread * rounds + round, 60).unwrap();
            // As of a medium on which it is worth waiting.
            log.core.sync_ns.store(1_000_000, Ordering::Relaxed);
            log.commit_wait(span.end).unwrap();
            assert!(log.durable() >= span.end);
        }
    };
    let task = |thread| -> Box<dyn FnOnce() + Send + '_> { Box::new(move || commit(thread)) };
    schedule::run(seed, (0..3).map(task).collect());
    let lead = log.core.lead.lock();
    assert!(lead.waiting() == 0 && !lead.is_led);
    (log.status().syncs - before, lead.has_waited_in_vain())
}

#[test]
fn leaders_that_wait_for_others_leave_nobody_behind_in_any_order() {
    const ROUNDS: u64 = 6;
    let runs: Vec<(u64, bool)> = (0..60).map(|seed| commit_in_turns(seed, ROUNDS)).collect();
    assert!(runs.iter().any(|(syncs, _)| *syncs <= ROUNDS + 3), "nearly all syncs serve all three");
    assert!(runs.iter().any(|(_, in_vain)| *in_vain), "time passes before the others come");
}
