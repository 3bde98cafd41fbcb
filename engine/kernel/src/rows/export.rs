//! Writing tables into a file of another kind, all of them as one snapshot has them.

use std::path::Path;

use super::access::{KeyRange, TreeAccess};
use super::csv::CsvTarget;
use super::jsonl::JsonlTarget;
use super::source::Target;
use super::sqlite::SqliteTarget;
use super::tables::{self, OpenTable};
use crate::error::{Error, Result};
use crate::recovery::Progress;
use crate::txn::Transaction;

/// Rows read at a time.
const BATCH: usize = 512;

/// Writes tables to `place`: a SQLite database, or CSV or JSON lines (a file for one table, a
/// folder for several). Returns the rows. Nothing is at `place` before all is written.
pub fn export(
    txn: &mut Transaction,
    place: &Path,
    kind: &str,
    names: &[String],
    progress: &Progress,
) -> Result<u64> {
    let tables = names.iter().map(|name| tables::open(txn, name)).collect::<Result<Vec<_>>>()?;
    let mut target: Box<dyn Target> = match kind {
        "sqlite" => Box::new(SqliteTarget::create(place)?),
        "csv" => Box::new(CsvTarget::create(place, tables.len())?),
        "jsonl" => Box::new(JsonlTarget::create(place, tables.len())?),
        _ => return Err(Error::argument("kind", "sqlite, csv or jsonl")),
    };
    let mut total = 0;
    for table in &tables {
        total += table.count(txn)?;
    }
    progress.begin("write", "rows", total);
    let mut rows = 0;
    for table in &tables {
        target.begin(&table.schema)?;
        rows += write_rows(txn, table, &mut *target, progress)?;
    }
    target.finish()?;
    Ok(rows)
}

fn write_rows(
    txn: &mut Transaction,
    table: &OpenTable,
    target: &mut dyn Target,
    progress: &Progress,
) -> Result<u64> {
    let mut range = KeyRange::ALL;
    let mut rows = 0;
    loop {
        let records = TreeAccess::scan(txn, table.tree, &range, BATCH)?;
        let Some((last, _)) = records.last() else { return Ok(rows) };
        range.go_on_after(last.clone());
        for (_, bytes) in &records {
            target.write(&table.decode(bytes)?)?;
        }
        rows += records.len() as u64;
        progress.ensure_going()?;
        progress.add(records.len() as u64);
        progress.add_rows(records.len() as u64);
    }
}
