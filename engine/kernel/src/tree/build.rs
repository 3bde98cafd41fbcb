//! Building a tree bottom up from records in ascending order: pages are filled, logged once as
//! images, and the root comes last. Nobody can reach the tree before its catalogue row is there.
//!
//! A record is copied twice: into the heap of the page that is being filled, and with it, as one
//! piece, into the page. The log takes the image from there, and the cache the page as it is.

use super::Tree;
use crate::error::{Error, Result};
use crate::page::{HEADER, Heap, Kind, Page, Record, Shape, Stamp, common_prefix};
use crate::types::PageId;

/// Gives the builder pages and writes them; a transaction does both.
pub trait PageSink {
    fn take_page(&mut self) -> Result<PageId>;
    /// Logs the page and puts it into the cache; what is left in `page` means nothing.
    fn write_page(&mut self, page: &mut Page) -> Result<()>;
}

/// A record for a page of any level: a key with a leaf's value or a child.
#[derive(Clone, Copy)]
enum Item<'r> {
    Record { flags: u8, value: &'r [u8] },
    Child(PageId),
}

/// The page of one level that is being filled.
#[derive(Default)]
struct Level {
    /// Its number, once it has a right neighbour or a parent.
    id: Option<PageId>,
    low: Vec<u8>,
    heap: Heap,
}

impl Level {
    /// The bytes of the records and of both fences, the high one of this length.
    fn bytes_with_fences(&self, high: usize) -> usize {
        self.heap.size() + self.low.len() + high
    }

    /// The fence before a right neighbour that begins with `next`: as short as it can be.
    fn separator(&self, level: usize, next: &[u8]) -> Vec<u8> {
        match self.heap.last_key() {
            Some(last) if level == 0 => next[..(common_prefix(last, next) + 1).min(next.len())].to_vec(),
            _ => next.to_vec(),
        }
    }
}

pub struct Builder<'t> {
    tree: Tree<'t>,
    stamp: Stamp,
    levels: Vec<Level>,
    records: u64,
    /// The page that is made next: its memory is used again and again.
    page: Page,
}

impl<'t> Builder<'t> {
    /// Builds into a tree whose root page is an empty leaf; records get this stamp.
    pub fn new(tree: Tree<'t>, stamp: Stamp) -> Builder<'t> {
        let page = Page::zeroed(tree.core.pool.page_size());
        Builder { tree, stamp, levels: vec![Level::default()], records: 0, page }
    }

    /// Adds a record; its key must be above every earlier one.
    pub fn push(&mut self, sink: &mut dyn PageSink, key: &[u8], flags: u8, value: &[u8]) -> Result<()> {
        if self.levels[0].heap.last_key().is_some_and(|last| last >= key) {
            return Err(Error::internal("a bulk build got its keys out of order"));
        }
        self.records += 1;
        self.add(sink, 0, key, Item::Record { flags, value })
    }

    fn add(&mut self, sink: &mut dyn PageSink, level: usize, key: &[u8], item: Item<'_>) -> Result<()> {
        let size = match item {
            Item::Record { value, .. } => Heap::record_size(key, value),
            Item::Child(_) => Heap::child_size(key),
        };
        // Room is kept for both fences; the high one is often no longer than the last key.
        while !self.levels[level].heap.is_empty()
            && self.levels[level].bytes_with_fences(key.len()) + size > self.page_room()
        {
            self.turn_page(sink, level, key)?;
        }
        let heap = &mut self.levels[level].heap;
        match item {
            Item::Record { flags, value } => {
                heap.push_record(Record { key, value, flags, stamp: self.stamp });
            }
            Item::Child(child) => heap.push_child(key, child),
        }
        Ok(())
    }

    fn page_room(&self) -> usize {
        self.tree.core.pool.page_size() - HEADER
    }

    /// Finishes the open page of a level, which has a right neighbour that begins with `next`, or
    /// with the last record of the page, where that leaves no room for so long a fence.
    fn turn_page(&mut self, sink: &mut dyn PageSink, level: usize, next: &[u8]) -> Result<()> {
        let room = self.page_room();
        let open = &mut self.levels[level];
        let mut separator = open.separator(level, next);
        let mut moved = Heap::default();
        if open.bytes_with_fences(separator.len()) > room && open.heap.len() > 1 {
            moved = open.heap.split_last();
            separator = moved.last_key().map_or(separator, |first| open.separator(level, first));
        }
        let id = match open.id {
            Some(id) => id,
            None => sink.take_page()?,
        };
        let right = sink.take_page()?;
        let is_first = open.id.is_none();
        self.write(sink, level, id, (right, Some(&separator)))?;
        let open = &mut self.levels[level];
        (open.id, open.low) = (Some(right), separator.clone());
        if moved.is_empty() {
            open.heap.clear();
        } else {
            open.heap = moved;
        }
        if self.levels.len() == level + 1 {
            self.levels.push(Level::default());
        }
        if is_first {
            self.add(sink, level + 1, &[], Item::Child(id))?;
        }
        self.add(sink, level + 1, &separator, Item::Child(right))
    }

    /// Writes the open page of a level as page `id`; it ends at a right neighbour and a fence, or is
    /// the last one.
    fn write(
        &mut self,
        sink: &mut dyn PageSink,
        level: usize,
        id: PageId,
        (right, high): (PageId, Option<&[u8]>),
    ) -> Result<()> {
        let open = &self.levels[level];
        let kind = if level == 0 { Kind::Leaf } else { Kind::Inner };
        let tree = self.tree.id;
        let shape = Shape { id, kind, level: level as u8, tree, right, low: &open.low, high };
        if !self.page.refill(shape, &open.heap) {
            return Err(Error::internal("a bulk built page overflows"));
        }
        self.page.set_incarnation(self.tree.core.pool.incarnation());
        sink.write_page(&mut self.page)
    }

    /// Writes the pages still open; the one at the top becomes the root. Returns the records.
    pub fn finish(mut self, sink: &mut dyn PageSink) -> Result<u64> {
        let top = self.levels.len() - 1;
        for level in 0..top {
            let Some(id) = self.levels[level].id else {
                return Err(Error::internal("a bulk built level without a page"));
            };
            self.write(sink, level, id, (PageId::NONE, None))?;
        }
        self.write(sink, top, self.tree.root, (PageId::NONE, None))?;
        Ok(self.records)
    }
}
