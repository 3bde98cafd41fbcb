//! Lazy, ordered iteration. A cursor keeps its last key and what it has read ahead; after a
//! change by its own transaction it reads again from that key on.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use super::cell::Cell;
use super::table::Handle as TableHandle;
use super::tree::Handle;
use super::value::{self, bytes};
use crate::error::Result;
use crate::rows::{Page, Row, Value};
use crate::txn::{Batch, Range, Records};

/// Records read ahead at first (many cursors are asked for one), and at most.
const FIRST_AHEAD: usize = 16;
const MOST_AHEAD: usize = 1024;
/// Large values are read ahead in fewer records, so that a batch stays near this size.
const AHEAD_BYTES: usize = 1 << 20;

/// What a step answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Yield {
    Keys,
    Values,
    Items,
}

/// One end of a range as it was given.
pub enum KeyBound {
    Absent,
    Open,
    At(Vec<u8>),
}

impl<'py> FromPyObject<'_, 'py> for KeyBound {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if object.is_none() {
            return Ok(KeyBound::Open);
        }
        let bytes = object.cast::<PyBytes>()?;
        Ok(KeyBound::At(bytes.as_bytes().to_vec()))
    }
}

/// The range of a cursor: `start <= key < stop`.
#[derive(Default)]
pub struct Bounds {
    start: Vec<u8>,
    stop: Option<Vec<u8>>,
    reverse: bool,
}

impl Bounds {
    /// Everything, from the end.
    pub fn backward() -> Bounds {
        Bounds { reverse: true, ..Bounds::default() }
    }

    /// `None` leaves an end open where both are named. Alone it is refused, as by other
    /// mappings: it stands for a variable that was never set.
    pub fn new(start: KeyBound, stop: KeyBound, reverse: bool) -> PyResult<Bounds> {
        if matches!((&start, &stop), (KeyBound::Open, KeyBound::Absent)) {
            return Err(PyTypeError::new_err("start must be bytes; leave it out for all keys"));
        }
        let at = |bound| if let KeyBound::At(key) = bound { Some(key) } else { None };
        Ok(Bounds { start: at(start).unwrap_or_default(), stop: at(stop), reverse })
    }
}

type Pair = (Vec<u8>, Vec<u8>);

struct Ahead {
    range: Range,
    records: Records,
    /// So many of them have been given.
    given: usize,
    /// Where the next batch begins; `None` before the first.
    next: Option<Vec<u8>>,
    /// The last key given of the batches before.
    last: Option<Vec<u8>>,
    /// Nothing lies beyond what was read ahead.
    is_at_end: bool,
    /// Its end was told: it stays there, whatever is added later.
    is_over: bool,
    changes: u64,
    amount: usize,
}

#[pyclass(frozen, module = "engine._kernel")]
pub struct Cursor {
    handle: Arc<Handle>,
    yields: Yield,
    /// Only tried: a cursor belongs to the thread that uses its transaction.
    ahead: Mutex<Ahead>,
}

/// Refuses to go on with what was read ahead where the transaction would refuse to read more.
fn ensure_going(py: Python<'_>, cell: &Cell) -> PyResult<()> {
    if cell.may_go_on() { Ok(()) } else { cell.run(py, |txn| txn.ensure_usable()) }
}

impl Cursor {
    pub(crate) fn new(handle: Arc<Handle>, bounds: Bounds, yields: Yield) -> Cursor {
        let Bounds { start, stop, reverse } = bounds;
        let changes = handle.cell.changes();
        let ahead = Ahead {
            range: Range { start, stop, reverse, keys_only: yields == Yield::Keys },
            records: Records::default(),
            given: 0,
            next: None,
            last: None,
            is_at_end: false,
            is_over: false,
            changes,
            amount: FIRST_AHEAD,
        };
        Cursor { handle, yields, ahead: Mutex::new(ahead) }
    }

    pub(crate) fn next_pair(&self, py: Python<'_>) -> PyResult<Option<Pair>> {
        self.next_with(py, |key, value| (key.to_vec(), value.to_vec()))
    }

    /// What `take` makes of the next record. It is called while the cursor is held: of Python it
    /// may make bytes only, of which no code of others ever runs.
    fn next_with<T>(&self, py: Python<'_>, take: impl FnOnce(&[u8], &[u8]) -> T) -> PyResult<Option<T>> {
        let handle = &self.handle;
        let mut ahead = self.ahead.try_lock().ok_or_else(|| handle.cell.busy())?;
        let ahead = &mut *ahead;
        ahead.notice(handle.cell.changes());
        ensure_going(py, &handle.cell)?;
        if ahead.given == ahead.records.len() && !ahead.is_at_end && !ahead.is_over {
            handle.cell.run(py, |txn| {
                let at = handle.resolve(txn)?;
                ahead.fetch(|range, from, limit| txn.scan(at, range, from, limit))
            })?;
        }
        let Some((key, value)) = ahead.records.get(ahead.given) else {
            ahead.is_over = true;
            return Ok(None);
        };
        ahead.given += 1;
        Ok(Some(take(key, value)))
    }
}

impl Ahead {
    /// Drops what was read ahead where the transaction has changed something since.
    fn notice(&mut self, changes: u64) {
        if self.changes == changes {
            return;
        }
        self.changes = changes;
        self.put_away(Records::default());
        self.amount = FIRST_AHEAD;
        self.is_at_end = false;
        self.next = self.last.clone().map(|mut last| {
            if !self.range.reverse {
                last.push(0);
            }
            last
        });
    }

    /// Goes over to other records.
    fn put_away(&mut self, records: Records) {
        let last = self.given.checked_sub(1).and_then(|last| self.records.get(last));
        if let Some((key, _)) = last {
            self.last = Some(key.to_vec());
        }
        self.records = records;
        self.given = 0;
    }

    fn fetch(
        &mut self,
        mut scan: impl FnMut(&Range, Option<&[u8]>, usize) -> Result<Batch>,
    ) -> Result<()> {
        let batch = scan(&self.range, self.next.as_deref(), self.amount)?;
        let bytes = batch.records.size_bytes();
        self.amount = if bytes > AHEAD_BYTES {
            (batch.records.len() * AHEAD_BYTES / bytes).max(1)
        } else {
            (4 * self.amount).min(MOST_AHEAD)
        };
        self.put_away(batch.records);
        self.is_at_end = batch.next.is_none();
        self.next = batch.next;
        Ok(())
    }
}

#[pymethods]
impl Cursor {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.yields {
            Yield::Keys => Ok(self.next_with(py, |key, _| PyBytes::new(py, key))?.map(Bound::into_any)),
            Yield::Values => {
                let value = self.next_with(py, |_, value| bytes(py, value))?;
                Ok(value.transpose()?.map(Bound::into_any))
            }
            Yield::Items => {
                let pair =
                    |key: &[u8], value: &[u8]| PyResult::Ok([PyBytes::new(py, key), bytes(py, value)?]);
                let pair = self.next_with(py, pair)?.transpose()?;
                pair.map(|pair| PyTuple::new(py, pair).map(Bound::into_any)).transpose()
            }
        }
    }
}

/// Rows read ahead at most.
const MOST_ROWS: usize = 256;

struct RowsAhead {
    rows: VecDeque<(Row, Row)>,
    last: Option<Row>,
    is_over: bool,
    changes: u64,
    amount: usize,
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
        let ahead = RowsAhead {
            rows: VecDeque::new(),
            last: None,
            is_over: false,
            changes,
            amount: FIRST_AHEAD,
        };
        RowCursor { table, start, stop, reverse, ahead: Mutex::new(ahead) }
    }

    fn cell(&self) -> &Cell {
        &self.table.cell
    }

    fn fetch(&self, py: Python<'_>, ahead: &mut RowsAhead) -> PyResult<()> {
        self.cell().run(py, |txn| {
            let table = self.table.resolve(txn)?;
            let rows = table.page(
                txn,
                &Page {
                    after: ahead.last.as_deref(),
                    start: self.start.as_deref(),
                    stop: self.stop.as_deref(),
                    reverse: self.reverse,
                    limit: ahead.amount,
                    ..Page::default()
                },
            )?;
            ahead.amount = (4 * ahead.amount).min(MOST_ROWS);
            ahead.rows = rows.into();
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
        let mut ahead = self.ahead.try_lock().ok_or_else(|| self.cell().busy())?;
        let ahead = &mut *ahead;
        let changes = self.cell().changes();
        if ahead.changes != changes {
            ahead.changes = changes;
            ahead.rows.clear();
            ahead.amount = FIRST_AHEAD;
        }
        ensure_going(py, self.cell())?;
        if ahead.rows.is_empty() && !ahead.is_over {
            self.fetch(py, ahead)?;
        }
        let Some((position, row)) = ahead.rows.pop_front() else {
            ahead.is_over = true;
            return Ok(None);
        };
        ahead.last = Some(position);
        value::row_to_python(py, &row).map(Some)
    }
}
