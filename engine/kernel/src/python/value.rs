//! Cells between Python and tables.

use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyString, PyTuple};

use crate::error::Field;
use crate::rows::{Row, Value};

/// A field of an error or an event.
pub(crate) fn field<'py>(py: Python<'py>, value: &Field) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Field::Text(text) => text.into_pyobject(py)?.into_any(),
        Field::Int(number) => number.into_pyobject(py)?.into_any(),
        Field::Float(number) => number.into_pyobject(py)?.into_any(),
        Field::List(texts) => texts.into_pyobject(py)?.into_any(),
    })
}

/// Longer ones are asked for in a way that can be refused; it costs one pass over them more.
const SHORT: usize = 64 << 10;

/// Bytes of Python; `MemoryError` where a long value finds no room.
pub(crate) fn bytes<'py>(py: Python<'py>, value: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    if value.len() <= SHORT {
        return Ok(PyBytes::new(py, value));
    }
    PyBytes::new_with(py, value.len(), |into| {
        into.copy_from_slice(value);
        Ok(())
    })
}

pub(crate) fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Integer(number) => number.into_pyobject(py)?.into_any(),
        Value::Real(number) => PyFloat::new(py, *number).into_any(),
        Value::Text(text) => PyString::new(py, text).into_any(),
        Value::Blob(blob) => bytes(py, blob)?.into_any(),
    })
}

pub(crate) fn row_to_python<'py>(py: Python<'py>, row: &[Value]) -> PyResult<Bound<'py, PyTuple>> {
    let cells = row.iter().map(|value| to_python(py, value)).collect::<PyResult<Vec<_>>>()?;
    PyTuple::new(py, cells)
}

pub(crate) fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Value> {
    if value.is_none() {
        return Ok(Value::Null);
    }
    if value.is_instance_of::<PyBool>() || value.is_instance_of::<PyInt>() {
        let number = value.extract::<i64>();
        return number.map(Value::Integer).map_err(|_| {
            PyOverflowError::new_err("an integer of a table has 64 bits; this one does not fit")
        });
    }
    if value.is_instance_of::<PyFloat>() {
        return Ok(Value::Real(value.extract()?));
    }
    if value.is_instance_of::<PyString>() {
        return Ok(Value::Text(value.extract()?));
    }
    value
        .extract::<Vec<u8>>()
        .map(Value::Blob)
        .map_err(|_| PyTypeError::new_err("a cell holds None, int, float, str or bytes"))
}

/// One value, or a tuple or list of values.
pub(crate) fn key_from_python(key: &Bound<'_, PyAny>) -> PyResult<Row> {
    if key.is_instance_of::<PyTuple>() || key.is_instance_of::<pyo3::types::PyList>() {
        return key.try_iter()?.map(|value| from_python(&value?)).collect();
    }
    Ok(vec![from_python(key)?])
}
