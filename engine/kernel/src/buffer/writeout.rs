//! Writing dirty pages out: the log first, then a double-write copy, then the page's place.

use crate::sync::Ordering;

use super::doublewrite::SLOTS;
use super::{Frame, Pool};
use crate::disk::AlignedBuffer;
use crate::error::Result;
use crate::memory;
use crate::page::Page;
use crate::types::{Lsn, PageId};

/// Pages that are told of at once before they are overwritten.
const TOLD: usize = 16 * SLOTS;
/// Bytes of one batch of a checkpoint: large, for each one waits for three syncs.
const BATCH_BYTES: usize = 2 << 20;
/// Neighbours of so many bytes go past the system's cache; fewer would wait for the device one by one.
const DIRECT_BYTES: usize = 256 << 10;
/// Frames in a hundred that may be dirty before they are written out: where frames are still unused,
/// and where pages have to give way to others, for whoever brings one shall find a clean frame.
const MOST_DIRTY: usize = 90;
const MOST_DIRTY_IF_FULL: usize = 40;

/// Neighbours go out together. Each frame is asked once: one that somebody else has written out may
/// get another page meanwhile, and a sort that is told now this, now that may panic.
fn by_page<'f>(frames: impl Iterator<Item = &'f Frame>) -> Result<Vec<(PageId, &'f Frame)>> {
    let mut frames = memory::gathered(frames.map(|frame| (frame.page(), frame)), "write out pages")?;
    frames.sort_unstable_by_key(|(page, _)| *page);
    Ok(frames)
}

impl Pool {
    /// Writes out a batch of dirty pages, those first that have not been used of late; returns how
    /// many.
    pub fn write_out_cold(&self) -> Result<usize> {
        self.write_out(&self.cold_frames())
    }

    /// Writes out until few enough of the frames that may be used are dirty, so that whoever needs
    /// one finds it clean; `keep_on` is asked between batches.
    pub fn keep_clean(&self, keep_on: impl Fn() -> bool) -> Result<()> {
        while keep_on() && self.has_too_many_dirty() && self.write_out_cold()? > 0 {}
        Ok(())
    }

    /// Pages that need not give way to others are left to the checkpoint: written out now, they would
    /// be dirty again before it comes.
    fn has_too_many_dirty(&self) -> bool {
        let most = if self.has_unused_frames() { MOST_DIRTY } else { MOST_DIRTY_IF_FULL };
        self.dirty_count() * 100 >= self.usable_frames() * most
    }

    /// True where no page has had to give way to another so far.
    fn has_unused_frames(&self) -> bool {
        self.unused.load(Ordering::Relaxed) < self.usable_frames()
    }

    /// Dirty frames just ahead of the hand, which comes to them next. One that was used since it
    /// was last looked at is taken only where there are too few others: written out, it would soon
    /// be dirty again.
    fn cold_frames(&self) -> Vec<&Frame> {
        let start = self.hand.load(Ordering::Relaxed) % self.usable_frames();
        let (from_start, before) = (&self.frames[start..], &self.frames[..start]);
        let (mut cold, mut warm) = (Vec::with_capacity(SLOTS), Vec::with_capacity(SLOTS));
        for frame in from_start.iter().chain(before).filter(|f| f.is_dirty() && !f.is_pinned()) {
            if !frame.forget_use() {
                cold.push(frame);
            } else if warm.len() < SLOTS {
                warm.push(frame);
            }
            if cold.len() == SLOTS {
                break;
            }
        }
        let wanted = SLOTS - cold.len();
        cold.extend(warm.into_iter().take(wanted));
        cold
    }

    /// Writes out every page whose first missing change is older than `lsn`; returns how many.
    ///
    /// Pages that are latched for change are passed over and tried again; a page that stays
    /// latched is left to the next call. `keep_on` is asked between batches.
    pub fn write_out_older(&self, lsn: Lsn, mut keep_on: impl FnMut() -> bool) -> Result<usize> {
        let mut written = 0;
        let mut idle_rounds = 0;
        loop {
            let is_old = |frame: &&Frame| (1..lsn.0).contains(&frame.rec_lsn());
            let old = by_page(self.frames.iter().filter(is_old))?;
            if old.is_empty() || !keep_on() {
                return Ok(written);
            }
            let round = self.write_out_all_of(&old, &mut keep_on)?;
            written += round;
            if !keep_on() {
                return Ok(written);
            }
            idle_rounds = if round == 0 { idle_rounds + 1 } else { 0 };
            if idle_rounds > 200 {
                return Ok(written);
            }
            if round == 0 {
                crate::sync::sleep(std::time::Duration::from_micros(100));
            }
        }
    }

    /// Writes these out, which are in the order of their pages, in large batches where there are many.
    fn write_out_all_of(
        &self,
        frames: &[(PageId, &Frame)],
        keep_on: &mut impl FnMut() -> bool,
    ) -> Result<usize> {
        let slots = match frames.len() {
            ..=SLOTS => SLOTS,
            _ => self.writer.lock().reserve(BATCH_BYTES / self.page_size)?,
        };
        let mut written = 0;
        for told in frames.chunks(TOLD.next_multiple_of(slots)) {
            self.tell_ahead(told.iter().map(|(_, frame)| *frame));
            for batch in told.chunks(slots) {
                let batch: Vec<&Frame> = batch.iter().map(|(_, frame)| *frame).collect();
                written += self.write_out(&batch)?;
                if !keep_on() {
                    return Ok(written);
                }
            }
        }
        Ok(written)
    }

    /// One batch, as many frames as the double-write file has slots at most. Any failure stops the
    /// store: what the medium holds is then unknown until a recovery has looked.
    fn write_out(&self, picks: &[&Frame]) -> Result<usize> {
        let picks = by_page(picks.iter().copied())?;
        let mut doublewrite = self.writer.lock();
        let batch = self.copy_dirty(&picks, doublewrite.begin_batch(picks.len())?);
        // Asked after the copies were made: one of them may be what a panic left half changed.
        if let Some(error) = self.log.failed() {
            return Err(error);
        }
        if batch.is_empty() {
            return Ok(0);
        }
        let newest = batch.iter().map(|(_, _, lsn)| *lsn).max().unwrap_or(Lsn::NONE);
        self.log.flush_to(newest)?;
        doublewrite.batch().chunks_exact_mut(self.page_size).for_each(Page::seal_bytes);
        self.tell_ahead(batch.iter().map(|(frame, ..)| *frame));
        let written =
            doublewrite.write().and_then(|()| self.write_in_place(&batch, doublewrite.batch()));
        if let Err(error) = written {
            self.log.fail(error.clone());
            return Err(error);
        }
        for (frame, _, lsn) in &batch {
            self.settle(frame, *lsn);
        }
        self.counters.pages_written.fetch_add(batch.len() as u64, Ordering::Relaxed);
        self.counters.batches.fetch_add(1, Ordering::Relaxed);
        self.tell_written(batch.iter().map(|(_, id, lsn)| (*id, *lsn)))?;
        Ok(batch.len())
    }

    /// Copies the pages of those frames that can be read and are dirty into `copies`, under the
    /// writer's mutex: a dirty frame keeps its page there, so no pin is needed.
    fn copy_dirty<'f>(
        &self,
        picks: &[(PageId, &'f Frame)],
        copies: &mut AlignedBuffer,
    ) -> Vec<(&'f Frame, PageId, Lsn)> {
        let mut batch = Vec::with_capacity(picks.len());
        for (_, frame) in picks {
            let Some(page) = frame.latch.try_read() else { continue };
            if page.id() != frame.page() {
                // A fresh page whose entry could not be appended: nobody refers to it.
                self.set_rec_lsn(frame, 0);
            } else if frame.is_dirty() {
                copies.extend(page.bytes());
                batch.push((*frame, page.id(), page.lsn()));
            }
        }
        batch
    }

    /// Which pages are about to be overwritten.
    fn tell_ahead<'f>(&self, frames: impl Iterator<Item = &'f Frame>) {
        let size = self.page_size as u64;
        let ranges: Vec<(u64, u64)> =
            frames.map(|frame| (u64::from(frame.page().0) * size, size)).collect();
        self.file.will_write(&ranges);
    }

    /// Writes a batch from its copies, neighbours at once. While all pages fit the cache, nobody is
    /// going to read them from the file: the system need not keep them too.
    fn write_in_place(&self, batch: &[(&Frame, PageId, Lsn)], mut copies: &[u8]) -> Result<()> {
        for run in batch.chunk_by(|(_, a, _), (_, b, _)| b.0 == a.0 + 1) {
            let (now, later) = copies.split_at(run.len() * self.page_size);
            let place = u64::from(run[0].1.0) * self.page_size as u64;
            if now.len() >= DIRECT_BYTES && self.has_unused_frames() {
                self.file.write_past_cache(now, place)?;
            } else {
                self.file.write_at(now, place)?;
            }
            copies = later;
        }
        self.file.sync()
    }

    /// A page that changed since it was copied stays dirty, but only from the copy's LSN on.
    fn settle(&self, frame: &Frame, written: Lsn) {
        let Some(page) = frame.latch.try_read() else { return };
        let rec_lsn = if page.lsn() == written { 0 } else { written.0 };
        self.set_rec_lsn(frame, rec_lsn);
    }

    /// Writes out everything; for a clean shutdown, when no transaction is left.
    pub fn write_out_all(&self) -> Result<usize> {
        self.write_out_older(Lsn::MAX, || true)
    }

    /// Empties the double-write file.
    pub fn clear_doublewrite(&self) -> Result<()> {
        self.writer.lock().clear()
    }

    /// See [`super::DoubleWrite::switch_off`].
    pub fn switch_doublewrite_off(&self) {
        self.writer.lock().switch_off();
    }

    /// Reads the pages of the double-write file that recovery may use.
    pub fn doublewrite_copies(&self, from: Lsn, end: Lsn) -> Result<Vec<(PageId, Page)>> {
        self.writer.lock().copies(from, end, self.incarnation)
    }
}
