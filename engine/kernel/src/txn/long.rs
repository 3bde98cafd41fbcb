//! Writing long values, and taking pages in extents: a transaction's step that undo takes back.

use super::Transaction;
use crate::core::Author;
use crate::error::{Code, Error, Result};
use crate::log::Op;
use crate::page::{Change, Page};
use crate::tree::overflow::{self, MAX_VALUE, Reference};
use crate::types::{PageId, TreeId};

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

    /// Logs and writes a page that this transaction has taken.
    pub(super) fn write_taken(&self, page: &Page) -> Result<()> {
        let image = page.to_image();
        let mut frame = self.shared.core.pool.fresh(page.id())?;
        let change = Change::Image { image: &image };
        frame.begin_change();
        let parts = [crate::page::Part { page: page.id(), previous: crate::types::Lsn::NONE, change }];
        let entry = self.shared.core.append(Author::system(Op::Structure), page.tree(), &parts, &[])?;
        frame.apply(&change, entry)
    }

    /// Writes a long value as a chain of overflow pages, from its end to its beginning.
    pub(super) fn write_chain(&mut self, tree: TreeId, value: &[u8]) -> Result<Reference> {
        if value.len() > MAX_VALUE {
            return Err(Error::new(Code::ValueTooLong).with("size", value.len()).with("max", MAX_VALUE));
        }
        self.chains += 1;
        let name = overflow::chain_name(self.id().0, self.chains);
        let pieces: Vec<&[u8]> =
            value.chunks(overflow::capacity(self.shared.core.pool.page_size())).collect();
        let mut left = pieces.len();
        let mut next = PageId::NONE;
        while left > 0 {
            for id in self.take_pages(tree, left)?.into_iter().rev() {
                left -= 1;
                let page = overflow::build_page(&self.shared.core, tree, id, next, &name, pieces[left]);
                self.write_taken(&page)?;
                next = id;
            }
        }
        Ok(Reference { head: next, length: value.len() as u64, name })
    }
}
