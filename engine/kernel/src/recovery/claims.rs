//! What a loser held of trees before the crash: the stamps lock its records, this the rest.
//!
//! Who drops a tree has it to itself until its end, and nobody drops a tree that somebody has
//! changed. Both must go on for as long as a loser is not rolled back: its records go back into the
//! trees that it changed, and those that it dropped come back.

use std::collections::BTreeSet;

use crate::core::{CATALOGUE, Core};
use crate::error::Result;
use crate::lock::{LockTable, Mode, Resource};
use crate::log::{EntryHeader, Op};
use crate::page::{Change, OVERFLOW, PartReader};
use crate::txn::RawRow;
use crate::types::{TreeId, TxnId};

/// The trees that one transaction changed, and the rows of the catalogue that it deleted.
#[derive(Debug, Default)]
pub struct Claims {
    changed: BTreeSet<TreeId>,
    dropped: Vec<RawRow>,
}

impl Claims {
    /// Takes note of an entry of the transaction.
    pub(super) fn take(&mut self, entry: &EntryHeader, body: &[u8]) -> Result<()> {
        if !entry.op.changes_pages() {
            return Ok(());
        }
        let mut parts = PartReader::new(body)?;
        let tree = parts.tree();
        self.changed.insert(tree);
        if entry.op == Op::Delete
            && tree == CATALOGUE
            && let Some(part) = parts.next_part()?
            && let Change::Put { key, old: Some(old), .. } = part.change
        {
            let is_long = old.version.flags & OVERFLOW != 0;
            self.dropped.push(RawRow::new(key, is_long, old.version.value));
        }
        Ok(())
    }

    /// Locks the trees for the transaction. Nobody else is there yet, so nothing is waited
    /// for. May be done again after an error.
    pub(super) fn lock(&self, txn: TxnId, core: &Core, locks: &LockTable) -> Result<()> {
        for tree in &self.changed {
            locks.try_acquire(txn, Resource::Tree(*tree), Mode::IntentionExclusive)?;
        }
        for row in &self.dropped {
            if let Some(entry) = row.clone().read(core)? {
                locks.try_acquire(txn, Resource::Tree(entry.tree.id), Mode::Exclusive)?;
            }
        }
        Ok(())
    }
}
