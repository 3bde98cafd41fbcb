//! Comma separated values: guessing how a file is written, reading it typed, writing it.
//!
//! An empty field is null; in a text column that must not be null it is empty text. Blobs are
//! written in hexadecimal digits. The format cannot tell empty text from null, nor the kinds
//! of values in a column of any kind: use SQLite or JSON lines where that matters.

mod reader;
mod records;
mod sniff;
mod writer;

#[cfg(test)]
mod tests;

pub use reader::CsvSource;
pub use sniff::{Sniffed, guess_all_columns, sniff};
pub use writer::CsvTarget;

use super::encoding::Encoding;
use super::{Column, ColumnType, Value};
use crate::error::Result;
use crate::memory;

/// What memory is asked for.
const READING: &str = "read a field";

/// How a file is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Format {
    pub delimiter: u8,
    pub quote: u8,
    pub encoding: Encoding,
    /// The first record holds the names of the columns.
    pub header: bool,
}

impl Default for Format {
    fn default() -> Self {
        Format { delimiter: b',', quote: b'"', encoding: Encoding::Utf8, header: true }
    }
}

/// The value of a field in a column, or in words what the field is not. Raises `OutOfMemory`.
fn parse(column: &Column, field: &[u8]) -> Result<std::result::Result<Value, &'static str>> {
    if field.is_empty() {
        let is_text = column.kind == ColumnType::Text && column.not_null;
        return Ok(Ok(if is_text { Value::Text(String::new()) } else { Value::Null }));
    }
    let Ok(text) = std::str::from_utf8(field) else {
        return Ok(Err("the text is not valid UTF-8"));
    };
    let number = match column.kind {
        ColumnType::Integer => text.trim().parse().map(Value::Integer).map_err(|_| "this is no integer"),
        ColumnType::Real => parse_real(text.trim()).map(Value::Real).ok_or("this is no number"),
        ColumnType::Null => Err("the column takes no values"),
        ColumnType::Blob => {
            let bytes = parse_hex(text)?.map(Value::Blob);
            return Ok(bytes.ok_or("these are no hexadecimal digits"));
        }
        ColumnType::Any => guess_number(text).ok_or(""),
        ColumnType::Text => Err(""),
    };
    match column.kind {
        ColumnType::Text | ColumnType::Any if number.is_err() => {
            memory::copied_text(text, READING).map(|text| Ok(Value::Text(text)))
        }
        _ => Ok(number),
    }
}

fn guess_number(text: &str) -> Option<Value> {
    match guess_kind(text)? {
        ColumnType::Integer => text.parse().ok().map(Value::Integer),
        _ => parse_real(text).map(Value::Real),
    }
}

fn parse_real(text: &str) -> Option<f64> {
    match text {
        "inf" => Some(f64::INFINITY),
        "-inf" => Some(f64::NEG_INFINITY),
        // The standard parser also takes words; a column of words is no column of numbers.
        _ if text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) => {
            text.parse().ok().filter(|real: &f64| real.is_finite())
        }
        _ => None,
    }
}

pub(super) fn is_hex(text: &str) -> bool {
    text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The bytes that hexadecimal digits stand for; none where there is anything else.
pub(super) fn parse_hex(text: &str) -> Result<Option<Vec<u8>>> {
    if !is_hex(text) {
        return Ok(None);
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default() as u8;
    let pairs = text.as_bytes().chunks_exact(2);
    memory::gathered(pairs.map(|pair| digit(pair[0]) << 4 | digit(pair[1])), READING).map(Some)
}

/// The kind of number that a field is beyond doubt. Leading zeros and plus signs belong to
/// codes and telephone numbers, which would lose them.
fn guess_kind(field: &str) -> Option<ColumnType> {
    let digits = field.strip_prefix('-').unwrap_or(field);
    let has_leading_zero = digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.");
    if has_leading_zero || !digits.bytes().next()?.is_ascii_digit() {
        return None;
    }
    if field.parse::<i64>().is_ok() {
        return Some(ColumnType::Integer);
    }
    let real = parse_real(field)?;
    // More digits than a double holds would be lost, unless they are those of a double.
    let count = digits.bytes().filter(u8::is_ascii_digit).count();
    (count <= 15 || format!("{real:?}") == field).then_some(ColumnType::Real)
}
