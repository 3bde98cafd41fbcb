//! Where a page was last seen: a guess that spares most look-ups in the page table.
//!
//! A hint may be wrong at any time. Whoever follows one pins the frame it names and then looks at
//! what that frame holds; see `Pool::pin_hinted`.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::Result;
use crate::memory;
use crate::types::PageId;

pub(super) struct Hints {
    /// By the low bits of the page number: neighbours share cache lines, and pages of a database
    /// that fits the cache have a place each.
    frames: Vec<AtomicU32>,
    mask: usize,
}

impl Hints {
    /// Hints for a pool of so many frames.
    pub(super) fn new(frames: usize) -> Result<Hints> {
        let places = frames.next_power_of_two() * 2;
        let frames = (0..places).map(|_| AtomicU32::new(0));
        let frames = memory::gathered(frames, "make a cache as large as cache_size says")?;
        Ok(Hints { frames, mask: places - 1 })
    }

    /// The frame that may hold the page.
    pub(super) fn of(&self, page: PageId) -> usize {
        self.frames[page.0 as usize & self.mask].load(Ordering::Relaxed) as usize
    }

    pub(super) fn set(&self, page: PageId, frame: usize) {
        self.frames[page.0 as usize & self.mask].store(frame as u32, Ordering::Relaxed);
    }
}
