//! Writing long values, and taking pages in extents: a transaction's step that undo takes back.

use super::Transaction;
use crate::core::Author;
use crate::error::{Code, Error, Result};
use crate::log::Op;
use crate::page::Page;
use crate::tree::overflow::{self, MAX_VALUE, Reference};
use crate::types::{Lsn, PageId, TreeId};

/// Pages taken at a time.
const EXTENT: usize = 64;

impl Transaction {
    /// Takes up to [`EXTENT`] pages. Their content is logged page by page, without undo: should
    /// the transaction end badly, giving the pages back undoes it all.
    pub(super) fn take_pages(&mut self, tree: TreeId, wanted: usize) -> Result<Vec<PageId>> {
        let core = &self.shared.core;
        let space = core.space.allocate(wanted.clamp(1, EXTENT))?;
        let parts = space.parts();
        let author =
            self.author(Op::PagesTaken, super::undo::room_of_pages(parts.len(), space.pages.len()));
        space.begin_change();
        let state = &self.state;
        let entry = core.append_with(author, tree, &parts, &[], |span| state.appended(span, &author))?;
        let pages = space.pages.clone();
        space.apply(entry)?;
        Ok(pages)
    }

    /// Logs a page that this transaction has taken, and puts it into the cache; `page` is left with
    /// bytes that mean nothing.
    pub(super) fn write_taken(&self, page: &mut Page) -> Result<()> {
        let core = &self.shared.core;
        let mut place = core.pool.fresh(page.id())?;
        // What it was before is none of its history.
        let place = (&mut place, Lsn::NONE);
        core.put_page(Author::system(Op::Structure), place, page, |_| {})
    }

    /// Writes a long value as a chain of overflow pages, from its end to its beginning.
    pub(super) fn write_chain(&mut self, tree: TreeId, value: &[u8]) -> Result<Reference> {
        if value.len() > MAX_VALUE {
            return Err(Error::new(Code::ValueTooLong).with("size", value.len()).with("max", MAX_VALUE));
        }
        self.chains += 1;
        let name = overflow::chain_name(self.id().0, self.chains);
        let size = overflow::capacity(self.shared.core.pool.page_size());
        let mut left = value.len().div_ceil(size);
        let mut next = PageId::NONE;
        while left > 0 {
            for id in self.take_pages(tree, left)?.into_iter().rev() {
                left -= 1;
                let piece = &value[left * size..value.len().min((left + 1) * size)];
                let mut page = overflow::build_page(&self.shared.core, tree, id, next, &name, piece);
                self.write_taken(&mut page)?;
                next = id;
            }
        }
        Ok(Reference { head: next, length: value.len() as u64, name })
    }
}
