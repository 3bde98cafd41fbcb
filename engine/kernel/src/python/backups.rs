//! Backups: taken from an open store, verified and restored without one.

use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::errors::detached;
use super::job::{Job, progress_of};
use super::status::dict;
use super::store::Store;
use crate::backup::{self, Point, PointWanted, Summary, Wanted};
use crate::error::Error;
use crate::types::{Lsn, TxnId};

fn summary<'py>(py: Python<'py>, done: &Summary) -> PyResult<Bound<'py, PyDict>> {
    Ok(dict!(py, {
        "files": done.files,
        "bytes": done.bytes,
        "pages": done.pages,
        "end_lsn": done.end_lsn.0,
        "taken_at": done.taken_at as f64 / 1e6,
        "sequence": done.sequence,
        "parent": done.parent.as_deref(),
        "seconds": done.seconds,
    }))
}

/// Checks a backup against its manifest.
#[pyfunction]
#[pyo3(signature = (path, job = None))]
pub fn verify_backup<'py>(
    py: Python<'py>,
    path: &str,
    job: Option<&Bound<'py, Job>>,
) -> PyResult<Bound<'py, PyDict>> {
    let progress = progress_of(job);
    let done = detached(py, || backup::verify(Path::new(path), &progress))?;
    summary(py, &done)
}

/// Rebuilds a database in the empty or missing directory `target`.
#[pyfunction]
#[pyo3(signature = (source, target, job = None))]
pub fn restore_backup<'py>(
    py: Python<'py>,
    source: &str,
    target: &str,
    job: Option<&Bound<'py, Job>>,
) -> PyResult<Bound<'py, PyDict>> {
    let progress = progress_of(job);
    let done = detached(py, || backup::restore(Path::new(source), Path::new(target), &progress))?;
    summary(py, &done)
}

/// Restores to a point, or, without a target, says where it is.
#[pyfunction]
#[pyo3(signature = (source, target, kind, value, logs, job = None))]
pub fn restore_point<'py>(
    py: Python<'py>,
    source: &str,
    target: Option<&str>,
    kind: &str,
    value: i64,
    logs: Vec<PathBuf>,
    job: Option<&Bound<'py, Job>>,
) -> PyResult<Bound<'py, PyDict>> {
    let progress = progress_of(job);
    let number = value.unsigned_abs();
    let point = match kind {
        "backup" => Point::Backup,
        "end" => Point::End,
        "lsn" => Point::Lsn(Lsn(number)),
        "time" => Point::Time(value),
        "transaction" => Point::Transaction(TxnId(number)),
        _ => return Err(Error::argument("kind", "must be backup, end, lsn, time or transaction").into()),
    };
    let wanted = PointWanted { point, logs };
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
    #[pyo3(signature = (target, job = None, *, parent = None, bytes_per_second = 0))]
    fn backup<'py>(
        &self,
        py: Python<'py>,
        target: &str,
        job: Option<&Bound<'py, Job>>,
        parent: Option<&str>,
        bytes_per_second: u64,
    ) -> PyResult<Bound<'py, PyDict>> {
        let progress = progress_of(job);
        let wanted = Wanted { parent: parent.map(Path::new), bytes_per_second };
        let done = self.working(py, &progress, |open| {
            backup::take(&open.store, Path::new(target), &wanted, &progress)
        })?;
        summary(py, &done)
    }
}
