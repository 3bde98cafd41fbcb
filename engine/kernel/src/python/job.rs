//! The handle of one long work, shared with the thread that watches it.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::recovery::Progress;

#[pyclass(frozen, module = "engine._kernel")]
#[derive(Default)]
pub struct Job {
    pub progress: Arc<Progress>,
}

#[pymethods]
impl Job {
    #[new]
    fn new() -> Job {
        Job::default()
    }

    /// Asks the work to stop; it answers by raising Cancelled where it runs.
    fn cancel(&self) {
        self.progress.cancel();
    }

    #[getter]
    fn cancelled(&self) -> bool {
        self.progress.is_cancelled()
    }

    /// How far the work is: stage, done, total, unit, rows; of a pass of recovery also its records,
    /// pages and bytes until now, and while the log is read the changes of transactions unfinished there.
    fn progress<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (stage, unit, done, total, rows) = self.progress.look();
        let answer = PyDict::new(py);
        answer.set_item("stage", stage)?;
        answer.set_item("unit", unit)?;
        answer.set_item("done", done)?;
        answer.set_item("total", total)?;
        answer.set_item("rows", rows)?;
        for (name, counted) in ["records", "pages", "bytes"].into_iter().zip(self.progress.counted()) {
            answer.set_item(name, counted)?;
        }
        answer.set_item("unfinished", self.progress.unfinished())?;
        Ok(answer)
    }
}

/// The progress of a job, or one that nobody watches.
pub(crate) fn progress_of(job: Option<&Bound<'_, Job>>) -> Arc<Progress> {
    job.map_or_else(Progress::new, |job| Arc::clone(&job.get().progress))
}
