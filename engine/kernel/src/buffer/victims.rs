//! Frames for pages that come: unused ones first, then those whose page was not used of late.

use std::time::Duration;

use super::{Pool, RESERVE};
use crate::error::{Code, Error, Result};
use crate::sync::Ordering;

impl Pool {
    /// An unmapped frame, pinned once, for the caller alone.
    pub(super) fn take_victim(&self) -> Result<usize> {
        let count = self.usable_frames();
        if self.unused.load(Ordering::Relaxed) < count {
            let index = self.unused.fetch_add(1, Ordering::Relaxed);
            if index < count && self.frames[index].claim_empty() {
                return Ok(index);
            }
        }
        for attempt in 0..2000u64 {
            for _ in 0..2 * count {
                let index = self.hand.fetch_add(1, Ordering::Relaxed) % count;
                if self.evict(index) {
                    return Ok(index);
                }
            }
            match self.write_out_cold() {
                Ok(0) => crate::sync::sleep(Duration::from_micros(50 * attempt.min(20))),
                Ok(_) => {}
                Err(error) => match self.take_reserve() {
                    Some(index) => return Ok(index),
                    None if attempt == 1999 || !self.log.has_failed() => return Err(error),
                    // Other readers have them all for the moment.
                    None => crate::sync::sleep(Duration::from_micros(50 * attempt.min(20))),
                },
            }
        }
        Err(Error::new(Code::CacheExhausted).with("frames", count))
    }

    /// One of the frames for reading a store that has failed.
    fn take_reserve(&self) -> Option<usize> {
        let reserve = self.frames.len() - RESERVE..self.frames.len();
        let has_failed = self.log.has_failed();
        reserve.clone().chain(reserve).filter(|_| has_failed).find(|index| self.evict(*index))
    }

    fn evict(&self, index: usize) -> bool {
        let frame = &self.frames[index];
        if frame.is_pinned() || frame.is_dirty() || frame.forget_use() {
            return false;
        }
        let page = frame.page();
        if page.is_none() {
            return frame.claim_empty();
        }
        let mut table = self.shard(page).lock();
        if table.get(&page) != Some(&index) {
            return false;
        }
        let Some(alone) = frame.claim_clean() else { return false };
        table.remove(&page);
        frame.take_page(alone);
        self.counters.evictions.fetch_add(1, Ordering::Relaxed);
        true
    }
}
