//! Redo in a mirror: its pages are brought up to a position in its log, and stay a mirror's.
//!
//! A mirror's pages were written at other times than those of its primary, so what the log says
//! of pages written is not believed (`ControlData::pages_lag`). Once all log before the end of a
//! checkpoint is in the mirror's pages, recovery may begin at that checkpoint: what its dirty page
//! table names is there already, and what came later is in the log after it.

use super::{Opening, Progress, RedoReport};
use crate::control::ControlData;
use crate::error::{Code, Error, Result};
use crate::log::Log;
use crate::types::{Incarnation, Lsn};

/// A checkpoint that recovery is to begin at from now on.
#[derive(Clone, Copy, Debug)]
pub struct Advance {
    pub checkpoint_lsn: Lsn,
    pub redo_lsn: Lsn,
    pub at: i64,
    pub next_txn: u64,
}

impl Opening {
    /// Redoes the log up to `to`, where an entry ends that is on the medium, as is everything before
    /// it; nobody else changes the pages meanwhile, while the log may grow. With `advance`, of a
    /// checkpoint that ends at or before `to`, recovery begins there afterwards.
    ///
    /// A crash leaves what the next call, or a recovery, repeats. `PageDamaged` where a page can be
    /// neither read nor rebuilt: then the mirror is of no use any more.
    pub fn follow(
        mut self,
        to: Lsn,
        incarnation: Incarnation,
        advance: Option<Advance>,
        progress: &Progress,
    ) -> Result<RedoReport> {
        // Pages carry it, and copies in the double-write file are believed only up to this one.
        self.change_control(ControlData { incarnation, ..self.control() })?;
        self.read_up_to(to);
        self.validate_log(progress)?;
        self.restore_doublewrite(progress)?;
        self.analyse(progress)?;
        let data = self.control();
        let log = Log::followed(
            std::sync::Arc::clone(self.disk()),
            self.log_options(),
            data.database,
            incarnation,
            to,
        )?;
        let report = self.redo_followed(log, progress)?;
        if let Some((page, why)) = report.damaged.first() {
            let error = Error::new(Code::PageDamaged).with("page_id", page.0);
            return Err(error.with("detail", "it can be neither read nor rebuilt").because(why.clone()));
        }
        if let Some(advance) = advance {
            let Advance { checkpoint_lsn, redo_lsn, at, next_txn } = advance;
            let data = ControlData { checkpoint_lsn, redo_lsn, checkpoint_at: at, next_txn, ..data };
            self.change_control(ControlData { clean_end: to, pages_lag: true, ..data })?;
        }
        Ok(report)
    }
}
