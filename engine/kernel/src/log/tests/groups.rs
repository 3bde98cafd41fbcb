//! Who leads a flush, who waits for one, and how they learn of its end.

use super::*;
use crate::disk::faults::{Call, Failure, Fault, FaultDisk};
use crate::disk::memory::MemoryDisk;
use crate::error::Code;

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
