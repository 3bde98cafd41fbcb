//! What a SQLite database holds, in our terms.
//!
//! SQLite lets any column hold any value, so each table is read once: a column that keeps to
//! its declared type has that type here, another one takes values of every kind.

use std::path::Path;

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::{quoted, sqlite_error};
use crate::error::Result;
use crate::rows::source::SourceTable;
use crate::rows::{Collation, Column, ColumnType, Index, Schema};

type Sqlite<T> = rusqlite::Result<T>;

/// Describes every table; the second list is what belongs to no table and is not carried over.
pub fn describe(connection: &Connection, file: &Path) -> Result<(Vec<SourceTable>, Vec<String>)> {
    describe_all(connection).map_err(|error| sqlite_error(file, &error))
}

fn describe_all(connection: &Connection) -> Sqlite<(Vec<SourceTable>, Vec<String>)> {
    let mut tables = Vec::new();
    let mut without = Vec::new();
    let mut list = connection.prepare(
        "SELECT name, type FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
         ORDER BY name",
    )?;
    let found = list.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for found in found {
        let (name, kind): (String, String) = found?;
        match kind.as_str() {
            "table" => tables.push(Found::new(connection, name)?.describe()?),
            // The tables behind a virtual one mean nothing without it.
            "shadow" => {}
            kind => without.push(format!("{kind} {name}")),
        }
    }
    Ok((tables, without))
}

/// One table while it is being described.
struct Found<'a> {
    connection: &'a Connection,
    name: String,
    columns: Vec<Column>,
    /// Places of the declared primary key.
    key: Vec<usize>,
    without: Vec<String>,
}

/// One index as SQLite lists it: name, unique, origin (c, u, pk), partial.
type Listed = (String, bool, String, bool);
/// One column of an index: its number (-1 row id, -2 expression), descending, collation.
type IndexColumn = (i64, bool, Option<String>);

impl<'a> Found<'a> {
    fn new(connection: &'a Connection, name: String) -> Sqlite<Self> {
        let mut found =
            Found { connection, name, columns: Vec::new(), key: Vec::new(), without: Vec::new() };
        let mut statement = connection.prepare(
            "SELECT name, type, \"notnull\", dflt_value IS NOT NULL, pk, hidden FROM pragma_table_xinfo(?1)",
        )?;
        let mut rows = statement.query([&found.name])?;
        let mut key: Vec<(i64, usize)> = Vec::new();
        while let Some(row) = rows.next()? {
            let (pk, hidden): (i64, i64) = (row.get(4)?, row.get(5)?);
            if pk > 0 {
                key.push((pk, found.columns.len()));
            }
            let column = found.column(row.get(0)?, row.get(1)?, row.get(2)?)?;
            if row.get(3)? && hidden == 0 {
                found.without.push(format!("default value of column {}", column.name));
            }
            if hidden > 1 {
                found.without.push(format!("generated column {}: its values are stored", column.name));
            }
            found.columns.push(column);
        }
        key.sort_unstable();
        found.key = key.into_iter().map(|(_, place)| place).collect();
        Ok(found)
    }

    fn column(&mut self, name: String, declared: String, not_null: bool) -> Sqlite<Column> {
        let mut column = Column::new(name, ColumnType::of_declaration(&declared));
        column.declared = declared;
        column.not_null = not_null;
        let (_, collation, _, _, numbered) =
            self.connection.column_metadata(Some("main"), self.name.as_str(), column.name.as_str())?;
        let collation = collation.map(|name| name.to_string_lossy().into_owned());
        match collation.as_deref().map_or(Some(Collation::Binary), Collation::named) {
            Some(collation) => column.collation = collation,
            None => self.without.push(format!(
                "collation {} of column {}",
                collation.unwrap_or_default(),
                column.name
            )),
        }
        if numbered {
            self.without.push("AUTOINCREMENT: numbers of deleted rows may be given again".to_owned());
        }
        Ok(column)
    }

    fn describe(mut self) -> Sqlite<SourceTable> {
        let (rows, keys_with_null) = self.look_at_rows()?;
        let mut indexes = Vec::new();
        let mut primary_key = std::mem::take(&mut self.key);
        let collations = self.key_collations(&primary_key)?;
        let own = primary_key.iter().map(|place| self.columns[*place].collation).collect::<Vec<_>>();
        if keys_with_null > 0 || collations != own {
            let columns = std::mem::take(&mut primary_key);
            let why =
                if keys_with_null > 0 { "it holds nulls" } else { "it has a collation of its own" };
            self.without.push(format!("primary key: {why}; kept as a unique index"));
            indexes.push(Index {
                name: format!("{}_key", self.name),
                columns,
                collations,
                unique: true,
            });
        }
        for listed in self.listed_indexes()? {
            indexes.extend(self.index(listed, &indexes)?);
        }
        self.look_at_the_rest()?;
        let schema = Schema { name: self.name, columns: self.columns, primary_key, indexes };
        Ok(SourceTable { schema, rows: Some(rows), without: self.without })
    }

    /// Reads every row once: the number of rows, and of those with a null in their key.
    fn look_at_rows(&mut self) -> Sqlite<(u64, u64)> {
        let sql = select_sql(&self.name, &self.columns);
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        let mut invalid_text = vec![false; self.columns.len()];
        let (mut count, mut keys_with_null) = (0, 0);
        while let Some(row) = rows.next()? {
            count += 1;
            let mut is_null = vec![false; self.columns.len()];
            for (place, column) in self.columns.iter_mut().enumerate() {
                let value = row.get_ref(place)?;
                is_null[place] = value == ValueRef::Null;
                let is_invalid =
                    matches!(value, ValueRef::Text(text) if std::str::from_utf8(text).is_err());
                invalid_text[place] |= is_invalid;
                if is_invalid || !fits(column.kind, &value) {
                    column.kind = ColumnType::Any;
                }
            }
            keys_with_null += u64::from(self.key.iter().any(|place| is_null[*place]));
        }
        for (column, is_invalid) in self.columns.iter().zip(invalid_text) {
            if is_invalid {
                let note =
                    format!("text of column {} that is no valid UTF-8: kept as bytes", column.name);
                self.without.push(note);
            }
        }
        Ok((count, keys_with_null))
    }

    /// The collations by which the primary key is unique; the columns' own for a row id.
    fn key_collations(&self, key: &[usize]) -> Sqlite<Vec<Collation>> {
        let own = key.iter().map(|place| self.columns[*place].collation).collect();
        let Some((name, ..)) =
            self.listed_indexes()?.into_iter().find(|(_, _, origin, _)| origin == "pk")
        else {
            return Ok(own);
        };
        let columns = self.index_columns(&name)?;
        let collation =
            |(_, _, collation): &IndexColumn| collation.as_deref().and_then(Collation::named);
        Ok(columns.iter().take(key.len()).map(|column| collation(column).unwrap_or_default()).collect())
    }

    fn listed_indexes(&self) -> Sqlite<Vec<Listed>> {
        let sql =
            "SELECT name, \"unique\", origin, partial FROM pragma_index_list(?1) ORDER BY seq DESC";
        let mut statement = self.connection.prepare(sql)?;
        let listed = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
        statement.query_map([&self.name], listed)?.collect()
    }

    fn index_columns(&self, index: &str) -> Sqlite<Vec<IndexColumn>> {
        let sql = "SELECT cid, \"desc\", coll FROM pragma_index_xinfo(?1) WHERE key ORDER BY seqno";
        let mut statement = self.connection.prepare(sql)?;
        statement.query_map([index], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
    }

    /// An index in our terms; none where it is the primary key or has no counterpart.
    fn index(
        &mut self,
        (name, unique, origin, partial): Listed,
        others: &[Index],
    ) -> Sqlite<Option<Index>> {
        if origin == "pk" {
            return Ok(None);
        }
        let found = self.index_columns(&name)?;
        let mut columns = Vec::new();
        let mut collations = Vec::new();
        let mut obstacle = partial.then(|| "it covers a part of the rows only".to_owned());
        for (number, is_descending, collation) in found {
            let place = usize::try_from(number).ok().filter(|place| *place < self.columns.len());
            match (place, collation.as_deref().and_then(Collation::named)) {
                (None, _) => obstacle = Some("it is on an expression or the row id".to_owned()),
                // Another collation would make other rows collide.
                (_, None) if unique => {
                    obstacle = Some("it is unique by a collation of its own".to_owned())
                }
                (Some(place), _) if columns.contains(&place) => {}
                (Some(place), named) => {
                    columns.push(place);
                    collations.push(named.unwrap_or_default());
                }
            }
            if is_descending {
                self.without
                    .push(format!("descending order in index {name}: carried over as ascending"));
            }
        }
        if let Some(obstacle) = obstacle {
            self.without.push(format!("index {name}: {obstacle}"));
            return Ok(None);
        }
        let name = if origin == "u" { self.constraint_name(&columns, others) } else { name };
        Ok(Some(Index { name, columns, collations, unique }))
    }

    /// A name for a unique constraint, which has none of its own.
    fn constraint_name(&self, columns: &[usize], others: &[Index]) -> String {
        let names: Vec<&str> = columns.iter().map(|place| self.columns[*place].name.as_str()).collect();
        let wanted = format!("{}_{}_unique", self.name, names.join("_"));
        let is_taken = |name: &String| others.iter().any(|index| index.name.eq_ignore_ascii_case(name));
        let numbered = (2..).map(|number| format!("{wanted}_{number}"));
        let mut names = std::iter::once(wanted.clone()).chain(numbered);
        names.find(|name| !is_taken(name)).unwrap_or(wanted)
    }

    fn look_at_the_rest(&mut self) -> Sqlite<()> {
        let keys = "SELECT DISTINCT \"table\" FROM pragma_foreign_key_list(?1)";
        let triggers = "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1";
        for (what, sql) in [("foreign key to", keys), ("trigger", triggers)] {
            let mut statement = self.connection.prepare(sql)?;
            for name in statement.query_map([&self.name], |row| row.get::<_, String>(0))? {
                self.without.push(format!("{what} {}", name?));
            }
        }
        let sql = "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?1";
        let sql: String = self.connection.query_row(sql, [&self.name], |row| row.get(0))?;
        if has_check(&sql) {
            self.without.push("CHECK constraints".to_owned());
        }
        Ok(())
    }
}

/// The statement that reads all of a table's columns.
pub fn select_sql(table: &str, columns: &[Column]) -> String {
    let columns: Vec<String> = columns.iter().map(|column| quoted(&column.name)).collect();
    format!("SELECT {} FROM {}", columns.join(", "), quoted(table))
}

fn fits(kind: ColumnType, value: &ValueRef<'_>) -> bool {
    match value {
        ValueRef::Null => true,
        ValueRef::Integer(_) => matches!(kind, ColumnType::Integer | ColumnType::Any),
        ValueRef::Real(_) => matches!(kind, ColumnType::Real | ColumnType::Any),
        ValueRef::Text(_) => matches!(kind, ColumnType::Text | ColumnType::Any),
        ValueRef::Blob(_) => matches!(kind, ColumnType::Blob | ColumnType::Any),
    }
}

fn has_check(sql: &str) -> bool {
    let words = sql.to_ascii_uppercase();
    words
        .match_indices("CHECK")
        .any(|(place, word)| words[place + word.len()..].trim_start().starts_with('('))
}
