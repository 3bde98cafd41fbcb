//! Salvage of a database that cannot be recovered.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::errors::detached;
use super::job::Job;
use super::options::store_options;
use super::status::dict;
use super::store::{disk_of, this_process};
use crate::lockfile::LockFile;
use crate::salvage as kernel;

/// Put the readable records of the database `source` into a new one in the empty directory
/// `target`; `beside` takes what redo writes. The source is only read; its lock is held meanwhile.
#[pyfunction]
#[pyo3(name = "salvage")]
pub fn salvage<'py>(
    py: Python<'py>,
    source: PathBuf,
    target: PathBuf,
    beside: PathBuf,
    options: &Bound<'py, PyDict>,
    job: &Bound<'py, Job>,
) -> PyResult<Bound<'py, PyDict>> {
    let (options, holder) = (store_options(options)?, this_process(py)?);
    let progress = Arc::clone(&job.get().progress);
    let report = detached(py, || {
        let _lock = LockFile::acquire(&source, &holder)?;
        let _target = LockFile::acquire(&target, &holder)?;
        let (base, scratch, target) = (disk_of(&source), disk_of(&beside), disk_of(&target));
        kernel::salvage(base, scratch, target, &options, &progress)
    })?;
    let trees = PyList::empty(py);
    for tree in &report.trees {
        trees.append(dict!(py, {
            "name": &tree.name,
            "is_table": tree.is_table,
            "records": tree.records,
            "lost_values": tree.lost_values,
            "gaps": tree.gaps,
            "lost_indexes": &tree.lost_indexes,
        }))?;
    }
    Ok(dict!(py, {
        "pages": report.pages,
        "damaged_pages": report.damaged.iter().map(|page| page.0).collect::<Vec<u32>>(),
        "trees": trees,
        "without_log": &report.without_log,
        "has_unfinished": report.has_unfinished,
        "lost_log_bytes": report.lost_log_bytes,
        "lost_commits": report.lost_commits,
    }))
}
