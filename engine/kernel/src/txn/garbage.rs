//! Giving pages back once nobody can see what they held.
//!
//! Every step is a redo-only entry and can be cut off: chains go from their end to their head,
//! trees from their leaves to their root, so that what is left can still be found from where the
//! duty is recorded. The last entry of each says that it is done.
//!
//! Damage in what goes stops nothing: a damaged page of a tree goes with it, where it must be the
//! tree's still; what only a damaged page led to stays marked as in use.

use std::collections::VecDeque;

use super::undo::root_of;
use super::{Garbage, Horizon, Pending, Shared};
use crate::core::Author;
use crate::error::{Code, Error, Result};
use crate::log::Op;
use crate::page::{Change, Kind};
use crate::repair::{Repairs, mending_quietly};
use crate::tree::Tree;
use crate::tree::overflow::{self, Reference};
use crate::types::{Lsn, PageId, TreeId, TxnId};

/// Gives back everything that nobody can see any more; stops early where `keep_on` answers
/// false. Returns how many pages went.
pub fn collect(shared: &Shared, keep_on: &mut dyn FnMut() -> bool) -> Result<u64> {
    let mut pages = 0;
    while keep_on() {
        let Some(pending) = shared.txns.next_garbage() else { break };
        pages += match pending.garbage {
            Garbage::Chain { tree, reference } => free_sound_chain(shared, tree, reference)?,
            Garbage::Tree { tree, root } => match free_tree(shared, tree, root, keep_on)? {
                Some(pages) => pages,
                None => break,
            },
            Garbage::Page { page } => {
                free_unused(shared, page, &pending)?;
                pages += 1;
                continue;
            }
        };
        settle(shared, &pending)?;
    }
    Ok(pages)
}

/// Leaves that hold nothing but deleted records, or nothing at all, to be taken out of their trees
/// once nobody can see what they held; and some others with deleted records, to be cleaned.
///
/// A courtesy, not a duty: what is not noted is cleaned when somebody writes there.
#[derive(Default)]
pub struct TidyQueue {
    waiting: crate::sync::Mutex<VecDeque<(TreeId, PageId, TxnId)>>,
}

/// Notes beyond this are dropped: some megabytes.
const MOST_NOTES: usize = 1 << 18;

impl TidyQueue {
    /// Leaves that a crash kept from being cleaned.
    pub fn noting(leaves: &[(TreeId, PageId, TxnId)]) -> TidyQueue {
        TidyQueue { waiting: crate::sync::Mutex::new(leaves.iter().copied().collect()) }
    }

    /// A leaf that holds nothing once everybody sees what `by` did.
    pub(crate) fn note_empty(&self, tree: TreeId, leaf: PageId, by: TxnId) {
        Self::note(&mut self.waiting.lock(), MOST_NOTES, (tree, leaf, by));
    }

    fn note(
        waiting: &mut VecDeque<(TreeId, PageId, TxnId)>,
        most: usize,
        note: (TreeId, PageId, TxnId),
    ) {
        // A leaf that is filled and emptied again and again is one leaf.
        if waiting.back() != Some(&note) && waiting.len() < most {
            waiting.push_back(note);
        }
    }

    /// A leaf with deleted records among others; emptied ones are not to want for room.
    pub(super) fn note_ghosts(&self, tree: TreeId, leaf: PageId, by: TxnId) {
        Self::note(&mut self.waiting.lock(), MOST_NOTES / 2, (tree, leaf, by));
    }

    fn len(&self) -> usize {
        self.waiting.lock().len()
    }

    /// The next leaf, which waits on where not everybody sees its deletions yet.
    fn next(&self, horizon: &Horizon) -> Option<(TreeId, PageId)> {
        let mut waiting = self.waiting.lock();
        let (tree, leaf, by) = waiting.pop_front()?;
        if horizon.has_passed(by) {
            return Some((tree, leaf));
        }
        waiting.push_back((tree, leaf, by));
        None
    }
}

/// Cleans the leaves that are due, and takes empty ones out of their trees. Runs on the thread
/// that also gives dropped trees back, so that a tree is never cleaned while it goes.
pub fn tidy(shared: &Shared, keep_on: &mut dyn FnMut() -> bool) -> Result<()> {
    let horizon = shared.txns.horizon();
    // Each note once: those that are not due have gone to the end.
    for _ in 0..shared.tidy.len() {
        if !keep_on() {
            break;
        }
        let Some((id, leaf)) = shared.tidy.next(&horizon) else { continue };
        let root = match root_of(shared, id) {
            Ok(root) => root,
            // The tree has gone.
            Err(error) if error.code == Code::TreeNotFound => continue,
            Err(error) => return Err(error),
        };
        let more = Tree { core: &shared.core, id, root }.tidy(leaf, &horizon)?;
        more.into_iter().for_each(|leaf| shared.tidy.note_empty(id, leaf, TxnId::SYSTEM));
    }
    Ok(())
}

/// Writes down that this duty is done.
fn settle(shared: &Shared, pending: &Pending) -> Result<()> {
    // In one step: a checkpoint after the entry must not take the duty along once more.
    let done = |_| shared.txns.collected(pending);
    shared.core.append_with(Author::system(Op::Freed), TreeId(0), &[], &duty(pending), done)?;
    Ok(())
}

fn duty(pending: &Pending) -> Vec<u8> {
    let mut bytes = pending.by.0.to_le_bytes().to_vec();
    pending.garbage.encode(&mut bytes);
    bytes
}

/// Gives back a page that holds nothing, in the same entry that says so: done twice, it could
/// hit a page that somebody else uses by then.
fn free_unused(shared: &Shared, page: PageId, pending: &Pending) -> Result<()> {
    let space = shared.core.space.release(page)?;
    space.begin_change();
    let (author, done) = (Author::system(Op::Freed), |_| shared.txns.collected(pending));
    let parts: Vec<_> = space.parts().collect();
    let entry = shared.core.append_with(author, TreeId(0), &parts, &duty(pending), done)?;
    space.apply(entry)
}

fn free_page(shared: &Shared, tree: TreeId, id: PageId) -> Result<()> {
    let core = &shared.core;
    let mut page = core.pool.write(id)?;
    if page.tree() != tree || page.kind() == Kind::Free {
        return Ok(());
    }
    let space = core.space.release(id)?;
    page.begin_change();
    space.begin_change();
    let parts: Vec<_> = std::iter::once(page.part(Change::Free)).chain(space.parts()).collect();
    let entry = core.append(Author::system(Op::Structure), tree, &parts, &[])?;
    page.apply(&Change::Free, entry)?;
    space.apply(entry)
}

/// Gives back pages that are marked as in use and that nothing leads to, as a check of all trees found
/// them whose log ended at `since`. Nobody else gives pages back meanwhile. Returns how many went; a
/// crash leaves the others as they were.
pub fn free_lost(
    shared: &Shared,
    pages: &[PageId],
    since: Lsn,
    keep_on: &mut dyn FnMut() -> bool,
) -> Result<u64> {
    let mut freed = 0;
    for id in pages {
        if !keep_on() {
            break;
        }
        let read = mending_quietly(|| {
            let page = shared.core.pool.read(*id)?;
            Ok((page.tree(), page.kind(), page.lsn()))
        });
        freed += match read {
            // Changed since: somebody's after all. A map says of other pages what they are.
            Ok((_, kind, lsn)) if lsn > since || matches!(kind, Kind::Free | Kind::SpaceMap) => 0,
            Ok((tree, ..)) => free_page(shared, tree, *id).map(|()| 1)?,
            Err(error) if is_damage(&error) => free_damaged(shared, TreeId(0), *id)?,
            // What a device keeps from being read is given back another time.
            Err(error) if error.is_page_damage() => 0,
            Err(error) => return Err(error),
        };
    }
    Ok(freed)
}

fn free_chain(shared: &Shared, tree: TreeId, reference: Reference) -> Result<u64> {
    let pages = overflow::pages(&shared.core, tree, reference)?;
    pages.iter().rev().try_for_each(|page| free_page(shared, tree, *page))?;
    Ok(pages.len() as u64)
}

/// True where content is damaged. A device that failed may answer the next time: what it holds is
/// still to be given back then.
fn is_damage(error: &Error) -> bool {
    error.is_page_damage() && error.code != Code::IoError
}

/// As [`free_chain`]; a chain that cannot be read to its end stays marked as in use.
fn free_sound_chain(shared: &Shared, tree: TreeId, reference: Reference) -> Result<u64> {
    free_chain(shared, tree, reference)
        .or_else(|error| if is_damage(&error) { Ok(0) } else { Err(error) })
}

/// Gives back a damaged page of a tree that goes.
fn free_damaged(shared: &Shared, tree: TreeId, id: PageId) -> Result<u64> {
    match mending_quietly(|| Repairs::of(shared)?.empty(id, tree)) {
        Ok(()) => free_page(shared, tree, id).map(|()| 1),
        Err(error) if is_damage(&error) => Ok(0),
        Err(error) => Err(error),
    }
}

fn free_tree(
    shared: &Shared,
    tree: TreeId,
    root: PageId,
    keep_on: &mut dyn FnMut() -> bool,
) -> Result<Option<u64>> {
    let mut freed = 0;
    let found = mending_quietly(|| levels_of(shared, tree, root))?;
    // A page of a tree of which nothing has gone yet is its own, readable or not. Later it may have
    // been given back and be somebody else's: what cannot be read is not touched then.
    for page in found.damaged.iter().filter(|_| !found.is_begun) {
        freed += free_damaged(shared, tree, *page)?;
    }
    for page in found.levels.into_iter().rev().flatten() {
        if !keep_on() {
            return Ok(None);
        }
        for reference in chains_of(shared, tree, page)? {
            freed += free_sound_chain(shared, tree, reference)?;
        }
        free_page(shared, tree, page)?;
        freed += 1;
    }
    shared.roots.write().remove(&tree);
    Ok(Some(freed))
}

/// The pages of a tree, level by level from the root, as far as they still belong to it: through
/// the parents' links, and the right links that a parent may lack.
fn levels_of(shared: &Shared, tree: TreeId, root: PageId) -> Result<Going> {
    let (mut levels, mut damaged, mut is_begun) = (Vec::new(), Vec::new(), false);
    let mut level = vec![root];
    while !level.is_empty() {
        let mut children = Vec::new();
        let mut known: std::collections::HashSet<PageId> = level.iter().copied().collect();
        let mut place = 0;
        while place < level.len() {
            let page = match shared.core.pool.read(level[place]) {
                Err(error) if is_damage(&error) => {
                    damaged.push(level.remove(place));
                    continue;
                }
                read => read?,
            };
            place += 1;
            if page.tree() != tree || !matches!(page.kind(), Kind::Leaf | Kind::Inner) {
                is_begun = true;
                continue;
            }
            if page.kind() == Kind::Inner {
                children.extend((0..page.slots()).map(|slot| page.child(slot)));
            }
            if !page.right().is_none() && known.insert(page.right()) {
                level.push(page.right());
            }
        }
        levels.push(level);
        level = children;
    }
    Ok(Going { levels, damaged, is_begun })
}

/// What there is of a tree that goes.
struct Going {
    levels: Vec<Vec<PageId>>,
    damaged: Vec<PageId>,
    /// Some of its pages have gone before.
    is_begun: bool,
}

fn chains_of(shared: &Shared, tree: TreeId, page: PageId) -> Result<Vec<Reference>> {
    let page = shared.core.pool.read(page)?;
    if page.kind() != Kind::Leaf || page.tree() != tree {
        return Ok(Vec::new());
    }
    let records = (0..page.slots()).map(|slot| page.record(slot));
    records
        .filter(|record| record.is_overflow() && !record.is_ghost())
        .map(|record| Reference::decode(record.value))
        .collect()
}
