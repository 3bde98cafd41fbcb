//! Writing out the pages that redo has brought up to date, in large runs.
//!
//! During redo nobody else is at work and the log that made the pages is kept until a checkpoint
//! after it. A page that was rebuilt from its full image in that log needs no double-write copy:
//! should it be torn, the next recovery rebuilds it from the same image without reading it. Any
//! other page goes through the double-write file, in batches larger than those of normal work.

use std::sync::atomic::Ordering;

use super::{PageWrite, Pool};
use crate::error::Result;
use crate::log::{NewEntry, Op};
use crate::memory;
use crate::types::{Lsn, PageId, TxnId};

/// Bytes written at a time where pages are neighbours.
const RUN_BYTES: usize = 1 << 20;
/// Bytes of one batch of double-write copies: what the file grows to in a recovery.
const BATCH_BYTES: usize = 16 << 20;
/// Pages that one entry of the log tells of.
const TOLD: usize = 4096;

/// What memory is asked for.
const OPERATION: &str = "write pages that were redone";

/// A page that redo holds for itself.
pub struct Redone<'p> {
    pub id: PageId,
    pub page: PageWrite<'p>,
    /// It began with its full image in the log that is being redone.
    pub is_rebuilt: bool,
}

impl Pool {
    /// Writes the pages to their places and lets them go. They are on the medium, and may be told
    /// of, after the next [`Pool::sync_redone`]. Any failure stops the store.
    pub fn write_redone(&self, pages: Vec<Redone<'_>>) -> Result<()> {
        self.write_all_redone(pages).inspect_err(|error| drop(self.log.fail(error.clone())))
    }

    fn write_all_redone(&self, mut pages: Vec<Redone<'_>>) -> Result<()> {
        let newest = pages.iter().map(|redone| redone.page.lsn()).max().unwrap_or(Lsn::NONE);
        self.log.flush_to(newest)?;
        // Those that need no copy first, each kind in the order of its pages.
        pages.sort_unstable_by_key(|redone| (!redone.is_rebuilt, redone.id));
        pages.iter_mut().for_each(|redone| redone.page.seal());
        let size = self.page_size as u64;
        let places = pages.iter().map(|redone| (u64::from(redone.id.0) * size, size));
        let mut places = memory::gathered(places, OPERATION)?;
        places.sort_unstable();
        self.file.will_write(&places);
        self.counters.pages_written.fetch_add(pages.len() as u64, Ordering::Relaxed);
        let (rebuilt, patched) = pages.split_at(pages.partition_point(|redone| redone.is_rebuilt));
        self.write_runs(rebuilt)?;
        if patched.is_empty() {
            return Ok(());
        }
        let mut doublewrite = self.writer.lock();
        let slots = doublewrite.reserve(patched.len().min(BATCH_BYTES / self.page_size))?;
        for batch in patched.chunks(slots) {
            doublewrite.write_many(batch.iter().map(|redone| redone.page.bytes()))?;
            self.write_runs(batch)?;
            // The slots are used again next: until then these copies are what proves the pages.
            self.file.sync()?;
        }
        Ok(())
    }

    fn write_runs(&self, pages: &[Redone<'_>]) -> Result<()> {
        let mut run = Vec::new();
        let bytes = RUN_BYTES.min(pages.len() * self.page_size);
        memory::reserve(&mut run, bytes, OPERATION)?;
        let most = (RUN_BYTES / self.page_size).max(1);
        for neighbours in pages.chunk_by(|a, b| b.id.0 == a.id.0 + 1) {
            for part in neighbours.chunks(most) {
                run.clear();
                part.iter().for_each(|redone| run.extend_from_slice(redone.page.bytes()));
                self.file.write_at(&run, u64::from(part[0].id.0) * self.page_size as u64)?;
            }
        }
        pages.iter().for_each(|redone| redone.page.end_redo());
        Ok(())
    }

    /// Forgets what redo did to a page.
    pub fn discard_redone(&self, redone: Redone<'_>) {
        self.shard(redone.id).lock().remove(&redone.id);
        redone.page.end_redo();
        redone.page.forget_page();
    }

    /// Brings what was written to its place so far to the medium.
    pub fn sync_redone(&self) -> Result<()> {
        self.file.sync().inspect_err(|error| drop(self.log.fail(error.clone())))
    }

    /// Ends redo: all of `pages` are in their places and synced, with these page LSNs.
    pub fn end_redo(&self, pages: &[(PageId, Lsn)]) -> Result<()> {
        self.sync_redone()?;
        self.writer.lock().give_back()?;
        for told in pages.chunks(TOLD) {
            self.tell_written(told.iter().copied())?;
        }
        Ok(())
    }

    /// Tells the log which pages were written at which LSN: analysis need not redo them from
    /// further back, and a write that was lost can be found.
    pub(super) fn tell_written(&self, pages: impl Iterator<Item = (PageId, Lsn)>) -> Result<()> {
        let mut body = Vec::with_capacity(12 * pages.size_hint().0);
        for (page, lsn) in pages {
            body.extend_from_slice(&page.0.to_le_bytes());
            body.extend_from_slice(&lsn.0.to_le_bytes());
        }
        let body = [body.as_slice()];
        let entry = NewEntry::new(TxnId::SYSTEM, Op::PagesWritten, Lsn::NONE, &body);
        // The pages are written; on a full disk, undo must be able to write out more of them.
        self.log.append_if_room(&entry).map(|_| ())
    }
}
