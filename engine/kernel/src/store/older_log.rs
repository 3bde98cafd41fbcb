//! The log from before the start of a redo: closed segments that are kept for undo, backups and
//! mirrors. An opening reads none of them; whether they are whole is looked at behind it.
//!
//! Where an entry is damaged the reading goes on in the next segment. In the first segment, and after
//! damage, it begins at the first whole entry, for one may have begun before; one that is not whole is
//! known by its beginning, which says where it lies. What a checkpoint lets go meanwhile needs nobody's
//! look any more.

use crate::disk::Disk;
use crate::error::{Code, Error, Field, Result};
use crate::log::segments::{self, FIRST_LSN};
use crate::recovery::Progress;
use crate::sync::{AtomicU64, Ordering};
use crate::txn::Shared;
use crate::types::Lsn;
use crate::verify::Problem;

/// Entries between two looks at cancellation.
const STRIDE: u64 = 1024;

/// The segments that a recovery found.
pub(super) struct OlderLog {
    /// Where each begins, in order, and where the last one that is closed and was not read ends.
    starts: Vec<Lsn>,
    redo_lsn: Lsn,
    /// Log before it has been looked at.
    seen: AtomicU64,
}

impl OlderLog {
    /// Of a log that redo begins in at `redo_lsn`, and whose valid part ends at `end`.
    pub fn of(disk: &dyn Disk, shared: &Shared, redo_lsn: Lsn, end: Lsn) -> OlderLog {
        // What cannot be listed now is told by the look at it.
        let found = segments::discover(disk, shared.core.log.database()).unwrap_or_default();
        let headers = found.iter().filter_map(|info| info.header.ok());
        let starts = headers.map(|header| header.start).filter(|start| *start < end).collect();
        OlderLog { starts, redo_lsn, seen: AtomicU64::new(0) }
    }

    /// Segments whose entries were validated, before the opening or since, and all there were.
    pub fn segments(&self) -> (u64, u64) {
        let seen = Lsn(self.seen.load(Ordering::Acquire));
        let ends = self.starts.iter().skip(1).map(|next| *next <= self.redo_lsn && *next > seen);
        let unseen = ends.filter(|is_unseen| *is_unseen).count();
        ((self.starts.len() - unseen) as u64, self.starts.len() as u64)
    }

    pub fn is_seen(&self) -> bool {
        Lsn(self.seen.load(Ordering::Acquire)) >= self.redo_lsn
    }

    /// Validates every entry; what is damaged is returned. `Cancelled` where that is wished.
    pub fn validate(&self, shared: &Shared, progress: &Progress) -> Result<Vec<Problem>> {
        let oldest = || shared.core.log.status().oldest;
        let mut at = oldest();
        progress.begin("log", "bytes", self.redo_lsn.0.saturating_sub(at.0));
        let from = at;
        let mut problems = Vec::new();
        while at < self.redo_lsn {
            let Err((place, error)) = self.read_on(shared, at, from, progress) else { break };
            if error.is_interruption() {
                return Err(error);
            }
            at = match oldest() {
                kept if place < kept => kept,
                _ => {
                    problems.push(damage(place, &error));
                    let next = self.starts.iter().find(|start| **start > place);
                    next.copied().unwrap_or(self.redo_lsn)
                }
            };
        }
        self.seen.store(self.redo_lsn.0, Ordering::Release);
        Ok(problems)
    }

    /// Reads from `at` on; where it cannot be read on, the place and why.
    fn read_on(
        &self,
        shared: &Shared,
        at: Lsn,
        from: Lsn,
        progress: &Progress,
    ) -> std::result::Result<(), (Lsn, Error)> {
        let log = &shared.core.log;
        let first = log.first_entry_from(at).map_err(|error| (at, error))?.unwrap_or(self.redo_lsn);
        let sign = log.first_sign_from(at).map_err(|error| (at, error))?.unwrap_or(first);
        // Nothing was logged before it: an entry begins here, whatever its first bytes say.
        let begun = if at == FIRST_LSN { at } else { sign };
        if begun < first.min(self.redo_lsn) {
            return Err((begun, segments::corrupted(begun, "the entry that begins there is not whole")));
        }
        if first >= self.redo_lsn {
            return Ok(());
        }
        let mut reader = log.reader(first).map_err(|error| (first, error))?;
        reader.stop_at(self.redo_lsn);
        let mut entries = 0u64;
        loop {
            let place = reader.position();
            let is_over = reader.next().map_err(|error| (place, error))?.is_none();
            if is_over && place < self.redo_lsn {
                return Err((place, segments::corrupted(place, "it ends before what follows it")));
            }
            if is_over {
                return Ok(());
            }
            entries += 1;
            if entries.is_multiple_of(STRIDE) {
                progress.ensure_going().map_err(|error| (place, error))?;
                progress.set(place.0.saturating_sub(from.0));
                self.seen.store(place.0, Ordering::Release);
            }
        }
    }
}

fn damage(place: Lsn, error: &Error) -> Problem {
    let why = match error.field("details") {
        Some(Field::Text(details)) => details.clone(),
        _ => error.to_string(),
    };
    let detail = format!("the log from before the last recovery is damaged at {place}: {why}");
    Problem { code: Code::WalCorrupted, page: None, tree: None, detail }
}
