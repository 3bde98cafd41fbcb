//! The pages of a database in use, each in some state since the last checkpoint.

use std::time::Duration;

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
    let step = (CHUNK / size) as u32;
    let mut chunk = vec![0; step as usize * size];
    let first = group * GROUP;
    let last = (first + GROUP).min(pool.file_pages());
    // Room comes before use: a page in use beyond the end of the file was cut off.
    if let Some(lost) = (last..first + GROUP).map(PageId).find(|id| is_used(map, *id)) {
        return Err(page_not_found(lost, pool.file_pages()));
    }
    for start in (first..last).step_by(step as usize) {
        went(0, 0)?;
        let read = pool.read_run(PageId(start), &mut chunk)?;
        chunk[read..].fill(0);
        let ids = (start..(start + step).min(last)).map(PageId);
        for (id, raw) in ids.zip(chunk.chunks_exact(size)) {
            // Free pages come along: redo begins in the past, when they may have been in use.
            if let Some(page) = current_page(shared, id, raw, is_used(map, id))? {
                each(id, &page)?;
            }
        }
        went(u64::from(step), read as u64)?;
    }
    Ok(())
}

/// The page as memory has it, else as it lies in the file (`raw`). Any state since the checkpoint
/// will do. `None` for a page that was never written: the log has it, or it is not in use.
pub(crate) fn current_page(
    shared: &Shared,
    id: PageId,
    raw: &[u8],
    is_used: bool,
) -> Result<Option<Page>> {
    let pool = &shared.core.pool;
    if pool.is_overdue(id) {
        // What lies in its place may be torn: it is redone here.
        let mut page = pool.read(id)?.clone();
        page.seal();
        return Ok(Some(page));
    }
    let mut page = Page::zeroed(pool.page_size());
    page.bytes_mut().copy_from_slice(raw);
    let mut look = 0;
    loop {
        if let Some(cached) = pool.read_cached(id).map(|guard| guard.clone())
            && cached.id() == id
        {
            page = cached;
            page.seal();
            return Ok(Some(page));
        }
        let error = match page.validate(id, pool.log().end()) {
            Ok(()) => return Ok(Some(page)),
            Err(error) => error,
        };
        look += 1;
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
        page = pool.read_raw(id)?;
    }
}
