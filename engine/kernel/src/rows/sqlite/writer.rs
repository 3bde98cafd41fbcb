//! Writing a SQLite database with the same tables, rows and indexes.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};

use super::{quoted, sqlite_error};
use crate::error::{Error, Result};
use crate::rows::output::PartFile;
use crate::rows::source::Target;
use crate::rows::{Collation, Column, ColumnType, Index, Schema, Value};

/// A database that is written beside its place and moved there when it is whole.
pub struct SqliteTarget {
    // Closed before the file is removed: fields are dropped in this order.
    connection: Connection,
    file: PartFile,
    insert: String,
    /// Statements for indexes, run after the rows: sorting once beats keeping in order.
    indexes: Vec<String>,
    /// Names in use; SQLite has one space for tables and indexes.
    names: HashSet<String>,
    place: PathBuf,
}

impl SqliteTarget {
    pub fn create(place: &Path) -> Result<Self> {
        let mut log = place.as_os_str().to_owned();
        log.push("-wal");
        if Path::new(&log).exists() {
            return Err(Error::argument("path", "a SQLite database that is in use is at this place"));
        }
        let mut file = PartFile::create(place)?;
        file.release();
        let connection = Connection::open(file.part()).map_err(|error| sqlite_error(place, &error))?;
        // Nobody else sees the file before it is whole, and then it is synced.
        connection
            .execute_batch(
                "PRAGMA page_size = 8192; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
                 PRAGMA locking_mode = EXCLUSIVE; BEGIN;",
            )
            .map_err(|error| sqlite_error(place, &error))?;
        Ok(SqliteTarget {
            connection,
            file,
            insert: String::new(),
            indexes: Vec::new(),
            names: HashSet::new(),
            place: place.to_owned(),
        })
    }

    /// A name that SQLite takes and that nothing else has.
    fn free_name(&mut self, wanted: &str, table: &str) -> String {
        let is_reserved = wanted.to_ascii_lowercase().starts_with("sqlite_");
        let first = if is_reserved { format!("_{wanted}") } else { wanted.to_owned() };
        let others = (1..).map(|number| match number {
            1 => format!("{table}_{wanted}"),
            number => format!("{table}_{wanted}_{number}"),
        });
        let mut names = std::iter::once(first.clone()).chain(others);
        let name = names.find(|name| !self.names.contains(&name.to_lowercase())).unwrap_or(first);
        self.names.insert(name.to_lowercase());
        name
    }

    fn run(&self, sql: &str) -> Result<()> {
        self.connection.execute_batch(sql).map_err(|error| sqlite_error(&self.place, &error))
    }
}

impl Target for SqliteTarget {
    fn begin(&mut self, schema: &Schema) -> Result<()> {
        let table = self.free_name(&schema.name, "table");
        self.run(&create_table(&table, schema))?;
        for index in &schema.indexes {
            let name = self.free_name(&index.name, &table);
            self.indexes.push(create_index(&name, &table, schema, index));
        }
        let marks = vec!["?"; schema.columns.len()].join(", ");
        self.insert = format!("INSERT INTO {} VALUES ({marks})", quoted(&table));
        Ok(())
    }

    fn write(&mut self, row: &[Value]) -> Result<()> {
        let fail = |error: rusqlite::Error| sqlite_error(&self.place, &error);
        let mut statement = self.connection.prepare_cached(&self.insert).map_err(fail)?;
        for (place, value) in row.iter().enumerate() {
            statement.raw_bind_parameter(place + 1, Bound(value)).map_err(fail)?;
        }
        statement.raw_execute().map(|_| ()).map_err(fail)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        for sql in std::mem::take(&mut self.indexes) {
            self.run(&sql)?;
        }
        self.run("COMMIT")?;
        let SqliteTarget { connection, file, place, .. } = *self;
        connection.close().map_err(|(_, error)| sqlite_error(&place, &error))?;
        file.finish()
    }
}

/// Lends a value to SQLite without copying it.
struct Bound<'a>(&'a Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null => ValueRef::Null,
            Value::Integer(integer) => ValueRef::Integer(*integer),
            Value::Real(real) => ValueRef::Real(*real),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Blob(blob) => ValueRef::Blob(blob),
        }))
    }
}

fn create_table(table: &str, schema: &Schema) -> String {
    let mut parts: Vec<String> = schema.columns.iter().map(column_sql).collect();
    if !schema.primary_key.is_empty() {
        let key: Vec<String> =
            schema.primary_key.iter().map(|place| quoted(&schema.columns[*place].name)).collect();
        parts.push(format!("PRIMARY KEY ({})", key.join(", ")));
    }
    format!("CREATE TABLE {} ({})", quoted(table), parts.join(", "))
}

fn column_sql(column: &Column) -> String {
    let mut sql = format!("{} {}", quoted(&column.name), declaration(column));
    if column.not_null {
        sql.push_str(" NOT NULL");
    }
    if column.collation == Collation::NoCase {
        sql.push_str(" COLLATE NOCASE");
    }
    sql
}

/// The declared type, unless SQLite would then change the values of the column.
fn declaration(column: &Column) -> String {
    let keeps_values = match column.kind {
        ColumnType::Any | ColumnType::Null => true,
        kind => ColumnType::of_declaration(&column.declared) == kind,
    };
    if !keeps_values {
        return column.kind.name().to_ascii_uppercase();
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ' ';
    let (words, size) = column.declared.split_once('(').unwrap_or((&column.declared, ""));
    let is_size = |c: char| c.is_ascii_digit() || c == ',' || c == ' ' || c == '+' || c == '-';
    let has_size =
        size.is_empty() || size.strip_suffix(')').is_some_and(|size| size.chars().all(is_size));
    let is_type = words.chars().all(is_plain) && has_size && !has_keyword(words);
    if is_type { column.declared.clone() } else { quoted(&column.declared) }
}

/// Words that would end the type and begin a constraint.
fn has_keyword(words: &str) -> bool {
    const KEYWORDS: [&str; 10] = [
        "CONSTRAINT",
        "PRIMARY",
        "NOT",
        "NULL",
        "UNIQUE",
        "CHECK",
        "DEFAULT",
        "COLLATE",
        "REFERENCES",
        "GENERATED",
    ];
    let is_keyword =
        |word: &str| KEYWORDS.contains(&word.to_ascii_uppercase().as_str()) || starts_with_digit(word);
    words.split_ascii_whitespace().any(is_keyword)
}

fn starts_with_digit(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit())
}

fn create_index(name: &str, table: &str, schema: &Schema, index: &Index) -> String {
    let unique = if index.unique { "UNIQUE " } else { "" };
    let column = |(place, collation): (&usize, &Collation)| {
        let column = &schema.columns[*place];
        let own = if *collation == column.collation { "" } else { collation.name() };
        let collate = if own.is_empty() { "" } else { " COLLATE " };
        format!("{}{collate}{own}", quoted(&column.name))
    };
    let columns: Vec<String> = index.columns.iter().zip(&index.collations).map(column).collect();
    format!("CREATE {unique}INDEX {} ON {} ({})", quoted(name), quoted(table), columns.join(", "))
}
