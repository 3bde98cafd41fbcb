//! What all ways in and out have in common: tables that give rows, files that take them.

use std::cell::Cell;
use std::io::{self, Read};
use std::path::Path;
use std::rc::Rc;

use super::{Row, Schema, Value};
use crate::error::{Code, Error, Result};

/// One table that a source holds.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceTable {
    pub schema: Schema,
    /// The number of rows where the source knows it without reading them.
    pub rows: Option<u64>,
    /// What will not be carried over, each in words.
    pub without: Vec<String>,
}

/// Takes one row, and how much of the source has been read. It may change the row's cells; the
/// reader fills them anew. An error ends the reading.
pub type EachRow<'a> = dyn FnMut(&mut Row, u64) -> Result<()> + 'a;

/// A file of another program, opened for reading.
pub trait Source {
    /// sqlite | csv | jsonl
    fn kind(&self) -> &'static str;

    fn tables(&self) -> &[SourceTable];

    /// What belongs to no table and is not carried over, in words: views, virtual tables.
    fn without(&self) -> &[String] {
        &[]
    }

    /// How much there is to read, and in what unit: bytes or rows.
    fn total(&self) -> (u64, &'static str);

    /// Gives every row of a table to `each`; returns how many there were. `done` counts on from
    /// table to table.
    fn read(&mut self, table: usize, each: &mut EachRow<'_>) -> Result<u64>;
}

/// A file of another program that is being written. Nothing is at its place before `finish`;
/// a target that is dropped leaves nothing.
pub trait Target {
    /// Begins a table; the rows that follow are its.
    fn begin(&mut self, schema: &Schema) -> Result<()>;

    fn write(&mut self, row: &[Value]) -> Result<()>;

    /// Puts what was written in its place.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// An error of a file's content. `line` and `column` say where, as far as that is known.
pub fn bad_input(
    file: &Path,
    line: Option<u64>,
    column: Option<&str>,
    issue: impl Into<String>,
) -> Error {
    let mut error = Error::new(Code::BadInput).with("file", file.display().to_string());
    if let Some(line) = line {
        error = error.with("line", line);
    }
    if let Some(column) = column {
        error = error.with("column", column);
    }
    error.with("issue", issue.into())
}

/// Adds the line to an error of a row that was made where lines are not known.
pub fn at_line(mut error: Error, line: Option<u64>) -> Error {
    if let (Code::BadInput, None, Some(line)) = (error.code, error.field("line"), line) {
        error.fields.insert(1, ("line", line.into()));
    }
    error
}

/// A file that cannot be a source at all.
pub fn unsupported(file: &Path, detail: impl Into<String>) -> Error {
    Error::new(Code::UnsupportedSource)
        .with("path", file.display().to_string())
        .with("detail", detail.into())
}

/// Translates an error of reading or writing a file; `InvalidData` is one of its content.
pub fn io_error(operation: &'static str, file: &Path, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::InvalidData => bad_input(file, None, None, error.to_string()),
        _ => Error::io(operation, &file.display().to_string(), error),
    }
}

/// The name for the table of a file: its stem.
pub fn table_name(file: &Path) -> String {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    stem.filter(|stem| !stem.is_empty()).unwrap_or_else(|| "table".to_owned())
}

/// A reader that tells how many bytes have gone through it.
pub struct Counted<R> {
    inner: R,
    count: Rc<Cell<u64>>,
}

impl<R: Read> Counted<R> {
    pub fn new(inner: R) -> (Self, Rc<Cell<u64>>) {
        let count = Rc::new(Cell::new(0));
        (Counted { inner, count: Rc::clone(&count) }, count)
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.set(self.count.get() + read as u64);
        Ok(read)
    }
}
