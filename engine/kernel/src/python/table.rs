//! `Table`: typed rows within one transaction.

use std::sync::Arc;

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyDict, PyList, PyTuple};

use super::cell::Cell;
use super::cursor::RowCursor;
use super::held::Held;
use super::value::{from_python, key_from_python, row_to_python};
use crate::error::Result;
use crate::rows::tables::{self, OpenTable};
use crate::rows::{Page, Row, Value};
use crate::txn::Transaction;

/// An open table, opened again after its transaction may have changed its shape.
pub(crate) struct Handle {
    pub cell: Held<Cell>,
    name: String,
    open: Mutex<(Arc<OpenTable>, u64)>,
}

impl Handle {
    pub fn resolve(&self, txn: &mut Transaction) -> Result<Arc<OpenTable>> {
        let shapes = self.cell.shapes();
        let mut open = self.open.lock();
        if open.1 != shapes {
            *open = (Arc::new(tables::open(txn, &self.name)?), shapes);
        }
        Ok(Arc::clone(&open.0))
    }

    fn seen(&self) -> Arc<OpenTable> {
        Arc::clone(&self.open.lock().0)
    }
}

#[pyclass(frozen, module = "engine._kernel")]
pub struct Table {
    pub(super) handle: Arc<Handle>,
}

/// The schema of a table as JSON, with its number of rows.
pub(crate) fn describe(table: &OpenTable, txn: &mut Transaction) -> Result<String> {
    let mut schema = table.schema.to_json();
    schema["rows"] = table.count(txn)?.into();
    Ok(schema.to_string())
}

impl Table {
    pub(crate) fn new(cell: &Held<Cell>, table: OpenTable) -> Table {
        let shapes = cell.shapes();
        let name = table.schema.name.clone();
        let open = Mutex::new((Arc::new(table), shapes));
        Table { handle: Arc::new(Handle { cell: cell.clone(), name, open }) }
    }

    fn run<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&OpenTable, &mut Transaction) -> Result<T> + Send,
    ) -> PyResult<T> {
        let handle = &self.handle;
        handle.cell.run(py, |txn| {
            let table = handle.resolve(txn)?;
            work(&table, txn)
        })
    }

    fn change<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&OpenTable, &mut Transaction) -> Result<T> + Send,
    ) -> PyResult<T> {
        self.handle.cell.changed();
        self.run(py, work)
    }

    /// A row from a tuple in column order, or from a dictionary by column name.
    fn row_from(&self, row: &Bound<'_, PyAny>) -> PyResult<Row> {
        let table = self.handle.seen();
        let Ok(named) = row.cast::<PyDict>() else { return key_from_python(row) };
        let mut cells = vec![Value::Null; table.schema.columns.len()];
        for (name, value) in named {
            cells[table.schema.column(&name.extract::<String>()?)?] = from_python(&value)?;
        }
        Ok(cells)
    }
}

fn bound(value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Row>> {
    value.filter(|value| !value.is_none()).map(key_from_python).transpose()
}

#[pymethods]
impl Table {
    #[getter]
    fn name(&self) -> String {
        self.handle.seen().schema.name.clone()
    }

    #[getter]
    fn columns(&self) -> Vec<String> {
        self.handle.seen().schema.columns.iter().map(|column| column.name.clone()).collect()
    }

    /// The schema as JSON; see `Store.table_schema`.
    #[getter]
    fn schema(&self, py: Python<'_>) -> PyResult<String> {
        self.run(py, describe)
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        let count = self.run(py, |table, txn| table.count(txn))?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    fn insert<'py>(&self, py: Python<'py>, row: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
        let row = self.row_from(row)?;
        let key = self.change(py, |table, txn| table.insert(txn, row))?;
        row_to_python(py, &key)
    }

    fn insert_many(&self, py: Python<'_>, rows: &Bound<'_, PyAny>) -> PyResult<u64> {
        let rows = rows.try_iter()?.map(|row| self.row_from(&row?)).collect::<PyResult<Vec<Row>>>()?;
        self.change(py, |table, txn| table.insert_many(txn, rows))
    }

    fn get<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let key = key_from_python(key)?;
        let row = self.run(py, |table, txn| table.get(txn, &key))?;
        row.map(|row| row_to_python(py, &row)).transpose()
    }

    fn update(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        changes: &Bound<'_, PyDict>,
    ) -> PyResult<bool> {
        let key = key_from_python(key)?;
        let table = self.handle.seen();
        let mut placed = Vec::with_capacity(changes.len());
        for (name, value) in changes {
            placed.push((table.schema.column(&name.extract::<String>()?)?, from_python(&value)?));
        }
        self.change(py, |table, txn| table.update(txn, &key, &placed))
    }

    fn delete(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let key = key_from_python(key)?;
        self.change(py, |table, txn| table.delete(txn, &key))
    }

    #[pyo3(signature = (start = None, stop = None, reverse = false))]
    fn rows(
        &self,
        start: Option<&Bound<'_, PyAny>>,
        stop: Option<&Bound<'_, PyAny>>,
        reverse: bool,
    ) -> PyResult<RowCursor> {
        Ok(RowCursor::new(Arc::clone(&self.handle), bound(start)?, bound(stop)?, reverse))
    }

    #[pyo3(signature = (after = None, limit = 200, index = None, reverse = false, start = None, stop = None,
                        cell_limit = 0))]
    #[allow(clippy::too_many_arguments)]
    fn page<'py>(
        &self,
        py: Python<'py>,
        after: Option<&Bound<'py, PyAny>>,
        limit: usize,
        index: Option<&str>,
        reverse: bool,
        start: Option<&Bound<'py, PyAny>>,
        stop: Option<&Bound<'py, PyAny>>,
        cell_limit: usize,
    ) -> PyResult<Bound<'py, PyList>> {
        let (after, start, stop) = (bound(after)?, bound(start)?, bound(stop)?);
        let rows = self.run(py, |table, txn| {
            let index = index.map(|name| table.schema.index(name)).transpose()?;
            table.page(
                txn,
                &Page {
                    index,
                    after: after.as_deref(),
                    start: start.as_deref(),
                    stop: stop.as_deref(),
                    reverse,
                    limit,
                    cell_limit,
                },
            )
        })?;
        let pairs = rows
            .iter()
            .map(|(position, row)| Ok((row_to_python(py, position)?, row_to_python(py, row)?)))
            .collect::<PyResult<Vec<_>>>()?;
        PyList::new(py, pairs)
    }

    /// Walks over up to `rows` rows without handing them out: how many there were, and the
    /// position of the last one.
    #[pyo3(signature = (rows, after = None, index = None, reverse = false, start = None, stop = None))]
    #[allow(clippy::too_many_arguments)]
    fn skip<'py>(
        &self,
        py: Python<'py>,
        rows: usize,
        after: Option<&Bound<'py, PyAny>>,
        index: Option<&str>,
        reverse: bool,
        start: Option<&Bound<'py, PyAny>>,
        stop: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<(usize, Option<Bound<'py, PyTuple>>)> {
        let (after, start, stop) = (bound(after)?, bound(start)?, bound(stop)?);
        let (skipped, last) = self.run(py, |table, txn| {
            let index = index.map(|name| table.schema.index(name)).transpose()?;
            let page = Page {
                index,
                after: after.as_deref(),
                start: start.as_deref(),
                stop: stop.as_deref(),
                reverse,
                limit: rows,
                ..Page::default()
            };
            table.skip(txn, &page)
        })?;
        Ok((skipped, last.map(|position| row_to_python(py, &position)).transpose()?))
    }

    fn key_of<'py>(
        &self,
        py: Python<'py>,
        position: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let key = self.handle.seen().key_of(&key_from_python(position)?)?;
        row_to_python(py, &key)
    }

    /// The primary key of the last row below a bound of stored keys, or of the first one from it on.
    #[pyo3(signature = (bound, *, before))]
    fn key_beside<'py>(
        &self,
        py: Python<'py>,
        bound: Vec<u8>,
        before: bool,
    ) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let key = self.run(py, |table, txn| table.key_beside(txn, bound, before))?;
        key.map(|key| row_to_python(py, &key)).transpose()
    }

    fn by_index<'py>(
        &self,
        py: Python<'py>,
        index: &str,
        key: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyList>> {
        let key = key_from_python(key)?;
        let rows = self.run(py, |table, txn| {
            let place = table.schema.index(index)?;
            table.by_index(txn, place, &key)
        })?;
        let rows = rows.iter().map(|row| row_to_python(py, row)).collect::<PyResult<Vec<_>>>()?;
        PyList::new(py, rows)
    }
}
