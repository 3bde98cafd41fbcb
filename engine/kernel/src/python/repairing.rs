//! Repair of single pages of an open store.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use super::backups::{Key, secret};
use super::job::{Job, progress_of};
use super::status::dict;
use super::store::Store;
use crate::backup;
use crate::error::Result;
use crate::mirror;
use crate::recovery::Progress;
use crate::repair::{Elsewhere, Remedy, Repairs};
use crate::store::Store as OpenedStore;
use crate::types::PageId;

/// Whole copies of pages from elsewhere, for `plan_repair` and `repair_page`.
#[pyclass(frozen, module = "engine._kernel")]
pub struct PageCopies {
    elsewhere: Mutex<Elsewhere>,
}

impl PageCopies {
    /// Does `work` with the copies, brought up to where the log of `store` begins now. Without
    /// copies it has none.
    fn with<T>(
        copies: Option<&PageCopies>,
        store: &OpenedStore,
        progress: &Progress,
        work: impl FnOnce(&Elsewhere) -> Result<T>,
    ) -> Result<T> {
        let Some(copies) = copies else { return work(&Elsewhere::default()) };
        let mut elsewhere = copies.elsewhere.lock();
        let core = &store.shared().core;
        elsewhere.bring_up_to(&core.log, core.pool.page_size(), &mut || !progress.is_cancelled())?;
        work(&elsewhere)
    }
}

#[pymethods]
impl PageCopies {
    fn __len__(&self) -> usize {
        self.elsewhere.lock().copies.len()
    }

    /// Encrypted backups that were passed over, and why they stay closed.
    #[getter]
    fn locked(&self) -> Vec<(String, String)> {
        self.elsewhere.lock().locked.clone()
    }
}

fn described<'py>(py: Python<'py>, remedy: &Remedy) -> PyResult<Bound<'py, PyDict>> {
    Ok(dict!(py, {
        "page": remedy.page.0,
        "source": remedy.source.name(),
        "place": remedy.place.as_str(),
        "base_lsn": remedy.base.0,
        "changes": remedy.changes,
    }))
}

#[pymethods]
impl Store {
    /// Whole copies of `pages` from the newest backups in the folders `backups`, brought up to date
    /// from the log that is kept in `logs`.
    #[pyo3(signature = (pages, backups, logs, job = None, *, key = None))]
    #[allow(clippy::too_many_arguments)] // Each is a keyword or a plain value of Python.
    fn copies_from_backups(
        &self,
        py: Python<'_>,
        pages: Vec<u32>,
        backups: Vec<PathBuf>,
        logs: Vec<PathBuf>,
        job: Option<&Bound<'_, Job>>,
        key: Key,
    ) -> PyResult<PageCopies> {
        let (progress, key) = (progress_of(job), secret(key)?);
        let pages: Vec<PageId> = pages.into_iter().map(PageId).collect();
        let elsewhere = self.working(py, &Arc::clone(&progress), |open| {
            backup::copies_of(&open.store, &backups, &logs, &pages, key.as_ref(), &progress)
        })?;
        Ok(PageCopies { elsewhere: Mutex::new(elsewhere) })
    }

    /// Whole copies of `pages` from the mirrors that follow, brought up to date from the log.
    #[pyo3(signature = (pages, job = None))]
    fn copies_from_mirrors(
        &self,
        py: Python<'_>,
        pages: Vec<u32>,
        job: Option<&Bound<'_, Job>>,
    ) -> PyResult<PageCopies> {
        let progress = progress_of(job);
        let pages: Vec<PageId> = pages.into_iter().map(PageId).collect();
        let elsewhere = self.working(py, &Arc::clone(&progress), |open| {
            mirror::copies_of(open.store.mirrors(), &pages, &progress)
        })?;
        Ok(PageCopies { elsewhere: Mutex::new(elsewhere) })
    }

    /// What each of the pages could be rebuilt from, and why a copy of others does not help.
    #[pyo3(signature = (pages, job = None, copies = None))]
    fn plan_repair<'py>(
        &self,
        py: Python<'py>,
        pages: Vec<u32>,
        job: Option<&Bound<'py, Job>>,
        copies: Option<&Bound<'py, PageCopies>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let progress = progress_of(job);
        let pages: Vec<PageId> = pages.into_iter().map(PageId).collect();
        let copies = copies.map(Bound::get);
        let plan = self.working(py, &Arc::clone(&progress), |open| {
            let repairs = Repairs::of(open.store.shared())?;
            PageCopies::with(copies, &open.store, &progress, |elsewhere| {
                repairs.plan(&pages, elsewhere, &mut || !progress.is_cancelled())
            })
        })?;
        let remedies = PyList::empty(py);
        for remedy in &plan.remedies {
            remedies.append(described(py, remedy)?)?;
        }
        let unhelped = PyDict::new(py);
        for (page, why) in &plan.unhelped {
            unhelped.set_item(page.0, why)?;
        }
        let answer = PyDict::new(py);
        answer.set_item("remedies", remedies)?;
        answer.set_item("unhelped", unhelped)?;
        Ok(answer)
    }

    /// Repairs one page, writes it to its place and reads it again from there.
    #[pyo3(signature = (page, copies = None))]
    fn repair_page<'py>(
        &self,
        py: Python<'py>,
        page: u32,
        copies: Option<&Bound<'py, PageCopies>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let copies = copies.map(Bound::get);
        let remedy = self.work(py, |open| {
            let repairs = Repairs::of(open.store.shared())?;
            PageCopies::with(copies, &open.store, &Progress::default(), |elsewhere| {
                repairs.repair(PageId(page), elsewhere)
            })
        })?;
        described(py, &remedy)
    }

    /// The pages that could not be repaired, with what their readers are told.
    fn pages_set_apart<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let found = self.work(py, |open| Ok(Repairs::of(open.store.shared())?.set_apart()))?;
        let list = PyList::empty(py);
        for (page, error) in &found {
            list.append(
                dict!(py, { "page": page.0, "code": error.code.number(), "error": error.to_string() }),
            )?;
        }
        Ok(list)
    }

    /// Which part of which tree each damaged page keeps from being read. Holds stored keys.
    fn reach_of_pages<'py>(&self, py: Python<'py>, pages: Vec<u32>) -> PyResult<Bound<'py, PyList>> {
        let pages: Vec<PageId> = pages.into_iter().map(PageId).collect();
        let found = self.work(py, |open| {
            let shared = open.store.shared();
            Ok(Repairs::of(shared)?.reach_of(shared, &pages))
        })?;
        let bytes = |key: Option<Vec<u8>>| key.map(|key| PyBytes::new(py, &key).unbind());
        let list = PyList::empty(py);
        for (tree, reach) in found {
            list.append(dict!(py, {
                "page": reach.page.0,
                "tree": tree,
                "low": bytes(reach.bounds.low),
                "high": bytes(reach.bounds.high),
                "records": reach.records,
            }))?;
        }
        Ok(list)
    }
}
