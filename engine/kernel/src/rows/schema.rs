//! What a table is: columns, primary key, indexes; as JSON in the catalogue and to Python.
//!
//! ```text
//! {"name": "people",
//!  "columns": [{"name": "id", "type": "integer", "declared": "INTEGER", "not_null": true}, ...],
//!  "primary_key": ["id"],
//!  "indexes": [{"name": "by_name", "columns": ["name"], "unique": false}]}
//! ```
//!
//! A column may carry `"collation": "nocase"`, an index `"collations": [...]`, one for each of
//! its columns; where they are missing they are those of the columns. Names are compared
//! without regard to the case of ASCII letters, as SQL does.

use std::collections::HashMap;

use serde_json::{Map, Value as Json, json};

use super::key::Collation;
use crate::error::{Code, Error, Result};

/// The longest name of a table, column or index, in bytes.
pub const NAME_LIMIT: usize = 255;
/// The most columns of a table.
pub const COLUMN_LIMIT: usize = 4096;

/// What a column holds, null aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    Null,
    Integer,
    Real,
    Text,
    Blob,
    /// Values of every kind.
    Any,
}

impl ColumnType {
    const ALL: [ColumnType; 6] = [
        ColumnType::Null,
        ColumnType::Integer,
        ColumnType::Real,
        ColumnType::Text,
        ColumnType::Blob,
        ColumnType::Any,
    ];

    pub fn name(self) -> &'static str {
        match self {
            ColumnType::Null => "null",
            ColumnType::Integer => "integer",
            ColumnType::Real => "real",
            ColumnType::Text => "text",
            ColumnType::Blob => "blob",
            ColumnType::Any => "any",
        }
    }

    pub fn named(name: &str) -> Option<ColumnType> {
        ColumnType::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The type for a declaration in SQL, by the rules of affinity of SQLite's "Datatypes In
    /// SQLite", section 3.1. Numeric affinity takes any value, and so does no declaration.
    pub fn of_declaration(declared: &str) -> ColumnType {
        let declared = declared.to_ascii_uppercase();
        let has = |word: &&str| declared.contains(word);
        if has(&"INT") {
            ColumnType::Integer
        } else if ["CHAR", "CLOB", "TEXT"].iter().any(&has) {
            ColumnType::Text
        } else if has(&"BLOB") {
            ColumnType::Blob
        } else if ["REAL", "FLOA", "DOUB"].iter().any(has) {
            ColumnType::Real
        } else {
            ColumnType::Any
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    pub name: String,
    pub kind: ColumnType,
    /// The type as its author wrote it; kept and shown, never interpreted again.
    pub declared: String,
    pub not_null: bool,
    pub collation: Collation,
}

impl Column {
    pub fn new(name: impl Into<String>, kind: ColumnType) -> Self {
        let declared = match kind {
            ColumnType::Any | ColumnType::Null => String::new(),
            kind => kind.name().to_ascii_uppercase(),
        };
        Column { name: name.into(), kind, declared, not_null: false, collation: Collation::Binary }
    }
}

/// A secondary index. Its columns are places in the table's list of columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Index {
    pub name: String,
    pub columns: Vec<usize>,
    pub collations: Vec<Collation>,
    pub unique: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    pub name: String,
    pub columns: Vec<Column>,
    /// Places of the key's columns, in the order of the key; empty for a hidden row id.
    pub primary_key: Vec<usize>,
    pub indexes: Vec<Index>,
}

impl Schema {
    /// Reads and checks a schema; raises `SchemaInvalid`.
    pub fn from_json(text: &str) -> Result<Schema> {
        let json: Json =
            serde_json::from_str(text).map_err(|error| invalid("", format!("no JSON: {error}")))?;
        let object = json.as_object().ok_or_else(|| invalid("", "not a JSON object"))?;
        let name = text_of(object, "name", "")?;
        let columns = list_of(object, "columns", &name)?
            .iter()
            .map(|column| column_from_json(column, &name))
            .collect::<Result<Vec<_>>>()?;
        let mut schema = Schema { name, columns, primary_key: Vec::new(), indexes: Vec::new() };
        if let Some(key) = object.get("primary_key").filter(|key| !key.is_null()) {
            schema.primary_key = schema.places(key)?;
        }
        if object.get("indexes").is_some_and(|indexes| !indexes.is_null()) {
            for index in list_of(object, "indexes", &schema.name)? {
                let index = schema.index_from_json(index)?;
                schema.indexes.push(index);
            }
        }
        schema.validate()?;
        Ok(schema)
    }

    /// The schema as [`from_json`](Schema::from_json) reads it.
    pub fn to_json(&self) -> Json {
        let columns: Vec<Json> = self.columns.iter().map(column_to_json).collect();
        let names = |places: &[usize]| -> Vec<&str> {
            places.iter().map(|place| self.columns[*place].name.as_str()).collect()
        };
        let index = |index: &Index| {
            let mut json = json!({
                "name": index.name, "columns": names(&index.columns), "unique": index.unique,
            });
            if index.collations != self.collations(&index.columns) {
                json["collations"] = index.collations.iter().map(|c| c.name()).collect();
            }
            json
        };
        json!({
            "name": self.name,
            "columns": columns,
            "primary_key": names(&self.primary_key),
            "indexes": self.indexes.iter().map(index).collect::<Vec<_>>(),
        })
    }

    /// Raises `SchemaInvalid` for what no table can be. Every constructor of tables calls it.
    pub fn validate(&self) -> Result<()> {
        let fail = |issue: String| Err(invalid(&self.name, issue));
        check_name(&self.name, "table", &self.name)?;
        if self.columns.is_empty() || self.columns.len() > COLUMN_LIMIT {
            return fail(format!("a table has 1 to {COLUMN_LIMIT} columns"));
        }
        for (place, column) in self.columns.iter().enumerate() {
            check_name(&column.name, "column", &self.name)?;
            if self.columns[..place].iter().any(|other| same_name(&other.name, &column.name)) {
                return fail(format!("two columns are named {}", column.name));
            }
        }
        self.check_places(&self.primary_key, "the primary key")?;
        for (place, index) in self.indexes.iter().enumerate() {
            check_name(&index.name, "index", &self.name)?;
            if self.indexes[..place].iter().any(|other| same_name(&other.name, &index.name)) {
                return fail(format!("two indexes are named {}", index.name));
            }
            if index.columns.is_empty() || index.columns.len() != index.collations.len() {
                return fail(format!("index {} needs columns, and a collation for each", index.name));
            }
            self.check_places(&index.columns, &format!("index {}", index.name))?;
        }
        Ok(())
    }

    /// The place of a column; raises `ColumnNotFound`.
    pub fn column(&self, name: &str) -> Result<usize> {
        self.columns.iter().position(|column| same_name(&column.name, name)).ok_or_else(|| {
            Error::new(Code::ColumnNotFound).with("table", self.name.as_str()).with("column", name)
        })
    }

    /// The place of an index; raises `IndexNotFound`.
    pub fn index(&self, name: &str) -> Result<usize> {
        self.indexes.iter().position(|index| same_name(&index.name, name)).ok_or_else(|| {
            Error::new(Code::IndexNotFound).with("table", self.name.as_str()).with("index", name)
        })
    }

    /// Makes an index of named columns with their own collations; does not add it.
    pub fn new_index(&self, name: &str, columns: &[&str], unique: bool) -> Result<Index> {
        let columns = columns.iter().map(|column| self.column(column)).collect::<Result<Vec<_>>>()?;
        let collations = self.collations(&columns);
        Ok(Index { name: name.to_owned(), columns, collations, unique })
    }

    /// True where rows are told apart by a number that is no column.
    pub fn has_hidden_row_id(&self) -> bool {
        self.primary_key.is_empty()
    }

    /// The only key column where it is an integer: a missing value is then numbered.
    pub fn numbered_key(&self) -> Option<usize> {
        match self.primary_key[..] {
            [place] if self.columns[place].kind == ColumnType::Integer => Some(place),
            _ => None,
        }
    }

    pub fn collations(&self, places: &[usize]) -> Vec<Collation> {
        places.iter().map(|place| self.columns[*place].collation).collect()
    }

    fn places(&self, names: &Json) -> Result<Vec<usize>> {
        let fail = || invalid(&self.name, "columns of a key or an index are a list of names");
        let names = names.as_array().ok_or_else(fail)?;
        let place = |name: &Json| {
            let name = name.as_str().ok_or_else(fail)?;
            self.column(name).map_err(|_| invalid(&self.name, format!("there is no column {name}")))
        };
        names.iter().map(place).collect()
    }

    fn index_from_json(&self, json: &Json) -> Result<Index> {
        let object = json.as_object().ok_or_else(|| invalid(&self.name, "an index is an object"))?;
        let columns = self.places(object.get("columns").unwrap_or(&Json::Null))?;
        let collations = match object.get("collations").and_then(Json::as_array) {
            None => self.collations(&columns),
            Some(names) => {
                names.iter().map(|name| collation_from_json(name, &self.name)).collect::<Result<_>>()?
            }
        };
        Ok(Index {
            name: text_of(object, "name", &self.name)?,
            columns,
            collations,
            unique: flag_of(object, "unique", &self.name)?,
        })
    }

    fn check_places(&self, places: &[usize], what: &str) -> Result<()> {
        for (number, place) in places.iter().enumerate() {
            if *place >= self.columns.len() || places[..number].contains(place) {
                return Err(invalid(
                    &self.name,
                    format!("{what} names a column twice or one that is not there"),
                ));
            }
        }
        Ok(())
    }
}

/// True where SQL takes two names for one.
pub fn same_name(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

pub(super) fn invalid(table: &str, issue: impl Into<String>) -> Error {
    let error = Error::new(Code::SchemaInvalid).with("issue", issue.into());
    if table.is_empty() { error } else { error.with("table", table) }
}

/// A file, or a plan, with more columns than a table may have.
pub(super) fn too_many_columns() -> Error {
    invalid("", format!("a table has 1 to {COLUMN_LIMIT} columns"))
}

/// Names of columns that are made distinct: those that differ only in case are one name to SQL.
#[derive(Default)]
pub(super) struct Names {
    /// In lower case, with the number that the next one of this name gets.
    taken: HashMap<String, u32>,
}

impl Names {
    /// The name itself, or with a number behind it.
    pub fn distinct(&mut self, wanted: &str) -> String {
        let wanted_lower = wanted.to_ascii_lowercase();
        let Some(next) = self.taken.get(&wanted_lower).copied() else {
            self.taken.insert(wanted_lower, 2);
            return wanted.to_owned();
        };
        let mut number = next;
        while self.taken.contains_key(&format!("{wanted_lower}_{number}")) {
            number += 1;
        }
        self.taken.insert(format!("{wanted_lower}_{number}"), 2);
        self.taken.insert(wanted_lower, number + 1);
        format!("{wanted}_{number}")
    }
}

fn check_name(name: &str, what: &str, table: &str) -> Result<()> {
    if name.is_empty() || name.len() > NAME_LIMIT || name.contains('\0') {
        return Err(invalid(
            table,
            format!("the name of a {what} has 1 to {NAME_LIMIT} bytes, none of them zero"),
        ));
    }
    Ok(())
}

fn column_from_json(json: &Json, table: &str) -> Result<Column> {
    let object = json.as_object().ok_or_else(|| invalid(table, "a column is an object"))?;
    let name = text_of(object, "name", table)?;
    let declared = object.get("declared").and_then(Json::as_str);
    let kind = match object.get("type").and_then(Json::as_str) {
        Some(kind) => ColumnType::named(&kind.to_ascii_lowercase()).ok_or_else(|| {
            invalid(table, format!("{kind} is no type; there are null, integer, real, text, blob, any"))
        })?,
        None => ColumnType::of_declaration(declared.unwrap_or_default()),
    };
    let mut column = Column::new(name, kind);
    if let Some(declared) = declared {
        column.declared = declared.to_owned();
    }
    column.not_null = flag_of(object, "not_null", table)?;
    if let Some(collation) = object.get("collation") {
        column.collation = collation_from_json(collation, table)?;
    }
    Ok(column)
}

fn column_to_json(column: &Column) -> Json {
    let mut json = json!({
        "name": column.name,
        "type": column.kind.name(),
        "declared": column.declared,
        "not_null": column.not_null,
    });
    if column.collation != Collation::Binary {
        json["collation"] = column.collation.name().into();
    }
    json
}

fn collation_from_json(json: &Json, table: &str) -> Result<Collation> {
    json.as_str()
        .and_then(Collation::named)
        .ok_or_else(|| invalid(table, "a collation is binary or nocase"))
}

fn text_of(object: &Map<String, Json>, field: &str, table: &str) -> Result<String> {
    let text = object.get(field).and_then(Json::as_str);
    text.map(str::to_owned).ok_or_else(|| invalid(table, format!("{field} is missing or no text")))
}

fn list_of<'a>(object: &'a Map<String, Json>, field: &str, table: &str) -> Result<&'a Vec<Json>> {
    object
        .get(field)
        .and_then(Json::as_array)
        .ok_or_else(|| invalid(table, format!("{field} is missing or no list")))
}

fn flag_of(object: &Map<String, Json>, field: &str, table: &str) -> Result<bool> {
    match object.get(field) {
        None | Some(Json::Null) => Ok(false),
        Some(flag) => flag.as_bool().ok_or_else(|| invalid(table, format!("{field} is true or false"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const PEOPLE: &str = r#"{"name": "people", "columns": [
        {"name": "id", "type": "integer", "declared": "INTEGER", "not_null": true},
        {"name": "name", "type": "text", "declared": "VARCHAR(40)", "collation": "nocase"}],
        "primary_key": ["id"], "indexes": [{"name": "by_name", "columns": ["name"], "unique": true}]}"#;

    #[test]
    fn a_schema_comes_back_from_its_json() {
        let schema = Schema::from_json(PEOPLE).unwrap();
        assert_eq!(schema.numbered_key(), Some(0));
        assert_eq!(schema.indexes[0].collations, [Collation::NoCase]);
        assert_eq!(schema.columns[1].declared, "VARCHAR(40)");
        assert_eq!(Schema::from_json(&schema.to_json().to_string()).unwrap(), schema);
    }

    #[test]
    fn what_no_table_can_be_is_refused_with_its_reason() {
        let cases = [
            ("[]", "object"),
            ("{", "no JSON"),
            (r#"{"name": "t", "columns": []}"#, "columns"),
            (r#"{"name": "", "columns": [{"name": "a", "type": "text"}]}"#, "name of a table"),
            (r#"{"name": "t", "columns": [{"name": "a", "type": "date"}]}"#, "no type"),
            (
                r#"{"name": "t", "columns": [{"name": "a", "type": "text"}, {"name": "A", "type": "text"}]}"#,
                "two columns",
            ),
            (
                r#"{"name": "t", "columns": [{"name": "a", "type": "text"}], "primary_key": ["b"]}"#,
                "no column b",
            ),
            (
                r#"{"name": "t", "columns": [{"name": "a", "type": "text"}], "primary_key": ["a", "a"]}"#,
                "twice",
            ),
            (
                r#"{"name": "t", "columns": [{"name": "a", "type": "text"}], "indexes": [{"name": "i", "columns": []}]}"#,
                "index i",
            ),
            (
                r#"{"name": "t", "columns": [{"name": "a", "type": "text", "not_null": 1}]}"#,
                "true or false",
            ),
        ];
        for (text, reason) in cases {
            let error = Schema::from_json(text).unwrap_err();
            assert_eq!(error.code, Code::SchemaInvalid, "{text}");
            assert!(error.to_string().contains(reason), "{error} for {text}");
        }
    }

    #[test]
    fn declarations_follow_the_rules_of_affinity() {
        for (declared, kind) in [
            ("INT", ColumnType::Integer),
            ("unsigned big int", ColumnType::Integer),
            ("NVARCHAR(160)", ColumnType::Text),
            ("CLOB", ColumnType::Text),
            ("BLOB", ColumnType::Blob),
            ("DOUBLE PRECISION", ColumnType::Real),
            ("FLOATING POINT", ColumnType::Integer),
            ("DECIMAL(10,2)", ColumnType::Any),
            ("", ColumnType::Any),
        ] {
            assert_eq!(ColumnType::of_declaration(declared), kind, "{declared}");
        }
    }
}
