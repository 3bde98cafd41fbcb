//! The records whose long values lie on pages that are set apart, as the reads that met them knew.
//!
//! No page leads back from a long value to its record. Keys are stored values: they are kept in memory
//! alone, and no text shows them.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::reach::{named, reach_of};
use super::{Repairs, Shared};
use crate::error::{Error, Field, KeyBounds};
use crate::tree::Reach;
use crate::types::{PageId, TreeId};

#[derive(Default)]
pub(super) struct Records {
    of: Mutex<HashMap<PageId, (TreeId, Vec<u8>)>>,
}

impl Records {
    /// True where the page had no record yet.
    fn note(&self, page: PageId, tree: TreeId, key: &[u8]) -> bool {
        self.of.lock().insert(page, (tree, key.to_vec())).is_none()
    }

    pub fn forget(&self, page: PageId) {
        self.of.lock().remove(&page);
    }

    fn reach(&self, page: PageId) -> Option<(TreeId, Reach)> {
        let (tree, key) = self.of.lock().get(&page)?.clone();
        Some((tree, Reach { page, bounds: KeyBounds::only(&key), records: Some(1) }))
    }
}

impl Repairs {
    /// Notes which record the damaged page of a long value that `error` names keeps from being read, and
    /// tells of it once: the event comes after the one that the page was set apart.
    pub fn note_record(&self, error: &Error, tree: TreeId, key: &[u8]) {
        let Some(Field::Int(page)) = error.field("page_id") else { return };
        let Ok(page) = u32::try_from(*page).map(PageId) else { return };
        let is_known = self.set_apart.lock().contains_key(&page);
        if is_known
            && self.records.note(page, tree, key)
            && let Some(shared) = self.shared.upgrade()
        {
            shared.events.push("page_placed", vec![("page", page.0.into())]);
        }
    }

    /// For each of `pages`: the name of the tree and its part that the page keeps from being read, as a
    /// parent names it, or as a read of a long value has met it; absent where nobody knows.
    pub fn reach_of(&self, shared: &Shared, pages: &[PageId]) -> Vec<(String, Reach)> {
        let mut found = reach_of(&shared.core, pages);
        let is_left = |page: &PageId| found.iter().all(|(_, reach)| reach.page != *page);
        let left: Vec<PageId> = pages.iter().copied().filter(is_left).collect();
        for (tree, reach) in left.into_iter().filter_map(|page| self.records.reach(page)) {
            // A tree that was dropped since keeps nothing from being read.
            found.extend(named(&shared.core, tree).map(|name| (name, reach)));
        }
        found
    }
}
