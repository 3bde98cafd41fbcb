//! The one check of every invariant: pages, trees, long values, space, row counts, log, indexes.
//!
//! It may run while the database is in use. What it reads then is not one instant, so nothing is
//! reported on a first look: a finding about two pages counts only when one of them was read
//! twice with the same LSN and the other one in between, which proves that both were like that
//! at one moment. What only holds while nothing happens (counts, lost pages, pages reached twice)
//! is reported only if no transaction was active from beginning to end and no pages wait to be
//! given back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::error::{Code, Error, Field, Result};
use crate::recovery::Progress;
use crate::repair::looking_only;
use crate::sync::{AtomicU64, Ordering, begin_scoped};
use crate::txn::Shared;
use crate::types::{Lsn, PageId, TreeId, TxnId};

mod chains;
mod indexes;
mod pages;
mod records;
mod space;
mod stream;
#[cfg(test)]
mod tests;
mod trees;

pub use indexes::{DamagedIndex, damaged_indexes};
pub use trees::shown_name;

/// Findings beyond this are only counted.
const MOST_PROBLEMS: usize = 1000;

/// What to check.
#[derive(Clone, Copy, Debug)]
pub struct CheckOptions {
    /// Checksums of the pages in the file only, at the speed of the disk.
    pub is_quick: bool,
    /// Where the log that recovery would need begins; `None` leaves the log out. The caller
    /// keeps it from being cut meanwhile.
    pub redo_lsn: Option<Lsn>,
    /// Report pages that are in use for nothing: lost room, but no damage.
    pub reports_leaks: bool,
    /// Nobody writes to the data file meanwhile: the checksum of a page is then computed once,
    /// whoever comes to it first, the sweep or the walk over its tree, which run side by side.
    pub is_still: bool,
}

/// One finding. The detail never holds stored keys or values.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    pub code: Code,
    pub page: Option<PageId>,
    pub tree: Option<String>,
    pub detail: String,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct CheckReport {
    pub ok: bool,
    /// Pages whose checksum was computed, and the bytes read for it and of the log.
    pub pages: u64,
    pub bytes: u64,
    pub records: u64,
    pub seconds: f64,
    pub problems: Vec<Problem>,
    /// Problems beyond those listed.
    pub left_out: u64,
    /// What could not be checked because it was in use, by name.
    pub skipped: Vec<String>,
    /// Pages marked as in use that nothing leads to, where every tree was walked to its end.
    pub lost: Vec<PageId>,
}

/// One check under way.
pub(crate) struct Check<'s> {
    shared: &'s Arc<Shared>,
    progress: &'s Progress,
    options: CheckOptions,
    report: CheckReport,
    /// The id that the next transaction had at the beginning, if nothing was going on then.
    quiet_since: Option<TxnId>,
    start: Lsn,
    reached: Bits,
    /// Whether the walk has come to every page that a tree leads to.
    is_walk_whole: bool,
    /// Pages met a second time, which is damage unless a page moved meanwhile.
    twice: Vec<(PageId, String)>,
    counts: HashMap<TreeId, (String, i64)>,
    /// Where nobody writes: pages whose checksum, as they lie in the file, holds.
    proved: Option<Arc<Proved>>,
}

/// A set of pages that threads share.
pub(crate) struct Proved {
    words: Vec<AtomicU64>,
}

impl Proved {
    fn new(pages: u32) -> Proved {
        Proved { words: (0..pages.div_ceil(64)).map(|_| AtomicU64::new(0)).collect() }
    }

    fn insert(&self, page: PageId) {
        if let Some(word) = self.words.get(page.0 as usize / 64) {
            word.fetch_or(1 << (page.0 % 64), Ordering::Relaxed);
        }
    }

    fn contains(&self, page: PageId) -> bool {
        let word = self.words.get(page.0 as usize / 64);
        word.is_some_and(|word| word.load(Ordering::Relaxed) & (1 << (page.0 % 64)) != 0)
    }
}

/// A set of pages, one bit each.
#[derive(Default)]
pub(crate) struct Bits {
    words: Vec<u64>,
}

impl Bits {
    /// Adds a page; false where it was there already.
    fn insert(&mut self, page: PageId) -> bool {
        let (word, bit) = (page.0 as usize / 64, 1u64 << (page.0 % 64));
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        is_new
    }

    fn contains(&self, page: PageId) -> bool {
        let word = self.words.get(page.0 as usize / 64).copied().unwrap_or(0);
        word & (1u64 << (page.0 % 64)) != 0
    }
}

/// Checks every invariant of an open database. Changes nothing.
///
/// Damage is a finding in the report; an error means that the check itself could not go on
/// (`Cancelled`, or a database that is closed).
pub fn check(shared: &Arc<Shared>, progress: &Progress, options: CheckOptions) -> Result<CheckReport> {
    looking_only(|| check_all(shared, progress, options))
}

fn check_all(shared: &Arc<Shared>, progress: &Progress, options: CheckOptions) -> Result<CheckReport> {
    let started = Instant::now();
    let mut check = Check::new(shared, progress, options);
    let sweep = check.begin_sweep()?;
    if options.is_still && !options.is_quick {
        std::thread::scope(|scope| {
            let sweeping = begin_scoped(scope, || sweep.run());
            let looked = check.look_deeper();
            let panicked = |_| Err(Error::internal("a checking thread panicked"));
            // Without a thread of its own it comes afterwards.
            let swept = sweeping
                .map_or_else(|_| sweep.run(), |sweeping| sweeping.join().unwrap_or_else(panicked));
            looked.and(swept)
        })?;
        check.end_sweep(sweep)?;
    } else {
        sweep.run_all()?;
        check.end_sweep(sweep)?;
        if !options.is_quick {
            check.look_deeper()?;
        }
    }
    let mut report = check.report;
    report.ok = report.problems.is_empty();
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

impl<'s> Check<'s> {
    /// What pages say of each other; the log is read by a thread of its own meanwhile.
    fn look_deeper(&mut self) -> Result<()> {
        let (shared, progress) = (self.shared, self.progress);
        let log = std::thread::scope(|scope| {
            let from = self.options.redo_lsn;
            let read = move |from| stream::read_log(shared, progress, from);
            let reading = from.map(|from| begin_scoped(scope, move || read(from)).map_err(|_| from));
            let walked = self.walk_trees().and_then(|()| self.compare_space());
            let panicked = |_| Err(Error::internal("the thread that reads the log panicked"));
            let log = reading.map(|reading| {
                reading.map_or_else(read, |reading| reading.join().unwrap_or_else(panicked))
            });
            walked.and(log.transpose())
        })?;
        self.compare_counts();
        if let Some(found) = log {
            self.note_log(found);
        }
        self.compare_indexes()
    }

    fn new(shared: &'s Arc<Shared>, progress: &'s Progress, options: CheckOptions) -> Check<'s> {
        // The id first: a transaction that begins after it changes the id.
        let next = shared.txns.next_id();
        let is_quiet = shared.txns.active().is_empty() && shared.txns.pending().is_empty();
        Check {
            shared,
            progress,
            options,
            report: CheckReport::default(),
            quiet_since: is_quiet.then_some(next),
            start: shared.core.log.end(),
            reached: Bits::default(),
            is_walk_whole: !options.is_quick,
            twice: Vec::new(),
            counts: HashMap::new(),
            proved: options.is_still.then(|| Arc::new(Proved::new(shared.core.pool.file_pages()))),
        }
    }

    /// True where no transaction has been active since the check began.
    fn is_quiet(&self) -> bool {
        self.quiet_since == Some(self.shared.txns.next_id())
    }

    fn note(&mut self, code: Code, page: Option<PageId>, tree: Option<&str>, detail: impl Into<String>) {
        if self.report.problems.len() >= MOST_PROBLEMS {
            self.report.left_out += 1;
            return;
        }
        let problem = Problem { code, page, tree: tree.map(str::to_owned), detail: detail.into() };
        if !self.report.problems.contains(&problem) {
            self.report.problems.push(problem);
        }
    }

    /// Notes an error as a finding about a page. An error of another kind ends the check.
    fn note_error(&mut self, page: PageId, tree: Option<&str>, error: Error) -> Result<()> {
        let is_finding = matches!(
            error.code,
            Code::ChecksumMismatch | Code::PageDamaged | Code::PageNotFound | Code::IoError
        );
        if !is_finding {
            return Err(error);
        }
        let known = |problem: &Problem| problem.page == Some(page) && problem.code == error.code;
        match self.report.problems.iter_mut().find(|problem| known(problem)) {
            // The sweep found it without knowing whose page it is.
            Some(problem) => problem.tree = problem.tree.take().or(tree.map(str::to_owned)),
            None => self.note(error.code, Some(page), tree, describe(&error)),
        }
        Ok(())
    }
}

/// An error in words for a report.
fn describe(error: &Error) -> String {
    let text = |name: &str| match error.field(name) {
        Some(Field::Text(text)) => Some(text.clone()),
        _ => None,
    };
    let words = match error.code {
        Code::ChecksumMismatch => text("corruption_type").map(|kind| match kind.as_str() {
            "zeroed" => "the page holds only zeros".to_owned(),
            _ => "the checksum does not hold".to_owned(),
        }),
        Code::PageNotFound => Some("the page lies beyond the end of the file".to_owned()),
        Code::IoError => text("os_error").map(|error| format!("the page cannot be read: {error}")),
        _ => text("detail").or_else(|| text("details")),
    };
    words.unwrap_or_else(|| error.to_string())
}
