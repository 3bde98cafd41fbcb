//! The tables of a database: making, opening and dropping them and their indexes.
//!
//! The catalogue's row of a table describes its schema, indexes included; each index has a row
//! of its own that leads to its tree. Whoever opens a table holds its tree by intention until
//! the end, and whoever changes its schema holds it exclusively: so a schema in use stays.

use super::building::build_index;
use super::schema::{Index, Schema, invalid, same_name};
use super::table::Table;
use crate::disk::Disk;
use crate::error::{Code, Error, Result};
use crate::sync::Arc;
use crate::txn::{CATALOGUE_REF, CatalogueEntry, CatalogueKind, Transaction, TreeRef};

/// A table of a real database.
pub type OpenTable = Table<TreeRef>;

/// The names of all tables, in order.
pub fn list(txn: &mut Transaction) -> Result<Vec<String>> {
    let entries = txn.catalogue(CatalogueKind::Table)?;
    Ok(entries.into_iter().map(|entry| entry.name).collect())
}

/// Opens a table; raises `TableNotFound`, or `WriteConflict` where its schema was changed after
/// this transaction's snapshot.
pub fn open(txn: &mut Transaction, name: &str) -> Result<OpenTable> {
    let entry = find(txn, name)?.ok_or_else(|| Error::new(Code::TableNotFound).with("table", name))?;
    open_entry(txn, &entry)
}

/// Makes an empty table; raises `TableExists` or `SchemaInvalid`.
pub fn create(txn: &mut Transaction, schema: &Schema) -> Result<OpenTable> {
    schema.validate()?;
    if find(txn, &schema.name)?.is_some() {
        let error = Error::new(Code::TableExists).with("table", schema.name.as_str());
        return Err(error.with("kind", "a table"));
    }
    txn.atomically(|txn| {
        let description = schema.to_json().to_string();
        let tree = txn.create_tree(CatalogueKind::Table, &schema.name, description.as_bytes())?;
        let mut index_trees = Vec::with_capacity(schema.indexes.len());
        for index in &schema.indexes {
            let name = index_entry(&schema.name, &index.name);
            index_trees.push(txn.create_tree(CatalogueKind::Index, &name, b"")?);
        }
        Ok(Table { schema: schema.clone(), tree, index_trees })
    })
}

/// Drops a table with its indexes; raises `TableNotFound`.
pub fn drop(txn: &mut Transaction, name: &str) -> Result<()> {
    let table = open(txn, name)?;
    txn.atomically(|txn| {
        for index in &table.schema.indexes {
            let entry = index_entry(&table.schema.name, &index.name);
            txn.drop_tree(CatalogueKind::Index, &entry)?;
        }
        txn.drop_tree(CatalogueKind::Table, &table.schema.name).map(|_| ())
    })
}

/// Adds an index and builds it bottom up from sorted entries; returns the table with it. Waits
/// until nobody else uses the table; `disk` takes what does not fit into memory while sorting.
/// Raises `SchemaInvalid` for a name in use, `UniqueViolation` for rows that collide.
pub fn create_index(
    txn: &mut Transaction,
    disk: &Arc<dyn Disk>,
    table: &str,
    name: &str,
    columns: &[&str],
    unique: bool,
) -> Result<OpenTable> {
    let (entry, mut table) = open_exclusively(txn, table)?;
    let index = table.schema.new_index(name, columns, unique)?;
    table.schema.indexes.push(index.clone());
    table.schema.validate()?;
    txn.atomically(|txn| {
        let tree = txn.create_tree(CatalogueKind::Index, &index_entry(&entry.name, name), b"")?;
        table.index_trees.push(tree);
        // Every row has to be in the index, those too that came after this snapshot.
        txn.reading_newest(|txn| build_index(txn, disk, &table, &index, tree))?;
        txn.describe(&entry, table.schema.to_json().to_string().as_bytes())
    })?;
    Ok(table)
}

/// Drops an index; returns the table without it. Raises `IndexNotFound`.
pub fn drop_index(txn: &mut Transaction, table: &str, name: &str) -> Result<OpenTable> {
    let (entry, mut table) = open_exclusively(txn, table)?;
    let place = table.schema.index(name)?;
    let index: Index = table.schema.indexes.remove(place);
    table.index_trees.remove(place);
    txn.atomically(|txn| {
        txn.drop_tree(CatalogueKind::Index, &index_entry(&entry.name, &index.name))?;
        txn.describe(&entry, table.schema.to_json().to_string().as_bytes())
    })?;
    Ok(table)
}

fn open_exclusively(txn: &mut Transaction, name: &str) -> Result<(CatalogueEntry, OpenTable)> {
    let _work = txn.ensure_writable()?;
    let entry = find(txn, name)?.ok_or_else(|| Error::new(Code::TableNotFound).with("table", name))?;
    txn.lock_exclusively(entry.tree)?;
    let table = open_entry(txn, &entry)?;
    Ok((entry, table))
}

fn find(txn: &mut Transaction, name: &str) -> Result<Option<CatalogueEntry>> {
    if let Some(entry) = txn.find_tree(CatalogueKind::Table, name)? {
        return Ok(Some(entry));
    }
    // SQL takes names that differ in case for one.
    let like = list(txn)?.into_iter().find(|other| same_name(other, name));
    like.map_or(Ok(None), |name| txn.find_tree(CatalogueKind::Table, &name))
}

fn open_entry(txn: &mut Transaction, entry: &CatalogueEntry) -> Result<OpenTable> {
    // With an older schema this transaction would leave newer indexes behind.
    if !txn.is_read_only() && !txn.sees_newest(CATALOGUE_REF, &entry.key())? {
        return Err(Error::new(Code::WriteConflict).with("tree", entry.name.as_str()));
    }
    let text = std::str::from_utf8(&entry.description)
        .map_err(|_| invalid(&entry.name, "the catalogue's row of the table cannot be read"))?;
    let schema = Schema::from_json(text)?;
    let mut index_trees = Vec::with_capacity(schema.indexes.len());
    for index in &schema.indexes {
        let found = txn.find_tree(CatalogueKind::Index, &index_entry(&entry.name, &index.name))?;
        let missing = || invalid(&entry.name, format!("the tree of index {} is missing", index.name));
        index_trees.push(found.ok_or_else(missing)?.tree);
    }
    Ok(Table { schema, tree: entry.tree, index_trees })
}

/// The name of an index in the catalogue.
fn index_entry(table: &str, index: &str) -> String {
    format!("{table}\0{index}")
}
