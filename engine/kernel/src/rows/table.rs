//! Rows and their indexes, kept in step within one transaction.
//!
//! The tree of a table holds each row under its key: the encoded primary key, or a number
//! where none was declared. Each index has a tree of its own. Every operation is atomic: after
//! an error the transaction is as it was before the call.

use serde_json::{Value as Json, json};

use super::access::{KeyRange, TreeAccess, atomically};
use super::schema::{Index, Schema, invalid};
use super::{Row, Value, check, index, key, record};
use crate::error::{Code, Error, Result};
use crate::types::TreeId;

/// How many rows are read at once where all are visited.
const BATCH: usize = 256;

/// A table and the trees that hold it.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    pub schema: Schema,
    pub tree: TreeId,
    /// One tree for each index of the schema, in its order.
    pub index_trees: Vec<TreeId>,
}

impl Table {
    /// What the catalogue keeps of a table.
    pub fn to_json(&self) -> Json {
        let trees: Vec<u32> = self.index_trees.iter().map(|tree| tree.0).collect();
        json!({"schema": self.schema.to_json(), "tree": self.tree.0, "index_trees": trees})
    }

    /// Reads what [`to_json`](Table::to_json) wrote; raises `SchemaInvalid`.
    pub fn from_json(text: &str) -> Result<Table> {
        let fail = || invalid("", "the catalogue's row of a table cannot be read");
        let json: Json = serde_json::from_str(text).map_err(|_| fail())?;
        let schema = Schema::from_json(&json["schema"].to_string())?;
        let tree = |json: &Json| json.as_u64().and_then(|id| u32::try_from(id).ok()).map(TreeId);
        let trees = json["index_trees"].as_array().ok_or_else(fail)?;
        let index_trees: Vec<TreeId> = trees.iter().map(tree).collect::<Option<_>>().ok_or_else(fail)?;
        if index_trees.len() != schema.indexes.len() {
            return Err(fail());
        }
        Ok(Table { schema, tree: tree(&json["tree"]).ok_or_else(fail)?, index_trees })
    }

    /// Adds a row and returns its key: the primary key, or the number it was given.
    pub fn insert(&self, access: &(impl TreeAccess + ?Sized), mut row: Row) -> Result<Row> {
        let number = self.number_row(access, &mut row)?;
        check::row(&self.schema, &mut row)?;
        let row_key = self.row_key(&row, number);
        atomically(access, || {
            let mut bytes = Vec::new();
            record::encode(&mut bytes, &row);
            if !access.insert(self.tree, &row_key, &bytes)? {
                return Err(self.key_violation());
            }
            self.add_entries(access, &row, &row_key)
        })?;
        Ok(self.key_of_row(&row, number))
    }

    /// Adds rows, all of them or none; returns how many.
    pub fn insert_many(
        &self,
        access: &(impl TreeAccess + ?Sized),
        rows: impl IntoIterator<Item = Row>,
    ) -> Result<u64> {
        atomically(access, || {
            let mut count = 0;
            for row in rows {
                self.insert(access, row)?;
                count += 1;
            }
            Ok(count)
        })
    }

    /// The row of that key.
    pub fn get(&self, access: &(impl TreeAccess + ?Sized), key: &[Value]) -> Result<Option<Row>> {
        let row_key = self.encode_key(key)?;
        access.get(self.tree, &row_key)?.map(|bytes| self.decode(&bytes)).transpose()
    }

    /// Changes the named columns of a row; false where there is no such row.
    pub fn update(
        &self,
        access: &(impl TreeAccess + ?Sized),
        key: &[Value],
        changes: &[(usize, Value)],
    ) -> Result<bool> {
        let old_key = self.encode_key(key)?;
        atomically(access, || {
            let Some(bytes) = access.get_for_update(self.tree, &old_key)? else { return Ok(false) };
            let old = self.decode(&bytes)?;
            let mut new = old.clone();
            for (column, value) in changes {
                let cell = new.get_mut(*column);
                *cell.ok_or_else(|| Error::argument("changes", "no such column"))? = value.clone();
            }
            check::row(&self.schema, &mut new)?;
            let new_key =
                if self.schema.has_hidden_row_id() { old_key.clone() } else { self.row_key(&new, 0) };
            self.replace(access, (&old, &old_key), (&new, &new_key))?;
            Ok(true)
        })
    }

    /// Removes a row; false where there is no such row.
    pub fn delete(&self, access: &(impl TreeAccess + ?Sized), key: &[Value]) -> Result<bool> {
        let row_key = self.encode_key(key)?;
        atomically(access, || {
            let Some(bytes) = access.get_for_update(self.tree, &row_key)? else { return Ok(false) };
            let row = self.decode(&bytes)?;
            for (index, tree) in self.indexes() {
                let entry = index::entry(index, &row, &row_key, access.max_key());
                self.remove_entry(access, index, tree, &entry.key)?;
            }
            access.delete(self.tree, &row_key)
        })
    }

    /// The number of rows.
    pub fn count(&self, access: &(impl TreeAccess + ?Sized)) -> Result<u64> {
        access.count(self.tree)
    }

    /// Fills the tree of a new index from the rows; raises `UniqueViolation`.
    pub fn build_index(
        &self,
        access: &(impl TreeAccess + ?Sized),
        index: &Index,
        tree: TreeId,
    ) -> Result<u64> {
        let mut range = KeyRange::ALL;
        let mut count = 0;
        loop {
            let records = access.scan(self.tree, &range, BATCH)?;
            let Some((last, _)) = records.last() else { return Ok(count) };
            range.go_on_after(last.clone());
            for (row_key, bytes) in &records {
                let row = self.decode(bytes)?;
                self.add_entry(
                    access,
                    index,
                    tree,
                    &index::entry(index, &row, row_key, access.max_key()),
                )?;
                count += 1;
            }
        }
    }

    /// The bytes under which a row of that key stands.
    pub fn encode_key(&self, key: &[Value]) -> Result<Vec<u8>> {
        let places = &self.schema.primary_key;
        let expected = places.len().max(1);
        if key.len() != expected {
            let issue =
                format!("a key of {} has {expected} values, not {}", self.schema.name, key.len());
            return Err(Error::argument("key", issue));
        }
        Ok(self.encode_key_prefix(key))
    }

    /// The bytes with which the keys of all rows begin that have these leading key values.
    pub(super) fn encode_key_prefix(&self, values: &[Value]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(values.len() * 10);
        for (number, value) in values.iter().enumerate() {
            let place = self.schema.primary_key.get(number);
            let collation =
                place.map_or(key::Collation::Binary, |place| self.schema.columns[*place].collation);
            key::encode(&mut bytes, value, collation);
        }
        bytes
    }

    /// The row that `bytes` hold, with a cell for each column.
    pub fn decode(&self, bytes: &[u8]) -> Result<Row> {
        self.decode_cut(bytes, usize::MAX)
    }

    pub(super) fn decode_cut(&self, bytes: &[u8], limit: usize) -> Result<Row> {
        let mut row = record::decode_cut(bytes, limit)?;
        row.resize(self.schema.columns.len(), Value::Null);
        Ok(row)
    }

    /// The key under which a row is stored; `number` counts where no key was declared.
    pub fn row_key(&self, row: &[Value], number: i64) -> Vec<u8> {
        if self.schema.has_hidden_row_id() {
            return key::encode_all(&[Value::Integer(number)]);
        }
        let mut bytes = Vec::with_capacity(16);
        for place in &self.schema.primary_key {
            key::encode(&mut bytes, &row[*place], self.schema.columns[*place].collation);
        }
        bytes
    }

    pub(super) fn indexes(&self) -> impl Iterator<Item = (&Index, TreeId)> {
        self.schema.indexes.iter().zip(self.index_trees.iter().copied())
    }

    /// Gives a number to a row that needs one: the hidden one, or a missing integer key.
    fn number_row(&self, access: &(impl TreeAccess + ?Sized), row: &mut Row) -> Result<i64> {
        let stored = || self.highest_number(access);
        if self.schema.has_hidden_row_id() {
            return access.row_ids().take(self.tree, stored);
        }
        let cell = self.schema.numbered_key().and_then(|place| row.get_mut(place));
        match cell {
            Some(cell) if cell.is_null() => {
                *cell = Value::Integer(access.row_ids().take(self.tree, stored)?);
            }
            Some(Value::Integer(number)) => access.row_ids().seen(self.tree, *number, stored)?,
            _ => {}
        }
        Ok(0)
    }

    fn highest_number(&self, access: &(impl TreeAccess + ?Sized)) -> Result<i64> {
        let last = access.scan(self.tree, &KeyRange { reverse: true, ..KeyRange::ALL }, 1)?;
        let Some((key, _)) = last.first() else { return Ok(0) };
        match key::KeyReader::new(key).next_value()? {
            Some(Value::Integer(number)) => Ok(number.max(0)),
            _ => Ok(0),
        }
    }

    fn key_of_row(&self, row: &[Value], number: i64) -> Row {
        if self.schema.has_hidden_row_id() {
            return vec![Value::Integer(number)];
        }
        self.schema.primary_key.iter().map(|place| row[*place].clone()).collect()
    }

    fn replace(
        &self,
        access: &(impl TreeAccess + ?Sized),
        (old, old_key): (&Row, &[u8]),
        (new, new_key): (&Row, &[u8]),
    ) -> Result<()> {
        let mut bytes = Vec::new();
        record::encode(&mut bytes, new);
        if old_key == new_key {
            access.put(self.tree, new_key, &bytes)?;
        } else {
            access.delete(self.tree, old_key)?;
            if !access.insert(self.tree, new_key, &bytes)? {
                return Err(self.key_violation());
            }
            if let Some(Value::Integer(number)) = self.schema.numbered_key().map(|place| &new[place]) {
                access.row_ids().seen(self.tree, *number, || self.highest_number(access))?;
            }
        }
        for (index, tree) in self.indexes() {
            let before = index::entry(index, old, old_key, access.max_key());
            let after = index::entry(index, new, new_key, access.max_key());
            if before != after {
                self.remove_entry(access, index, tree, &before.key)?;
                self.add_entry(access, index, tree, &after)?;
            }
        }
        Ok(())
    }

    fn add_entries(&self, access: &(impl TreeAccess + ?Sized), row: &Row, row_key: &[u8]) -> Result<()> {
        for (index, tree) in self.indexes() {
            self.add_entry(access, index, tree, &index::entry(index, row, row_key, access.max_key()))?;
        }
        Ok(())
    }

    fn add_entry(
        &self,
        access: &(impl TreeAccess + ?Sized),
        index: &Index,
        tree: TreeId,
        entry: &index::Entry,
    ) -> Result<()> {
        if access.insert(tree, &entry.key, &entry.value)? {
            return Ok(());
        }
        Err(self.index_violation(index))
    }

    /// An entry that is missing means that index and table have parted: damage, not misuse.
    fn remove_entry(
        &self,
        access: &(impl TreeAccess + ?Sized),
        index: &Index,
        tree: TreeId,
        key: &[u8],
    ) -> Result<()> {
        if access.delete(tree, key)? {
            return Ok(());
        }
        let description =
            format!("index {} of table {} lacks the entry of a row", index.name, self.schema.name);
        Err(Error::new(Code::InconsistentState).with("description", description))
    }

    /// The error of a row whose key is there already.
    pub fn key_violation(&self) -> Error {
        self.violation(&self.schema.primary_key)
    }

    /// The error of a row whose indexed columns are there already.
    pub fn index_violation(&self, index: &Index) -> Error {
        self.violation(&index.columns).with("index", index.name.as_str())
    }

    fn violation(&self, places: &[usize]) -> Error {
        let columns: Vec<&str> =
            places.iter().map(|place| self.schema.columns[*place].name.as_str()).collect();
        Error::new(Code::UniqueViolation)
            .with("table", self.schema.name.as_str())
            .with("columns", columns.join(", "))
    }
}
