//! `Tree`: an ordered mutable mapping of bytes to bytes within one transaction.

use std::sync::Arc;

use pyo3::exceptions::{PyKeyError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyBool, PyBytes, PyDict, PyMapping, PyString, PyTuple};

use super::ascending::Ascending;
use super::cell::Cell;
use super::cursor::{Bounds, Cursor, KeyBound, Yield};
use super::held::Held;
use super::pairs::{Pair, build, pairs_of};
use super::value::bytes;
use crate::error::{Code, Error, Result};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::txn::{Range, Transaction, TreeRef};
use crate::types::{PageId, TreeId};

/// Where a tree is, and when that was found: an epoch ends when trees may have come or gone. Read
/// and written by who has the transaction, one at a time: the two parts belong together.
struct Place {
    tree: AtomicU32,
    root: AtomicU32,
    epoch: AtomicU64,
}

impl Place {
    fn new(at: TreeRef, epoch: u64) -> Place {
        Place { tree: at.id.0.into(), root: at.root.0.into(), epoch: epoch.into() }
    }

    fn set(&self, at: TreeRef, epoch: u64) {
        self.tree.store(at.id.0, Ordering::Relaxed);
        self.root.store(at.root.0, Ordering::Relaxed);
        self.epoch.store(epoch, Ordering::Relaxed);
    }

    fn get(&self) -> (TreeRef, u64) {
        let (id, root) = (self.tree.load(Ordering::Relaxed), self.root.load(Ordering::Relaxed));
        (TreeRef { id: TreeId(id), root: PageId(root) }, self.epoch.load(Ordering::Relaxed))
    }
}

/// A tree by name; found again after a rollback to a savepoint.
pub(crate) struct Handle {
    pub cell: Held<Cell>,
    pub name: String,
    place: Place,
}

impl Handle {
    /// Where the tree is, if that is known without looking.
    fn known(&self, txn: &Transaction) -> Option<TreeRef> {
        let (at, found_in) = self.place.get();
        (found_in == epoch(&self.cell, txn)).then_some(at)
    }

    pub fn resolve(&self, txn: &mut Transaction) -> Result<TreeRef> {
        if let Some(at) = self.known(txn) {
            return Ok(at);
        }
        let at = find(txn, &self.name, false)?;
        self.place.set(at, epoch(&self.cell, txn));
        Ok(at)
    }
}

/// Both parts only grow, so that their sum is never the same again.
fn epoch(cell: &Cell, txn: &Transaction) -> u64 {
    txn.epoch() + cell.shapes()
}

fn find(txn: &mut Transaction, name: &str, create: bool) -> Result<TreeRef> {
    txn.tree(name, create)?.ok_or_else(|| Error::new(Code::TreeNotFound).with("tree", name))
}

#[pyclass(frozen, mapping, module = "engine._kernel")]
pub struct Tree {
    pub(super) handle: Arc<Handle>,
}

impl Tree {
    pub(crate) fn open(py: Python<'_>, cell: &Held<Cell>, name: String, create: bool) -> PyResult<Tree> {
        if create {
            cell.changed();
        }
        // A tree that is there is found without giving the interpreter up.
        let known = cell.attempt(py, |txn| {
            let at = txn.try_tree(&name)?;
            Some(Ok(Place::new(at, epoch(cell, txn))))
        });
        if let Some(place) = known {
            let handle = Handle { cell: cell.clone(), name, place };
            return Ok(Tree { handle: Arc::new(handle) });
        }
        let place = cell.run(py, |txn| {
            // A transaction that may not write has only the trees that are there.
            let create = create && !txn.is_read_only();
            Ok(Place::new(find(txn, &name, create)?, epoch(cell, txn)))
        })?;
        let handle = Handle { cell: cell.clone(), name, place };
        Ok(Tree { handle: Arc::new(handle) })
    }

    fn cell(&self) -> &Cell {
        &self.handle.cell
    }

    /// Works on the tree without the interpreter's lock.
    fn run<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Transaction, TreeRef) -> Result<T> + Send,
    ) -> PyResult<T> {
        let handle = &self.handle;
        self.cell().run(py, |txn| {
            let at = handle.resolve(txn)?;
            work(txn, at)
        })
    }

    fn read(&self, py: Python<'_>, key: &[u8]) -> PyResult<Option<Py<PyBytes>>> {
        let handle = &self.handle;
        let bytes = |value: &[u8]| bytes(py, value).map(Bound::unbind);
        let found = self.cell().attempt(py, |txn| {
            let found = txn.try_get(handle.known(txn)?, key)?;
            Some(found.map(|value| value.map(bytes)))
        });
        match found {
            Some(value) => value.transpose(),
            None => self.run(py, |txn, at| txn.get(at, key))?.as_deref().map(bytes).transpose(),
        }
    }

    fn remove(&self, py: Python<'_>, key: &[u8]) -> PyResult<bool> {
        self.cell().changed();
        self.run(py, |txn, at| txn.delete(at, key))
    }

    fn write(&self, py: Python<'_>, key: &[u8], value: &[u8]) -> PyResult<()> {
        let handle = &self.handle;
        self.cell().changed();
        let tried = self.cell().attempt(py, |txn| txn.try_put(handle.known(txn)?, key, value));
        if tried.is_none() {
            self.run(py, |txn, at| txn.put(at, key, value))?;
        }
        Ok(())
    }

    fn cursor(&self, bounds: Bounds, yields: Yield) -> Cursor {
        Cursor::new(Arc::clone(&self.handle), bounds, yields)
    }

    /// Puts all pairs of a mapping or an iterable, or none; returns how many.
    fn put_all(&self, py: Python<'_>, source: &Bound<'_, PyAny>) -> PyResult<usize> {
        if let Some(list) = Ascending::of(source)
            && self.run(py, |txn, at| txn.can_fill(at))?
        {
            self.cell().changed();
            let handle = &self.handle;
            if let Some(count) = list.put(self.cell(), |txn| handle.resolve(txn))? {
                return Ok(count);
            }
        }
        self.put_pairs(py, &pairs_of(source)?)
    }

    fn put_pairs(&self, py: Python<'_>, pairs: &[Pair]) -> PyResult<usize> {
        self.cell().changed();
        self.run(py, |txn, at| {
            txn.atomically(|txn| {
                if pairs.len() >= WORTH_BUILDING && txn.can_fill(at)? {
                    return build(txn, at, pairs);
                }
                pairs.iter().try_for_each(|(key, value)| txn.put(at, key, value).map(|_| ()))
            })
        })?;
        Ok(pairs.len())
    }
}

/// So many pairs are worth sorting, for a tree that is built bottom up.
const WORTH_BUILDING: usize = 1000;

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
        // No key of another type can be in it.
        let Ok(key) = key.cast::<PyBytes>() else { return Ok(false) };
        let (key, handle) = (key.as_bytes(), &self.handle);
        let found = self.cell().attempt(py, |txn| {
            let found = txn.try_get(handle.known(txn)?, key)?;
            Some(found.map(|value| value.is_some()))
        });
        match found {
            Some(is_there) => Ok(is_there),
            None => self.run(py, |txn, at| txn.contains(at, key)),
        }
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        let count = self.run(py, |txn, at| txn.count(at))?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    fn __iter__(&self) -> Cursor {
        self.cursor(Bounds::default(), Yield::Keys)
    }

    fn __reversed__(&self) -> Cursor {
        self.cursor(Bounds::backward(), Yield::Keys)
    }

    /// Equal to any mapping of the same pairs.
    fn __eq__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let Ok(other) = other.cast::<PyMapping>() else { return Ok(py.NotImplemented()) };
        let answer = |equal: bool| Ok(PyBool::new(py, equal).to_owned().into_any().unbind());
        if self.__len__(py)? != other.len()? {
            return answer(false);
        }
        let cursor = self.cursor(Bounds::default(), Yield::Items);
        while let Some((key, value)) = cursor.next_pair(py)? {
            let key = PyBytes::new(py, &key);
            if !other.contains(&key)? || !other.get_item(&key)?.eq(PyBytes::new(py, &value))? {
                return answer(false);
            }
        }
        answer(true)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<Tree {}>", PyString::new(py, &self.handle.name).repr()?))
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

    #[pyo3(signature = (start = KeyBound::Absent, stop = KeyBound::Absent, reverse = false),
           text_signature = "($self, start=None, stop=None, reverse=False)")]
    fn keys(&self, start: KeyBound, stop: KeyBound, reverse: bool) -> PyResult<Cursor> {
        Ok(self.cursor(Bounds::new(start, stop, reverse)?, Yield::Keys))
    }

    #[pyo3(signature = (start = KeyBound::Absent, stop = KeyBound::Absent, reverse = false),
           text_signature = "($self, start=None, stop=None, reverse=False)")]
    fn values(&self, start: KeyBound, stop: KeyBound, reverse: bool) -> PyResult<Cursor> {
        Ok(self.cursor(Bounds::new(start, stop, reverse)?, Yield::Values))
    }

    #[pyo3(signature = (start = KeyBound::Absent, stop = KeyBound::Absent, reverse = false),
           text_signature = "($self, start=None, stop=None, reverse=False)")]
    fn items(&self, start: KeyBound, stop: KeyBound, reverse: bool) -> PyResult<Cursor> {
        Ok(self.cursor(Bounds::new(start, stop, reverse)?, Yield::Items))
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
        let last = self.cursor(Bounds::backward(), Yield::Items).next_pair(py)?;
        let Some((key, value)) = last else { return Err(PyKeyError::new_err("the tree is empty")) };
        let pair = (PyBytes::new(py, &key).unbind(), bytes(py, &value)?.unbind());
        self.remove(py, &key)?;
        Ok(pair)
    }

    #[pyo3(signature = (key, default = None))]
    fn setdefault(&self, py: Python<'_>, key: &[u8], default: Option<&[u8]>) -> PyResult<Py<PyBytes>> {
        if let Some(value) = self.read(py, key)? {
            return Ok(value);
        }
        let default = default.ok_or_else(|| PyTypeError::new_err("values are bytes"))?;
        self.write(py, key, default)?;
        bytes(py, default).map(Bound::unbind)
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
            1 => self.put_all(py, &arguments.get_item(0)?).map(|_| ()),
            _ => Err(PyTypeError::new_err("update expected at most 1 argument")),
        }
    }

    /// Puts many pairs in one call, all or none; returns how many.
    fn put_many(&self, py: Python<'_>, items: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.put_all(py, items)
    }

    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        self.cell().changed();
        self.run(py, |txn, at| txn.atomically(|txn| clear(txn, at)))
    }
}

fn clear(txn: &mut Transaction, at: TreeRef) -> Result<()> {
    let range = Range { keys_only: true, ..Range::default() };
    let mut from: Option<Vec<u8>> = None;
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
}
