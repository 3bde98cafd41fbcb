//! The row codec: the value of a table's tree holds one row.
//!
//! ```text
//! varint n | n type tags, each a varint | the payloads, one behind the other
//! tag 0 null · 1 zero · 2 one · 2+k integer of k = 1..8 bytes, little endian, sign extended
//!     11 real, 8 bytes · 12+2k text of k bytes · 13+2k blob of k bytes
//! ```
//!
//! The tags come first, so that one column is found without touching the others. A row with
//! fewer columns than its table reads as null in the missing ones.

use super::{Row, Value};
use crate::error::{Error, Result};
use crate::memory;

const NULL: u64 = 0;
const ZERO: u64 = 1;
const ONE: u64 = 2;
const REAL: u64 = 11;
const TEXT: u64 = 12;

/// Appends an encoded row to `out`. `OutOfMemory` where it is too long for the memory there is.
pub fn encode(out: &mut Vec<u8>, row: &[Value]) -> Result<()> {
    let payload: u64 = row.iter().map(|value| payload_len(tag(value))).sum();
    // A varint of 64 bits takes ten bytes at most.
    let most = usize::try_from(payload).unwrap_or(usize::MAX).saturating_add(10 * (row.len() + 1));
    memory::grow(out, most, "encode a row")?;
    put_varint(out, row.len() as u64);
    for value in row {
        put_varint(out, tag(value));
    }
    for value in row {
        match value {
            Value::Null => {}
            Value::Integer(integer) => out.extend_from_slice(&integer.to_le_bytes()[..width(*integer)]),
            Value::Real(real) => out.extend_from_slice(&real.to_le_bytes()),
            Value::Text(text) => out.extend_from_slice(text.as_bytes()),
            Value::Blob(blob) => out.extend_from_slice(blob),
        }
    }
    Ok(())
}

/// All cells of a row.
pub fn decode(bytes: &[u8]) -> Result<Row> {
    decode_cut(bytes, usize::MAX)
}

/// All cells of a row, text and blobs cut to `limit` bytes (text at a character).
pub fn decode_cut(bytes: &[u8], limit: usize) -> Result<Row> {
    let mut cells = Cells::new(bytes)?;
    let mut row = Vec::with_capacity(cells.left);
    while let Some((tag, payload)) = cells.next_cell()? {
        row.push(value(tag, payload, limit)?);
    }
    Ok(row)
}

/// One cell of a row; null where the row was written before the column existed.
pub fn decode_column(bytes: &[u8], column: usize) -> Result<Value> {
    let mut cells = Cells::new(bytes)?;
    for _ in 0..column {
        if cells.next_cell()?.is_none() {
            return Ok(Value::Null);
        }
    }
    cells.next_cell()?.map_or(Ok(Value::Null), |(tag, payload)| value(tag, payload, usize::MAX))
}

/// Walks over tags and payloads side by side.
struct Cells<'a> {
    left: usize,
    tags: &'a [u8],
    payloads: &'a [u8],
}

impl<'a> Cells<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self> {
        let mut tags = bytes;
        let count = take_varint(&mut tags)?;
        // Each tag takes a byte at least, so a count beyond the bytes is no row.
        let left = usize::try_from(count).ok().filter(|left| *left <= tags.len()).ok_or_else(damaged)?;
        let mut payloads = tags;
        for _ in 0..left {
            take_varint(&mut payloads)?;
        }
        Ok(Cells { left, tags, payloads })
    }

    fn next_cell(&mut self) -> Result<Option<(u64, &'a [u8])>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let tag = take_varint(&mut self.tags)?;
        let length = usize::try_from(payload_len(tag)).map_err(|_| damaged())?;
        let (payload, rest) = self.payloads.split_at_checked(length).ok_or_else(damaged)?;
        self.payloads = rest;
        Ok(Some((tag, payload)))
    }
}

fn tag(value: &Value) -> u64 {
    match value {
        Value::Null => NULL,
        Value::Integer(0) => ZERO,
        Value::Integer(1) => ONE,
        Value::Integer(integer) => 2 + width(*integer) as u64,
        Value::Real(_) => REAL,
        Value::Text(text) => TEXT + 2 * text.len() as u64,
        Value::Blob(blob) => TEXT + 1 + 2 * blob.len() as u64,
    }
}

fn payload_len(tag: u64) -> u64 {
    match tag {
        NULL | ZERO | ONE => 0,
        3..=10 => tag - 2,
        REAL => 8,
        _ => (tag - TEXT) / 2,
    }
}

fn value(tag: u64, payload: &[u8], limit: usize) -> Result<Value> {
    Ok(match tag {
        NULL => Value::Null,
        ZERO => Value::Integer(0),
        ONE => Value::Integer(1),
        3..=10 => {
            let negative = payload.last().is_some_and(|byte| byte & 0x80 != 0);
            let mut bytes = [if negative { 0xff } else { 0 }; 8];
            bytes[..payload.len()].copy_from_slice(payload);
            Value::Integer(i64::from_le_bytes(bytes))
        }
        REAL => Value::Real(f64::from_le_bytes(payload.try_into().map_err(|_| damaged())?)),
        tag if tag % 2 == 0 => {
            let text = std::str::from_utf8(payload).map_err(|_| damaged())?;
            Value::Text(copied_text(&text[..char_boundary(text, limit)])?)
        }
        _ => Value::Blob(memory::copied(&payload[..payload.len().min(limit)], "read a row")?),
    })
}

/// A copy of what may be long.
pub(super) fn copied_text(text: &str) -> Result<String> {
    memory::copied_text(text, "read a row")
}

/// The largest place of a character that is not beyond `limit`.
fn char_boundary(text: &str, limit: usize) -> usize {
    let mut place = limit.min(text.len());
    while !text.is_char_boundary(place) {
        place -= 1;
    }
    place
}

/// Bytes that an integer needs; zero and one are tags of their own.
fn width(integer: i64) -> usize {
    if integer == 0 || integer == 1 {
        return 0;
    }
    let magnitude = if integer < 0 { !integer } else { integer };
    // One more bit for the sign.
    (65 - magnitude.leading_zeros() as usize).div_ceil(8)
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or_else(damaged)?;
        *bytes = rest;
        if shift == 63 && byte > 1 {
            break;
        }
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(damaged())
}

fn damaged() -> Error {
    Error::internal("bytes that are no row")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::Integer),
            (-70_000i64..70_000).prop_map(Value::Integer),
            (-1e9f64..1e9).prop_map(Value::Real),
            ".{0,40}".prop_map(Value::Text),
            prop::collection::vec(any::<u8>(), 0..200).prop_map(Value::Blob),
        ]
    }

    fn encoded(row: &[Value]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(&mut bytes, row).unwrap();
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn a_row_comes_back_as_it_was(row in prop::collection::vec(any_value(), 0..8)) {
            let bytes = encoded(&row);
            prop_assert_eq!(&decode(&bytes).unwrap(), &row);
            for (column, value) in row.iter().enumerate() {
                prop_assert_eq!(&decode_column(&bytes, column).unwrap(), value);
            }
            prop_assert_eq!(decode_column(&bytes, row.len()).unwrap(), Value::Null);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..40), limit in 0usize..20) {
            let _ = decode_cut(&bytes, limit);
            let _ = decode_column(&bytes, limit);
        }
    }

    #[test]
    fn small_rows_are_small() {
        let row = [Value::Integer(1), Value::Integer(-128), Value::Null, "ab".into()];
        assert_eq!(encoded(&row).len(), 1 + 4 + 1 + 2);
    }

    #[test]
    fn long_cells_are_cut_at_a_character() {
        let bytes = encoded(&["aäb".into(), Value::Blob(vec![1, 2, 3])]);
        assert_eq!(decode_cut(&bytes, 2).unwrap(), ["a".into(), Value::Blob(vec![1, 2])]);
    }
}
