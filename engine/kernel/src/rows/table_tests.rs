#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::access::{KeyRange, Record, TreeAccess};
use super::*;
use crate::error::{Code, Result};
use crate::sync::Arc;
use crate::txn::RowIds;
use crate::types::TreeId;

type Tree = BTreeMap<Vec<u8>, Vec<u8>>;
type Before = (TreeId, Vec<u8>, Option<Vec<u8>>);

/// Trees in memory with a journal to take changes back: one transaction, alone.
#[derive(Default)]
struct Trees {
    trees: HashMap<TreeId, Tree>,
    journal: Vec<Before>,
    row_ids: Arc<RowIds>,
    /// What another transaction writes just before the next replacement.
    meanwhile: Option<Option<Vec<u8>>>,
}

impl Trees {
    fn set(&mut self, tree: TreeId, key: &[u8], value: Option<Vec<u8>>) -> Option<Vec<u8>> {
        let tree = self.trees.entry(tree).or_default();
        match value {
            Some(value) => tree.insert(key.to_vec(), value),
            None => tree.remove(key),
        }
    }

    fn change(&mut self, tree: TreeId, key: &[u8], value: Option<Vec<u8>>) -> Option<Vec<u8>> {
        assert!(key.len() <= self.max_key(), "a key beyond the limit");
        let before = self.set(tree, key, value);
        self.journal.push((tree, key.to_vec(), before.clone()));
        before
    }
}

impl TreeAccess for Trees {
    type Tree = TreeId;

    fn get(&mut self, tree: TreeId, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.trees.get(&tree).and_then(|tree| tree.get(key).cloned()))
    }

    fn insert(&mut self, tree: TreeId, key: &[u8], value: &[u8]) -> Result<bool> {
        Ok(self.change(tree, key, Some(value.to_vec())).is_none())
    }

    fn replace(&mut self, tree: TreeId, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>> {
        if let Some(meanwhile) = self.meanwhile.take() {
            self.change(tree, key, meanwhile);
        }
        Ok(self.change(tree, key, Some(value.to_vec())))
    }

    fn remove(&mut self, tree: TreeId, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.change(tree, key, None))
    }

    fn delete(&mut self, tree: TreeId, key: &[u8]) -> Result<bool> {
        Ok(self.change(tree, key, None).is_some())
    }

    fn scan(&mut self, tree: TreeId, range: &KeyRange, limit: usize) -> Result<Vec<Record>> {
        let Some(tree) = self.trees.get(&tree) else { return Ok(Vec::new()) };
        let bounds = (range.start.clone(), range.stop.clone());
        let inside = tree.iter().filter(|(key, _)| std::ops::RangeBounds::contains(&bounds, *key));
        let record = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), value.clone());
        Ok(if range.reverse {
            inside.rev().take(limit).map(record).collect()
        } else {
            inside.take(limit).map(record).collect()
        })
    }

    fn count(&mut self, tree: TreeId) -> Result<u64> {
        Ok(self.trees.get(&tree).map_or(0, BTreeMap::len) as u64)
    }

    fn max_key(&self) -> usize {
        64
    }

    fn take_row_id(
        &mut self,
        tree: TreeId,
        stored: impl FnOnce(&mut Self) -> Result<i64>,
    ) -> Result<i64> {
        let ids = Arc::clone(&self.row_ids);
        ids.take(tree, || stored(self))
    }

    fn row_id_seen(
        &mut self,
        tree: TreeId,
        number: i64,
        stored: impl FnOnce(&mut Self) -> Result<i64>,
    ) -> Result<()> {
        let ids = Arc::clone(&self.row_ids);
        ids.seen(tree, number, || stored(self))
    }

    fn atomically<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let mark = self.journal.len();
        let done = work(self);
        if done.is_err() {
            for (tree, key, before) in self.journal.split_off(mark).into_iter().rev() {
                self.set(tree, &key, before);
            }
        }
        done
    }
}

/// name text primary key, age integer, mail text unique; indexes by age and by mail.
fn people() -> Table<TreeId> {
    let schema = Schema::from_json(
        r#"{"name": "people", "columns": [
            {"name": "name", "type": "text", "not_null": true},
            {"name": "age", "type": "integer"},
            {"name": "mail", "type": "text", "collation": "nocase"}],
            "primary_key": ["name"],
            "indexes": [{"name": "by_age", "columns": ["age"]},
                        {"name": "by_mail", "columns": ["mail"], "unique": true}]}"#,
    );
    Table { schema: schema.unwrap(), tree: TreeId(1), index_trees: vec![TreeId(2), TreeId(3)] }
}

fn numbered(key: &str) -> Table<TreeId> {
    let schema = Schema::from_json(&format!(
        r#"{{"name": "notes", "columns": [{{"name": "id", "type": "integer"}}, {{"name": "text", "type": "text"}}],
            "primary_key": {key}}}"#
    ));
    Table { schema: schema.unwrap(), tree: TreeId(1), index_trees: vec![] }
}

fn person(name: &str, age: Option<i64>, mail: Option<&str>) -> Row {
    vec![name.into(), age.map_or(Value::Null, Value::Integer), mail.map_or(Value::Null, Value::from)]
}

/// Every index holds exactly the entries of the rows.
fn assert_in_step(table: &Table<TreeId>, trees: &Trees) {
    let rows = trees.trees.get(&table.tree).cloned().unwrap_or_default();
    for (index, tree) in table.schema.indexes.iter().zip(&table.index_trees) {
        let expected: Tree = rows
            .iter()
            .map(|(key, bytes)| {
                let entry = index::entry(index, &table.decode(bytes).unwrap(), key, trees.max_key());
                (entry.key, entry.value)
            })
            .collect();
        assert_eq!(trees.trees.get(tree).cloned().unwrap_or_default(), expected);
    }
}

#[test]
fn rows_are_found_by_key_and_by_index() {
    let (table, mut trees) = (people(), Trees::default());
    table.insert(&mut trees, person("ann", Some(40), Some("Ann@x"))).unwrap();
    table.insert(&mut trees, person("bob", Some(40), None)).unwrap();
    assert_eq!(
        table.get(&mut trees, &["ann".into()]).unwrap(),
        Some(person("ann", Some(40), Some("Ann@x")))
    );
    assert_eq!(table.get(&mut trees, &["eve".into()]).unwrap(), None);
    assert_eq!(table.by_index(&mut trees, 0, &vec![Value::Integer(40)]).unwrap().len(), 2);
    assert_eq!(table.by_index(&mut trees, 1, &vec!["ANN@X".into()]).unwrap()[0][0], "ann".into());
    assert_eq!(table.count(&mut trees).unwrap(), 2);
}

#[test]
fn a_violation_names_the_index_and_leaves_nothing_behind() {
    let (table, mut trees) = (people(), Trees::default());
    table.insert(&mut trees, person("ann", Some(1), Some("a@x"))).unwrap();
    let error = table.insert(&mut trees, person("bob", Some(2), Some("A@X"))).unwrap_err();
    assert_eq!(error.code, Code::UniqueViolation);
    assert_eq!(error.field("index"), Some(&crate::error::Field::from("by_mail")));
    assert!(!error.to_string().contains("A@X"), "{error}");
    let error = table.insert(&mut trees, person("ann", None, None)).unwrap_err();
    assert_eq!((error.code, error.field("index")), (Code::UniqueViolation, None));
    table.insert(&mut trees, person("bob", Some(2), None)).unwrap();
    let key = ["bob".into()];
    let error =
        table.update(&mut trees, &key, &[(1, Value::Integer(9)), (2, "a@x".into())]).unwrap_err();
    assert_eq!(error.code, Code::UniqueViolation);
    let many = [person("carl", None, None), person("dan", None, Some("a@x"))];
    assert_eq!(table.insert_many(&mut trees, many).unwrap_err().code, Code::UniqueViolation);
    assert_eq!(table.get(&mut trees, &key).unwrap(), Some(person("bob", Some(2), None)));
    assert_eq!(table.count(&mut trees).unwrap(), 2);
    assert_in_step(&table, &trees);
}

#[test]
fn hidden_row_ids_and_missing_integer_keys_are_numbered() {
    let mut trees = Trees::default();
    let hidden = numbered("[]");
    let row = || vec![Value::Null, "a".into()];
    assert_eq!(hidden.insert(&mut trees, row()).unwrap(), [Value::Integer(1)]);
    assert_eq!(hidden.insert(&mut trees, row()).unwrap(), [Value::Integer(2)]);
    assert_eq!(hidden.get(&mut trees, &[Value::Integer(2)]).unwrap(), Some(row()));
    assert!(hidden.update(&mut trees, &[Value::Integer(2)], &[(1, "b".into())]).unwrap());

    let mut trees = Trees::default();
    let keyed = numbered(r#"["id"]"#);
    assert_eq!(
        keyed.insert(&mut trees, vec![Value::Integer(10), "a".into()]).unwrap(),
        [Value::Integer(10)]
    );
    assert_eq!(keyed.insert(&mut trees, row()).unwrap(), [Value::Integer(11)]);
    keyed.update(&mut trees, &[Value::Integer(10)], &[(0, Value::Integer(50))]).unwrap();
    assert_eq!(keyed.insert(&mut trees, row()).unwrap(), [Value::Integer(51)]);
}

#[test]
fn an_index_built_later_is_that_of_rows_inserted_with_it() {
    let (table, mut trees) = (people(), Trees::default());
    let bare = Table {
        index_trees: vec![],
        schema: Schema { indexes: vec![], ..table.schema.clone() },
        ..table.clone()
    };
    for number in 0..700 {
        bare.insert(&mut trees, person(&format!("p{number}"), Some(number % 7), None)).unwrap();
    }
    for (index, tree) in table.schema.indexes.iter().zip(&table.index_trees) {
        let mut entries = Vec::new();
        let mut take = |entry| {
            entries.push(entry);
            Ok(())
        };
        bare.each_entry(&mut trees, index, &mut take).unwrap();
        assert_eq!(entries.len(), 700);
        for entry in entries {
            assert!(trees.insert(*tree, &entry.key, &entry.value).unwrap());
        }
    }
    assert_in_step(&table, &trees);
}

#[test]
fn pages_go_through_a_table_both_ways_and_within_bounds() {
    let (table, mut trees) = (people(), Trees::default());
    for number in 0..50i64 {
        table.insert(&mut trees, person(&format!("p{number:02}"), Some(number / 5), None)).unwrap();
    }
    let mut collect = |index, reverse, start: Option<&[Value]>, stop: Option<&[Value]>| {
        let mut rows = Vec::new();
        let mut after: Option<Row> = None;
        loop {
            let page =
                Page { index, reverse, start, stop, limit: 7, after: after.as_deref(), cell_limit: 2 };
            let found = table.page(&mut trees, &page).unwrap();
            let Some((position, _)) = found.last() else { return rows };
            after = Some(position.clone());
            rows.extend(
                found.into_iter().map(|(position, row)| (table.key_of(&position).unwrap(), row)),
            );
        }
    };
    let forth = collect(None, false, None, None);
    assert_eq!(forth.len(), 50);
    assert_eq!(forth[3].0, ["p03".into()]);
    assert_eq!(forth[3].1[0], "p0".into(), "cells are cut");
    let back: Vec<_> = collect(None, true, None, None).into_iter().rev().collect();
    assert_eq!(forth, back);
    let (start, stop) = ([Value::Integer(2)], [Value::Integer(4)]);
    let some = collect(Some(0), false, Some(&start), Some(&stop));
    assert_eq!((some.len(), &some[0].0), (10, &vec!["p10".into()]));
    let mut back = collect(Some(0), true, Some(&start), Some(&stop));
    back.reverse();
    assert_eq!(some, back);
}

#[test]
fn long_indexed_values_are_found_though_their_entries_are_cut() {
    let (table, mut trees) = (people(), Trees::default());
    let long = |end: &str| format!("{}{end}", "x".repeat(80));
    for end in ["a", "b", "c"] {
        table.insert(&mut trees, person(end, None, Some(&long(end)))).unwrap();
    }
    let found = table.by_index(&mut trees, 1, &vec![long("b").as_str().into()]).unwrap();
    assert_eq!(found, [person("b", None, Some(&long("b")))]);
    let start = [long("b").as_str().into()];
    let page = Page { index: Some(1), start: Some(&start), ..Page::default() };
    let mut names: Vec<Value> =
        table.page(&mut trees, &page).unwrap().into_iter().map(|(_, row)| row[0].clone()).collect();
    names.sort_by(Value::compare);
    assert_eq!(names, ["b".into(), "c".into()]);
    let error = table.insert(&mut trees, person("d", None, Some(&long("A")))).unwrap_err();
    assert_eq!(error.code, Code::UniqueViolation, "nocase, beyond the cut");
}

/// Below a snapshot a row may change between reading and writing it.
#[test]
fn an_update_builds_on_what_another_transaction_wrote_meanwhile() {
    let (table, mut trees) = (people(), Trees::default());
    let key = ["ann".into()];
    table.insert(&mut trees, person("ann", Some(1), Some("a@x"))).unwrap();
    let bytes = encoded(&person("ann", Some(1), Some("a@x")));
    trees.meanwhile = Some(Some(bytes));
    assert!(table.update(&mut trees, &key, &[(1, Value::Integer(5))]).unwrap());
    assert_in_step(&table, &trees);

    // The other one changed the mail, and its index with it.
    table.update(&mut trees, &key, &[(2, "b@x".into())]).unwrap();
    let theirs = encoded(&trees_row(&table, &mut trees, &key));
    table.update(&mut trees, &key, &[(2, "a@x".into())]).unwrap();
    let ours = encoded(&trees_row(&table, &mut trees, &key));
    table.update(&mut trees, &key, &[(2, "b@x".into())]).unwrap();
    let row_key = table.encode_key(&key).unwrap();
    trees.set(table.tree, &row_key, Some(ours));
    trees.meanwhile = Some(Some(theirs));
    assert!(table.update(&mut trees, &key, &[(1, Value::Integer(9))]).unwrap());
    assert_eq!(trees_row(&table, &mut trees, &key), person("ann", Some(9), Some("b@x")));
    assert_in_step(&table, &trees);

    trees.meanwhile = Some(None);
    assert!(!table.update(&mut trees, &key, &[(1, Value::Integer(7))]).unwrap(), "removed meanwhile");
    assert_eq!(table.get(&mut trees, &key).unwrap(), None);
}

fn trees_row(table: &Table<TreeId>, trees: &mut Trees, key: &[Value]) -> Row {
    table.get(trees, key).unwrap().unwrap()
}

fn encoded(row: &Row) -> Vec<u8> {
    let mut bytes = Vec::new();
    record::encode(&mut bytes, row).unwrap();
    bytes
}

#[derive(Clone, Debug)]
enum Step {
    Insert(Row),
    Update(String, usize, Value),
    Delete(String),
}

fn any_step() -> impl Strategy<Value = Step> {
    let name = || "[a-d]{1,2}";
    let age = prop_oneof![Just(Value::Null), (0i64..4).prop_map(Value::Integer)];
    let mail = || prop_oneof![Just(Value::Null), "[aA]{1,2}|x{60}[aA]".prop_map(Value::Text)];
    prop_oneof![
        (name(), age, mail()).prop_map(|(name, age, mail)| Step::Insert(vec![
            Value::Text(name),
            age,
            mail
        ])),
        (name(), mail()).prop_map(|(name, mail)| Step::Update(name, 2, mail)),
        (name(), name()).prop_map(|(name, new)| Step::Update(name, 0, Value::Text(new))),
        (name(), 0i64..4).prop_map(|(name, age)| Step::Update(name, 1, Value::Integer(age))),
        name().prop_map(Step::Delete),
    ]
}

/// The same step on a plain map; false where a rule of the table forbids it.
fn step_on_model(model: &mut BTreeMap<String, Row>, step: &Step) -> bool {
    let name = |value: &Value| match value {
        Value::Text(text) => text.clone(),
        _ => unreachable!("names are text"),
    };
    let folded = |value: &Value| match value {
        Value::Text(text) => Some(text.to_ascii_lowercase()),
        _ => None,
    };
    let (old, new) = match step {
        Step::Delete(key) => {
            model.remove(key);
            return true;
        }
        Step::Insert(row) => (None, row.clone()),
        Step::Update(key, column, value) => {
            let Some(row) = model.get(key) else { return true };
            let mut row = row.clone();
            row[*column] = value.clone();
            (Some(key.clone()), row)
        }
    };
    let others = || model.iter().filter(|(key, _)| Some(*key) != old.as_ref());
    let mail = folded(&new[2]);
    if others().any(|(key, row)| *key == name(&new[0]) || (mail.is_some() && folded(&row[2]) == mail)) {
        return false;
    }
    old.map(|key| model.remove(&key));
    model.insert(name(&new[0]), new);
    true
}

proptest! {
    #[test]
    fn rows_and_indexes_follow_a_plain_map(steps in prop::collection::vec(any_step(), 1..60)) {
        let (table, mut trees, mut model) = (people(), Trees::default(), BTreeMap::new());
        for step in &steps {
            let done = match step.clone() {
                Step::Insert(row) => table.insert(&mut trees, row).map(|_| ()),
                Step::Update(key, column, value) => {
                    table.update(&mut trees, &[Value::Text(key)], &[(column, value)]).map(|_| ())
                }
                Step::Delete(key) => table.delete(&mut trees, &[Value::Text(key)]).map(|_| ()),
            };
            prop_assert_eq!(done.is_ok(), step_on_model(&mut model, step), "{:?}", step);
        }
        let all = Page { limit: 1000, ..Page::default() };
        let rows: Vec<Row> = table.page(&mut trees, &all).unwrap().into_iter().map(|(_, row)| row).collect();
        prop_assert_eq!(rows, model.into_values().collect::<Vec<_>>());
        assert_in_step(&table, &trees);
    }
}
