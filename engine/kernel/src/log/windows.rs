//! Reads a stretch of the log again that was validated before: all of it, in large windows, or
//! only the entries at given positions.
//!
//! Redo may need the same stretch several times. Each entry's checksum was verified when the log
//! was validated, so a reader gives entries with their framing checked only; whoever uses one
//! verifies it with [`Window::entry`]. Bytes are read straight into the window, once.

use super::record::{self, CRC_BYTES, EntryHeader, Flaw, HEADER_BYTES};
use super::segments::{self, Extent};
use crate::disk::{Disk, File, OpenMode};
use crate::error::{Error, Result};
use crate::sync::Arc;
use crate::types::{DatabaseId, Lsn};

/// Bytes of a window; more only for an entry that is longer.
pub const WINDOW: usize = 512 << 10;

/// Entries of the log, one after the other.
#[derive(Default)]
pub struct Window {
    start: Lsn,
    bytes: Vec<u8>,
    /// Bytes of the log in it.
    have: usize,
}

impl Window {
    /// The header and the body of the entry at `lsn`; verified.
    pub fn entry(&self, lsn: Lsn) -> Result<(EntryHeader, &[u8])> {
        let header = self.frame(lsn).map_err(|flaw| changed(lsn, flaw.name()))?;
        let offset = (lsn.0 - self.start.0) as usize;
        let entry = &self.bytes[offset..offset + header.len as usize];
        if !record::is_whole(entry) {
            return Err(changed(lsn, Flaw::BadChecksum.name()));
        }
        Ok((header, &entry[HEADER_BYTES..entry.len() - CRC_BYTES]))
    }

    fn frame(&self, lsn: Lsn) -> std::result::Result<EntryHeader, Flaw> {
        record::frame(self.from(lsn), lsn)
    }

    /// What there is from `lsn` on.
    fn from(&self, lsn: Lsn) -> &[u8] {
        let offset = lsn.0.checked_sub(self.start.0).and_then(|offset| usize::try_from(offset).ok());
        offset.and_then(|offset| self.bytes[..self.have].get(offset..)).unwrap_or_default()
    }

    /// Makes room for `bytes` bytes, and gives back what a long entry once needed.
    fn make_room(&mut self, bytes: usize) -> Result<()> {
        if self.bytes.len() < bytes {
            crate::memory::resize(&mut self.bytes, bytes, "read the log")?;
        } else if self.bytes.len() > bytes + 4 * WINDOW {
            self.bytes.truncate(bytes);
            crate::memory::shrink(&mut self.bytes, bytes);
        }
        Ok(())
    }
}

/// What was a valid entry a moment ago is none any more.
fn changed(lsn: Lsn, flaw: &'static str) -> Error {
    segments::corrupted(lsn, "an entry that was valid before cannot be read again").with("flaw", flaw)
}

/// The bytes of the log up to an end.
#[derive(Clone)]
pub struct Stretch {
    disk: Arc<dyn Disk>,
    extents: Arc<[Extent]>,
    open: Option<(u64, Arc<dyn File>)>,
    end: Lsn,
}

impl Stretch {
    /// From `from` on, where an entry begins, to `end`, where one ends.
    pub fn open(disk: Arc<dyn Disk>, database: DatabaseId, from: Lsn, end: Lsn) -> Result<Stretch> {
        let extents = segments::extents(&segments::discover(&*disk, database)?, from)?;
        Ok(Stretch { disk, extents: extents.into(), open: None, end })
    }

    pub fn end(&self) -> Lsn {
        self.end
    }

    /// Makes the window, whose first `have` bytes are there and which has room, hold `bytes`
    /// bytes, as far as the log goes.
    fn fill(&mut self, window: &mut Window, have: usize, bytes: usize) -> Result<()> {
        let most = usize::try_from(self.end.0.saturating_sub(window.start.0)).unwrap_or(usize::MAX);
        let wanted = bytes.min(most);
        window.have = have;
        while window.have < wanted {
            let at = window.start.plus(window.have as u64);
            match self.read(at, &mut window.bytes[window.have..wanted])? {
                0 => break,
                read => window.have += read,
            }
        }
        Ok(())
    }

    /// Reads stream bytes at `lsn`, within one segment.
    fn read(&mut self, lsn: Lsn, bytes: &mut [u8]) -> Result<usize> {
        let holds = |extent: &&Extent| extent.start <= lsn && lsn < extent.limit;
        let Some(extent) = self.extents.iter().find(holds) else { return Ok(0) };
        let left = (extent.limit.0 - lsn.0).min(bytes.len() as u64) as usize;
        let (bytes, offset) = (&mut bytes[..left], extent.offset(lsn));
        match &self.open {
            Some((number, file)) if *number == extent.number => file.read_at(bytes, offset),
            _ => {
                let file = self.disk.open(&extent.path, OpenMode::Read)?;
                let read = file.read_at(bytes, offset)?;
                self.open = Some((extent.number, file));
                Ok(read)
            }
        }
    }
}

/// Reads all of a stretch.
pub struct Windows {
    stretch: Stretch,
    at: Lsn,
    /// The beginning of an entry that the last window had no room for.
    rest: Vec<u8>,
}

impl Windows {
    /// From `at` on, where an entry begins.
    pub fn new(stretch: Stretch, at: Lsn) -> Windows {
        Windows { stretch, at, rest: Vec::new() }
    }

    /// Fills `window` with the next entries and gives `each` their headers and bodies, not yet
    /// verified. False at the end.
    pub fn next(
        &mut self,
        window: &mut Window,
        mut each: impl FnMut(&EntryHeader, &[u8]) -> Result<()>,
    ) -> Result<bool> {
        if self.at >= self.stretch.end {
            return Ok(false);
        }
        window.start = self.at;
        let mut have = self.rest.len();
        let mut bytes = WINDOW.max(have);
        window.make_room(bytes)?;
        window.bytes[..have].copy_from_slice(&self.rest);
        loop {
            self.stretch.fill(window, have, bytes)?;
            while let Ok(header) = window.frame(self.at) {
                let entry = &window.from(self.at)[..header.len as usize];
                each(&header, &entry[HEADER_BYTES..entry.len() - CRC_BYTES])?;
                self.at = header.end();
            }
            if self.at > window.start {
                self.rest.clear();
                self.rest.extend_from_slice(window.from(self.at));
                return Ok(true);
            }
            // The very first entry is not whole: it may be longer than the window.
            have = window.have;
            match record::peek_len(&window.bytes[..have], self.at) {
                Ok(len) if len > bytes => {
                    bytes = len;
                    window.make_room(len)?;
                }
                Ok(_) => return Err(changed(self.at, Flaw::CutShort.name())),
                Err(flaw) => return Err(changed(self.at, flaw.name())),
            }
        }
    }
}

/// Entries that lie no further apart than this are read at once.
const GAP: u64 = 2048;
/// The least that is read of an entry before its length is known.
const LEAST: usize = 256;

/// Reads entries at given positions.
pub struct Spots {
    stretch: Stretch,
    window: Window,
    /// About as long as entries have been of late: what is read of one whose length is not known.
    guess: usize,
}

impl Spots {
    pub fn new(stretch: Stretch) -> Spots {
        Spots { stretch, window: Window::default(), guess: LEAST }
    }

    /// Gives `each` the entries at `at`, ascending positions, verified.
    pub fn read(
        &mut self,
        at: &[Lsn],
        mut each: impl FnMut(&EntryHeader, &[u8]) -> Result<()>,
    ) -> Result<()> {
        for run in at.chunk_by(|a, b| b.0 - a.0 <= GAP) {
            let span = run[run.len() - 1].0 - run[0].0;
            self.load(run[0], span as usize + self.guess)?;
            for lsn in run {
                if self.window.frame(*lsn).is_err() {
                    self.load_whole(*lsn)?;
                }
                let (header, body) = self.window.entry(*lsn)?;
                let len = header.len as usize;
                self.guess = match len.checked_sub(self.guess) {
                    Some(_) => len.min(2 * self.guess),
                    None => (self.guess - (self.guess - len) / 16).max(LEAST),
                };
                each(&header, body)?;
            }
        }
        Ok(())
    }

    fn load(&mut self, lsn: Lsn, bytes: usize) -> Result<()> {
        self.window.start = lsn;
        self.window.make_room(bytes)?;
        self.stretch.fill(&mut self.window, 0, bytes)
    }

    /// An entry that the window does not hold in full.
    fn load_whole(&mut self, lsn: Lsn) -> Result<()> {
        self.load(lsn, self.guess)?;
        let have = self.window.have;
        match record::peek_len(self.window.from(lsn), lsn) {
            Ok(len) if len > have => {
                self.window.make_room(len)?;
                self.stretch.fill(&mut self.window, have, len)
            }
            _ => Ok(()),
        }
    }
}
