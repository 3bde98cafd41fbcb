//! Rows and their indexes, kept in step within one transaction.
//!
//! The tree of a table holds each row under its key: the encoded primary key, or a number
//! where none was declared. Each index has a tree of its own. Every operation is atomic: after
//! an error the transaction is as it was before the call.

use super::access::{KeyRange, TreeAccess};
use super::schema::{Index, Schema};
use super::{Row, Value, check, index, key, record};
use crate::error::{Code, Error, Result};

/// How many rows are read at once where all are visited.
const BATCH: usize = 256;

/// A table and the trees that hold it.
#[derive(Clone, Debug, PartialEq)]
pub struct Table<T> {
    pub schema: Schema,
    pub tree: T,
    /// One tree for each index of the schema, in its order.
    pub index_trees: Vec<T>,
}

impl<T: Copy> Table<T> {
    /// Adds a row and returns its key: the primary key, or the number it was given.
    pub fn insert<A: TreeAccess<Tree = T>>(&self, access: &mut A, mut row: Row) -> Result<Row> {
        let number = self.number_row(access, &mut row)?;
        check::row(&self.schema, &mut row)?;
        let row_key = self.row_key(&row, number);
        access.atomically(|access| {
            self.insert_row(access, &row, &row_key)?;
            self.add_entries(access, &row, &row_key)
        })?;
        Ok(self.key_of_row(&row, number))
    }

    /// Adds rows, all of them or none; returns how many.
    pub fn insert_many<A: TreeAccess<Tree = T>>(
        &self,
        access: &mut A,
        rows: impl IntoIterator<Item = Row>,
    ) -> Result<u64> {
        access.atomically(|access| {
            let mut count = 0;
            for row in rows {
                self.insert(access, row)?;
                count += 1;
            }
            Ok(count)
        })
    }

    /// The row of that key.
    pub fn get<A: TreeAccess<Tree = T>>(&self, access: &mut A, key: &[Value]) -> Result<Option<Row>> {
        let row_key = self.encode_key(key)?;
        access.get(self.tree, &row_key)?.map(|bytes| self.decode(&bytes)).transpose()
    }

    /// Changes columns of a row, given by their places; false where there is no such row.
    pub fn update<A: TreeAccess<Tree = T>>(
        &self,
        access: &mut A,
        key: &[Value],
        changes: &[(usize, Value)],
    ) -> Result<bool> {
        let old_key = self.encode_key(key)?;
        access.atomically(|access| {
            let Some(mut old) = access.get(self.tree, &old_key)? else { return Ok(false) };
            let (mut new, mut new_key) = self.changed(&old, &old_key, changes)?;
            if new_key == old_key {
                let Some(replaced) = access.replace(self.tree, &new_key, &encoded(&new)?)? else {
                    // It was removed since it was read: nothing is to be left of it.
                    access.delete(self.tree, &new_key)?;
                    return Ok(false);
                };
                if replaced != old {
                    // Another transaction was first. The record is ours now: change what it wrote.
                    old = replaced;
                    (new, _) = self.changed(&old, &old_key, changes)?;
                    access.replace(self.tree, &new_key, &encoded(&new)?)?;
                }
            } else {
                let Some(removed) = access.remove(self.tree, &old_key)? else { return Ok(false) };
                old = removed;
                (new, new_key) = self.changed(&old, &old_key, changes)?;
                self.insert_row(access, &new, &new_key)?;
            }
            self.move_entries(access, (&self.decode(&old)?, &old_key), (&new, &new_key))?;
            Ok(true)
        })
    }

    /// Removes a row; false where there is no such row.
    pub fn delete<A: TreeAccess<Tree = T>>(&self, access: &mut A, key: &[Value]) -> Result<bool> {
        let row_key = self.encode_key(key)?;
        self.delete_at(access, &row_key)
    }

    /// As [`Table::delete`], by the bytes of the key.
    pub(super) fn delete_at<A: TreeAccess<Tree = T>>(
        &self,
        access: &mut A,
        row_key: &[u8],
    ) -> Result<bool> {
        access.atomically(|access| {
            let Some(bytes) = access.remove(self.tree, row_key)? else { return Ok(false) };
            let row = self.decode(&bytes)?;
            for (index, tree) in self.indexes() {
                let entry = index::entry(index, &row, row_key, access.max_key());
                self.remove_entry(access, index, tree, &entry.key)?;
            }
            Ok(true)
        })
    }

    /// Adds a row under a key that it had before: one with a hidden number gets that number back.
    pub(super) fn insert_at<A: TreeAccess<Tree = T>>(
        &self,
        access: &mut A,
        row_key: &[u8],
        mut row: Row,
    ) -> Result<()> {
        row.resize(self.schema.columns.len(), Value::Null);
        check::row(&self.schema, &mut row)?;
        access.atomically(|access| {
            self.insert_row(access, &row, row_key)?;
            if let (true, Some(Value::Integer(number))) =
                (self.schema.has_hidden_row_id(), key::decode_all(row_key)?.first())
            {
                access.row_id_seen(self.tree, *number, |access| self.highest_number(access))?;
            }
            self.add_entries(access, &row, row_key)
        })
    }

    /// The number of rows.
    pub fn count<A: TreeAccess<Tree = T>>(&self, access: &mut A) -> Result<u64> {
        access.count(self.tree)
    }

    /// Shows `visit` the entry of each row in an index, in the order of the rows.
    pub fn each_entry<A: TreeAccess<Tree = T>>(
        &self,
        access: &mut A,
        index: &Index,
        visit: &mut dyn FnMut(index::Entry) -> Result<()>,
    ) -> Result<()> {
        let mut range = KeyRange::ALL;
        loop {
            let records = access.scan(self.tree, &range, BATCH)?;
            let Some((last, _)) = records.last() else { return Ok(()) };
            range.go_on_after(last.clone());
            for (row_key, bytes) in &records {
                let row = self.decode(bytes)?;
                visit(index::entry(index, &row, row_key, access.max_key()))?;
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

    pub(super) fn indexes(&self) -> impl Iterator<Item = (&Index, T)> {
        self.schema.indexes.iter().zip(self.index_trees.iter().copied())
    }

    /// Gives a number to a row that needs one: the hidden one, or a missing integer key.
    fn number_row<A: TreeAccess<Tree = T>>(&self, access: &mut A, row: &mut Row) -> Result<i64> {
        let stored = |access: &mut A| self.highest_number(access);
        if self.schema.has_hidden_row_id() {
            return access.take_row_id(self.tree, stored);
        }
        let cell = self.schema.numbered_key().and_then(|place| row.get_mut(place));
        if let Some(cell) = cell.filter(|cell| cell.is_null()) {
            *cell = Value::Integer(access.take_row_id(self.tree, stored)?);
        }
        Ok(0)
    }

    fn highest_number<A: TreeAccess<Tree = T>>(&self, access: &mut A) -> Result<i64> {
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

    /// A row after changes, with its key.
    fn changed(&self, old: &[u8], old_key: &[u8], changes: &[(usize, Value)]) -> Result<(Row, Vec<u8>)> {
        let mut row = self.decode(old)?;
        for (column, value) in changes {
            let cell = row.get_mut(*column);
            *cell.ok_or_else(|| Error::argument("changes", "no such column"))? = value.clone();
        }
        check::row(&self.schema, &mut row)?;
        let is_hidden = self.schema.has_hidden_row_id();
        let key = if is_hidden { old_key.to_vec() } else { self.row_key(&row, 0) };
        Ok((row, key))
    }

    fn insert_row<A: TreeAccess<Tree = T>>(
        &self,
        access: &mut A,
        row: &Row,
        row_key: &[u8],
    ) -> Result<()> {
        if !access.insert(self.tree, row_key, &encoded(row)?)? {
            return Err(self.key_violation());
        }
        if let Some(Value::Integer(number)) = self.schema.numbered_key().map(|place| &row[place]) {
            access.row_id_seen(self.tree, *number, |access| self.highest_number(access))?;
        }
        Ok(())
    }

    /// Replaces the index entries that differ between two versions of a row.
    fn move_entries<A: TreeAccess<Tree = T>>(
        &self,
        access: &mut A,
        (old, old_key): (&Row, &[u8]),
        (new, new_key): (&Row, &[u8]),
    ) -> Result<()> {
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

    fn add_entries<A: TreeAccess<Tree = T>>(
        &self,
        access: &mut A,
        row: &Row,
        row_key: &[u8],
    ) -> Result<()> {
        for (index, tree) in self.indexes() {
            self.add_entry(access, index, tree, &index::entry(index, row, row_key, access.max_key()))?;
        }
        Ok(())
    }

    fn add_entry<A: TreeAccess<Tree = T>>(
        &self,
        access: &mut A,
        index: &Index,
        tree: T,
        entry: &index::Entry,
    ) -> Result<()> {
        if access.insert(tree, &entry.key, &entry.value)? {
            return Ok(());
        }
        Err(self.index_violation(index))
    }

    /// An entry that is missing means that index and table have parted: damage, not misuse.
    fn remove_entry<A: TreeAccess<Tree = T>>(
        &self,
        access: &mut A,
        index: &Index,
        tree: T,
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

fn encoded(row: &Row) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    record::encode(&mut bytes, row)?;
    Ok(bytes)
}
