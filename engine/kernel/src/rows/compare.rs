//! Two databases side by side: what differs between a table then and now, and putting rows back.
//!
//! Both sides are read in the order of their keys, as bytes: equal bytes are equal rows, so that only
//! what differs is decoded. Putting back is done in two passes, so that no unique index ever sees a
//! row of now and a row of then that only change places: first what is to go goes, then what is
//! missing comes.

use std::cmp::Ordering;
use std::collections::VecDeque;

use super::access::{KeyRange, Record, TreeAccess};
use super::key::decode_all;
use super::record;
use super::schema::invalid;
use super::tables::OpenTable;
use super::{Row, Value};
use crate::error::Result;
use crate::txn::{Transaction, TreeRef};

/// How many records are read at once, and about how many bytes of them: where values are long, fewer.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 4 << 20;

/// One side of a comparison: a tree in a transaction of its database.
pub struct Side<'t> {
    pub txn: &'t mut Transaction,
    pub tree: TreeRef,
}

/// How much of a comparison to do.
#[derive(Clone, Copy, Debug)]
pub struct Portion<'k> {
    /// The last key that was looked at before.
    pub after: Option<&'k [u8]>,
    /// Stop once so many records were looked at.
    pub records: usize,
    /// Stop once so many differences were found, or [`BATCH_BYTES`] of them; they are handed out. None is,
    /// where it is 0.
    pub keep: usize,
}

/// A key whose value is another one then and now. One of both is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub key: Vec<u8>,
    pub then: Option<Vec<u8>>,
    pub now: Option<Vec<u8>>,
}

impl Difference {
    fn bytes(&self) -> usize {
        let bytes = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
        self.key.len() + bytes(&self.then) + bytes(&self.now)
    }
}

/// What a portion came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    pub same: u64,
    /// Since then.
    pub added: u64,
    pub changed: u64,
    pub removed: u64,
    pub found: Vec<Difference>,
    /// Where to go on after; `None` at the end.
    pub next: Option<Vec<u8>>,
}

impl Compared {
    fn count(&mut self, difference: &Difference) {
        match (&difference.then, &difference.now) {
            (None, _) => self.added += 1,
            (Some(_), None) => self.removed += 1,
            (Some(then), Some(now)) if then == now => self.same += 1,
            _ => self.changed += 1,
        }
    }
}

/// Reads one side ahead.
struct Reader {
    ahead: VecDeque<Record>,
    range: KeyRange,
    /// How many records to read next.
    batch: usize,
    is_over: bool,
}

impl Reader {
    fn after(key: Option<&[u8]>) -> Reader {
        let mut range = KeyRange::ALL;
        if let Some(key) = key {
            range.go_on_after(key.to_vec());
        }
        Reader { ahead: VecDeque::new(), range, batch: BATCH / 16, is_over: false }
    }

    fn fill(&mut self, side: &mut Side<'_>, records: usize) -> Result<()> {
        if !self.ahead.is_empty() || self.is_over {
            return Ok(());
        }
        let batch = TreeAccess::scan(side.txn, side.tree, &self.range, self.batch.min(records.max(1)))?;
        let bytes: usize = batch.iter().map(|(_, value)| value.len()).sum();
        self.batch =
            if bytes > BATCH_BYTES { (self.batch / 4).max(1) } else { BATCH.min(self.batch * 2) };
        match batch.last() {
            Some((key, _)) => self.range.go_on_after(key.clone()),
            None => self.is_over = true,
        }
        self.ahead.extend(batch);
        Ok(())
    }
}

/// Compares a portion of two trees.
pub fn compare(then: &mut Side<'_>, now: &mut Side<'_>, portion: &Portion<'_>) -> Result<Compared> {
    let (mut old, mut new) = (Reader::after(portion.after), Reader::after(portion.after));
    let mut done = Compared::default();
    let mut last = None;
    let (mut looked, mut kept) = (0, 0);
    while looked < portion.records
        && (portion.keep == 0 || done.found.len() < portion.keep && kept < BATCH_BYTES)
    {
        old.fill(then, portion.records)?;
        new.fill(now, portion.records)?;
        let Some(difference) = step(&mut old.ahead, &mut new.ahead) else { return Ok(done) };
        looked += 1;
        done.count(&difference);
        if portion.keep > 0 && difference.then != difference.now {
            last = Some(difference.key.clone());
            kept += difference.bytes();
            done.found.push(difference);
        } else {
            last = Some(difference.key);
        }
    }
    done.next = last;
    Ok(done)
}

/// The first key of both, with its values.
fn step(old: &mut VecDeque<Record>, new: &mut VecDeque<Record>) -> Option<Difference> {
    let order = match (old.front(), new.front()) {
        (None, None) => return None,
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (Some((one, _)), Some((other, _))) => one.cmp(other),
    };
    let then = if order.is_le() { old.pop_front() } else { None };
    let now = if order.is_ge() { new.pop_front() } else { None };
    let (then_key, then) = then.unzip();
    let (now_key, now) = now.unzip();
    Some(Difference { key: then_key.or(now_key)?, then, now })
}

/// Raises `SchemaInvalid` where rows of one table are none of the other.
pub fn ensure_alike(then: &OpenTable, now: &OpenTable) -> Result<()> {
    let is_alike =
        then.schema.columns == now.schema.columns && then.schema.primary_key == now.schema.primary_key;
    if is_alike {
        return Ok(());
    }
    Err(invalid(&now.schema.name, "its columns are other ones than they were at that point"))
}

/// The cells of a value, long ones cut; a value of a tree is a cell of its own.
pub fn cells(table: Option<&OpenTable>, value: &[u8], limit: usize) -> Result<Row> {
    match table {
        Some(table) => table.decode_cut(value, limit),
        None => Ok(vec![Value::Blob(value[..value.len().min(limit)].to_vec())]),
    }
}

/// The primary key in the bytes of a key, or those themselves where it is one of a tree.
pub fn key_cells(table: Option<&OpenTable>, key: &[u8]) -> Result<Row> {
    if table.is_some() { decode_all(key) } else { Ok(vec![Value::Blob(key.to_vec())]) }
}

/// What a pass of putting back does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Rows of now go that are in the way: changed ones, and added ones too where so said. Where neither
    /// is, it only counts.
    Clear { changed: bool, added: bool },
    /// Rows of then come that are not there now.
    Fill,
}

/// What a portion of a pass did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutBack {
    /// Changed rows that were cleared.
    pub cleared: u64,
    /// Added rows that were removed.
    pub removed: u64,
    pub filled: u64,
    /// Changed rows, rows added since and rows that are gone, all of which were left as they are.
    pub kept: u64,
    pub extra: u64,
    pub missing: u64,
    pub looked: u64,
    pub next: Option<Vec<u8>>,
}

/// Carries out a pass over a portion of a table (or of a tree, where there is no table).
pub fn put_back(
    then: &mut Side<'_>,
    now: &mut Side<'_>,
    table: Option<&OpenTable>,
    pass: Pass,
    portion: &Portion<'_>,
) -> Result<PutBack> {
    let compared = compare(then, now, &Portion { keep: BATCH, ..*portion })?;
    let looked = compared.same + compared.added + compared.changed + compared.removed;
    let mut done = PutBack { looked, next: compared.next.clone(), ..PutBack::default() };
    for difference in &compared.found {
        apply(now, table, pass, difference, &mut done)?;
    }
    Ok(done)
}

/// As [`put_back`], for these keys only.
pub fn put_back_keys(
    then: &mut Side<'_>,
    now: &mut Side<'_>,
    table: Option<&OpenTable>,
    pass: Pass,
    keys: &[Vec<u8>],
) -> Result<PutBack> {
    let mut done = PutBack { looked: keys.len() as u64, ..PutBack::default() };
    for key in keys {
        let difference = Difference {
            key: key.clone(),
            then: TreeAccess::get(then.txn, then.tree, key)?,
            now: TreeAccess::get(now.txn, now.tree, key)?,
        };
        if difference.then != difference.now {
            apply(now, table, pass, &difference, &mut done)?;
        }
    }
    Ok(done)
}

fn apply(
    now: &mut Side<'_>,
    table: Option<&OpenTable>,
    pass: Pass,
    difference: &Difference,
    done: &mut PutBack,
) -> Result<()> {
    let key = &difference.key;
    match (pass, &difference.then, &difference.now) {
        (Pass::Clear { changed: true, .. }, Some(_), Some(_)) => {
            remove(now, table, key)?;
            done.cleared += 1;
        }
        (Pass::Clear { added: true, .. }, None, Some(_)) => {
            remove(now, table, key)?;
            done.removed += 1;
        }
        (Pass::Clear { .. }, Some(_), Some(_)) => done.kept += 1,
        (Pass::Clear { .. }, None, Some(_)) => done.extra += 1,
        (Pass::Clear { .. }, Some(_), None) => done.missing += 1,
        (Pass::Fill, Some(value), None) => {
            fill(now, table, key, value)?;
            done.filled += 1;
        }
        _ => {}
    }
    Ok(())
}

fn remove(now: &mut Side<'_>, table: Option<&OpenTable>, key: &[u8]) -> Result<()> {
    match table {
        Some(table) => table.delete_at(now.txn, key).map(|_| ()),
        None => TreeAccess::delete(now.txn, now.tree, key).map(|_| ()),
    }
}

fn fill(now: &mut Side<'_>, table: Option<&OpenTable>, key: &[u8], value: &[u8]) -> Result<()> {
    match table {
        Some(table) => table.insert_at(now.txn, key, record::decode(value)?),
        None => TreeAccess::insert(now.txn, now.tree, key, value).map(|_| ()),
    }
}
