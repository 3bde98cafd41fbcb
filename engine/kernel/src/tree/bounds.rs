//! What a damaged page keeps from being read: between which keys it lies, as its parent says, and
//! about how many records it holds, as its neighbours do.

use super::{Seek, Standing, Tree};
use crate::error::{Error, KeyBounds};
use crate::page::{Kind, Page};
use crate::types::PageId;

/// Neighbours that are looked at for an estimate.
const NEIGHBOURS: usize = 4;
/// Right links of damaged pages may lead in a circle.
const MOST_STEPS: u32 = 1000;

/// The part of a tree that a page which cannot be read keeps out of reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    pub page: PageId,
    pub bounds: KeyBounds,
    /// About how many records; `None` where it has no neighbour that tells.
    pub records: Option<u64>,
}

fn low_of(page: &Page) -> Option<Vec<u8>> {
    Some(page.low_fence()).filter(|low| !low.is_empty()).map(<[u8]>::to_vec)
}

/// Between which keys the child at `slot` lies.
fn bounds_at(parent: &Page, slot: usize) -> KeyBounds {
    let low = if slot == 0 { low_of(parent) } else { Some(parent.key(slot).to_vec()) };
    let next = (slot + 1 < parent.slots()).then(|| parent.key(slot + 1));
    KeyBounds { low, high: next.or(parent.high_fence()).map(<[u8]>::to_vec) }
}

impl Tree<'_> {
    /// Says of an error of the damaged page `at`, which a descent of `seek` to `level` met, which tree
    /// it keeps from being read, and to programs between which keys.
    #[cold]
    pub(super) fn located(&self, error: Error, at: PageId, seek: Seek<'_>, level: u8) -> Error {
        if !error.is_lost_page() {
            return error;
        }
        error.saying("tree", i64::from(self.id.0)).within(self.bounds_of(at, seek, level))
    }

    /// Descends once more to the parent of `lost`. Never below `level`, where the caller may hold a
    /// latch, and one latch at a time.
    fn bounds_of(&self, lost: PageId, seek: Seek<'_>, level: u8) -> KeyBounds {
        let mut bounds = KeyBounds::default();
        let mut at = self.root;
        for _ in 0..MOST_STEPS {
            if at == lost {
                break;
            }
            let Ok(page) = self.core.pool.read(at) else { break };
            match self.stand(&page, seek, None) {
                Standing::Here(place) if page.level() > level => {
                    let slot = seek.slot(place);
                    bounds = bounds_at(&page, slot);
                    at = page.child(slot);
                }
                Standing::Right => {
                    bounds.low = page.high_fence().map(<[u8]>::to_vec);
                    at = page.right();
                }
                Standing::Here(_) | Standing::Astray => break,
            }
        }
        bounds
    }

    /// What each of the pages in `lost`, which ascend, keeps out of reach. Reads the inner pages only, and some
    /// neighbours; a page that no parent names is absent.
    pub fn reach_of(&self, lost: &[PageId]) -> Vec<Reach> {
        let mut found = Vec::new();
        if lost.binary_search(&self.root).is_ok() {
            found.push(Reach { page: self.root, bounds: KeyBounds::default(), records: None });
        } else if let Some(root) = self.copy_of(self.root, None) {
            self.look_below(&root, lost, &mut found);
        }
        found
    }

    fn look_below(&self, parent: &Page, lost: &[PageId], found: &mut Vec<Reach>) {
        if parent.kind() != Kind::Inner || found.len() >= lost.len() {
            return;
        }
        for slot in 0..parent.slots() {
            let child = parent.child(slot);
            if lost.binary_search(&child).is_ok() {
                let records = self.records_beside(parent, slot, lost);
                found.push(Reach { page: child, bounds: bounds_at(parent, slot), records });
            } else if parent.level() > 1
                && let Some(page) = self.copy_of(child, Some(parent.level() - 1))
            {
                self.look_below(&page, lost, found);
            }
        }
    }

    /// As many records as the children next to `slot` hold on average.
    fn records_beside(&self, parent: &Page, slot: usize, lost: &[PageId]) -> Option<u64> {
        let before = (0..slot).rev().take(NEIGHBOURS);
        let beside = before.chain((slot + 1..parent.slots()).take(NEIGHBOURS));
        let children =
            beside.map(|slot| parent.child(slot)).filter(|child| lost.binary_search(child).is_err());
        let level = parent.level().checked_sub(1);
        let counts: Vec<u64> = children
            .filter_map(|child| self.copy_of(child, level))
            .map(|page| self.records_below(&page))
            .collect();
        (!counts.is_empty()).then(|| counts.iter().sum::<u64>() / counts.len() as u64)
    }

    /// About how many records lie below a page, from one way down.
    fn records_below(&self, page: &Page) -> u64 {
        if page.kind() == Kind::Leaf {
            return (0..page.slots()).filter(|slot| !page.record(*slot).is_ghost()).count() as u64;
        }
        let middle = page.child(page.slots() / 2);
        let level = page.level().checked_sub(1);
        let below = self.copy_of(middle, level).map_or(0, |child| self.records_below(&child));
        below * page.slots() as u64
    }

    /// A copy of a page of this tree, of that level; `None` where it cannot be read or is another's.
    fn copy_of(&self, id: PageId, level: Option<u8>) -> Option<Page> {
        let page = self.core.pool.read(id).ok()?.clone();
        let is_ours = page.tree() == self.id
            && matches!(page.kind(), Kind::Leaf | Kind::Inner)
            && (page.kind() == Kind::Leaf) == (page.level() == 0)
            && (page.kind() == Kind::Leaf || page.slots() > 0)
            && level.is_none_or(|level| page.level() == level);
        is_ours.then_some(page)
    }
}
