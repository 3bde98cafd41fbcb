//! The line of time of an open store: its log where it is kept, and the commits in it.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::job::{Job, progress_of};
use super::status::{dict, seconds};
use super::store::Store;
use crate::backup::line::{self, Bin, Commit, Line};
use crate::txn::{CatalogueKind, Counts, newest_rows};
use crate::types::Lsn;

#[pymethods]
impl Store {
    /// The log that is kept in the directories `logs`, and in use, as a line of time; see the stub.
    #[pyo3(signature = (logs, starts, most = 2000, job = None))]
    fn log_line<'py>(
        &self,
        py: Python<'py>,
        logs: Vec<PathBuf>,
        starts: Vec<u64>,
        most: usize,
        job: Option<&Bound<'py, Job>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let progress = progress_of(job);
        let starts: Vec<Lsn> = starts.into_iter().map(Lsn).collect();
        let found = self
            .working(py, &progress, |open| line::line(open.shared(), &logs, &starts, most, &progress))?;
        tell(py, &found)
    }

    /// Commits of the log, one by one; see the stub.
    #[pyo3(signature = (logs, from_lsn, to_lsn, limit = 1000, job = None))]
    fn log_commits<'py>(
        &self,
        py: Python<'py>,
        logs: Vec<PathBuf>,
        from_lsn: u64,
        to_lsn: u64,
        limit: usize,
        job: Option<&Bound<'py, Job>>,
    ) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let progress = progress_of(job);
        let span = (Lsn(from_lsn), Lsn(to_lsn));
        let found = self.working(py, &progress, |open| {
            line::commits(open.shared(), &logs, span, limit, &progress)
        })?;
        found.iter().map(|commit| tell_commit(py, commit)).collect()
    }

    /// Names of tables and trees by the numbers that the log has for them.
    fn tree_names(&self, py: Python<'_>) -> PyResult<Vec<(u32, String, bool)>> {
        let rows = self.work(py, |open| newest_rows(&open.shared().core))?;
        let named = rows.into_iter().filter(|row| row.kind != CatalogueKind::Index);
        Ok(named.map(|row| (row.tree.id.0, row.name, row.kind == CatalogueKind::Table)).collect())
    }
}

fn counts<'py>(py: Python<'py>, counts: &Counts) -> PyResult<Bound<'py, PyDict>> {
    let answer = PyDict::new(py);
    for (tree, delta) in counts {
        answer.set_item(tree.0, delta)?;
    }
    Ok(answer)
}

fn tell<'py>(py: Python<'py>, line: &Line) -> PyResult<Bound<'py, PyDict>> {
    let runs = line.runs.iter().map(|run| {
        Ok(dict!(py, {
            "from": run.from.0,
            "end": run.end.0,
            "began_at": seconds(run.began_at),
            "read_from": run.read_from.map(|lsn| lsn.0),
            "broken": run.is_broken,
        }))
    });
    let bins = line.bins.iter().map(|bin| tell_bin(py, bin));
    let marks = line.checkpoints.iter().map(|mark| (mark.lsn.0, seconds(mark.at)));
    Ok(dict!(py, {
        "end": line.end.0,
        "runs": runs.collect::<PyResult<Vec<_>>>()?,
        "bins": bins.collect::<PyResult<Vec<_>>>()?,
        "checkpoints": marks.collect::<Vec<_>>(),
        "made": line.made.iter().map(|(tree, lsn)| (tree.0, lsn.0)).collect::<Vec<_>>(),
    }))
}

fn tell_bin<'py>(py: Python<'py>, bin: &Bin) -> PyResult<Bound<'py, PyDict>> {
    Ok(dict!(py, {
        "run": bin.run,
        "from": bin.from.0,
        "end": bin.end.0,
        "commits": bin.commits,
        "first_at": seconds(bin.first_at),
        "last_at": seconds(bin.last_at),
        "rows": counts(py, &bin.rows)?,
    }))
}

fn tell_commit<'py>(py: Python<'py>, commit: &Commit) -> PyResult<Bound<'py, PyDict>> {
    let touched = PyDict::new(py);
    for (tree, [inserted, updated, deleted]) in &commit.touched {
        touched.set_item(tree.0, (*inserted, *updated, *deleted))?;
    }
    Ok(dict!(py, {
        "lsn": commit.lsn.0,
        "end": commit.end.0,
        "txn": commit.txn.0,
        "at": seconds(commit.at),
        "rows": counts(py, &commit.rows)?,
        "touched": touched,
        "whole": commit.is_whole,
    }))
}
