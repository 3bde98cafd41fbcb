//! Reading records: the newest version lies in the page, older ones are followed through the log.

use super::{Isolation, Transaction, TreeRef};
use crate::error::{Code, Error, Result};
use crate::lock::{Mode, Resource};
use crate::page::{Change, GHOST, OVERFLOW, PartReader, Record, Stamp};
use crate::stats::Timed;
use crate::tree::overflow::{self, Reference};
use crate::tree::scan::Next;
use crate::tree::{Latching, Seek, Tree, Trying, Waiting};
use crate::types::TxnId;

/// A version that a reader may see: what its page or the log holds, copied out.
pub(super) enum Found {
    Nothing,
    Value(Vec<u8>),
    Long(Reference),
    /// The newest version is not for this reader; older ones begin at this entry.
    Older(Stamp),
}

/// Records of one leaf as they were found, and where to go on: `None` at the end.
pub(super) type Step = (Vec<(Vec<u8>, Found)>, Option<Vec<u8>>);

/// Records of one leaf that a scan has copied out.
#[derive(Default)]
pub struct Batch {
    pub records: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where to go on: `None` at the end.
    pub next: Option<Vec<u8>>,
}

/// What a scan covers: `start <= key < stop`, from the front or from the back.
#[derive(Clone, Debug, Default)]
pub struct Range {
    pub start: Vec<u8>,
    pub stop: Option<Vec<u8>>,
    pub reverse: bool,
    /// Values are not wanted.
    pub keys_only: bool,
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

    fn look(&self, record: Record<'_>) -> Result<Found> {
        if !self.sees(record.stamp.txn) {
            return Ok(Found::Older(record.stamp));
        }
        version(record.flags, record.value)
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
            if let Some(value) = self.settle(at, found, &mut gone)? {
                return Ok(value);
            }
        }
    }

    /// As [`Transaction::get`], `None` where a lock, a latch or the disk would have to be waited
    /// for. For callers that hold the interpreter's lock.
    pub fn try_get(&mut self, at: TreeRef, key: &[u8]) -> Option<Result<Option<Vec<u8>>>> {
        if self.isolation() == Isolation::Serializable {
            return None;
        }
        if let Err(error) = self.ensure_usable() {
            return Some(Err(error));
        }
        let _lap = self.shared.stats.sampled_lap(Timed::Get);
        match self.find::<Trying>(at, key) {
            Ok(Some(Found::Nothing)) => Some(self.confirm(Ok(None))),
            Ok(Some(Found::Value(value))) => Some(self.confirm(Ok(Some(value)))),
            Ok(_) => None,
            Err(error) => Some(self.confirm(Err(error))),
        }
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
            Ok(slot) => self.look(leaf.record(slot)).map(Some),
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
            let (raw, next) = if self.locks_ranges(at) {
                self.scan_leaf_locked(at, range, position.as_deref(), limit)?
            } else {
                self.scan_leaf(at, range, position.as_deref(), limit)?
            };
            let mut batch = Batch { records: Vec::with_capacity(raw.len()), next };
            for (key, found) in raw {
                match self.settle(at, found, &mut None)? {
                    Some(Some(value)) => batch.records.push((key, value)),
                    Some(None) => {}
                    None => {
                        // Its long value went away under us: read the record by itself.
                        if let Some(value) = self.read_record(at, &key)? {
                            batch.records.push((key, value));
                        }
                    }
                }
            }
            if !batch.records.is_empty() || batch.next.is_none() {
                return Ok(batch);
            }
            position = batch.next;
        }
    }

    fn scan_leaf(
        &self,
        at: TreeRef,
        range: &Range,
        position: Option<&[u8]>,
        limit: usize,
    ) -> Result<Step> {
        let mut raw: Vec<(Vec<u8>, Found)> = Vec::with_capacity(64);
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
            if raw.len() >= limit {
                return false;
            }
            match self.look(record) {
                Ok(Found::Nothing) => true,
                Ok(found) => {
                    let found = if range.keys_only { found.without_value() } else { found };
                    raw.push((record.key.to_vec(), found));
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
            Next::Fence(fence) => Some(fence),
            Next::Stopped => raw.last().map(|(key, _)| {
                let mut key = key.clone();
                if !range.reverse {
                    // The smallest key after this one.
                    key.push(0);
                }
                key
            }),
        };
        Ok((raw, next))
    }
}

impl Found {
    pub(super) fn without_value(self) -> Found {
        match self {
            Found::Value(_) | Found::Long(_) => Found::Value(Vec::new()),
            other => other,
        }
    }
}

pub(super) fn version(flags: u8, value: &[u8]) -> Result<Found> {
    if flags & GHOST != 0 {
        return Ok(Found::Nothing);
    }
    if flags & OVERFLOW != 0 {
        return Ok(Found::Long(Reference::decode(value)?));
    }
    Ok(Found::Value(value.to_vec()))
}
