//! Building a tree bottom up from records in ascending order: pages are filled, logged once as
//! images, and the root comes last. Nobody can reach the tree before its catalogue row is there.

use super::Tree;
use crate::error::{Error, Result};
use crate::page::{HEADER, Kind, LEAF_HEAD, Page, Record, SLOT, Shape, Stamp, common_prefix};
use crate::types::PageId;

/// Gives the builder pages and writes them; a transaction does both.
pub trait PageSink {
    fn take_page(&mut self) -> Result<PageId>;
    fn write_page(&mut self, page: &Page) -> Result<()>;
}

/// A record of the page being filled: a key with a leaf's value or a child.
struct Item {
    key: Vec<u8>,
    flags: u8,
    value: Vec<u8>,
    child: PageId,
}

/// The page of one level that is being filled.
#[derive(Default)]
struct Level {
    /// Its number, once it has a right neighbour or a parent.
    id: Option<PageId>,
    low: Vec<u8>,
    items: Vec<Item>,
    bytes: usize,
}

impl Level {
    /// The bytes of the records and of both fences, the high one of this length.
    fn bytes_with_fences(&self, high: usize) -> usize {
        self.bytes + self.low.len() + high
    }

    /// The fence before a right neighbour that begins with `next`: as short as it can be.
    fn separator(&self, level: usize, next: &[u8]) -> Vec<u8> {
        match self.items.last() {
            Some(last) if level == 0 => {
                next[..(common_prefix(&last.key, next) + 1).min(next.len())].to_vec()
            }
            _ => next.to_vec(),
        }
    }
}

pub struct Builder<'t> {
    tree: Tree<'t>,
    stamp: Stamp,
    levels: Vec<Level>,
    records: u64,
}

impl<'t> Builder<'t> {
    /// Builds into a tree whose root page is an empty leaf; records get this stamp.
    pub fn new(tree: Tree<'t>, stamp: Stamp) -> Builder<'t> {
        Builder { tree, stamp, levels: vec![Level::default()], records: 0 }
    }

    pub fn records(&self) -> u64 {
        self.records
    }

    /// Adds a record; its key must be above every earlier one.
    pub fn push(
        &mut self,
        sink: &mut dyn PageSink,
        key: Vec<u8>,
        flags: u8,
        value: Vec<u8>,
    ) -> Result<()> {
        let last = self.levels[0].items.last();
        if last.is_some_and(|last| last.key >= key) {
            return Err(Error::internal("a bulk build got its keys out of order"));
        }
        self.records += 1;
        let item = Item { key, flags, value, child: PageId::NONE };
        self.add(sink, 0, item)
    }

    fn size_of(level: usize, item: &Item) -> usize {
        SLOT + item.key.len() + if level == 0 { LEAF_HEAD + item.value.len() } else { 4 }
    }

    fn add(&mut self, sink: &mut dyn PageSink, level: usize, item: Item) -> Result<()> {
        let size = Self::size_of(level, &item);
        // Room is kept for both fences; the high one is often no longer than the last key.
        while !self.levels[level].items.is_empty()
            && self.levels[level].bytes_with_fences(item.key.len()) + size > self.page_room()
        {
            self.turn_page(sink, level, &item.key)?;
        }
        let open = &mut self.levels[level];
        open.bytes += size;
        open.items.push(item);
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
        let mut moved = Vec::new();
        if open.bytes_with_fences(separator.len()) > room && open.items.len() > 1 {
            moved.extend(open.items.pop());
            separator = moved.first().map_or(separator, |first| open.separator(level, &first.key));
        }
        let moved_bytes = moved.iter().map(|item| Self::size_of(level, item)).sum();
        let id = match open.id {
            Some(id) => id,
            None => sink.take_page()?,
        };
        let right = sink.take_page()?;
        let is_first = open.id.is_none();
        let finished = std::mem::replace(
            open,
            Level { id: Some(right), low: separator.clone(), items: moved, bytes: moved_bytes },
        );
        let page = self.page(level, id, right, &finished, Some(&separator))?;
        sink.write_page(&page)?;
        if self.levels.len() == level + 1 {
            self.levels.push(Level::default());
        }
        let child = |key: Vec<u8>, child| Item { key, flags: 0, value: Vec::new(), child };
        if is_first {
            self.add(sink, level + 1, child(Vec::new(), id))?;
        }
        self.add(sink, level + 1, child(separator, right))
    }

    fn page(
        &self,
        level: usize,
        id: PageId,
        right: PageId,
        from: &Level,
        high: Option<&[u8]>,
    ) -> Result<Page> {
        let kind = if level == 0 { Kind::Leaf } else { Kind::Inner };
        let shape =
            Shape { id, kind, level: level as u8, tree: self.tree.id, right, low: &from.low, high };
        let mut page = Page::format(self.tree.core.pool.page_size(), shape);
        page.set_incarnation(self.tree.core.pool.incarnation());
        for (slot, item) in from.items.iter().enumerate() {
            let fits = if level == 0 {
                let (key, value) = (item.key.as_slice(), item.value.as_slice());
                page.insert_record(slot, Record { key, value, flags: item.flags, stamp: self.stamp })
            } else {
                page.insert_child(slot, &item.key, item.child)
            };
            if !fits {
                return Err(Error::internal("a bulk built page overflows"));
            }
        }
        Ok(page)
    }

    /// Writes the pages still open; the one at the top becomes the root. Returns the records.
    pub fn finish(mut self, sink: &mut dyn PageSink) -> Result<u64> {
        let top = self.levels.len() - 1;
        for level in 0..top {
            let open = std::mem::take(&mut self.levels[level]);
            let Some(id) = open.id else {
                return Err(Error::internal("a bulk built level without a page"));
            };
            let page = self.page(level, id, PageId::NONE, &open, None)?;
            sink.write_page(&page)?;
        }
        let open = std::mem::take(&mut self.levels[top]);
        let root = self.page(top, self.tree.root, PageId::NONE, &open, None)?;
        sink.write_page(&root)?;
        Ok(self.records)
    }
}
