//! Recovery: analysis, redo, undo (ARIES, Mohan et al. 1992), each callable alone.
//!
//! [`Opening`] carries what the steps pass on: a disk, the control file, the valid end of the
//! log, what analysis found, and from redo on the parts of a store. Until redo nothing on the
//! disk has been changed, except by `restore_doublewrite`, which puts whole pages in the place
//! of torn ones and can be repeated.
//!
//! Redo and undo come before the store opens, or after: see [`ondemand`] for what then holds.

use crate::sync::{AtomicBool, AtomicU64, Ordering};
use std::collections::HashMap;
use std::sync::Arc;

use crate::sync::Mutex;

use crate::buffer::PageMap;
use crate::error::{Code, Error, Result};
use crate::txn::{Counts, Pending};
use crate::types::{Lsn, PageId, TreeId, TxnId};

mod analysis;
mod asking;
mod claims;
mod cut;
mod following;
mod index;
mod indexed;
#[cfg(test)]
mod kept_log_tests;
mod lost_end;
mod ondemand;
#[cfg(test)]
mod ondemand_tests;
mod opening;
mod passes;
mod redo;
mod replay;
mod survey;
#[cfg(test)]
mod tests;
mod undo;

pub use claims::Claims;
pub use cut::{Beyond, Cut};
pub use following::Advance;
pub use index::{LogIndex, group_of};
pub use ondemand::{OnDemand, Standing};
pub use opening::{DATA_PATH, LogSurvey, LogValidity, Opening, OpeningOptions, Parts, build};
pub use undo::UndoReport;

/// Progress and cancellation of one long work; shared between who does it and who watches it.
#[derive(Default)]
pub struct Progress {
    stage: Mutex<&'static str>,
    unit: Mutex<&'static str>,
    done: AtomicU64,
    total: AtomicU64,
    rows: AtomicU64,
    counted: [AtomicU64; 3],
    unfinished: AtomicU64,
    cancelled: AtomicBool,
}

impl Progress {
    pub fn new() -> Arc<Progress> {
        Arc::default()
    }
    /// A new stretch of work of `total` units (0: not known).
    pub fn begin(&self, stage: &'static str, unit: &'static str, total: u64) {
        *self.stage.lock() = stage;
        *self.unit.lock() = unit;
        self.done.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
        self.counted.iter().for_each(|counter| counter.store(0, Ordering::Relaxed));
        self.unfinished.store(0, Ordering::Relaxed);
    }
    /// So much more of the stretch is done, in each of its measures.
    pub fn count(&self, records: u64, pages: u64, bytes: u64) {
        for (counter, more) in self.counted.iter().zip([records, pages, bytes]) {
            counter.fetch_add(more, Ordering::Relaxed);
        }
    }
    /// As many pages are known by now.
    pub fn set_pages(&self, pages: u64) {
        self.counted[1].store(pages, Ordering::Relaxed);
    }
    /// Transactions that have not ended by now have made so many changes.
    pub fn set_unfinished(&self, changes: u64) {
        self.unfinished.store(changes, Ordering::Relaxed);
    }
    /// Changes that would have to be undone, if the log ended here.
    pub fn unfinished(&self) -> u64 {
        self.unfinished.load(Ordering::Relaxed)
    }
    /// Records, pages and bytes of the stretch that is under way, as far as it counts them.
    pub fn counted(&self) -> [u64; 3] {
        std::array::from_fn(|index| self.counted[index].load(Ordering::Relaxed))
    }
    pub fn set(&self, done: u64) {
        self.done.store(done, Ordering::Relaxed);
    }
    pub fn add(&self, units: u64) {
        self.done.fetch_add(units, Ordering::Relaxed);
    }
    pub fn add_rows(&self, rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }
    pub fn ensure_going(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::new(Code::Cancelled)) } else { Ok(()) }
    }
    /// Stage, unit, done, total, rows.
    pub fn look(&self) -> (&'static str, &'static str, u64, u64, u64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (*self.stage.lock(), *self.unit.lock(), load(&self.done), load(&self.total), load(&self.rows))
    }
}

/// A transaction that the crash cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loser {
    pub id: TxnId,
    pub first: Lsn,
    pub last: Lsn,
    /// Microseconds since the Unix epoch; 0 where it began after the checkpoint.
    pub started_at: i64,
    /// Of records, since it began.
    pub changes: u64,
}

/// What analysis found.
#[derive(Debug, Default)]
pub struct Analysis {
    pub start: Lsn,
    pub end: Lsn,
    pub records: u64,
    pub bytes: u64,
    pub committed: u64,
    pub losers: Vec<Loser>,
    /// What losers held of trees, as far as their entries since `start` tell.
    pub claims: HashMap<TxnId, Claims>,
    /// The dirty page table: from which entry on each page may lack changes. Where a later entry
    /// holds the page in full, what came before that does not matter, and it begins there.
    pub dirty: PageMap<Lsn>,
    pub redo_lsn: Lsn,
    pub counts: Counts,
    pub pending: Vec<Pending>,
    /// Leaves in which records were deleted, and by whom: they may have to be cleaned.
    pub deletions: Vec<(TreeId, PageId, TxnId)>,
    pub next_txn: TxnId,
    pub next_tree: TreeId,
    pub last_commit_at: i64,
}

/// What redo did.
#[derive(Clone, Debug, Default)]
pub struct RedoReport {
    pub records: u64,
    pub applied: u64,
    pub skipped: u64,
    /// Pages that changed, and pages that were written out, unchanged ones included.
    pub pages: u64,
    pub written: u64,
    /// Parts that the dirty pages were divided into, each of which fits into the cache.
    pub passes: u64,
    pub bytes: u64,
    /// Pages that could be neither read nor rebuilt, with the reason.
    pub damaged: Vec<(PageId, Error)>,
}
