//! The log from before the start of redo, which is looked at behind an early opening.
#![allow(clippy::unwrap_used)]

use super::Progress;
use super::ondemand_tests::{Files, open, with_a_loser};
use super::tests::{options, put};
use crate::control;
use crate::disk::memory::MemoryDisk;
use crate::disk::{Disk, OpenMode};
use crate::error::Code;
use crate::log::segments::HEADER_BYTES;
use crate::store::Store;
use crate::txn::Isolation;

/// What the look behind an opening finds in the kept log, whose oldest file is overwritten from a place on.
fn found_in_kept_log(files: &Files, place: Option<u64>) -> Vec<Code> {
    let disk = MemoryDisk::from_snapshot(1, files);
    if let Some(place) = place {
        let oldest = disk.list("wal").unwrap().into_iter().min().unwrap();
        let file = disk.open(&format!("wal/{oldest}"), OpenMode::Write).unwrap();
        file.write_at(&[0xa5; 16], place).unwrap();
    }
    let store = open(&disk);
    // As a backup or a mirror does: else the checkpoint lets that log go.
    store.checkpointer().pin();
    store.finish_recovery(&Progress::default()).unwrap();
    assert_eq!(store.recovery().unwrap().stage, "log");
    store.check_recovery().unwrap();
    let (recovery, found) = (store.recovery().unwrap(), store.recovery_check().unwrap());
    assert_eq!((recovery.stage, recovery.problems), ("done", Some(found.problems.len())));
    assert_eq!(recovery.segments.0, recovery.segments.1);
    assert_eq!(found.ok, found.problems.is_empty());
    found.problems.iter().map(|problem| problem.code).collect()
}

/// Where in the oldest file of the log the first entry lies that begins there, and where redo begins.
fn first_place_and_redo(files: &Files) -> (u64, u64) {
    let disk = MemoryDisk::from_snapshot(1, files);
    let redo_lsn = control::Control::open(&*disk, OpenMode::Read).unwrap().data().redo_lsn;
    let store = open(&disk);
    let log = &store.shared().core.log;
    let oldest = log.status().oldest;
    let first = log.first_entry_from(oldest).unwrap().unwrap();
    (HEADER_BYTES + first.0 - oldest.0, HEADER_BYTES + redo_lsn.0 - oldest.0)
}

#[test]
fn kept_log_from_before_the_start_of_redo_is_read_behind_the_opening_and_its_damage_is_a_finding() {
    let files = with_a_loser(true);
    let (first, redo) = first_place_and_redo(&files);
    assert!(redo > first + 4096);
    assert_eq!(found_in_kept_log(&files, None), []);
    assert_eq!(found_in_kept_log(&files, Some(first + (redo - first) / 4)), [Code::WalCorrupted]);
}

/// Of an entry that began in a segment which is gone there is nothing to be told.
#[test]
fn damage_of_the_first_entry_that_begins_in_the_kept_log_is_a_finding() {
    let files = with_a_loser(true);
    let (first, _) = first_place_and_redo(&files);
    assert!(first > HEADER_BYTES + 30, "an entry runs into the oldest segment");
    assert_eq!(found_in_kept_log(&files, Some(first + 30)), [Code::WalCorrupted]);
    assert_eq!(found_in_kept_log(&files, Some(HEADER_BYTES)), []);
}

#[test]
fn damage_of_the_very_first_entry_of_a_log_is_a_finding_whatever_its_bytes_say() {
    let disk = MemoryDisk::new(4);
    let store = Store::create(disk.clone(), &options()).unwrap();
    put(&store, 0..10);
    let mut loser = store.begin(Isolation::ReadCommitted, false).unwrap();
    let at = loser.tree("t", false).unwrap().unwrap();
    loser.put(at, b"new", b"never committed").unwrap();
    put(&store, 1000..1040);
    store.checkpoint().unwrap();
    put(&store, 1300..1310);
    store.flush().unwrap();
    disk.crash(2);
    let files = disk.reopen().snapshot();
    let (first, redo) = first_place_and_redo(&files);
    assert!(first == HEADER_BYTES && redo > first + 4096, "{first} {redo}");
    for place in [first, first + 30] {
        assert_eq!(found_in_kept_log(&files, Some(place)), [Code::WalCorrupted]);
    }
}
