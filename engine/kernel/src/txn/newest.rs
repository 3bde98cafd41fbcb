//! The newest version of a record, where a snapshot's older one would mislead: changing a row
//! must build on what it replaces, and an index must hold every row.

use super::read::{Found, version};
use super::{Transaction, TreeRef};
use crate::error::Result;
use crate::lock::Mode;
use crate::page::{Change, PartReader};
use crate::tree::overflow;
use crate::tree::{Seek, Waiting};

impl Transaction {
    /// The value that this transaction's latest change of `key` replaced; `None` where there was
    /// none, or where this transaction has not changed the record.
    ///
    /// Below a snapshot another transaction may commit between a read and the change; this
    /// value is the one that was really there.
    pub fn replaced(&mut self, at: TreeRef, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some(leaf) = self.tree_at(at).leaf::<Waiting>(Seek::At(key))? else { return Ok(None) };
        let Ok(slot) = leaf.search(key) else { return Ok(None) };
        let stamp = leaf.record(slot).stamp;
        drop(leaf);
        if stamp.txn != self.id() {
            return Ok(None);
        }
        let entry = self.shared().core.log.read(stamp.lsn)?;
        let Some(part) = PartReader::new(&entry.body)?.next_part()? else {
            return Err(self.broken_chain());
        };
        let Change::Put { old, .. } = part.change else { return Err(self.broken_chain()) };
        let found = match old {
            Some(old) => version(old.version.flags, old.version.value)?,
            None => Found::Nothing,
        };
        match found {
            Found::Nothing | Found::Older(_) => Ok(None),
            Found::Value(value) => Ok(Some(value)),
            // A chain that this transaction has replaced stays until it ends.
            Found::Long(reference) => overflow::read(&self.shared().core, at.id, reference)?
                .ok_or_else(|| overflow::broken(at.id, reference))
                .map(Some),
        }
    }

    /// False where a newer version of a record exists than the one this transaction sees.
    pub fn sees_newest(&mut self, at: TreeRef, key: &[u8]) -> Result<bool> {
        let Some(leaf) = self.tree_at(at).leaf::<Waiting>(Seek::At(key))? else { return Ok(true) };
        let Ok(slot) = leaf.search(key) else { return Ok(true) };
        let writer = leaf.record(slot).stamp.txn;
        drop(leaf);
        Ok(self.sees(writer))
    }

    /// Locks a tree against everybody else until the end.
    pub fn lock_exclusively(&mut self, at: TreeRef) -> Result<()> {
        self.lock_tree(at, Mode::Exclusive)
    }

    /// Runs `work` with reads that see what is committed now. Of use for trees that this
    /// transaction has locked exclusively: what it then sees cannot change.
    pub fn reading_newest<T>(&mut self, work: impl FnOnce(&mut Transaction) -> Result<T>) -> Result<T> {
        let before = std::mem::replace(&mut self.reads_newest, true);
        let done = work(self);
        self.reads_newest = before;
        done
    }
}
