//! The Python face: the only code that knows Python. `engine/_kernel.pyi` describes it.
//!
//! Rules. The interpreter's lock is kept for single reads and changes that find their page in
//! memory, where every latch is only tried; it is given back before anything that may wait. No
//! kernel mutex is held while it is taken. A panic poisons the store, never the process.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::error::{Code, Error, Field, Result};

mod cell;
mod checking;
mod cursor;
mod inspect;
mod job;
mod options;
mod recovery;
mod status;
mod store;
mod table;
mod transaction;
mod transfer;
mod tree;
mod value;

/// The Python exception for a kernel error: a subclass of `engine.errors.HoldfastError`.
pub(crate) fn to_python(py: Python<'_>, error: &Error) -> PyErr {
    let raised = (|| {
        let cause = error.cause.as_ref().map(|cause| to_python(py, cause).into_value(py));
        let fields = PyDict::new(py);
        for (name, value) in &error.fields {
            match value {
                Field::Text(text) => fields.set_item(name, text)?,
                Field::Int(number) => fields.set_item(name, number)?,
                Field::Float(number) => fields.set_item(name, number)?,
                Field::List(items) => fields.set_item(name, PyList::new(py, items)?)?,
            }
        }
        let build = py.import("engine.errors")?.getattr("from_kernel")?;
        Ok::<_, PyErr>(PyErr::from_value(build.call1((error.code.number(), fields, cause))?))
    })();
    raised.unwrap_or_else(|failed| {
        let plain = PyRuntimeError::new_err(error.to_string());
        plain.set_cause(py, Some(failed));
        plain
    })
}

impl From<Error> for PyErr {
    fn from(error: Error) -> PyErr {
        Python::attach(|py| to_python(py, &error))
    }
}

/// Runs kernel work; a panic becomes an `InternalError`.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned());
        Err(Error::internal(text.unwrap_or_else(|| "a panic without a message".to_owned())))
    })
}

/// Runs kernel work that may wait, without the interpreter's lock.
pub(crate) fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    Ok(py.detach(|| guarded(work))?)
}

#[pymodule(gil_used = false)]
fn _kernel(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let codes = PyDict::new(module.py());
    for code in Code::ALL {
        codes.set_item(code.name(), code.number())?;
    }
    module.add("ERROR_CODES", codes)?;
    module.add_class::<job::Job>()?;
    module.add_class::<store::Store>()?;
    module.add_class::<transaction::Transaction>()?;
    module.add_class::<tree::Tree>()?;
    module.add_class::<cursor::Cursor>()?;
    module.add_class::<table::Table>()?;
    module.add_class::<cursor::RowCursor>()?;
    module.add_class::<recovery::Recovery>()?;
    module.add_function(wrap_pyfunction!(inspect::inspect, module)?)?;
    module.add_function(wrap_pyfunction!(transfer::describe_source, module)?)?;
    module.add_function(wrap_pyfunction!(transfer::sniff_csv, module)?)?;
    Ok(())
}
