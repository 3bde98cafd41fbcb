//! Index entries: how the indexed columns and the row's own key make one key of a tree.
//!
//! ```text
//! not unique   columns · row key                value empty
//! unique       columns                          value row key
//!   with null  columns · row key                value row key     (nulls never collide)
//! ```
//!
//! A key has a limit. Columns beyond `limit - 32` bytes are cut there and a hash of the whole
//! follows; a row key that does not fit any more is replaced by its hash, and the value then
//! holds it. Encoded columns are never the beginning of other ones, so entries sort right,
//! except that long ones that agree to the cut stand in the order of their hashes; readers
//! compare those with the row.

use super::key::{self, KeyReader};
use super::schema::Index;
use super::{Row, Value};
use crate::error::Result;

const HASH: usize = 16;

/// One record of an index tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// The entry of one row. `max_key` is the limit of the tree's keys.
pub fn entry(index: &Index, row: &[Value], row_key: &[u8], max_key: usize) -> Entry {
    let has_null = index.columns.iter().any(|place| row[*place].is_null());
    let mut key = columns_key(index, row);
    let is_cut = key.len() > cut_at(max_key);
    if is_cut {
        let hash = hash(&key);
        key.truncate(cut_at(max_key));
        key.extend_from_slice(&hash);
    }
    if index.unique && !has_null {
        return Entry { key, value: row_key.to_vec() };
    }
    let fits = !is_cut && key.len() + row_key.len() <= max_key;
    if fits {
        key.extend_from_slice(row_key);
    } else {
        key.extend_from_slice(&hash(row_key));
    }
    let value = if fits && !index.unique { Vec::new() } else { row_key.to_vec() };
    Entry { key, value }
}

/// The key of the row that an entry leads to.
pub fn row_key<'a>(index: &Index, key: &'a [u8], value: &'a [u8]) -> Result<&'a [u8]> {
    if !value.is_empty() {
        return Ok(value);
    }
    let mut reader = KeyReader::new(key);
    reader.skip(index.columns.len())?;
    Ok(reader.rest())
}

/// The indexed columns of a row, encoded in full.
pub fn columns_key(index: &Index, row: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    for (place, collation) in index.columns.iter().zip(&index.collations) {
        key::encode(&mut bytes, &row[*place], *collation);
    }
    bytes
}

/// The leading indexed columns, given by themselves.
pub fn prefix_key(index: &Index, values: &Row) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    for (value, collation) in values.iter().zip(&index.collations) {
        key::encode(&mut bytes, value, *collation);
    }
    bytes
}

/// Where encoded columns are cut.
pub fn cut_at(max_key: usize) -> usize {
    max_key.saturating_sub(2 * HASH)
}

fn hash(bytes: &[u8]) -> [u8; HASH] {
    let mut short = [0; HASH];
    short.copy_from_slice(&blake3::hash(bytes).as_bytes()[..HASH]);
    short
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::rows::Collation;

    const LIMIT: usize = 100;

    fn index(unique: bool) -> Index {
        Index { name: "i".into(), columns: vec![0], collations: vec![Collation::Binary], unique }
    }

    proptest! {
        #[test]
        fn entries_fit_lead_to_their_rows_and_sort_by_column(
            texts in prop::collection::vec("[ab]{0,90}", 2),
            row_key in prop::collection::vec(any::<u8>(), 1..90),
            unique in any::<bool>(),
        ) {
            let index = index(unique);
            let rows: Vec<Row> = texts.iter().map(|text| vec![Value::Text(text.clone())]).collect();
            let entries: Vec<Entry> =
                rows.iter().map(|row| entry(&index, row, &row_key, LIMIT)).collect();
            for made in &entries {
                prop_assert!(made.key.len() <= LIMIT);
                prop_assert_eq!(super::row_key(&index, &made.key, &made.value).unwrap(), &row_key[..]);
            }
            let columns = [columns_key(&index, &rows[0]), columns_key(&index, &rows[1])];
            let cut = cut_at(LIMIT);
            if columns[0][..cut.min(columns[0].len())] != columns[1][..cut.min(columns[1].len())] {
                prop_assert_eq!(entries[0].key.cmp(&entries[1].key), columns[0].cmp(&columns[1]));
            }
            prop_assert_eq!(texts[0] == texts[1], entries[0].key == entries[1].key);
        }
    }

    #[test]
    fn nulls_never_collide_in_a_unique_index() {
        let keys = [b"r1", b"r2"].map(|key| entry(&index(true), &[Value::Null], key, LIMIT).key);
        assert_ne!(keys[0], keys[1]);
        let keys = [b"r1", b"r2"].map(|key| entry(&index(true), &["x".into()], key, LIMIT).key);
        assert_eq!(keys[0], keys[1]);
    }
}
