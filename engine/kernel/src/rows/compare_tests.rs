#![allow(clippy::unwrap_used)]

use super::compare::{Compared, Pass, Portion, Side, compare, ensure_alike, put_back, put_back_keys};
use super::tables::{self, OpenTable};
use super::tables_tests::{assert_in_step, begin, people, person, store};
use super::*;
use crate::error::{Code, Result};
use crate::store::Store;
use crate::txn::Transaction;

const ALL: Portion<'_> = Portion { after: None, records: usize::MAX, keep: 0 };

/// Two databases: ten people then; now two are gone, two are older, three are new.
fn then_and_now() -> (Store, Store) {
    let ((_, then), (_, now)) = (store(), store());
    for store in [&then, &now] {
        let mut txn = begin(store);
        let table = tables::create(&mut txn, &people()).unwrap();
        for id in 0..10 {
            table.insert(&mut txn, person(id, &format!("name {id}"), 30)).unwrap();
        }
        txn.commit().unwrap();
    }
    let mut txn = begin(&now);
    let table = tables::open(&mut txn, "people").unwrap();
    table.delete(&mut txn, &[Value::Integer(2)]).unwrap();
    table.delete(&mut txn, &[Value::Integer(7)]).unwrap();
    for id in [3, 4] {
        table.update(&mut txn, &[Value::Integer(id)], &[(2, Value::Integer(40))]).unwrap();
    }
    for id in 20..23 {
        table.insert(&mut txn, person(id, &format!("name {id}"), 50)).unwrap();
    }
    txn.commit().unwrap();
    (then, now)
}

fn with<T>(
    (then, now): (&mut Transaction, &mut Transaction),
    work: impl FnOnce(&mut Side<'_>, &mut Side<'_>, &OpenTable) -> Result<T>,
) -> Result<T> {
    let old = tables::open(then, "people").unwrap();
    let new = tables::open(now, "people").unwrap();
    ensure_alike(&old, &new)?;
    let mut one = Side { txn: then, tree: old.tree };
    work(&mut one, &mut Side { txn: now, tree: new.tree }, &new)
}

fn compared(then: &mut Transaction, now: &mut Transaction) -> Compared {
    with((then, now), |one, other, _| compare(one, other, &ALL)).unwrap()
}

const CLEAR: Pass = Pass::Clear { changed: true, added: true };

#[test]
fn what_was_added_changed_and_removed_is_counted_in_portions_as_in_one() {
    let (then, now) = then_and_now();
    let (mut old, mut new) = (begin(&then), begin(&now));
    let whole = compared(&mut old, &mut new);
    assert_eq!((whole.same, whole.added, whole.changed, whole.removed), (6, 3, 2, 2));
    assert_eq!((whole.found.len(), whole.next), (0, None));
    let (mut after, mut found, mut same) = (None::<Vec<u8>>, Vec::new(), 0);
    loop {
        let portion = Portion { after: after.as_deref(), records: 3, keep: 2 };
        let part = with((&mut old, &mut new), |one, other, _| compare(one, other, &portion)).unwrap();
        same += part.same;
        found.extend(part.found);
        match part.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!((same, found.len()), (6, 7));
    assert!(found.is_sorted_by(|one, other| one.key < other.key));
}

#[test]
fn a_table_is_put_back_as_it_was_with_its_indexes() {
    let (then, now) = then_and_now();
    let (mut old, mut new) = (begin(&then), begin(&now));
    for (pass, cleared, removed, filled) in [(CLEAR, 2, 3, 0), (Pass::Fill, 0, 0, 4)] {
        let done = with((&mut old, &mut new), |one, other, table| {
            put_back(one, other, Some(table), pass, &ALL)
        });
        let done = done.unwrap();
        assert_eq!((done.cleared, done.removed, done.filled), (cleared, removed, filled));
    }
    let after = compared(&mut old, &mut new);
    assert_eq!((after.same, after.added + after.changed + after.removed), (10, 0));
    let table = tables::open(&mut new, "people").unwrap();
    assert_in_step(&mut new, &table);
}

#[test]
fn rows_that_exchanged_their_unique_values_are_put_back_together() {
    let (then, now) = then_and_now();
    let mut txn = begin(&now);
    let table = tables::open(&mut txn, "people").unwrap();
    let rename = |txn: &mut Transaction, id, name: &str| {
        table.update(txn, &[Value::Integer(id)], &[(1, name.into())]).unwrap();
    };
    rename(&mut txn, 0, "somebody");
    rename(&mut txn, 1, "name 0");
    rename(&mut txn, 0, "name 1");
    txn.commit().unwrap();
    let (mut old, mut new) = (begin(&then), begin(&now));
    let keys: Vec<Vec<u8>> = [0, 1].map(|id| key::encode_all(&[Value::Integer(id)])).to_vec();
    for pass in [CLEAR, Pass::Fill] {
        with((&mut old, &mut new), |one, other, table| {
            put_back_keys(one, other, Some(table), pass, &keys)
        })
        .unwrap();
    }
    assert_in_step(&mut new, &table);
    assert_eq!(compared(&mut old, &mut new).changed, 2, "the others are as they were");
    new.abort().unwrap();
    // One of them alone collides with the other, which is told.
    let mut new = begin(&now);
    let error = [CLEAR, Pass::Fill]
        .into_iter()
        .find_map(|pass| {
            with((&mut old, &mut new), |one, other, table| {
                put_back_keys(one, other, Some(table), pass, &keys[..1])
            })
            .err()
        })
        .unwrap();
    assert_eq!(error.code, Code::UniqueViolation, "{error}");
}

#[test]
fn a_row_with_a_hidden_number_gets_it_back_and_later_rows_get_others() {
    let ((_, then), (_, now)) = (store(), store());
    let schema = Schema::from_json(
        r#"{"name": "people", "columns": [{"name": "word", "type": "text"}], "primary_key": [], "indexes": []}"#,
    )
    .unwrap();
    for (store, rows) in [(&then, 5), (&now, 0)] {
        let mut txn = begin(store);
        let table = tables::create(&mut txn, &schema).unwrap();
        table
            .insert_many(&mut txn, (0..rows).map(|n| vec![Value::from(format!("{n}").as_str())]))
            .unwrap();
        txn.commit().unwrap();
    }
    let (mut old, mut new) = (begin(&then), begin(&now));
    with((&mut old, &mut new), |one, other, table| put_back(one, other, Some(table), Pass::Fill, &ALL))
        .unwrap();
    assert_eq!(compared(&mut old, &mut new).same, 5);
    let table = tables::open(&mut new, "people").unwrap();
    assert_eq!(table.insert(&mut new, vec!["more".into()]).unwrap(), vec![Value::Integer(6)]);
}

#[test]
fn a_table_of_other_columns_is_not_taken_for_the_same_one() {
    let ((_, then), (_, now)) = (store(), store());
    let mut other = people();
    other.columns.push(other.columns[2].clone());
    other.columns[3].name = "more".into();
    for (store, schema) in [(&then, people()), (&now, other)] {
        let mut txn = begin(store);
        tables::create(&mut txn, &schema).unwrap();
        txn.commit().unwrap();
    }
    let (mut old, mut new) = (begin(&then), begin(&now));
    let error = with((&mut old, &mut new), |one, other, _| compare(one, other, &ALL)).unwrap_err();
    assert_eq!(error.code, Code::SchemaInvalid, "{error}");
}

#[test]
fn long_values_are_compared_and_put_back_a_few_at_a_time() {
    let ((_, then), (_, now)) = (store(), store());
    for store in [&then, &now] {
        let mut txn = begin(store);
        tables::create(&mut txn, &people()).unwrap();
        txn.commit().unwrap();
    }
    let long = "x".repeat(1 << 20);
    let mut txn = begin(&then);
    let table = tables::open(&mut txn, "people").unwrap();
    for id in 0..12 {
        table.insert(&mut txn, person(id, &format!("{id} {long}"), 30)).unwrap();
    }
    txn.commit().unwrap();
    let (mut old, mut new) = (begin(&then), begin(&now));
    let (mut after, mut parts, mut filled) = (None::<Vec<u8>>, 0, 0);
    loop {
        let portion = Portion { after: after.as_deref(), ..ALL };
        let done = with((&mut old, &mut new), |one, other, table| {
            put_back(one, other, Some(table), Pass::Fill, &portion)
        })
        .unwrap();
        (parts, filled) = (parts + 1, filled + done.filled);
        match done.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(filled, 12);
    assert!(parts >= 3, "{parts}");
    assert_eq!(compared(&mut old, &mut new).same, 12);
}
