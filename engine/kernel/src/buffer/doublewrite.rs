//! The double-write file: every page goes here, synced, before it goes to its place.
//!
//! A page torn in its place is whole here, or the copy here is torn and its place untouched.
//! Slot `i` holds one sealed page at byte `i * page size`; each page proves itself by its own
//! checksum, so the file needs no header that could itself be torn.

use std::sync::Arc;

use crate::disk::{Disk, File, OpenMode};
use crate::error::{Code, Error, Result};
use crate::page::Page;
use crate::types::{Incarnation, Lsn, PageId};

pub const PATH: &str = "doublewrite";
/// The most pages in one batch.
pub const SLOTS: usize = 64;

pub struct DoubleWrite {
    /// None where nothing is ever written.
    file: Option<Arc<dyn File>>,
    page_size: usize,
    buffer: Vec<u8>,
    is_off: bool,
}

impl DoubleWrite {
    pub fn open(disk: &dyn Disk, page_size: usize) -> Result<DoubleWrite> {
        let file = disk.open(PATH, OpenMode::Create)?;
        file.allocate((SLOTS * page_size) as u64)?;
        file.sync()?;
        let buffer = Vec::with_capacity(SLOTS * page_size);
        // Where no page can be torn, a copy of it would be of no use.
        Ok(DoubleWrite { file: Some(file), page_size, buffer, is_off: disk.is_atomic() })
    }

    /// Stands in where nothing is ever written.
    pub fn absent(page_size: usize) -> DoubleWrite {
        DoubleWrite { file: None, page_size, buffer: Vec::new(), is_off: false }
    }

    /// Opens the file of a database that is only looked at: `copies` is all that may be asked.
    pub fn look(disk: &dyn Disk, page_size: usize) -> Result<DoubleWrite> {
        let file = Some(disk.open(PATH, OpenMode::Read)?);
        Ok(DoubleWrite { file, page_size, buffer: Vec::new(), is_off: true })
    }

    fn file(&self) -> Result<&Arc<dyn File>> {
        self.file.as_ref().ok_or_else(|| Error::new(Code::ReadOnlyDatabase))
    }

    /// Leaves the copies out; for campaigns that must then fail, and for nothing else.
    pub fn switch_off(&mut self) {
        self.is_off = true;
    }

    /// Writes and syncs the copies of one batch; returns once they are on the medium.
    pub fn write(&mut self, pages: &[Page]) -> Result<()> {
        if self.is_off {
            return Ok(());
        }
        self.buffer.clear();
        pages.iter().for_each(|page| self.buffer.extend_from_slice(page.bytes()));
        self.file()?.write_at(&self.buffer, 0)?;
        self.file()?.sync()
    }

    /// The whole copies that belong to this history: their page LSN lies within `from..=end`.
    /// Of several copies of a page the newest comes last.
    pub fn copies(&self, from: Lsn, end: Lsn, newest: Incarnation) -> Result<Vec<(PageId, Page)>> {
        let mut found = Vec::new();
        let file = self.file()?;
        for slot in 0..SLOTS {
            let mut page = Page::zeroed(self.page_size);
            let read = file.read_at(page.bytes_mut(), (slot * self.page_size) as u64)?;
            if read < self.page_size || page.bytes().iter().all(|&b| b == 0) {
                continue;
            }
            let id = page.id();
            let belongs = page.lsn() >= from && page.incarnation() <= newest;
            if page.validate(id, end).is_ok() && belongs {
                found.push((id, page));
            }
        }
        found.sort_by_key(|(id, page)| (*id, page.lsn()));
        Ok(found)
    }

    /// Empties the file: after a clean shutdown it holds nothing that could be needed.
    pub fn clear(&mut self) -> Result<()> {
        self.buffer.clear();
        self.buffer.resize(SLOTS * self.page_size, 0);
        self.file()?.write_at(&self.buffer, 0)?;
        self.file()?.sync()
    }
}
