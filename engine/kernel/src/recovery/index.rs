//! Where in the log the entries of each stretch of pages are, so that redo reads only those.
//!
//! Built while the log is validated, without knowing yet which pages will need redo. For each
//! group of neighbouring pages it keeps the positions of the entries that change one of them,
//! ascending, each as the distance from the one before: two or three bytes. The whole is bounded;
//! where it would not fit it is given up, and redo reads whole stretches of the log instead.

use crate::buffer::PageMap;
use crate::error::Result;
use crate::log::EntryRef;
use crate::memory;
use crate::page::{PartReader, get_u32};
use crate::types::{Lsn, PageId};

/// What memory is asked for.
const OPERATION: &str = "index the log";

/// Neighbouring pages that share a list.
pub const GROUP_PAGES: u32 = 64;
/// A list grows by so many bytes.
const CHUNK: usize = 64;
const LINK: usize = 4;
const NO_CHUNK: u32 = u32::MAX;
/// What one list takes besides its chunks, in the table that finds it.
const LIST_BYTES: usize = 64;

/// The first page of the group that a page belongs to.
pub fn group_of(page: PageId) -> PageId {
    PageId(page.0 - page.0 % GROUP_PAGES)
}

#[derive(Clone, Copy)]
struct List {
    first: u32,
    last: u32,
    /// Bytes in the last chunk.
    fill: u8,
    at: Lsn,
}

/// The positions of entries by group of pages.
pub struct LogIndex {
    /// Entries that begin before it are not in the index.
    from: Lsn,
    /// By the first page of each group.
    lists: PageMap<List>,
    /// Chunks of [`CHUNK`] bytes: distances, then the number of the list's next chunk.
    chunks: Vec<u8>,
    most_bytes: usize,
    is_given_up: bool,
}

impl LogIndex {
    /// An empty index of the entries from `from` on, that takes at most `most_bytes` of memory.
    pub fn new(from: Lsn, most_bytes: usize) -> LogIndex {
        LogIndex { from, most_bytes, is_given_up: most_bytes == 0, ..LogIndex::none() }
    }

    /// No index: it covers nothing.
    pub fn none() -> LogIndex {
        LogIndex {
            from: Lsn::MAX,
            lists: PageMap::default(),
            chunks: Vec::new(),
            most_bytes: 0,
            is_given_up: true,
        }
    }

    /// Notes that the entry at `lsn` changes `page`. Entries come in log order.
    pub fn add(&mut self, page: PageId, lsn: Lsn) {
        if self.is_given_up {
            return;
        }
        let group = group_of(page);
        if memory::widen(&mut self.lists, OPERATION).is_err() {
            *self = LogIndex::none();
            return;
        }
        let list = self.lists.entry(group).or_insert(List {
            first: NO_CHUNK,
            last: NO_CHUNK,
            fill: (CHUNK - LINK) as u8,
            at: Lsn::NONE,
        });
        if list.at == lsn {
            return;
        }
        let mut distance = lsn.0 - list.at.0;
        list.at = lsn;
        loop {
            let low = (distance & 0x7F) as u8;
            distance >>= 7;
            if push(list, &mut self.chunks, if distance > 0 { low | 0x80 } else { low }).is_err() {
                // Redo reads the log once more then, as where there is too much for an index.
                *self = LogIndex::none();
                return;
            }
            if distance == 0 {
                break;
            }
        }
        if self.bytes() > self.most_bytes {
            *self = LogIndex::none();
        }
    }

    /// Notes every page that an entry changes.
    pub fn add_entry(&mut self, entry: &EntryRef<'_>) -> Result<()> {
        if !self.is_given_up && entry.header.op.changes_pages() {
            let mut parts = PartReader::new(entry.body)?;
            while let Some((page, ..)) = parts.next_raw()? {
                self.add(page, entry.header.lsn);
            }
        }
        Ok(())
    }

    /// Memory in use.
    pub fn bytes(&self) -> usize {
        self.chunks.len() + self.lists.len() * LIST_BYTES
    }

    /// True where it names every entry from `from` on. False for all where it would have taken
    /// more memory than it may.
    pub fn covers(&self, from: Lsn) -> bool {
        !self.is_given_up && self.from <= from
    }

    /// The entries of a group, ascending.
    pub fn entries(&self, group: PageId) -> Entries<'_> {
        let chunk = self.lists.get(&group).map_or(NO_CHUNK, |list| list.first);
        let end = self.lists.get(&group).map_or(Lsn::NONE, |list| list.at);
        Entries { chunks: &self.chunks, chunk, offset: 0, at: Lsn::NONE, end }
    }
}

fn push(list: &mut List, chunks: &mut Vec<u8>, byte: u8) -> Result<()> {
    if usize::from(list.fill) == CHUNK - LINK {
        let new = (chunks.len() / CHUNK) as u32;
        memory::grow(chunks, CHUNK, OPERATION)?;
        chunks.resize(chunks.len() + CHUNK, 0);
        if list.last == NO_CHUNK {
            list.first = new;
        } else {
            let link = list.last as usize * CHUNK + CHUNK - LINK;
            chunks[link..link + LINK].copy_from_slice(&new.to_le_bytes());
        }
        (list.last, list.fill) = (new, 0);
    }
    chunks[list.last as usize * CHUNK + usize::from(list.fill)] = byte;
    list.fill += 1;
    Ok(())
}

/// The positions of a group's entries.
pub struct Entries<'i> {
    chunks: &'i [u8],
    chunk: u32,
    offset: usize,
    at: Lsn,
    end: Lsn,
}

impl Entries<'_> {
    fn byte(&mut self) -> u8 {
        if self.offset == CHUNK - LINK {
            let link = self.chunk as usize * CHUNK + CHUNK - LINK;
            self.chunk = get_u32(self.chunks, link);
            self.offset = 0;
        }
        self.offset += 1;
        self.chunks[self.chunk as usize * CHUNK + self.offset - 1]
    }
}

impl Iterator for Entries<'_> {
    type Item = Lsn;

    fn next(&mut self) -> Option<Lsn> {
        if self.at >= self.end {
            return None;
        }
        let (mut distance, mut shift) = (0u64, 0);
        loop {
            let byte = self.byte();
            distance |= u64::from(byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        self.at = self.at.plus(distance);
        Some(self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_index_never_takes_more_memory_than_it_may() {
        let most = 64 << 10;
        for spread in [1, GROUP_PAGES, 1 << 20] {
            let mut index = LogIndex::new(Lsn(64), most);
            for entry in 0..200_000u64 {
                index.add(PageId((entry as u32).wrapping_mul(spread)), Lsn(64 + entry * 200));
                assert!(index.bytes() <= most, "spread {spread}");
                assert!(index.chunks.capacity() <= 2 * most, "spread {spread}");
            }
            assert!(!index.covers(Lsn::MAX), "spread {spread}");
            assert_eq!((index.bytes(), index.entries(PageId(0)).count()), (0, 0));
        }
    }

    #[test]
    fn an_entry_takes_about_three_bytes() {
        let mut index = LogIndex::new(Lsn(64), 1 << 20);
        for entry in 0..100_000u64 {
            let page = (entry.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u32 % 8192;
            index.add(PageId(page), Lsn(64 + entry * 400));
        }
        assert!(index.covers(Lsn(64)) && !index.covers(Lsn(63)));
        assert!(index.bytes() < 330_000, "{}", index.bytes());
    }

    proptest! {
        #[test]
        fn what_was_added_comes_back_in_order(
            steps in proptest::collection::vec((0..500u32, 0..3_000_000_000u64), 0..400),
        ) {
            let mut index = LogIndex::new(Lsn(64), 1 << 20);
            let mut expected: BTreeMap<PageId, Vec<Lsn>> = BTreeMap::new();
            let mut at = Lsn(64);
            for (page, distance) in steps {
                at = at.plus(distance);
                index.add(PageId(page), at);
                let list = expected.entry(group_of(PageId(page))).or_default();
                if list.last() != Some(&at) {
                    list.push(at);
                }
            }
            for group in (0..500 + GROUP_PAGES).step_by(GROUP_PAGES as usize).map(PageId) {
                let found: Vec<Lsn> = index.entries(group).collect();
                prop_assert_eq!(found, expected.remove(&group).unwrap_or_default());
            }
        }
    }
}
