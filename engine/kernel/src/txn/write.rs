//! Changing records. The latch of the leaf covers the search, the log entry and the change, so
//! that page LSN and log never disagree; no lock is waited for under it.

use crate::sync::Ordering;

use super::undo::room_of_record;
use super::{Garbage, Isolation, Transaction, TreeRef};
use crate::buffer::PageWrite;
use crate::core::CATALOGUE;
use crate::error::{Code, Error, Result};
use crate::lock::Mode;
use crate::log::Op;
use crate::page::{Change, GHOST, LEAF_HEAD, OVERFLOW, Old, Part, PartReader, Record, Stamp, Version};
use crate::stats::{Counter, Timed};
use crate::tree::overflow::Reference;
use crate::tree::split::Incoming;
use crate::tree::{Latching, Trying, Waiting};
use crate::types::TxnId;

/// One in so many changes that is a deletion has its leaf looked at afterwards.
const DELETIONS_PER_NOTE: u64 = 16;

/// At most so many versions that nobody needs are left out at a time.
const MOST_SKIPPED: usize = 4;

/// May this transaction write over a record with this writer?
enum Verdict {
    Yes,
    /// Its writer is still active: wait for its end, then look again.
    Wait(TxnId),
    /// Its writer committed after this snapshot began: the first updater has won.
    Lost,
}

/// A change that is in the log and in its leaf, and what its transaction has to take note of.
struct Changed {
    /// There was a value before.
    existed: bool,
    /// Records that the tree has more.
    delta: i64,
    /// The long value that was there before.
    chain: Option<Reference>,
}

/// What an attempt to change a record came to.
enum Attempt {
    Done(Changed),
    /// A deletion found nothing.
    Absent,
    Wait(TxnId),
    Lost,
    /// Somebody has locked a range around the key.
    Watched(TxnId),
    /// The leaf has been split; try again.
    Split,
    /// Something would have to be waited for, and the caller will not.
    Busy,
}

fn is_live(record: &Record<'_>) -> bool {
    !record.is_ghost()
}

impl Transaction {
    fn judge(&self, writer: TxnId) -> Verdict {
        if writer == self.id() || writer < self.state.snapshot.min {
            return Verdict::Yes;
        }
        if self.shared.txns.is_active(writer) {
            return Verdict::Wait(writer);
        }
        if self.isolation() == Isolation::RepeatableRead
            && !self.state.snapshot.sees(writer)
            && !self.shared.skip_first_updater.load(Ordering::Relaxed)
        {
            return Verdict::Lost;
        }
        Verdict::Yes
    }

    pub(super) fn ensure_key(&self, key: &[u8]) -> Result<()> {
        let most = self.max_key();
        if key.len() > most {
            return Err(Error::new(Code::KeyTooLong).with("size", key.len()).with("max", most));
        }
        Ok(())
    }

    /// The longest key: an eighth of a page.
    pub fn max_key(&self) -> usize {
        self.shared.core.pool.page_size() / 8
    }

    /// Values beyond a quarter of a page go to overflow pages.
    pub(super) fn max_inline(&self) -> usize {
        self.shared.core.pool.page_size() / 4
    }

    fn lock_for_writing(&mut self, at: TreeRef) -> Result<()> {
        self.lock_tree(at, Mode::IntentionExclusive)
    }

    /// The first updater has won.
    pub(super) fn lost(&self, at: TreeRef) -> Error {
        self.shared.stats.add(Counter::Conflicts, 1);
        Error::new(Code::WriteConflict).with("txn", self.id().0).with("tree", i64::from(at.id.0))
    }

    /// Gives `key` a value; true where it had one before.
    pub fn put(&mut self, at: TreeRef, key: &[u8], value: &[u8]) -> Result<bool> {
        let _work = self.ensure_writable()?;
        self.ensure_key(key)?;
        self.lock_for_writing(at)?;
        if value.len() <= self.max_inline() {
            return Ok(self.change(at, key, Version { flags: 0, value })?.unwrap_or(false));
        }
        self.atomically(|txn| {
            let reference = txn.write_chain(at.id, value)?.encode();
            Ok(txn.change(at, key, Version { flags: OVERFLOW, value: &reference })?.unwrap_or(false))
        })
    }

    /// As [`Transaction::put`], `None` where a lock, a latch, the log or the disk would have to be
    /// waited for, or the leaf has to be split. Nothing has happened then.
    pub fn try_put(&mut self, at: TreeRef, key: &[u8], value: &[u8]) -> Option<Result<bool>> {
        if self.isolation() == Isolation::Serializable || value.len() > self.max_inline() {
            return None;
        }
        let _work = match self.ensure_writable() {
            Ok(work) => work,
            Err(error) => return Some(Err(error)),
        };
        if let Err(error) = self.ensure_key(key) {
            return Some(Err(error));
        }
        self.try_lock_tree(at, Mode::IntentionExclusive)?;
        let lap = self.shared.stats.sampled_lap(Timed::Put);
        let attempt = self.attempt::<Trying>(at, key, Version { flags: 0, value });
        drop(lap);
        match attempt {
            Ok(Attempt::Done(changed)) => Some(Ok(self.note(at, changed))),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Takes note of a change; true where there was a value before.
    fn note(&mut self, at: TreeRef, changed: Changed) -> bool {
        if changed.delta != 0 {
            *self.deltas.entry(at.id).or_default() += changed.delta;
        }
        let chain = changed.chain.map(|reference| Garbage::Chain { tree: at.id, reference });
        self.garbage.extend(chain);
        changed.existed
    }

    /// Removes `key`; false where it had no value.
    pub fn delete(&mut self, at: TreeRef, key: &[u8]) -> Result<bool> {
        let _work = self.ensure_writable()?;
        self.lock_for_writing(at)?;
        Ok(self.change(at, key, Version { flags: GHOST, value: &[] })?.is_some())
    }

    /// Gives a record a new version; `None` where there was nothing to delete, else whether there
    /// was a value before.
    fn change(&mut self, at: TreeRef, key: &[u8], new: Version<'_>) -> Result<Option<bool>> {
        let lap = self.shared.stats.sampled_lap(Timed::Put);
        let changed = self.change_record(at, key, new);
        drop(lap);
        Ok(changed?.map(|changed| self.note(at, changed)))
    }

    fn change_record(&self, at: TreeRef, key: &[u8], new: Version<'_>) -> Result<Option<Changed>> {
        let mut stands_in_line = false;
        let done = loop {
            let waited = match self.attempt::<Waiting>(at, key, new) {
                Ok(Attempt::Done(changed)) => break Ok(Some(changed)),
                Ok(Attempt::Absent) => break Ok(None),
                Ok(Attempt::Split | Attempt::Busy) => Ok(()),
                Ok(Attempt::Wait(holder)) => self.wait_for_record(at, key, holder, Mode::Exclusive),
                Ok(Attempt::Watched(holder)) => {
                    stands_in_line = true;
                    self.wait_for_range(at, holder, Mode::Exclusive)
                }
                Ok(Attempt::Lost) => Err(self.lost(at)),
                Err(error) => Err(error),
            };
            if let Err(error) = waited {
                break Err(error);
            }
        };
        if stands_in_line {
            self.shared.locks.ranges().leave(self.id(), at.id);
            if done.is_err() {
                // Readers wait behind this transaction for a change that it does not make.
                self.shared.locks.look_again(self.id());
            }
        }
        done
    }

    fn attempt<L: Latching>(&self, at: TreeRef, key: &[u8], new: Version<'_>) -> Result<Attempt> {
        let (shared, tree) = (&self.shared, self.tree_at(at));
        let Some((mut leaf, place)) = tree.leaf_and_place_for_change::<L>(key)? else {
            return Ok(Attempt::Busy);
        };
        let is_delete = new.flags & GHOST != 0;
        let mut is_own = false;
        let slot = match place {
            Ok(slot) => {
                let record = leaf.record(slot);
                is_own = record.stamp.txn == self.id();
                match self.judge(record.stamp.txn) {
                    Verdict::Yes => {}
                    Verdict::Wait(holder) => return Ok(Attempt::Wait(holder)),
                    Verdict::Lost => return Ok(Attempt::Lost),
                }
                if is_delete && record.is_ghost() {
                    return Ok(self.found_nothing(at, key));
                }
                Ok(slot)
            }
            Err(_) if is_delete => return Ok(self.found_nothing(at, key)),
            Err(slot) => Err(slot),
        };
        if !is_own && shared.locks.ranges().is_watched(at.id) {
            if L::IS_TRYING {
                return Ok(Attempt::Busy);
            }
            if let Some(holder) = shared.locks.ranges().in_the_way(self.id(), at.id, key) {
                return Ok(Attempt::Watched(holder));
            }
        }
        let fits = match slot {
            Ok(slot) => leaf.fits_value(slot, new.value.len()),
            Err(_) => leaf.fits_record(key.len(), new.value.len()),
        };
        if fits {
            return self.make_change::<L>(&mut leaf, slot, key, new);
        }
        if L::IS_TRYING {
            return Ok(Attempt::Busy);
        }
        if tree.purge(&mut leaf, &shared.txns.horizon())? == 0 {
            let size = LEAF_HEAD + key.len() + new.value.len();
            let (Ok(place) | Err(place)) = slot;
            tree.split(leaf, Incoming { slot: place, key, size, replaces: slot.is_ok() })?;
        }
        Ok(Attempt::Split)
    }

    /// A deletion that finds nothing has read that there is nothing.
    fn found_nothing(&self, at: TreeRef, key: &[u8]) -> Attempt {
        match self.lock_key(at, key) {
            Ok(()) => Attempt::Absent,
            Err(ahead) => Attempt::Watched(ahead),
        }
    }

    /// The stamp of a version that is about to be replaced, without the versions before it that
    /// nobody needs: the chain of a record that changes often grows with the snapshots that tell
    /// its versions apart, and not with its changes.
    ///
    /// The writer of the version has ended, so it is never undone and who begins now sees it.
    fn shortened(&self, mut stamp: Stamp) -> Stamp {
        let shared = &self.shared;
        if stamp.txn == self.id() || shared.txns.is_seen_by_all(stamp.txn) {
            return stamp;
        }
        for _ in 0..MOST_SKIPPED {
            let Some(entry) = shared.core.log.read_recent(stamp.lsn) else { break };
            let part = PartReader::new(&entry.body).and_then(|mut parts| parts.next_part());
            let Ok(Some(Part { change: Change::Put { old: Some(old), .. }, .. })) = part else { break };
            if shared.txns.is_between(old.stamp.txn, stamp.txn) {
                break;
            }
            stamp.lsn = old.stamp.lsn;
        }
        stamp
    }

    /// Logs and applies the change of one record in a latched leaf that has room for it.
    fn make_change<L: Latching>(
        &self,
        leaf: &mut PageWrite<'_>,
        slot: std::result::Result<usize, usize>,
        key: &[u8],
        new: Version<'_>,
    ) -> Result<Attempt> {
        if L::IS_TRYING && self.shared.core.is_image_overdue(leaf) {
            return Ok(Attempt::Busy);
        }
        let before = slot.ok().map(|slot| leaf.record(slot));
        let existed = before.as_ref().is_some_and(is_live);
        let old_chain = match &before {
            Some(record) if existed && record.is_overflow() => Some(Reference::decode(record.value)?),
            _ => None,
        };
        let old = before.map(|record| Old {
            version: Version { flags: record.flags, value: record.value },
            stamp: self.shortened(record.stamp),
        });
        let (Ok(place) | Err(place)) = slot;
        let slot = place as u16;
        let (op, counter) = match (existed, new.flags & GHOST != 0) {
            (_, true) => (Op::Delete, Counter::Deletes),
            (true, false) => (Op::Update, Counter::Updates),
            (false, false) => (Op::Insert, Counter::Inserts),
        };
        let undo = room_of_record(old.map(|old| old.version.value.len()));
        let (state, tree) = (&self.state, leaf.tree());
        if tree == CATALOGUE {
            self.shared.known_trees.changing();
        }
        let author = self.author(op, undo);
        leaf.begin_change();
        let part = [leaf.part(Change::Put { slot, key, new, old })];
        let core = &self.shared.core;
        let entry = if L::IS_TRYING {
            match core.try_append_with(author, tree, &part, |span| state.appended(span, &author)) {
                Some(entry) => entry?,
                None => return Ok(Attempt::Busy),
            }
        } else {
            core.append_with(author, tree, &part, &[], |span| state.appended(span, &author))?
        };
        // What was there before is for the log: the page only has to know that something was.
        let nothing = Old { version: Version { flags: 0, value: &[] }, stamp: Stamp::default() };
        let old = old.map(|_| nothing);
        leaf.apply(&Change::Put { slot, key, new, old }, entry)?;
        if L::IS_TRYING {
            core.try_renew_image(leaf)?;
        } else {
            core.renew_image(leaf)?;
        }
        let changes = self.state.changes.load(Ordering::Relaxed);
        if op == Op::Delete && !leaf.has_live_record() {
            self.shared.tidy.note_empty(tree, leaf.id(), self.id());
        } else if op == Op::Delete && changes.is_multiple_of(DELETIONS_PER_NOTE) {
            self.shared.tidy.note_ghosts(tree, leaf.id(), self.id());
        }
        self.shared.stats.add(counter, 1);
        let delta = i64::from(new.flags & GHOST == 0) - i64::from(existed);
        Ok(Attempt::Done(Changed { existed, delta, chain: old_chain }))
    }
}
