//! Sealed files that Python writes and reads: those of an emergency backup.

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::backups::{Key, secret};
use super::errors::detached;
use crate::backup;
use crate::error::Error;

/// What seals and opens the files of one backup.
#[pyclass(frozen, module = "engine._kernel")]
pub struct Vault {
    vault: backup::Vault,
}

#[pymethods]
impl Vault {
    #[staticmethod]
    fn create(py: Python<'_>, key: (String, Vec<u8>)) -> PyResult<Vault> {
        let Some(secret) = secret(Some(key))? else {
            return Err(Error::argument("key", "is missing").into());
        };
        let vault = detached(py, || backup::Vault::create(&secret))?;
        Ok(Vault { vault })
    }

    #[staticmethod]
    #[pyo3(signature = (locks, key))]
    fn open(py: Python<'_>, locks: &str, key: Key) -> PyResult<Vault> {
        let secret = secret(key)?;
        let vault = detached(py, || backup::Vault::open(locks, secret.as_ref()))?;
        Ok(Vault { vault })
    }

    #[getter]
    fn locks(&self) -> String {
        self.vault.locks()
    }

    fn sign(&self, digest: &str) -> String {
        self.vault.sign(digest)
    }

    fn sealer(&self, file: &str) -> Sealer {
        Sealer { sealer: Mutex::new(self.vault.sealer(file)) }
    }

    fn opener(&self, file: &str) -> Opener {
        Opener { opener: Mutex::new(self.vault.opener(file)) }
    }
}

/// Seals one file.
#[pyclass(frozen, module = "engine._kernel")]
pub struct Sealer {
    sealer: Mutex<backup::Sealer>,
}

#[pymethods]
impl Sealer {
    fn push<'py>(&self, py: Python<'py>, content: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let sealed = detached(py, || self.sealer.lock().push(content))?;
        Ok(PyBytes::new(py, &sealed))
    }

    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let sealed = detached(py, || self.sealer.lock().finish())?;
        Ok(PyBytes::new(py, &sealed))
    }
}

/// Opens one sealed file.
#[pyclass(frozen, module = "engine._kernel")]
pub struct Opener {
    opener: Mutex<backup::Opener>,
}

#[pymethods]
impl Opener {
    fn push<'py>(&self, py: Python<'py>, content: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let opened = detached(py, || self.opener.lock().push(content))?;
        Ok(PyBytes::new(py, &opened))
    }

    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, || self.opener.lock().finish())
    }
}
