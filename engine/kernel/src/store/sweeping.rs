//! Pages that are marked as in use and that nothing leads to: found by a walk of every tree, and given
//! back.
//!
//! They come about where a damaged page kept its tree from being given back whole. A page is given back
//! only where no tree can lead to it: nobody is at work, nothing waits to be given back, the walk came
//! to the end of every tree, and what damage there is lies in pages that no tree led to.

use super::{Store, Work};
use crate::error::{Code, Error, Result};
use crate::recovery::Progress;
use crate::sync::Ordering;
use crate::txn::free_lost;
use crate::verify::CheckReport;

/// What a sweep came to.
#[derive(Clone, Debug)]
pub struct Swept {
    /// Pages that were given back.
    pub pages: u64,
    /// Those that could not be, though nothing leads to them.
    pub left: u64,
    /// The check before it.
    pub report: CheckReport,
}

impl Store {
    /// Gives back pages that nothing leads to. Everything is checked first; where a tree is damaged, or
    /// somebody is at work, what leads where cannot be told, and nothing is given back.
    pub fn sweep(&self, progress: &Progress) -> Result<Swept> {
        if self.is_view() || self.shared().read_only.load(Ordering::Acquire) {
            return Err(Error::new(Code::ReadOnlyDatabase).with("operation", "give pages back"));
        }
        self.finish_redo(progress)?;
        self.work.sweep(progress)
    }
}

impl Work {
    /// Pages come and go only in transactions, which the check notices, and in what gives pages back,
    /// which waits meanwhile; and what is marked as in use is given to nobody.
    fn sweep(&self, progress: &Progress) -> Result<Swept> {
        let _turn = self.giving_back.lock();
        let is_closed = || self.shared.closed.load(Ordering::SeqCst);
        let keep_on = &mut || self.is_going() && !is_closed() && !progress.is_cancelled();
        self.give_back_known(keep_on)?;
        let since = self.shared.core.log.end();
        let report = self.check(false, false, progress)?;
        let pages = free_lost(&self.shared, &report.lost, since, keep_on)?;
        progress.ensure_going()?;
        Ok(Swept { pages, left: report.lost.len() as u64 - pages, report })
    }
}
