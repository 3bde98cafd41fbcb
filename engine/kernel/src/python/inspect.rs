//! `inspect`: what can be told of a database without opening it.

use std::path::Path;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::status::dict;
use super::store::disk_of;
use crate::buffer::DOUBLEWRITE_PATH;
use crate::control::{self, Control};
use crate::disk::{Disk, OpenMode};
use crate::error::Result;
use crate::lockfile;
use crate::log::segments;
use crate::recovery::DATA_PATH;
use crate::store::{CLEAN_MARKER, RECOVERY_MARKER};

fn file_size(disk: &dyn Disk, path: &str) -> Result<u64> {
    if disk.exists(path)? { disk.open(path, OpenMode::Read)?.size() } else { Ok(0) }
}

/// Pages in the double-write file that are not all zeros.
fn doublewrite_pages(disk: &dyn Disk, page_size: u64) -> Result<u64> {
    if page_size == 0 || !disk.exists(DOUBLEWRITE_PATH)? {
        return Ok(0);
    }
    let file = disk.open(DOUBLEWRITE_PATH, OpenMode::Read)?;
    let mut page = vec![0; page_size as usize];
    let mut found = 0;
    for slot in 0..file.size()? / page_size {
        let read = file.read_at(&mut page, slot * page_size)?;
        found += u64::from(page[..read].iter().any(|byte| *byte != 0));
    }
    Ok(found)
}

#[pyfunction]
pub fn inspect<'py>(py: Python<'py>, path: &str) -> PyResult<Bound<'py, PyDict>> {
    let directory = Path::new(path);
    let disk = disk_of(directory);
    let disk = &*disk;
    let exists = disk.exists(control::PATH)? || disk.exists(DATA_PATH)?;
    // A damaged control file is told by its absent facts; recovery names the error.
    let data = Control::read(disk).ok();
    let page_size = data.map_or(0, |data| u64::from(data.page_size));
    let found = match data {
        Some(data) => segments::discover(disk, data.database)?,
        None => Vec::new(),
    };
    let last_lsn = found
        .iter()
        .filter_map(|segment| segment.header.as_ref().ok())
        .map(|header| header.start.0)
        .max()
        .unwrap_or(0);
    let holder = match lockfile::holder(directory) {
        Some(holder) => Some(dict!(py, {
            "pid": holder.pid,
            "host": holder.host,
            "since": holder.since as f64 / 1e6,
            "alive": holder.is_alive,
        })),
        None => None,
    };
    let state_path = directory.join("recovery.state");
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    Ok(dict!(py, {
        "exists": exists,
        "page_size": page_size,
        "pages": file_size(disk, DATA_PATH)?.checked_div(page_size).unwrap_or(0),
        "database_id": data.map(|data| hex(&data.database.0)),
        "format_version": 1,
        "incarnation": data.map(|data| data.incarnation.0),
        "checkpoint_lsn": data.map_or(0, |data| data.checkpoint_lsn.0),
        "checkpoint_at": data.map_or(0.0, |data| data.checkpoint_at as f64 / 1e6),
        "redo_lsn": data.map_or(0, |data| data.redo_lsn.0),
        "wal_bytes": found.iter().map(|segment| segment.size).sum::<u64>(),
        "wal_segments": found.len(),
        "last_lsn": data.filter(|data| !data.clean_end.is_none()).map_or(last_lsn, |data| data.clean_end.0),
        "doublewrite_pages": doublewrite_pages(disk, page_size)?,
        "clean_shutdown": disk.exists(CLEAN_MARKER)? && data.is_some_and(|data| !data.clean_end.is_none()),
        "recovery_needed": disk.exists(RECOVERY_MARKER)?,
        "recovery_state": std::fs::read_to_string(state_path).ok(),
        "holder": holder,
    }))
}
