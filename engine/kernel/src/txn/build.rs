//! Filling a tree that this transaction has made, bottom up: an import logs page images only.

use std::sync::Arc;

use super::{Transaction, TreeRef};
use crate::core::Author;
use crate::error::{Error, Result};
use crate::log::Op;
use crate::page::{Change, OVERFLOW, Page, Stamp};
use crate::tree::Tree;
use crate::tree::build::{Builder, PageSink};
use crate::types::PageId;

/// Gives the next record, keys ascending; none at the end.
pub type Records<'a> = dyn FnMut() -> Result<Option<(Vec<u8>, Vec<u8>)>> + 'a;

impl Transaction {
    /// Fills an empty tree that this transaction has made; returns the number of records.
    ///
    /// Nobody else can reach the tree before the commit. An abort gives its pages back.
    pub fn build_tree(&mut self, at: TreeRef, records: &mut Records<'_>) -> Result<u64> {
        self.ensure_writable()?;
        if self.count(at)? != 0 {
            return Err(Error::internal("a bulk build into a tree that is not empty"));
        }
        let shared = Arc::clone(&self.shared);
        let tree = Tree { core: &shared.core, id: at.id, root: at.root };
        // No version lies before a record that was built: nobody can see the tree without it.
        let stamp = Stamp { txn: self.id(), lsn: self.state.last_lsn() };
        let mut builder = Builder::new(tree, stamp);
        let max_inline = shared.core.pool.page_size() / 4;
        while let Some((key, value)) = records()? {
            if value.len() > max_inline {
                let reference = self.write_chain(at.id, &value)?.encode();
                builder.push(&mut Sink { txn: self, at }, &key, OVERFLOW, &reference)?;
            } else {
                builder.push(&mut Sink { txn: self, at }, &key, 0, &value)?;
            }
        }
        let count = builder.finish(&mut Sink { txn: self, at })?;
        *self.deltas.entry(at.id).or_default() += i64::try_from(count).unwrap_or(i64::MAX);
        self.state.changes.fetch_add(count, std::sync::atomic::Ordering::Relaxed);
        Ok(count)
    }

    /// Replaces the content of a root page, which stays where it is.
    fn write_root(&self, page: &Page) -> Result<()> {
        let core = &self.shared.core;
        let mut root = core.pool.write(page.id())?;
        let image = page.to_image();
        core.change_page(Author::system(Op::Structure), &mut root, &Change::Image { image: &image })
    }
}

struct Sink<'a> {
    txn: &'a mut Transaction,
    at: TreeRef,
}

impl PageSink for Sink<'_> {
    fn take_page(&mut self) -> Result<PageId> {
        // One at a time: none is left over at the end.
        let pages = self.txn.take_pages(self.at.id, 1)?;
        pages.first().copied().ok_or_else(|| Error::internal("no page was taken"))
    }

    fn write_page(&mut self, page: &Page) -> Result<()> {
        if page.id() == self.at.root { self.txn.write_root(page) } else { self.txn.write_taken(page) }
    }
}
