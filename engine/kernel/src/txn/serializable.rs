//! Reading at the level serializable: the newest versions, under locks on the ranges of keys that
//! were looked at, gaps included. The protocol heads `lock/ranges.rs`.
//!
//! A reader that meets the stamp of an active writer has locked the range up to that record, the
//! record included, so that no third one comes between; it then waits for the writer.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use super::batch::Seen;
use super::read::{Found, Range, Step, shown, version};
use super::{Isolation, Transaction, TreeRef};
use crate::error::Result;
use crate::lock::{Interval, Mode, Resource, successor};
use crate::page::Page;
use crate::tree::{Seek, Waiting};
use crate::types::TxnId;

/// What one look into a leaf came to.
enum Look<T> {
    Found(T),
    /// The record is being changed.
    Stamped(TxnId),
    /// A writer waits for a key here.
    Ahead(TxnId),
}

/// Where a look into a leaf ended.
enum End {
    /// At the leaf's end.
    Leaf,
    /// At the end of what was asked for.
    Range,
    /// The next one would be one too many.
    Limit,
    /// At a record with the stamp of an active writer.
    Stamp(Vec<u8>, TxnId),
}

/// What was seen of a leaf, where that ended, and where to go on.
type Covered = (Seen, End, Option<Vec<u8>>);

impl Transaction {
    /// At serializable, all users of a tree stand in the way of who drops it. What its readers
    /// look at they lock as they go.
    pub(super) fn lock_for_reading(&mut self, at: TreeRef) -> Result<()> {
        if self.isolation() == Isolation::Serializable {
            self.lock_tree(at, Mode::IntentionShared)?;
        }
        Ok(())
    }

    /// True where what is read has to be locked: nobody else can write to a tree that is locked
    /// as a whole, and reads of the newest version are not part of what the transaction saw.
    pub(super) fn locks_ranges(&self, at: TreeRef) -> bool {
        self.isolation() == Isolation::Serializable
            && !self.reads_newest
            && !self.modes.get(&at.id).is_some_and(|held| held.covers(Mode::Shared))
    }

    /// Locks one key, under its leaf's latch; the writer to wait for where one stands in line.
    pub(super) fn lock_key(&self, at: TreeRef, key: &[u8]) -> std::result::Result<(), TxnId> {
        if !self.locks_ranges(at) {
            return Ok(());
        }
        let keys = Interval { start: key, end: Some(&successor(key)) };
        self.shared.locks.ranges().lock(self.id(), at.id, keys)
    }

    /// Waits for the writer of a record's stamp.
    pub(super) fn wait_for_record(
        &self,
        at: TreeRef,
        key: &[u8],
        writer: TxnId,
        mode: Mode,
    ) -> Result<()> {
        let key_hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
        let resource = Resource::Record { tree: at.id, key_hash };
        let waited = self.shared.locks.wait_behind(self.id(), writer, resource, mode, None);
        waited.map_err(|error| self.or_fate(error))?;
        self.ensure_usable()
    }

    /// Waits for who has locked a range, or stands in line for one of its keys.
    pub(super) fn wait_for_range(&self, at: TreeRef, other: TxnId, mode: Mode) -> Result<()> {
        let resource = Resource::Ranges(at.id);
        let waited = self.shared.locks.wait_behind(self.id(), other, resource, mode, None);
        waited.map_err(|error| self.or_fate(error))?;
        self.ensure_usable()
    }

    /// The newest version of `key`, which stays as it is until this transaction ends.
    pub(super) fn find_locked(&self, at: TreeRef, key: &[u8]) -> Result<Found> {
        loop {
            match self.look_locked(at, key)? {
                Look::Found(found) => return Ok(found),
                Look::Stamped(writer) => self.wait_for_record(at, key, writer, Mode::Shared)?,
                Look::Ahead(writer) => self.wait_for_range(at, writer, Mode::Shared)?,
            }
        }
    }

    fn look_locked(&self, at: TreeRef, key: &[u8]) -> Result<Look<Found>> {
        let Some(leaf) = self.tree_at(at).leaf::<Waiting>(Seek::At(key))? else {
            return Ok(Look::Found(Found::Nothing));
        };
        if let Err(writer) = self.lock_key(at, key) {
            return Ok(Look::Ahead(writer));
        }
        let Ok(slot) = leaf.search(key) else { return Ok(Look::Found(Found::Nothing)) };
        let record = leaf.record(slot);
        if !self.sees(record.stamp.txn) {
            return Ok(Look::Stamped(record.stamp.txn));
        }
        version(record.flags, record.value).map(Look::Found)
    }

    /// The records of one leaf from `position` on, and where to go on. Waits only where it would
    /// otherwise have nothing to answer.
    pub(super) fn scan_leaf_locked(
        &self,
        at: TreeRef,
        range: &Range,
        position: Option<&[u8]>,
        limit: usize,
    ) -> Result<Step> {
        loop {
            match self.look_at_leaf(at, range, position, limit)? {
                Look::Found((seen, End::Stamp(key, writer), _)) if seen.records.is_empty() => {
                    self.wait_for_record(at, &key, writer, Mode::Shared)?;
                }
                Look::Found((seen, _, next)) => return Ok((seen, next)),
                Look::Stamped(writer) | Look::Ahead(writer) => {
                    self.wait_for_range(at, writer, Mode::Shared)?;
                }
            }
        }
    }

    fn look_at_leaf(
        &self,
        at: TreeRef,
        range: &Range,
        position: Option<&[u8]>,
        limit: usize,
    ) -> Result<Look<Covered>> {
        if limit == 0 {
            return Ok(Look::Found((Seen::default(), End::Limit, None)));
        }
        let seek = if range.reverse { Seek::Below(position) } else { Seek::At(position.unwrap_or(&[])) };
        let Some(leaf) = self.tree_at(at).leaf::<Waiting>(seek)? else {
            return Ok(Look::Found((Seen::default(), End::Range, None)));
        };
        let (found, end) = self.gather(&leaf, range, position, limit)?;
        let (keys, next) = covered(&leaf, range, position, found.records.last_key(), &end);
        let keys = Interval { start: &keys.0, end: keys.1.as_deref() };
        if let Err(writer) = self.shared.locks.ranges().lock(self.id(), at.id, keys) {
            return Ok(Look::Ahead(writer));
        }
        Ok(Look::Found((found, end, next)))
    }

    /// Copies the records of a range out of a leaf, until there is a reason to stop.
    fn gather(
        &self,
        leaf: &Page,
        range: &Range,
        position: Option<&[u8]>,
        limit: usize,
    ) -> Result<(Seen, End)> {
        let mut seen = Seen::for_page(leaf.size(), limit);
        for slot in slots_from(leaf, range.reverse, position) {
            let record = leaf.record(slot);
            if is_outside(range, record.key) {
                return Ok((seen, End::Range));
            }
            if seen.records.len() >= limit {
                return Ok((seen, End::Limit));
            }
            if !self.sees(record.stamp.txn) {
                return Ok((seen, End::Stamp(record.key.to_vec(), record.stamp.txn)));
            }
            let shown = shown(record.flags, record.value)?;
            seen.push(record.key, if range.keys_only { shown.without_value() } else { shown });
        }
        Ok((seen, End::Leaf))
    }
}

/// The slots of a leaf in the order of reading, from a position on.
fn slots_from(leaf: &Page, reverse: bool, position: Option<&[u8]>) -> Box<dyn Iterator<Item = usize>> {
    let place = |key| match leaf.search(key) {
        Ok(slot) | Err(slot) => slot,
    };
    if reverse {
        Box::new((0..position.map_or(leaf.slots(), place)).rev())
    } else {
        Box::new(position.map_or(0, place)..leaf.slots())
    }
}

fn is_outside(range: &Range, key: &[u8]) -> bool {
    if range.reverse {
        key < range.start.as_slice()
    } else {
        range.stop.as_deref().is_some_and(|stop| key >= stop)
    }
}

/// The keys that a look into a leaf has covered, and where to go on.
#[allow(clippy::type_complexity)]
fn covered(
    leaf: &Page,
    range: &Range,
    position: Option<&[u8]>,
    last_key: Option<&[u8]>,
    end: &End,
) -> ((Vec<u8>, Option<Vec<u8>>), Option<Vec<u8>>) {
    let last = || last_key.map(<[u8]>::to_vec);
    if range.reverse {
        let (from, next) = match end {
            End::Range => (range.start.clone(), None),
            End::Leaf if leaf.low_fence() <= range.start.as_slice() => (range.start.clone(), None),
            End::Leaf => (leaf.low_fence().to_vec(), Some(leaf.low_fence().to_vec())),
            End::Limit => (last().unwrap_or_default(), last()),
            End::Stamp(key, _) => (key.clone(), Some(successor(key))),
        };
        return ((from, position.map(<[u8]>::to_vec)), next);
    }
    let from = position.unwrap_or(&[]).to_vec();
    let (to, next) = match (end, leaf.high_fence()) {
        (End::Range, _) | (End::Leaf, None) => (range.stop.clone(), None),
        (End::Leaf, Some(high)) if range.stop.as_deref().is_some_and(|stop| stop <= high) => {
            (range.stop.clone(), None)
        }
        (End::Leaf, Some(high)) => (Some(high.to_vec()), Some(high.to_vec())),
        (End::Limit, _) => {
            let after = last().map(|key| successor(&key));
            (after.clone(), after)
        }
        (End::Stamp(key, _), _) => (Some(successor(key)), Some(key.clone())),
    };
    ((from, to), next)
}
