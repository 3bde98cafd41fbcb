//! Filling an empty tree in one go: pages are built bottom up and logged once, as images.

use super::{Transaction, TreeRef};
use crate::error::{Error, Result};
use crate::lock::Mode;
use crate::page::{OVERFLOW, Page, Stamp};
use crate::tree::Tree;
use crate::tree::build::{Builder, PageSink};
use crate::types::{Lsn, PageId, TreeId};

/// A key and its value.
pub type KeyValue = (Vec<u8>, Vec<u8>);

/// Pages taken at a time.
const EXTENT: usize = 64;

/// A transaction as the builder of one tree sees it.
struct Sink<'t> {
    txn: &'t mut Transaction,
    tree: TreeId,
}

impl PageSink for Sink<'_> {
    fn take_page(&mut self) -> Result<PageId> {
        if self.txn.spare.is_empty() {
            self.txn.spare = self.txn.take_pages(self.tree, EXTENT)?;
            self.txn.spare.reverse();
        }
        self.txn.spare.pop().ok_or_else(|| Error::internal("no page was taken"))
    }

    fn write_page(&mut self, page: &Page) -> Result<()> {
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
        self.ensure_writable()?;
        let is_own = self.modes.get(&at.id) == Some(&Mode::Exclusive);
        if !is_own || self.count(at)? != 0 {
            return Err(Error::argument("tree", "only an empty tree of this transaction can be filled"));
        }
        self.atomically(|txn| {
            let shared = std::sync::Arc::clone(&txn.shared);
            let tree = Tree { core: &shared.core, id: at.id, root: at.root };
            // Nobody sees the tree without seeing its writer: no version before these is asked for.
            let mut builder = Builder::new(tree, Stamp { txn: txn.id(), lsn: Lsn::NONE });
            while let Some((key, value)) = next()? {
                txn.ensure_key(&key)?;
                if value.len() <= txn.max_inline() {
                    builder.push(&mut Sink { txn, tree: at.id }, &key, 0, &value)?;
                } else {
                    let reference = txn.write_chain(at.id, &value)?.encode();
                    builder.push(&mut Sink { txn, tree: at.id }, &key, OVERFLOW, &reference)?;
                }
            }
            let records = builder.finish(&mut Sink { txn, tree: at.id })?;
            *txn.deltas.entry(at.id).or_default() += i64::try_from(records).unwrap_or(i64::MAX);
            Ok(records)
        })
    }
}
