//! `inspect`: what can be told of a database without opening it.

use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::errors::detached;
use super::status::{dict, seconds};
use super::store::disk_of;
use crate::buffer::DOUBLEWRITE_PATH;
use crate::control::{self, Control, ControlData};
use crate::disk::{Disk, OpenMode, overlay};
use crate::error::{Code, Result};
use crate::lockfile::{Holder, LockFile};
use crate::log::{LogReader, segments};
use crate::page::Page;
use crate::recovery::DATA_PATH;
use crate::store::{CLEAN_MARKER, RECOVERY_MARKER, is_half_made};
use crate::sync::Arc;
use crate::types::{Lsn, TxnId};

fn file_size(disk: &dyn Disk, path: &str) -> Result<u64> {
    if disk.exists(path)? { disk.open(path, OpenMode::Read)?.size() } else { Ok(0) }
}

/// Whole pages in the double-write file.
fn doublewrite_pages(disk: &dyn Disk, page_size: usize) -> Result<usize> {
    if page_size == 0 || !disk.exists(DOUBLEWRITE_PATH)? {
        return Ok(0);
    }
    let file = disk.open(DOUBLEWRITE_PATH, OpenMode::Read)?;
    let mut found = 0;
    for slot in 0..file.size()? / page_size as u64 {
        let mut page = Page::zeroed(page_size);
        let read = file.read_at(page.bytes_mut(), slot * page_size as u64)?;
        let is_whole = read == page_size && page.validate(page.id(), Lsn::MAX).is_ok();
        found += usize::from(is_whole && page.bytes().iter().any(|byte| *byte != 0));
    }
    Ok(found)
}

/// The most log that is read to tell how it ends.
const READ_AT_MOST: u64 = 64 << 20;

/// The end of the last entry that a transaction wrote after the checkpoint, the checkpoint where
/// there is none, 0 where that cannot be told; and whether more log follows that was not read.
fn last_lsn(disk: &Arc<dyn Disk>, data: &ControlData) -> (u64, bool) {
    let from = data.checkpoint_lsn;
    let Ok(mut reader) = LogReader::open(Arc::clone(disk), data.database, from, Lsn::NONE) else {
        return (0, false);
    };
    let mut last = from;
    loop {
        match reader.next() {
            Ok(Some(entry)) if entry.header.end().0 - from.0 > READ_AT_MOST => return (last.0, true),
            Ok(Some(entry)) if entry.header.txn != TxnId::SYSTEM => last = entry.header.end(),
            Ok(Some(_)) => {}
            Ok(None) => return (last.0, false),
            Err(_) => return (0, false),
        }
    }
}

/// What `inspect` finds.
struct Facts {
    exists: bool,
    half_made: bool,
    data: Option<ControlData>,
    pages: u64,
    wal_bytes: u64,
    wal_segments: usize,
    last_lsn: u64,
    log_goes_on: bool,
    doublewrite_pages: usize,
    clean_shutdown: bool,
    recovery_needed: bool,
    recovery_state: Option<String>,
    unfinished_installation: bool,
    holder: Option<Holder>,
}

fn look(directory: &Path) -> Result<Facts> {
    let disk = disk_of(directory);
    // A damaged control file is told by the facts that are absent; recovery names the error.
    let data = match Control::read(&*disk) {
        Ok(data) => Some(data),
        // No damage: nothing else of a directory in another format can be told.
        Err(error) if error.code == Code::FormatUnsupported => {
            return Err(error.with("path", directory.display().to_string()));
        }
        Err(_) => None,
    };
    let page_size = data.map_or(0, |data| data.page_size as usize);
    let found = match data {
        Some(data) => segments::discover(&*disk, data.database)?,
        None => Vec::new(),
    };
    let half_made = is_half_made(&*disk)?;
    let is_clean = data.is_some_and(|data| !data.clean_end.is_none());
    let (last_lsn, log_goes_on) = match data {
        Some(data) if is_clean => (data.clean_end.0, false),
        Some(data) => last_lsn(&disk, &data),
        None => (0, false),
    };
    Ok(Facts {
        exists: (disk.exists(control::PATH)? || disk.exists(DATA_PATH)?) && !half_made,
        half_made,
        data,
        pages: file_size(&*disk, DATA_PATH)?.checked_div(page_size as u64).unwrap_or(0),
        wal_bytes: found.iter().map(|segment| segment.size).sum(),
        wal_segments: found.len(),
        last_lsn,
        log_goes_on,
        doublewrite_pages: doublewrite_pages(&*disk, page_size)?,
        clean_shutdown: is_clean && disk.exists(CLEAN_MARKER)?,
        recovery_needed: disk.exists(RECOVERY_MARKER)?,
        recovery_state: std::fs::read_to_string(directory.join("recovery.state")).ok(),
        unfinished_installation: disk.exists(overlay::JOURNAL_PATH)?,
        holder: LockFile::look(directory),
    })
}

/// Look at a database without opening it: keeps no lock, changes nothing.
#[pyfunction]
pub fn inspect(py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, PyDict>> {
    let facts = detached(py, || look(&path))?;
    let data = facts.data;
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let holder = facts.holder.map(|holder| {
        Ok::<_, PyErr>(dict!(py, {
            "pid": holder.pid, "host": holder.host, "since": holder.since, "alive": true,
        }))
    });
    Ok(dict!(py, {
        "exists": facts.exists,
        "half_made": facts.half_made,
        "page_size": data.map_or(0, |data| data.page_size),
        "pages": facts.pages,
        "database_id": data.map(|data| hex(&data.database.0)),
        "format_version": control::VERSION,
        "incarnation": data.map(|data| data.incarnation.0),
        "checkpoint_lsn": data.map_or(0, |data| data.checkpoint_lsn.0),
        "checkpoint_at": data.map_or(0.0, |data| seconds(data.checkpoint_at)),
        "redo_lsn": data.map_or(0, |data| data.redo_lsn.0),
        "wal_bytes": facts.wal_bytes,
        "wal_segments": facts.wal_segments,
        "last_lsn": facts.last_lsn,
        "log_goes_on": facts.log_goes_on,
        "doublewrite_pages": facts.doublewrite_pages,
        "clean_shutdown": facts.clean_shutdown,
        "recovery_needed": facts.recovery_needed,
        "recovery_state": facts.recovery_state,
        "unfinished_installation": facts.unfinished_installation,
        "holder": holder.transpose()?,
    }))
}
