//! Undo: logical, through the tree, newest change first (Mohan et al. 1992).
//!
//! Each undone entry is answered by a compensation record, which is redone like any other entry
//! but never undone: it names the entry to undo next, so a crash in the middle of an undo costs
//! no work twice.

use crate::sync::Ordering;

use super::ending::Ending;
use super::{Counts, Garbage, Isolation, Shared, Status, TxnState};
use crate::buffer::PageWrite;
use crate::core::{Author, CATALOGUE};
use crate::error::{Code, Error, Result};
use crate::events::unix_micros;
use crate::log::{Entry, Op, undo_room};
use crate::page::{Change, Kind, LEAF_HEAD, Old, Part, PartReader, Stamp, get_u64};
use crate::repair::looking_only;
use crate::space;
use crate::tree::split::Incoming;
use crate::tree::{Tree, Waiting};
use crate::types::{Lsn, PageId, TreeId};

/// Body of a compensation record around the values it brings back.
const COMPENSATION: usize = 64;
/// What the image of an empty root takes.
const ROOT_IMAGE: usize = 256;

/// Log space that undoing a change of a record takes; `old` is the length of the value before.
pub(super) fn room_of_record(old: Option<usize>) -> u64 {
    undo_room(COMPENSATION + old.unwrap_or(0))
}

/// Log space that giving back pages takes: each is signed free, then the map says so.
pub(super) fn room_of_pages(parts: usize, pages: usize) -> u64 {
    undo_room(COMPENSATION + 32 * parts) + pages as u64 * room_of_sign()
}

fn room_of_sign() -> u64 {
    undo_room(32)
}

/// Log space that taking a tree back takes, or emptying its root.
pub(super) fn room_of_tree() -> u64 {
    undo_room(COMPENSATION + ROOT_IMAGE)
}

/// Log space for the entry that ends a transaction which was rolled back.
pub(super) fn room_of_end() -> u64 {
    undo_room(16)
}

fn damaged(lsn: Lsn) -> Error {
    Error::new(Code::WalCorrupted).with("details", format!("entry {lsn} cannot be undone as it stands"))
}

/// The entry to undo after this compensation record, and what it leaves to be given back.
pub fn read_compensation(body: &[u8]) -> Result<(Lsn, Option<Garbage>)> {
    let mut parts = PartReader::new(body)?;
    while parts.next_raw()?.is_some() {}
    let extra = parts.extra();
    if extra.len() < 8 {
        return Err(Error::new(Code::WalCorrupted)
            .with("details", "a compensation record without its next entry"));
    }
    Ok((Lsn(get_u64(extra, 0)), Garbage::decode(&mut &extra[8..])))
}

/// Undoes a transaction's entries after `to`, newest first; returns how many records changed.
/// Stops, to be called again, where `keep_on` answers false (between two entries).
pub fn roll_back(
    shared: &Shared,
    state: &TxnState,
    to: Lsn,
    keep_on: &mut dyn FnMut() -> bool,
) -> Result<u64> {
    let mut records = 0;
    let mut next = state.last_lsn();
    while next > to {
        if !keep_on() {
            return Err(Error::new(Code::Cancelled));
        }
        let entry = shared.core.log.read(next)?;
        if entry.header.txn != state.id {
            return Err(damaged(next));
        }
        next = match entry.header.op {
            Op::Clr => read_compensation(&entry.body)?.0,
            Op::Insert | Op::Update | Op::Delete => {
                // Serializable, it goes on knowing what it has seen there.
                let keeps_lock = !state.is_ending() && state.isolation == Isolation::Serializable;
                undo_record(shared, state, &entry, keeps_lock)?;
                records += 1;
                entry.header.prev
            }
            Op::PagesTaken => {
                give_back(shared, state, &entry)?;
                entry.header.prev
            }
            Op::TreeMade => {
                undo_tree(shared, state, &entry)?;
                entry.header.prev
            }
            _ => entry.header.prev,
        };
        if next >= entry.header.lsn {
            return Err(damaged(entry.header.lsn));
        }
    }
    Ok(records)
}

/// Appends a compensation record, in the `room` that was set aside for it; the caller applies its
/// parts.
fn compensate(
    shared: &Shared,
    state: &TxnState,
    room: u64,
    tree: TreeId,
    parts: &[Part<'_>],
    next: Lsn,
) -> Result<crate::page::EntryMark> {
    compensate_leaving(shared, state, room, tree, parts, next, None)
}

/// As [`compensate`], and names what is to be given back once the transaction has ended, however
/// it ends: a rollback to a savepoint may be followed by a commit or by a crash.
fn compensate_leaving(
    shared: &Shared,
    state: &TxnState,
    room: u64,
    tree: TreeId,
    parts: &[Part<'_>],
    next: Lsn,
    left: Option<Garbage>,
) -> Result<crate::page::EntryMark> {
    let author = Author {
        use_undo: state.undo_at_hand(room),
        ..Author::new(state.id, Op::Clr, state.last_lsn())
    };
    let mut extra = next.0.to_le_bytes().to_vec();
    left.iter().for_each(|left| left.encode(&mut extra));
    shared.core.append_with(author, tree, parts, &extra, |span| {
        state.appended(span, &author);
        shared.txns.add_pending(state.id, left);
    })
}

/// Takes a tree back that the transaction had made, or, where the entry only filled its root,
/// empties the root again.
fn undo_tree(shared: &Shared, state: &TxnState, entry: &Entry) -> Result<()> {
    let (lsn, next) = (entry.header.lsn, entry.header.prev);
    let mut parts = PartReader::new(&entry.body)?;
    let tree = parts.tree();
    let Some(root) = parts.next_part()? else { return Err(damaged(lsn)) };
    if parts.next_raw()?.is_some() {
        let left = Garbage::Tree { tree, root: root.page };
        return compensate_leaving(shared, state, room_of_tree(), tree, &[], next, Some(left))
            .map(|_| ());
    }
    let image = super::catalogue::empty_root(&shared.core, tree, root.page).to_image();
    let change = Change::Image { image: &image };
    let mut page = shared.core.pool.write(root.page)?;
    page.begin_change();
    let mark = compensate(shared, state, room_of_tree(), tree, &[page.part(change)], next)?;
    page.apply(&change, mark)
}

fn undo_record(shared: &Shared, state: &TxnState, entry: &Entry, keeps_lock: bool) -> Result<()> {
    let lsn = entry.header.lsn;
    let mut parts = PartReader::new(&entry.body)?;
    let tree_id = parts.tree();
    let Some(part) = parts.next_part()? else { return Err(damaged(lsn)) };
    let Change::Put { key, old, .. } = part.change else { return Err(damaged(lsn)) };
    let next = entry.header.prev;
    let stamp = Stamp { txn: state.id, lsn };
    loop {
        let root = root_of(shared, tree_id)?;
        let tree = Tree { core: &shared.core, id: tree_id, root };
        let Some(mut leaf) = tree.leaf_for_change::<Waiting>(key)? else { return Err(damaged(lsn)) };
        let slot = match leaf.search(key) {
            Ok(slot) if leaf.record(slot).stamp == stamp => slot,
            _ => return Err(damaged(lsn)),
        };
        if keeps_lock {
            shared.locks.ranges().keep(state.id, tree_id, key);
        }
        let Some(old) = old else {
            return apply_compensation(
                shared,
                state,
                &mut leaf,
                Change::Remove { slot: slot as u16 },
                next,
            );
        };
        if leaf.fits_value(slot, old.version.value.len()) {
            let change = Change::Restore { slot: slot as u16, old };
            return apply_compensation(shared, state, &mut leaf, change, next);
        }
        make_room(shared, &tree, leaf, slot, key, &old)?;
    }
}

fn make_room<'c>(
    shared: &Shared,
    tree: &Tree<'c>,
    mut leaf: PageWrite<'c>,
    slot: usize,
    key: &[u8],
    old: &Old<'_>,
) -> Result<()> {
    if tree.purge(&mut leaf, &shared.txns.horizon())? == 0 {
        let size = LEAF_HEAD + key.len() + old.version.value.len();
        tree.split(leaf, Incoming { slot, key, size, replaces: true })?;
    }
    Ok(())
}

fn apply_compensation(
    shared: &Shared,
    state: &TxnState,
    leaf: &mut PageWrite<'_>,
    change: Change<'_>,
    next: Lsn,
) -> Result<()> {
    if leaf.tree() == CATALOGUE {
        shared.known_trees.changing();
    }
    leaf.begin_change();
    if shared.skip_compensation.load(Ordering::Relaxed) {
        let mark = crate::page::EntryMark { txn: state.id, lsn: leaf.lsn(), end: leaf.lsn() };
        return leaf.apply(&change, mark);
    }
    let room = room_of_record(match &change {
        Change::Restore { old, .. } => Some(old.version.value.len()),
        _ => None,
    });
    let entry = compensate(shared, state, room, leaf.tree(), &[leaf.part(change)], next)?;
    leaf.apply(&change, entry)?;
    if matches!(change, Change::Remove { .. }) && !leaf.has_live_record() {
        shared.tidy.note_empty(leaf.tree(), leaf.id(), state.id);
    }
    shared.core.renew_image(leaf)
}

/// Gives back the pages that an entry had taken.
fn give_back(shared: &Shared, state: &TxnState, entry: &Entry) -> Result<()> {
    let mut parts = PartReader::new(&entry.body)?;
    let tree = parts.tree();
    let mut changes: Vec<(PageId, Change<'_>)> = Vec::new();
    while let Some(part) = parts.next_part()? {
        let Change::Map { first, count, .. } = part.change else {
            return Err(damaged(entry.header.lsn));
        };
        changes.push((part.page, Change::Map { first, count, used: false }));
    }
    let Some((map_page, _)) = changes.first() else { return Err(damaged(entry.header.lsn)) };
    let mut pages = 0;
    for (map_page, change) in &changes {
        for page in space::covered(*map_page, change) {
            pages += usize::from(!sign_free(shared, state, tree, page)?);
        }
    }
    // Those that needed no sign leave their room.
    let room = room_of_pages(changes.len(), pages);
    let mut map = shared.core.pool.write(*map_page)?;
    map.begin_change();
    let parts: Vec<Part<'_>> = changes.iter().map(|(_, change)| map.part(*change)).collect();
    let mark = compensate(shared, state, room, tree, &parts, entry.header.prev)?;
    changes.iter().try_for_each(|(_, change)| shared.core.space.apply_map(&mut map, change, mark))
}

/// Marks a page free before its bit says so: whoever still follows a link to it, now or once it
/// is used again, notices. False where that was not needed.
fn sign_free(shared: &Shared, state: &TxnState, tree: TreeId, id: PageId) -> Result<bool> {
    let core = &shared.core;
    // Only looked at first: a page that was never written is no damage to be mended or told of.
    let mut page = match looking_only(|| core.pool.write(id)) {
        Ok(page) => page,
        // It was never written, or not even the file had grown that far.
        Err(error)
            if error.code == Code::PageNotFound
                || error.field("corruption_type") == Some(&"zeroed".into()) =>
        {
            return Ok(false);
        }
        Err(_) => core.pool.write(id)?,
    };
    if page.tree() != tree || page.id() != id || page.kind() == Kind::Free {
        return Ok(false);
    }
    let author =
        Author { use_undo: state.undo_at_hand(room_of_sign()), ..Author::system(Op::Structure) };
    page.begin_change();
    let part = [page.part(Change::Free)];
    let entry = core.append_with(author, tree, &part, &[], |_| state.settle_undo(&author))?;
    page.apply(&Change::Free, entry)?;
    Ok(true)
}

/// The root page of a tree.
pub(super) fn root_of(shared: &Shared, tree: TreeId) -> Result<PageId> {
    let known = shared.roots.read().get(&tree).copied();
    known.map_or_else(|| super::catalogue::find_root(shared, tree), Ok)
}

/// Appends the end of a rolled back transaction.
pub fn append_end(shared: &Shared, state: &TxnState) -> Result<()> {
    let ending = Ending { time: unix_micros(), deltas: &Counts::default(), garbage: &[] }.encode();
    let author = Author {
        use_undo: state.undo_at_hand(room_of_end()),
        ..Author::new(state.id, Op::AbortEnd, state.last_lsn())
    };
    shared.core.log.append(&author.entry(&[&ending]), |span| {
        state.appended(span, &author);
        // In the same step: a checkpoint after this entry must not take it for unfinished.
        state.set_status(Status::Aborted);
    })?;
    Ok(())
}

/// For readers of entries outside: the tree and the pages of a body.
pub fn touched(body: &[u8]) -> Option<(TreeId, Vec<PageId>)> {
    let mut parts = PartReader::new(body).ok()?;
    let tree = parts.tree();
    let mut pages = Vec::new();
    while let Some((page, ..)) = parts.next_raw().ok()? {
        pages.push(page);
    }
    Some((tree, pages))
}
