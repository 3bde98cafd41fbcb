//! Writing rows as CSV: one file for each table.

use std::path::Path;

use crate::error::{Error, Result};
use crate::rows::output::{Files, Gathered, hex};
use crate::rows::source::Target;
use crate::rows::{Schema, Value};

/// Writes UTF-8 with commas, a header, and lines that end as RFC 4180 has them.
pub struct CsvTarget {
    files: Files,
    writer: ::csv::Writer<Gathered>,
}

/// Bytes gathered before they go to the file.
const BATCH: usize = 1 << 16;

impl CsvTarget {
    /// Writes one table to the file `place`, or several into files of a folder of that name.
    pub fn create(place: &Path, tables: usize) -> Result<Self> {
        Ok(CsvTarget { files: Files::create(place, tables, "csv")?, writer: new_writer() })
    }

    fn flush(&mut self) -> Result<()> {
        let writer = std::mem::replace(&mut self.writer, new_writer());
        let bytes = writer.into_inner().map_err(|error| told(error.error()))?;
        self.files.write(&bytes.0)
    }

    fn field(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_field(bytes).map_err(|error| unwritten(&error))
    }

    fn end_record(&mut self) -> Result<()> {
        let ended = self.writer.write_record(None::<&[u8]>);
        ended.map_err(|error| unwritten(&error))?;
        if self.writer.get_ref().0.len() > BATCH { self.flush() } else { Ok(()) }
    }
}

impl Target for CsvTarget {
    fn begin(&mut self, schema: &Schema) -> Result<()> {
        self.flush()?;
        self.files.begin(&schema.name)?;
        for column in &schema.columns {
            self.field(column.name.as_bytes())?;
        }
        self.end_record()
    }

    fn write(&mut self, row: &[Value]) -> Result<()> {
        for value in row {
            match value {
                Value::Null => self.field(b"")?,
                Value::Text(text) => self.field(text.as_bytes())?,
                Value::Integer(integer) => self.field(integer.to_string().as_bytes())?,
                // The shortest digits that lead back to the same number.
                Value::Real(real) => self.field(format!("{real:?}").as_bytes())?,
                Value::Blob(blob) => self.field(&hex(blob)?)?,
            }
        }
        self.end_record()
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.flush()?;
        self.files.finish()
    }
}

fn unwritten(error: &::csv::Error) -> Error {
    match error.kind() {
        ::csv::ErrorKind::Io(error) => told(error),
        _ => Error::internal("a CSV record was not written"),
    }
}

/// Where the bytes go is memory, which may be lacking.
fn told(error: &std::io::Error) -> Error {
    Error::io("write a row", "a CSV file", error)
}

fn new_writer() -> ::csv::Writer<Gathered> {
    ::csv::WriterBuilder::new()
        .flexible(true)
        .terminator(::csv::Terminator::CRLF)
        .buffer_capacity(1 << 13)
        .from_writer(Gathered(Vec::with_capacity(BATCH + (1 << 13))))
}
