//! Backups that are cut off at any step and go on later, while the database changes.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use super::chain::Link;
use super::increment_tests::{contents, fill};
use super::restore::{Pass, restore_links};
use super::tests::*;
use super::unfinished::Unfinished;
use super::*;
use crate::disk::Disk;
use crate::disk::faults::{Failure, Fault, FaultDisk};
use crate::disk::memory::MemoryDisk;

/// A part for each megabyte that is read.
fn resumable() -> Taken {
    Taken { resumable: true, part_bytes: 1, ..Taken::default() }
}

/// A database of some megabytes, a full backup of it, and how to add to that.
fn prepared() -> (Store, Arc<MemoryDisk>, Taken) {
    let store = Store::create(MemoryDisk::new(90), &options(false)).unwrap();
    fill(&store, "cold", 0..9000, 1);
    fill(&store, "hot", 0..3000, 1);
    let full = MemoryDisk::new(91);
    take_to(&store, &*full, &Progress::default()).unwrap();
    let manifest = Manifest::read(&*full).unwrap();
    fill(&store, "hot", 0..3000, 2);
    let base = Some(Base { name: "full".to_owned(), manifest });
    (store, full, Taken { base, ..resumable() })
}

/// What a backup restores to; verified before.
fn restored(backup: &dyn Disk, full: Option<(&dyn Disk, &Manifest)>) -> Store {
    let manifest = Manifest::read(backup).unwrap();
    let link = |disk, manifest| Link { disk, manifest, place: String::new(), seal: None };
    let mut links = vec![link(backup, &manifest)];
    links.extend(full.map(|(disk, manifest)| link(disk, manifest)));
    Pass::new(&links, None, &Progress::default()).unwrap().run().unwrap();
    let disk = MemoryDisk::new(92);
    restore_links(&links, &*disk, &Progress::default()).unwrap();
    recovered(disk)
}

/// Changes what was copied, what was not, and what was not there.
fn work(store: &Store, round: u32) {
    fill(store, "hot", round % 7 * 100..round % 7 * 100 + 300, round as u8);
    fill(store, "cold", round * 10 % 9000..round * 10 % 9000 + 40, round as u8);
    fill(store, "new", round * 20..round * 20 + 20, 9);
}

/// Takes a backup onto a target that fails for good at its `nth` call, and loses power; goes on
/// with it. Answers the pages that need not be copied twice.
fn cut_off_and_taken(store: &Store, how: &Taken, full: Option<&MemoryDisk>, nth: u64) -> Option<u64> {
    let memory = MemoryDisk::new(1000 + nth);
    let target = FaultDisk::over_memory(memory.clone());
    target.fail(Fault { call: None, nth, for_good: true, failure: Failure::Device });
    let done = take_with(store, &*target, how.clone(), &Progress::default());
    target.heal();
    memory.crash(nth);
    let memory = memory.reopen();
    if done.is_ok() {
        return None;
    }
    work(store, nth as u32);
    let summary = take_with(store, &*memory, how.clone(), &Progress::default()).unwrap();
    let base = how.base.as_ref().map(|base| &base.manifest);
    let back = restored(&*memory, full.map(|full| full as &dyn Disk).zip(base));
    assert!(contents(&back) == contents(store), "call {nth}");
    assert_sound(&back);
    assert!(Unfinished::read(&*memory).is_none(), "it is whole, and nothing is to be gone on with");
    Some(summary.resumed_pages)
}

#[test]
fn a_backup_that_is_killed_at_any_step_goes_on_and_is_the_state_at_its_end() {
    let (store, ..) = prepared();
    let mut resumed = Vec::new();
    for nth in (1..400).step_by(9) {
        resumed.extend(cut_off_and_taken(&store, &resumable(), None, nth));
    }
    let kept = resumed.iter().filter(|pages| **pages > 200).count();
    assert!(kept > 5 && resumed.contains(&0), "{resumed:?}");
}

#[test]
fn an_increment_that_is_killed_at_any_step_goes_on_too() {
    let (store, full, how) = prepared();
    let mut resumed = Vec::new();
    for nth in (1..300).step_by(11) {
        resumed.extend(cut_off_and_taken(&store, &how, Some(&full), nth));
    }
    assert!(resumed.iter().any(|pages| *pages > 0) && resumed.len() > 3, "{resumed:?}");
}

#[test]
fn what_was_begun_in_another_history_or_for_another_backup_is_begun_anew() {
    let (store, full, how) = prepared();
    let cut = |how: &Taken| {
        let memory = MemoryDisk::new(95);
        let mut nth = 20;
        while Unfinished::read(&*memory).is_none() {
            let target = FaultDisk::over_memory(memory.clone());
            target.fail(Fault { call: None, nth, for_good: true, failure: Failure::Device });
            take_with(&store, &*target, how.clone(), &Progress::default()).unwrap_err();
            nth += 5;
        }
        memory
    };
    // Begun as a full one, it cannot end as an increment.
    let memory = cut(&resumable());
    let summary = take_with(&store, &*memory, how.clone(), &Progress::default()).unwrap();
    assert_eq!(summary.resumed_pages, 0);
    let base = &how.base.as_ref().unwrap().manifest;
    assert!(contents(&restored(&*memory, Some((&*full, base)))) == contents(&store));
    // The database has left the history that it was begun in.
    let memory = cut(&resumable());
    marks::forget(&**store.disk()).unwrap();
    let summary = take_with(&store, &*memory, resumable(), &Progress::default()).unwrap();
    assert_eq!(summary.resumed_pages, 0);
    assert!(contents(&restored(&*memory, None)) == contents(&store));
    // A part that is gone or cut short.
    let memory = cut(&resumable());
    let file = memory.open(PAGES, crate::disk::OpenMode::Write).unwrap();
    file.truncate(file.size().unwrap() - 1).unwrap();
    let summary = take_with(&store, &*memory, resumable(), &Progress::default()).unwrap();
    assert_eq!(summary.resumed_pages, 0);
    assert!(contents(&restored(&*memory, None)) == contents(&store));
}

#[test]
fn a_cancelled_backup_keeps_what_it_has_and_the_next_one_takes_only_the_rest() {
    let (store, ..) = prepared();
    let memory = MemoryDisk::new(96);
    let progress = Progress::default();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Slow enough to be cancelled after some parts.
            let how = Taken { bytes_per_second: 3 << 20, ..resumable() };
            let error = take_with(&store, &*memory, how, &progress).unwrap_err();
            assert_eq!(error.code, Code::Cancelled);
        });
        while Unfinished::read(&*memory).is_none() {
            std::thread::yield_now();
        }
        progress.cancel();
    });
    assert!(Manifest::read(&*memory).is_err(), "it does not look like one that is whole");
    work(&store, 3);
    let summary = take_with(&store, &*memory, resumable(), &Progress::default()).unwrap();
    assert!(summary.resumed_pages > 200 && summary.resumed_pages < summary.pages);
    assert!(contents(&restored(&*memory, None)) == contents(&store));
    assert_sound(&store);
}
