//! Reading the tables of a SQLite database.

use std::path::{Path, PathBuf};

use rusqlite::types::ValueRef;

use super::describe::{describe, select_sql};
use super::opening::Opened;
use super::sqlite_error;
use crate::error::Result;
use crate::memory;
use crate::rows::record::copied_text;
use crate::rows::source::{EachRow, Source, SourceTable};
use crate::rows::{Row, Value};

/// The tables of a SQLite database, which is never written to.
pub struct SqliteSource {
    file: PathBuf,
    opened: Opened,
    tables: Vec<SourceTable>,
    without: Vec<String>,
    done: u64,
}

impl SqliteSource {
    /// Opens and describes a database; reads every row once to learn its types.
    pub fn open(file: &Path) -> Result<Self> {
        let opened = Opened::open(file)?;
        let (tables, without) = describe(&opened.connection, file)?;
        opened.check_unchanged()?;
        Ok(SqliteSource { file: file.to_owned(), opened, tables, without, done: 0 })
    }
}

impl Source for SqliteSource {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    fn tables(&self) -> &[SourceTable] {
        &self.tables
    }

    fn without(&self) -> &[String] {
        &self.without
    }

    fn total(&self) -> (u64, &'static str) {
        (self.tables.iter().filter_map(|table| table.rows).sum(), "rows")
    }

    fn read(&mut self, table: usize, each: &mut EachRow<'_>) -> Result<u64> {
        let schema = &self.tables[table].schema;
        let fail = |error: rusqlite::Error| sqlite_error(&self.file, &error);
        let sql = select_sql(&schema.name, &schema.columns);
        let mut statement = self.opened.connection.prepare(&sql).map_err(fail)?;
        let mut found = statement.query([]).map_err(fail)?;
        let mut row = Row::new();
        let mut rows = 0;
        while let Some(found) = found.next().map_err(fail)? {
            row.clear();
            for column in 0..schema.columns.len() {
                row.push(value_of(found.get_ref(column).map_err(fail)?)?);
            }
            self.done += 1;
            rows += 1;
            each(&mut row, self.done)?;
        }
        self.opened.check_unchanged()?;
        Ok(rows)
    }
}

fn value_of(value: ValueRef<'_>) -> Result<Value> {
    let copied = |bytes: &[u8]| memory::copied(bytes, "read an SQLite database");
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(integer) => Value::Integer(integer),
        ValueRef::Real(real) => Value::Real(real),
        ValueRef::Blob(blob) => Value::Blob(copied(blob)?),
        // SQLite does not check what it is given as text; bytes that are none stay bytes.
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => Value::Text(copied_text(text)?),
            Err(_) => Value::Blob(copied(text)?),
        },
    })
}
