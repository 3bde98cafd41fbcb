//! The log as it is kept in several places: in use, archived, on another disk.

use std::path::{Path, PathBuf};

use super::chain::Link;
use crate::disk::os::OsDisk;
use crate::disk::{Disk, File, OpenMode};
use crate::error::{Error, Result};
use crate::log::segments::{self, FOLDER, HEADER_BYTES, SegmentInfo};
use crate::sync::Arc;
use crate::types::{DatabaseId, Lsn};

/// Several directories with segments, read as one folder of a log.
pub(super) struct Logs {
    places: Vec<Arc<dyn Disk>>,
    /// Segments after this one are left out: there is a gap.
    last: u64,
}

impl Logs {
    /// `given` are databases, archives, or directories that several databases archive to. What is
    /// in use comes before what is archived: a copy may be in the making.
    pub fn of(given: &[PathBuf], database: DatabaseId) -> Logs {
        let own: String = database.0.iter().map(|byte| format!("{byte:02x}")).collect();
        let within = |folder: &'static str| given.iter().map(move |place| place.join(folder));
        let candidates = within(FOLDER)
            .chain(given.iter().cloned())
            .chain(within(segments::ARCHIVE))
            .chain(given.iter().map(|place| place.join(&own)));
        let places = candidates.filter(|place| place.is_dir());
        let places = places.map(|place| -> Arc<dyn Disk> { Arc::new(OsDisk::new(&place)) });
        Logs { places: places.collect(), last: u64::MAX }
    }

    /// Leaves out what lies behind the first gap after `from`; says what is missing there.
    pub fn until_gap(&mut self, database: DatabaseId, from: Lsn) -> Result<Option<String>> {
        let found = segments::discover(self, database)?;
        let is_used = |info: &&SegmentInfo| info.header.is_ok();
        let used: Vec<u64> = found.iter().filter(is_used).map(|info| info.number).collect();
        let holds = |info: &SegmentInfo| info.header.is_ok_and(|header| header.start <= from);
        let Some(first) = found.iter().rfind(|info| holds(info)).map(|info| info.number) else {
            return Ok(None);
        };
        let after = used.iter().copied().filter(|number| *number >= first);
        let mut last = first;
        for number in after {
            if number > last + 1 {
                self.last = last;
                let missing = segments::segment_path(FOLDER, last + 1);
                return Ok(Some(format!("{missing} is missing, or cannot be read")));
            }
            last = number;
        }
        Ok(None)
    }

    /// True where the segment that `link`, a backup, ends in is the one that is here.
    pub fn continues(&self, link: &Link<'_>) -> Result<bool> {
        let names = link.manifest.pieces.iter().map(|piece| piece.name.as_str());
        let Some(last) = names.filter(|name| name.ends_with(".wal.zst")).max() else { return Ok(false) };
        let Some(piece) = link.manifest.piece(last) else { return Ok(false) };
        let path = last.trim_end_matches(".zst");
        if !self.exists(path)? {
            // It may end where the next one begins: the neighbours are compared when it is read.
            return Ok(true);
        }
        let (mut there, mut here) = ([0; HEADER_BYTES as usize], [0; HEADER_BYTES as usize]);
        link.unpack(piece)?.read_exact(&mut there)?;
        let read = self.open(path, OpenMode::Read)?.read_at(&mut here, 0)?;
        Ok(read == here.len() && there == here)
    }
}

impl Disk for Logs {
    fn open(&self, path: &str, mode: OpenMode) -> Result<Arc<dyn File>> {
        let name = Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if mode != OpenMode::Read {
            return Err(Error::internal("a log that is kept is only read"));
        }
        let mut otherwise = Err(Error::internal("no place for a log"));
        for place in &self.places {
            match place.open(name, mode) {
                Ok(file) => {
                    let mut magic = [0; 8];
                    file.read_at(&mut magic, 0)?;
                    if magic != [0; 8] {
                        return Ok(file);
                    }
                    otherwise = Ok(file);
                }
                Err(error) if otherwise.is_err() => otherwise = Err(error),
                Err(_) => {}
            }
        }
        otherwise
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        let mut names = Vec::new();
        if folder != FOLDER {
            return Ok(names);
        }
        for place in &self.places {
            names.extend(place.list("")?);
        }
        names.sort();
        names.dedup();
        let last = segments::segment_path("", self.last);
        names.retain(|name| self.last == u64::MAX || name.as_str() <= last.trim_start_matches('/'));
        Ok(names)
    }

    fn remove(&self, _path: &str) -> Result<()> {
        Err(Error::internal("a log that is kept is only read"))
    }
    fn sync_dir(&self, _folder: &str) -> Result<()> {
        Ok(())
    }
    fn free_bytes(&self) -> Result<u64> {
        Ok(0)
    }
}
