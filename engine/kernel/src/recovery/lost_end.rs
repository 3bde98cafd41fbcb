//! Tells a log that has ended from one whose end was lost.
//!
//! The last flush before a crash has nothing after it that would name it, so damage in it looks like
//! the end. Its pages know better: none is written before the log up to its last change is on the
//! medium, in every sync mode. A copy of the last run in the double-write file that was changed
//! beyond the end of the log proves that log is missing: to go on would leave changes in the pages
//! that nobody could undo, and give their LSNs away a second time.

use crate::buffer::{DOUBLEWRITE_PATH, DoubleWrite};
use crate::disk::Disk;
use crate::error::Result;
use crate::log::segments::corrupted;
use crate::types::{Incarnation, Lsn, PageId};

/// `WalCorrupted` where a page of the last run was written that was changed beyond `end`.
pub(super) fn refuse(disk: &dyn Disk, page_size: u32, last: Incarnation, end: Lsn) -> Result<()> {
    if !disk.exists(DOUBLEWRITE_PATH)? {
        return Ok(());
    }
    let mut beyond: Option<(PageId, Lsn)> = None;
    DoubleWrite::look(disk, page_size as usize)?.each_copy(end, Lsn::MAX, last, |id, page| {
        let is_later = page.lsn() > beyond.map_or(end, |(_, lsn)| lsn);
        if page.incarnation() == last && is_later {
            beyond = Some((id, page.lsn()));
        }
        Ok(())
    })?;
    let Some((page, lsn)) = beyond else { return Ok(()) };
    let details =
        format!("page {page} was written with a change up to {lsn}: the log after {end} is lost");
    Err(corrupted(end, details))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::disk::memory::MemoryDisk;
    use crate::error::Code;
    use crate::page::{Kind, Page, Shape};
    use crate::types::TreeId;

    fn page(id: u32, lsn: u64, incarnation: u32) -> Page {
        let (id, right) = (PageId(id), PageId::NONE);
        let shape =
            Shape { id, kind: Kind::Leaf, level: 0, tree: TreeId(1), right, low: &[], high: None };
        let mut page = Page::format(4096, shape);
        page.set_lsn(Lsn(lsn));
        page.set_incarnation(Incarnation(incarnation));
        page.seal();
        page
    }

    #[test]
    fn a_log_that_ends_before_a_change_of_a_written_page_is_damaged() {
        let disk = MemoryDisk::new(1);
        let ask = |last, end| refuse(&*disk, 4096, Incarnation(last), Lsn(end));
        ask(3, 1).unwrap();
        let pages = [page(5, 400, 3), page(6, 500, 3), page(7, 900, 2)];
        DoubleWrite::open(&*disk, 4096).unwrap().write_many(pages.iter().map(Page::bytes)).unwrap();
        ask(3, 500).unwrap();
        let error = ask(3, 499).unwrap_err();
        assert_eq!(error.code, Code::WalCorrupted);
        assert!(error.to_string().contains("page 6"), "{error}");
        // Copies of a history that was left behind prove nothing of this one.
        ask(4, 499).unwrap();
    }
}
