//! Reading records: the newest version lies in the page, older ones are followed through the log.

use super::batch::{Batch, Records, Seen, Shown};
use super::{Isolation, Transaction, TreeRef};
use crate::error::{Code, Error, KeyBounds, Result};
use crate::lock::{Mode, Resource};
use crate::page::{Change, GHOST, OVERFLOW, PartReader, Record, Stamp};
use crate::stats::Timed;
use crate::tree::overflow::{self, Reference};
use crate::tree::scan::Next;
use crate::tree::{Latching, Seek, Tree, Trying, Waiting};
use crate::types::TxnId;

/// Beyond so many bytes of long values a scan goes on in another batch.
const LONG_BYTES: usize = 1 << 20;

/// A version that a reader may see: what its page or the log holds, copied out.
pub(super) enum Found {
    Nothing,
    Value(Vec<u8>),
    Long(Reference),
    /// The newest version is not for this reader; older ones begin at this entry.
    Older(Stamp),
}

/// Records of one leaf as they were found, and where to go on: `None` at the end.
pub(super) type Step = (Seen, Option<Vec<u8>>);

/// What a scan covers: `start <= key < stop`, from the front or from the back.
#[derive(Clone, Debug, Default)]
pub struct Range {
    pub start: Vec<u8>,
    pub stop: Option<Vec<u8>>,
    pub reverse: bool,
    /// Values are not wanted.
    pub keys_only: bool,
}

impl Range {
    /// True where nothing of the range lies beyond this fence, in the direction of reading.
    fn ends_at(&self, fence: &[u8]) -> bool {
        if self.reverse {
            fence <= self.start.as_slice()
        } else {
            self.stop.as_deref().is_some_and(|stop| fence >= stop)
        }
    }
}

impl Transaction {
    pub(super) fn tree_at(&self, at: TreeRef) -> Tree<'_> {
        Tree { core: &self.shared.core, id: at.id, root: at.root }
    }

    /// Does this transaction see what `writer` wrote?
    pub(super) fn sees(&self, writer: TxnId) -> bool {
        if writer == self.id() || writer < self.state.snapshot.min {
            return true;
        }
        if self.reads_snapshot() {
            self.state.snapshot.sees(writer)
        } else {
            !self.shared.txns.is_active(writer)
        }
    }

    /// True where reads see what was committed when the transaction began, false where they see
    /// what is committed now.
    fn reads_snapshot(&self) -> bool {
        self.isolation() == Isolation::RepeatableRead && !self.reads_newest
    }

    /// Takes a lock on a tree, once for each transaction and mode.
    pub(super) fn lock_tree(&mut self, at: TreeRef, mode: Mode) -> Result<()> {
        if let Some(held) = self.modes.get(&at.id)
            && held.covers(mode)
        {
            return Ok(());
        }
        let locked = self.shared.locks.acquire(self.id(), Resource::Tree(at.id), mode, None);
        locked.map_err(|error| self.or_fate(error))?;
        // A snapshot still shows a tree that was dropped after it began. What would be written
        // there could neither be found again nor, after a crash, be undone.
        if !matches!(mode, Mode::IntentionShared | Mode::Shared) && self.shared.txns.is_dropped(at.id) {
            return Err(self.lost(at));
        }
        let joined = self.modes.get(&at.id).map_or(mode, |held| held.join(mode));
        self.modes.insert(at.id, joined);
        Ok(())
    }

    fn look<'p>(&self, record: Record<'p>) -> Result<Shown<'p>> {
        if !self.sees(record.stamp.txn) {
            return Ok(Shown::Elsewhere(Found::Older(record.stamp)));
        }
        shown(record.flags, record.value)
    }

    /// Follows the log to the newest version that this transaction sees.
    ///
    /// None of the writer that it has not seen on the page, who may commit meanwhile: below its
    /// last version may lie one that it has itself replaced. Those before it had ended by then.
    /// Answers `Older` where the record has to be read again.
    fn older(&self, mut stamp: Stamp) -> Result<Found> {
        let unseen = stamp.txn;
        loop {
            if stamp.lsn.is_none() {
                // Built in bulk: there was nothing before.
                return Ok(Found::Nothing);
            }
            let entry = match self.shared.core.log.read(stamp.lsn) {
                Ok(entry) => entry,
                // Nothing is kept for reads of the newest version: its writer has ended since.
                Err(_) if !self.reads_snapshot() && self.sees(stamp.txn) => {
                    return Ok(Found::Older(stamp));
                }
                Err(error) => return Err(self.too_old(error)),
            };
            let mut parts = PartReader::new(&entry.body)?;
            let Some(part) = parts.next_part()? else { return Err(self.broken_chain()) };
            let Change::Put { old, .. } = part.change else { return Err(self.broken_chain()) };
            match old {
                None => return Ok(Found::Nothing),
                Some(old) if old.stamp.txn != unseen && self.sees(old.stamp.txn) => {
                    return version(old.version.flags, old.version.value);
                }
                // Older versions lie further back; anything else would lead in a circle.
                Some(old) if old.stamp.lsn >= stamp.lsn => return Err(self.broken_chain()),
                Some(old) => stamp = old.stamp,
            }
        }
    }

    fn too_old(&self, error: Error) -> Error {
        Error::new(Code::SnapshotTooOld).with("txn", self.id().0).because(error)
    }

    pub(super) fn broken_chain(&self) -> Error {
        Error::new(Code::WalCorrupted).with("details", "the versions of a record do not chain")
    }

    /// The value of `key` as this transaction sees it.
    pub fn get(&mut self, at: TreeRef, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.ensure_usable()?;
        self.lock_for_reading(at)?;
        let _lap = self.shared.stats.sampled_lap(Timed::Get);
        let read = self.read_record(at, key);
        self.confirm(read)
    }

    fn read_record(&self, at: TreeRef, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut gone = None;
        loop {
            let found = self.find_waiting(at, key)?;
            let settled =
                self.settle(at, found, &mut gone).map_err(|error| self.of_record(error, at, key));
            if let Some(value) = settled? {
                return Ok(value);
            }
        }
    }

    /// As [`Transaction::get`], `None` where a lock, a latch or the disk would have to be waited
    /// for. For callers that hold the interpreter's lock. The value is a copy that the transaction
    /// keeps until its next operation: nobody has to find memory for it.
    pub fn try_get(&mut self, at: TreeRef, key: &[u8]) -> Option<Result<Option<&[u8]>>> {
        if self.isolation() == Isolation::Serializable {
            return None;
        }
        if let Err(error) = self.ensure_usable() {
            return Some(Err(error));
        }
        let mut copied = std::mem::take(&mut self.copied);
        let lap = self.shared.stats.sampled_lap(Timed::Get);
        let found = self.try_copy(at, key, &mut copied);
        drop(lap);
        self.copied = copied;
        match found {
            Ok(Some(is_there)) => {
                Some(self.confirm(Ok(())).map(|()| is_there.then_some(self.copied.as_slice())))
            }
            Ok(None) => None,
            Err(error) => Some(self.confirm(Err(error))),
        }
    }

    /// Copies the value of `key` out of its leaf; false where it has none, `None` where that has to
    /// be waited for, or where it lies elsewhere.
    fn try_copy(&self, at: TreeRef, key: &[u8], to: &mut Vec<u8>) -> Result<Option<bool>> {
        let Some((leaf, place)) = self.tree_at(at).leaf_and_place::<Trying>(Seek::At(key))? else {
            return Ok(None);
        };
        let Ok(slot) = place else { return Ok(Some(false)) };
        let record = leaf.record(slot);
        if !self.sees(record.stamp.txn) {
            return Ok(None);
        }
        if record.is_ghost() || record.is_overflow() {
            return Ok(record.is_ghost().then_some(false));
        }
        to.clear();
        to.extend_from_slice(record.value);
        Ok(Some(true))
    }

    fn find_waiting(&self, at: TreeRef, key: &[u8]) -> Result<Found> {
        if self.locks_ranges(at) {
            return self.find_locked(at, key);
        }
        Ok(self.find::<Waiting>(at, key)?.unwrap_or(Found::Nothing))
    }

    pub(super) fn find<L: Latching>(&self, at: TreeRef, key: &[u8]) -> Result<Option<Found>> {
        let Some((leaf, place)) = self.tree_at(at).leaf_and_place::<L>(Seek::At(key))? else {
            return Ok(None);
        };
        match place {
            Ok(slot) => self.look(leaf.record(slot)).map(|shown| Some(shown.found())),
            Err(_) => Ok(Some(Found::Nothing)),
        }
    }

    /// Turns what was found into a value; `None` where the record has to be read again, since the
    /// long value `gone` went away under the reader. A record that still refers to it then is damaged.
    #[allow(clippy::option_option)]
    pub(super) fn settle(
        &self,
        at: TreeRef,
        found: Found,
        gone: &mut Option<Reference>,
    ) -> Result<Option<Option<Vec<u8>>>> {
        let found = match found {
            Found::Older(stamp) => self.older(stamp)?,
            found => found,
        };
        Ok(match found {
            Found::Nothing => Some(None),
            Found::Value(value) => Some(Some(value)),
            Found::Long(reference) => {
                let value = overflow::read(&self.shared.core, at.id, reference)?;
                if value.is_none() && gone.replace(reference) == Some(reference) {
                    return Err(overflow::broken(at.id, reference));
                }
                value.map(Some)
            }
            Found::Older(_) => None,
        })
    }

    /// Says of an error of a page of a long value which record it keeps from being read; whoever tells
    /// of the page learns it too.
    #[cold]
    fn of_record(&self, error: Error, at: TreeRef, key: &[u8]) -> Error {
        if !error.is_lost_page() {
            return error;
        }
        if let Some(repairs) = self.shared.repairs.get() {
            repairs.note_record(&error, at.id, key);
        }
        error.saying("tree", i64::from(at.id.0)).within(KeyBounds::only(key))
    }

    /// True where `key` has a value; a long one is not read.
    pub fn contains(&mut self, at: TreeRef, key: &[u8]) -> Result<bool> {
        self.ensure_usable()?;
        self.lock_for_reading(at)?;
        let read = self.has_record(at, key);
        self.confirm(read)
    }

    fn has_record(&self, at: TreeRef, key: &[u8]) -> Result<bool> {
        loop {
            let found = match self.find_waiting(at, key)? {
                Found::Older(stamp) => self.older(stamp)?,
                found => found,
            };
            match found {
                Found::Older(_) => {}
                Found::Nothing => return Ok(false),
                _ => return Ok(true),
            }
        }
    }

    /// How many records the tree has for this transaction, from the counts of commits.
    pub fn count(&mut self, at: TreeRef) -> Result<u64> {
        self.ensure_usable()?;
        if self.isolation() == Isolation::Serializable {
            // What others have added and not committed is in no count, and under no stamp met here.
            self.lock_tree(at, Mode::Shared)?;
        }
        let committed = match self.isolation() {
            Isolation::RepeatableRead => self.state.snapshot.counts.get(&at.id).copied(),
            _ => self.shared.txns.counts().get(&at.id).copied(),
        };
        let own = self.deltas.get(&at.id).copied().unwrap_or(0);
        Ok(u64::try_from(committed.unwrap_or(0).saturating_add(own)).unwrap_or(0))
    }

    /// The next records of a range, at most those of one leaf and at most `limit`.
    ///
    /// `from` is where the batch before ended (`Batch::next`); `None` begins. Skips empty leaves.
    pub fn scan(
        &mut self,
        at: TreeRef,
        range: &Range,
        from: Option<&[u8]>,
        limit: usize,
    ) -> Result<Batch> {
        self.ensure_usable()?;
        self.lock_for_reading(at)?;
        let read = self.scan_records(at, range, from, limit);
        self.confirm(read)
    }

    fn scan_records(
        &self,
        at: TreeRef,
        range: &Range,
        from: Option<&[u8]>,
        limit: usize,
    ) -> Result<Batch> {
        let mut position = match from {
            Some(from) => Some(from.to_vec()),
            None if range.reverse => range.stop.clone(),
            None => Some(range.start.clone()),
        };
        loop {
            let (seen, next) = if self.locks_ranges(at) {
                self.scan_leaf_locked(at, range, position.as_deref(), limit)?
            } else {
                self.scan_leaf(at, range, position.as_deref(), limit)?
            };
            let (records, is_all) = self.complete(at, seen)?;
            if !is_all {
                let next = records.last_key().map(|key| beyond(key, range));
                return Ok(Batch { records, next });
            }
            if !records.is_empty() || next.is_none() {
                return Ok(Batch { records, next });
            }
            position = next;
        }
    }

    /// Adds what no page of the tree held; records of which there is nothing to be seen go. False with
    /// the first of them, where long values are too many to be held at once.
    fn complete(&self, at: TreeRef, seen: Seen) -> Result<(Records, bool)> {
        if seen.elsewhere.is_empty() {
            return Ok((seen.records, true));
        }
        let mut complete = Records::default();
        let mut elsewhere = seen.elsewhere.into_iter().peekable();
        for (place, (key, value)) in seen.records.iter().enumerate() {
            if complete.size_bytes() >= LONG_BYTES {
                return Ok((complete, false));
            }
            let Some((_, found)) = elsewhere.next_if(|(of, _)| *of == place) else {
                complete.push_long(key, value)?;
                continue;
            };
            let value = match self
                .settle(at, found, &mut None)
                .map_err(|error| self.of_record(error, at, key))?
            {
                Some(value) => value,
                // Its long value went away under us: read the record by itself.
                None => self.read_record(at, key)?,
            };
            if let Some(value) = value {
                complete.push_long(key, &value)?;
            }
        }
        Ok((complete, true))
    }

    fn scan_leaf(
        &self,
        at: TreeRef,
        range: &Range,
        position: Option<&[u8]>,
        limit: usize,
    ) -> Result<Step> {
        let mut seen = Seen::for_page(self.shared.core.pool.page_size(), limit);
        let mut failed = None;
        let mut is_over = false;
        let mut visit = |record: Record<'_>| {
            let outside = if range.reverse {
                record.key < range.start.as_slice()
            } else {
                range.stop.as_deref().is_some_and(|stop| record.key >= stop)
            };
            if outside {
                is_over = true;
                return false;
            }
            if seen.records.len() >= limit {
                return false;
            }
            match self.look(record) {
                Ok(shown) => {
                    seen.push(record.key, if range.keys_only { shown.without_value() } else { shown });
                    true
                }
                Err(error) => {
                    failed = Some(error);
                    false
                }
            }
        };
        let tree = self.tree_at(at);
        let next = if range.reverse {
            tree.visit_backward(position, &mut visit)?
        } else {
            tree.visit_forward(position.unwrap_or(&[]), &mut visit)?
        };
        if let Some(error) = failed {
            return Err(error);
        }
        let next = match next {
            _ if is_over => None,
            Next::End => None,
            // What lies beyond the range is not looked at: it may be damaged.
            Next::Fence(fence) if range.ends_at(&fence) => None,
            Next::Fence(fence) => Some(fence),
            Next::Stopped => seen.records.last_key().map(|key| beyond(key, range)),
        };
        Ok((seen, next))
    }
}

/// Where a scan goes on behind this key.
fn beyond(key: &[u8], range: &Range) -> Vec<u8> {
    let mut key = key.to_vec();
    if !range.reverse {
        // The smallest key after this one.
        key.push(0);
    }
    key
}

/// A version for a reader that may see it.
pub(super) fn shown(flags: u8, value: &[u8]) -> Result<Shown<'_>> {
    if flags & GHOST != 0 {
        return Ok(Shown::Nothing);
    }
    if flags & OVERFLOW != 0 {
        return Ok(Shown::Elsewhere(Found::Long(Reference::decode(value)?)));
    }
    Ok(Shown::Value(value))
}

/// As [`shown`], as a copy of its own.
pub(super) fn version(flags: u8, value: &[u8]) -> Result<Found> {
    shown(flags, value).map(Shown::found)
}
