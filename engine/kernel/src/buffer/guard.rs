//! Latched pages. A guard keeps its frame pinned, or latched by itself where it came by a hint and
//! only reads; dropping it gives up the latch, then the pin.

use std::ops::{Deref, DerefMut};

use crate::sync::{RwLockReadGuard, RwLockWriteGuard, soon, trip};

use super::{Frame, Pool};
use crate::error::{Error, Result};
use crate::page::{Change, EntryMark, Page, Part};
use crate::types::PageId;

struct Pin<'p>(&'p Frame);

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        self.0.unpin();
    }
}

/// A thread that panics while it may change a page leaves it half changed: nothing may be written
/// any more, and recovery makes the page anew.
struct Fuse<'p> {
    pool: &'p Pool,
    /// A page that is latched on the way out of a panic is none of its own.
    is_on_the_way_out: bool,
}

impl<'p> Fuse<'p> {
    fn new(pool: &'p Pool) -> Fuse<'p> {
        Fuse { pool, is_on_the_way_out: std::thread::panicking() }
    }
}

impl Drop for Fuse<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.is_on_the_way_out {
            self.pool.log.fail(Error::internal("a thread panicked while it held a page for change"));
        }
    }
}

/// A page latched for reading, shared with other readers.
pub struct PageRead<'p> {
    guard: RwLockReadGuard<'p, Page>,
    _pin: Option<Pin<'p>>,
}

/// A page latched for change, by one thread.
pub struct PageWrite<'p> {
    // Goes first: nobody is to see the page before the store has failed.
    _fuse: Fuse<'p>,
    guard: RwLockWriteGuard<'p, Page>,
    pin: Pin<'p>,
    pool: &'p Pool,
}

impl<'p> PageRead<'p> {
    pub(super) fn latch(frame: &'p Frame) -> PageRead<'p> {
        let pin = Some(Pin(frame));
        PageRead { guard: frame.latch.read(), _pin: pin }
    }
    pub(super) fn try_latch(frame: &'p Frame) -> Option<PageRead<'p>> {
        let pin = Some(Pin(frame));
        Some(PageRead { guard: soon(|| frame.latch.try_read())?, _pin: pin })
    }
    /// Without a pin, if the frame holds this page and nobody changes it.
    pub(super) fn hinted(frame: &'p Frame, page: PageId) -> Option<PageRead<'p>> {
        Some(PageRead { guard: frame.latch_where_it_holds(page)?, _pin: None })
    }
}

impl<'p> PageWrite<'p> {
    pub(super) fn latch(pool: &'p Pool, frame: &'p Frame) -> PageWrite<'p> {
        let pin = Pin(frame);
        PageWrite { _fuse: Fuse::new(pool), guard: frame.latch.write(), pin, pool }
    }
    pub(super) fn try_latch(pool: &'p Pool, frame: &'p Frame) -> Option<PageWrite<'p>> {
        let pin = Pin(frame);
        Some(PageWrite { _fuse: Fuse::new(pool), guard: soon(|| frame.latch.try_write())?, pin, pool })
    }
    /// For a victim, which its taker has pinned already.
    pub(super) fn latch_pinned(pool: &'p Pool, frame: &'p Frame) -> PageWrite<'p> {
        Self::latch(pool, frame)
    }

    pub fn downgrade(self) -> PageRead<'p> {
        PageRead { guard: RwLockWriteGuard::downgrade(self.guard), _pin: Some(self.pin) }
    }

    pub(super) fn replace(&mut self, page: Page) {
        *self.guard = page;
    }

    /// The page could not be read: the frame holds nothing.
    pub(super) fn forget_page(self) {
        self.pin.0.set_page(PageId::NONE);
    }

    /// Marks the page dirty. To be called before the entry of the change is appended, so that no
    /// checkpoint misses it. In a store that has failed no entry will follow.
    pub fn begin_change(&self) {
        let frame = self.pin.0;
        if !frame.is_dirty() && !self.pool.log.has_failed() {
            self.pool.set_rec_lsn(frame, self.pool.log.end().0);
        }
    }

    /// The page is in its place as it is here, or will be with the next sync of the data file,
    /// before which nothing may rely on it.
    pub(super) fn end_redo(&self) {
        self.pool.set_rec_lsn(self.pin.0, 0);
    }

    /// Marks the page dirty since an entry that is being redone.
    pub fn begin_redo(&self, lsn: crate::types::Lsn) {
        let frame = self.pin.0;
        if !frame.is_dirty() {
            self.pool.set_rec_lsn(frame, lsn.0);
        }
    }

    /// A part of a log entry that changes this page.
    pub fn part<'c>(&self, change: Change<'c>) -> Part<'c> {
        let frame_page = self.pin.0.page();
        Part { page: frame_page, previous: self.guard.lsn(), change }
    }

    /// Takes over a page, of the same size, whose image has been appended; `page` is left with
    /// what was here.
    pub fn take_image(&mut self, page: &mut Page, mark: EntryMark) {
        trip("apply");
        page.note_image(mark);
        page.set_incarnation(self.pool.incarnation);
        std::mem::swap(&mut *self.guard, page);
    }

    /// Applies a change whose entry has been appended.
    pub fn apply(&mut self, change: &Change<'_>, mark: EntryMark) -> Result<()> {
        let incarnation = self.pool.incarnation;
        trip("apply");
        self.guard.apply(change, mark)?;
        self.guard.set_incarnation(incarnation);
        Ok(())
    }
}

impl Deref for PageRead<'_> {
    type Target = Page;
    fn deref(&self) -> &Page {
        &self.guard
    }
}
impl Deref for PageWrite<'_> {
    type Target = Page;
    fn deref(&self) -> &Page {
        &self.guard
    }
}
impl DerefMut for PageWrite<'_> {
    fn deref_mut(&mut self) -> &mut Page {
        &mut self.guard
    }
}
