//! The records of a CSV file one by one. However long one is, it is read, or there is told to be too
//! little memory for it.

use std::io::{self, BufRead, ErrorKind};

use ::csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::Format;
use crate::memory;

/// Room that a record has at first: bytes, and fields.
const FIRST: (usize, usize) = (1 << 10, 32);

/// The fields of one record, one behind the other.
#[derive(Default)]
pub(super) struct Fields {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    count: usize,
    /// Where the record begins, from 1 on.
    pub line: u64,
}

impl Fields {
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let ends = self.ends[..self.count].iter();
        starts.zip(ends).map(|(start, end)| self.bytes.get(start..*end).unwrap_or_default())
    }
}

/// A file, cut into records. They may be of different lengths.
pub(super) struct Records<R> {
    input: R,
    core: Reader,
    is_over: bool,
}

impl<R: BufRead> Records<R> {
    /// The header, where there is one, is the first of them.
    pub fn new(format: &Format, input: R) -> Self {
        let core = ReaderBuilder::new().delimiter(format.delimiter).quote(format.quote).build();
        Records { input, core, is_over: false }
    }

    /// Reads the next record; false at the end, and after an error. `ErrorKind::OutOfMemory` where it
    /// is too long for the memory there is.
    pub fn read(&mut self, fields: &mut Fields) -> io::Result<bool> {
        if self.is_over {
            return Ok(false);
        }
        self.is_over = true;
        let has_one = self.fill(fields)?;
        self.is_over = !has_one;
        Ok(has_one)
    }

    fn fill(&mut self, fields: &mut Fields) -> io::Result<bool> {
        (fields.count, fields.line) = (0, self.core.line());
        let mut bytes = 0;
        loop {
            let input = match self.input.fill_buf() {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                input => input?,
            };
            let room = (&mut fields.bytes[bytes..], &mut fields.ends[fields.count..]);
            let (result, taken, more_bytes, more_ends) = self.core.read_record(input, room.0, room.1);
            self.input.consume(taken);
            bytes += more_bytes;
            fields.count += more_ends;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => lengthen(&mut fields.bytes, FIRST.0)?,
                ReadRecordResult::OutputEndsFull => lengthen(&mut fields.ends, FIRST.1)?,
                ReadRecordResult::Record => return Ok(true),
                ReadRecordResult::End => return Ok(false),
            }
        }
    }
}

/// Twice as long as before, as long as there is memory for it.
fn lengthen<T: Clone + Default>(list: &mut Vec<T>, least: usize) -> io::Result<()> {
    let more = list.len().max(least);
    let more = match memory::reserve(list, more, "read a record") {
        Ok(()) => more,
        Err(_) => {
            memory::reserve(list, least, "read a record")
                .map_err(|_| io::Error::from(ErrorKind::OutOfMemory))?;
            least
        }
    };
    list.resize(list.len() + more, T::default());
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    type Found = Vec<(u64, Vec<Vec<u8>>)>;

    fn cut(text: &[u8], buffer: usize) -> Found {
        let input = io::BufReader::with_capacity(buffer, text);
        let mut records = Records::new(&Format::default(), input);
        let (mut fields, mut found) = (Fields::default(), Vec::new());
        while records.read(&mut fields).unwrap() {
            found.push((fields.line, fields.iter().map(<[u8]>::to_vec).collect()));
        }
        assert!(!records.read(&mut fields).unwrap());
        found
    }

    fn expected(text: &[u8]) -> Found {
        let mut reader = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text);
        let whole = |record: ::csv::ByteRecord| {
            let fields = record.iter().map(<[u8]>::to_vec).collect();
            (record.position().unwrap().line(), fields)
        };
        reader.byte_records().map(|record| whole(record.unwrap())).collect()
    }

    proptest! {
        #[test]
        fn any_bytes_are_cut_as_the_library_cuts_them(
            text in prop::collection::vec(prop::sample::select(b"ab,,\"\"\n\r\n \xff".to_vec()), 0..300),
            buffer in 1usize..40,
        ) {
            prop_assert_eq!(cut(&text, buffer), expected(&text));
        }
    }

    #[test]
    fn records_longer_than_any_room_at_first_are_whole() {
        let long = "x".repeat(3 * FIRST.0 + 1);
        let wide = "1,".repeat(3 * FIRST.1 + 1);
        let text = format!("\u{feff}a,\"{long}\n\"\"\"\n{wide}\n\"{long}");
        assert_eq!(cut(text.as_bytes(), 64), expected(text.as_bytes()));
    }
}
