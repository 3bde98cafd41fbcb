//! Figures of a running store as dictionaries. They are taken without the interpreter's lock.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::open::OpenStore;
use super::value::field;
use crate::checkpoint::CheckpointStatus;
use crate::error::{Error, Field};
use crate::events::Event;
use crate::lock::{Edge, LockCounters, LockInfo};
use crate::log::{LogStatus, SyncMode};
use crate::stats::Latency;
use crate::store::RecoveryStanding;
use crate::sync::{Arc, Ordering};
use crate::txn::TxnState;
use crate::types::{Lsn, TxnId};

/// Builds a dictionary from name and value pairs.
macro_rules! dict {
    ($py:expr, { $($name:literal : $value:expr),* $(,)? }) => {{
        let dict = pyo3::types::PyDict::new($py);
        $(dict.set_item(pyo3::intern!($py, $name), $value)?;)*
        dict
    }};
}
pub(crate) use dict;

fn sync_mode_name(mode: SyncMode) -> &'static str {
    match mode {
        SyncMode::Durable => "durable",
        SyncMode::Interval(_) => "interval",
        SyncMode::Off => "off",
    }
}

/// Microseconds since the Unix epoch as seconds.
pub(crate) fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

/// One sample of a store, taken without the interpreter's lock.
pub struct Sample {
    failure: Option<Error>,
    is_closed: bool,
    read_only: bool,
    is_halted: bool,
    page_size: usize,
    pages: u64,
    free_pages: u64,
    splits: u64,
    log: LogStatus,
    keep_from: (Lsn, String),
    checkpoint: CheckpointStatus,
    redo_bytes: u64,
    frames: usize,
    usage: (usize, usize),
    cache: [u64; 4],
    counters: Vec<(&'static str, u64)>,
    active: Vec<Arc<TxnState>>,
    locks: LockCounters,
    latencies: Vec<(&'static str, Latency)>,
    recovery: Option<RecoveryStanding>,
}

impl Sample {
    pub fn take(open: &OpenStore) -> Sample {
        let shared = open.shared();
        let (pool, log) = (&shared.core.pool, &shared.core.log);
        let checkpoint = open.store.checkpointer().status();
        let pages = u64::from(pool.file_pages());
        let counted = |counter: &crate::sync::AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &pool.counters;
        Sample {
            failure: log.failed(),
            is_closed: open.is_closed(),
            read_only: shared.read_only.load(Ordering::Relaxed),
            is_halted: shared.halt.is_on(),
            page_size: pool.page_size(),
            pages,
            free_pages: pages.saturating_sub(shared.core.space.used_pages()),
            splits: counted(&shared.core.splits),
            log: log.status(),
            keep_from: open.store.checkpointer().keep_from(shared, checkpoint.redo_lsn),
            checkpoint,
            redo_bytes: redo_bytes(open, &checkpoint),
            frames: pool.frame_count(),
            usage: pool.usage(),
            cache: [&counters.hits, &counters.misses, &counters.evictions, &counters.pages_written]
                .map(counted),
            counters: shared.stats.counters(),
            active: shared.txns.active(),
            locks: shared.locks.counters(),
            latencies: shared.stats.latencies(),
            recovery: open.store.recovery(),
        }
    }

    /// The dictionary of `Store.status`.
    pub fn tell<'py>(&self, py: Python<'py>, open: &OpenStore) -> PyResult<Bound<'py, PyDict>> {
        let state = match (&self.failure, self.is_closed) {
            (_, true) => "closed",
            (Some(_), false) => "failed",
            (None, false) => "open",
        };
        let latency = PyDict::new(py);
        for (name, figures) in &self.latencies {
            latency.set_item(name, latency_dict(py, figures)?)?;
        }
        latency.set_item("sync", latency_dict(py, &self.log.sync_latency)?)?;
        Ok(dict!(py, {
            "state": state,
            "reason": self.failure.as_ref().map(reason),
            "read_only": self.read_only,
            "halted": self.is_halted,
            "page_size": self.page_size,
            "pages": self.pages,
            "free_pages": self.free_pages,
            "splits": self.splits,
            "log": self.log(py, open)?,
            "checkpoint": checkpoint_dict(py, &self.checkpoint, self.redo_bytes)?,
            "cache": self.cache(py)?,
            "transactions": self.transactions(py)?,
            "locks": dict!(py, { "waiters": self.locks.waiting_now, "timeouts": self.locks.timeouts }),
            "latency": latency,
            "recovery": self.recovery.as_ref().map(|recovery| recovery_dict(py, recovery)).transpose()?,
        }))
    }

    fn log<'py>(&self, py: Python<'py>, open: &OpenStore) -> PyResult<Bound<'py, PyDict>> {
        let log = &self.log;
        Ok(dict!(py, {
            "last_lsn": log.end.0,
            "durable_lsn": log.durable.0,
            "bytes_total": log.segment_bytes,
            "segments": log.segments,
            "segment_bytes": open.log_options.segment_bytes,
            "entries_written": log.entries,
            "bytes_written": log.bytes,
            "syncs": log.syncs,
            "rotations": log.rotations,
            "sync_mode": sync_mode_name(open.log_options.sync_mode),
            "truncation_lsn": self.keep_from.0.0,
            "pinned_by": &self.keep_from.1,
            "groups": log.groups,
            "group_bytes": log.group_bytes,
            "incarnation": log.incarnation.0,
        }))
    }

    fn cache<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let [hits, misses, evictions, pages_written] = self.cache;
        Ok(dict!(py, {
            "frames": self.frames,
            "used": self.usage.0,
            "dirty": self.usage.1,
            "hits": hits,
            "misses": misses,
            "evictions": evictions,
            "pages_written": pages_written,
        }))
    }

    fn transactions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let oldest = self.active.iter().map(|txn| txn.began.elapsed().as_secs_f64()).fold(0.0, f64::max);
        let dict = dict!(py, { "active": self.active.len(), "oldest_age_s": oldest });
        for (name, count) in &self.counters {
            dict.set_item(name, count)?;
        }
        Ok(dict)
    }
}

fn recovery_dict<'py>(py: Python<'py>, recovery: &RecoveryStanding) -> PyResult<Bound<'py, PyDict>> {
    let standing = &recovery.standing;
    let damaged = PyList::empty(py);
    for (page, error) in &standing.damaged {
        damaged.append(dict!(py, { "page": page.0, "reason": reason(error) }))?;
    }
    Ok(dict!(py, {
        "stage": recovery.stage,
        "pages": standing.pages,
        "pages_left": standing.pages_left,
        "losers": standing.losers,
        "losers_left": standing.losers_left,
        "damaged": damaged,
        "log_bytes": standing.log_bytes,
        "applied": standing.applied,
        "seconds": recovery.seconds,
        "problems": recovery.problems,
        "segments_validated": recovery.segments.0,
        "segments": recovery.segments.1,
        "checking": recovery.checking.0,
        "check_unit": recovery.checking.1,
        "check_done": recovery.checking.2,
        "check_total": recovery.checking.3,
    }))
}

/// The log that a recovery would have to read if the power failed now.
pub fn redo_bytes(open: &OpenStore, last: &CheckpointStatus) -> u64 {
    let core = &open.shared().core;
    let end = core.log.end();
    let dirty_since = core.pool.dirty_since().ok().flatten().unwrap_or(end);
    end.0.saturating_sub(dirty_since.min(last.redo_lsn.max(last.lsn)).0)
}

/// Why a store takes no more changes: what failed, not that something did.
fn reason(failure: &Error) -> String {
    match failure.field("reason") {
        Some(Field::Text(reason)) => reason.clone(),
        _ => failure.to_string(),
    }
}

pub fn latency_dict<'py>(py: Python<'py>, figures: &Latency) -> PyResult<Bound<'py, PyDict>> {
    let Latency { count, p50_us, p99_us, max_us } = *figures;
    Ok(dict!(py, { "count": count, "p50_us": p50_us, "p99_us": p99_us, "max_us": max_us }))
}

pub fn checkpoint_dict<'py>(
    py: Python<'py>,
    status: &CheckpointStatus,
    redo_bytes: u64,
) -> PyResult<Bound<'py, PyDict>> {
    Ok(dict!(py, {
        "lsn": status.lsn.0,
        "redo_lsn": status.redo_lsn.0,
        "at": seconds(status.at),
        "count": status.count,
        "last_pages": status.pages,
        "last_duration_s": status.duration.as_secs_f64(),
        "redo_bytes": redo_bytes,
        "due_bytes": status.due_bytes,
    }))
}

/// A running transaction, with what the lock table says of it.
pub struct Running {
    state: Arc<TxnState>,
    status: &'static str,
    locks: usize,
    waiting_for: Option<TxnId>,
}

pub fn running(open: &OpenStore) -> Vec<Running> {
    let shared = open.shared();
    let look = |state: Arc<TxnState>| Running {
        status: match state.status() {
            crate::txn::Status::Active if state.is_condemned() => "doomed",
            status => status.name(),
        },
        locks: shared.locks.count(state.id),
        waiting_for: shared.locks.waiting_for(state.id),
        state,
    };
    shared.txns.active().into_iter().map(look).collect()
}

impl Running {
    pub fn tell<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let state = &self.state;
        Ok(dict!(py, {
            "id": state.id.0,
            "started_at": seconds(state.started_at),
            "age_s": state.began.elapsed().as_secs_f64(),
            "isolation": state.isolation.name(),
            "status": self.status,
            "changes": state.changes.load(Ordering::Relaxed),
            "log_bytes": state.log_bytes.load(Ordering::Relaxed),
            "locks": self.locks,
            "waiting_for": self.waiting_for.map(|txn| txn.0),
            "first_lsn": state.first_lsn().0,
            "undo_bytes": state.undo_reserved.load(Ordering::Relaxed),
        }))
    }
}

pub fn lock_dict<'py>(py: Python<'py>, info: &LockInfo) -> PyResult<Bound<'py, PyDict>> {
    let waiters = PyList::empty(py);
    for waiter in &info.waiters {
        waiters.append(dict!(py, {
            "txn": waiter.txn.0,
            "mode": waiter.mode.name(),
            "since_s": waiter.since.as_secs_f64(),
        }))?;
    }
    Ok(dict!(py, {
        "resource": info.resource.to_string(),
        "mode": info.mode.name(),
        "holders": info.holders.iter().map(|(txn, _)| txn.0).collect::<Vec<_>>(),
        "waiters": waiters,
        "since_s": info.since.as_secs_f64(),
    }))
}

pub fn edge_dict<'py>(py: Python<'py>, edge: &Edge) -> PyResult<Bound<'py, PyDict>> {
    Ok(dict!(py, {
        "waiter": edge.waiter.0,
        "holder": edge.holder.0,
        "resource": edge.resource.to_string(),
        "mode": edge.mode.name(),
        "since_s": edge.since.as_secs_f64(),
    }))
}

pub fn event_dict<'py>(py: Python<'py>, event: &Event) -> PyResult<Bound<'py, PyDict>> {
    let dict = dict!(py, { "kind": event.kind, "at": seconds(event.at) });
    for (name, value) in &event.fields {
        dict.set_item(name, field(py, value)?)?;
    }
    Ok(dict)
}
