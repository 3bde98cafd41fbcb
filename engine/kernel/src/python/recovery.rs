//! `Recovery`: the steps of a recovery, called in order by the stages of `engine.recovery`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::errors::detached;
use super::job::{Job, progress_of};
use super::open::OpenStore;
use super::options::store_options;
use super::status::dict;
use super::store::{Store, disk_of, lock_existing, this_process};
use crate::disk::overlay::Settled;
use crate::error::{Code, Error, Result};
use crate::lockfile::{Holder, LockFile};
use crate::log::TailReason;
use crate::mirror::{FromMirrors, ensure_not_superseded};
use crate::moment::Chain;
use crate::recovery::{Beyond, Opening};
use crate::store::{Ground, Recovering, StoreOptions, Unfinished};

/// What a recovery holds until it is finished or abandoned. After a revert only the lock.
struct Held {
    recovering: Option<Recovering>,
    chain: Arc<Chain>,
    lock: LockFile,
}

#[pyclass(frozen, module = "engine._kernel")]
pub struct Recovery {
    path: PathBuf,
    options: StoreOptions,
    holder: Holder,
    settled: Settled,
    held: Mutex<Option<Held>>,
}

impl Recovery {
    pub(super) fn step<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Opening) -> Result<T> + Send,
    ) -> PyResult<T> {
        self.recovering(py, |recovering| work(&mut recovering.opening))
    }

    fn recovering<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Recovering) -> Result<T> + Send,
    ) -> PyResult<T> {
        detached(py, || {
            let mut held = self
                .held
                .try_lock()
                .ok_or_else(|| Error::new(Code::TransactionBusy).with("txn", 0u64))?;
            let held = held.as_mut().and_then(|held| held.recovering.as_mut());
            work(held.ok_or_else(|| Error::new(Code::StoreClosed))?)
        })
    }

    fn take(&self) -> Result<(Recovering, Arc<Chain>, LockFile)> {
        match self.held.lock().take() {
            Some(Held { recovering: Some(recovering), chain, lock }) => Ok((recovering, chain, lock)),
            _ => Err(Error::new(Code::StoreClosed)),
        }
    }
}

fn ground_of(name: &str, beside: Option<&str>) -> Result<Ground> {
    match (name, beside) {
        ("in_place", None) => Ok(Ground::InPlace),
        ("overlay", None) => Ok(Ground::Overlay),
        ("rehearsal", Some(folder)) => Ok(Ground::Rehearsal(disk_of(Path::new(folder)))),
        _ => Err(Error::argument("ground", "must be in_place, overlay, or rehearsal with a folder")),
    }
}

/// The error of a recovery that could not be finished: it says whether the next open will.
fn unfinished(unfinished: Unfinished) -> Error {
    let Unfinished { error, is_decided, rollback } = unfinished;
    match rollback {
        Err(other) => Error::new(Code::RecoveryRollbackFailed)
            .with("stage", "Finalization")
            .with("reason", other.to_string())
            .with("manual_intervention_needed", 0i64)
            .because(error),
        Ok(()) if is_decided => error.with("installing", 1i64),
        Ok(()) => error,
    }
}

fn reason_text(reason: TailReason) -> String {
    match reason {
        TailReason::EndOfSegments => "the last segment is full".to_owned(),
        TailReason::Flaw(flaw) => flaw.name().to_owned(),
    }
}

#[pymethods]
impl Recovery {
    #[staticmethod]
    #[pyo3(signature = (path, options, ground = "in_place", beside = None))]
    fn begin(
        py: Python<'_>,
        path: &str,
        options: &Bound<'_, PyDict>,
        ground: &str,
        beside: Option<&str>,
    ) -> PyResult<Recovery> {
        let (mut options, holder) = (store_options(options)?, this_process(py)?);
        let path = Path::new(path).to_owned();
        detached(py, || {
            let ground = ground_of(ground, beside)?;
            let (disk, chain, lock) = lock_existing(&path, &holder)?;
            ensure_not_superseded(&path)?;
            let mirrors = FromMirrors::of(&path);
            if !mirrors.0.is_empty() {
                // They lag less than backups.
                options.opening.helpers.0.insert(0, Arc::new(mirrors));
            }
            let recovering = Recovering::begin(disk, &options, ground)?;
            let settled = recovering.settled;
            let held = Mutex::new(Some(Held { recovering: Some(recovering), chain, lock }));
            Ok(Recovery { path, options, holder, settled, held })
        })
    }

    /// What an earlier recovery had left: "nothing", "dropped", or "installed".
    #[getter]
    fn settled(&self) -> &'static str {
        match self.settled {
            Settled::Nothing => "nothing",
            Settled::Dropped => "dropped",
            Settled::Installed => "installed",
        }
    }

    /// Bytes written beside the originals so far.
    #[getter]
    fn overlay_bytes(&self) -> u64 {
        let held = self.held.try_lock();
        let held = held.as_ref().and_then(|held| held.as_ref()?.recovering.as_ref());
        held.map_or(0, Recovering::overlay_bytes)
    }

    fn discover_log<'py>(&self, py: Python<'py>, job: &Bound<'py, Job>) -> PyResult<Bound<'py, PyDict>> {
        job.get().progress.begin("log discovery", "segments", 0);
        let (survey, control) =
            self.step(py, |opening| Ok((opening.survey_log()?, opening.control())))?;
        let segments = PyList::empty(py);
        for segment in &survey.segments {
            let header = segment.header.as_ref().ok();
            segments.append(dict!(py, {
                "number": segment.number,
                "start_lsn": header.map(|header| header.start.0),
                "bytes": segment.size,
                "incarnation": header.map(|header| header.incarnation.0),
            }))?;
        }
        Ok(dict!(py, {
            "segments": segments,
            "gaps": survey.gaps,
            "bytes": survey.bytes,
            "checkpoint_lsn": control.checkpoint_lsn.0,
            "redo_lsn": control.redo_lsn.0,
        }))
    }

    /// Cuts a damaged log at its last valid record; on an overlay only.
    fn cut_log<'py>(&self, py: Python<'py>, job: &Bound<'py, Job>) -> PyResult<Bound<'py, PyDict>> {
        let progress = Arc::clone(&job.get().progress);
        let cut = self.step(py, |opening| opening.cut_log(Beyond::Rebuild, &progress).cloned())?;
        Ok(dict!(py, {
            "at_lsn": cut.at.0,
            "start_lsn": cut.start.0,
            "reason": cut.reason,
            "lost_bytes": cut.lost_bytes,
            "lost_commits": cut.lost_commits,
            "last_commit_at": cut.last_commit_at as f64 / 1e6,
            "pages_beyond": cut.pages.len(),
        }))
    }

    fn validate_log<'py>(&self, py: Python<'py>, job: &Bound<'py, Job>) -> PyResult<Bound<'py, PyDict>> {
        let progress = Arc::clone(&job.get().progress);
        let found = self.step(py, |opening| opening.validate_log(&progress))?;
        Ok(dict!(py, {
            "end_lsn": found.end.0,
            "entries": found.entries,
            "bytes": found.bytes,
            "end_reason": reason_text(found.reason),
        }))
    }

    /// Marks the database as being recovered, then puts whole copies in the place of torn pages.
    fn restore_doublewrite<'py>(
        &self,
        py: Python<'py>,
        job: &Bound<'py, Job>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let progress = Arc::clone(&job.get().progress);
        let (found, restored) =
            self.recovering(py, |recovering| recovering.restore_doublewrite(&progress))?;
        Ok(dict!(py, { "pages_found": found, "pages_restored": restored }))
    }

    fn analyse<'py>(&self, py: Python<'py>, job: &Bound<'py, Job>) -> PyResult<Bound<'py, PyDict>> {
        let progress = Arc::clone(&job.get().progress);
        let started = Instant::now();
        self.step(py, |opening| opening.analyse(&progress).map(|_| ()))?;
        let held = self.held.lock();
        let analysis = held.as_ref().and_then(|held| held.recovering.as_ref()?.opening.analysis());
        let Some(analysis) = analysis else {
            return Err(Error::internal("analysis left nothing").into());
        };
        let losers = PyList::empty(py);
        for loser in &analysis.losers {
            losers.append(dict!(py, {
                "txn": loser.id.0,
                "started_at": loser.started_at as f64 / 1e6,
                "changes": loser.changes,
                "first_lsn": loser.first.0,
            }))?;
        }
        Ok(dict!(py, {
            "start_lsn": analysis.start.0,
            "end_lsn": analysis.end.0,
            "records": analysis.records,
            "bytes": analysis.bytes,
            "losers": losers,
            "dirty_pages": analysis.dirty.len(),
            "redo_lsn": analysis.redo_lsn.0,
            "committed": analysis.committed,
            "seconds": started.elapsed().as_secs_f64(),
        }))
    }

    fn redo<'py>(&self, py: Python<'py>, job: &Bound<'py, Job>) -> PyResult<Bound<'py, PyDict>> {
        let progress = Arc::clone(&job.get().progress);
        let started = Instant::now();
        let done = self.recovering(py, |recovering| recovering.redo(&progress))?;
        Ok(dict!(py, {
            "records": done.records,
            "applied": done.applied,
            "skipped": done.skipped,
            "pages": done.pages,
            "bytes": done.bytes,
            "seconds": started.elapsed().as_secs_f64(),
        }))
    }

    fn undo<'py>(&self, py: Python<'py>, job: &Bound<'py, Job>) -> PyResult<Bound<'py, PyDict>> {
        let progress = Arc::clone(&job.get().progress);
        let started = Instant::now();
        let done = self.step(py, |opening| opening.undo(&progress))?;
        Ok(dict!(py, {
            "transactions": done.transactions,
            "records": done.records,
            "seconds": started.elapsed().as_secs_f64(),
        }))
    }

    /// Takes a checkpoint, removes the marker, and gives the open store; an overlay is installed.
    fn finish(&self, py: Python<'_>, job: &Bound<'_, Job>) -> PyResult<Store> {
        let progress = Arc::clone(&job.get().progress);
        detached(py, || {
            let (recovering, chain, lock) = self.take()?;
            let opened = recovering.finish(&progress).map_err(unfinished)?;
            opened.mirrors().attach_known(&self.path, &self.holder)?;
            let log = self.options.opening.log.clone();
            Ok(Store::new(OpenStore::new(opened, log, Some(chain), lock)))
        })
    }

    /// Whether the database can be opened before redo: after `analyse`, in place.
    fn can_open_early(&self, py: Python<'_>) -> PyResult<bool> {
        self.step(py, |opening| Ok(opening.can_redo_on_demand()))
    }

    /// In place of `redo`, `undo` and `finish`: gives the store, open, which redoes pages when they
    /// are first needed and the rest in the background. From here on nothing is taken back.
    fn open_early(&self, py: Python<'_>) -> PyResult<Store> {
        detached(py, || {
            let (recovering, chain, lock) = self.take()?;
            let opened = recovering.finish_on_demand()?;
            opened.mirrors().attach_known(&self.path, &self.holder)?;
            let log = self.options.opening.log.clone();
            Ok(Store::new(OpenStore::new(opened, log, Some(chain), lock)))
        })
    }

    /// Carries a rehearsal to its end, drops it and releases the lock.
    #[pyo3(signature = (job = None))]
    fn rehearsed<'py>(
        &self,
        py: Python<'py>,
        job: Option<&Bound<'py, Job>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let progress = progress_of(job);
        let bytes = detached(py, || {
            let (rehearsal, _, _lock) = self.take()?;
            rehearsal.rehearsed(&progress)
        })?;
        Ok(dict!(py, { "bytes": bytes }))
    }

    /// What a rehearsal came to, open and read-only.
    fn look(&self, py: Python<'_>) -> PyResult<Store> {
        detached(py, || {
            let (recovering, _, lock) = self.take()?;
            let opened = recovering.look()?;
            Ok(Store::new(OpenStore::new(opened, self.options.opening.log.clone(), None, lock)))
        })
    }

    /// Drops what lies beside the originals and ends the recovery, but keeps the lock.
    fn revert(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, || {
            let recovering = self.held.lock().as_mut().and_then(|held| held.recovering.take());
            recovering.map_or(Ok(()), Recovering::abandon)
        })
    }

    /// Stops here; the database still needs recovery. Releases the lock.
    fn abandon(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, || {
            let Some(Held { recovering, lock, .. }) = self.held.lock().take() else { return Ok(()) };
            let abandoned = recovering.map_or(Ok(()), Recovering::abandon);
            drop(lock);
            abandoned
        })
    }

    fn __repr__(&self) -> String {
        format!("<Recovery of {}>", self.path.display())
    }
}
