//! Taking empty leaves out of their tree, and cleaning up what no snapshot can see.
//!
//! An empty leaf's left neighbour under the same parent takes over its keys. A leaf that is its
//! parent's first child stays until it is the only one: then both go, and their left neighbours
//! take over. So of a stretch of keys that was emptied nothing is left but what begins a page two
//! levels up: a page in some ten thousand.

use super::{Reached, Seek, Tree, Waiting};
use crate::buffer::PageWrite;
use crate::core::Author;
use crate::error::Result;
use crate::log::Op;
use crate::page::{Change, Kind, Page, Part};
use crate::txn::Horizon;
use crate::types::PageId;

/// What an attempt to take a leaf out came to.
enum Unlinked {
    Done,
    /// Done; this leaf is now its parent's only child.
    LeavesOne(PageId),
    NotNow,
}

impl<'c> Tree<'c> {
    /// Removes the ghosts of a leaf whose writers everybody can see; returns how many.
    pub fn purge(&self, leaf: &mut PageWrite<'c>, horizon: &Horizon) -> Result<usize> {
        let dead: Vec<u8> = (0..leaf.slots())
            .filter(|&slot| {
                let record = leaf.record(slot);
                record.is_ghost() && horizon.has_passed(record.stamp.txn)
            })
            .flat_map(|slot| (slot as u16).to_le_bytes())
            .collect();
        if !dead.is_empty() {
            let author = Author::system(Op::Structure);
            self.core.change_page(author, leaf, &Change::Purge { slots: &dead })?;
        }
        Ok(dead.len() / 2)
    }

    /// Purges a leaf, and takes it out of the tree where that leaves it empty. Answers a leaf that
    /// should be looked at next.
    pub fn tidy(&self, id: PageId, horizon: &Horizon) -> Result<Option<PageId>> {
        let mut leaf = self.core.pool.write(id)?;
        if leaf.tree() != self.id || leaf.kind() != Kind::Leaf {
            // It was given back meanwhile, or is used for something else.
            return Ok(None);
        }
        self.purge(&mut leaf, horizon)?;
        let (is_empty, low) = (leaf.slots() == 0, leaf.low_fence().to_vec());
        drop(leaf);
        if !is_empty || id == self.root || low.is_empty() {
            return Ok(None);
        }
        match self.unlink(&low, id)? {
            Unlinked::LeavesOne(leaf) => Ok(Some(leaf)),
            Unlinked::Done => Ok(None),
            Unlinked::NotNow => self.unlink_with_parent(&low, id).map(|_| None),
        }
    }

    /// Unlinks the empty leaf `id`, which begins at `low`, where its left neighbour has the same
    /// parent: an inner page never loses its first child.
    fn unlink(&self, low: &[u8], id: PageId) -> Result<Unlinked> {
        let Some(left_id) = self.left_neighbour(low, id, 1)? else { return Ok(Unlinked::NotNow) };
        let core = self.core;
        let mut left = core.pool.write(left_id)?;
        if !self.precedes(&left, id, 0) {
            return Ok(Unlinked::NotNow);
        }
        let mut empty = core.pool.write(id)?;
        if empty.slots() != 0 || empty.low_fence() != low || !can_absorb(&left, &empty) {
            return Ok(Unlinked::NotNow);
        }
        let Some(mut parent) = self.page_for_change::<Waiting>(low, 1)? else {
            return Ok(Unlinked::NotNow);
        };
        let slot = match parent.search(low) {
            Ok(slot) if slot > 0 && parent.child(slot) == id => slot,
            _ => return Ok(Unlinked::NotNow),
        };
        let space = core.space.release(id)?;
        let high = empty.high_fence().map(<[u8]>::to_vec);
        let absorb = Change::Absorb { right: empty.right(), high: high.as_deref() };
        let remove = Change::RemoveChild { slot: slot as u16 };
        [&left, &empty, &parent].iter().for_each(|page| page.begin_change());
        space.begin_change();
        let mut parts = vec![left.part(absorb), parent.part(remove), empty.part(Change::Free)];
        space.parts().for_each(|part| parts.push(part));
        let entry = core.append(Author::system(Op::Structure), self.id, &parts, &[])?;
        left.apply(&absorb, entry)?;
        parent.apply(&remove, entry)?;
        empty.apply(&Change::Free, entry)?;
        space.apply(entry)?;
        let is_alone = parent.slots() == 1 && parent.id() != self.root;
        Ok(if is_alone { Unlinked::LeavesOne(parent.child(0)) } else { Unlinked::Done })
    }

    /// Unlinks the empty leaf `id`, which begins at `low`, together with its parent, whose only
    /// child it is: the pages before both, under the same grandparent, take over. False where
    /// that is not possible now.
    fn unlink_with_parent(&self, low: &[u8], id: PageId) -> Result<bool> {
        let core = self.core;
        let Some(parent_id) = self.only_parent(low, id)? else { return Ok(false) };
        let Some(uncle_id) = self.left_neighbour(low, parent_id, 2)? else { return Ok(false) };
        let left_id = {
            let uncle = core.pool.read(uncle_id)?;
            if !self.precedes(&uncle, parent_id, 1) {
                return Ok(false);
            }
            uncle.child(uncle.slots() - 1)
        };
        // Rightward within a level, then upward.
        let mut left = core.pool.write(left_id)?;
        if !self.precedes(&left, id, 0) {
            return Ok(false);
        }
        let mut empty = core.pool.write(id)?;
        if empty.slots() != 0 || empty.low_fence() != low || !can_absorb(&left, &empty) {
            return Ok(false);
        }
        let mut uncle = core.pool.write(uncle_id)?;
        if !self.precedes(&uncle, parent_id, 1) || uncle.child(uncle.slots() - 1) != left_id {
            return Ok(false);
        }
        let mut parent = core.pool.write(parent_id)?;
        let is_only = parent.slots() == 1 && parent.child(0) == id && parent.low_fence() == low;
        if !is_only || !can_absorb(&uncle, &parent) {
            return Ok(false);
        }
        let Some(mut above) = self.page_for_change::<Waiting>(low, 2)? else { return Ok(false) };
        let slot = match above.search(low) {
            Ok(slot) if slot > 0 && above.child(slot) == parent_id => slot,
            _ => return Ok(false),
        };
        let (covered, space) = core.space.release_all(&[id, parent_id])?;
        if covered < 2 {
            // Their maps are two pages; so few are not worth a second latch.
            return Ok(false);
        }
        let (leaf_high, inner_high) =
            (empty.high_fence().map(<[u8]>::to_vec), parent.high_fence().map(<[u8]>::to_vec));
        let over_leaf = Change::Absorb { right: empty.right(), high: leaf_high.as_deref() };
        let over_inner = Change::Absorb { right: parent.right(), high: inner_high.as_deref() };
        let remove = Change::RemoveChild { slot: slot as u16 };
        [&left, &empty, &uncle, &parent, &above].iter().for_each(|page| page.begin_change());
        space.begin_change();
        let mut parts: Vec<Part<'_>> = vec![
            left.part(over_leaf),
            empty.part(Change::Free),
            uncle.part(over_inner),
            parent.part(Change::Free),
            above.part(remove),
        ];
        space.parts().for_each(|part| parts.push(part));
        let entry = core.append(Author::system(Op::Structure), self.id, &parts, &[])?;
        left.apply(&over_leaf, entry)?;
        empty.apply(&Change::Free, entry)?;
        uncle.apply(&over_inner, entry)?;
        parent.apply(&Change::Free, entry)?;
        above.apply(&remove, entry)?;
        space.apply(entry)?;
        Ok(true)
    }

    /// True where the page is of this tree and level, and the next one to its right is `right`.
    fn precedes(&self, page: &Page, right: PageId, level: u8) -> bool {
        let kind = if level == 0 { Kind::Leaf } else { Kind::Inner };
        page.kind() == kind
            && page.tree() == self.id
            && page.level() == level
            && page.right() == right
            && (level == 0 || page.slots() > 0)
    }

    /// The parent of the leaf `id` where it has no other child and is not the root.
    fn only_parent(&self, low: &[u8], id: PageId) -> Result<Option<PageId>> {
        let Some(Reached::Page(parent, _)) = self.descend::<Waiting>(Seek::At(low), 1, false)? else {
            return Ok(None);
        };
        let is_only = parent.level() == 1 && parent.slots() == 1 && parent.child(0) == id;
        Ok((is_only && parent.id() != self.root).then(|| parent.id()))
    }

    /// The child before `id`, which begins at `low`, of its parent at `level`.
    fn left_neighbour(&self, low: &[u8], id: PageId, level: u8) -> Result<Option<PageId>> {
        let Some(Reached::Page(parent, _)) = self.descend::<Waiting>(Seek::At(low), level, false)?
        else {
            return Ok(None);
        };
        if parent.level() != level {
            return Ok(None);
        }
        Ok(match parent.search(low) {
            Ok(slot) if slot > 0 && parent.child(slot) == id => Some(parent.child(slot - 1)),
            _ => None,
        })
    }
}

/// True where the page has room for the high fence of its right neighbour in the place of its own.
fn can_absorb(left: &Page, right: &Page) -> bool {
    let grown = right.high_fence().map_or(0, <[u8]>::len);
    left.free_bytes() + right.low_fence().len() >= grown
}
