//! Filling an empty tree in one go: pages are built bottom up and logged once, as images. The
//! root comes last, in an entry of its own whose undo empties it again: a rollback to a savepoint
//! may keep the tree and take back what filled it.

use super::undo::room_of_tree;
use super::{Garbage, Transaction, TreeRef};
use crate::error::{Error, Result};
use crate::lock::Mode;
use crate::log::Op;
use crate::page::{Kind, OVERFLOW, Page, Stamp};
use crate::tree::Tree;
use crate::tree::build::{Builder, PageSink};
use crate::types::{Lsn, PageId};

/// A key and its value.
pub type KeyValue = (Vec<u8>, Vec<u8>);

/// Pages taken at a time.
const EXTENT: usize = 64;
/// Bytes that a record takes in a page beside its key and its value, about.
const RECORD_ROOM: u64 = 28;

/// A transaction as the builder of one tree sees it.
struct Sink<'t> {
    txn: &'t mut Transaction,
    tree: TreeRef,
    /// Pages taken and not used yet.
    spare: &'t mut Vec<PageId>,
}

impl PageSink for Sink<'_> {
    fn take_page(&mut self) -> Result<PageId> {
        if self.spare.is_empty() {
            *self.spare = self.txn.take_pages(self.tree.id, EXTENT)?;
            self.spare.reverse();
        }
        self.spare.pop().ok_or_else(|| Error::internal("no page was taken"))
    }

    fn write_page(&mut self, page: &mut Page) -> Result<()> {
        if page.id() == self.tree.root {
            return self.txn.fill_root(page);
        }
        self.txn.write_taken(page)
    }
}

/// A tree that is being filled.
pub struct Filling<'t> {
    txn: &'t mut Transaction,
    tree: TreeRef,
    builder: Builder<'t>,
    spare: Vec<PageId>,
}

impl Filling<'_> {
    /// Adds a record; its key must be above every earlier one.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.txn.ensure_key(key)?;
        if value.len() <= self.txn.max_inline() {
            return self.push_as(key, 0, value);
        }
        let reference = self.txn.write_chain(self.tree.id, value)?.encode();
        self.push_as(key, OVERFLOW, &reference)
    }

    fn push_as(&mut self, key: &[u8], flags: u8, value: &[u8]) -> Result<()> {
        let Filling { txn, tree, builder, spare } = self;
        builder.push(&mut Sink { txn, tree: *tree, spare }, key, flags, value)
    }

    fn finish(mut self) -> Result<u64> {
        let (txn, tree) = (self.txn, self.tree);
        let records = self.builder.finish(&mut Sink { txn, tree, spare: &mut self.spare })?;
        txn.garbage.extend(self.spare.into_iter().map(|page| Garbage::Page { page }));
        *txn.deltas.entry(tree.id).or_default() += i64::try_from(records).unwrap_or(i64::MAX);
        Ok(records)
    }
}

impl Transaction {
    /// Fills an empty tree that this transaction has made with records in ascending order, until
    /// `next` answers `None`. Returns how many there were. Undone as a whole.
    pub fn fill(
        &mut self,
        at: TreeRef,
        next: &mut dyn FnMut() -> Result<Option<KeyValue>>,
    ) -> Result<u64> {
        self.fill_with(at, &mut |filling| {
            while let Some((key, value)) = next()? {
                filling.push(&key, &value)?;
            }
            Ok(())
        })
    }

    /// As [`Transaction::fill`], with what `feed` pushes.
    pub fn fill_with(
        &mut self,
        at: TreeRef,
        feed: &mut dyn FnMut(&mut Filling<'_>) -> Result<()>,
    ) -> Result<u64> {
        let _work = self.ensure_writable()?;
        if !self.can_fill(at)? {
            return Err(Error::argument("tree", "only an empty tree of this transaction can be filled"));
        }
        self.atomically(|txn| {
            let shared = std::sync::Arc::clone(&txn.shared);
            let tree = Tree { core: &shared.core, id: at.id, root: at.root };
            // Nobody sees the tree without seeing its writer: no version before these is asked for.
            let builder = Builder::new(tree, Stamp { txn: txn.id(), lsn: Lsn::NONE });
            let mut filling = Filling { txn, tree: at, builder, spare: Vec::new() };
            feed(&mut filling)?;
            filling.finish()
        })
    }

    /// As [`Transaction::fill_with`], where about `records` records of `bytes` bytes in all are to come:
    /// the log need not make room for them as it does for commits.
    pub fn fill_with_many(
        &mut self,
        at: TreeRef,
        (records, bytes): (usize, u64),
        feed: &mut dyn FnMut(&mut Filling<'_>) -> Result<()>,
    ) -> Result<u64> {
        let shared = std::sync::Arc::clone(&self.shared);
        shared.core.log.expect(bytes + records as u64 * RECORD_ROOM);
        let filled = self.fill_with(at, feed);
        shared.core.log.expect(0);
        filled
    }

    /// True where [`Transaction::fill`] may be used: this transaction has made the tree, and
    /// nothing is or was in it.
    pub fn can_fill(&self, at: TreeRef) -> Result<bool> {
        Ok(self.modes.get(&at.id) == Some(&Mode::Exclusive) && self.is_untouched(at)?)
    }

    /// True where the tree is one empty page, without even the traces of deleted records.
    fn is_untouched(&self, at: TreeRef) -> Result<bool> {
        let root = self.shared.core.pool.read(at.root)?;
        Ok(root.tree() == at.id && root.kind() == Kind::Leaf && root.slots() == 0)
    }

    /// Logs the new root of a tree of this transaction, and puts it into the cache.
    fn fill_root(&self, page: &mut Page) -> Result<()> {
        let core = &self.shared.core;
        let author = self.author(Op::TreeMade, room_of_tree());
        let mut root = core.pool.write(page.id())?;
        let previous = root.lsn();
        core.put_page(author, (&mut root, previous), page, |span| self.state.appended(span, &author))
    }
}
