//! Pages that are yet to be redone, in a database that was opened before redo was through.
//!
//! What their places hold is older than the log, or torn. So they are never read past the cache as
//! if they were current, they stay in the dirty page table, and who fetches one has it redone
//! first. A page is taken off the list only once its frame is dirty since no later than the entry
//! that redo had to begin at: a checkpoint finds it in one of the two, and log that it needs is
//! kept. To redo a page twice does no harm; its page LSN tells.

use super::{PageWrite, Pool};
use crate::error::{Error, Result};
use crate::page::Page;
use crate::sync::Arc;
use crate::types::{Lsn, PageId};

/// Knows which pages lack changes that the log has, and makes them.
pub trait Overdue: Send + Sync {
    /// From which entry on the page may lack changes; `None` where it lacks none.
    fn rec_lsn(&self, page: PageId) -> Option<Lsn>;
    /// All of them.
    fn pages(&self) -> Result<Vec<(PageId, Lsn)>>;
    /// Brings `page` up to date, in the frame of the page `id`, whose reading gave `read`; or the
    /// error that is to be mended. Called under the page's latch: it may take no other page's.
    fn redo(&self, page: &mut Page, id: PageId, read: Result<()>) -> Result<()>;
    /// Somebody may have a copy of a page that cannot be redone, and was not asked for it yet.
    fn may_be_helped(&self, page: PageId) -> bool;
    /// Waits until they were asked for a page whose fetching gave `error`; true if it is to be fetched
    /// once more. Called without the page's latch.
    fn waits_for_help(&self, page: PageId, error: &Error) -> bool;
    /// The page is in memory as the log has it, and dirty.
    fn note_redone(&self, page: PageId);
}

impl Pool {
    /// From now on `overdue` is asked for each page that is fetched; the first one stays.
    pub fn set_overdue(&self, overdue: Arc<dyn Overdue>) {
        let _ = self.overdue.set(overdue);
    }

    /// Who redoes the page, where that is still to be done.
    pub(super) fn overdue_of(&self, page: PageId) -> Option<&Arc<dyn Overdue>> {
        self.overdue.get().filter(|overdue| overdue.rec_lsn(page).is_some())
    }

    /// True where the page's place lacks changes that the log has, and memory does not have it.
    pub fn is_overdue(&self, page: PageId) -> bool {
        self.overdue_of(page).is_some()
    }

    /// The pages that are yet to be redone, and since when they lack changes.
    pub fn overdue_pages(&self) -> Result<Vec<(PageId, Lsn)>> {
        self.overdue.get().map_or_else(|| Ok(Vec::new()), |overdue| overdue.pages())
    }

    /// A page that is damaged is not given up yet: somebody may have a copy.
    pub fn may_be_helped(&self, page: PageId) -> bool {
        self.overdue_of(page).is_some_and(|overdue| overdue.may_be_helped(page))
    }

    /// As `load`; a page that cannot be redone is fetched once more when others were asked for it.
    pub(super) fn load_helped(&self, page: PageId) -> Result<Option<PageWrite<'_>>> {
        self.load(page).or_else(|error| match self.overdue.get() {
            Some(overdue) if overdue.waits_for_help(page, &error) => self.load(page),
            _ => Err(error),
        })
    }

    /// A page that is in memory as the log has it needs no redo any more, once it counts as dirty.
    /// In a store that has failed it stays on the list: nothing will be written.
    pub fn note_redone(&self, place: &PageWrite<'_>, id: PageId) {
        let Some(overdue) = self.overdue.get() else { return };
        let Some(rec_lsn) = overdue.rec_lsn(id) else { return };
        if !self.log.has_failed() {
            place.begin_redo(rec_lsn);
            overdue.note_redone(id);
        }
    }
}
