//! What a column accepts: checks and lossless coercions of the cells of a row.

use super::schema::{Column, ColumnType, Schema};
use super::{Row, Value};
use crate::error::{Code, Error, Result};

/// Every integer up to here is a double of its own.
const EXACT_INTEGERS: u64 = 1 << 53;

/// Checks a whole row and coerces its cells in place.
///
/// An integer becomes a real, and a real without a fraction an integer, where nothing is lost.
/// Raises `TypeMismatch` or `NotNullViolation`; neither ever shows the value.
pub fn row(schema: &Schema, row: &mut Row) -> Result<()> {
    if row.len() != schema.columns.len() {
        let issue =
            format!("a row of {} has {} cells, not {}", schema.name, schema.columns.len(), row.len());
        return Err(Error::argument("row", issue));
    }
    for (column, value) in schema.columns.iter().zip(row.iter_mut()) {
        cell(&schema.name, column, value)?;
    }
    for place in &schema.primary_key {
        if row[*place].is_null() {
            return Err(null(&schema.name, &schema.columns[*place]));
        }
    }
    Ok(())
}

/// Checks one cell and coerces it in place.
pub fn cell(table: &str, column: &Column, value: &mut Value) -> Result<()> {
    // SQL knows no NaN, and it would be equal to nothing in a unique index.
    if matches!(value, Value::Real(real) if real.is_nan()) {
        *value = Value::Null;
    }
    if value.is_null() {
        return if column.not_null { Err(null(table, column)) } else { Ok(()) };
    }
    if coerce(column.kind, value) { Ok(()) } else { Err(mismatch(table, column, value)) }
}

/// Makes `value` one of `kind` where that loses nothing; false where it cannot be.
pub fn coerce(kind: ColumnType, value: &mut Value) -> bool {
    match (kind, &*value) {
        (_, Value::Null) | (ColumnType::Any, _) => true,
        (ColumnType::Integer, Value::Integer(_)) | (ColumnType::Real, Value::Real(_)) => true,
        (ColumnType::Text, Value::Text(_)) | (ColumnType::Blob, Value::Blob(_)) => true,
        (ColumnType::Real, Value::Integer(integer)) if integer.unsigned_abs() <= EXACT_INTEGERS => {
            *value = Value::Real(*integer as f64);
            true
        }
        (ColumnType::Integer, Value::Real(real))
            if real.fract() == 0.0 && real.abs() <= EXACT_INTEGERS as f64 =>
        {
            *value = Value::Integer(*real as i64);
            true
        }
        _ => false,
    }
}

fn null(table: &str, column: &Column) -> Error {
    Error::new(Code::NotNullViolation).with("table", table).with("column", column.name.as_str())
}

fn mismatch(table: &str, column: &Column, value: &Value) -> Error {
    Error::new(Code::TypeMismatch)
        .with("table", table)
        .with("column", column.name.as_str())
        .with("expected", column.kind.name())
        .with("actual", value.kind())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn checked(kind: ColumnType, mut value: Value) -> Option<Value> {
        coerce(kind, &mut value).then_some(value)
    }

    #[test]
    fn numbers_change_their_kind_only_without_loss() {
        use ColumnType::*;
        assert_eq!(checked(Integer, Value::Real(3.0)), Some(Value::Integer(3)));
        assert_eq!(checked(Integer, Value::Real(3.5)), None);
        assert_eq!(checked(Integer, Value::Real(f64::INFINITY)), None);
        assert_eq!(checked(Real, Value::Integer(3)), Some(Value::Real(3.0)));
        assert_eq!(checked(Real, Value::Integer((1 << 53) + 1)), None);
        assert_eq!(checked(Integer, "3".into()), None);
        assert_eq!(checked(Text, Value::Integer(3)), None);
        assert_eq!(checked(Any, "3".into()), Some("3".into()));
        assert_eq!(checked(Null, Value::Integer(1)), None);
    }

    #[test]
    fn errors_name_table_and_column_but_no_value() {
        let mut schema = Schema {
            name: "people".into(),
            columns: vec![
                Column::new("age", ColumnType::Integer),
                Column::new("id", ColumnType::Integer),
            ],
            primary_key: vec![1],
            indexes: vec![],
        };
        let error = row(&schema, &mut vec!["secret".into(), Value::Integer(1)]).unwrap_err();
        assert_eq!(error.code, Code::TypeMismatch);
        assert!(error.to_string().contains("age") && error.to_string().contains("people"));
        assert!(!error.to_string().contains("secret"));
        let error = row(&schema, &mut vec![Value::Null, Value::Null]).unwrap_err();
        assert_eq!(error.code, Code::NotNullViolation);
        schema.columns[0].not_null = true;
        let error = row(&schema, &mut vec![Value::Real(f64::NAN), Value::Integer(1)]).unwrap_err();
        assert_eq!(error.code, Code::NotNullViolation);
        assert_eq!(row(&schema, &mut vec![]).unwrap_err().code, Code::InvalidArgument);
    }
}
