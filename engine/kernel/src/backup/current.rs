//! The pages of a database in use, each in some state since the last checkpoint.

use std::time::Duration;

use crate::buffer::Pool;
use crate::disk::AlignedBuffer;
use crate::error::{Code, Error, Result};
use crate::page::Page;
use crate::space::{GROUP, is_used};
use crate::txn::Shared;
use crate::types::PageId;

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;
/// How often a page that looks bad is read again: it may be on its way out.
const LOOKS: u32 = 10;

/// The page file's end comes before a page that is in use.
pub(super) fn page_not_found(page: PageId, pages: u32) -> Error {
    Error::new(Code::PageNotFound).with("page_id", page.0).with("available_pages", pages)
}

/// Gives `each` every page that was ever written, in order; after each stretch `went` is told how
/// many pages and bytes were looked at. Damaged pages in use end it with their error.
pub(crate) fn each_page(
    shared: &Shared,
    mut went: impl FnMut(u64, u64) -> Result<()>,
    mut each: impl FnMut(PageId, &Page) -> Result<()>,
) -> Result<()> {
    for group in 0..shared.core.space.groups() {
        let map = shared.core.space.map(group)?.map(|map| map.clone());
        if let Some(map) = map {
            each_of_group(shared, group, &map, &mut went, &mut each)?;
        }
    }
    Ok(())
}

fn each_of_group(
    shared: &Shared,
    group: u32,
    map: &Page,
    went: &mut impl FnMut(u64, u64) -> Result<()>,
    each: &mut impl FnMut(PageId, &Page) -> Result<()>,
) -> Result<()> {
    let pool = &shared.core.pool;
    let size = pool.page_size();
    let mut stretch = Stretch::new(size)?;
    let step = stretch.step(size);
    let first = group * GROUP;
    let last = (first + GROUP).min(pool.file_pages());
    // Room comes before use: a page in use beyond the end of the file was cut off.
    if let Some(lost) = (last..first + GROUP).map(PageId).find(|id| is_used(map, *id)) {
        return Err(page_not_found(lost, pool.file_pages()));
    }
    for start in (first..last).step_by(step as usize) {
        went(0, 0)?;
        stretch.stand_at(PageId(start));
        let end = (start + step).min(last);
        for id in (start..end).map(PageId) {
            // Free pages come along: redo begins in the past, when they may have been in use.
            if let Some(page) = stretch.current(shared, id, is_used(map, id))? {
                each(id, &page)?;
            }
        }
        went(u64::from(step), u64::from(end - start) * size as u64)?;
    }
    Ok(())
}

/// Neighbouring pages as they lie in the file, read once one of them is not in memory.
pub(super) struct Stretch {
    first: PageId,
    bytes: AlignedBuffer,
    is_read: bool,
}

impl Stretch {
    /// For pages of `size` bytes.
    pub fn new(size: usize) -> Result<Stretch> {
        let bytes = AlignedBuffer::zeroed(CHUNK / size * size)?;
        Ok(Stretch { first: PageId(0), bytes, is_read: false })
    }

    /// Pages of one stretch.
    pub fn step(&self, size: usize) -> u32 {
        (self.bytes.bytes().len() / size) as u32
    }

    /// Stands at `first`, with nothing read.
    pub fn stand_at(&mut self, first: PageId) {
        (self.first, self.is_read) = (first, false);
    }

    fn page(&mut self, pool: &Pool, id: PageId) -> Result<Page> {
        if !self.is_read {
            let bytes = self.bytes.bytes_mut();
            let read = pool.read_run(self.first, bytes)?;
            bytes[read..].fill(0);
            self.is_read = true;
        }
        let size = pool.page_size();
        let at = (id.0 - self.first.0) as usize * size;
        Ok(Page { bytes: self.bytes.bytes()[at..at + size].to_vec().into() })
    }

    /// The page as memory has it, else as it lies in the file. Any state since the checkpoint will
    /// do. `None` for a page that was never written: the log has it, or it is not in use.
    pub fn current(&mut self, shared: &Shared, id: PageId, is_used: bool) -> Result<Option<Page>> {
        let pool = &shared.core.pool;
        if pool.is_overdue(id) {
            // What lies in its place may be torn: it is redone here.
            let mut page = pool.read(id)?.clone();
            page.seal();
            return Ok(Some(page));
        }
        for look in 1.. {
            if let Some(mut page) = in_memory(pool, id) {
                page.seal();
                return Ok(Some(page));
            }
            let mut page = if look == 1 { self.page(pool, id)? } else { pool.read_raw(id)? };
            let error = match page.validate(id, pool.log().end()) {
                Ok(()) => return Ok(Some(page)),
                Err(error) => error,
            };
            let is_zeroed = error.field("corruption_type") == Some(&"zeroed".into());
            if is_zeroed && !is_used {
                return Ok(None);
            }
            if look == LOOKS {
                let is_idle = shared.txns.active().is_empty() && shared.txns.pending().is_empty();
                // A transaction at work may have taken the page and not written it yet.
                let is_lost = !is_zeroed || is_idle;
                return if is_used && is_lost { Err(error) } else { Ok(None) };
            }
            crate::sync::sleep(Duration::from_millis(1));
        }
        Ok(None)
    }
}

/// One page, as [`Stretch::current`] has it; none beyond the end of the file.
pub(crate) fn page_now(shared: &Shared, id: PageId) -> Result<Option<Page>> {
    let pool = &shared.core.pool;
    if id.0 >= pool.file_pages() {
        return Ok(None);
    }
    let map = shared.core.space.map(id.0 / GROUP)?.map(|map| map.clone());
    let mut alone =
        Stretch { first: id, bytes: AlignedBuffer::zeroed(pool.page_size())?, is_read: false };
    alone.current(shared, id, map.is_some_and(|map| is_used(&map, id)))
}

fn in_memory(pool: &Pool, id: PageId) -> Option<Page> {
    let cached = pool.read_cached(id)?.clone();
    (cached.id() == id).then_some(cached)
}
