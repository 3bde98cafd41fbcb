//! Backups: taken from an open store, verified and restored without one.

use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::errors::detached;
use super::job::{Job, progress_of};
use super::status::dict;
use super::store::Store;
use crate::backup::{self, Point, PointWanted, Secret, Summary, Wanted};
use crate::control::{self, ControlData};
use crate::error::Error;
use crate::log::segments::{self, SegmentInfo};
use crate::types::{Lsn, TxnId};

/// A key as Python gives it: its kind and its bytes.
pub(super) type Key = Option<(String, Vec<u8>)>;

pub(super) fn secret(key: Key) -> PyResult<Option<Secret>> {
    let Some((kind, bytes)) = key else { return Ok(None) };
    match kind.as_str() {
        "passphrase" => Ok(Some(Secret::Passphrase(bytes))),
        "key_file" => Ok(Some(Secret::KeyFile(bytes))),
        _ => Err(Error::argument("key", "must be a passphrase or a key_file").into()),
    }
}

fn summary<'py>(py: Python<'py>, done: &Summary) -> PyResult<Bound<'py, PyDict>> {
    Ok(dict!(py, {
        "files": done.files,
        "bytes": done.bytes,
        "pages": done.pages,
        "end_lsn": done.end_lsn.0,
        "taken_at": done.taken_at as f64 / 1e6,
        "sequence": done.sequence,
        "parent": done.parent.as_deref(),
        "resumed_pages": done.resumed_pages,
        "seconds": done.seconds,
    }))
}

/// Whether a directory holds a backup that was cut off and can go on.
#[pyfunction]
pub fn is_unfinished_backup(py: Python<'_>, path: &str) -> bool {
    py.detach(|| backup::is_unfinished(Path::new(path)))
}

/// Checks a backup against its manifest.
#[pyfunction]
#[pyo3(signature = (path, job = None, *, key = None))]
pub fn verify_backup<'py>(
    py: Python<'py>,
    path: &str,
    job: Option<&Bound<'py, Job>>,
    key: Key,
) -> PyResult<Bound<'py, PyDict>> {
    let (progress, key) = (progress_of(job), secret(key)?);
    let done = detached(py, || backup::verify(Path::new(path), key.as_ref(), &progress))?;
    summary(py, &done)
}

/// Rebuilds a database in the empty or missing directory `target`.
#[pyfunction]
#[pyo3(signature = (source, target, job = None, *, key = None))]
pub fn restore_backup<'py>(
    py: Python<'py>,
    source: &str,
    target: &str,
    job: Option<&Bound<'py, Job>>,
    key: Key,
) -> PyResult<Bound<'py, PyDict>> {
    let (progress, key) = (progress_of(job), secret(key)?);
    let (source, target) = (Path::new(source), Path::new(target));
    let done = detached(py, || backup::restore(source, target, key.as_ref(), &progress))?;
    summary(py, &done)
}

/// Restores to a point, or, without a target, says where it is.
#[pyfunction]
#[pyo3(signature = (source, target, kind, value, logs, job = None, *, key = None))]
#[allow(clippy::too_many_arguments)] // Each is a keyword or a plain value of Python.
pub fn restore_point<'py>(
    py: Python<'py>,
    source: &str,
    target: Option<&str>,
    kind: &str,
    value: i64,
    logs: Vec<PathBuf>,
    job: Option<&Bound<'py, Job>>,
    key: Key,
) -> PyResult<Bound<'py, PyDict>> {
    let (progress, key) = (progress_of(job), secret(key)?);
    let number = value.unsigned_abs();
    let point = match kind {
        "backup" => Point::Backup,
        "end" => Point::End,
        "lsn" => Point::Lsn(Lsn(number)),
        "time" => Point::Time(value),
        "transaction" => Point::Transaction(TxnId(number)),
        _ => return Err(Error::argument("kind", "must be backup, end, lsn, time or transaction").into()),
    };
    let wanted = PointWanted { point, logs, key };
    let target = target.map(Path::new);
    let done = detached(py, || backup::restore_point(Path::new(source), target, &wanted, &progress))?;
    let answer = summary(py, &done.summary)?;
    answer.set_item("backup", done.backup.display().to_string())?;
    answer.set_item("lsn", done.lsn.0)?;
    answer.set_item("commits", done.commits)?;
    answer.set_item("log_bytes", done.bytes)?;
    answer.set_item("committed_at", done.committed_at as f64 / 1e6)?;
    answer.set_item("is_end", done.is_end)?;
    Ok(answer)
}

#[pymethods]
impl Store {
    /// Takes a backup while the store is in use.
    #[allow(clippy::too_many_arguments)] // Each is a keyword of Python.
    #[pyo3(signature = (target, job = None, *, parent = None, bytes_per_second = 0, part_bytes = 0, key = None))]
    fn backup<'py>(
        &self,
        py: Python<'py>,
        target: &str,
        job: Option<&Bound<'py, Job>>,
        parent: Option<&str>,
        bytes_per_second: u64,
        part_bytes: u64,
        key: Key,
    ) -> PyResult<Bound<'py, PyDict>> {
        let (progress, key) = (progress_of(job), secret(key)?);
        let parent = parent.map(Path::new);
        let wanted = Wanted { parent, bytes_per_second, resumable: true, part_bytes, key: key.as_ref() };
        let done = self.working(py, &progress, |open| {
            backup::take(&open.store, Path::new(target), &wanted, &progress)
        })?;
        summary(py, &done)
    }

    /// Keeps the log that a recovery of the files, as they are copied from now on, will need: what is to
    /// be released, the number of its first segment, and the control file that the copy needs.
    fn hold_log<'py>(&self, py: Python<'py>) -> PyResult<(u64, u64, Bound<'py, PyBytes>)> {
        let (pin, first, control) = self.work(py, |open| {
            let checkpointer = open.store.checkpointer();
            let (pin, from, control) = checkpointer.pin_with_undo(open.shared());
            let found = segments::discover(&**open.store.disk(), control.database);
            let found = found.inspect_err(|_| checkpointer.unpin(pin))?;
            let is_first = |info: &&SegmentInfo| info.header.is_ok_and(|header| header.start <= from);
            let first = found.iter().rfind(is_first).map_or(0, |info| info.number);
            // Pages are copied before the log says that they were written: it is not to be believed there.
            let control = ControlData { pages_lag: true, clean_end: Lsn::NONE, ..control };
            Ok((pin, first, control::image(&control)))
        })?;
        Ok((pin, first, PyBytes::new(py, &control)))
    }

    /// Ends what `hold_log` began.
    fn release_log(&self, py: Python<'_>, hold: u64) -> PyResult<()> {
        self.ask(py, |open| {
            open.store.checkpointer().unpin(hold);
            Ok(())
        })
    }
}
