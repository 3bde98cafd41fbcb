//! Where errors of the kernel become exceptions, and panics become errors.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict};

use super::value::field;
use crate::error::{Error, Result};
use crate::txn::Shared;

thread_local! {
    /// Set while a call from Python runs, then the place of its panic.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The exception of `engine.errors` for an error and its causes.
fn exception(py: Python<'_>, error: &Error) -> PyErr {
    build(py, error).unwrap_or_else(|failure| failure)
}

fn build(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    static FROM_KERNEL: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let fields = PyDict::new(py);
    for (name, value) in &error.fields {
        fields.set_item(name, field(py, value)?)?;
    }
    let cause = error.cause.as_ref().map(|cause| exception(py, cause).into_value(py));
    let from_kernel = FROM_KERNEL.import(py, "engine.errors", "from_kernel")?;
    // Beside the fields, which may be logged: the keys are for the program that gets the exception.
    let keys = error.key_bounds.as_ref().map(|bounds| {
        let bytes = |key: &Option<Vec<u8>>| key.as_ref().map(|key| PyBytes::new(py, key).unbind());
        (bytes(&bounds.low), bytes(&bounds.high))
    });
    let raised = from_kernel.call1((error.code.number(), fields, cause, keys))?;
    Ok(PyErr::from_value(raised))
}

impl From<Error> for PyErr {
    fn from(error: Error) -> PyErr {
        Python::attach(|py| exception(py, &error))
    }
}

/// Runs kernel work; a panic in it becomes an `InternalError`.
///
/// The words of a panic may hold stored data, so that only its place is told.
pub fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    remember_places();
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let place = PLACE.take().unwrap_or_else(|| "an unknown place".to_owned());
        Err(Error::internal(format!("the kernel stopped at {place}")))
    })
}

/// As [`caught`] for work on an open store, which takes no more changes after a panic: what it
/// left in memory cannot be trusted, and recovery starts from the log.
pub fn guarded<T>(shared: &Shared, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let mut has_returned = false;
    let done = caught(|| {
        let done = work();
        has_returned = true;
        done
    });
    if let (false, Err(error)) = (has_returned, &done) {
        shared.core.log.fail(error.clone());
    }
    done
}

/// Runs kernel work that may wait, without the interpreter's lock.
pub fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    Ok(py.detach(|| caught(work))?)
}

fn remember_places() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let place = info.location().map(|place| format!("{}:{}", place.file(), place.line()));
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("a caller's thread");
            eprintln!("holdfast: panic in {name} at {}", place.as_deref().unwrap_or("an unknown place"));
            PLACE.set(place);
        }));
    });
}
