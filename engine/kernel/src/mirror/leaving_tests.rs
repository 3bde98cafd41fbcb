//! Disks that are pulled out while a mirror is made: what is open takes what is written all the same, and
//! what is made from then on is made somewhere else.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::standing::{Role, Standing};
use super::tests::*;
use super::*;
use crate::backup::tests::{bank, recovered};
use crate::disk::memory::MemoryDisk;
use crate::disk::{Disk, File, OpenMode};
use crate::error::Result;
use crate::recovery::DATA_PATH;

/// A directory that leads to another disk from the `left`th call on.
struct Leaving {
    disk: Arc<MemoryDisk>,
    other: Arc<MemoryDisk>,
    left: AtomicU64,
}

impl Leaving {
    fn here(&self) -> &MemoryDisk {
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.saturating_sub(1), Ordering::Relaxed);
        if left > 1 { &self.disk } else { &self.other }
    }

    fn is_gone(&self) -> bool {
        self.left.load(Ordering::Relaxed) <= 1
    }
}

impl Disk for Leaving {
    fn open(&self, path: &str, mode: OpenMode) -> Result<Arc<dyn File>> {
        self.here().open(path, mode)
    }
    fn remove(&self, path: &str) -> Result<()> {
        self.here().remove(path)
    }
    fn list(&self, folder: &str) -> Result<Vec<String>> {
        self.here().list(folder)
    }
    fn sync_dir(&self, folder: &str) -> Result<()> {
        self.here().sync_dir(folder)
    }
    fn free_bytes(&self) -> Result<u64> {
        self.disk.free_bytes()
    }
}

fn role_on(disk: &MemoryDisk) -> Option<Role> {
    Standing::read(disk).unwrap().map(|standing| standing.role)
}

#[test]
fn a_mirror_whose_disk_goes_at_any_call_of_its_first_copy_is_none_and_is_made_once_it_is_back() {
    let mut lost = 0;
    for left in 1.. {
        let (store, tree) = bank(MemoryDisk::new(2000), false);
        write(&store, tree, 0..40);
        let leaving = Arc::new(Leaving {
            disk: MemoryDisk::new(2001),
            other: MemoryDisk::new(2002),
            left: AtomicU64::new(left),
        });
        let follower = store.mirrors().add_on(PLACE, leaving.clone(), false).unwrap();
        let done = follower.step();
        let is_gone = leaving.is_gone();
        // Nothing without pages says that it is a mirror, wherever it came to lie.
        for disk in [&leaving.disk, &leaving.other] {
            let is_mirror = role_on(disk) == Some(Role::Mirror);
            assert!(!is_mirror || disk.exists(DATA_PATH).unwrap(), "left at call {left}");
        }
        if role_on(&leaving.disk) != Some(Role::Mirror) && role_on(&leaving.other) != Some(Role::Mirror)
        {
            assert_eq!(done.unwrap_err().code, Code::IoError, "left at call {left}");
            assert_eq!(follower.status().phase, Phase::Lost);
            lost += 1;
            // It is not made anew where its disk is not, unless it had not been begun.
            let is_begun = role_on(&leaving.disk).is_some();
            let again = follower.step();
            assert_eq!(again.is_err(), is_begun, "left at call {left}: {again:?}");
        }
        leaving.left.store(u64::MAX, Ordering::Relaxed);
        follower.step().unwrap();
        if role_on(&leaving.disk) == Some(Role::Mirror) {
            write(&store, tree, 40..60);
            follower.step().unwrap();
            let expected = contents(&store, tree);
            follower.stop();
            drop(follower);
            let taken = copy_of(&leaving.disk);
            Standing::primary(store.shared().core.log.database()).write(&*taken).unwrap();
            assert!(contents(&recovered(taken), tree) == expected, "left at call {left}");
        }
        if !is_gone {
            break;
        }
    }
    assert!(lost > 10, "{lost}");
}
