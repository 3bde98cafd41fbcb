//! Pages being written to their places, neighbours together.
//!
//! The first full stretch of them begins a thread, so that the next pages are looked at while those
//! before are copied; it syncs every now and then, so that the medium does not begin only at the end.
//! A short file takes no thread. Not past the system's cache: the recovery and the check that follow
//! read all of it again, the check twice.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};

use crate::disk::{Disk, File, OpenMode};
use crate::error::{Error, Result};
use crate::page::Page;
use crate::recovery::DATA_PATH;
use crate::types::PageId;

/// Bytes of pages that are written together.
const CHUNK: usize = 1 << 20;
/// Bytes written between two syncs.
const SYNC_BYTES: u64 = 32 << 20;
/// Stretches that wait to be written.
const WAITING: usize = 4;

/// Neighbouring pages, and where they begin in the file.
#[derive(Default)]
struct Run {
    pages: Vec<u8>,
    at: u64,
}

impl Run {
    /// Empties it, for pages from `at` on.
    fn begin(&mut self, at: u64) -> Result<()> {
        self.pages.clear();
        crate::memory::reserve(&mut self.pages, CHUNK, "restore a backup")?;
        self.at = at;
        Ok(())
    }

    fn write_to(&self, file: &dyn File) -> Result<()> {
        file.write_at(&self.pages, self.at)
    }
}

/// The thread that writes, which is waited for wherever this goes.
struct Behind {
    give: Option<SyncSender<Run>>,
    /// Stretches to be filled again.
    spare: Receiver<Run>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Behind {
    /// `None` where there is no thread to be had.
    fn begin(file: &Arc<dyn File>) -> Option<Behind> {
        let (give, waiting) = sync_channel(WAITING);
        let (emptied, spare) = channel();
        let file = Arc::clone(file);
        let work = move || write_each(&*file, &waiting, &emptied);
        let thread = Builder::new().name("holdfast-backup-place".to_owned()).spawn(work).ok()?;
        Some(Behind { give: Some(give), spare, thread: Some(thread) })
    }

    /// Gives `run` away for one that may be filled. The error is of an earlier one.
    fn give(&mut self, run: Run) -> Result<Run> {
        if self.give.as_ref().is_some_and(|give| give.send(run).is_ok()) {
            return Ok(self.spare.try_recv().unwrap_or_default());
        }
        self.end()?;
        Err(Error::internal("the thread that writes pages ended early"))
    }

    /// Waits until everything is written.
    fn end(&mut self) -> Result<()> {
        self.give = None;
        let ended = self.thread.take().map(JoinHandle::join);
        ended
            .unwrap_or(Ok(Ok(())))
            .map_err(|_| Error::internal("the thread that writes pages panicked"))?
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        // Whoever drops it has an error of its own to tell.
        let _ = self.end();
    }
}

fn write_each(file: &dyn File, waiting: &Receiver<Run>, emptied: &Sender<Run>) -> Result<()> {
    let mut unsynced = 0;
    while let Ok(run) = waiting.recv() {
        run.write_to(file)?;
        unsynced += run.pages.len() as u64;
        if unsynced >= SYNC_BYTES {
            file.sync()?;
            unsynced = 0;
        }
        // Nobody may want it any longer.
        let _ = emptied.send(run);
    }
    Ok(())
}

/// Writes pages to their places in the data file of a disk. Dropped before its end it leaves no
/// thread behind.
pub(crate) struct PageWriter {
    file: Option<Arc<dyn File>>,
    behind: Option<Behind>,
    run: Run,
    next: PageId,
    size: usize,
}

impl PageWriter {
    /// For a file of `bytes` bytes; without `target` nothing is written.
    pub fn open(target: Option<&dyn Disk>, size: usize, bytes: u64) -> Result<PageWriter> {
        let file = match target {
            Some(target) => {
                let file = target.open(DATA_PATH, OpenMode::Create)?;
                file.allocate(bytes)?;
                Some(file)
            }
            None => None,
        };
        Ok(PageWriter { file, behind: None, run: Run::default(), next: PageId::NONE, size })
    }

    /// Errors are of this or of an earlier page.
    pub fn put(&mut self, id: PageId, page: &Page) -> Result<()> {
        if self.file.is_none() {
            return Ok(());
        }
        let is_full = self.run.pages.len() + self.size > CHUNK;
        if id != self.next || is_full {
            self.write(is_full)?;
            self.run.begin(u64::from(id.0) * self.size as u64)?;
        }
        self.run.pages.extend_from_slice(page.bytes());
        self.next = PageId(id.0 + 1);
        Ok(())
    }

    /// Writes the stretch that ends here, on the thread where there is one, or where it `is_long`.
    fn write(&mut self, is_long: bool) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        if self.run.pages.is_empty() {
            return Ok(());
        }
        if is_long && self.behind.is_none() {
            self.behind = Behind::begin(file);
        }
        match &mut self.behind {
            Some(behind) => self.run = behind.give(std::mem::take(&mut self.run))?,
            None => self.run.write_to(&**file)?,
        }
        Ok(())
    }

    /// Returns once everything is on the medium.
    pub fn finish(mut self) -> Result<()> {
        self.write(false)?;
        if let Some(behind) = &mut self.behind {
            behind.end()?;
        }
        self.file.as_ref().map_or(Ok(()), |file| file.sync())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::disk::faults::{Call, Failure, Fault, FaultDisk};
    use crate::disk::memory::MemoryDisk;
    use crate::error::Code;

    const SIZE: usize = 8192;

    fn page(id: u32) -> Page {
        let mut page = Page::zeroed(SIZE);
        page.bytes_mut().fill((id as u8).wrapping_add(1));
        page
    }

    fn put_all(disk: &dyn Disk, ids: &[u32]) -> Result<()> {
        let bytes = ids.iter().max().map_or(0, |last| (u64::from(*last) + 1) * SIZE as u64);
        let mut writer = PageWriter::open(Some(disk), SIZE, bytes)?;
        for id in ids {
            writer.put(PageId(*id), &page(*id))?;
        }
        writer.finish()
    }

    #[test]
    fn pages_come_to_their_places_with_gaps_and_over_many_stretches() {
        for ids in
            [vec![], vec![0], vec![3, 4, 9], (0..1000).collect(), (5..400).chain(700..900).collect()]
        {
            let disk = MemoryDisk::new(1);
            put_all(&*disk, &ids).unwrap();
            let file = disk.open(DATA_PATH, OpenMode::Read).unwrap();
            let mut found = vec![0; SIZE];
            for id in 0..ids.iter().max().map_or(0, |last| last + 1) {
                assert_eq!(file.read_at(&mut found, u64::from(id) * SIZE as u64).unwrap(), SIZE);
                let expected = if ids.contains(&id) { page(id) } else { Page::zeroed(SIZE) };
                assert!(found == expected.bytes(), "page {id}");
            }
        }
    }

    #[test]
    fn a_medium_that_fails_under_the_thread_is_told_and_nothing_waits_for_it() {
        for nth in [1, 2, 5] {
            let disk = FaultDisk::over_memory(MemoryDisk::new(2));
            disk.fail(Fault { call: Some(Call::Write), nth, for_good: true, failure: Failure::Full });
            let error = put_all(&*disk, &(0..2000).collect::<Vec<_>>()).unwrap_err();
            assert_eq!(error.code, Code::DiskFull, "write {nth}: {error}");
        }
    }

    #[test]
    fn what_is_given_up_leaves_no_thread_behind() {
        let disk = MemoryDisk::new(3);
        let mut writer = PageWriter::open(Some(&*disk), SIZE, 0).unwrap();
        let file = Arc::downgrade(writer.file.as_ref().unwrap());
        for id in 0..1000 {
            writer.put(PageId(id), &page(id)).unwrap();
        }
        drop(writer);
        assert!(file.upgrade().is_none());
    }
}
