//! A place in memory for one page, and who may use it.
//!
//! Pins keep a frame's page in it. They are taken under the shard of the page table that maps the
//! page, or through a hint, without it. So a frame is claimed from its page in two steps: its pins
//! go from none to the claimer's, marked [`CLAIMED`], in one; whoever pins from then on sees the
//! mark and lets go, and whoever came before keeps the claim from succeeding.
//!
//! A reader that goes by a hint takes no pin at all: the latch, held shared, keeps the page in the
//! frame as well, for a page is only ever taken from a frame, or put into it, by who has the latch
//! alone. That spares half of the writes to memory that other processors share.

use crate::page::Page;
use crate::sync::{
    AtomicBool, AtomicU32, AtomicU64, Ordering, RwLock, RwLockReadGuard, RwLockWriteGuard, race_point,
};
use crate::types::PageId;

/// In a frame's pins: it may be about to lose its page, and only its claimer's pin counts.
const CLAIMED: u32 = 1 << 31;

/// A place for one page. A cache line each: whoever looks for a page touches one of them.
#[repr(align(64))]
pub(crate) struct Frame {
    pub(crate) latch: RwLock<Page>,
    pins: AtomicU32,
    /// The page it holds; `PageId::NONE` where it holds none. Changes under the write latch.
    page: AtomicU32,
    referenced: AtomicBool,
    /// Lower bound of the first change not yet in the data file; 0 where there is none.
    rec_lsn: AtomicU64,
}

impl Frame {
    pub(super) fn new() -> Frame {
        Frame {
            latch: RwLock::new(Page::zeroed(0)),
            pins: AtomicU32::new(0),
            page: AtomicU32::new(PageId::NONE.0),
            referenced: AtomicBool::new(false),
            rec_lsn: AtomicU64::new(0),
        }
    }

    pub(super) fn page(&self) -> PageId {
        PageId(self.page.load(Ordering::Acquire))
    }
    pub(super) fn set_page(&self, page: PageId) {
        self.page.store(page.0, Ordering::Release);
    }

    /// 0 where the data file lacks nothing.
    pub(super) fn rec_lsn(&self) -> u64 {
        self.rec_lsn.load(Ordering::Acquire)
    }
    pub(super) fn is_dirty(&self) -> bool {
        self.rec_lsn() != 0
    }
    /// Returns what it was.
    pub(super) fn swap_rec_lsn(&self, rec_lsn: u64) -> u64 {
        self.rec_lsn.swap(rec_lsn, Ordering::AcqRel)
    }

    pub(super) fn is_pinned(&self) -> bool {
        self.pins.load(Ordering::Acquire) != 0
    }
    /// Under the shard of the page table that maps its page.
    pub(super) fn pin(&self) {
        self.pins.fetch_add(1, Ordering::AcqRel);
        self.note_use();
    }
    pub(super) fn unpin(&self) {
        self.pins.fetch_sub(1, Ordering::AcqRel);
    }

    /// Pins the frame if it holds this page, without the page table. True where it does: it then
    /// keeps the page for as long as it is pinned.
    pub(super) fn pin_where_it_holds(&self, page: PageId) -> bool {
        if self.page() != page {
            return false;
        }
        race_point();
        let before = self.pins.fetch_add(1, Ordering::AcqRel);
        let holds = before & CLAIMED == 0 && self.page() == page;
        if holds {
            self.note_use();
        } else {
            self.unpin();
        }
        holds
    }

    /// The frame latched for reading, without a pin, if it holds this page and nobody changes it.
    /// It then keeps the page for as long as it is latched.
    pub(super) fn latch_where_it_holds(&self, page: PageId) -> Option<RwLockReadGuard<'_, Page>> {
        if self.page() != page {
            return None;
        }
        race_point();
        let guard = self.latch.try_read()?;
        (self.page() == page).then(|| {
            self.note_use();
            guard
        })
    }

    pub(super) fn note_use(&self) {
        if !self.referenced.load(Ordering::Relaxed) {
            self.referenced.store(true, Ordering::Relaxed);
        }
    }
    /// True where it was used since it was last asked.
    pub(super) fn forget_use(&self) -> bool {
        self.referenced.swap(false, Ordering::Relaxed)
    }

    fn move_pins(&self, to: u32) -> bool {
        self.pins.compare_exchange(0, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Pins a frame that holds nothing. Only who has it pinned maps a page to it, so what holds
    /// after the pin stays so; before, another thread may have come, mapped a page, and gone.
    pub(super) fn claim_empty(&self) -> bool {
        if !self.move_pins(1) {
            return false;
        }
        let is_empty = self.page().is_none();
        if !is_empty {
            self.unpin();
        }
        is_empty
    }

    /// Pins and latches a frame for who is to take its page from it; `None` where it is pinned,
    /// latched or has changes. Under the shard that maps its page, where latches are only tried. To
    /// be followed by [`Frame::take_page`].
    pub(super) fn claim_clean(&self) -> Option<RwLockWriteGuard<'_, Page>> {
        let latch = self.latch.try_write()?;
        if !self.move_pins(CLAIMED | 1) {
            return None;
        }
        race_point();
        // Asked under the claim: whoever had the page before may have changed it up to then.
        let is_clean = !self.is_dirty();
        if !is_clean {
            self.pins.fetch_and(!CLAIMED, Ordering::AcqRel);
            self.unpin();
        }
        is_clean.then_some(latch)
    }

    /// Empties a claimed frame, which stays pinned, and lets go of its latch.
    pub(super) fn take_page(&self, _alone: RwLockWriteGuard<'_, Page>) {
        self.set_page(PageId::NONE);
        self.pins.fetch_and(!CLAIMED, Ordering::AcqRel);
    }
}
