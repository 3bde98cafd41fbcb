//! Disks that fail while a backup is taken: the one it goes to, and the one that it is taken of.
#![allow(clippy::unwrap_used)]

use super::chain::Link;
use super::increment_tests::{contents, fill};
use super::restore::{Pass, restore_links};
use super::tests::*;
use super::*;
use crate::disk::Disk;
use crate::disk::faults::{Call, Failure, Fault, FaultDisk};
use crate::disk::memory::MemoryDisk;

/// A database, a full backup of it, and changes after that.
fn prepared(disk: std::sync::Arc<dyn Disk>) -> (Store, std::sync::Arc<MemoryDisk>, Taken) {
    let store = Store::create(disk, &options(false)).unwrap();
    fill(&store, "t", 0..600, 1);
    let full = MemoryDisk::new(71);
    take_to(&store, &*full, &Progress::default()).unwrap();
    let manifest = Manifest::read(&*full).unwrap();
    fill(&store, "t", 100..200, 2);
    let base = Base { name: "full".to_owned(), manifest };
    (store, full, Taken { base: Some(base), ..Taken::default() })
}

fn verified(increment: &dyn Disk, full: &dyn Disk, how: &Taken) -> Result<Summary> {
    let child = Manifest::read(increment)?;
    let parent = &how.base.as_ref().unwrap().manifest;
    let link = |disk, manifest| Link { disk, manifest, place: String::new(), seal: None };
    let links = [link(increment, &child), link(full, parent)];
    Pass::new(&links, None, &Progress::default())?.run()
}

#[test]
fn a_target_that_fails_at_any_call_holds_no_increment_or_a_whole_one() {
    let (store, full, how) = prepared(MemoryDisk::new(72));
    let (mut failed, mut taken) = (0, 0);
    for failure in [Failure::Device, Failure::Full] {
        for for_good in [false, true] {
            for nth in (1..200).step_by(3) {
                let memory = MemoryDisk::new(100 + nth);
                let target = FaultDisk::over_memory(memory.clone());
                target.fail(Fault { call: None, nth, for_good, failure });
                let done = take_with(&store, &*target, how.clone(), &Progress::default());
                target.heal();
                match done {
                    Ok(_) => {
                        verified(&*memory, &*full, &how).unwrap();
                        taken += 1;
                    }
                    Err(error) => {
                        // Where the very last syncs failed it may be there, but then it is whole.
                        if Manifest::read(&*memory).is_ok() {
                            let whole = verified(&*memory, &*full, &how);
                            assert!(whole.is_ok(), "call {nth}: {error}, {whole:?}");
                        }
                        failed += 1;
                    }
                }
            }
        }
    }
    assert!(failed > 20 && taken > 20, "{failed} {taken}");
    // The database has taken no harm, and the next increment is right.
    let target = MemoryDisk::new(73);
    take_with(&store, &*target, how.clone(), &Progress::default()).unwrap();
    let child = Manifest::read(&*target).unwrap();
    let parent = &how.base.as_ref().unwrap().manifest;
    let links = [
        Link { disk: &*target, manifest: &child, place: String::new(), seal: None },
        Link { disk: &*full, manifest: parent, place: String::new(), seal: None },
    ];
    let disk = MemoryDisk::new(74);
    restore_links(&links, &*disk, &Progress::default()).unwrap();
    let restored = recovered(disk);
    assert!(contents(&restored) == contents(&store));
    assert_sound(&restored);
}

#[test]
fn a_source_that_cannot_be_read_gives_an_error_and_no_increment() {
    let mut struck = 0;
    for nth in 1..10 {
        let source = FaultDisk::over_memory(MemoryDisk::new(75));
        let (store, full, how) = prepared(source.clone());
        let target = MemoryDisk::new(76);
        let fault = Fault { call: Some(Call::Read), nth, for_good: true, failure: Failure::Device };
        source.fail(fault);
        let done = take_with(&store, &*target, how.clone(), &Progress::default());
        source.heal();
        match done {
            Ok(_) => assert!(verified(&*target, &*full, &how).is_ok()),
            Err(_) => {
                assert!(target.snapshot().is_empty(), "read {nth}");
                struck += 1;
            }
        }
    }
    assert!(struck > 0);
}

/// The page goes bad after the backup before: the increment would have left it to that one.
#[test]
fn a_page_that_is_damaged_since_the_backup_before_is_not_passed_over() {
    let disk = MemoryDisk::new(77);
    let (store, _, how) = prepared(disk.clone());
    store.close().unwrap();
    drop(store);
    let pages = disk.snapshot()[crate::recovery::DATA_PATH].len() as u64 / 4096;
    let root = {
        let store = Store::open(disk.clone(), &options(false)).unwrap();
        let root = begin(&store).tree("t", false).unwrap().unwrap().root;
        store.close().unwrap();
        root
    };
    assert!(u64::from(root.0) < pages);
    disk.flip_bit(crate::recovery::DATA_PATH, u64::from(root.0) * 4096 + 700, 1).unwrap();
    let mut options = options(false);
    options.opening.on_damage = crate::repair::OnDamage::Report;
    let store = Store::open(disk, &options).unwrap();
    let target = MemoryDisk::new(78);
    let error = take_with(&store, &*target, how, &Progress::default()).unwrap_err();
    assert!(error.is_page_damage(), "{error}");
    assert!(target.snapshot().is_empty());
}
