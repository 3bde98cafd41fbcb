//! Reading a CSV file as typed rows.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use super::records::{Fields, Records};
use super::{Format, parse};
use crate::error::Result;
use crate::rows::source::{
    Counted, EachRow, Source, SourceTable, at_line, bad_input, io_error, unsupported,
};
use crate::rows::{Row, Schema};

/// One table: the records of a file.
pub struct CsvSource {
    file: PathBuf,
    format: Format,
    tables: [SourceTable; 1],
    bytes: u64,
}

impl CsvSource {
    /// A file read as `format` says, each record a row of `schema`.
    pub fn open(file: &Path, format: Format, schema: Schema) -> Result<Self> {
        schema.validate()?;
        let metadata = std::fs::metadata(file).map_err(|error| io_error("open", file, &error))?;
        if !metadata.is_file() {
            return Err(unsupported(file, "it is no file"));
        }
        let tables = [SourceTable { schema, rows: None, without: Vec::new() }];
        Ok(CsvSource { file: file.to_owned(), format, tables, bytes: metadata.len() })
    }

    fn convert(&self, record: &Fields, row: &mut Row) -> Result<()> {
        let columns = &self.tables[0].schema.columns;
        let line = Some(record.line);
        if record.len() != columns.len() {
            let issue = format!("fields: {}, expected: {}", record.len(), columns.len());
            let first = (record.len().min(columns.len()) + 1).to_string();
            return Err(bad_input(&self.file, line, Some(&first), issue));
        }
        row.clear();
        for (column, field) in columns.iter().zip(record.iter()) {
            let value = parse(column, field)?;
            row.push(value.map_err(|issue| bad_input(&self.file, line, Some(&column.name), issue))?);
        }
        Ok(())
    }
}

impl Source for CsvSource {
    fn kind(&self) -> &'static str {
        "csv"
    }

    fn tables(&self) -> &[SourceTable] {
        &self.tables
    }

    fn total(&self) -> (u64, &'static str) {
        (self.bytes, "bytes")
    }

    fn read(&mut self, _table: usize, each: &mut EachRow<'_>) -> Result<u64> {
        let file = File::open(&self.file).map_err(|error| io_error("open", &self.file, &error))?;
        let (counted, done) = Counted::new(file);
        let input = BufReader::with_capacity(1 << 16, self.format.encoding.reader(counted));
        let mut records = Records::new(&self.format, input);
        let failed = |error: io::Error| io_error("read", &self.file, &error);
        let mut record = Fields::default();
        if self.format.header {
            records.read(&mut record).map_err(failed)?;
        }
        let mut row = Row::new();
        let mut rows = 0;
        while records.read(&mut record).map_err(failed)? {
            self.convert(&record, &mut row)?;
            each(&mut row, done.get()).map_err(|error| at_line(error, Some(record.line)))?;
            rows += 1;
        }
        Ok(rows)
    }
}
