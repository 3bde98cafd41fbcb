#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::*;
use crate::error::Code;
use crate::rows::source::{Source, Target};
use crate::rows::{Collation, Column, ColumnType, Row, Schema, Value};

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("holdfast-sqlite-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// A database with everything that the reader has to tell apart.
fn sample(place: &Path) {
    let connection = Connection::open(place).unwrap();
    connection
        .execute_batch(
            r#"
            CREATE TABLE artists (id INTEGER PRIMARY KEY AUTOINCREMENT, name NVARCHAR(120) COLLATE NOCASE NOT NULL);
            CREATE TABLE "odd ""name" (a, b DECIMAL(10,2) DEFAULT 3, c BLOB, d DATE, CHECK (a <> 'x'));
            CREATE TABLE pairs (k TEXT, n INT, v REAL, PRIMARY KEY (n, k)) WITHOUT ROWID;
            CREATE TABLE loose (code TEXT PRIMARY KEY, amount INTEGER, UNIQUE (amount, code));
            CREATE TABLE tracks (id INTEGER PRIMARY KEY, artist INTEGER REFERENCES artists(id), t TEXT,
                                 upper_t TEXT GENERATED ALWAYS AS (upper(t)) STORED);
            CREATE INDEX by_artist ON tracks (artist, t COLLATE NOCASE);
            CREATE INDEX by_descent ON tracks (t DESC);
            CREATE INDEX by_expression ON tracks (lower(t));
            CREATE INDEX part ON tracks (t) WHERE t IS NOT NULL;
            CREATE UNIQUE INDEX once ON artists (name);
            CREATE VIEW names AS SELECT name FROM artists;
            CREATE TRIGGER touch AFTER INSERT ON tracks BEGIN SELECT 1; END;
            INSERT INTO artists VALUES (3, 'Ann'), (7, 'Bö'), (8, 'a' || char(0) || 'b');
            INSERT INTO "odd ""name" VALUES (1, '2.50', x'00ff', '2024-01-01'), ('t', 2.5, NULL, 20240101), (1.0, 3, 'text', NULL);
            INSERT INTO pairs VALUES ('b', 1, 2), ('a', 1, 2.5), ('a', -9223372036854775808, 1e300);
            INSERT INTO loose VALUES (NULL, 1), (NULL, 2), ('x', 'many'), ('y', 2.5), ('z', NULL);
            INSERT INTO tracks (id, artist, t) VALUES (1, 3, 'one'), (2, 3, CAST(x'ff41' AS TEXT));
            "#,
        )
        .unwrap();
}

fn rows(source: &mut SqliteSource, table: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut each = |row: &mut Row, _: u64| {
        rows.push(row.clone());
        Ok(())
    };
    source.read(table, &mut each).unwrap();
    rows
}

fn all(source: &mut SqliteSource) -> BTreeMap<String, (Schema, Vec<Row>)> {
    let schemas: Vec<Schema> = source.tables().iter().map(|table| table.schema.clone()).collect();
    let tables = schemas.into_iter().enumerate();
    tables.map(|(place, schema)| (schema.name.clone(), (schema, rows(source, place)))).collect()
}

/// Names, sizes, contents and times of the files of a folder.
fn state(folder: &Path) -> Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut state: Vec<_> = entries
        .map(|path| {
            (path.clone(), fs::read(&path).unwrap(), fs::metadata(&path).unwrap().modified().unwrap())
        })
        .collect();
    state.sort();
    state
}

#[test]
fn tables_types_keys_and_indexes_are_described() {
    let place = folder("describe").join("a #1%.db");
    sample(&place);
    let mut source = SqliteSource::open(&place).unwrap();
    let found = all(&mut source);
    assert_eq!(
        found.keys().map(String::as_str).collect::<Vec<_>>(),
        ["artists", "loose", "odd \"name", "pairs", "tracks"]
    );

    let (artists, rows) = &found["artists"];
    assert_eq!(
        (artists.numbered_key(), artists.columns[1].declared.as_str()),
        (Some(0), "NVARCHAR(120)")
    );
    assert_eq!((artists.columns[1].collation, artists.columns[1].not_null), (Collation::NoCase, true));
    assert!(artists.indexes[0].unique && artists.indexes[0].collations == [Collation::NoCase]);
    assert_eq!(rows[2], [Value::Integer(8), "a\0b".into()]);

    let (pairs, rows) = &found["pairs"];
    assert_eq!(pairs.primary_key, [1, 0]);
    assert_eq!(pairs.columns[2].kind, ColumnType::Real);
    assert_eq!(rows[0], ["a".into(), Value::Integer(i64::MIN), Value::Real(1e300)]);

    let (odd, rows) = &found["odd \"name"];
    let kinds: Vec<_> = odd.columns.iter().map(|column| column.kind).collect();
    assert_eq!(kinds, [ColumnType::Any, ColumnType::Any, ColumnType::Any, ColumnType::Any]);
    assert!(odd.has_hidden_row_id());
    assert_eq!(
        rows[0],
        [Value::Integer(1), Value::Real(2.5), Value::Blob(vec![0, 255]), "2024-01-01".into()]
    );
    assert_eq!(rows[2][0], Value::Real(1.0));

    let (loose, _) = &found["loose"];
    assert!(loose.has_hidden_row_id(), "a key with nulls is none");
    let names: Vec<_> = loose.indexes.iter().map(|index| (index.name.as_str(), index.unique)).collect();
    assert_eq!(names, [("loose_key", true), ("loose_amount_code_unique", true)]);
    assert_eq!(loose.columns[1].kind, ColumnType::Any, "it holds more than integers");

    let (tracks, rows) = &found["tracks"];
    let names: Vec<_> = tracks.indexes.iter().map(|index| index.name.as_str()).collect();
    assert_eq!(names, ["by_artist", "by_descent"]);
    assert_eq!(tracks.indexes[0].collations, [Collation::Binary, Collation::NoCase]);
    assert_eq!(rows[1][2], Value::Blob(vec![0xff, 0x41]), "bytes that are no text");
}

#[test]
fn what_is_not_carried_over_is_named() {
    let place = folder("without").join("a.db");
    sample(&place);
    let source = SqliteSource::open(&place).unwrap();
    assert_eq!(source.without(), ["view names"]);
    let notes = |name: &str| {
        let table = source.tables().iter().find(|table| table.schema.name == name).unwrap();
        table.without.join("; ")
    };
    let tracks = notes("tracks");
    for note in [
        "by_expression",
        "index part",
        "foreign key to artists",
        "trigger touch",
        "generated",
        "descending",
        "UTF-8",
    ] {
        assert!(tracks.contains(note), "{note} in {tracks}");
    }
    assert!(notes("artists").contains("AUTOINCREMENT"));
    let odd = notes("odd \"name");
    assert!(odd.contains("default value of column b") && odd.contains("CHECK"), "{odd}");
    assert!(notes("loose").contains("primary key: it holds nulls"));
    assert_eq!(notes("pairs"), "");
}

#[test]
fn a_database_is_written_and_reads_back_the_same() {
    let folder = folder("write");
    let (first, second) = (folder.join("a.db"), folder.join("b.db"));
    sample(&first);
    let mut source = SqliteSource::open(&first).unwrap();
    let expected = all(&mut source);
    fs::write(&second, "an older export").unwrap();
    let mut target = Box::new(SqliteTarget::create(&second).unwrap());
    for (schema, rows) in expected.values() {
        target.begin(schema).unwrap();
        rows.iter().for_each(|row| target.write(row).unwrap());
    }
    assert_eq!(fs::read(&second).unwrap(), b"an older export");
    target.finish().unwrap();
    assert_eq!(all(&mut SqliteSource::open(&second).unwrap()), expected);
    let connection = Connection::open(&second).unwrap();
    let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
}

#[test]
fn the_file_is_never_touched() {
    let folder = folder("untouched");
    let place = folder.join("a.db");
    sample(&place);
    Connection::open(&place)
        .unwrap()
        .execute_batch("PRAGMA journal_mode = WAL; DELETE FROM pairs")
        .unwrap();
    assert!(!folder.join("a.db-wal").exists(), "a clean close leaves no log");
    let before = state(&folder);
    let mut source = SqliteSource::open(&place).unwrap();
    all(&mut source);
    assert_eq!(state(&folder), before, "while it is open");
    drop(source);
    assert_eq!(state(&folder), before);
}

#[test]
fn committed_work_in_a_log_is_read_and_left_where_it_is() {
    let folder = folder("wal");
    let place = folder.join("a.db");
    sample(&place);
    let writer = Connection::open(&place).unwrap();
    writer
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; INSERT INTO pairs VALUES ('new', 5, 6)")
        .unwrap();
    writer.execute_batch("BEGIN; INSERT INTO pairs VALUES ('uncommitted', 5, 6)").unwrap();
    let before = state(&folder);
    let mut source = SqliteSource::open(&place).unwrap();
    let keys: Vec<Value> = all(&mut source)["pairs"].1.iter().map(|row| row[0].clone()).collect();
    assert_eq!(keys, ["a".into(), "a".into(), "b".into(), "new".into()]);
    drop(source);
    assert_eq!(state(&folder), before);
}

#[test]
fn a_hot_journal_is_rolled_back_in_the_copy_only() {
    let folder = folder("journal");
    let (live, place) = (folder.join("live.db"), folder.join("a.db"));
    sample(&live);
    let writer = Connection::open(&live).unwrap();
    writer
        .execute_batch("PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN; DELETE FROM pairs;")
        .unwrap();
    for number in 0..2000 {
        writer.execute("INSERT INTO pairs VALUES (?1, 9, 9.0)", [format!("x{number:0200}")]).unwrap();
    }
    // What a crash leaves at this moment: half of the change in the file, the rest in the journal.
    for suffix in ["", "-journal"] {
        fs::copy(format!("{}{suffix}", live.display()), format!("{}{suffix}", place.display())).unwrap();
    }
    drop(writer);
    let before = state(&folder);
    let mut source = SqliteSource::open(&place).unwrap();
    assert_eq!(all(&mut source)["pairs"].1.len(), 3);
    drop(source);
    assert_eq!(state(&folder), before);
}

#[test]
fn what_is_no_database_is_refused() {
    let folder = folder("refused");
    let place = folder.join("a.db");
    for bytes in [&b""[..], b"SQLite format 2", b"id,name\n1,x\n"] {
        fs::write(&place, bytes).unwrap();
        assert_eq!(SqliteSource::open(&place).err().unwrap().code, Code::UnsupportedSource);
    }
    assert_eq!(SqliteSource::open(&folder.join("none")).err().unwrap().code, Code::IoError);
    fs::remove_file(&place).unwrap();
    sample(&place);
    let mut bytes = fs::read(&place).unwrap();
    for byte in &mut bytes[4096..] {
        *byte = 0xaa;
    }
    fs::write(&place, bytes).unwrap();
    assert_eq!(SqliteSource::open(&place).err().unwrap().code, Code::BadInput);
}

#[test]
fn strange_declarations_survive_or_give_way_to_the_values() {
    let place = folder("declared").join("a.db");
    let column = |kind, declared: &str| {
        let mut column = Column::new(format!("c{}", declared.len()), kind);
        column.declared = declared.to_owned();
        column
    };
    let columns = vec![
        column(ColumnType::Any, "my type); DROP TABLE x"),
        column(ColumnType::Any, "NOT NULL"),
        column(ColumnType::Text, "DATE"),
        column(ColumnType::Any, "DECIMAL(10, 2)"),
        column(ColumnType::Integer, "unsigned big int"),
    ];
    let schema = Schema { name: "sqlite_like".into(), columns, primary_key: vec![], indexes: vec![] };
    let mut target = Box::new(SqliteTarget::create(&place).unwrap());
    target.begin(&schema).unwrap();
    target
        .write(&[Value::Null, Value::Null, "2024".into(), Value::Real(1.5), Value::Integer(1)])
        .unwrap();
    target.finish().unwrap();
    let mut source = SqliteSource::open(&place).unwrap();
    let declared: Vec<String> =
        source.tables()[0].schema.columns.iter().map(|column| column.declared.clone()).collect();
    assert_eq!(
        declared,
        ["my type); DROP TABLE x", "NOT NULL", "TEXT", "DECIMAL(10, 2)", "unsigned big int"]
    );
    assert_eq!(source.tables()[0].schema.name, "_sqlite_like");
    assert_eq!(rows(&mut source, 0)[0][2], "2024".into());
}
