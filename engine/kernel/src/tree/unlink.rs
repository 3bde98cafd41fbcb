//! Taking an empty leaf out of its tree, and cleaning up what no snapshot can see.

use super::{Reached, Seek, Tree, Waiting};
use crate::buffer::PageWrite;
use crate::core::Author;
use crate::error::Result;
use crate::log::Op;
use crate::page::Change;
use crate::types::{PageId, TxnId};

impl<'c> Tree<'c> {
    /// Removes the ghosts of a leaf whose writers everybody can see; returns how many.
    pub fn purge(&self, leaf: &mut PageWrite<'c>, horizon: TxnId) -> Result<usize> {
        let dead: Vec<u8> = (0..leaf.slots())
            .filter(|&slot| {
                let record = leaf.record(slot);
                record.is_ghost() && record.stamp.txn < horizon
            })
            .flat_map(|slot| (slot as u16).to_le_bytes())
            .collect();
        if !dead.is_empty() {
            let author = Author::system(Op::Structure);
            self.core.change_page(author, leaf, &Change::Purge { slots: &dead })?;
        }
        Ok(dead.len() / 2)
    }

    /// Purges the leaf of `key`, and takes it out of the tree where that leaves it empty.
    pub fn tidy(&self, key: &[u8], horizon: TxnId) -> Result<()> {
        let Some(mut leaf) = self.leaf_for_change::<Waiting>(key)? else { return Ok(()) };
        self.purge(&mut leaf, horizon)?;
        let (is_empty, low, id) = (leaf.slots() == 0, leaf.low_fence().to_vec(), leaf.id());
        drop(leaf);
        if is_empty && id != self.root && !low.is_empty() {
            self.unlink(&low, id)?;
        }
        Ok(())
    }

    /// Unlinks the empty leaf `id`, which begins at `low`; false where that is not possible now.
    ///
    /// A leaf that is the first child of its parent stays: its left neighbour has another parent,
    /// and an inner page never loses its first child.
    fn unlink(&self, low: &[u8], id: PageId) -> Result<bool> {
        let Some(left_id) = self.left_neighbour(low, id)? else { return Ok(false) };
        let core = self.core;
        let mut left = core.pool.write(left_id)?;
        if left.tree() != self.id || left.level() != 0 || left.right() != id {
            return Ok(false);
        }
        let mut empty = core.pool.write(id)?;
        if empty.slots() != 0 || empty.low_fence() != low {
            return Ok(false);
        }
        let Some(mut parent) = self.page_for_change::<Waiting>(low, 1)? else { return Ok(false) };
        let slot = match parent.search(low) {
            Ok(slot) if slot > 0 && parent.child(slot) == id => slot,
            _ => return Ok(false),
        };
        let grown = empty.high_fence().map_or(0, <[u8]>::len);
        if left.free_bytes() + low.len() < grown {
            return Ok(false);
        }
        let space = core.space.release(id)?;
        let high = empty.high_fence().map(<[u8]>::to_vec);
        let absorb = Change::Absorb { right: empty.right(), high: high.as_deref() };
        let remove = Change::RemoveChild { slot: slot as u16 };
        [&left, &empty, &parent].iter().for_each(|page| page.begin_change());
        space.begin_change();
        let parts = [left.part(absorb), parent.part(remove), empty.part(Change::Free), space.part()];
        let entry = core.append(Author::system(Op::Structure), self.id, &parts, &[])?;
        left.apply(&absorb, entry)?;
        parent.apply(&remove, entry)?;
        empty.apply(&Change::Free, entry)?;
        space.apply(entry)?;
        Ok(true)
    }

    fn left_neighbour(&self, low: &[u8], id: PageId) -> Result<Option<PageId>> {
        let Some(Reached::Page(parent)) = self.descend::<Waiting>(Seek::At(low), 1, false)? else {
            return Ok(None);
        };
        if parent.level() != 1 {
            return Ok(None);
        }
        Ok(match parent.search(low) {
            Ok(slot) if slot > 0 && parent.child(slot) == id => Some(parent.child(slot - 1)),
            _ => None,
        })
    }
}
