#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::export::export;
use super::import::{Imported, Plan, import, open_source};
use super::tables;
use super::*;
use crate::disk::Disk;
use crate::disk::memory::MemoryDisk;
use crate::disk::os::OsDisk;
use crate::error::{Code, Field, Result};
use crate::recovery::Progress;
use crate::store::{Store, StoreOptions};
use crate::sync::Arc;
use crate::txn::{Isolation, Transaction};

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("holdfast-transfer-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

struct World {
    disk: Arc<dyn Disk>,
    store: Store,
}

impl World {
    fn new() -> World {
        let disk: Arc<dyn Disk> = MemoryDisk::new(5);
        let mut options = StoreOptions { background: false, ..StoreOptions::default() };
        options.opening.cache_bytes = 512 * 8192;
        options.opening.log.background = false;
        World { store: Store::create(Arc::clone(&disk), &options).unwrap(), disk }
    }

    fn begin(&self) -> Transaction {
        self.store.begin(Isolation::RepeatableRead, false).unwrap()
    }

    fn import(&self, file: &Path, plan: &Plan) -> Result<Imported> {
        let mut txn = self.begin();
        let imported = import(&mut txn, &self.disk, file, plan, &Progress::new())?;
        txn.commit()?;
        Ok(imported)
    }

    fn rows(&self, table: &str) -> Vec<Row> {
        let mut txn = self.begin();
        let table = tables::open(&mut txn, table).unwrap();
        let all = Page { limit: usize::MAX, ..Page::default() };
        let rows = table.page(&mut txn, &all).unwrap();
        assert_eq!(table.count(&mut txn).unwrap(), rows.len() as u64);
        rows.into_iter().map(|(_, row)| row).collect()
    }

    fn export(&self, place: &Path, kind: &str, names: &[&str]) -> u64 {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        export(&mut self.begin(), place, kind, &names, &Progress::new()).unwrap()
    }
}

#[test]
fn a_csv_file_is_imported_with_types_that_hold_to_its_end() {
    let file = folder("csv").join("things.csv");
    let mut text = String::from("id,name,size\n");
    for id in 0..60_000u64 {
        let size = if id == 59_000 { "none".to_owned() } else { id.to_string() };
        writeln!(text, "{},thing {id},{size}", 59_999 - id).unwrap();
    }
    fs::write(&file, &text).unwrap();
    let world = World::new();
    let plan = Plan { primary_key: vec!["id".into()], ..Plan::default() };
    let imported = world.import(&file, &plan).unwrap();
    assert_eq!(imported.tables, [("things".to_owned(), 60_000)]);
    let rows = world.rows("things");
    assert_eq!(rows[999], [Value::Integer(999), "thing 59000".into(), "none".into()]);
    assert!(world.disk.list("temp").unwrap().is_empty());
}

#[test]
fn bad_input_names_its_place_and_changes_nothing() {
    let file = folder("bad").join("t.csv");
    let world = World::new();
    let plan = |text: &str| Plan::from_json(&serde_json::from_str(text).unwrap()).unwrap();
    let typed = r#"{"kind": "csv", "delimiter": ",", "header": true, "primary_key": ["a"], "tables": {"t": "new"},
        "columns": [{"name": "a", "type": "integer"}, {"name": "b", "type": "text", "not_null": false}]}"#;
    for (text, line) in [("a,b\n1,x\nsecret,y\n", 3), ("a,b\n1,x\n,y\n", 3), ("a,b\n1\n", 2)] {
        fs::write(&file, text).unwrap();
        let mut txn = world.begin();
        let error = import(&mut txn, &world.disk, &file, &plan(typed), &Progress::new()).unwrap_err();
        assert_eq!(
            (error.code, error.field("line")),
            (Code::BadInput, Some(&Field::Int(line))),
            "{error}"
        );
        assert!(!error.to_string().contains("secret"));
        assert!(tables::list(&mut txn).unwrap().is_empty(), "nothing is left in the transaction");
        txn.commit().unwrap();
    }
    fs::write(&file, "a,b\n2,x\n1,y\n2,z\n").unwrap();
    assert_eq!(world.import(&file, &plan(typed)).unwrap_err().code, Code::UniqueViolation);
    fs::write(&file, "a,b\n2,x\n").unwrap();
    assert_eq!(world.import(&file, &plan(typed)).unwrap().tables[0].0, "new");
    assert_eq!(world.import(&file, &plan(typed)).unwrap_err().code, Code::TableExists);
    let error = world.import(&file, &plan(r#"{"kind": "xml"}"#)).unwrap_err();
    assert_eq!(error.code, Code::UnsupportedSource);
    assert_eq!(world.rows("new").len(), 1);
}

#[test]
fn a_cancelled_import_leaves_nothing() {
    let file = folder("cancel").join("t.csv");
    let text: String = (0..5000).map(|id| format!("{id},{id}\n")).collect();
    fs::write(&file, text).unwrap();
    let world = World::new();
    let progress = Progress::new();
    progress.cancel();
    let mut txn = world.begin();
    let error = import(&mut txn, &world.disk, &file, &Plan::default(), &progress).unwrap_err();
    assert_eq!(error.code, Code::Cancelled);
    assert!(tables::list(&mut txn).unwrap().is_empty());
}

fn sample(place: &Path) {
    let connection = rusqlite::Connection::open(place).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE artists (id INTEGER PRIMARY KEY, name VARCHAR(40) COLLATE NOCASE NOT NULL);
             CREATE TABLE pairs (b TEXT, a INT, v REAL, PRIMARY KEY (a, b)) WITHOUT ROWID;
             CREATE TABLE loose (x, y BLOB, z DECIMAL(4,1));
             CREATE UNIQUE INDEX by_name ON artists (name);
             CREATE INDEX by_v ON pairs (v, b);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
               INSERT INTO artists SELECT i * 7 % 3001, 'name ' || i FROM n;
             INSERT INTO pairs SELECT name, id % 10, id / 7.0 FROM artists;
             INSERT INTO loose VALUES (1, x'00', 2.5), (NULL, zeroblob(100000), 'text'), (1, x'00', 2.5);",
        )
        .unwrap();
}

/// Every table of a SQLite file with its rows in an order of our own.
fn contents(file: &Path) -> BTreeMap<String, (Schema, Vec<Row>)> {
    let mut source = open_source(file, &Plan::default()).unwrap();
    let schemas: Vec<Schema> = source.tables().iter().map(|table| table.schema.clone()).collect();
    let mut contents = BTreeMap::new();
    for (place, schema) in schemas.into_iter().enumerate() {
        let mut rows = Vec::new();
        let mut each = |row: &mut Row, _: u64| {
            rows.push(row.clone());
            Ok(())
        };
        source.read(place, &mut each).unwrap();
        rows.sort_by_cached_key(|row| key::encode_all(row));
        contents.insert(schema.name.clone(), (schema, rows));
    }
    contents
}

#[test]
fn a_sqlite_database_comes_back_from_an_import_and_an_export() {
    let folder = folder("sqlite");
    let (first, second) = (folder.join("a.db"), folder.join("b.sqlite"));
    sample(&first);
    let world = World::new();
    let imported = world.import(&first, &Plan::default()).unwrap();
    assert_eq!(imported.tables.len(), 3);
    let mut txn = world.begin();
    let artists = tables::open(&mut txn, "artists").unwrap();
    assert_eq!(artists.by_index(&mut txn, 0, &vec!["NAME 5".into()]).unwrap()[0][0], Value::Integer(35));
    let pairs = tables::open(&mut txn, "pairs").unwrap();
    assert_eq!(txn.count(pairs.index_trees[0]).unwrap(), 3000);
    assert!(pairs.delete(&mut txn, &[Value::Integer(5), "name 5".into()]).unwrap());
    txn.abort().unwrap();
    assert_eq!(world.export(&second, "sqlite", &["artists", "pairs", "loose"]), 6003);
    assert!(contents(&second) == contents(&first));
}

#[test]
fn several_tables_are_exported_into_a_folder() {
    let folder = folder("folder");
    sample(&folder.join("a.db"));
    let world = World::new();
    world.import(&folder.join("a.db"), &Plan::default()).unwrap();
    for kind in ["csv", "jsonl"] {
        let out = folder.join(kind);
        world.export(&out, kind, &["artists", "pairs"]);
        let plan = Plan {
            tables: vec![("pairs".into(), format!("pairs_{kind}"))],
            primary_key: vec!["a".into(), "b".into()],
            ..Plan::default()
        };
        world.import(&out.join(format!("pairs.{kind}")), &plan).unwrap();
        assert!(world.rows(&format!("pairs_{kind}")) == world.rows("pairs"), "{kind}");
    }
}

/// Prints the rate of an import of a million rows; run with `--release --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn measure_an_import_of_a_million_rows() {
    let folder = folder("rate");
    let file = folder.join("m.csv");
    let mut text = String::from("id,name,city,price,count\n");
    for id in 0..1_000_000u64 {
        let noise = id.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        writeln!(
            text,
            "{id},name {noise:x},city {},{}.{},{}",
            noise % 977,
            noise % 1000,
            id % 100,
            noise % 65536
        )
        .unwrap();
    }
    fs::write(&file, &text).unwrap();
    let root = folder.join("db");
    fs::create_dir_all(&root).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::new(&root));
    let store = Store::create(Arc::clone(&disk), &StoreOptions::default()).unwrap();
    let started = std::time::Instant::now();
    let mut txn = store.begin(Isolation::RepeatableRead, false).unwrap();
    let plan = Plan { primary_key: vec!["id".into()], ..Plan::default() };
    import(&mut txn, &disk, &file, &plan, &Progress::new()).unwrap();
    let imported = started.elapsed();
    txn.commit().unwrap();
    println!(
        "import {:.2?}, with commit {:.2?}: {:.0} rows/s",
        imported,
        started.elapsed(),
        1e6 / started.elapsed().as_secs_f64()
    );
    let started = std::time::Instant::now();
    let mut txn = store.begin(Isolation::RepeatableRead, false).unwrap();
    export(&mut txn, &folder.join("out.csv"), "csv", &["m".to_owned()], &Progress::new()).unwrap();
    println!("export {:.2?}", started.elapsed());
    assert_eq!(fs::read_to_string(folder.join("out.csv")).unwrap().lines().count(), 1_000_001);
    drop(txn);
    store.close().unwrap();
    fs::remove_dir_all(folder).unwrap();
}
