//! JSON lines: one object for each row.
//!
//! The columns are those of all objects, in the order in which they first appear; the whole
//! file is read once to find them and their types. What JSON has no word for is an object of
//! one member: `{"$hex": "00ff"}` is a blob, `{"$real": "inf"}` a number without digits.
//! Other objects and lists are kept as JSON text, true and false as 1 and 0.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};

use super::output::{Files, Gathered, hex};
use super::schema::{COLUMN_LIMIT, Names, too_many_columns};
use super::source::{
    EachRow, Source, SourceTable, Target, at_line, bad_input, io_error, table_name, unsupported,
};
use super::{Column, ColumnType, Row, Schema, Value};
use crate::error::{Error, Result};
use crate::memory;

/// What memory is asked for.
const READING: &str = "read a line of JSON";
/// What takes less memory than this is not asked for.
const SMALL: usize = 64 << 10;
/// Integers beyond this lose digits as reals.
const EXACT_INTEGERS: u64 = 1 << 53;

type Object = Map<String, Json>;

/// One table: the objects of a file.
pub struct JsonlSource {
    file: PathBuf,
    /// Members by name, with the place of their column.
    places: HashMap<String, usize>,
    tables: [SourceTable; 1],
    bytes: u64,
}

impl JsonlSource {
    /// Reads the file through for its columns. Raises `BadInput` where a line is no object.
    pub fn open(file: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(file).map_err(|error| io_error("open", file, &error))?;
        if !metadata.is_file() {
            return Err(unsupported(file, "it is no file"));
        }
        let mut found = Columns::default();
        let mut rows = 0;
        each_object(file, &mut |object, _, _| {
            rows += 1;
            object.iter().try_for_each(|(name, json)| found.see(name, json))
        })?;
        let schema = Schema {
            name: table_name(file),
            columns: found.columns(),
            primary_key: Vec::new(),
            indexes: Vec::new(),
        };
        if schema.columns.is_empty() {
            return Err(unsupported(file, "it holds no object with a member"));
        }
        let tables = [SourceTable { schema, rows: Some(rows), without: Vec::new() }];
        Ok(JsonlSource { file: file.to_owned(), places: found.places, tables, bytes: metadata.len() })
    }
}

impl Source for JsonlSource {
    fn kind(&self) -> &'static str {
        "jsonl"
    }

    fn tables(&self) -> &[SourceTable] {
        &self.tables
    }

    fn total(&self) -> (u64, &'static str) {
        (self.bytes, "bytes")
    }

    fn read(&mut self, _table: usize, each: &mut EachRow<'_>) -> Result<u64> {
        let columns = self.tables[0].schema.columns.len();
        let mut row = Row::new();
        let mut rows = 0;
        each_object(&self.file, &mut |object, line, done| {
            row.clear();
            row.resize(columns, Value::Null);
            for (name, json) in object {
                let changed = || {
                    bad_input(
                        &self.file,
                        Some(line),
                        None,
                        "the file has changed since it was looked at",
                    )
                };
                let place = self.places.get(&name).ok_or_else(changed)?;
                row[*place] = value_of(json)?;
            }
            rows += 1;
            each(&mut row, done).map_err(|error| at_line(error, Some(line)))
        })?;
        Ok(rows)
    }
}

/// Writes one file of objects for each table.
pub struct JsonlTarget {
    files: Files,
    /// Each column's name as a member: quoted, with its colon.
    names: Vec<String>,
    line: Gathered,
}

impl JsonlTarget {
    /// Writes one table to the file `place`, or several into files of a folder of that name.
    pub fn create(place: &Path, tables: usize) -> Result<Self> {
        let files = Files::create(place, tables, "jsonl")?;
        Ok(JsonlTarget { files, names: Vec::new(), line: Gathered::default() })
    }
}

impl Target for JsonlTarget {
    fn begin(&mut self, schema: &Schema) -> Result<()> {
        let member = |column: &Column| format!("{}: ", Json::from(column.name.as_str()));
        self.names = schema.columns.iter().map(member).collect();
        self.files.begin(&schema.name)
    }

    fn write(&mut self, row: &[Value]) -> Result<()> {
        let line = &mut self.line;
        line.0.clear();
        for (number, (name, value)) in self.names.iter().zip(row).enumerate() {
            let begin = if number == 0 { "{" } else { ", " };
            let written = line.write_all(begin.as_bytes());
            let written = written.and_then(|()| line.write_all(name.as_bytes()));
            written.map_err(|error| unwritten(&error))?;
            write_value(line, value)?;
        }
        line.write_all(b"}\n").map_err(|error| unwritten(&error))?;
        self.files.write(&line.0)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.files.finish()
    }
}

/// Gives each object of a file with its line and the bytes read so far.
fn each_object(file: &Path, each: &mut dyn FnMut(Object, u64, u64) -> Result<()>) -> Result<()> {
    let opened = File::open(file).map_err(|error| io_error("open", file, &error))?;
    let mut reader = BufReader::with_capacity(1 << 16, opened);
    let mut bytes = Vec::new();
    let (mut line, mut done) = (0, 0);
    loop {
        bytes.clear();
        read_line(&mut reader, &mut bytes).map_err(|error| io_error("read", file, &error))?;
        if bytes.is_empty() {
            return Ok(());
        }
        line += 1;
        done += bytes.len() as u64;
        let text = bytes.trim_ascii();
        let text =
            if line == 1 { text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text) } else { text };
        if text.is_empty() {
            continue;
        }
        ensure_memory(text)?;
        let object: Object = serde_json::from_slice(text).map_err(|error| {
            let issue =
                if error.is_data() { "the line is no JSON object" } else { "the line is no valid JSON" };
            bad_input(file, Some(line), Some(&error.column().to_string()), issue)
        })?;
        each(object, line, done)?;
    }
}

/// Appends the next line, with its end; nothing at the end of the file. However long it is, it is read, or
/// there is told to be too little memory for it.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let found = match reader.fill_buf() {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            found => found?,
        };
        let end = found.iter().position(|byte| *byte == b'\n');
        let count = end.map_or(found.len(), |end| end + 1);
        memory::grow(line, count, READING).map_err(|_| io::Error::from(ErrorKind::OutOfMemory))?;
        line.extend_from_slice(&found[..count]);
        reader.consume(count);
        if end.is_some() || count == 0 {
            return Ok(());
        }
    }
}

/// Sees whether there is the memory for what a line says: the library that reads JSON would end the
/// process where it finds none.
fn ensure_memory(line: &[u8]) -> Result<()> {
    // A string is copied twice as it grows. Each member of a list or an object takes so much, in a list
    // that grows to twice its length from one that is there meanwhile.
    const MEMBER: usize = 3 * (2 * size_of::<Json>() + size_of::<String>());
    let (mut members, mut is_text, mut is_escaped) = (0, false, false);
    for byte in line {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_text,
            b'"' => is_text = !is_text,
            b',' | b'[' | b'{' if !is_text => members += 1,
            _ => {}
        }
    }
    match 4 * line.len() + members * MEMBER {
        ..SMALL => Ok(()),
        most => memory::ensure_room(most, READING),
    }
}

/// What has been seen of a column's values.
#[derive(Clone, Copy, Default)]
struct Seen {
    boolean: bool,
    integer: bool,
    /// An integer that is no double.
    wide: bool,
    real: bool,
    text: bool,
    json: bool,
    blob: bool,
}

#[derive(Default)]
struct Columns {
    places: HashMap<String, usize>,
    seen: Vec<(String, Seen)>,
    names: Names,
}

impl Columns {
    fn see(&mut self, name: &str, json: &Json) -> Result<()> {
        let place = match self.places.get(name) {
            Some(place) => *place,
            None => self.add(name)?,
        };
        let seen = &mut self.seen[place].1;
        match json {
            Json::Null => {}
            Json::Bool(_) => seen.boolean = true,
            Json::String(_) => seen.text = true,
            Json::Number(number) => match number.as_i64() {
                Some(integer) => {
                    seen.integer = true;
                    seen.wide |= integer.unsigned_abs() > EXACT_INTEGERS;
                }
                None => seen.real = true,
            },
            _ => match special(json) {
                Some(Special::Blob(_)) => seen.blob = true,
                Some(Special::Real(_)) => seen.real = true,
                None => seen.json = true,
            },
        }
        Ok(())
    }

    /// Members that differ only in case are one name to SQL; the later ones get a number.
    fn add(&mut self, member: &str) -> Result<usize> {
        if self.seen.len() == COLUMN_LIMIT {
            return Err(too_many_columns());
        }
        let name = self.names.distinct(if member.is_empty() { "column" } else { member });
        self.seen.push((name, Seen::default()));
        self.places.insert(member.to_owned(), self.seen.len() - 1);
        Ok(self.seen.len() - 1)
    }

    fn columns(&self) -> Vec<Column> {
        self.seen.iter().map(|(name, seen)| seen.column(name)).collect()
    }
}

impl Seen {
    fn column(&self, name: &str) -> Column {
        let is_text = self.text || self.json;
        let is_number = self.integer || self.real || self.boolean;
        let kind = match (is_text, is_number, self.blob) {
            (true, false, false) => ColumnType::Text,
            (false, true, false) if !self.real => ColumnType::Integer,
            (false, true, false) if !self.wide => ColumnType::Real,
            (false, false, true) => ColumnType::Blob,
            _ => ColumnType::Any,
        };
        let mut column = Column::new(name, kind);
        if self.json && !self.text {
            column.declared = "JSON".to_owned();
        } else if self.boolean && !self.integer && !self.real {
            column.declared = "BOOLEAN".to_owned();
        }
        column
    }
}

fn value_of(json: Json) -> Result<Value> {
    Ok(match json {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Integer(i64::from(flag)),
        Json::String(text) => Value::Text(text),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => Value::Integer(integer),
            None => number.as_f64().map_or(Value::Null, Value::Real),
        },
        json => match special(&json) {
            Some(Special::Real(real)) => Value::Real(real),
            Some(Special::Blob(digits)) => {
                super::csv::parse_hex(digits)?.map_or(Value::Null, Value::Blob)
            }
            None => Value::Text(text_of(&json)?),
        },
    })
}

fn text_of(json: &Json) -> Result<String> {
    let mut text = Gathered::default();
    serde_json::to_writer(&mut text, json).map_err(|error| unwritten(&error.into()))?;
    String::from_utf8(text.0).map_err(|_| Error::internal("JSON was not written as text"))
}

/// What an object of one member stands for.
enum Special<'j> {
    /// Its hexadecimal digits.
    Blob(&'j str),
    Real(f64),
}

fn special(json: &Json) -> Option<Special<'_>> {
    let object = json.as_object().filter(|object| object.len() == 1)?;
    let (name, text) = object.iter().next()?;
    match (name.as_str(), text.as_str()?) {
        ("$hex", digits) if super::csv::is_hex(digits) => Some(Special::Blob(digits)),
        ("$real", "inf") => Some(Special::Real(f64::INFINITY)),
        ("$real", "-inf") => Some(Special::Real(f64::NEG_INFINITY)),
        _ => None,
    }
}

fn write_value(line: &mut Gathered, value: &Value) -> Result<()> {
    let written = match value {
        Value::Null => line.write_all(b"null"),
        Value::Integer(integer) => write!(line, "{integer}"),
        Value::Real(real) if real.is_finite() => {
            serde_json::to_writer(line, real).map_err(io::Error::from)
        }
        Value::Real(real) => write!(line, "{{\"$real\":\"{real:?}\"}}"),
        Value::Text(text) => serde_json::to_writer(line, text).map_err(io::Error::from),
        Value::Blob(blob) => {
            let digits = hex(blob)?;
            let begun = line.write_all(b"{\"$hex\":\"").and_then(|()| line.write_all(&digits));
            begun.and_then(|()| line.write_all(b"\"}"))
        }
    };
    written.map_err(|error| unwritten(&error))
}

/// Where the bytes go is memory, which may be lacking.
fn unwritten(error: &io::Error) -> Error {
    Error::io("write a row", "a file of JSON lines", error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::*;
    use crate::error::{Code, Field};

    fn place(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("holdfast-jsonl-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder.join(name)
    }

    fn rows(file: &Path) -> (Schema, Vec<Row>) {
        let mut source = JsonlSource::open(file).unwrap();
        let mut rows = Vec::new();
        let mut each = |row: &mut Row, _: u64| {
            rows.push(row.clone());
            Ok(())
        };
        let count = source.read(0, &mut each).unwrap();
        assert_eq!(source.tables()[0].rows, Some(count));
        (source.tables()[0].schema.clone(), rows)
    }

    #[test]
    fn columns_and_types_are_those_of_all_objects() {
        let file = place("types.jsonl");
        let text = r#"
            {"z": 1, "a": "x", "ok": true, "mixed": 1}
            {"z": 2.5, "tags": ["a", {"b": 1}], "mixed": "text"}

            {"a": null, "big": 9223372036854775807}"#;
        fs::write(&file, text).unwrap();
        let (schema, rows) = rows(&file);
        let found: Vec<_> = schema
            .columns
            .iter()
            .map(|c| (c.name.as_str(), c.kind.name(), c.declared.as_str()))
            .collect();
        let expected = [
            ("z", "real", "REAL"),
            ("a", "text", "TEXT"),
            ("ok", "integer", "BOOLEAN"),
            ("mixed", "any", ""),
            ("tags", "text", "JSON"),
            ("big", "integer", "INTEGER"),
        ];
        assert_eq!(found, expected);
        assert_eq!(rows[1][4], r#"["a",{"b":1}]"#.into());
        assert_eq!(rows[2][5], Value::Integer(i64::MAX));
        assert_eq!(rows[2][0], Value::Null);
    }

    #[test]
    fn bad_lines_are_named() {
        let file = place("bad.jsonl");
        for (text, issue) in
            [("{\"a\": 1}\n{\"a\": }\n", "no valid JSON"), ("{\"a\": 1}\n[1]\n", "no JSON object")]
        {
            fs::write(&file, text).unwrap();
            let Err(error) = JsonlSource::open(&file) else { panic!("opened") };
            assert_eq!((error.code, error.field("line")), (Code::BadInput, Some(&Field::Int(2))));
            assert!(error.to_string().contains(issue), "{error}");
        }
        fs::write(&file, "\n").unwrap();
        assert_eq!(
            JsonlSource::open(&file).err().map(|error| error.code),
            Some(Code::UnsupportedSource)
        );
    }

    #[test]
    fn what_is_written_reads_back_with_its_types() {
        let file = place("out.jsonl");
        let kinds = [
            ("n", ColumnType::Any),
            ("r\"", ColumnType::Real),
            ("b", ColumnType::Blob),
            ("t", ColumnType::Text),
        ];
        let columns = kinds.map(|(name, kind)| Column::new(name, kind)).to_vec();
        let schema = Schema { name: "t".into(), columns, primary_key: vec![], indexes: vec![] };
        let written = [
            vec![Value::Integer(1), Value::Real(0.1), Value::Blob(vec![0, 255]), "a\n\"b\"".into()],
            vec!["x".into(), Value::Real(f64::INFINITY), Value::Null, "".into()],
            vec![Value::Null, Value::Real(3.0), Value::Blob(vec![]), Value::Null],
        ];
        let mut target = Box::new(JsonlTarget::create(&file, 1).unwrap());
        target.begin(&schema).unwrap();
        for row in &written {
            target.write(row).unwrap();
        }
        target.finish().unwrap();
        let (found, read) = rows(&file);
        assert_eq!(read, written);
        assert_eq!(found.columns[1].kind, ColumnType::Real);
        assert_eq!(found.columns[2].kind, ColumnType::Blob);
    }

    #[test]
    fn an_object_with_more_members_than_a_table_has_columns_is_refused_at_once() {
        let file = place("wide.jsonl");
        let members: Vec<String> = (0..100_000).map(|member| format!("\"m{member}\": 1")).collect();
        fs::write(&file, format!("{{{}}}\n", members.join(","))).unwrap();
        let refused = JsonlSource::open(&file).err().map(|error| error.code);
        assert_eq!(refused, Some(Code::SchemaInvalid));
    }

    #[test]
    fn members_that_differ_in_case_are_two_columns() {
        let file = place("case.jsonl");
        fs::write(&file, "{\"a\": 1, \"A\": 2}\n").unwrap();
        let (schema, rows) = rows(&file);
        assert_eq!(schema.columns[1].name, "A_2");
        assert_eq!(rows, [[Value::Integer(1), Value::Integer(2)]]);
        schema.validate().unwrap();
    }
}
