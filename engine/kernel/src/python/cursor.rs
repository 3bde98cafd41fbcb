//! Lazy, ordered iteration. A cursor keeps its last key and what it has read ahead; after a
//! change by its own transaction it reads again from that key on.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use super::cell::Cell;
use super::table::Handle as TableHandle;
use super::tree::Handle;
use super::value;
use crate::error::Result;
use crate::rows::{Page, Row, Value};
use crate::txn::Range;

/// Records read ahead at first, and at most.
const FIRST_AHEAD: usize = 32;
const MOST_AHEAD: usize = 1024;

/// What a step answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Yield {
    Keys,
    Values,
    Items,
}

type Pair = (Vec<u8>, Vec<u8>);

struct Ahead {
    range: Range,
    records: VecDeque<Pair>,
    /// Where the next batch begins; `None` before the first.
    next: Option<Vec<u8>>,
    last: Option<Vec<u8>>,
    is_over: bool,
    changes: u64,
    amount: usize,
}

#[pyclass(frozen, module = "engine._kernel")]
pub struct Cursor {
    handle: Arc<Handle>,
    yields: Yield,
    ahead: Mutex<Ahead>,
}

impl Cursor {
    pub(crate) fn new(
        handle: Arc<Handle>,
        start: Option<Vec<u8>>,
        stop: Option<Vec<u8>>,
        reverse: bool,
        yields: Yield,
    ) -> Cursor {
        let range =
            Range { start: start.unwrap_or_default(), stop, reverse, keys_only: yields == Yield::Keys };
        let changes = handle.cell.changes();
        let ahead = Ahead {
            range,
            records: VecDeque::new(),
            next: None,
            last: None,
            is_over: false,
            changes,
            amount: FIRST_AHEAD,
        };
        Cursor { handle, yields, ahead: Mutex::new(ahead) }
    }

    pub(crate) fn next_pair(&self, py: Python<'_>) -> PyResult<Option<Pair>> {
        let needs_more = {
            let mut ahead = self.ahead.lock();
            ahead.notice(self.handle.cell.changes());
            ahead.records.is_empty() && !ahead.is_over
        };
        if needs_more {
            let handle = &self.handle;
            handle.cell.run(py, |txn| {
                let at = handle.resolve(txn)?;
                self.ahead.lock().fetch(|range, from, limit| txn.scan(at, range, from, limit))
            })?;
        } else {
            // The end of the transaction is noticed also where records are left.
            self.handle.cell.attempt(py, |txn| Some(txn.ensure_usable()))?;
        }
        let mut ahead = self.ahead.lock();
        let pair = ahead.records.pop_front();
        if let Some((key, _)) = &pair {
            ahead.last = Some(key.clone());
        }
        Ok(pair)
    }
}

impl Ahead {
    /// Drops what was read ahead where the transaction has changed something since.
    fn notice(&mut self, changes: u64) {
        if self.changes == changes {
            return;
        }
        self.changes = changes;
        self.records.clear();
        self.amount = FIRST_AHEAD;
        if let Some(last) = &self.last {
            let mut from = last.clone();
            if !self.range.reverse {
                from.push(0);
            }
            self.next = Some(from);
            self.is_over = false;
        } else {
            self.next = None;
        }
    }

    fn fetch(
        &mut self,
        mut scan: impl FnMut(&Range, Option<&[u8]>, usize) -> Result<crate::txn::Batch>,
    ) -> Result<()> {
        while self.records.len() < self.amount && !self.is_over {
            let batch = scan(&self.range, self.next.as_deref(), self.amount)?;
            self.records.extend(batch.records);
            self.is_over = batch.next.is_none();
            self.next = batch.next;
        }
        self.amount = (2 * self.amount).min(MOST_AHEAD);
        Ok(())
    }
}

#[pymethods]
impl Cursor {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some((key, value)) = self.next_pair(py)? else { return Ok(None) };
        Ok(Some(match self.yields {
            Yield::Keys => PyBytes::new(py, &key).into_any(),
            Yield::Values => PyBytes::new(py, &value).into_any(),
            Yield::Items => {
                PyTuple::new(py, [PyBytes::new(py, &key), PyBytes::new(py, &value)])?.into_any()
            }
        }))
    }
}

struct RowsAhead {
    rows: VecDeque<(Row, Row)>,
    last: Option<Row>,
    is_over: bool,
    changes: u64,
}

/// Rows of a table by primary key.
#[pyclass(frozen, module = "engine._kernel")]
pub struct RowCursor {
    table: Arc<TableHandle>,
    start: Option<Vec<Value>>,
    stop: Option<Vec<Value>>,
    reverse: bool,
    ahead: Mutex<RowsAhead>,
}

impl RowCursor {
    pub(crate) fn new(
        table: Arc<TableHandle>,
        start: Option<Vec<Value>>,
        stop: Option<Vec<Value>>,
        reverse: bool,
    ) -> RowCursor {
        let changes = table.cell.changes();
        let ahead = RowsAhead { rows: VecDeque::new(), last: None, is_over: false, changes };
        RowCursor { table, start, stop, reverse, ahead: Mutex::new(ahead) }
    }

    fn cell(&self) -> &Cell {
        &self.table.cell
    }

    fn fetch(&self, py: Python<'_>) -> PyResult<()> {
        self.cell().run(py, |txn| {
            let table = self.table.resolve(txn)?;
            let mut ahead = self.ahead.lock();
            let rows = table.page(
                txn,
                &Page {
                    after: ahead.last.as_deref(),
                    start: self.start.as_deref(),
                    stop: self.stop.as_deref(),
                    reverse: self.reverse,
                    limit: MOST_AHEAD / 2,
                    ..Page::default()
                },
            )?;
            ahead.is_over = rows.is_empty();
            ahead.rows.extend(rows);
            Ok(())
        })
    }
}

#[pymethods]
impl RowCursor {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let needs_more = {
            let mut ahead = self.ahead.lock();
            let changes = self.cell().changes();
            if ahead.changes != changes {
                ahead.changes = changes;
                ahead.rows.clear();
                ahead.is_over = false;
            }
            ahead.rows.is_empty() && !ahead.is_over
        };
        if needs_more {
            self.fetch(py)?;
        } else {
            self.cell().attempt(py, |txn| Some(txn.ensure_usable()))?;
        }
        let next = {
            let mut ahead = self.ahead.lock();
            let next = ahead.rows.pop_front();
            if let Some((position, _)) = &next {
                ahead.last = Some(position.clone());
            }
            next
        };
        next.map(|(_, row)| value::row_to_python(py, &row)).transpose()
    }
}
