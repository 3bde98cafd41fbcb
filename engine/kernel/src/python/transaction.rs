//! `Transaction`: a context manager that commits, or aborts on an error.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyAny, PyTuple};

use super::cell::Cell;
use super::errors::detached;
use super::held::Held;
use super::table::Table;
use super::tree::Tree;
use super::turns::wait_with_others;
use crate::error::{Code, Error, Result};
use crate::lock::Mode;
use crate::rows::{Schema, tables};
use crate::txn::CatalogueKind;

#[pyclass(frozen, module = "engine._kernel")]
pub struct Transaction {
    pub(crate) cell: Held<Cell>,
}

fn mode_named(name: &str) -> Result<Mode> {
    Mode::named(name).ok_or_else(|| Error::argument("mode", format!("there is no lock mode {name:?}")))
}

#[pymethods]
impl Transaction {
    #[getter]
    fn id(&self) -> u64 {
        self.cell.id.0
    }

    #[getter]
    fn status(&self) -> &'static str {
        self.cell.status()
    }

    #[getter]
    fn isolation(&self) -> &'static str {
        self.cell.isolation()
    }

    /// Damage that has stopped all changes does not stop this transaction: it repairs the damage.
    fn repairs_damage(&self, py: Python<'_>) -> PyResult<()> {
        self.cell.run(py, |txn| {
            txn.repairs_damage();
            Ok(())
        })
    }

    #[pyo3(signature = (name, create = true))]
    fn tree(&self, py: Python<'_>, name: String, create: bool) -> PyResult<Tree> {
        Tree::open(py, &self.cell, name, create)
    }

    fn drop_tree(&self, py: Python<'_>, name: String) -> PyResult<()> {
        self.cell.reshaped();
        self.cell.run(py, |txn| {
            if txn.drop_tree(CatalogueKind::Tree, &name)? {
                Ok(())
            } else {
                Err(Error::new(Code::TreeNotFound).with("tree", name.as_str()))
            }
        })
    }

    fn create_table(&self, py: Python<'_>, schema: &str) -> PyResult<Table> {
        let schema = Schema::from_json(schema)?;
        self.cell.reshaped();
        let table = self.cell.run(py, |txn| tables::create(txn, &schema))?;
        Ok(Table::new(&self.cell, table))
    }

    fn table(&self, py: Python<'_>, name: &str) -> PyResult<Table> {
        let table = self.cell.run(py, |txn| tables::open(txn, name))?;
        Ok(Table::new(&self.cell, table))
    }

    fn drop_table(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        self.cell.reshaped();
        self.cell.run(py, |txn| tables::drop(txn, name))
    }

    #[pyo3(signature = (table, name, columns, unique = false))]
    fn create_index(
        &self,
        py: Python<'_>,
        table: &str,
        name: &str,
        columns: Vec<String>,
        unique: bool,
    ) -> PyResult<()> {
        self.cell.reshaped();
        self.cell.run(py, |txn| {
            let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
            tables::create_index(txn, self.cell.open.store.disk(), table, name, &columns, unique)
                .map(|_| ())
        })
    }

    fn drop_index(&self, py: Python<'_>, table: &str, name: &str) -> PyResult<()> {
        self.cell.reshaped();
        self.cell.run(py, |txn| tables::drop_index(txn, table, name).map(|_| ()))
    }

    fn savepoint(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        self.cell.run(py, |txn| txn.savepoint(name))
    }

    fn rollback_to(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        self.cell.reshaped();
        self.cell.run(py, |txn| txn.rollback_to(name))
    }

    #[pyo3(signature = (name, mode = "exclusive", timeout_s = None))]
    fn lock(&self, py: Python<'_>, name: &str, mode: &str, timeout_s: Option<f64>) -> PyResult<()> {
        let mode = mode_named(mode)?;
        let timeout = timeout_s
            .map(Duration::try_from_secs_f64)
            .transpose()
            .map_err(|_| Error::argument("timeout_s", "must be a number of seconds, not below 0"))?;
        self.cell.run(py, |txn| txn.lock_name(name, mode, timeout))
    }

    fn unlock(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        self.cell.run(py, |txn| {
            if txn.unlock_name(name)? {
                return Ok(());
            }
            Err(Error::argument("name", "this transaction holds no lock of that name"))
        })
    }

    /// Gives every advisory lock back; returns how many there were.
    fn unlock_all(&self, py: Python<'_>) -> PyResult<usize> {
        self.cell.run(py, |txn| txn.unlock_all_names())
    }

    /// Makes the transaction durable and releases its locks; returns its commit LSN.
    fn commit(&self, py: Python<'_>) -> PyResult<u64> {
        match self.cell.try_commit(py) {
            Some(lsn) => Ok(lsn),
            None => wait_with_others(py, || self.cell.commit()),
        }
    }

    /// Undoes everything and releases the locks; nothing where it has ended already.
    fn abort(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, || self.cell.abort())
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// Commits, or rolls back after an error. A victim's error is raised even if the body
    /// swallowed it; a failing rollback never hides the error of the body.
    #[pyo3(signature = (*exception))]
    fn __exit__(&self, py: Python<'_>, exception: &Bound<'_, PyTuple>) -> PyResult<bool> {
        let kind: Option<Bound<'_, PyAny>> = exception.get_item(0).ok().filter(|kind| !kind.is_none());
        if kind.is_some() {
            let _ = self.abort(py);
            return Ok(false);
        }
        if self.cell.is_ended_by_owner() || self.cell.try_commit(py).is_none() {
            wait_with_others(py, || self.cell.leave())?;
        }
        Ok(false)
    }
}
