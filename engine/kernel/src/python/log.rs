//! The log of an open store, entry by entry.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::status::{dict, seconds};
use super::store::Store;
use crate::logview::{self, LogLine};
use crate::types::Lsn;

#[pymethods]
impl Store {
    /// Entries from the log. Keys: lsn, end, txn, op, bytes, pages [int], tree, at (Unix seconds
    /// of a commit or the end of an abort, else None). Never stored values.
    #[pyo3(signature = (from_lsn=0, limit=100))]
    fn read_log<'py>(
        &self,
        py: Python<'py>,
        from_lsn: u64,
        limit: usize,
    ) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let lines = self.work(py, |open| logview::read_log(open.shared(), Lsn(from_lsn), limit))?;
        lines.iter().map(|line| tell(py, line)).collect()
    }
}

fn tell<'py>(py: Python<'py>, line: &LogLine) -> PyResult<Bound<'py, PyDict>> {
    Ok(dict!(py, {
        "lsn": line.lsn.0,
        "end": line.end.0,
        "txn": line.txn.0,
        "op": line.op,
        "bytes": line.bytes,
        "pages": line.pages.iter().map(|page| page.0).collect::<Vec<_>>(),
        "tree": &line.tree,
        "at": line.at.map(seconds),
    }))
}
