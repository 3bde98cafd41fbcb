//! The operations of a schedule, as words: what each does, and its answer as text.
//!
//! `get x`, `put x 1`, `delete x`; `rows`, `back` (descending), `first` (at most one row), each
//! with a range `a..m` or open at either end; `count`; `raise 10` adds to every value, `drop 20`
//! removes the rows of that value; `fill b 300` puts rows b0000 to b0299, `clear b` removes them;
//! `try x 1` is a put that may time out, `again rows` is tried until it does not; `trees`, `make new`; `savepoint`, `rewind`; `find`, `insert`, `paint`, `remove` work
//! on a table of numbers and colours that is indexed by colour; `begin`, `commit`, `abort`.

use _kernel::error::{Code, Error, Result};
use _kernel::rows::{Page, Value, tables};
use _kernel::txn::{CatalogueKind, Range, Transaction, TreeRef};

/// Text of a read that found nothing.
const NOTHING: &str = "-";

/// True where the answer says something of what is stored.
pub fn is_read(operation: &str) -> bool {
    ["get", "delete", "rows", "back", "first", "count", "find", "try", "again", "trees"]
        .contains(&operation.split(' ').next().unwrap())
}

pub fn perform(txn: &mut Transaction, operation: &str) -> Result<String> {
    let words: Vec<&str> = operation.split(' ').collect();
    match words[..] {
        ["begin"] => Ok(String::new()),
        ["commit"] => txn.commit().map(|_| String::new()),
        ["abort"] => txn.abort().map(|()| String::new()),
        ["savepoint"] => txn.savepoint("here").map(|()| String::new()),
        ["rewind"] => txn.rollback_to("here").map(|()| String::new()),
        ["again", ..] => loop {
            match perform(txn, &words[1..].join(" ")) {
                Err(error) if error.code == Code::LockTimeout => {}
                done => return done,
            }
        },
        ["trees"] => {
            let trees = txn.catalogue(CatalogueKind::Tree)?;
            Ok(trees.into_iter().map(|entry| entry.name).collect::<Vec<_>>().join(" "))
        }
        ["make", name] => txn.tree(name, true).map(|_| String::new()),
        ["find" | "insert" | "paint" | "remove", ..] => on_table(txn, &words),
        _ => on_tree(txn, &words),
    }
}

pub fn tree(txn: &mut Transaction) -> Result<TreeRef> {
    txn.tree("t", false)?.ok_or_else(|| Error::internal("the tree of the test is missing"))
}

fn on_tree(txn: &mut Transaction, words: &[&str]) -> Result<String> {
    let at = tree(txn)?;
    let nothing = Ok(String::new());
    match words[..] {
        ["get", key] => Ok(txn.get(at, key.as_bytes())?.map_or(NOTHING.to_owned(), text)),
        ["put", key, value] => txn.put(at, key.as_bytes(), value.as_bytes()).and(nothing),
        ["delete", key] => Ok(if txn.delete(at, key.as_bytes())? { "gone" } else { NOTHING }.to_owned()),
        ["try", key, value] => match txn.put(at, key.as_bytes(), value.as_bytes()) {
            Err(error) if error.code == Code::LockTimeout => Ok("lock timeout".to_owned()),
            done => done.and(nothing),
        },
        ["fill", name, count] => {
            let key = |number| format!("{name}{number:04}").into_bytes();
            (0..number(count)).try_for_each(|n| txn.put(at, &key(n), &[b'.'; 60]).map(|_| ()))?;
            nothing
        }
        ["clear", name] => {
            let stop = format!("{name}:").into_bytes();
            let range = Range { start: name.into(), stop: Some(stop), ..Range::default() };
            let gone = rows(txn, at, &range, usize::MAX)?;
            gone.iter().try_for_each(|(key, _)| txn.delete(at, key).map(|_| ()))?;
            nothing
        }
        ["count"] => txn.count(at).map(|count| count.to_string()),
        ["rows", ref range @ ..] => Ok(tell(&rows(txn, at, &bounds(range, false), usize::MAX)?)),
        ["back", ref range @ ..] => Ok(tell(&rows(txn, at, &bounds(range, true), usize::MAX)?)),
        ["first", ref range @ ..] => Ok(tell(&rows(txn, at, &bounds(range, false), 1)?)),
        ["raise", by] => change_rows(txn, at, |value| Some(value + number(by))).and(nothing),
        ["drop", gone] => {
            change_rows(txn, at, |value| (value != number(gone)).then_some(value)).and(nothing)
        }
        _ => panic!("there is no operation {words:?}"),
    }
}

/// Changes every row whose value `change` changes, or removes it.
fn change_rows(txn: &mut Transaction, at: TreeRef, change: impl Fn(i64) -> Option<i64>) -> Result<()> {
    for (key, value) in rows(txn, at, &Range::default(), usize::MAX)? {
        let value = number(&text(value));
        match change(value) {
            Some(same) if same == value => {}
            Some(other) => txn.put(at, &key, other.to_string().as_bytes()).map(|_| ())?,
            None => txn.delete(at, &key).map(|_| ())?,
        }
    }
    Ok(())
}

fn on_table(txn: &mut Transaction, words: &[&str]) -> Result<String> {
    let table = tables::open(txn, "colours")?;
    let nothing = Ok(String::new());
    match words[..] {
        ["find", colour] => {
            let rows = table.by_index(txn, 0, &vec![Value::from(colour)])?;
            let mut numbers: Vec<String> = rows.iter().map(|row| shown(&row[0])).collect();
            numbers.sort();
            Ok(numbers.join(" "))
        }
        ["find", "from", colour] => {
            let start = [Value::from(colour)];
            let page = Page { index: Some(0), start: Some(&start), ..Page::default() };
            let rows = table.page(txn, &page)?;
            Ok(rows.iter().map(|(_, row)| shown(&row[0])).collect::<Vec<_>>().join(" "))
        }
        ["insert", id, colour] => {
            table.insert(txn, vec![Value::Integer(number(id)), colour.into()]).and(nothing)
        }
        ["paint", id, colour] => {
            table.update(txn, &[Value::Integer(number(id))], &[(1, colour.into())]).and(nothing)
        }
        ["remove", id] => table.delete(txn, &[Value::Integer(number(id))]).and(nothing),
        _ => panic!("there is no operation {words:?}"),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Integer(number) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn number(text: &str) -> i64 {
    text.parse().unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn bounds(range: &[&str], reverse: bool) -> Range {
    let (start, stop) = range.first().map_or(("", ""), |range| range.split_once("..").unwrap());
    let stop = (!stop.is_empty()).then(|| stop.as_bytes().to_vec());
    Range { start: start.as_bytes().to_vec(), stop, reverse, keys_only: false }
}

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

pub fn rows(txn: &mut Transaction, at: TreeRef, range: &Range, limit: usize) -> Result<Rows> {
    let (mut rows, mut from) = (Vec::new(), None);
    while rows.len() < limit {
        let batch = txn.scan(at, range, from.as_deref(), limit - rows.len())?;
        rows.extend(batch.records);
        match batch.next {
            Some(next) => from = Some(next),
            None => break,
        }
    }
    Ok(rows)
}

pub fn tell(rows: &Rows) -> String {
    let told = rows.iter().map(|(key, value)| format!("{}={}", text(key.clone()), text(value.clone())));
    told.collect::<Vec<_>>().join(" ")
}
