//! Where trees lie, for those who look them up by name again and again.
//!
//! A tree is known here while the catalogue is as it was when its record was read, and only if that
//! record was then the same to everybody: its writer had ended, and every snapshot sees what it did.
//! So whoever finds a tree here finds what the catalogue would have told.

use super::TreeRef;
use crate::hash::FastMap;
use crate::sync::{AtomicU64, Ordering, RwLock, soon};

/// More names are not kept.
const MOST: usize = 1024;

/// Trees by name. Nothing here waits: what cannot be had at once is not known.
#[derive(Default)]
pub struct KnownTrees {
    changes: AtomicU64,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    /// The number of changes at which all of it was read.
    at: u64,
    trees: FastMap<String, TreeRef>,
}

impl KnownTrees {
    /// To be called before each change of a record of the catalogue, under the latch of its leaf.
    pub(super) fn changing(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// Changes so far. Asked before a record is read: if it is the same once the tree is locked, the
    /// tree is still what the record told.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// The tree, and the number of changes that must not have grown once it is locked.
    pub(super) fn get(&self, name: &str) -> Option<(TreeRef, u64)> {
        let known = soon(|| self.known.try_read())?;
        let tree = *known.trees.get(name)?;
        (known.at == self.changes()).then_some((tree, known.at))
    }

    /// Notes a tree whose record was read after `at` changes and is the same to everybody.
    pub(super) fn note(&self, name: &str, tree: TreeRef, at: u64) {
        let Some(mut known) = self.known.try_write() else { return };
        if known.at < at {
            known.at = at;
            known.trees.clear();
        }
        if known.at == at && known.trees.len() < MOST {
            known.trees.insert(name.to_owned(), tree);
        }
    }
}
