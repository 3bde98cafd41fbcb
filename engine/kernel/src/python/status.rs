//! Figures of a running store as dictionaries. Nothing here takes a lock that work waits for.

use std::sync::atomic::Ordering;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::error::Field;
use crate::events::Event;
use crate::log::SyncMode;
use crate::stats::Counter;
use crate::store::Store;

/// Builds a dictionary from name and value pairs.
macro_rules! dict {
    ($py:expr, { $($name:literal : $value:expr),* $(,)? }) => {{
        let dict = PyDict::new($py);
        $(dict.set_item($name, $value)?;)*
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

fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

pub(crate) fn status<'py>(
    py: Python<'py>,
    store: &Store,
    sync_mode: SyncMode,
    is_closed: bool,
) -> PyResult<Bound<'py, PyDict>> {
    let shared = store.shared();
    let failed = shared.core.log.failed();
    let state = if is_closed {
        "closed"
    } else if failed.is_some() {
        "failed"
    } else {
        "open"
    };
    let pages = u64::from(shared.core.pool.file_pages());
    let latency = PyDict::new(py);
    for (name, figures) in shared.stats.latencies() {
        let item = dict!(py, {
            "count": figures.count, "p50_us": figures.p50_us, "p99_us": figures.p99_us, "max_us": figures.max_us,
        });
        latency.set_item(name, item)?;
    }
    let locks = shared.locks.counters();
    let sync = shared.core.log.status().sync_latency;
    latency.set_item(
        "sync",
        dict!(py, {
            "count": sync.count, "p50_us": sync.p50_us, "p99_us": sync.p99_us, "max_us": sync.max_us,
        }),
    )?;
    Ok(dict!(py, {
        "state": state,
        "reason": failed.map(|error| error.to_string()),
        "read_only": shared.read_only.load(Ordering::Relaxed),
        "page_size": store.page_size(),
        "pages": pages,
        "free_pages": pages.saturating_sub(shared.core.space.used_pages()),
        "log": log(py, store, sync_mode)?,
        "checkpoint": checkpoint(py, store)?,
        "cache": cache(py, store)?,
        "transactions": transaction_counters(py, store)?,
        "locks": dict!(py, { "waiters": locks.waiting_now, "waits": locks.waits, "timeouts": locks.timeouts }),
        "latency": latency,
    }))
}

fn log<'py>(py: Python<'py>, store: &Store, sync_mode: SyncMode) -> PyResult<Bound<'py, PyDict>> {
    let shared = store.shared();
    let log = shared.core.log.status();
    let redo_lsn = store.checkpointer().status().redo_lsn;
    let (keep, pinned_by) = store.checkpointer().keep_from(shared, redo_lsn);
    Ok(dict!(py, {
        "last_lsn": log.end.0,
        "durable_lsn": log.durable.0,
        "bytes_total": log.segment_bytes,
        "segments": log.segments,
        "segment_bytes": log.segment_bytes.checked_div(log.segments).unwrap_or(0),
        "entries_written": log.entries,
        "bytes_written": log.bytes,
        "syncs": log.syncs,
        "groups": log.groups,
        "rotations": log.rotations,
        "sync_mode": sync_mode_name(sync_mode),
        "truncation_lsn": keep.0,
        "pinned_by": pinned_by,
    }))
}

fn checkpoint<'py>(py: Python<'py>, store: &Store) -> PyResult<Bound<'py, PyDict>> {
    let last = store.checkpointer().status();
    let dirty_since = store.shared().core.pool.dirty_pages().into_iter().map(|(_, lsn)| lsn).min();
    let end = store.shared().core.log.end();
    let redo_from = dirty_since.unwrap_or(end).min(last.redo_lsn.max(last.lsn));
    Ok(dict!(py, {
        "lsn": last.lsn.0,
        "at": seconds(last.at),
        "redo_lsn": last.redo_lsn.0,
        "count": last.count,
        "last_duration_s": last.duration.as_secs_f64(),
        "last_pages": last.pages,
        "redo_bytes": end.0.saturating_sub(redo_from.0),
    }))
}

fn cache<'py>(py: Python<'py>, store: &Store) -> PyResult<Bound<'py, PyDict>> {
    let pool = &store.shared().core.pool;
    let (used, dirty) = pool.usage();
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    Ok(dict!(py, {
        "frames": pool.frame_count(),
        "used": used,
        "dirty": dirty,
        "hits": load(&pool.counters.hits),
        "misses": load(&pool.counters.misses),
        "evictions": load(&pool.counters.evictions),
        "pages_written": load(&pool.counters.pages_written),
    }))
}

fn transaction_counters<'py>(py: Python<'py>, store: &Store) -> PyResult<Bound<'py, PyDict>> {
    let shared = store.shared();
    let active = shared.txns.active();
    let oldest = active.iter().map(|txn| txn.began.elapsed().as_secs_f64()).fold(0.0, f64::max);
    let count = |counter| shared.stats.counter(counter);
    Ok(dict!(py, {
        "active": active.len(),
        "begun": count(Counter::Begun),
        "committed": count(Counter::Committed),
        "aborted": count(Counter::Aborted),
        "deadlocks": count(Counter::Deadlocks),
        "lock_waits": count(Counter::LockWaits),
        "conflicts": count(Counter::Conflicts),
        "oldest_age_s": oldest,
    }))
}

pub(crate) fn transactions<'py>(py: Python<'py>, store: &Store) -> PyResult<Bound<'py, PyList>> {
    let shared = store.shared();
    let list = PyList::empty(py);
    for txn in shared.txns.active() {
        let is_doomed = shared.locks.doomed(txn.id).is_some();
        list.append(dict!(py, {
            "id": txn.id.0,
            "started_at": seconds(txn.started_at),
            "age_s": txn.began.elapsed().as_secs_f64(),
            "isolation": txn.isolation.name(),
            "status": if is_doomed { "doomed" } else { txn.status().name() },
            "changes": txn.changes.load(Ordering::Relaxed),
            "log_bytes": txn.log_bytes.load(Ordering::Relaxed),
            "locks": shared.locks.held(txn.id).len(),
            "waiting_for": shared.locks.waiting_for(txn.id).map(|holder| holder.0),
            "first_lsn": txn.first_lsn().0,
            "undo_bytes": txn.undo_reserved.load(Ordering::Relaxed),
        }))?;
    }
    Ok(list)
}

pub(crate) fn locks<'py>(py: Python<'py>, store: &Store) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for lock in store.shared().locks.locks() {
        let waiters = PyList::empty(py);
        for waiter in &lock.waiters {
            waiters.append(dict!(py, {
                "txn": waiter.txn.0, "mode": waiter.mode.name(), "since_s": waiter.since.as_secs_f64(),
            }))?;
        }
        list.append(dict!(py, {
            "resource": lock.resource.to_string(),
            "mode": lock.mode.name(),
            "holders": lock.holders.iter().map(|(txn, _)| txn.0).collect::<Vec<_>>(),
            "waiters": waiters,
            "since_s": lock.since.as_secs_f64(),
        }))?;
    }
    Ok(list)
}

pub(crate) fn wait_for_graph<'py>(py: Python<'py>, store: &Store) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for edge in store.shared().locks.wait_for_graph() {
        list.append(dict!(py, {
            "waiter": edge.waiter.0,
            "holder": edge.holder.0,
            "resource": edge.resource.to_string(),
            "mode": edge.mode.name(),
            "since_s": edge.since.as_secs_f64(),
        }))?;
    }
    Ok(list)
}

pub(crate) fn event<'py>(py: Python<'py>, event: &Event) -> PyResult<Bound<'py, PyDict>> {
    let answer = dict!(py, { "kind": event.kind, "at": seconds(event.at) });
    for (name, value) in &event.fields {
        match value {
            Field::Text(text) => answer.set_item(name, text)?,
            Field::Int(number) => answer.set_item(name, number)?,
            Field::Float(number) => answer.set_item(name, number)?,
            Field::List(items) => answer.set_item(name, items)?,
        }
    }
    Ok(answer)
}
