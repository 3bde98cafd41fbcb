//! Filling an empty tree in one go: pages are built bottom up and logged once, as images. The
//! root comes last, in an entry of its own whose undo empties it again: a rollback to a savepoint
//! may keep the tree and take back what filled it.

use super::undo::room_of_tree;
use super::{Garbage, Transaction, TreeRef};
use crate::error::{Error, Result};
use crate::lock::Mode;
use crate::log::Op;
use crate::page::{Change, Kind, OVERFLOW, Page, Stamp};
use crate::tree::Tree;
use crate::tree::build::{Builder, PageSink};
use crate::types::{Lsn, PageId};

/// A key and its value.
pub type KeyValue = (Vec<u8>, Vec<u8>);

/// Pages taken at a time.
const EXTENT: usize = 64;

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

    fn write_page(&mut self, page: &Page) -> Result<()> {
        if page.id() == self.tree.root {
            return self.txn.fill_root(page);
        }
        self.txn.write_taken(page)
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
        let _work = self.ensure_writable()?;
        if !self.can_fill(at)? {
            return Err(Error::argument("tree", "only an empty tree of this transaction can be filled"));
        }
        self.atomically(|txn| {
            let shared = std::sync::Arc::clone(&txn.shared);
            let tree = Tree { core: &shared.core, id: at.id, root: at.root };
            // Nobody sees the tree without seeing its writer: no version before these is asked for.
            let mut builder = Builder::new(tree, Stamp { txn: txn.id(), lsn: Lsn::NONE });
            let spare = &mut Vec::new();
            while let Some((key, value)) = next()? {
                txn.ensure_key(&key)?;
                if value.len() <= txn.max_inline() {
                    builder.push(&mut Sink { txn, tree: at, spare }, key, 0, value)?;
                } else {
                    let reference = txn.write_chain(at.id, &value)?.encode().to_vec();
                    builder.push(&mut Sink { txn, tree: at, spare }, key, OVERFLOW, reference)?;
                }
            }
            let records = builder.finish(&mut Sink { txn, tree: at, spare })?;
            txn.garbage.extend(spare.drain(..).map(|page| Garbage::Page { page }));
            *txn.deltas.entry(at.id).or_default() += i64::try_from(records).unwrap_or(i64::MAX);
            Ok(records)
        })
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

    /// Logs and writes the new root of a tree of this transaction.
    fn fill_root(&self, page: &Page) -> Result<()> {
        let core = &self.shared.core;
        let image = page.to_image();
        let change = Change::Image { image: &image };
        let author = self.author(Op::TreeMade, room_of_tree());
        let mut root = core.pool.write(page.id())?;
        root.begin_change();
        let part = [root.part(change)];
        let noted = |span| self.state.appended(span, &author);
        let entry = core.append_with(author, page.tree(), &part, &[], noted)?;
        root.apply(&change, entry)
    }
}
