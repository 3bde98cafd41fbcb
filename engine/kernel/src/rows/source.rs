//! What all ways in and out have in common: tables that give rows, files that take them.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
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

/// A file written beside its place and moved there when it is whole.
pub struct PartFile {
    place: PathBuf,
    part: PathBuf,
    writer: Option<BufWriter<File>>,
}

impl PartFile {
    pub fn create(place: &Path) -> Result<Self> {
        let part = part_path(place);
        let file = File::create(&part).map_err(|error| io_error("create", &part, &error))?;
        let writer = Some(BufWriter::with_capacity(1 << 18, file));
        Ok(PartFile { place: place.to_owned(), part, writer })
    }

    /// Where the file stands until it is finished.
    pub fn part(&self) -> &Path {
        &self.part
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        writer.write_all(bytes).map_err(|error| io_error("write", &self.part, &error))
    }

    /// Syncs the file and moves it to its place, over one that may be there.
    pub fn finish(mut self) -> Result<()> {
        if let Some(writer) = self.writer.take() {
            let synced = writer.into_inner().map_err(io::IntoInnerError::into_error);
            let synced = synced.and_then(|file| file.sync_all());
            synced.map_err(|error| io_error("write", &self.part, &error))?;
        }
        fs::rename(&self.part, &self.place).map_err(|error| io_error("rename", &self.place, &error))
    }

    /// Closes the file so that another program part can write it by its path.
    pub fn release(&mut self) {
        self.writer = None;
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        // Closed first: Windows removes no open file. After `finish` there is nothing to remove.
        self.writer = None;
        let _ = fs::remove_file(&self.part);
    }
}

fn part_path(place: &Path) -> PathBuf {
    let mut name = place.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    place.with_file_name(name)
}
