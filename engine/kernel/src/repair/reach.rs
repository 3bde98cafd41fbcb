//! Which part of which tree a damaged page keeps from being read.

use crate::core::{CATALOGUE, CATALOGUE_ROOT, Core};
use crate::tree::{Reach, Tree};
use crate::txn::newest_rows;
use crate::types::{PageId, TreeId};
use crate::verify::shown_name;

/// The name of a tree; `None` where there is none of that number.
pub(super) fn named(core: &Core, tree: TreeId) -> Option<String> {
    if tree == CATALOGUE {
        return Some("catalogue".to_owned());
    }
    let rows = newest_rows(core).unwrap_or_default();
    rows.iter().find(|row| row.tree.id == tree).map(|row| shown_name(row).to_owned())
}

/// For each of `pages` that a parent names: the name of its tree, and its part of it.
///
/// Reads the inner pages of the trees, those first that the damaged pages say they belong to, until
/// all are found. A page of a long value has no parent, and is not found.
pub fn reach_of(core: &Core, pages: &[PageId]) -> Vec<(String, Reach)> {
    let said: Vec<TreeId> =
        pages.iter().filter_map(|page| Some(core.pool.read_raw(*page).ok()?.tree())).collect();
    let catalogue = ("catalogue".to_owned(), Tree { core, id: CATALOGUE, root: CATALOGUE_ROOT });
    let mut trees = vec![catalogue];
    // Where the catalogue is damaged, what is known of it has to do.
    for row in newest_rows(core).unwrap_or_default() {
        let tree = Tree { core, id: row.tree.id, root: row.tree.root };
        trees.push((shown_name(&row).to_owned(), tree));
    }
    trees.sort_by_key(|(_, tree)| !said.contains(&tree.id));
    let mut found: Vec<(String, Reach)> = Vec::new();
    let mut left = pages.to_vec();
    left.sort_unstable();
    for (name, tree) in trees {
        if left.is_empty() {
            break;
        }
        let reached = tree.reach_of(&left);
        left.retain(|page| reached.iter().all(|reach| reach.page != *page));
        found.extend(reached.into_iter().map(|reach| (name.clone(), reach)));
    }
    found
}
