//! `Recovery`: the steps of a recovery, called in order by the stages of `engine.recovery`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::errors::detached;
use super::job::Job;
use super::open::OpenStore;
use super::options::store_options;
use super::status::dict;
use super::store::{Store, lock_existing, this_process};
use crate::disk::Disk;
use crate::error::{Code, Error, Result};
use crate::lockfile::LockFile;
use crate::log::TailReason;
use crate::recovery::Opening;
use crate::store::{self, CLEAN_MARKER, RECOVERY_MARKER, StoreOptions};

/// What a recovery holds until it is finished or abandoned.
struct Held {
    opening: Opening,
    lock: LockFile,
}

#[pyclass(frozen, module = "engine._kernel")]
pub struct Recovery {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    options: StoreOptions,
    held: Mutex<Option<Held>>,
}

impl Recovery {
    pub(super) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub(super) fn step<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Opening) -> Result<T> + Send,
    ) -> PyResult<T> {
        detached(py, || {
            let mut held = self
                .held
                .try_lock()
                .ok_or_else(|| Error::new(Code::TransactionBusy).with("txn", 0u64))?;
            let held = held.as_mut().ok_or_else(|| Error::new(Code::StoreClosed))?;
            work(&mut held.opening)
        })
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
    fn begin(py: Python<'_>, path: &str, options: &Bound<'_, PyDict>) -> PyResult<Recovery> {
        let (options, holder) = (store_options(options)?, this_process(py)?);
        let path = Path::new(path).to_owned();
        detached(py, || {
            let (disk, lock) = lock_existing(&path, &holder)?;
            let opening = Opening::begin(Arc::clone(&disk), options.opening.clone())?;
            Ok(Recovery { path, disk, options, held: Mutex::new(Some(Held { opening, lock })) })
        })
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
        let (found, restored) = self.step(py, |opening| {
            store::put_marker(&*self.disk, RECOVERY_MARKER)?;
            self.disk.remove(CLEAN_MARKER)?;
            opening.restore_doublewrite(&progress)
        })?;
        Ok(dict!(py, { "pages_found": found, "pages_restored": restored }))
    }

    fn analyse<'py>(&self, py: Python<'py>, job: &Bound<'py, Job>) -> PyResult<Bound<'py, PyDict>> {
        let progress = Arc::clone(&job.get().progress);
        let started = Instant::now();
        self.step(py, |opening| opening.analyse(&progress).map(|_| ()))?;
        let held = self.held.lock();
        let analysis = held.as_ref().and_then(|held| held.opening.analysis());
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
        let done = self.step(py, |opening| opening.redo(&progress))?;
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

    /// Takes a checkpoint, removes the marker, and gives the open store.
    fn finish(&self, py: Python<'_>) -> PyResult<Store> {
        detached(py, || {
            let held = self.held.lock().take().ok_or_else(|| Error::new(Code::StoreClosed))?;
            let opened = store::Store::finish(Arc::clone(&self.disk), held.opening, &self.options)?;
            opened.checkpoint()?;
            store::remove_marker(&*self.disk, RECOVERY_MARKER)?;
            Ok(Store::new(OpenStore::new(opened, self.options.opening.log.clone(), held.lock)))
        })
    }

    /// Stops here; the database still needs recovery. Releases the lock.
    fn abandon(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, || {
            if let Some(held) = self.held.lock().take()
                && let Some(shared) = held.opening.shared()
            {
                // What was appended so far may stay or go: the next recovery begins again.
                let _ = shared.core.log.close();
            }
            Ok(())
        })
    }

    fn __repr__(&self) -> String {
        format!("<Recovery of {}>", self.path.display())
    }
}
