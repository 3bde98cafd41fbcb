//! The dirty page table: which pages have changes that the data file lacks, and since when.

use crate::sync::Ordering;

use super::{Frame, Pool};
use crate::error::Result;
use crate::memory;
use crate::types::{Lsn, PageId};

impl Pool {
    /// The dirty page table: pages with changes that the data file lacks, and since when. Those
    /// that are yet to be redone come first: one that is redone meanwhile is in both, never in none.
    /// `OutOfMemory` where there is none to name them all.
    pub fn dirty_pages(&self) -> Result<Vec<(PageId, Lsn)>> {
        let mut pages = self.overdue_pages()?;
        for dirty in self.dirty_frames() {
            memory::grow(&mut pages, 1, "name the dirty pages")?;
            pages.push(dirty);
        }
        Ok(pages)
    }

    /// Since when the page lacks changes that has lacked some for longest; takes no memory where no
    /// page is yet to be redone.
    pub fn dirty_since(&self) -> Result<Option<Lsn>> {
        let overdue = self.overdue_pages()?.into_iter().map(|(_, lsn)| lsn).min();
        let dirty = self.dirty_frames().map(|(_, lsn)| lsn).min();
        Ok(overdue.into_iter().chain(dirty).min())
    }

    fn dirty_frames(&self) -> impl Iterator<Item = (PageId, Lsn)> + '_ {
        self.frames.iter().filter_map(|frame| {
            let rec_lsn = frame.rec_lsn();
            (rec_lsn != 0).then(|| (frame.page(), Lsn(rec_lsn)))
        })
    }

    /// Frames in use and dirty frames.
    pub fn usage(&self) -> (usize, usize) {
        (self.frames.iter().filter(|f| !f.page().is_none()).count(), self.dirty_count())
    }

    pub fn dirty_count(&self) -> usize {
        self.dirty.load(Ordering::Relaxed)
    }

    /// Every change of a frame's `rec_lsn` comes through here, so that dirty frames are counted.
    pub(super) fn set_rec_lsn(&self, frame: &Frame, rec_lsn: u64) {
        match (frame.swap_rec_lsn(rec_lsn), rec_lsn) {
            (0, 0) => {}
            (0, _) => drop(self.dirty.fetch_add(1, Ordering::Relaxed)),
            (_, 0) => drop(self.dirty.fetch_sub(1, Ordering::Relaxed)),
            _ => {}
        }
    }
}
