//! A second opinion on a database's structure, independent of the kernel's own check: walks every
//! tree level by level, follows every chain, and holds what it reached against the space map.

use std::collections::{BTreeSet, HashMap};

use _kernel::core::{CATALOGUE, CATALOGUE_ROOT};
use _kernel::page::{Kind, Page};
use _kernel::space::{GROUP, is_used, map_page_of};
use _kernel::store::Store;
use _kernel::tree::overflow::{self, Reference};
use _kernel::txn::{CatalogueKind, Isolation, TreeRef};
use _kernel::types::{PageId, TreeId};

type Finding<T> = Result<T, String>;

fn coded<T>(what: &str, result: _kernel::error::Result<T>) -> Finding<T> {
    result.map_err(|error| format!("{what}: {error}"))
}

/// Checks everything. To be called when no transaction is active and nothing waits to be given
/// back; returns how many pages are in use.
pub fn audit(store: &Store) -> Finding<usize> {
    let mut reached = BTreeSet::from([PageId(0)]);
    let mut trees = vec![TreeRef { id: CATALOGUE, root: CATALOGUE_ROOT }];
    let mut txn = coded("begin", store.begin(Isolation::ReadCommitted, true))?;
    let entries = coded("catalogue", txn.catalogue(CatalogueKind::Tree))?;
    trees.extend(entries.iter().map(|entry| entry.tree));
    drop(txn);
    for tree in trees {
        walk_tree(store, tree, &mut reached)?;
    }
    compare_with_map(store, &reached)
}

fn read(store: &Store, id: PageId) -> Finding<Page> {
    let page = coded(&format!("page {id}"), store.shared().core.pool.read(id))?;
    if page.id() != id {
        return Err(format!("page {id} says that it is page {}", page.id()));
    }
    page.validate_structure().map_err(|flaw| format!("page {id}: {flaw}"))?;
    Ok(page.clone())
}

fn walk_tree(store: &Store, tree: TreeRef, reached: &mut BTreeSet<PageId>) -> Finding<()> {
    let mut first = tree.root;
    let mut children: HashMap<PageId, Vec<u8>> = HashMap::new();
    let mut expected_level = None;
    let mut records = 0i64;
    loop {
        let mut below = HashMap::new();
        let mut low: Vec<u8> = Vec::new();
        let mut at = first;
        let mut next_first = None;
        let mut level_pages = BTreeSet::new();
        while !at.is_none() {
            let page = read(store, at)?;
            let where_ = format!("page {at} of tree {}", tree.id);
            if page.tree() != tree.id || !matches!(page.kind(), Kind::Leaf | Kind::Inner) {
                return Err(format!("{where_}: {:?} of tree {}", page.kind(), page.tree()));
            }
            if expected_level.is_some_and(|level| level != page.level()) {
                return Err(format!("{where_}: level {}", page.level()));
            }
            expected_level = Some(page.level());
            if page.low_fence() != low {
                return Err(format!("{where_}: does not begin where its left sibling ends"));
            }
            if children.get(&at).is_some_and(|separator| *separator != low) {
                return Err(format!("{where_}: its parent's separator is not its low fence"));
            }
            if !reached.insert(at) || !level_pages.insert(at) {
                return Err(format!("{where_}: reached twice"));
            }
            if page.kind() == Kind::Inner {
                next_first.get_or_insert(page.child(0));
                for slot in 0..page.slots() {
                    below.insert(page.child(slot), page.key(slot).to_vec());
                }
            } else {
                records += walk_records(store, tree.id, &page, reached)?;
            }
            low = page.high_fence().map(<[u8]>::to_vec).unwrap_or_default();
            at = page.right();
        }
        if let Some(lost) = children.keys().find(|child| !level_pages.contains(child)) {
            return Err(format!("tree {}: page {lost} has a parent but is not in its level", tree.id));
        }
        match next_first {
            None => break,
            Some(page) => first = page,
        }
        expected_level = expected_level.map(|level| level - 1);
        children = below;
    }
    let counted = store.shared().txns.counts().get(&tree.id).copied().unwrap_or(0);
    if counted != records {
        return Err(format!("tree {}: {records} records, counted {counted}", tree.id));
    }
    Ok(())
}

/// Follows the chains of a leaf; returns how many records have a value.
fn walk_records(
    store: &Store,
    tree: TreeId,
    page: &Page,
    reached: &mut BTreeSet<PageId>,
) -> Finding<i64> {
    let core = &store.shared().core;
    let next = store.shared().txns.next_id();
    let mut live = 0;
    for slot in 0..page.slots() {
        let record = page.record(slot);
        if record.stamp.txn >= next {
            return Err(format!("page {}: a record of a transaction to come", page.id()));
        }
        live += i64::from(!record.is_ghost());
        if record.is_ghost() || !record.is_overflow() {
            continue;
        }
        let reference = coded("reference", Reference::decode(record.value))?;
        if coded("chain", overflow::read(core, tree, reference))?.is_none() {
            return Err(format!("page {} slot {slot}: its long value is not whole", page.id()));
        }
        for id in coded("chain", overflow::pages(core, tree, reference))? {
            if !reached.insert(id) {
                return Err(format!("page {id} of a long value is reached twice"));
            }
        }
    }
    Ok(live)
}

fn compare_with_map(store: &Store, reached: &BTreeSet<PageId>) -> Finding<usize> {
    let pool = &store.shared().core.pool;
    let mut used = 0;
    let mut map: Option<Page> = None;
    for id in (0..pool.file_pages()).map(PageId) {
        let map_page = map_page_of(id);
        if map.as_ref().is_none_or(|map| map.id() != map_page) {
            map = Some(read(store, map_page)?);
        }
        let says_used = map.as_ref().is_some_and(|map| is_used(map, id));
        let is_map = id == map_page;
        match (says_used, is_map || reached.contains(&id)) {
            (true, false) => return Err(format!("page {id} is in use, and nothing leads to it")),
            (false, true) => return Err(format!("page {id} is reached, and the map says it is free")),
            _ => used += usize::from(says_used),
        }
    }
    let counted = store.shared().core.space.used_pages();
    if counted != used as u64 {
        return Err(format!("{used} pages are in use, counted {counted} (groups of {GROUP})"));
    }
    Ok(used)
}
