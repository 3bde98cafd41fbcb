//! The double-write file: every page goes here, synced, before it goes to its place.
//!
//! A page torn in its place is whole here, or the copy here is torn and its place untouched.
//! Slot `i` holds one sealed page at byte `i * page size`; each page proves itself by its own
//! checksum, so the file needs no header that could itself be torn.

use std::sync::Arc;

use crate::disk::{AlignedBuffer, Disk, File, OpenMode};
use crate::error::{Code, Error, Result};
use crate::page::Page;
use crate::types::{Incarnation, Lsn, PageId};

pub const PATH: &str = "doublewrite";
/// The most pages in one batch, unless room was made for more.
pub const SLOTS: usize = 64;
/// What an emptied file is filled with; a close takes no memory for it.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

pub struct DoubleWrite {
    /// None where nothing is ever written.
    file: Option<Arc<dyn File>>,
    page_size: usize,
    buffer: AlignedBuffer,
    /// The file has room for a batch of so many.
    slots: usize,
    is_off: bool,
}

impl DoubleWrite {
    pub fn open(disk: &dyn Disk, page_size: usize) -> Result<DoubleWrite> {
        let is_new = !disk.exists(PATH)?;
        let file = disk.open(PATH, OpenMode::Create)?;
        file.allocate((SLOTS * page_size) as u64)?;
        file.sync()?;
        if is_new {
            // Its name must outlast a crash before its first copy counts on it.
            disk.sync_dir("")?;
        }
        // Where no page can be torn, a copy of it would be of no use.
        Ok(DoubleWrite { is_off: disk.is_atomic(), ..DoubleWrite::of(Some(file), page_size) })
    }

    fn of(file: Option<Arc<dyn File>>, page_size: usize) -> DoubleWrite {
        DoubleWrite { file, page_size, buffer: AlignedBuffer::default(), slots: SLOTS, is_off: false }
    }

    /// Stands in where nothing is ever written.
    pub fn absent(page_size: usize) -> DoubleWrite {
        DoubleWrite::of(None, page_size)
    }

    /// Opens the file of a database that is only looked at: `copies` is all that may be asked.
    pub fn look(disk: &dyn Disk, page_size: usize) -> Result<DoubleWrite> {
        let file = Some(disk.open(PATH, OpenMode::Read)?);
        Ok(DoubleWrite { is_off: true, ..DoubleWrite::of(file, page_size) })
    }

    fn file(&self) -> Result<&Arc<dyn File>> {
        self.file.as_ref().ok_or_else(|| Error::new(Code::ReadOnlyDatabase))
    }

    /// Leaves the copies out; for campaigns that must then fail, and for nothing else.
    pub fn switch_off(&mut self) {
        self.is_off = true;
    }

    /// The pages of one batch, one after the other: emptied for whoever fills it, with at most
    /// `pages` of them. Memory beyond [`SLOTS`] pages is held only where batches are that large.
    pub fn begin_batch(&mut self, pages: usize) -> Result<&mut AlignedBuffer> {
        self.buffer.begin(pages * self.page_size, SLOTS * self.page_size)?;
        Ok(&mut self.buffer)
    }

    /// The batch as it stands.
    pub fn batch(&mut self) -> &mut [u8] {
        self.buffer.bytes_mut()
    }

    /// How many pages a batch may have.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Writes and syncs the copies of the batch; returns once they are on the medium.
    pub fn write(&mut self) -> Result<()> {
        if self.is_off {
            return Ok(());
        }
        // Read by nobody but a recovery.
        self.file()?.write_past_cache(self.buffer.bytes(), 0)?;
        self.file()?.sync()
    }

    /// As [`DoubleWrite::write`], for as many pages as [`DoubleWrite::reserve`] made room for.
    pub fn write_many<'p>(&mut self, pages: impl Iterator<Item = &'p [u8]>) -> Result<()> {
        if self.is_off {
            return Ok(());
        }
        let mut at = 0;
        self.begin_batch(SLOTS)?;
        for page in pages {
            self.buffer.extend(page);
            let held = self.buffer.bytes().len();
            if held >= SLOTS * self.page_size {
                self.file()?.write_past_cache(self.buffer.bytes(), at)?;
                at += held as u64;
                self.begin_batch(SLOTS)?;
            }
        }
        self.file()?.write_past_cache(self.buffer.bytes(), at)?;
        self.file()?.sync()
    }

    /// Makes room for a batch of `slots` pages where the disk has it; returns how many fit.
    pub fn reserve(&mut self, slots: usize) -> Result<usize> {
        let slots = slots.max(SLOTS);
        if !self.is_off {
            match self.file()?.allocate((slots * self.page_size) as u64) {
                Ok(()) => {}
                Err(error) if error.code == Code::DiskFull => return Ok(self.slots),
                Err(error) => return Err(error),
            }
        }
        self.slots = slots.max(self.slots);
        Ok(slots)
    }

    /// Gives back what [`DoubleWrite::reserve`] took; every page of the batch is in its place.
    pub fn give_back(&mut self) -> Result<()> {
        self.slots = SLOTS;
        if self.is_off {
            return Ok(());
        }
        let size = (SLOTS * self.page_size) as u64;
        if self.file()?.size()? > size { self.file()?.truncate(size) } else { Ok(()) }
    }

    /// Gives `each` the whole copies that belong to this history: their page LSN lies within
    /// `from..=end`. A page may have several, in no order; memory is one page.
    pub fn each_copy(
        &self,
        from: Lsn,
        end: Lsn,
        newest: Incarnation,
        mut each: impl FnMut(PageId, &Page) -> Result<()>,
    ) -> Result<()> {
        let mut page = Page::zeroed(self.page_size);
        // A recovery that was cut off may have left more slots than normal work uses.
        let file = self.file()?;
        for slot in 0..file.size()? / self.page_size as u64 {
            let read = file.read_at(page.bytes_mut(), slot * self.page_size as u64)?;
            if read < self.page_size || page.bytes().iter().all(|&b| b == 0) {
                continue;
            }
            let id = page.id();
            let belongs = page.lsn() >= from && page.incarnation() <= newest;
            if belongs && page.validate(id, end).is_ok() {
                each(id, &page)?;
            }
        }
        Ok(())
    }

    /// As [`DoubleWrite::each_copy`], collected. Of several copies of a page the newest comes last.
    pub fn copies(&self, from: Lsn, end: Lsn, newest: Incarnation) -> Result<Vec<(PageId, Page)>> {
        let mut found = Vec::new();
        self.each_copy(from, end, newest, |id, page| {
            found.push((id, page.clone()));
            Ok(())
        })?;
        found.sort_by_key(|(id, page)| (*id, page.lsn()));
        Ok(found)
    }

    /// Empties the file: after a clean shutdown it holds nothing that could be needed.
    pub fn clear(&mut self) -> Result<()> {
        self.begin_batch(0)?;
        let end = SLOTS * self.page_size;
        for at in (0..end).step_by(ZEROS.len()) {
            self.file()?.write_at(&ZEROS[..ZEROS.len().min(end - at)], at as u64)?;
        }
        self.give_back()?;
        self.file()?.sync()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::disk::memory::MemoryDisk;
    use crate::page::{Kind, Shape};
    use crate::types::TreeId;

    fn page(id: u32) -> Page {
        let shape = Shape {
            id: PageId(id),
            kind: Kind::Leaf,
            level: 0,
            tree: TreeId(1),
            right: PageId::NONE,
            low: &[],
            high: None,
        };
        let mut page = Page::format(4096, shape);
        page.set_lsn(Lsn(100));
        page.seal();
        page
    }

    #[test]
    fn a_large_batch_is_found_again_and_its_room_given_back() {
        let disk = MemoryDisk::new(1);
        let pages: Vec<Page> = (0..200).map(page).collect();
        let mut doublewrite = DoubleWrite::open(&*disk, 4096).unwrap();
        assert_eq!(doublewrite.reserve(200).unwrap(), 200);
        doublewrite.write_many(pages.iter().map(Page::bytes)).unwrap();
        let copies = |doublewrite: &DoubleWrite| {
            let found = doublewrite.copies(Lsn(64), Lsn(200), Incarnation(1)).unwrap();
            found.iter().map(|(id, _)| id.0).collect::<Vec<_>>()
        };
        let reopened = DoubleWrite::open(&*disk, 4096).unwrap();
        assert_eq!(copies(&reopened), (0..200).collect::<Vec<_>>());
        doublewrite.give_back().unwrap();
        assert_eq!(disk.open(PATH, OpenMode::Read).unwrap().size().unwrap(), (SLOTS * 4096) as u64);
        doublewrite.clear().unwrap();
        assert!(copies(&doublewrite).is_empty());
    }

    #[test]
    fn on_a_full_disk_a_batch_keeps_to_the_slots_there_are() {
        let disk = MemoryDisk::new(1);
        let mut doublewrite = DoubleWrite::open(&*disk, 4096).unwrap();
        disk.set_capacity(Some((SLOTS * 4096) as u64));
        assert_eq!(doublewrite.reserve(200).unwrap(), SLOTS);
    }
}
