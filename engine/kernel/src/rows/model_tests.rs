//! A table with indexes against an ordered map of rows: what one refuses the other does too, and
//! the indexes stay in step.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::tables;
use super::tables_tests::{assert_in_step, begin, people, person, store};
use super::*;
use crate::error::Code;

#[derive(Clone, Debug)]
enum Step {
    Insert { id: i64, name: u8, age: i64 },
    Update { id: i64, to: i64, name: u8, age: i64 },
    Delete { id: i64 },
    Commit,
    Abort,
}

fn step() -> impl Strategy<Value = Step> {
    let (id, name, age) = (|| -3i64..40, || 0u8..60, || 0i64..6);
    prop_oneof![
        6 => (id(), name(), age()).prop_map(|(id, name, age)| Step::Insert { id, name, age }),
        4 => (id(), id(), name(), age()).prop_map(|(id, to, name, age)| Step::Update { id, to, name, age }),
        2 => id().prop_map(|id| Step::Delete { id }),
        2 => Just(Step::Commit),
        1 => Just(Step::Abort),
    ]
}

type Rows = BTreeMap<i64, (u8, i64)>;

fn row(id: i64, name: u8, age: i64) -> Row {
    person(id, &format!("name {name}"), age)
}

/// True where no other row than that of `but` has the name or, if it is another, the id.
fn is_free(rows: &Rows, but: Option<i64>, id: i64, name: u8) -> bool {
    rows.iter()
        .filter(|(other, _)| but != Some(**other))
        .all(|(other, row)| *other != id && row.0 != name)
}

proptest! {
    #[test]
    fn a_table_with_indexes_holds_what_a_map_holds(steps in prop::collection::vec(step(), 1..120)) {
        let (_, store) = store();
        let mut txn = begin(&store);
        let mut table = tables::create(&mut txn, &people()).unwrap();
        txn.commit().unwrap();
        let mut txn = begin(&store);
        let (mut committed, mut rows) = (Rows::new(), Rows::new());
        for step in steps {
            match step {
                Step::Insert { id, name, age } => {
                    let done = table.insert(&mut txn, row(id, name, age));
                    if is_free(&rows, None, id, name) {
                        prop_assert_eq!(done.unwrap(), [Value::Integer(id)]);
                        rows.insert(id, (name, age));
                    } else {
                        prop_assert_eq!(done.unwrap_err().code, Code::UniqueViolation);
                    }
                }
                Step::Update { id, to, name, age } => {
                    let changes: Vec<_> = row(to, name, age).into_iter().enumerate().collect();
                    let done = table.update(&mut txn, &[Value::Integer(id)], &changes);
                    match rows.contains_key(&id) {
                        true if is_free(&rows, Some(id), to, name) => {
                            prop_assert!(done.unwrap());
                            rows.remove(&id);
                            rows.insert(to, (name, age));
                        }
                        true => prop_assert_eq!(done.unwrap_err().code, Code::UniqueViolation),
                        false => prop_assert!(!done.unwrap()),
                    }
                }
                Step::Delete { id } => {
                    let existed = table.delete(&mut txn, &[Value::Integer(id)]).unwrap();
                    prop_assert_eq!(existed, rows.remove(&id).is_some());
                }
                Step::Commit | Step::Abort => {
                    if matches!(step, Step::Commit) {
                        txn.commit().unwrap();
                        committed = rows.clone();
                    } else {
                        txn.abort().unwrap();
                        rows = committed.clone();
                    }
                    txn = begin(&store);
                    table = tables::open(&mut txn, "people").unwrap();
                }
            }
        }
        let all = Page { limit: usize::MAX, ..Page::default() };
        let found: Vec<Row> = table.page(&mut txn, &all).unwrap().into_iter().map(|(_, row)| row).collect();
        let expected: Vec<Row> = rows.iter().map(|(id, (name, age))| row(*id, *name, *age)).collect();
        prop_assert_eq!(found, expected);
        assert_in_step(&mut txn, &table);
        txn.commit().unwrap();
        store.maintain().unwrap();
        prop_assert_eq!(store.check(false, &crate::recovery::Progress::default()).unwrap().problems, []);
    }
}
