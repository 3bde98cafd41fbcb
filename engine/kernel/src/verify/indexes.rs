//! Secondary indexes against their tables: an entry for each row, a row for each entry.
//!
//! Both sides are read in their own order and summed up: the sum of the hashes of all entries
//! does not depend on the order, so two scans compare an index of any size in no memory. Only
//! where the sums differ is it looked up what is missing.

use std::sync::Arc;

use super::Check;
use crate::error::{Code, Error, Result};
use crate::page::get_u64;
use crate::recovery::Progress;
use crate::rows::tables::{self, OpenTable};
use crate::rows::{Index, index};
use crate::txn::{Isolation, Range, Shared, Transaction, TreeRef};

const BATCH: usize = 512;

/// An index that cannot be trusted.
#[derive(Clone, Debug, PartialEq)]
pub struct DamagedIndex {
    pub table: String,
    pub index: String,
    pub reason: String,
}

/// Entries, added up without regard to their order.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sum {
    entries: u64,
    low: u64,
    high: u64,
}

impl Sum {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(key.len() as u64).to_le_bytes());
        hasher.update(key);
        hasher.update(value);
        let hash = hasher.finalize();
        self.entries += 1;
        self.low = self.low.wrapping_add(get_u64(hash.as_bytes(), 0));
        self.high = self.high.wrapping_add(get_u64(hash.as_bytes(), 8));
    }
}

/// Why the indexes of a table could not be compared.
enum Obstacle {
    /// Somebody holds the table, or the snapshot could not be kept.
    Busy,
    Damage(Error),
}

impl Check<'_> {
    pub(super) fn compare_indexes(&mut self) -> Result<()> {
        self.progress.begin("indexes", "rows", 0);
        let names = match table_names(self.shared) {
            Ok(names) => names,
            // A catalogue that cannot be read has been noted by the walk.
            Err(error) => return obstacle(error).map(|_| ()),
        };
        for name in names {
            match compare_table(self.shared, &name, self.progress) {
                Ok(damaged) => {
                    for found in damaged {
                        let detail = format!("table {}: {}", found.table, found.reason);
                        self.note(Code::InconsistentState, None, Some(&found.index), detail);
                    }
                }
                Err(error) => match obstacle(error)? {
                    Obstacle::Busy => self.report.skipped.push(name),
                    // A damaged page has been found by the walk; the rest stands here only.
                    Obstacle::Damage(error) => {
                        let is_known = self.report.problems.iter().any(|p| p.code == error.code);
                        if !is_known {
                            self.note(error.code, None, Some(&name), super::describe(&error));
                        }
                    }
                },
            }
        }
        Ok(())
    }
}

/// Indexes that cannot be trusted: rebuild them from their tables.
pub fn damaged_indexes(shared: &Arc<Shared>, progress: &Progress) -> Result<Vec<DamagedIndex>> {
    let mut damaged = Vec::new();
    for name in table_names(shared)? {
        match compare_table(shared, &name, progress) {
            Ok(found) => damaged.extend(found),
            Err(error) => match obstacle(error)? {
                Obstacle::Busy => {}
                Obstacle::Damage(error) => return Err(error),
            },
        }
    }
    Ok(damaged)
}

fn obstacle(error: Error) -> Result<Obstacle> {
    match error.code {
        Code::Cancelled | Code::StoreClosed => Err(error),
        Code::LockTimeout | Code::Deadlock | Code::SnapshotTooOld | Code::TransactionAborted => {
            Ok(Obstacle::Busy)
        }
        // Dropped since its name was read.
        Code::TableNotFound => Ok(Obstacle::Busy),
        _ => Ok(Obstacle::Damage(error)),
    }
}

fn table_names(shared: &Arc<Shared>) -> Result<Vec<String>> {
    tables::list(&mut shared.begin(Isolation::ReadCommitted, true)?)
}

/// Compares all indexes of one table within one snapshot.
fn compare_table(shared: &Arc<Shared>, name: &str, progress: &Progress) -> Result<Vec<DamagedIndex>> {
    let mut txn = shared.begin(Isolation::RepeatableRead, true)?;
    let table = tables::open(&mut txn, name)?;
    if table.schema.indexes.is_empty() {
        return Ok(Vec::new());
    }
    let expected = sum_rows(&mut txn, &table, progress)?;
    let mut damaged = Vec::new();
    for ((index, tree), expected) in indexes(&table).zip(expected) {
        let reason = match sum_entries(&mut txn, tree, progress) {
            Ok(found) if found == expected => continue,
            Ok(_) => tell_difference(&mut txn, &table, index, tree, progress)?,
            Err(error) if matches!(error.code, Code::ChecksumMismatch | Code::PageDamaged) => {
                super::describe(&error)
            }
            Err(error) => return Err(error),
        };
        let (table, index) = (table.schema.name.clone(), index.name.clone());
        damaged.push(DamagedIndex { table, index, reason });
    }
    Ok(damaged)
}

fn indexes(table: &OpenTable) -> impl Iterator<Item = (&Index, TreeRef)> {
    table.schema.indexes.iter().zip(table.index_trees.iter().copied())
}

/// Shows every record of a tree to `visit`, which may use the transaction.
fn for_each(
    txn: &mut Transaction,
    tree: TreeRef,
    progress: &Progress,
    mut visit: impl FnMut(&mut Transaction, &[u8], &[u8]) -> Result<()>,
) -> Result<()> {
    let mut from: Option<Vec<u8>> = None;
    loop {
        let batch = txn.scan(tree, &Range::default(), from.as_deref(), BATCH)?;
        progress.ensure_going()?;
        progress.add(batch.records.len() as u64);
        for (key, value) in &batch.records {
            visit(txn, key, value)?;
        }
        match batch.next {
            Some(next) => from = Some(next),
            None => return Ok(()),
        }
    }
}

/// What the rows of a table say that each of its indexes holds.
fn sum_rows(txn: &mut Transaction, table: &OpenTable, progress: &Progress) -> Result<Vec<Sum>> {
    let max_key = txn.max_key();
    let mut sums = vec![Sum::default(); table.schema.indexes.len()];
    for_each(txn, table.tree, progress, |_, key, value| {
        let row = table.decode(value)?;
        for (index, sum) in table.schema.indexes.iter().zip(&mut sums) {
            let entry = index::entry(index, &row, key, max_key);
            sum.add(&entry.key, &entry.value);
        }
        Ok(())
    })?;
    Ok(sums)
}

fn sum_entries(txn: &mut Transaction, tree: TreeRef, progress: &Progress) -> Result<Sum> {
    let mut sum = Sum::default();
    for_each(txn, tree, progress, |_, key, value| {
        sum.add(key, value);
        Ok(())
    })?;
    Ok(sum)
}

/// Says how far an index and its table have parted.
fn tell_difference(
    txn: &mut Transaction,
    table: &OpenTable,
    index: &Index,
    tree: TreeRef,
    progress: &Progress,
) -> Result<String> {
    let max_key = txn.max_key();
    let (mut missing, mut wrong) = (0u64, 0u64);
    for_each(txn, table.tree, progress, |txn, key, value| {
        let entry = index::entry(index, &table.decode(value)?, key, max_key);
        missing += u64::from(txn.get(tree, &entry.key)?.as_ref() != Some(&entry.value));
        Ok(())
    })?;
    for_each(txn, tree, progress, |txn, key, value| {
        let leads_to_its_row = match index::row_key(index, key, value) {
            Ok(row_key) => match txn.get(table.tree, row_key)? {
                Some(row) => {
                    let entry = index::entry(index, &table.decode(&row)?, row_key, max_key);
                    entry.key == key && entry.value == value
                }
                None => false,
            },
            Err(_) => false,
        };
        wrong += u64::from(!leads_to_its_row);
        Ok(())
    })?;
    Ok(format!("{missing} rows lack their entry, {wrong} entries lead to no row of theirs"))
}
