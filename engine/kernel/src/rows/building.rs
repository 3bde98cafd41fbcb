//! Filling trees that are new, in one go, from records in order of their keys.

use super::schema::Index;
use super::sort::{Sorted, Sorter, clear_leftovers};
use super::tables::OpenTable;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::sync::Arc;
use crate::txn::{Transaction, TreeRef};

/// Memory for sorting the entries of one index.
const SORT_BYTES: usize = 16 << 20;

/// Fills a tree that this transaction has made; two records of one key raise what `violation`
/// makes. `step` is told of each record, and may stop the work. Returns how many there were.
pub fn fill(
    txn: &mut Transaction,
    tree: TreeRef,
    mut records: Sorted,
    violation: &dyn Fn() -> Error,
    step: &mut dyn FnMut() -> Result<()>,
) -> Result<u64> {
    let mut last: Option<Vec<u8>> = None;
    txn.fill_beside(tree, records.sizes(), &mut |push| {
        while let Some((key, value)) = records.next_record()? {
            if last.as_ref() == Some(&key) {
                return Err(violation());
            }
            step()?;
            push(&key, &value)?;
            last = Some(key);
        }
        Ok(())
    })
}

/// Fills the tree of a new index from the rows of its table, which the caller has locked
/// exclusively; returns how many entries there are. Raises `UniqueViolation`.
///
/// Entries are sorted in bounded memory, on `disk` where they are many.
pub fn build_index(
    txn: &mut Transaction,
    disk: &Arc<dyn Disk>,
    table: &OpenTable,
    index: &Index,
    tree: TreeRef,
) -> Result<u64> {
    clear_leftovers(&**disk)?;
    let mut sorter = Sorter::new(Arc::clone(disk), SORT_BYTES);
    table.each_entry(txn, index, &mut |entry| sorter.push(&entry.key, &entry.value))?;
    fill(txn, tree, sorter.finish()?, &|| table.index_violation(index), &mut || Ok(()))
}
