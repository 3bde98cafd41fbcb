//! A table or a tree beside the same one of another database: what differs, and putting it back.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use super::cell::Cell;
use super::held::Held;
use super::status::dict;
use super::table::{self, Table};
use super::tree::{self, Tree};
use super::value::row_to_python;
use crate::error::Result;
use crate::rows::Row;
use crate::rows::compare::{self, Compared, Pass, Portion, PutBack, Side};
use crate::rows::tables::OpenTable;
use crate::sync::Arc;
use crate::txn::{Transaction, TreeRef};

/// What is compared on both sides.
trait Place: Send + Sync {
    fn cell(&self) -> &Held<Cell>;
    fn find(&self, txn: &mut Transaction) -> Result<(TreeRef, Option<Arc<OpenTable>>)>;
}

impl Place for table::Handle {
    fn cell(&self) -> &Held<Cell> {
        &self.cell
    }
    fn find(&self, txn: &mut Transaction) -> Result<(TreeRef, Option<Arc<OpenTable>>)> {
        let table = self.resolve(txn)?;
        Ok((table.tree, Some(table)))
    }
}

impl Place for tree::Handle {
    fn cell(&self) -> &Held<Cell> {
        &self.cell
    }
    fn find(&self, txn: &mut Transaction) -> Result<(TreeRef, Option<Arc<OpenTable>>)> {
        Ok((self.resolve(txn)?, None))
    }
}

/// Works on both sides at once, without the interpreter's lock.
fn both<T: Send>(
    py: Python<'_>,
    then: &dyn Place,
    now: &dyn Place,
    work: impl FnOnce(&mut Side<'_>, &mut Side<'_>, Option<&OpenTable>) -> Result<T> + Send,
) -> PyResult<T> {
    now.cell().run(py, |txn| {
        let (here, table) = now.find(txn)?;
        then.cell().work(|past| {
            let (there, old) = then.find(past)?;
            if let (Some(old), Some(table)) = (&old, &table) {
                compare::ensure_alike(old, table)?;
            }
            let mut then = Side { txn: past, tree: there };
            work(&mut then, &mut Side { txn, tree: here }, table.as_deref())
        })
    })
}

/// A difference with its cells: key bytes, key, row then, row now.
type Shown = (Vec<u8>, Row, Option<Row>, Option<Row>);

fn shown(compared: &mut Compared, table: Option<&OpenTable>, cell_limit: usize) -> Result<Vec<Shown>> {
    let limit = if cell_limit == 0 { usize::MAX } else { cell_limit };
    let cells =
        |value: Option<Vec<u8>>| value.map(|value| compare::cells(table, &value, limit)).transpose();
    let found = std::mem::take(&mut compared.found);
    let shown = found.into_iter().map(|difference| {
        let key = compare::key_cells(table, &difference.key)?;
        Ok((difference.key, key, cells(difference.then)?, cells(difference.now)?))
    });
    shown.collect()
}

fn compared<'py>(
    py: Python<'py>,
    then: &dyn Place,
    now: &dyn Place,
    (after, records, keep, cell_limit): (Option<&[u8]>, usize, usize, usize),
) -> PyResult<Bound<'py, PyDict>> {
    let portion = Portion { after, records, keep };
    let (done, found) = both(py, then, now, |then, now, table| {
        let mut done = compare::compare(then, now, &portion)?;
        let found = shown(&mut done, table, cell_limit)?;
        Ok((done, found))
    })?;
    let row = |row: &Option<Row>| row.as_ref().map(|row| row_to_python(py, row)).transpose();
    let found = found.iter().map(|(bytes, key, then, now)| {
        let parts = [
            PyBytes::new(py, bytes).into_any(),
            row_to_python(py, key)?.into_any(),
            row(then)?.into_pyobject(py)?.into_any(),
            row(now)?.into_pyobject(py)?.into_any(),
        ];
        PyTuple::new(py, parts)
    });
    Ok(dict!(py, {
        "same": done.same,
        "added": done.added,
        "changed": done.changed,
        "removed": done.removed,
        "found": found.collect::<PyResult<Vec<_>>>()?,
        "next": done.next.map(|key| PyBytes::new(py, &key)),
    }))
}

fn pass_of(clears: bool, changed: bool, added: bool) -> Pass {
    if clears { Pass::Clear { changed, added } } else { Pass::Fill }
}

fn put_back<'py>(
    py: Python<'py>,
    then: &dyn Place,
    now: &dyn Place,
    pass: Pass,
    keys: Option<Vec<Vec<u8>>>,
    (after, records): (Option<&[u8]>, usize),
) -> PyResult<Bound<'py, PyDict>> {
    now.cell().changed();
    let PutBack { cleared, removed, filled, kept, extra, missing, looked, next } =
        both(py, then, now, |then, now, table| match &keys {
            Some(keys) => compare::put_back_keys(then, now, table, pass, keys),
            None => {
                let portion = Portion { after, records, keep: 0 };
                compare::put_back(then, now, table, pass, &portion)
            }
        })?;
    Ok(dict!(py, {
        "cleared": cleared,
        "removed": removed,
        "filled": filled,
        "kept": kept,
        "extra": extra,
        "missing": missing,
        "looked": looked,
        "next": next.map(|key| PyBytes::new(py, &key)),
    }))
}

#[pymethods]
impl Table {
    /// Compares a portion of this table with what it was, `past`, in another database.
    #[pyo3(signature = (past, after = None, records = 10_000, keep = 0, cell_limit = 0))]
    fn compare<'py>(
        &self,
        py: Python<'py>,
        past: &Bound<'py, Table>,
        after: Option<&[u8]>,
        records: usize,
        keep: usize,
        cell_limit: usize,
    ) -> PyResult<Bound<'py, PyDict>> {
        compared(py, &*past.get().handle, &*self.handle, (after, records, keep, cell_limit))
    }

    /// Carries out one pass of putting rows back over a portion of the table, or over `keys`.
    #[pyo3(signature = (past, clears, changed = false, added = false, keys = None, after = None,
                        records = 10_000))]
    #[allow(clippy::too_many_arguments)]
    fn put_back<'py>(
        &self,
        py: Python<'py>,
        past: &Bound<'py, Table>,
        clears: bool,
        changed: bool,
        added: bool,
        keys: Option<Vec<Vec<u8>>>,
        after: Option<&[u8]>,
        records: usize,
    ) -> PyResult<Bound<'py, PyDict>> {
        let pass = pass_of(clears, changed, added);
        put_back(py, &*past.get().handle, &*self.handle, pass, keys, (after, records))
    }
}

#[pymethods]
impl Tree {
    /// As `Table.compare`; a value is a row of one cell.
    #[pyo3(signature = (past, after = None, records = 10_000, keep = 0, cell_limit = 0))]
    fn compare<'py>(
        &self,
        py: Python<'py>,
        past: &Bound<'py, Tree>,
        after: Option<&[u8]>,
        records: usize,
        keep: usize,
        cell_limit: usize,
    ) -> PyResult<Bound<'py, PyDict>> {
        compared(py, &*past.get().handle, &*self.handle, (after, records, keep, cell_limit))
    }

    /// As `Table.put_back`.
    #[pyo3(signature = (past, clears, changed = false, added = false, keys = None, after = None,
                        records = 10_000))]
    #[allow(clippy::too_many_arguments)]
    fn put_back<'py>(
        &self,
        py: Python<'py>,
        past: &Bound<'py, Tree>,
        clears: bool,
        changed: bool,
        added: bool,
        keys: Option<Vec<Vec<u8>>>,
        after: Option<&[u8]>,
        records: usize,
    ) -> PyResult<Bound<'py, PyDict>> {
        let pass = pass_of(clears, changed, added);
        put_back(py, &*past.get().handle, &*self.handle, pass, keys, (after, records))
    }
}
