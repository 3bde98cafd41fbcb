//! Threads that come back from a durable commit, one after the other to the interpreter's lock.
//!
//! One sync ends the wait of many threads at once. Where they all ran for the interpreter's lock,
//! each would find another one there, sleep, and have to be woken again: for a few microseconds of
//! work in Python, up to its next commit. Most of a wake is the processor's own wake.

use std::cell::Cell;
use std::sync::LazyLock;
use std::thread::available_parallelism;
use std::time::Duration;

use pyo3::prelude::*;

use super::errors::caught;
use crate::error::Result;
use crate::sync::turnstile::{Entry, Turnstile};

/// What a thread does in Python between two commits of one change, and some: about as long as an idle
/// processor takes to wake.
const PATIENCE: Duration = Duration::from_micros(40);

static TURNS: LazyLock<Turnstile> = LazyLock::new(|| {
    let is_alone = available_parallelism().is_ok_and(|count| count.get() == 1);
    Turnstile::new(if is_alone { Duration::ZERO } else { PATIENCE })
});

thread_local! {
    /// What this thread came back with, until its next wait.
    static MINE: Cell<Option<Entry>> = const { Cell::new(None) };
}

/// As [`super::errors::detached`], for waits that end for many threads at once.
pub fn wait_with_others<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T> + Send,
) -> PyResult<T> {
    let done = py.detach(|| {
        // Only now: before, the next one would find the interpreter's lock still taken.
        if let Some(entry) = MINE.take() {
            TURNS.leave(entry);
        }
        let done = caught(work);
        MINE.set(TURNS.enter());
        done
    });
    Ok(done?)
}
