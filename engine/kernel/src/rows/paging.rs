//! Reading a table in order: by key or by an index, a page at a time.
//!
//! A position is what a reader keeps between pages: the keys of the entry and of the row, as
//! blobs. It stays good while rows come and go around it.

use std::ops::Bound;

use super::access::{KeyRange, Record, TreeAccess};
use super::key::{after_prefix, decode_all};
use super::table::Table;
use super::{Index, Row, Value, index};
use crate::error::{Error, Result};

/// Which rows to read. Bounds are values of the key, or of the columns of the index; they may
/// give the leading ones only.
#[derive(Clone, Debug)]
pub struct Page<'a> {
    /// The place of the index that orders the rows; the key where it is `None`.
    pub index: Option<usize>,
    pub after: Option<&'a [Value]>,
    /// The first row has at least these values.
    pub start: Option<&'a [Value]>,
    /// Every row comes before these values.
    pub stop: Option<&'a [Value]>,
    pub reverse: bool,
    pub limit: usize,
    /// Text and blobs are cut to so many bytes; zero for whole ones.
    pub cell_limit: usize,
}

impl Default for Page<'_> {
    fn default() -> Self {
        Page {
            index: None,
            after: None,
            start: None,
            stop: None,
            reverse: false,
            limit: 200,
            cell_limit: 0,
        }
    }
}

/// A row and where to go on after it.
pub type Placed = (Row, Row);

impl<T: Copy> Table<T> {
    /// One page of (position, row).
    pub fn page<A: TreeAccess<Tree = T>>(&self, access: &mut A, page: &Page<'_>) -> Result<Vec<Placed>> {
        match page.index {
            None => self.page_by_key(access, page),
            Some(place) => {
                let found = self.indexes().nth(place);
                let (index, tree) =
                    found.ok_or_else(|| Error::argument("index", "there is no such index"))?;
                self.page_by_index(access, page, index, tree)
            }
        }
    }

    /// Walks over one page without reading its rows: how many there were, and the last position.
    pub fn skip<A: TreeAccess<Tree = T>>(
        &self,
        access: &mut A,
        page: &Page<'_>,
    ) -> Result<(usize, Option<Row>)> {
        if page.index.is_some() {
            let placed = self.page(access, &Page { cell_limit: 1, ..page.clone() })?;
            let skipped = placed.len();
            return Ok((skipped, placed.into_iter().last().map(|(position, _)| position)));
        }
        let (mut skipped, mut last) = (0, None);
        self.scan_page(access, page, &mut |(key, _)| {
            (skipped, last) = (skipped + 1, Some(vec![Value::Blob(key)]));
            Ok(())
        })?;
        Ok((skipped, last))
    }

    /// The key of the row at a position.
    pub fn key_of(&self, position: &[Value]) -> Result<Row> {
        match position.last() {
            Some(Value::Blob(row_key)) => decode_all(row_key).map_err(|_| no_position()),
            _ => Err(no_position()),
        }
    }

    /// The key of the last row whose stored key lies below `bound`, or of the first one from it on.
    pub fn key_beside<A: TreeAccess<Tree = T>>(
        &self,
        access: &mut A,
        bound: Vec<u8>,
        before: bool,
    ) -> Result<Option<Row>> {
        let range = if before {
            key_range(None, Some(bound), true)
        } else {
            key_range(Some(bound), None, false)
        };
        let found = access.scan(self.tree, &range, 1)?.into_iter().next();
        found.map(|(key, _)| decode_all(&key)).transpose()
    }

    /// The rows whose indexed columns, or the leading ones of them, have these values.
    pub fn by_index<A: TreeAccess<Tree = T>>(
        &self,
        access: &mut A,
        place: usize,
        values: &Row,
    ) -> Result<Vec<Row>> {
        let found = self.indexes().nth(place);
        let (index, tree) = found.ok_or_else(|| Error::argument("index", "there is no such index"))?;
        check_prefix(values.len(), index.columns.len())?;
        let wanted = index::prefix_key(index, values);
        let visible = &wanted[..wanted.len().min(index::cut_at(access.max_key()))];
        let stop = after_prefix(visible).map_or(Bound::Unbounded, Bound::Excluded);
        let mut range = KeyRange { start: Bound::Included(visible.to_vec()), stop, reverse: false };
        let mut rows = Vec::new();
        loop {
            let records = access.scan(tree, &range, BATCH)?;
            let Some((last, _)) = records.last() else { return Ok(rows) };
            range.go_on_after(last.clone());
            for (key, value) in &records {
                let Some(bytes) = self.row_of_entry(access, index, key, value)? else { continue };
                let row = self.decode(&bytes)?;
                if visible.len() == wanted.len() || index::columns_key(index, &row).starts_with(&wanted)
                {
                    rows.push(row);
                }
            }
        }
    }

    fn page_by_key<A: TreeAccess<Tree = T>>(
        &self,
        access: &mut A,
        page: &Page<'_>,
    ) -> Result<Vec<Placed>> {
        let mut placed = Vec::new();
        self.scan_page(access, page, &mut |(key, bytes)| {
            placed.push((vec![Value::Blob(key)], self.decode_cut(&bytes, cell_limit(page))?));
            Ok(())
        })?;
        Ok(placed)
    }

    /// Shows `visit` the records of a page by key, of which few are held at a time.
    fn scan_page<A: TreeAccess<Tree = T>>(
        &self,
        access: &mut A,
        page: &Page<'_>,
        visit: &mut dyn FnMut(Record) -> Result<()>,
    ) -> Result<()> {
        let mut range = self.range_by_key(page)?;
        let mut left = page.limit;
        while left > 0 {
            let records = access.scan(self.tree, &range, left)?;
            let Some((last, _)) = records.last() else { break };
            range.go_on_after(last.clone());
            left -= records.len();
            records.into_iter().try_for_each(&mut *visit)?;
        }
        Ok(())
    }

    /// The keys that a page by key lies in.
    fn range_by_key(&self, page: &Page<'_>) -> Result<KeyRange> {
        let columns = self.schema.primary_key.len().max(1);
        let bound = |values: Option<&[Value]>| -> Result<Option<Vec<u8>>> {
            let Some(values) = values else { return Ok(None) };
            check_prefix(values.len(), columns)?;
            Ok(Some(self.encode_key_prefix(values)))
        };
        let mut range = key_range(bound(page.start)?, bound(page.stop)?, page.reverse);
        if let Some(position) = page.after {
            go_on_from(&mut range, position)?;
        }
        Ok(range)
    }

    fn page_by_index<A: TreeAccess<Tree = T>>(
        &self,
        access: &mut A,
        page: &Page<'_>,
        index: &Index,
        tree: T,
    ) -> Result<Vec<Placed>> {
        let bounds = Bounds::new(page, index, index::cut_at(access.max_key()))?;
        let mut range = bounds.range(page.reverse);
        if let Some(position) = page.after {
            go_on_from(&mut range, position)?;
        }
        let mut placed = Vec::new();
        while placed.len() < page.limit {
            let records = access.scan(tree, &range, page.limit - placed.len())?;
            let Some((last, _)) = records.last() else { break };
            range.go_on_after(last.clone());
            for (key, value) in records {
                let Some(bytes) = self.row_of_entry(access, index, &key, &value)? else { continue };
                if bounds.are_cut && !bounds.hold(&index::columns_key(index, &self.decode(&bytes)?)) {
                    continue;
                }
                let row_key = index::row_key(index, &key, &value)?.to_vec();
                let position = vec![Value::Blob(key), Value::Blob(row_key)];
                placed.push((position, self.decode_cut(&bytes, cell_limit(page))?));
            }
        }
        Ok(placed)
    }

    /// The row of an entry; none where it was removed after the entry was read, which below
    /// a snapshot may happen at any time. Entries without rows are looked for by the checker.
    fn row_of_entry<A: TreeAccess<Tree = T>>(
        &self,
        access: &mut A,
        index: &Index,
        key: &[u8],
        value: &[u8],
    ) -> Result<Option<Vec<u8>>> {
        access.get(self.tree, index::row_key(index, key, value)?)
    }
}

const BATCH: usize = 256;

/// The bounds of a page by index, in full, for rows whose entries were cut short.
struct Bounds {
    start: Option<Vec<u8>>,
    stop: Option<Vec<u8>>,
    cut: usize,
    are_cut: bool,
}

impl Bounds {
    fn new(page: &Page<'_>, index: &Index, cut: usize) -> Result<Self> {
        let bound = |values: Option<&[Value]>| -> Result<Option<Vec<u8>>> {
            let Some(values) = values else { return Ok(None) };
            check_prefix(values.len(), index.columns.len())?;
            Ok(Some(index::prefix_key(index, &values.to_vec())))
        };
        let (start, stop) = (bound(page.start)?, bound(page.stop)?);
        let is_long = |bound: &Option<Vec<u8>>| bound.as_ref().is_some_and(|bound| bound.len() > cut);
        let are_cut = is_long(&start) || is_long(&stop);
        Ok(Bounds { start, stop, cut, are_cut })
    }

    /// A range of entries that is wide enough for both bounds.
    fn range(&self, reverse: bool) -> KeyRange {
        let start = self.start.as_ref().map(|start| start[..start.len().min(self.cut)].to_vec());
        let mut range = key_range(start, self.stop.clone(), reverse);
        if let Some(stop) = self.stop.as_ref().filter(|stop| stop.len() > self.cut) {
            range.stop = after_prefix(&stop[..self.cut]).map_or(Bound::Unbounded, Bound::Excluded);
        }
        range
    }

    fn hold(&self, columns: &[u8]) -> bool {
        self.start.as_ref().is_none_or(|start| columns >= &start[..])
            && self.stop.as_ref().is_none_or(|stop| columns < &stop[..])
    }
}

fn key_range(start: Option<Vec<u8>>, stop: Option<Vec<u8>>, reverse: bool) -> KeyRange {
    KeyRange {
        start: start.map_or(Bound::Unbounded, Bound::Included),
        stop: stop.map_or(Bound::Unbounded, Bound::Excluded),
        reverse,
    }
}

fn go_on_from(range: &mut KeyRange, position: &[Value]) -> Result<()> {
    match position.first() {
        Some(Value::Blob(key)) => range.go_on_after(key.clone()),
        _ => return Err(no_position()),
    }
    Ok(())
}

fn check_prefix(given: usize, columns: usize) -> Result<()> {
    if (1..=columns).contains(&given) {
        return Ok(());
    }
    Err(Error::argument("key", format!("1 to {columns} values are needed, not {given}")))
}

fn cell_limit(page: &Page<'_>) -> usize {
    if page.cell_limit == 0 { usize::MAX } else { page.cell_limit }
}

fn no_position() -> Error {
    Error::argument("position", "this is no position that a page gave out")
}
