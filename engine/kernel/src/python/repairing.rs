//! Repair of single pages of an open store.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::job::{Job, progress_of};
use super::status::dict;
use super::store::Store;
use crate::repair::{Remedy, Repairs};
use crate::types::PageId;

fn described<'py>(py: Python<'py>, remedy: &Remedy) -> PyResult<Bound<'py, PyDict>> {
    Ok(dict!(py, {
        "page": remedy.page.0,
        "source": remedy.source.name(),
        "base_lsn": remedy.base.0,
        "changes": remedy.changes,
    }))
}

#[pymethods]
impl Store {
    /// What each of the pages could be rebuilt from; a page without a source is absent.
    #[pyo3(signature = (pages, job = None))]
    fn plan_repair<'py>(
        &self,
        py: Python<'py>,
        pages: Vec<u32>,
        job: Option<&Bound<'py, Job>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let progress = progress_of(job);
        let pages: Vec<PageId> = pages.into_iter().map(PageId).collect();
        let remedies = self.working(py, &Arc::clone(&progress), |open| {
            let repairs = Repairs::of(open.store.shared())?;
            repairs.plan(&pages, Vec::new(), &mut || !progress.is_cancelled())
        })?;
        let list = PyList::empty(py);
        for remedy in &remedies {
            list.append(described(py, remedy)?)?;
        }
        Ok(list)
    }

    /// Repairs one page, writes it to its place and reads it again from there.
    fn repair_page<'py>(&self, py: Python<'py>, page: u32) -> PyResult<Bound<'py, PyDict>> {
        let remedy =
            self.work(py, |open| Repairs::of(open.store.shared())?.repair(PageId(page), None))?;
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
}
