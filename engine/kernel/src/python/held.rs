//! References from Python objects into the kernel.
//!
//! Giving the last one up may undo a transaction or wait for threads, so it happens without the
//! interpreter's lock. A forked child has copies of them, but neither the threads nor the right
//! to write: it must leave everything as it is.

use std::ops::Deref;

use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use crate::error::{Code, Error, Result};
use crate::sync::{Arc, AtomicU32, Ordering};

static FORKS: AtomicU32 = AtomicU32::new(0);
/// The number of this process; 0 where it has to be asked for. Asking takes a call of the system.
static PID: AtomicU32 = AtomicU32::new(0);

fn pid() -> u32 {
    match PID.load(Ordering::Relaxed) {
        0 => {
            let pid = std::process::id();
            PID.store(pid, Ordering::Relaxed);
            pid
        }
        pid => pid,
    }
}

/// The process in which something was made.
#[derive(Clone, Copy)]
pub struct Home {
    forks: u32,
    pid: u32,
}

impl Home {
    pub fn here() -> Home {
        Home { forks: FORKS.load(Ordering::Relaxed), pid: pid() }
    }

    fn is_here(self) -> bool {
        self.forks == FORKS.load(Ordering::Relaxed)
    }

    /// Raises `ForkedHandle` in a forked child.
    pub fn ensure(self) -> Result<()> {
        if self.is_here() {
            return Ok(());
        }
        Err(Error::new(Code::ForkedHandle).with("owner_pid", self.pid).with("pid", std::process::id()))
    }
}

/// Has forks counted in their children. The interpreter tells of forks, the system does not.
pub fn watch_forks(py: Python<'_>) -> PyResult<()> {
    let os = py.import("os")?;
    if !os.hasattr("register_at_fork")? {
        return Ok(());
    }
    let count = |_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
        FORKS.fetch_add(1, Ordering::Relaxed);
        PID.store(0, Ordering::Relaxed);
    };
    let keywords = PyDict::new(py);
    keywords.set_item("after_in_child", PyCFunction::new_closure(py, None, None, count)?)?;
    os.call_method("register_at_fork", (), Some(&keywords)).map(|_| ())
}

/// What Python objects hold.
pub trait Holdable: Send + Sync + 'static {
    /// True where dropping the last reference now waits for nothing. Asked for the last one only.
    fn drops_at_once(&self) -> bool {
        false
    }
}

/// A shared reference that a Python object holds.
pub struct Held<T: Holdable> {
    /// `None` only while it is being dropped.
    inner: Option<Arc<T>>,
    home: Home,
}

impl<T: Holdable> Held<T> {
    pub fn new(inner: Arc<T>) -> Self {
        Held { inner: Some(inner), home: Home::here() }
    }

    pub fn arc(&self) -> &Arc<T> {
        self.inner.as_ref().expect("it is taken by drop alone")
    }
}

impl<T: Holdable> Clone for Held<T> {
    fn clone(&self) -> Self {
        Held { inner: self.inner.clone(), home: self.home }
    }
}

impl<T: Holdable> Deref for Held<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.arc()
    }
}

impl<T: Holdable> Drop for Held<T> {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        if !self.home.is_here() {
            std::mem::forget(inner);
        } else if Arc::strong_count(&inner) == 1 && !inner.drops_at_once() {
            // Where the interpreter is going away, the closure is dropped with what it holds.
            Python::try_attach(move |py| py.detach(move || drop(inner)));
        }
    }
}
