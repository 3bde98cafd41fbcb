//! Checks of an open store and of a recovery in progress; rebuilding an index from its table.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::job::{Job, progress_of};
use super::recovery::Recovery;
use super::status::dict;
use super::store::Store;
use crate::disk::Disk;
use crate::error::{Code, Error, Result};
use crate::rows::tables;
use crate::txn::{Isolation, Shared};
use crate::verify::{self, CheckOptions, CheckReport};

fn report<'py>(py: Python<'py>, report: &CheckReport) -> PyResult<Bound<'py, PyDict>> {
    let problems = PyList::empty(py);
    for problem in &report.problems {
        problems.append(dict!(py, {
            "code": problem.code.number(),
            "page": problem.page.map(|page| page.0),
            "tree": &problem.tree,
            "detail": &problem.detail,
        }))?;
    }
    Ok(dict!(py, {
        "ok": report.ok,
        "pages": report.pages,
        "bytes": report.bytes,
        "records": report.records,
        "seconds": report.seconds,
        "problems": problems,
        "left_out": report.left_out,
        "skipped": &report.skipped,
        "lost": report.lost.len(),
    }))
}

/// Drops an index and fills it again from its table, in one transaction.
fn rebuild(shared: &Arc<Shared>, disk: &Arc<dyn Disk>, table: &str, index: &str) -> Result<u64> {
    let mut txn = shared.begin(Isolation::ReadCommitted, false)?;
    let open = tables::open(&mut txn, table)?;
    let place = open.schema.index(index)?;
    let found = &open.schema.indexes[place];
    let columns: Vec<String> =
        found.columns.iter().map(|column| open.schema.columns[*column].name.clone()).collect();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let unique = found.unique;
    tables::drop_index(&mut txn, table, index)?;
    let open = tables::create_index(&mut txn, disk, table, index, &columns, unique)?;
    let rows = open.count(&mut txn)?;
    txn.commit()?;
    Ok(rows)
}

#[pymethods]
impl Store {
    /// Gives back what was dropped and nobody can see any more.
    fn give_back(&self, py: Python<'_>) -> PyResult<()> {
        self.work(py, |open| open.store.give_back())
    }

    /// Gives back pages that nothing leads to, after a check of everything.
    #[pyo3(signature = (job = None))]
    fn sweep<'py>(
        &self,
        py: Python<'py>,
        job: Option<&Bound<'py, Job>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let progress = progress_of(job);
        let swept = self.working(py, &progress, |open| open.store.sweep(&progress))?;
        let check = report(py, &swept.report)?;
        Ok(dict!(py, { "pages": swept.pages, "left": swept.left, "check": check }))
    }

    /// Checks every invariant while the store is in use; without `detailed`, checksums only.
    #[pyo3(signature = (detailed = true, job = None))]
    fn check<'py>(
        &self,
        py: Python<'py>,
        detailed: bool,
        job: Option<&Bound<'py, Job>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let progress = progress_of(job);
        let found = self.working(py, &progress, |open| open.store.check_in_use(!detailed, &progress))?;
        report(py, &found)
    }

    /// What the check found that follows a recovery behind the opening; None before it has ended.
    fn recovery_check<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let found = self.ask(py, |open| Ok(open.store.recovery_check()))?;
        found.map(|found| report(py, &found)).transpose()
    }
}

impl Recovery {
    fn run_on_shared<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&Arc<Shared>) -> Result<T> + Send,
    ) -> PyResult<T> {
        self.step(py, |opening| work(opening.shared().ok_or_else(|| Error::new(Code::StoreClosed))?))
    }
}

#[pymethods]
impl Recovery {
    /// As Store.check, once redo and undo are done. Of the log it reads what the recovery itself has
    /// written: what came before was validated, entry by entry.
    fn check<'py>(&self, py: Python<'py>, job: &Bound<'py, Job>) -> PyResult<Bound<'py, PyDict>> {
        let progress = Arc::clone(&job.get().progress);
        let found = self.run_on_shared(py, |shared| {
            let redo_lsn = Some(shared.core.log.begun_at());
            // Nobody else has the database yet.
            let (is_quick, reports_leaks, is_still) = (false, false, true);
            verify::check(
                shared,
                &progress,
                CheckOptions { is_quick, redo_lsn, reports_leaks, is_still },
            )
        })?;
        report(py, &found)
    }

    /// Secondary indexes that do not agree with their tables.
    fn damaged_indexes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let progress = progress_of(None);
        let found = self.run_on_shared(py, |shared| verify::damaged_indexes(shared, &progress))?;
        let list = PyList::empty(py);
        for index in &found {
            list.append(dict!(py, {
                "table": &index.table, "index": &index.index, "reason": &index.reason,
            }))?;
        }
        Ok(list)
    }

    fn rebuild_index<'py>(
        &self,
        py: Python<'py>,
        table: &str,
        index: &str,
        job: &Bound<'py, Job>,
    ) -> PyResult<Bound<'py, PyDict>> {
        job.get().progress.begin("index", "rows", 0);
        let rows = self.step(py, |opening| {
            let shared = opening.shared().ok_or_else(|| Error::new(Code::StoreClosed))?;
            rebuild(shared, opening.disk(), table, index)
        })?;
        Ok(dict!(py, { "rows": rows }))
    }
}
