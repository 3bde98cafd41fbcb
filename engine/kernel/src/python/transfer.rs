//! Import and export, and the looks at files before an import.

use std::path::Path;
use std::time::Instant;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::errors::detached;
use super::job::{Job, progress_of};
use super::status::dict;
use super::store::Store;
use crate::rows::import::{self, Plan};
use crate::rows::source::SourceTable;
use crate::rows::{csv, export};
use crate::txn::Isolation;

/// What an import would read, by table.
#[pyfunction]
pub fn describe_source<'py>(py: Python<'py>, path: &str) -> PyResult<Bound<'py, PyDict>> {
    let file = Path::new(path);
    let (kind, described, without) = detached(py, || {
        let source = import::open_source(file, &Plan::default())?;
        Ok((source.kind(), source.tables().to_vec(), source.without().to_vec()))
    })?;
    let tables = PyList::empty(py);
    for table in &described {
        tables.append(describe_table(py, table)?)?;
    }
    Ok(dict!(py, { "kind": kind, "tables": tables, "without": without }))
}

fn describe_table<'py>(py: Python<'py>, table: &SourceTable) -> PyResult<Bound<'py, PyAny>> {
    let mut shape = table.schema.to_json();
    shape["rows"] = table.rows.into();
    shape["without"] = table.without.clone().into();
    py.import("json")?.call_method1("loads", (shape.to_string(),))
}

/// A guess at how a CSV file is written.
#[pyfunction]
#[pyo3(signature = (path, sample_bytes = 1 << 20))]
pub fn sniff_csv<'py>(py: Python<'py>, path: &str, sample_bytes: u64) -> PyResult<Bound<'py, PyDict>> {
    let file = Path::new(path);
    let guess = detached(py, || csv::sniff(file, sample_bytes))?;
    let columns = PyList::empty(py);
    for column in &guess.columns {
        columns.append(dict!(py, { "name": &column.name, "type": column.kind.name() }))?;
    }
    Ok(dict!(py, {
        "delimiter": char::from(guess.format.delimiter).to_string(),
        "quote": char::from(guess.format.quote).to_string(),
        "encoding": guess.format.encoding.name(),
        "header": guess.format.header,
        "columns": columns,
        "sample": guess.sample,
    }))
}

#[pymethods]
impl Store {
    /// Imports tables of a file, all or nothing.
    #[pyo3(signature = (path, plan, job = None))]
    fn import_file<'py>(
        &self,
        py: Python<'py>,
        path: &str,
        plan: &Bound<'py, PyDict>,
        job: Option<&Bound<'py, Job>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let text: String = py.import("json")?.call_method1("dumps", (plan,))?.extract()?;
        let (file, progress, started) = (Path::new(path), progress_of(job), Instant::now());
        let imported = self.working(py, &progress, |open| {
            let json = serde_json::from_str(&text)
                .map_err(|error| crate::error::Error::argument("plan", error.to_string()))?;
            let plan = Plan::from_json(&json)?;
            let cell = open.begin(Isolation::ReadCommitted, false)?;
            let imported =
                cell.work(|txn| import::import(txn, open.store.disk(), file, &plan, &progress))?;
            cell.commit()?;
            Ok(imported)
        })?;
        let tables = PyList::empty(py);
        for (name, rows) in &imported.tables {
            tables.append(dict!(py, { "name": name, "rows": rows }))?;
        }
        Ok(dict!(py, {
            "tables": tables,
            "rows": imported.tables.iter().map(|(_, rows)| rows).sum::<u64>(),
            "seconds": started.elapsed().as_secs_f64(),
        }))
    }

    /// Writes tables to a file of another kind, as one snapshot has them.
    #[pyo3(signature = (path, kind, tables, job = None))]
    fn export_file<'py>(
        &self,
        py: Python<'py>,
        path: &str,
        kind: &str,
        tables: Vec<String>,
        job: Option<&Bound<'py, Job>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let (place, progress, started) = (Path::new(path), progress_of(job), Instant::now());
        let rows = self.working(py, &progress, |open| {
            let cell = open.begin(Isolation::RepeatableRead, true)?;
            let rows = cell.work(|txn| export::export(txn, place, kind, &tables, &progress))?;
            cell.commit()?;
            Ok(rows)
        })?;
        Ok(dict!(py, { "rows": rows, "tables": tables, "seconds": started.elapsed().as_secs_f64() }))
    }
}
