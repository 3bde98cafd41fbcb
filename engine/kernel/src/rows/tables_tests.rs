#![allow(clippy::unwrap_used)]

use std::sync::Barrier;

use super::tables::{self, OpenTable};
use super::*;
use crate::disk::Disk;
use crate::disk::memory::MemoryDisk;
use crate::error::Code;
use crate::recovery::Progress;
use crate::store::{Store, StoreOptions};
use crate::sync::Arc;
use crate::txn::{CatalogueKind, Isolation, Transaction};
use crate::types::DatabaseId;

fn options() -> StoreOptions {
    let mut options = StoreOptions {
        background: false,
        database: Some(DatabaseId([9; 16])),
        ..StoreOptions::default()
    };
    options.page_size = 4096;
    options.opening.cache_bytes = 256 * 4096;
    options.opening.log.segment_bytes = 4 << 20;
    options.opening.log.background = false;
    options
}

pub(super) fn store() -> (Arc<dyn Disk>, Store) {
    let disk: Arc<dyn Disk> = MemoryDisk::new(3);
    let store = Store::create(Arc::clone(&disk), &options()).unwrap();
    (disk, store)
}

pub(super) fn begin(store: &Store) -> Transaction {
    store.begin(Isolation::RepeatableRead, false).unwrap()
}

pub(super) fn people() -> Schema {
    Schema::from_json(
        r#"{"name": "people", "columns": [{"name": "id", "type": "integer"}, {"name": "name", "type": "text"},
            {"name": "age", "type": "integer"}], "primary_key": ["id"],
            "indexes": [{"name": "by_age", "columns": ["age"]}, {"name": "by_name", "columns": ["name"], "unique": true}]}"#,
    )
    .unwrap()
}

pub(super) fn person(id: i64, name: &str, age: i64) -> Row {
    vec![Value::Integer(id), name.into(), Value::Integer(age)]
}

/// Every row is found by every index, and every index has as many entries as there are rows.
pub(super) fn assert_in_step(txn: &mut Transaction, table: &OpenTable) {
    let all = Page { limit: usize::MAX, ..Page::default() };
    let rows: Vec<Row> = table.page(txn, &all).unwrap().into_iter().map(|(_, row)| row).collect();
    assert_eq!(table.count(txn).unwrap(), rows.len() as u64);
    for (place, index) in table.schema.indexes.iter().enumerate() {
        assert_eq!(txn.count(table.index_trees[place]).unwrap(), rows.len() as u64, "{}", index.name);
        for row in &rows {
            let key: Row = index.columns.iter().map(|column| row[*column].clone()).collect();
            assert!(
                table.by_index(txn, place, &key).unwrap().contains(row),
                "{} of {row:?}",
                index.name
            );
        }
    }
}

#[test]
fn a_table_survives_a_close_with_its_indexes() {
    let (disk, store) = store();
    let mut txn = begin(&store);
    let table = tables::create(&mut txn, &people()).unwrap();
    for id in 0..2000 {
        table.insert(&mut txn, person(id, &format!("p{id}"), id % 50)).unwrap();
    }
    assert_eq!(tables::create(&mut txn, &people()).err().unwrap().code, Code::TableExists);
    txn.commit().unwrap();
    store.close().unwrap();
    let store = Store::open(disk, &options()).unwrap();
    let mut txn = begin(&store);
    assert_eq!(tables::list(&mut txn).unwrap(), ["people"]);
    let table = tables::open(&mut txn, "PEOPLE").unwrap();
    assert_eq!(table.by_index(&mut txn, 0, &vec![Value::Integer(7)]).unwrap().len(), 40);
    assert!(table.delete(&mut txn, &[Value::Integer(5)]).unwrap());
    assert!(
        table
            .update(&mut txn, &[Value::Integer(6)], &[(0, Value::Integer(5000)), (2, Value::Integer(1))])
            .unwrap()
    );
    assert_eq!(
        table.insert(&mut txn, vec![Value::Null, "new".into(), Value::Null]).unwrap(),
        [Value::Integer(5001)]
    );
    assert_eq!(table.insert(&mut txn, person(1, "x", 0)).unwrap_err().code, Code::UniqueViolation);
    assert_in_step(&mut txn, &table);
}

#[test]
fn what_is_rolled_back_was_never_there() {
    let (_disk, store) = store();
    let mut txn = begin(&store);
    tables::create(&mut txn, &people()).unwrap();
    txn.abort().unwrap();
    let mut txn = begin(&store);
    assert_eq!(tables::open(&mut txn, "people").err().unwrap().code, Code::TableNotFound);
    let table = tables::create(&mut txn, &people()).unwrap();
    table.insert(&mut txn, person(1, "ann", 1)).unwrap();
    txn.commit().unwrap();
    let mut txn = begin(&store);
    tables::drop(&mut txn, "people").unwrap();
    assert!(txn.catalogue(CatalogueKind::Index).unwrap().is_empty());
    txn.abort().unwrap();
    let mut txn = begin(&store);
    let table = tables::open(&mut txn, "people").unwrap();
    assert_in_step(&mut txn, &table);
}

#[test]
fn a_new_index_has_the_rows_that_came_after_the_snapshot() {
    let (disk, store) = store();
    let mut txn = begin(&store);
    let table = tables::create(&mut txn, &people()).unwrap();
    table.insert(&mut txn, person(1, "ann", 1)).unwrap();
    txn.commit().unwrap();
    let mut early = begin(&store);
    let mut late = begin(&store);
    let mut other = begin(&store);
    let table = tables::open(&mut other, "people").unwrap();
    table.insert(&mut other, person(2, "bob", 1)).unwrap();
    other.commit().unwrap();
    tables::create_index(&mut early, &disk, "people", "both", &["name", "age"], false).unwrap();
    early.commit().unwrap();
    assert_eq!(tables::open(&mut late, "people").err().unwrap().code, Code::WriteConflict);
    late.abort().unwrap();
    let mut txn = begin(&store);
    let table = tables::open(&mut txn, "people").unwrap();
    assert_eq!(table.schema.indexes.len(), 3);
    assert_in_step(&mut txn, &table);
    let same = tables::create_index(&mut txn, &disk, "people", "BOTH", &["id"], false);
    assert_eq!(same.err().unwrap().code, Code::SchemaInvalid);
    let unique = tables::create_index(&mut txn, &disk, "people", "once", &["age"], true);
    assert_eq!(unique.err().unwrap().code, Code::UniqueViolation);
    let table = tables::drop_index(&mut txn, "people", "by_name").unwrap();
    assert_eq!(table.schema.indexes.len(), 2);
    assert_in_step(&mut txn, &table);
    txn.commit().unwrap();
}

/// Below a snapshot, reading a row and changing it are two steps: indexes must follow what was
/// really replaced.
#[test]
fn indexes_stay_in_step_under_concurrent_changes_of_the_same_rows() {
    let (_disk, store) = store();
    let mut txn = begin(&store);
    let table = tables::create(&mut txn, &people()).unwrap();
    for id in 0..4 {
        table.insert(&mut txn, person(id, &format!("p{id}"), 0)).unwrap();
    }
    txn.commit().unwrap();
    let barrier = Barrier::new(4);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (store, barrier) = (&store, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for step in 0..150u64 {
                    let random = (thread * 150 + step).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
                    change_one(
                        store,
                        random,
                        if random & 1 == 0 {
                            Isolation::ReadCommitted
                        } else {
                            Isolation::RepeatableRead
                        },
                    );
                }
            });
        }
    });
    let mut txn = begin(&store);
    let table = tables::open(&mut txn, "people").unwrap();
    assert_in_step(&mut txn, &table);
}

fn change_one(store: &Store, random: u64, isolation: Isolation) {
    let mut txn = store.begin(isolation, false).unwrap();
    let table = tables::open(&mut txn, "people").unwrap();
    let key = [Value::Integer((random % 4) as i64)];
    let done = match random >> 4 & 3 {
        0 => table.delete(&mut txn, &key).map(|_| ()),
        1 => table
            .insert(&mut txn, person((random % 4) as i64, &format!("n{}", random % 6), 3))
            .map(|_| ()),
        _ => table.update(&mut txn, &key, &[(2, Value::Integer((random >> 8 & 7) as i64))]).map(|_| ()),
    };
    match done {
        Ok(()) => {
            txn.commit().unwrap();
        }
        Err(error) => {
            let expected = [Code::UniqueViolation, Code::WriteConflict, Code::Deadlock];
            assert!(expected.contains(&error.code), "{error}");
            txn.abort().unwrap();
        }
    }
}

#[test]
fn an_index_of_a_filled_table_is_built_bottom_up_and_undone_as_a_whole() {
    const ROWS: i64 = 5000;
    let (disk, store) = store();
    let mut txn = begin(&store);
    let bare = Schema { indexes: vec![], ..people() };
    let table = tables::create(&mut txn, &bare).unwrap();
    for id in 0..ROWS {
        table.insert(&mut txn, person(id, &format!("name {}", id * 7919 % ROWS), id % 50)).unwrap();
    }
    txn.commit().unwrap();
    let log = &store.shared().core.log;
    let (before, used) = (log.status().entries, store.shared().core.space.used_pages());
    let mut txn = begin(&store);
    tables::create_index(&mut txn, &disk, "people", "by_name", &["name"], true).unwrap();
    let made = log.status().entries - before;
    assert!(made < 200, "{made} log entries for {ROWS} rows");
    txn.abort().unwrap();
    store.maintain().unwrap();
    assert_eq!(store.shared().core.space.used_pages(), used);
    let mut txn = begin(&store);
    let collide = tables::create_index(&mut txn, &disk, "people", "once", &["age"], true);
    assert_eq!(collide.err().unwrap().code, Code::UniqueViolation);
    let table =
        tables::create_index(&mut txn, &disk, "people", "by_age", &["age", "name"], false).unwrap();
    table.insert(&mut txn, person(ROWS, "new", 7)).unwrap();
    assert!(table.delete(&mut txn, &[Value::Integer(3)]).unwrap());
    txn.commit().unwrap();
    let mut txn = begin(&store);
    let table = tables::open(&mut txn, "people").unwrap();
    assert_in_step(&mut txn, &table);
    let clean = store.check(false, &Progress::default()).unwrap();
    assert_eq!(clean.problems, []);
}
