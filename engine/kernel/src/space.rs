//! Which pages are in use: space map pages, logged, one for each group of the data file.
//!
//! Group `g` covers pages `g * GROUP ..`; its map is page `g * GROUP + 1`. Page 0 describes the
//! store. The bit of a page is set in the same log entry that first writes the page, and cleared
//! in the one that makes it [`Kind::Free`]: no crash lies between the two.

use crate::sync::{AtomicI64, Ordering};
use std::sync::Arc;

use crate::sync::Mutex;

use crate::buffer::{PageRead, PageWrite, Pool};
use crate::error::{Code, Error, Result};
use crate::log::{NewEntry, Op};
use crate::page::{Change, EntryMark, Kind, Page, Part, Shape, encode_parts};
use crate::types::{Lsn, PageId, TreeId, TxnId};

/// Pages in a group; its bitmap of 2 KiB fits the smallest page.
pub const GROUP: u32 = 16384;
/// After so many changes of a map its full image goes into the log.
const IMAGE_EVERY: u16 = 512;
const FIRST_MAP: PageId = PageId(1);

pub fn map_page_of(page: PageId) -> PageId {
    PageId(page.0 / GROUP * GROUP + FIRST_MAP.0)
}

fn bit_of(page: PageId) -> u32 {
    page.0 % GROUP
}

/// True where the map says that the page is in use.
pub fn is_used(map: &Page, page: PageId) -> bool {
    let bit = bit_of(page) as usize;
    map.payload()[bit / 8] & (1 << (bit % 8)) != 0
}

/// The pages that a change of a map page is about.
pub fn covered(map_page: PageId, change: &Change<'_>) -> impl Iterator<Item = PageId> + use<> {
    let (first, count) = match *change {
        Change::Map { first, count, .. } => (first, count),
        _ => (0, 0),
    };
    let group = map_page.0 - FIRST_MAP.0;
    (first..first + count).map(move |bit| PageId(group + bit))
}

/// The next place to look for free pages.
struct Hint {
    group: u32,
    bit: u32,
}

pub struct Space {
    pool: Arc<Pool>,
    hint: Mutex<Hint>,
    used: AtomicI64,
}

/// Pages found free, and the latched map that will say that they are not.
///
/// The caller adds [`Allocation::parts`] to the entry that first writes the pages, appends it,
/// and calls [`Allocation::apply`]. Dropped before that, nothing has happened.
pub struct Allocation<'s> {
    map: PageWrite<'s>,
    pub pages: Vec<PageId>,
    space: &'s Space,
}

impl Allocation<'_> {
    /// One change for each run of neighbours.
    fn changes(&self) -> impl Iterator<Item = Change<'static>> {
        self.pages.chunk_by(|a, b| a.0 + 1 == b.0).map(|run| Change::Map {
            first: bit_of(run[0]),
            count: run.len() as u32,
            used: true,
        })
    }

    pub fn parts(&self) -> Vec<Part<'static>> {
        self.changes().map(|change| self.map.part(change)).collect()
    }

    /// To be called before the entry is appended.
    pub fn begin_change(&self) {
        self.map.begin_change();
    }

    pub fn apply(mut self, mark: EntryMark) -> Result<()> {
        let changes: Vec<_> = self.changes().collect();
        changes.iter().try_for_each(|change| self.map.apply(change, mark))?;
        self.space.used.fetch_add(self.pages.len() as i64, Ordering::Relaxed);
        self.space.renew_image(&mut self.map)
    }
}

/// The latched map of pages that are about to be given back.
pub struct Release<'s> {
    map: PageWrite<'s>,
    changes: Vec<Change<'static>>,
    space: &'s Space,
    first: PageId,
}

impl Release<'_> {
    pub fn parts(&self) -> impl Iterator<Item = Part<'static>> {
        self.changes.iter().map(|change| self.map.part(*change))
    }
    pub fn begin_change(&self) {
        self.map.begin_change();
    }
    pub fn apply(mut self, mark: EntryMark) -> Result<()> {
        self.changes.iter().try_for_each(|change| self.map.apply(change, mark))?;
        self.space.used.fetch_sub(self.changes.len() as i64, Ordering::Relaxed);
        let mut hint = self.space.hint.lock();
        let (group, bit) = (self.first.0 / GROUP, bit_of(self.first));
        if (group, bit) < (hint.group, hint.bit) {
            *hint = Hint { group, bit };
        }
        drop(hint);
        self.space.renew_image(&mut self.map)
    }
}

/// True where a page could not be read because nothing was ever written there.
fn is_zeroed(error: &Error) -> bool {
    error.field("corruption_type") == Some(&"zeroed".into())
}

impl Space {
    pub fn new(pool: Arc<Pool>) -> Space {
        Space { pool, hint: Mutex::new(Hint { group: 0, bit: 0 }), used: AtomicI64::new(0) }
    }

    /// Writes the map of the first group of a new database.
    pub fn format(&self) -> Result<()> {
        self.add_group(0)
    }

    /// Counts the pages in use; once, when a database is opened.
    pub fn count_used(&self) -> Result<()> {
        let mut used = 0i64;
        for group in 0..self.groups() {
            if let Some(map) = self.map(group)? {
                used += map.payload()[..GROUP as usize / 8]
                    .iter()
                    .map(|b| i64::from(b.count_ones()))
                    .sum::<i64>();
            }
        }
        self.used.store(used, Ordering::Relaxed);
        Ok(())
    }

    /// The map of a group; `None` where the file, which grows by many pages at a time, has grown
    /// past the next map before that was written. Anywhere else zeros are a page that was lost.
    pub fn map(&self, group: u32) -> Result<Option<PageRead<'_>>> {
        match self.pool.read(PageId(group * GROUP + FIRST_MAP.0)) {
            Ok(map) => Ok((map.kind() == Kind::SpaceMap).then_some(map)),
            Err(error) if group > 0 && group + 1 == self.groups() && is_zeroed(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Groups whose map page the data file reaches.
    pub fn groups(&self) -> u32 {
        let pages = self.pool.file_pages();
        if pages <= FIRST_MAP.0 { 0 } else { (pages - FIRST_MAP.0 - 1) / GROUP + 1 }
    }

    /// Ends the file before the groups at its end whose maps are zeros: what was emptied there had
    /// come after a point that recovery goes back to.
    pub fn drop_empty_groups(&self) -> Result<()> {
        while self.groups() > 1 && self.map(self.groups() - 1)?.is_none() {
            self.pool.shrink(PageId((self.groups() - 1) * GROUP))?;
        }
        Ok(())
    }

    pub fn used_pages(&self) -> u64 {
        u64::try_from(self.used.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Finds `count` free pages, from one group.
    pub fn allocate(&self, count: usize) -> Result<Allocation<'_>> {
        let (mut group, mut bit) = {
            let hint = self.hint.lock();
            (hint.group, hint.bit)
        };
        loop {
            let map = self.latch_map(group)?;
            let pages =
                free_bits(&map, bit, count).map(|bit| PageId(group * GROUP + bit)).collect::<Vec<_>>();
            if pages.len() == count {
                if let Some(last) = pages.last() {
                    *self.hint.lock() = Hint { group, bit: bit_of(*last) };
                }
                return Ok(Allocation { map, pages, space: self });
            }
            group += 1;
            bit = 0;
        }
    }

    fn latch_map(&self, group: u32) -> Result<PageWrite<'_>> {
        let page = PageId(group * GROUP + FIRST_MAP.0);
        loop {
            if page.0 < self.pool.file_pages() {
                match self.pool.write(page) {
                    Ok(map) if map.kind() == Kind::SpaceMap => return Ok(map),
                    // The file grew past a map that is not written yet: zeros, no page of ours.
                    Ok(_) => {}
                    Err(error) if is_zeroed(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            self.add_group(group)?;
        }
    }

    fn add_group(&self, group: u32) -> Result<()> {
        let id = PageId(group * GROUP + FIRST_MAP.0);
        let mut map = self.pool.fresh(id)?;
        if map.kind() == Kind::SpaceMap && map.id() == id {
            return Ok(());
        }
        let shape = Shape {
            id,
            kind: Kind::SpaceMap,
            level: 0,
            tree: TreeId(0),
            right: PageId::NONE,
            low: &[],
            high: None,
        };
        let mut page = Page::format(self.pool.page_size(), shape);
        // The map itself is in use, and so is page 0 before it.
        page.payload_mut()[0] = if group == 0 { 0b11 } else { 0b10 };
        self.log_image(&mut map, &page.to_image())?;
        self.used.fetch_add(if group == 0 { 2 } else { 1 }, Ordering::Relaxed);
        Ok(())
    }

    fn log_image(&self, map: &mut PageWrite<'_>, image: &[u8]) -> Result<()> {
        let change = Change::Image { image };
        map.begin_change();
        let mut body = Vec::new();
        encode_parts(&mut body, TreeId(0), &[map.part(change)]);
        let entry = NewEntry::new(TxnId::SYSTEM, Op::Structure, Lsn::NONE, &[]);
        let span = self.pool.log().append(&NewEntry { body: &[&body], ..entry }, |_| {})?;
        map.apply(&change, EntryMark { txn: TxnId::SYSTEM, lsn: span.lsn, end: span.end })
    }

    /// Logs a map in full where its last image has become old: what its repair begins with.
    fn renew_image(&self, map: &mut PageWrite<'_>) -> Result<()> {
        if map.changes_since_image() < IMAGE_EVERY {
            return Ok(());
        }
        let image = map.to_image();
        match self.log_image(map, &image) {
            // What it was asked for is done; the image can wait until there is room.
            Err(error) if error.code == Code::DiskFull => Ok(()),
            logged => logged,
        }
    }

    /// Applies a change of a map page and keeps the count of used pages in step.
    pub fn apply_map(
        &self,
        map: &mut PageWrite<'_>,
        change: &Change<'_>,
        mark: EntryMark,
    ) -> Result<()> {
        map.apply(change, mark)?;
        if let Change::Map { count, used, .. } = *change {
            let count = i64::from(count);
            self.used.fetch_add(if used { count } else { -count }, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Latches the map of a page that is to be given back.
    pub fn release(&self, page: PageId) -> Result<Release<'_>> {
        self.release_all(&[page]).map(|release| release.1)
    }

    /// Latches the map of the first page, and of those others that it covers too; answers how many
    /// of them, from the first on, that are.
    pub fn release_all(&self, pages: &[PageId]) -> Result<(usize, Release<'_>)> {
        let Some(first) = pages.first().copied() else {
            return Err(Error::internal("no page is to be given back"));
        };
        let covered: Vec<PageId> =
            pages.iter().copied().take_while(|page| map_page_of(*page) == map_page_of(first)).collect();
        let clear = |page: &PageId| Change::Map { first: bit_of(*page), count: 1, used: false };
        let changes = covered.iter().map(clear).collect();
        let map = self.pool.write(map_page_of(first))?;
        let first = covered.iter().copied().min().unwrap_or(first);
        Ok((covered.len(), Release { map, changes, space: self, first }))
    }
}

/// Clear bits of a map from `start` on, then from the front; never the bits of page 0 of a group
/// and of the map (set when the group was added; page 0 of later groups is an ordinary page).
fn free_bits(map: &Page, start: u32, count: usize) -> impl Iterator<Item = u32> {
    let bits = &map.payload()[..GROUP as usize / 8];
    let order = (start / 8..GROUP / 8).chain(0..start / 8);
    order
        .filter(move |byte| bits[*byte as usize] != 0xFF)
        .flat_map(move |byte| {
            (0..8).filter_map(move |i| (bits[byte as usize] & (1 << i) == 0).then_some(byte * 8 + i))
        })
        .take(count)
}
