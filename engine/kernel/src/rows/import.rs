//! Bringing the tables of a file into a database, all of them or nothing.
//!
//! Rows are read, checked, encoded and sorted; then each tree is built bottom up, in one
//! transaction that also makes the tables. Until it commits nobody sees any of them.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::building::fill;
use super::csv::{self, CsvSource, Format};
use super::encoding::Encoding;
use super::jsonl::JsonlSource;
use super::schema::{Schema, same_name};
use super::sort::{Sorted, Sorter, clear_leftovers};
use super::source::{Source, bad_input, io_error, table_name, unsupported};
use super::sqlite::SqliteSource;
use super::tables::{self, OpenTable};
use super::{Column, Row, check, index, record};
use crate::disk::Disk;
use crate::error::{Code, Error, Result};
use crate::recovery::Progress;
use crate::sync::Arc;
use crate::txn::{Transaction, TreeRef};

/// Memory for sorting the rows of a table; as much again is shared by its indexes.
const SORT_BYTES: usize = 48 << 20;
/// Rows between two looks at progress and cancellation.
const STRIDE: u64 = 1024;
/// Read of a CSV file to guess how it is written.
const SAMPLE_BYTES: u64 = 1 << 20;

/// What is to be imported, and how. What is left out is guessed, or is everything.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// sqlite | csv | jsonl; told by the file where it is missing.
    pub kind: Option<String>,
    /// Names of tables in the source and here; empty for all, under their own names.
    pub tables: Vec<(String, String)>,
    /// How a CSV file is written.
    pub format: Option<Format>,
    /// The columns of a CSV file, in its order.
    pub columns: Option<Vec<Column>>,
    /// Names of the key's columns, for CSV and JSON lines.
    pub primary_key: Vec<String>,
}

/// What was imported.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// Tables by their new names, with their rows.
    pub tables: Vec<(String, u64)>,
}

impl Plan {
    /// Reads a plan: kind, tables {source: new}, delimiter, quote, encoding, header,
    /// columns [{name, type}], primary_key [name]. Raises `InvalidArgument`.
    pub fn from_json(json: &Json) -> Result<Plan> {
        let text = |field: &str| json[field].as_str();
        let mut plan = Plan { kind: text("kind").map(str::to_owned), ..Plan::default() };
        if let Some(tables) = json["tables"].as_object() {
            let name = |(source, new): (&String, &Json)| {
                (source.clone(), new.as_str().unwrap_or(source).to_owned())
            };
            plan.tables = tables.iter().map(name).collect();
        }
        if ["delimiter", "quote", "encoding", "header"].iter().any(|field| !json[*field].is_null()) {
            plan.format = Some(format_from_json(json)?);
        }
        if let Some(columns) = json["columns"].as_array() {
            let schema = serde_json::json!({"name": "import", "columns": columns});
            plan.columns = Some(Schema::from_json(&schema.to_string())?.columns);
        }
        if let Some(key) = json["primary_key"].as_array() {
            plan.primary_key = key.iter().filter_map(Json::as_str).map(str::to_owned).collect();
        }
        Ok(plan)
    }
}

fn format_from_json(json: &Json) -> Result<Format> {
    let mark = |field: &'static str, default: u8| match json[field].as_str().map(str::as_bytes) {
        None | Some([]) => Ok(default),
        Some([mark]) if mark.is_ascii() => Ok(*mark),
        Some(_) => Err(Error::argument(field, "one ASCII character is needed")),
    };
    let default = Format::default();
    let encoding = json["encoding"].as_str().unwrap_or(default.encoding.name());
    Ok(Format {
        delimiter: mark("delimiter", default.delimiter)?,
        quote: mark("quote", default.quote)?,
        encoding: Encoding::named(encoding)
            .ok_or_else(|| Error::argument("encoding", format!("{encoding} is not known")))?,
        header: json["header"].as_bool().unwrap_or(default.header),
    })
}

/// Opens a file as a source, as its kind or the plan says.
pub fn open_source(file: &Path, plan: &Plan) -> Result<Box<dyn Source>> {
    let kind = match &plan.kind {
        Some(kind) => kind.clone(),
        None => kind_of(file)?.to_owned(),
    };
    match kind.as_str() {
        "sqlite" => Ok(Box::new(SqliteSource::open(file)?)),
        "jsonl" => Ok(Box::new(JsonlSource::open(file)?)),
        "csv" => open_csv(file, plan),
        _ => Err(unsupported(file, format!("{kind} is no kind of file that can be read"))),
    }
}

fn open_csv(file: &Path, plan: &Plan) -> Result<Box<dyn Source>> {
    let (format, columns) = match (plan.format.clone(), plan.columns.clone()) {
        (Some(format), Some(columns)) => (format, columns),
        (format, columns) => {
            let sniffed = csv::sniff(file, SAMPLE_BYTES)?;
            let format = format.unwrap_or(sniffed.format);
            // What nobody has looked at must hold for the whole file, not for its beginning.
            let columns = columns.map_or_else(|| csv::guess_all_columns(file, &format), Ok)?;
            (format, columns)
        }
    };
    let schema =
        Schema { name: table_name(file), columns, primary_key: Vec::new(), indexes: Vec::new() };
    Ok(Box::new(CsvSource::open(file, format, schema)?))
}

/// What kind of file this is, by its content and then by its name.
pub fn kind_of(file: &Path) -> Result<&'static str> {
    use std::io::Read;
    let mut start = Vec::new();
    let opened = std::fs::File::open(file).map_err(|error| io_error("open", file, &error))?;
    opened.take(4096).read_to_end(&mut start).map_err(|error| io_error("read", file, &error))?;
    if start.starts_with(b"SQLite format 3\0") {
        return Ok("sqlite");
    }
    let extension = file.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    let text = start.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&start);
    match extension.as_deref() {
        Some("csv" | "tsv" | "tab") => Ok("csv"),
        Some("jsonl" | "ndjson") => Ok("jsonl"),
        Some("sqlite" | "sqlite3") => {
            Err(unsupported(file, "it is no SQLite database, or one that is encrypted"))
        }
        _ if text.trim_ascii_start().starts_with(b"{") => Ok("jsonl"),
        _ if start.contains(&0)
            && !start.starts_with(&[0xff, 0xfe])
            && !start.starts_with(&[0xfe, 0xff]) =>
        {
            Err(unsupported(file, "it is neither a SQLite database nor text"))
        }
        _ => Ok("csv"),
    }
}

/// Imports into new tables within `txn`, which the caller commits. After an error the
/// transaction is as it was.
///
/// Raises `BadInput` with the place of what cannot be read, `TableExists`, `UniqueViolation`,
/// and `Cancelled`.
pub fn import(
    txn: &mut Transaction,
    disk: &Arc<dyn Disk>,
    file: &Path,
    plan: &Plan,
    progress: &Progress,
) -> Result<Imported> {
    progress.begin("look", "rows", 0);
    let mut source = open_source(file, plan)?;
    clear_leftovers(&**disk)?;
    let chosen = choose(&*source, plan)?;
    let work = Import { disk, file: file.to_owned(), progress };
    txn.atomically(|txn| {
        let mut imported = Vec::new();
        for (place, schema) in chosen {
            let table = tables::create(txn, &schema)?;
            let sorted = work.read(txn, &mut *source, place, &table)?;
            let rows = work.build(txn, &table, sorted)?;
            imported.push((schema.name, rows));
        }
        Ok(Imported { tables: imported })
    })
}

/// The tables to import, by their place in the source, with their new schemas.
fn choose(source: &dyn Source, plan: &Plan) -> Result<Vec<(usize, Schema)>> {
    let mut chosen = Vec::new();
    let schemas = source.tables().iter().map(|table| &table.schema);
    if plan.tables.is_empty() {
        chosen.extend(schemas.cloned().enumerate());
    } else {
        let schemas: Vec<&Schema> = schemas.collect();
        for (name, new) in &plan.tables {
            // A file of one table is meant whatever name is used for it.
            let found = schemas.iter().position(|schema| same_name(&schema.name, name));
            let only = (schemas.len() == 1 && source.kind() != "sqlite").then_some(0);
            let place = found
                .or(only)
                .ok_or_else(|| Error::new(Code::TableNotFound).with("table", name.as_str()))?;
            chosen.push((place, Schema { name: new.clone(), ..schemas[place].clone() }));
        }
    }
    for (_, schema) in &mut chosen {
        if !plan.primary_key.is_empty() && source.kind() != "sqlite" {
            schema.primary_key =
                plan.primary_key.iter().map(|name| schema.column(name)).collect::<Result<_>>()?;
        }
        schema.validate()?;
    }
    Ok(chosen)
}

struct Import<'a> {
    disk: &'a Arc<dyn Disk>,
    file: PathBuf,
    progress: &'a Progress,
}

/// The records of a table and of each of its indexes, in order.
struct SortedTable {
    rows: Sorted,
    indexes: Vec<Sorted>,
    count: u64,
}

impl Import<'_> {
    fn read(
        &self,
        txn: &Transaction,
        source: &mut dyn Source,
        place: usize,
        table: &OpenTable,
    ) -> Result<SortedTable> {
        let (total, unit) = source.total();
        self.progress.begin("read", unit, total);
        let schema = &table.schema;
        let mut rows = Sorter::new(Arc::clone(self.disk), SORT_BYTES);
        let share = SORT_BYTES / schema.indexes.len().max(1);
        let mut indexes: Vec<Sorter> =
            schema.indexes.iter().map(|_| Sorter::new(Arc::clone(self.disk), share)).collect();
        let max_key = txn.max_key();
        let mut bytes = Vec::new();
        let mut count = 0u64;
        source.read(place, &mut |row: &mut Row, done: u64| {
            count += 1;
            if count.is_multiple_of(STRIDE) {
                self.progress.ensure_going()?;
                self.progress.set(done);
                self.progress.add_rows(STRIDE);
            }
            check::row(schema, row).map_err(|error| self.bad_row(&error, count))?;
            let key = table.row_key(row, i64::try_from(count).unwrap_or(i64::MAX));
            bytes.clear();
            record::encode(&mut bytes, row)?;
            rows.push(&key, &bytes)?;
            for (index, sorter) in schema.indexes.iter().zip(&mut indexes) {
                let entry = index::entry(index, row, &key, max_key);
                sorter.push(&entry.key, &entry.value)?;
            }
            Ok(())
        })?;
        self.progress.add_rows(count % STRIDE);
        let indexes = indexes.into_iter().map(Sorter::finish).collect::<Result<_>>()?;
        Ok(SortedTable { rows: rows.finish()?, indexes, count })
    }

    fn build(&self, txn: &mut Transaction, table: &OpenTable, sorted: SortedTable) -> Result<u64> {
        let trees = 1 + sorted.indexes.len() as u64;
        self.progress.begin("build", "records", sorted.count * trees);
        let rows = self.fill(txn, table.tree, sorted.rows, &|| table.key_violation())?;
        let indexes = table.schema.indexes.iter().zip(&table.index_trees);
        for ((index, tree), records) in indexes.zip(sorted.indexes) {
            self.fill(txn, *tree, records, &|| table.index_violation(index))?;
        }
        Ok(rows)
    }

    /// Fills a tree, with progress.
    fn fill(
        &self,
        txn: &mut Transaction,
        tree: TreeRef,
        records: Sorted,
        violation: &dyn Fn() -> Error,
    ) -> Result<u64> {
        let mut count = 0u64;
        fill(txn, tree, records, violation, &mut || {
            count += 1;
            if count.is_multiple_of(STRIDE) {
                self.progress.ensure_going()?;
                self.progress.add(STRIDE);
            }
            Ok(())
        })
    }

    /// A row that its table refuses is a fault of the file.
    fn bad_row(&self, error: &Error, number: u64) -> Error {
        let issue = match error.code {
            Code::NotNullViolation => "a value is missing",
            _ => "the value has another type",
        };
        let column = match error.field("column") {
            Some(crate::error::Field::Text(column)) => Some(column.as_str()),
            _ => None,
        };
        bad_input(&self.file, None, column, format!("row {number}: {issue}")).because(error.clone())
    }
}
