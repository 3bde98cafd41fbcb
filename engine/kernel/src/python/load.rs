//! A measured workload on an open store.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::job::{Job, progress_of};
use super::status::{dict, latency_dict};
use super::store::Store;
use crate::error::Error;
use crate::workload::{self, Workload};

/// Reads a `spec`; what is left out has a default, what is not known is refused.
fn read(spec: &Bound<'_, PyDict>) -> PyResult<Workload> {
    let mut work = Workload::default();
    for (name, value) in spec {
        let name: String = name.extract()?;
        match name.as_str() {
            "threads" => work.threads = value.extract()?,
            "operations" => work.operations = value.extract()?,
            "value_bytes" => work.value_bytes = value.extract()?,
            "read_share" => work.read_share = value.extract()?,
            "batch" => work.batch = value.extract()?,
            "seed" => work.seed = value.extract()?,
            "tree" => work.tree = value.extract()?,
            "keys" => work.keys = value.extract()?,
            _ => return Err(Error::argument("spec", format!("there is no {name:?}")).into()),
        }
    }
    Ok(work)
}

#[pymethods]
impl Store {
    /// A measured workload inside the kernel. `spec`: threads, operations, value_bytes,
    /// read_share, batch, seed, tree, keys. Keys: operations, seconds, per_second, deadlocks,
    /// conflicts, latency {name: {count, p50_us, p99_us, max_us}}.
    #[pyo3(signature = (spec, job=None))]
    fn load<'py>(
        &self,
        py: Python<'py>,
        spec: &Bound<'py, PyDict>,
        job: Option<&Bound<'py, Job>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let (work, progress) = (read(spec)?, progress_of(job));
        let done =
            self.working(py, &progress, |open| workload::load(open.shared(), &work, &progress))?;
        let latency = PyDict::new(py);
        for (name, figures) in &done.latency {
            latency.set_item(name, latency_dict(py, figures)?)?;
        }
        Ok(dict!(py, {
            "operations": done.operations,
            "seconds": done.seconds,
            "per_second": done.per_second,
            "deadlocks": done.deadlocks,
            "conflicts": done.conflicts,
            "latency": latency,
        }))
    }
}
