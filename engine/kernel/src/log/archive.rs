//! Segments that are no longer needed, kept for restoring to a point.
//!
//! A copy is complete and durable before the original goes. One that a crash left unfinished is
//! written anew; one of another history is never written over, for it may be somebody's only way
//! back: then the log keeps the segment, and says why.
//!
//! It does not wait for ever. Beyond a limit, or where the disk of the database is about to be full,
//! the oldest segments go without a copy, and the archive has a gap, which is told: a database that
//! stops would be worse. So is a segment whose entries are found damaged as it is archived.

use std::path::Path;

use super::reader::LogReader;
use super::segments::{self, ARCHIVE, HEADER_BYTES};
use super::space::BLOCK;
use super::writer::Core;
use crate::disk::os::OsDisk;
use crate::disk::{Disk, File, OpenMode};
use crate::error::{Code, Error, Result};
use crate::sync::Arc;
use crate::types::{DatabaseId, Lsn};

/// Segments that went without a copy.
#[derive(Clone, Debug)]
pub struct ArchiveGap {
    pub first: u64,
    pub last: u64,
    /// What is in the log from here on can still be archived.
    pub until: Lsn,
    pub why: Error,
}

/// Where fewer segments than this find room, the log no longer waits for its archive.
const ROOM: u64 = 3;

/// The disk and the folder on it where segments of `database` are kept; `place` is a directory
/// that databases may share, none for the database's own.
pub fn archive_folder(
    disk: &Arc<dyn Disk>,
    database: DatabaseId,
    place: Option<&Path>,
) -> (Arc<dyn Disk>, String) {
    match place {
        None => (Arc::clone(disk), ARCHIVE.to_owned()),
        Some(place) => {
            let name = database.0.iter().map(|byte| format!("{byte:02x}")).collect();
            (Arc::new(OsDisk::new(place)), name)
        }
    }
}

impl Core {
    /// Whether a segment that begins at `start` and cannot be archived goes all the same, so that
    /// the log up to `lsn` does not fill the disk.
    pub(super) fn waits_no_longer(&self, start: Lsn, lsn: Lsn) -> bool {
        let room = self.disk.free_bytes().unwrap_or(u64::MAX);
        lsn.0.saturating_sub(start.0) > self.options.archive_wait_bytes
            || room < ROOM * self.options.segment_bytes
    }

    /// Notes that segment `number`, which ends at `until`, went without a copy.
    pub(super) fn note_archive_gap(&self, number: u64, until: Lsn, why: Error) {
        let mut gap = self.archive_gap.lock();
        let first = gap.as_ref().map_or(number, |gap| gap.first);
        *gap = Some(ArchiveGap { first, last: number, until, why });
    }

    /// Copies a segment into the archive.
    pub(super) fn archive(&self, path: &str, number: u64) -> Result<()> {
        let database = self.state.lock().slots.database();
        let place = self.options.archive_at.as_deref();
        if place.is_some_and(|place| !place.is_dir()) {
            // It is not made: on the disk that is not there it would be made somewhere else.
            let place = place.map(|place| place.display().to_string()).unwrap_or_default();
            return Err(Error::new(Code::IoError)
                .with("operation", "archive the log to")
                .with("path", place)
                .with("os_error", "there is no such directory"));
        }
        let (disk, folder) = archive_folder(&self.disk, database, place);
        let name = segments::segment_path(&folder, number);
        let source = self.disk.open(path, OpenMode::Read)?;
        if disk.exists(&name)? {
            ensure_own(&*disk.open(&name, OpenMode::Read)?, &*source, &name)?;
        }
        let copy = disk.open(&name, OpenMode::Create)?;
        let written = copy_file(&*source, &*copy).and_then(|()| disk.sync_dir(&folder));
        written.inspect_err(|_| {
            // A part of a copy only takes room on a disk that may be full; the next try begins anew.
            let _ = disk.remove(&name);
        })
    }
}

impl Core {
    /// Reads the entries of a segment that goes: one that was damaged before it was copied is damaged in the
    /// copy too, and whoever counts on it has to know while another backup can be taken. Notes in `checked`
    /// up to where they were whole. The copy stays: it is good up to the damage.
    pub(super) fn ensure_archived_whole(
        &self,
        (start, limit): (Lsn, Lsn),
        checked: &mut Lsn,
    ) -> Result<()> {
        let database = self.state.lock().slots.database();
        // The last entry of the segment before may have run into this one, and was read with that.
        let goes_on = *checked >= start;
        let from = if goes_on { Some(*checked) } else { self.first_sign(start)? };
        let Some(from) = from.filter(|from| *from < limit) else { return Ok(()) };
        *checked = Lsn::NONE;
        let mut reader = LogReader::open(Arc::clone(&self.disk), database, from, limit)?;
        loop {
            match reader.next()? {
                Some(entry) if entry.header.end() >= limit => {
                    *checked = entry.header.end();
                    return Ok(());
                }
                Some(_) => {}
                None => {
                    return Err(Error::new(Code::WalCorrupted)
                        .with("details", format!("the log before LSN {} ends too early", limit.0)));
                }
            }
        }
    }
}

fn copy_file(source: &dyn File, copy: &dyn File) -> Result<()> {
    copy.truncate(0)?;
    let mut block = crate::memory::zeroed(BLOCK, "archive the log")?;
    let mut at = 0;
    loop {
        let count = source.read_at(&mut block, at)?;
        if count == 0 {
            return copy.sync();
        }
        copy.write_at(&block[..count], at)?;
        at += count as u64;
    }
}

/// What is there already is of this segment, in whole or in part.
fn ensure_own(there: &dyn File, source: &dyn File, name: &str) -> Result<()> {
    let (mut old, mut new) = ([0u8; HEADER_BYTES as usize], [0u8; HEADER_BYTES as usize]);
    let count = there.read_at(&mut old, 0)?;
    source.read_at(&mut new, 0)?;
    if count < old.len() || old == new || old.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    Err(Error::new(Code::IoError)
        .with("operation", "archive the log to")
        .with("path", name)
        .with("os_error", "a segment of another history is there under the same number"))
}
