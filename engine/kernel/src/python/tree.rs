//! `Tree`: an ordered mutable mapping of bytes to bytes within one transaction.

use std::sync::Arc;

use parking_lot::Mutex;
use pyo3::exceptions::{PyKeyError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyBytes, PyDict, PyTuple};

use super::cell::Cell;
use super::cursor::{Cursor, Yield};
use crate::error::{Code, Error, Result};
use crate::txn::{CatalogueKind, Transaction, TreeRef};

/// Where a tree is, and the transaction's epoch in which that was found.
#[derive(Clone, Copy)]
struct Place {
    at: TreeRef,
    epoch: u64,
}

/// A tree by name; found again after a rollback to a savepoint.
pub(crate) struct Handle {
    pub cell: Arc<Cell>,
    pub name: String,
    place: Mutex<Place>,
}

impl Handle {
    pub fn resolve(&self, txn: &mut Transaction) -> Result<TreeRef> {
        let place = *self.place.lock();
        if place.epoch == txn.epoch() {
            return Ok(place.at);
        }
        let at = find(txn, &self.name, false)?;
        *self.place.lock() = Place { at, epoch: txn.epoch() };
        Ok(at)
    }
}

fn find(txn: &mut Transaction, name: &str, create: bool) -> Result<TreeRef> {
    txn.tree(name, create)?.ok_or_else(|| Error::new(Code::TreeNotFound).with("tree", name))
}

#[pyclass(frozen, mapping, module = "engine._kernel")]
pub struct Tree {
    handle: Arc<Handle>,
}

impl Tree {
    pub(crate) fn open(py: Python<'_>, cell: &Arc<Cell>, name: String, create: bool) -> PyResult<Tree> {
        if create {
            cell.changed();
        }
        let place = cell.run(py, |txn| {
            // A database that may not be written to has only the trees that are there.
            let create = create && txn.find_tree(CatalogueKind::Tree, &name)?.is_none();
            Ok(Place { at: find(txn, &name, create)?, epoch: txn.epoch() })
        })?;
        let handle = Handle { cell: Arc::clone(cell), name, place: Mutex::new(place) };
        Ok(Tree { handle: Arc::new(handle) })
    }

    fn cell(&self) -> &Cell {
        &self.handle.cell
    }

    fn read(&self, py: Python<'_>, key: &[u8]) -> PyResult<Option<Py<PyBytes>>> {
        let handle = &self.handle;
        let found = self.cell().attempt(py, |txn| match handle.resolve(txn) {
            Ok(at) => txn.try_get(at, key),
            Err(error) => Some(Err(error)),
        })?;
        let value = match found {
            Some(value) => value,
            None => self.cell().run(py, |txn| {
                let at = handle.resolve(txn)?;
                txn.get(at, key)
            })?,
        };
        Ok(value.map(|value| PyBytes::new(py, &value).unbind()))
    }

    fn remove(&self, py: Python<'_>, key: &[u8]) -> PyResult<bool> {
        let handle = &self.handle;
        self.cell().changed();
        self.cell().run(py, |txn| {
            let at = handle.resolve(txn)?;
            txn.delete(at, key)
        })
    }

    fn write(&self, py: Python<'_>, key: &[u8], value: &[u8]) -> PyResult<()> {
        let handle = &self.handle;
        self.cell().changed();
        let tried = self.cell().attempt(py, |txn| match handle.resolve(txn) {
            Ok(at) => txn.try_put(at, key, value),
            Err(error) => Some(Err(error)),
        })?;
        if tried.is_none() {
            self.cell().run(py, |txn| {
                let at = handle.resolve(txn)?;
                txn.put(at, key, value)
            })?;
        }
        Ok(())
    }

    fn cursor(
        &self,
        start: Option<Vec<u8>>,
        stop: Option<Vec<u8>>,
        reverse: bool,
        yields: Yield,
    ) -> Cursor {
        Cursor::new(Arc::clone(&self.handle), start, stop, reverse, yields)
    }

    /// Key and value pairs of any mapping or iterable of pairs, as `dict.update` takes them.
    fn pairs_of(source: &Bound<'_, PyAny>) -> PyResult<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut pairs = Vec::new();
        if source.hasattr("keys")? {
            for key in source.call_method0("keys")?.try_iter()? {
                let key = key?;
                pairs.push((key.extract()?, source.get_item(&key)?.extract()?));
            }
        } else {
            for pair in source.try_iter()? {
                pairs.push(pair?.extract()?);
            }
        }
        Ok(pairs)
    }
}

fn missing(py: Python<'_>, key: &[u8]) -> PyErr {
    PyKeyError::new_err(PyBytes::new(py, key).unbind())
}

#[pymethods]
impl Tree {
    #[getter]
    fn name(&self) -> &str {
        &self.handle.name
    }

    fn __getitem__(&self, py: Python<'_>, key: &[u8]) -> PyResult<Py<PyBytes>> {
        self.read(py, key)?.ok_or_else(|| missing(py, key))
    }

    fn __setitem__(&self, py: Python<'_>, key: &[u8], value: &[u8]) -> PyResult<()> {
        self.write(py, key, value)
    }

    fn __delitem__(&self, py: Python<'_>, key: &[u8]) -> PyResult<()> {
        if self.remove(py, key)? { Ok(()) } else { Err(missing(py, key)) }
    }

    fn __contains__(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let Ok(key) = key.extract::<Vec<u8>>() else {
            return Err(PyTypeError::new_err("keys are bytes"));
        };
        let handle = &self.handle;
        self.cell().run(py, |txn| {
            let at = handle.resolve(txn)?;
            txn.contains(at, &key)
        })
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        let handle = &self.handle;
        let count = self.cell().run(py, |txn| {
            let at = handle.resolve(txn)?;
            txn.count(at)
        })?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    fn __iter__(&self) -> Cursor {
        self.cursor(None, None, false, Yield::Keys)
    }

    fn __reversed__(&self) -> Cursor {
        self.cursor(None, None, true, Yield::Keys)
    }

    fn __eq__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<bool> {
        if !other.hasattr("keys")? || other.len()? != self.__len__(py)? {
            return Ok(false);
        }
        for (key, value) in Self::pairs_of(other)? {
            match self.read(py, &key)? {
                Some(own) if own.as_bytes(py) == value => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    #[pyo3(signature = (key, default = None))]
    fn get(
        &self,
        py: Python<'_>,
        key: &[u8],
        default: Option<Py<PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        Ok(self.read(py, key)?.map(Py::into_any).or(default))
    }

    #[pyo3(signature = (start = None, stop = None, reverse = false))]
    fn keys(&self, start: Option<Vec<u8>>, stop: Option<Vec<u8>>, reverse: bool) -> Cursor {
        self.cursor(start, stop, reverse, Yield::Keys)
    }

    #[pyo3(signature = (start = None, stop = None, reverse = false))]
    fn values(&self, start: Option<Vec<u8>>, stop: Option<Vec<u8>>, reverse: bool) -> Cursor {
        self.cursor(start, stop, reverse, Yield::Values)
    }

    #[pyo3(signature = (start = None, stop = None, reverse = false))]
    fn items(&self, start: Option<Vec<u8>>, stop: Option<Vec<u8>>, reverse: bool) -> Cursor {
        self.cursor(start, stop, reverse, Yield::Items)
    }

    #[pyo3(signature = (key, *default))]
    fn pop(&self, py: Python<'_>, key: &[u8], default: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
        if default.len() > 1 {
            return Err(PyTypeError::new_err("pop expected at most 2 arguments"));
        }
        match self.read(py, key)? {
            Some(value) => {
                self.remove(py, key)?;
                Ok(value.into_any())
            }
            None => default.get_item(0).map(Bound::unbind).map_err(|_| missing(py, key)),
        }
    }

    /// Removes and returns the last pair.
    fn popitem(&self, py: Python<'_>) -> PyResult<(Py<PyBytes>, Py<PyBytes>)> {
        let last = self.cursor(None, None, true, Yield::Items).next_pair(py)?;
        let Some((key, value)) = last else { return Err(PyKeyError::new_err("the tree is empty")) };
        self.remove(py, &key)?;
        Ok((PyBytes::new(py, &key).unbind(), PyBytes::new(py, &value).unbind()))
    }

    #[pyo3(signature = (key, default = None))]
    fn setdefault(&self, py: Python<'_>, key: &[u8], default: Option<&[u8]>) -> PyResult<Py<PyBytes>> {
        if let Some(value) = self.read(py, key)? {
            return Ok(value);
        }
        let default = default.ok_or_else(|| PyTypeError::new_err("values are bytes"))?;
        self.write(py, key, default)?;
        Ok(PyBytes::new(py, default).unbind())
    }

    #[pyo3(signature = (*arguments, **named))]
    fn update(
        &self,
        py: Python<'_>,
        arguments: &Bound<'_, PyTuple>,
        named: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        if named.is_some_and(|named| !named.is_empty()) {
            return Err(PyTypeError::new_err("keys are bytes, not names"));
        }
        match arguments.len() {
            0 => Ok(()),
            1 => self.put_pairs(py, Self::pairs_of(&arguments.get_item(0)?)?).map(|_| ()),
            _ => Err(PyTypeError::new_err("update expected at most 1 argument")),
        }
    }

    /// Puts many pairs in one call, all or none; returns how many.
    fn put_many(&self, py: Python<'_>, items: Vec<(Vec<u8>, Vec<u8>)>) -> PyResult<usize> {
        self.put_pairs(py, items)
    }

    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        let handle = &self.handle;
        self.cell().changed();
        self.cell().run(py, |txn| {
            let at = handle.resolve(txn)?;
            txn.atomically(|txn| {
                let range = crate::txn::Range { keys_only: true, ..crate::txn::Range::default() };
                let mut from = None;
                loop {
                    let batch = txn.scan(at, &range, from.as_deref(), 1024)?;
                    for (key, _) in &batch.records {
                        txn.delete(at, key)?;
                    }
                    match batch.next {
                        Some(next) => from = Some(next),
                        None => return Ok(()),
                    }
                }
            })
        })
    }
}

impl Tree {
    fn put_pairs(&self, py: Python<'_>, pairs: Vec<(Vec<u8>, Vec<u8>)>) -> PyResult<usize> {
        let handle = &self.handle;
        self.cell().changed();
        self.cell().run(py, |txn| {
            let at = handle.resolve(txn)?;
            txn.atomically(|txn| {
                for (key, value) in &pairs {
                    txn.put(at, key, value)?;
                }
                Ok(pairs.len())
            })
        })
    }
}
