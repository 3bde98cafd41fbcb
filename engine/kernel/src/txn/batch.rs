//! Records that a scan has copied out of a leaf: their bytes one after the other in one piece of
//! memory, for a scan of many rows would spend more on finding memory for each than on the rows.

use super::read::Found;
use crate::error::Result;

/// Keys and values in the order of their reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    bytes: Vec<u8>,
    /// Where each key ends, then its value.
    ends: Vec<(usize, usize)>,
}

/// Records of one leaf that a scan has copied out.
#[derive(Default)]
pub struct Batch {
    pub records: Records,
    /// Where to go on: `None` at the end.
    pub next: Option<Vec<u8>>,
}

impl Records {
    /// Of so many records and bytes, or more.
    pub(super) fn with_capacity(records: usize, bytes: usize) -> Records {
        Records { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(records) }
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
    /// Bytes of all keys and values.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Empties it, and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push((key_end, self.bytes.len()));
    }

    /// As [`Records::push`], for a value of any length: `OutOfMemory` where it finds no room.
    pub fn push_long(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        crate::memory::grow(&mut self.bytes, key.len() + value.len(), "read records")?;
        self.push(key, value);
        Ok(())
    }

    /// The key and the value at a place.
    pub fn get(&self, place: usize) -> Option<(&[u8], &[u8])> {
        let &(key_end, end) = self.ends.get(place)?;
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before].1);
        Some((&self.bytes[start..key_end], &self.bytes[key_end..end]))
    }

    pub fn last_key(&self) -> Option<&[u8]> {
        let last = self.len().checked_sub(1)?;
        self.get(last).map(|(key, _)| key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        (0..self.len()).filter_map(|place| self.get(place))
    }
}

impl<'r> IntoIterator for &'r Records {
    type Item = (&'r [u8], &'r [u8]);
    type IntoIter = Box<dyn Iterator<Item = Self::Item> + 'r>;
    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

impl IntoIterator for Records {
    type Item = (Vec<u8>, Vec<u8>);
    type IntoIter = IntoRecords;
    fn into_iter(self) -> IntoRecords {
        IntoRecords { records: self, place: 0 }
    }
}

/// Hands the records out one by one, as copies of their own.
pub struct IntoRecords {
    records: Records,
    place: usize,
}

impl Iterator for IntoRecords {
    type Item = (Vec<u8>, Vec<u8>);
    fn next(&mut self) -> Option<Self::Item> {
        let (key, value) = self.records.get(self.place)?;
        self.place += 1;
        Some((key.to_vec(), value.to_vec()))
    }
}

/// What a look into one leaf has copied out.
#[derive(Default)]
pub(super) struct Seen {
    /// Those whose values have still to be looked for have none here.
    pub records: Records,
    /// What was found in the place of a value, and the record's place.
    pub elsewhere: Vec<(usize, Found)>,
}

impl Seen {
    /// For up to so many records of a page of this size.
    pub fn for_page(page_size: usize, limit: usize) -> Seen {
        let records = limit.min(page_size / 128);
        Seen {
            records: Records::with_capacity(records, page_size.min(256 * records)),
            elsewhere: Vec::new(),
        }
    }

    pub fn push(&mut self, key: &[u8], shown: Shown<'_>) {
        match shown {
            Shown::Nothing => {}
            Shown::Value(value) => self.records.push(key, value),
            Shown::Elsewhere(found) => {
                self.elsewhere.push((self.records.len(), found));
                self.records.push(key, &[]);
            }
        }
    }
}

/// What a reader is to see of a record in its page.
pub(super) enum Shown<'p> {
    Nothing,
    Value(&'p [u8]),
    Elsewhere(Found),
}

impl Shown<'_> {
    pub fn without_value(self) -> Self {
        match self {
            Shown::Value(_) | Shown::Elsewhere(Found::Long(_)) => Shown::Value(&[]),
            other => other,
        }
    }

    /// The same as a copy of its own.
    pub fn found(self) -> Found {
        match self {
            Shown::Nothing => Found::Nothing,
            Shown::Value(value) => Found::Value(value.to_vec()),
            Shown::Elsewhere(found) => found,
        }
    }
}
