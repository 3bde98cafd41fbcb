//! The steps of a transaction that need no waiting, for callers that hold the interpreter's lock:
//! every mutex and latch is only tried. What answers `None` has changed nothing, and is to be done
//! by the step of the same name that may wait, or that tells what is wrong.

use std::sync::Arc;

use super::{
    CATALOGUE_REF, CatalogueEntry, CatalogueKind, Counts, Ending, Isolation, Shared, Status,
    Transaction, TreeRef,
};
use crate::core::Author;
use crate::events::unix_micros;
use crate::lock::{Mode, Resource, Work};
use crate::log::{Op, SyncMode};
use crate::stats::{Counter, Timed};
use crate::sync::{Ordering, soon};
use crate::tree::{Seek, Trying};
use crate::types::Lsn;

impl Shared {
    /// See [`Shared::begin`].
    pub fn try_begin(self: &Arc<Self>, isolation: Isolation, is_read_only: bool) -> Option<Transaction> {
        if self.closed.load(Ordering::Acquire) {
            return None;
        }
        let mut registry = self.locks.try_registry()?;
        let state = self.txns.try_roll()?.begin(isolation, || self.core.log.end());
        let work: Arc<dyn Work> = Arc::<super::TxnState>::clone(&state);
        registry.register(state.id, work);
        drop(registry);
        // Where the store has been closed since, the step that waits tells so.
        self.transaction(state, is_read_only).ok()
    }
}

impl Transaction {
    /// See [`Transaction::tree`]; finds only trees that are there.
    pub fn try_tree(&mut self, name: &str) -> Option<TreeRef> {
        if let Some(tree) = self.trees.get(name) {
            return Some(*tree);
        }
        let tree = match self.known_tree(name) {
            Some(tree) => tree,
            None => self.look_tree_up(name)?,
        };
        self.trees.insert(name.to_owned(), tree);
        Some(tree)
    }

    /// A tree whose record in the catalogue need not be read.
    fn known_tree(&mut self, name: &str) -> Option<TreeRef> {
        if self.isolation() == Isolation::Serializable || self.ensure_usable().is_err() {
            return None;
        }
        let (tree, at) = self.shared.known_trees.get(name)?;
        self.try_lock_tree(tree, Mode::IntentionShared)?;
        // It may have been dropped before the lock was there.
        (self.shared.known_trees.changes() == at).then_some(tree)
    }

    fn look_tree_up(&mut self, name: &str) -> Option<TreeRef> {
        let before = self.shared.known_trees.changes();
        let key = CatalogueKind::Tree.key(name);
        let value = self.try_get(CATALOGUE_REF, &key)?.ok()??;
        let tree = CatalogueEntry::decode(&key, value).ok()?.tree;
        let value = value.to_vec();
        self.try_lock_tree(tree, Mode::IntentionShared)?;
        // It may have been dropped before the lock was there.
        let again = self.try_get(CATALOGUE_REF, &key)?.ok()??;
        if again != value {
            return None;
        }
        let known = soon(|| self.shared.roots.try_read())?.get(&tree.id) == Some(&tree.root);
        if !known {
            self.shared.roots.try_write()?.insert(tree.id, tree.root);
        }
        if self.is_settled(&key) {
            self.shared.known_trees.note(name, tree, before);
        }
        Some(tree)
    }

    /// True where a record of the catalogue is the same to everybody, whenever they began.
    fn is_settled(&self, key: &[u8]) -> bool {
        let Ok(Some((leaf, Ok(slot)))) =
            self.tree_at(CATALOGUE_REF).leaf_and_place::<Trying>(Seek::At(key))
        else {
            return false;
        };
        let writer = leaf.record(slot).stamp.txn;
        // In this order: a snapshot that does not see it began before its end, and is counted.
        !self.shared.txns.is_active(writer) && self.shared.txns.is_seen_by_all(writer)
    }

    /// See [`Transaction::lock_tree`].
    pub(super) fn try_lock_tree(&mut self, at: TreeRef, mode: Mode) -> Option<()> {
        let held = self.modes.get(&at.id).copied();
        if held.is_some_and(|held| held.covers(mode)) {
            return Some(());
        }
        if !matches!(mode, Mode::IntentionShared | Mode::IntentionExclusive) {
            return None;
        }
        let id = self.id();
        let granted = self.shared.locks.try_registry()?.try_acquire(id, &Resource::Tree(at.id), mode);
        // See there: nothing may be written to a tree that was dropped since.
        if !granted.ok()? || (mode == Mode::IntentionExclusive && !self.shared.txns.nothing_pending()) {
            return None;
        }
        self.modes.insert(at.id, held.map_or(mode, |held| held.join(mode)));
        Some(())
    }

    /// See [`Transaction::commit`]. Commits that have to wait for a sync, and those that may have
    /// ranges of keys to give back, answer `None`.
    pub fn try_commit(&mut self) -> Option<Lsn> {
        let shared = Arc::clone(&self.shared);
        let must_wait = self.has_written() && shared.core.log.sync_mode() == SyncMode::Durable;
        let is_usable = self.state.status() == Status::Active && !self.state.is_condemned();
        let may_hold_ranges = self.isolation() == Isolation::Serializable;
        let is_halted = self.has_written() && self.halted().is_some();
        if must_wait || is_halted || !is_usable || may_hold_ranges || !self.garbage.is_empty() {
            return None;
        }
        let _work = self.begin_work().ok()?;
        // Both are held to the end: what has been logged cannot be given up half way. Nothing is
        // waited for while they are, so that they need no place in the order of latches.
        let mut registry = shared.locks.try_registry()?;
        let mut roll = shared.txns.try_roll()?;
        let lap = self.has_written().then(|| shared.stats.sampled_lap(Timed::Commit));
        let at = match self.has_written() {
            false => shared.core.log.durable(),
            true => match self.try_append_commit() {
                Some(at) => at,
                None => {
                    // The commit that waits is counted itself.
                    std::mem::forget(lap);
                    return None;
                }
            },
        };
        self.state.set_status(Status::Committed);
        roll.end(self.id(), &self.deltas);
        registry.ended(self.id());
        shared.stats.add(Counter::Committed, 1);
        if self.has_written() {
            shared.stats.add(Counter::Written, 1);
        }
        Some(at)
    }

    fn try_append_commit(&self) -> Option<Lsn> {
        let (shared, state) = (&self.shared, &self.state);
        let mut counts = match self.deltas.is_empty() {
            true => None,
            false => Some(soon(|| shared.logged_counts.try_lock())?),
        };
        let body = Ending { time: unix_micros(), deltas: &self.deltas, garbage: &[] }.encode();
        // Room for undo is given back in the same step.
        let reserved = state.undo_reserved.load(Ordering::Acquire);
        let author =
            Author { use_undo: reserved, ..Author::new(self.id(), Op::Commit, state.last_lsn()) };
        let span = shared.core.log.try_append(&author.entry(&[&body]), |span| {
            state.appended(span, &author);
            state.set_status(Status::Committing);
            if let Some(counts) = &mut counts {
                add(counts, &self.deltas);
            }
        })?;
        span.ok().map(|span| span.lsn)
    }
}

fn add(counts: &mut Counts, deltas: &Counts) {
    deltas.iter().for_each(|(tree, delta)| *counts.entry(*tree).or_default() += delta);
}
