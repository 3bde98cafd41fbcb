//! Segments that are no longer needed, kept for restoring to a point.
//!
//! A copy is complete and durable before the original goes. One that a crash left unfinished is
//! written anew; one of another history is never written over, for it may be somebody's only way
//! back: then the log keeps the segment, and says why.

use std::path::Path;

use super::segments::{self, ARCHIVE, HEADER_BYTES};
use super::space::BLOCK;
use super::writer::Core;
use crate::disk::os::OsDisk;
use crate::disk::{Disk, File, OpenMode};
use crate::error::{Code, Error, Result};
use crate::sync::Arc;
use crate::types::DatabaseId;

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

fn copy_file(source: &dyn File, copy: &dyn File) -> Result<()> {
    copy.truncate(0)?;
    let mut block = vec![0u8; BLOCK];
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
