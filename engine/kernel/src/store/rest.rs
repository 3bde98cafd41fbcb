//! What is left of a recovery once the store is open: redo and undo in the background, then a
//! checkpoint, then a look at the log that redo did not need, then a check of every invariant. What
//! holds meanwhile heads `recovery/ondemand.rs`.

use std::time::{Duration, Instant};

use super::older_log::OlderLog;
use super::{RECOVERY_MARKER, Store, Work, remove_marker};
use crate::disk::Disk;
use crate::error::{Code, Result};
use crate::recovery::{OnDemand, Progress, Standing};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering};
use crate::txn::Shared;
use crate::verify::{self, CheckOptions, CheckReport};

/// What could not be read is tried again after so long.
const PATIENCE: Duration = Duration::from_secs(5);
/// Progress is told so many times.
const TELLS: u64 = 20;

/// The rest of a recovery.
pub(super) struct Rest {
    on_demand: Arc<OnDemand>,
    disk: Arc<dyn Disk>,
    opened: Instant,
    /// The last share of the pages that was told.
    told: AtomicU64,
    tried: Mutex<Option<Instant>>,
    /// One at a time completes the recovery.
    completing: Mutex<()>,
    took: Mutex<Option<Duration>>,
    older: OlderLog,
    checked: Mutex<Option<CheckReport>>,
    checking: Arc<Progress>,
    asking: Arc<Progress>,
}

/// How far the recovery of an open store has come.
#[derive(Clone, Debug)]
pub struct RecoveryStanding {
    /// "redo", "undo", "checkpoint", "log", "check", then "done"; "stuck" where pages are left that could
    /// not be redone.
    pub stage: &'static str,
    pub standing: Standing,
    /// Since the store was opened, and until all was on the medium.
    pub seconds: f64,
    /// What the check found; `None` before it has ended.
    pub problems: Option<usize>,
    /// Segments whose entries were validated, before the opening or since, and all there were.
    pub segments: (u64, u64),
    /// Of the check under way: what it is at, the unit, units done and in all.
    pub checking: (&'static str, &'static str, u64, u64),
}

impl Rest {
    pub fn of(on_demand: Arc<OnDemand>, disk: &Arc<dyn Disk>, shared: &Arc<Shared>) -> Rest {
        let (redo_lsn, end) = on_demand.stretch();
        let rest = Rest {
            older: OlderLog::of(&**disk, shared, redo_lsn, end),
            on_demand,
            disk: Arc::clone(disk),
            opened: Instant::now(),
            told: AtomicU64::new(0),
            tried: Mutex::new(None),
            completing: Mutex::new(()),
            took: Mutex::new(None),
            checked: Mutex::new(None),
            checking: Progress::new(),
            asking: Progress::new(),
        };
        let standing = rest.standing(shared);
        shared.events.push(
            "recovery_opened",
            vec![
                ("pages", standing.pages.into()),
                ("losers", standing.losers.into()),
                ("log_bytes", standing.log_bytes.into()),
            ],
        );
        rest
    }

    fn standing(&self, shared: &Shared) -> Standing {
        self.on_demand.standing(|loser| shared.txns.is_active(loser))
    }

    fn is_done(&self) -> bool {
        self.on_demand.is_complete() && self.checked.lock().is_some()
    }

    /// Where the recovery stands.
    fn tell(&self, shared: &Shared) -> RecoveryStanding {
        let standing = self.standing(shared);
        let problems = self.checked.lock().as_ref().map(|report| report.problems.len());
        let is_stuck = standing.pages_left > 0
            && standing.damaged.len() as u64 == standing.pages_left
            && !self.on_demand.is_asking();
        let stage = match (&standing, problems) {
            _ if is_stuck => "stuck",
            (standing, _) if standing.pages_left > 0 => "redo",
            (standing, _) if standing.losers_left > 0 => "undo",
            (standing, _) if !standing.is_complete => "checkpoint",
            (_, None) if !self.older.is_seen() => "log",
            (_, None) => "check",
            _ => "done",
        };
        let seconds = self.took.lock().unwrap_or_else(|| self.opened.elapsed()).as_secs_f64();
        let segments = self.older.segments();
        let (stage_of_check, unit, done, total, _) = self.checking.look();
        let checking = (stage_of_check, unit, done, total);
        RecoveryStanding { stage, standing, seconds, problems, segments, checking }
    }
}

impl Store {
    /// How far the recovery has come that opened this store; `None` where there was none, or it was
    /// through before.
    pub fn recovery(&self) -> Option<RecoveryStanding> {
        self.work.rest.as_ref().map(|rest| rest.tell(self.shared()))
    }

    /// What the check after that recovery found, once it has ended.
    pub fn recovery_check(&self) -> Option<CheckReport> {
        self.work.rest.as_ref().and_then(|rest| rest.checked.lock().clone())
    }

    /// Redoes what is left, for who reads pages past the cache; pages that cannot be redone are
    /// left, and give their errors when they are read.
    pub fn finish_redo(&self, progress: &Progress) -> Result<()> {
        self.work.redo_all(progress)
    }

    /// As [`Store::finish_redo`]; the first page's error where one cannot be redone.
    pub fn ensure_redone(&self, progress: &Progress) -> Result<()> {
        self.finish_redo(progress)?;
        match self.work.rest.as_ref().map(|rest| rest.standing(self.shared()).damaged) {
            Some(damaged) => damaged.into_iter().next().map_or(Ok(()), |(_, why)| Err(why)),
            None => Ok(()),
        }
    }

    /// Redoes about so many times 64 pages: for stores without background work.
    pub fn redo_some(&self, steps: usize) -> Result<()> {
        self.work.redo_some(steps)
    }

    /// Checks what the recovery came to, as the background does: for stores without background work.
    pub fn check_recovery(&self) -> Result<()> {
        self.work.rest.as_ref().map_or(Ok(()), |rest| self.work.check_recovered(rest))
    }

    /// Carries the recovery to its end: redo, undo, a checkpoint.
    pub fn finish_recovery(&self, progress: &Progress) -> Result<()> {
        self.finish_redo(progress)?;
        self.work.shared.roll_back_orphans(&mut || !progress.is_cancelled())?;
        self.work.complete_recovery()
    }

    /// Redoes what is left; false where pages cannot be redone, or it was cancelled. The background
    /// work has ended.
    pub(super) fn redo_before_close(&self, progress: &Progress) -> Result<bool> {
        let Some(rest) = &self.work.rest else { return Ok(true) };
        rest.on_demand.look_again();
        match self.work.redo_all(progress) {
            Err(error) if error.code == Code::Cancelled => {}
            redone => redone?,
        }
        Ok(rest.on_demand.is_redone())
    }

    /// True where an early opening has left something to redo or to undo.
    pub(super) fn is_behind(&self) -> bool {
        self.work.rest.as_ref().is_some_and(|rest| !rest.on_demand.is_complete())
    }

    /// Closes without the marks of a clean shutdown: what is left is in the tables of a checkpoint,
    /// for the next recovery. What was redone so far is on the medium, and not redone again. Returns 0
    /// transactions: those that could be ended are.
    pub(super) fn close_unfinished(&self) -> Result<usize> {
        let shared = &self.work.shared;
        self.work.checkpointer.take(shared, true, &mut || true)?;
        let closed = shared.core.log.close();
        self.mirrors.close(closed.is_ok());
        closed.map(|_| 0)
    }

    /// The close has brought everything to its place.
    pub(super) fn note_recovered(&self) {
        if let Some(rest) = &self.work.rest {
            rest.took.lock().get_or_insert_with(|| rest.opened.elapsed());
            rest.on_demand.note_complete();
        }
    }

    pub(super) fn stop_checking(&self) {
        if let Some(rest) = &self.work.rest {
            rest.checking.cancel();
            rest.asking.cancel();
            self.work.end_asking();
        }
    }
}

impl Work {
    /// One look of the background: redo, completion, check.
    pub(super) fn recover_rest(&self) -> Result<()> {
        let Some(rest) = self.rest.as_ref().filter(|rest| !rest.is_done()) else { return Ok(()) };
        while self.is_going() && rest.on_demand.step(&self.shared.core.pool)? > 0 {
            self.tell_progress(rest);
        }
        self.try_again(rest);
        self.complete_recovery()?;
        if rest.on_demand.is_complete() && self.is_going() {
            self.check_recovered(rest)?;
        }
        Ok(())
    }

    pub(super) fn redo_some(&self, steps: usize) -> Result<()> {
        let Some(rest) = &self.rest else { return Ok(()) };
        for _ in 0..steps {
            if rest.on_demand.step(&self.shared.core.pool)? == 0 {
                break;
            }
        }
        Ok(())
    }

    fn redo_all(&self, progress: &Progress) -> Result<()> {
        let Some(rest) = self.rest.as_ref().filter(|rest| !rest.on_demand.is_redone()) else {
            return Ok(());
        };
        rest.on_demand.drain(&self.shared.core.pool, progress)?;
        rest.on_demand.ask_helpers(&self.shared, &rest.disk, progress).map(drop)
    }

    /// True where mirrors or backups may have to be asked: on a thread of its own, for they may take
    /// their time. Readers wait for it from now on.
    pub(super) fn begin_asking(&self) -> bool {
        let rest = self.rest.as_ref().filter(|rest| rest.on_demand.has_helpers());
        rest.inspect(|rest| rest.on_demand.attend(true)).is_some()
    }

    /// Nobody waits for the helpers any more.
    pub(super) fn end_asking(&self) {
        if let Some(rest) = &self.rest {
            rest.on_demand.attend(false);
        }
    }

    /// One look whether there is something to ask them for.
    pub(super) fn ask_helpers(&self) -> Result<()> {
        let Some(rest) = self.rest.as_ref().filter(|rest| rest.on_demand.is_asking()) else {
            return Ok(());
        };
        rest.on_demand.ask_helpers(&self.shared, &rest.disk, &rest.asking).map(drop)
    }

    /// What a device would not give may come the next time.
    fn try_again(&self, rest: &Rest) {
        let damaged = rest.standing(&self.shared).damaged;
        let may_pass = damaged.iter().any(|(_, why)| why.code == Code::IoError);
        let mut tried = rest.tried.lock();
        if may_pass && tried.is_none_or(|at| at.elapsed() > PATIENCE) {
            *tried = Some(Instant::now());
            rest.on_demand.look_again();
        }
    }

    /// Once nothing is left to redo and to undo: a checkpoint, and the marker goes.
    pub(super) fn complete_recovery(&self) -> Result<()> {
        let Some(rest) = self.rest.as_ref().filter(|rest| !rest.on_demand.is_complete()) else {
            return Ok(());
        };
        let _turn = rest.completing.lock();
        let is_undone = rest.on_demand.is_undone(|loser| self.shared.txns.is_active(loser));
        if !rest.on_demand.is_redone() || !is_undone || rest.on_demand.is_complete() {
            return Ok(());
        }
        self.checkpointer.take(&self.shared, true, &mut || self.is_going())?;
        remove_marker(&*rest.disk, RECOVERY_MARKER)?;
        rest.on_demand.note_complete();
        let took = *rest.took.lock().insert(rest.opened.elapsed());
        let standing = rest.standing(&self.shared);
        self.shared.events.push(
            "recovery_completed",
            vec![
                ("pages", standing.pages.into()),
                ("losers", standing.losers.into()),
                ("applied", standing.applied.into()),
                ("seconds", took.as_secs_f64().into()),
            ],
        );
        Ok(())
    }

    fn check_recovered(&self, rest: &Rest) -> Result<()> {
        let report = match self.look_over(rest) {
            // The close asks for that.
            Err(error) if error.code == Code::Cancelled => return Ok(()),
            report => report?,
        };
        let told = vec![
            ("ok", i64::from(report.ok).into()),
            ("problems", (report.problems.len() as u64).into()),
            ("seconds", report.seconds.into()),
        ];
        *rest.checked.lock() = Some(report);
        self.shared.events.push("recovery_checked", told);
        Ok(())
    }

    /// The log that redo did not need, then every invariant.
    fn look_over(&self, rest: &Rest) -> Result<CheckReport> {
        let began = Instant::now();
        let mut problems = rest.older.validate(&self.shared, &rest.checking)?;
        let mut report = self.check(false, false, &rest.checking)?;
        problems.append(&mut report.problems);
        let (ok, seconds) = (problems.is_empty(), began.elapsed().as_secs_f64());
        Ok(CheckReport { ok, problems, seconds, ..report })
    }

    /// Every invariant, or only checksums; the log that is checked is not cut meanwhile.
    pub(super) fn check(
        &self,
        is_quick: bool,
        reports_leaks: bool,
        progress: &Progress,
    ) -> Result<CheckReport> {
        let (pin, redo_lsn) = self.checkpointer.pin();
        let options =
            CheckOptions { is_quick, redo_lsn: Some(redo_lsn), reports_leaks, is_still: false };
        let report = verify::check(&self.shared, progress, options);
        self.checkpointer.unpin(pin);
        report
    }

    fn tell_progress(&self, rest: &Rest) {
        let standing = rest.standing(&self.shared);
        let done = standing.pages - standing.pages_left;
        let share = done * TELLS / standing.pages.max(1);
        if rest.told.swap(share, Ordering::Relaxed) != share {
            self.shared
                .events
                .push("recovery_progress", vec![("pages", done.into()), ("of", standing.pages.into())]);
        }
    }
}
