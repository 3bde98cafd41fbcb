//! Undo of what a crash cut off: each loser is rolled back as it would have been while the store
//! was open, the newest first.
//!
//! The store's own threads are not there yet. So a cleaner of its own keeps clean frames at hand;
//! else the undo itself would wait for three syncs whenever a page comes and no frame is free.

use std::sync::Arc;
use std::time::Duration;

use super::{Loser, Progress};
use crate::buffer::Pool;
use crate::error::Result;
use crate::sync::{AtomicBool, Ordering, begin_scoped};
use crate::txn::{Shared, TxnState, roll_back_whole};

/// How often the cleaner looks around.
const TICK: Duration = Duration::from_millis(5);

/// What undo did.
#[derive(Clone, Copy, Debug, Default)]
pub struct UndoReport {
    pub transactions: u64,
    pub records: u64,
}

/// Rolls the losers back; durable on return. With one worker everything happens in the same order
/// each time.
pub(super) fn undo(
    shared: &Arc<Shared>,
    losers: &[Loser],
    workers: usize,
    progress: &Progress,
) -> Result<UndoReport> {
    shared.core.space.count_used()?;
    progress.begin("undo", "records", losers.iter().map(|loser| loser.changes).sum());
    // All are there before the first is undone: their stamps are the locks on what they changed.
    let adopted: Vec<Arc<TxnState>> = losers.iter().map(|loser| adopt(shared, loser)).collect();
    let roll_back = || roll_back_all(shared, &adopted, progress);
    let report = if workers > 1 && !adopted.is_empty() {
        with_cleaner(&shared.core.pool, roll_back)?
    } else {
        roll_back()?
    };
    shared.core.log.flush_to(shared.core.log.end())?;
    Ok(report)
}

/// Takes a loser up as an active transaction, which holds what it changed.
pub(super) fn adopt(shared: &Shared, loser: &Loser) -> Arc<TxnState> {
    let state = shared.txns.adopt(loser.id, loser.first, loser.last, loser.started_at);
    let work: Arc<TxnState> = Arc::clone(&state);
    shared.locks.register(loser.id, work);
    state
}

fn roll_back_all(shared: &Shared, losers: &[Arc<TxnState>], progress: &Progress) -> Result<UndoReport> {
    let mut report = UndoReport::default();
    let mut end = shared.core.log.end();
    for state in losers.iter().rev() {
        report.records += roll_back_whole(shared, state, &mut || {
            progress.add(1);
            let written = shared.core.log.end();
            progress.count(1, 0, written.0 - std::mem::replace(&mut end, written).0);
            !progress.is_cancelled()
        })?;
        report.transactions += 1;
    }
    Ok(report)
}

/// Tells the cleaner to end, however the work is left: a scope waits for its threads after a panic
/// too.
struct Ending<'e> {
    is_over: &'e AtomicBool,
    cleaner: std::thread::Thread,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        self.cleaner.unpark();
    }
}

fn with_cleaner<T>(pool: &Pool, work: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let cleaner = begin_scoped(scope, || {
            let is_going = || !is_over.load(Ordering::Acquire);
            // A failure has failed the log: the work learns it there.
            while is_going() && pool.keep_clean(is_going).is_ok() {
                std::thread::park_timeout(TICK);
            }
        });
        // Where there is no thread to be had, pages are cleaned when their frames are wanted.
        let _ending = cleaner.ok().map(|cleaner| {
            let cleaner = cleaner.thread().clone();
            Ending { is_over: &is_over, cleaner }
        });
        work()
    })
}
