//! The order-preserving key codec: comparing encoded bytes compares values.
//!
//! An element is a tag and a payload that tells its own end, so that elements can be put one
//! behind the other (composite keys) and no element is the beginning of another one.
//!
//! ```text
//! null    05
//! NaN     10
//! number  20+n  whole part: n bytes, big endian, no leading zero (n = 0..8)
//!               00, or 01 and the fraction: 8 bytes, an IEEE double, big endian
//!         29    the double itself where the whole part needs more than 8 bytes
//!               a negative number is all of this with every bit of its magnitude inverted:
//!               tags 1f-n and 16
//! text    40    bytes, 00 written as 00 ff; ends with 00 01
//! blob    50    the same
//! ```
//!
//! Numbers that are equal have one encoding, whatever their type: integer 1 and real 1.0 are
//! one key. Decoding gives an integer where one fits; the row holds the value as it was.

use super::Value;
use crate::error::{Error, Result};

const NULL: u8 = 0x05;
const NAN: u8 = 0x10;
const NEGATIVE_HUGE: u8 = 0x16;
const NEGATIVE: u8 = 0x1f;
const POSITIVE: u8 = 0x20;
const POSITIVE_HUGE: u8 = 0x29;
const TEXT: u8 = 0x40;
const BLOB: u8 = 0x50;
const ESCAPE: u8 = 0x00;
const ESCAPED_ZERO: u8 = 0xff;
const END: u8 = 0x01;

const TWO_TO_64: f64 = 18_446_744_073_709_551_616.0;

/// How text is compared. Other kinds of values do not know collations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Collation {
    /// By UTF-8 bytes.
    #[default]
    Binary,
    /// As `Binary`, with the 26 upper case letters of ASCII folded to lower case.
    NoCase,
}

impl Collation {
    pub fn name(self) -> &'static str {
        match self {
            Collation::Binary => "binary",
            Collation::NoCase => "nocase",
        }
    }

    /// The collation of that name, in any case.
    pub fn named(name: &str) -> Option<Collation> {
        [Collation::Binary, Collation::NoCase]
            .into_iter()
            .find(|collation| collation.name().eq_ignore_ascii_case(name))
    }
}

/// Appends one element to a key.
pub fn encode(key: &mut Vec<u8>, value: &Value, collation: Collation) {
    match value {
        Value::Null => key.push(NULL),
        Value::Integer(integer) => {
            encode_number(key, *integer < 0, integer.unsigned_abs(), 0.0);
        }
        Value::Real(real) => encode_real(key, *real),
        Value::Text(text) => match collation {
            Collation::Binary => encode_bytes(key, TEXT, text.as_bytes()),
            Collation::NoCase => encode_bytes(key, TEXT, text.to_ascii_lowercase().as_bytes()),
        },
        Value::Blob(blob) => encode_bytes(key, BLOB, blob),
    }
}

/// A whole key of binary collation.
pub fn encode_all(values: &[Value]) -> Vec<u8> {
    let mut key = Vec::with_capacity(values.len() * 10);
    for value in values {
        encode(&mut key, value, Collation::Binary);
    }
    key
}

fn encode_real(key: &mut Vec<u8>, real: f64) {
    if real.is_nan() {
        key.push(NAN);
    } else if real.abs() >= TWO_TO_64 {
        let bits = real.abs().to_bits();
        if real > 0.0 {
            key.push(POSITIVE_HUGE);
            key.extend_from_slice(&bits.to_be_bytes());
        } else {
            key.push(NEGATIVE_HUGE);
            key.extend_from_slice(&(!bits).to_be_bytes());
        }
    } else {
        let magnitude = real.abs();
        // Both parts are exact: a double below 2^64 has its whole part in 64 bits.
        encode_number(key, real < 0.0, magnitude.trunc() as u64, magnitude.fract());
    }
}

fn encode_number(key: &mut Vec<u8>, is_negative: bool, whole: u64, fraction: f64) {
    let bytes = whole.to_be_bytes();
    let length = 8 - whole.leading_zeros() as usize / 8;
    let mask = if is_negative { 0xff } else { 0 };
    key.push(if is_negative { NEGATIVE - length as u8 } else { POSITIVE + length as u8 });
    key.extend(bytes[8 - length..].iter().map(|byte| byte ^ mask));
    if fraction == 0.0 {
        key.push(mask);
    } else {
        key.push(1 ^ mask);
        key.extend(fraction.to_bits().to_be_bytes().iter().map(|byte| byte ^ mask));
    }
}

fn encode_bytes(key: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    key.push(tag);
    key.reserve(bytes.len() + 2);
    for (number, part) in bytes.split(|byte| *byte == 0).enumerate() {
        if number > 0 {
            key.extend_from_slice(&[ESCAPE, ESCAPED_ZERO]);
        }
        key.extend_from_slice(part);
    }
    key.extend_from_slice(&[ESCAPE, END]);
}

/// Reads elements one after the other. Never trusts the bytes: what is no key is an error.
pub struct KeyReader<'a> {
    rest: &'a [u8],
}

impl<'a> KeyReader<'a> {
    pub fn new(key: &'a [u8]) -> Self {
        KeyReader { rest: key }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next element, or none at the end.
    pub fn next_value(&mut self) -> Result<Option<Value>> {
        let Some((&tag, rest)) = self.rest.split_first() else { return Ok(None) };
        self.rest = rest;
        let value = match tag {
            NULL => Value::Null,
            NAN => Value::Real(f64::NAN),
            NEGATIVE_HUGE => Value::Real(-self.double(0xff)?),
            POSITIVE_HUGE => Value::Real(self.double(0)?),
            tag if (NEGATIVE - 8..=NEGATIVE).contains(&tag) => self.number(true, NEGATIVE - tag)?,
            tag if (POSITIVE..=POSITIVE + 8).contains(&tag) => self.number(false, tag - POSITIVE)?,
            TEXT => Value::Text(String::from_utf8(self.bytes()?).map_err(|_| damaged())?),
            BLOB => Value::Blob(self.bytes()?),
            _ => return Err(damaged()),
        };
        Ok(Some(value))
    }

    /// Passes over `count` elements.
    pub fn skip(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            self.next_value()?.ok_or_else(damaged)?;
        }
        Ok(())
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(damaged)?;
        self.rest = rest;
        Ok(taken)
    }

    fn double(&mut self, mask: u8) -> Result<f64> {
        let mut bits = 0u64;
        for byte in self.take(8)? {
            bits = bits << 8 | u64::from(byte ^ mask);
        }
        Ok(f64::from_bits(bits))
    }

    fn number(&mut self, is_negative: bool, length: u8) -> Result<Value> {
        let mask = if is_negative { 0xff } else { 0 };
        let mut whole = 0u64;
        for byte in self.take(usize::from(length))? {
            whole = whole << 8 | u64::from(byte ^ mask);
        }
        let fraction = match self.take(1)?[0] ^ mask {
            0 => None,
            1 => Some(self.double(mask)?),
            _ => return Err(damaged()),
        };
        let sign = if is_negative { -1.0 } else { 1.0 };
        let Some(fraction) = fraction else {
            let integer =
                if is_negative { 0i64.checked_sub_unsigned(whole) } else { i64::try_from(whole).ok() };
            return Ok(integer.map_or(Value::Real(sign * whole as f64), Value::Integer));
        };
        Ok(Value::Real(sign * (whole as f64 + fraction)))
    }

    fn bytes(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        loop {
            let zero = self.rest.iter().position(|byte| *byte == ESCAPE).ok_or_else(damaged)?;
            bytes.extend_from_slice(&self.rest[..zero]);
            self.rest = &self.rest[zero + 1..];
            match self.take(1)?[0] {
                END => return Ok(bytes),
                ESCAPED_ZERO => bytes.push(0),
                _ => return Err(damaged()),
            }
        }
    }
}

/// All elements of a key.
pub fn decode_all(key: &[u8]) -> Result<Vec<Value>> {
    let mut reader = KeyReader::new(key);
    let mut values = Vec::new();
    while let Some(value) = reader.next_value()? {
        values.push(value);
    }
    Ok(values)
}

/// The first key after every key that begins with `prefix`; none where there is no such key.
pub fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut after = prefix[..=last].to_vec();
    after[last] += 1;
    Some(after)
}

fn damaged() -> Error {
    Error::internal("bytes that are no key")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::*;

    pub fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::Integer),
            (-300i64..300).prop_map(Value::Integer),
            any::<f64>().prop_map(Value::Real),
            (-300i64..300, 0u8..4).prop_map(|(n, f)| Value::Real(n as f64 + f64::from(f) / 4.0)),
            (any::<i64>(), -2i64..3).prop_map(|(n, d)| Value::Real(n.wrapping_add(d) as f64)),
            "[a-c\0\u{1}\u{ff}]{0,5}".prop_map(Value::Text),
            ".*".prop_map(Value::Text),
            prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(255), any::<u8>()], 0..6)
                .prop_map(Value::Blob),
        ]
    }

    fn compare_rows(a: &[Value], b: &[Value]) -> Ordering {
        let unequal = a.iter().zip(b).map(|(a, b)| a.compare(b)).find(|order| order.is_ne());
        unequal.unwrap_or(a.len().cmp(&b.len()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn encoded_order_is_the_order_of_values(a in any_value(), b in any_value()) {
            let (x, y) = (encode_all(std::slice::from_ref(&a)), encode_all(std::slice::from_ref(&b)));
            prop_assert_eq!(x.cmp(&y), a.compare(&b));
        }

        #[test]
        fn composite_keys_sort_by_their_elements(
            a in prop::collection::vec(any_value(), 1..4),
            b in prop::collection::vec(any_value(), 1..4),
        ) {
            prop_assert_eq!(encode_all(&a).cmp(&encode_all(&b)), compare_rows(&a, &b));
        }

        #[test]
        fn decoding_gives_an_equal_value(values in prop::collection::vec(any_value(), 0..5)) {
            let decoded = decode_all(&encode_all(&values)).unwrap();
            prop_assert_eq!(compare_rows(&values, &decoded), Ordering::Equal);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = decode_all(&bytes);
        }
    }

    #[test]
    fn integers_and_reals_are_in_one_exact_order() {
        let two_53 = 9_007_199_254_740_992i64;
        let sorted = [
            Value::Real(f64::NAN),
            Value::Real(f64::NEG_INFINITY),
            Value::Real(-1e300),
            Value::Integer(i64::MIN),
            Value::Real(-1.5),
            Value::Integer(-1),
            Value::Real(-1e-300),
            Value::Integer(0),
            Value::Real(5e-324),
            Value::Real(0.5),
            Value::Integer(1),
            Value::Integer(two_53),
            Value::Integer(two_53 + 1),
            Value::Real((two_53 + 2) as f64),
            Value::Integer(i64::MAX),
            Value::Real(9_223_372_036_854_775_808.0),
            Value::Real(f64::INFINITY),
        ];
        for pair in sorted.windows(2) {
            assert!(encode_all(&pair[..1]) < encode_all(&pair[1..]), "{pair:?}");
        }
        assert_eq!(encode_all(&[Value::Integer(7)]), encode_all(&[Value::Real(7.0)]));
        assert_eq!(encode_all(&[Value::Real(-0.0)]), encode_all(&[Value::Integer(0)]));
    }

    #[test]
    fn nocase_folds_ascii_only() {
        let key = |text: &str| {
            let mut key = Vec::new();
            encode(&mut key, &text.into(), Collation::NoCase);
            key
        };
        assert_eq!(key("Straße"), key("sTRAßE"));
        assert_ne!(key("É"), key("é"));
    }

    #[test]
    fn after_prefix_is_past_every_extension() {
        assert_eq!(after_prefix(&[1, 2, 0xff]), Some(vec![1, 3]));
        assert_eq!(after_prefix(&[0xff]), None);
    }
}
