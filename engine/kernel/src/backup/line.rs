//! The log that is kept, as a line of time: what is covered, its commits in bins, its checkpoints.
//!
//! A long line is told in bins of as many commits each as it takes to stay within a bound; where
//! each of them may be read again, commit by commit. What is behind a gap begins anew at the end of a
//! backup: entries run over the ends of segments, so that reading cannot begin just anywhere.

use std::collections::HashMap;
use std::path::PathBuf;

use super::logs::Logs;
use crate::disk::Disk;
use crate::error::{Code, Result};
use crate::log::segments::{self, SegmentInfo};
use crate::log::{EntryRef, LogReader, Op};
use crate::page::{PartReader, get_u64};
use crate::recovery::Progress;
use crate::sync::Arc;
use crate::txn::{Counts, Ended, Shared};
use crate::types::{DatabaseId, Lsn, TreeId, TxnId};

/// So many transactions at once have their changes counted, tree by tree; so many new trees are told.
const MOST_COUNTED: usize = 4096;

/// A stretch of log without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub from: Lsn,
    pub end: Lsn,
    /// When its first segment was put into use, in microseconds since the Unix epoch.
    pub began_at: i64,
    /// Where reading began; none where no known entry lies in it.
    pub read_from: Option<Lsn>,
    /// It cannot be read from its end on, though there is more: damage.
    pub is_broken: bool,
}

/// Commits that follow one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bin {
    /// The place of its run.
    pub run: usize,
    /// Where reading has to begin to find them.
    pub from: Lsn,
    /// The end of the last of them.
    pub end: Lsn,
    pub commits: u64,
    pub first_at: i64,
    pub last_at: i64,
    /// By how much they changed the number of records in each tree.
    pub rows: Counts,
}

/// A complete checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub lsn: Lsn,
    pub at: i64,
}

#[derive(Clone, Debug, Default)]
pub struct Line {
    pub runs: Vec<Run>,
    pub bins: Vec<Bin>,
    pub checkpoints: Vec<Mark>,
    /// Trees that were made within what was read, and where: before, there were none of them.
    pub made: Vec<(TreeId, Lsn)>,
    pub end: Lsn,
}

/// Records of one tree that a transaction inserted, updated and deleted.
pub type Touched = HashMap<TreeId, [u64; 3]>;

/// One commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    pub lsn: Lsn,
    /// A database restored to here holds it, and nothing later.
    pub end: Lsn,
    pub txn: TxnId,
    pub at: i64,
    pub rows: Counts,
    pub touched: Touched,
    /// All of its changes were seen: it began within what was read.
    pub is_whole: bool,
}

/// The line of the log that is kept in `logs`, and is in use. `starts` are positions at which entries
/// are known to begin; no more than about `most` bins and checkpoints are told.
pub fn line(
    shared: &Shared,
    logs: &[PathBuf],
    starts: &[Lsn],
    most: usize,
    progress: &Progress,
) -> Result<Line> {
    let log = &shared.core.log;
    let end = log.end();
    // What a failed log still holds in memory only is nobody's history.
    let _ = log.write_to(end);
    let database = log.database();
    let mut starts = starts.to_vec();
    starts.extend(log.first_entry_from(Lsn::NONE)?);
    starts.sort_unstable();
    let found = segments::discover(&Logs::of(logs, database), database)?;
    let mut line = Line { runs: runs(&found, end), end, ..Line::default() };
    let total: u64 = line.runs.iter().map(|run| run.end.0 - run.from.0).sum();
    progress.begin("reading the log", "bytes", total);
    let mut bins = Bins { most: most.max(16), each: 1, list: Vec::new() };
    for place in 0..line.runs.len() {
        let run = &line.runs[place];
        let start = starts.iter().copied().find(|start| run.from <= *start && *start <= run.end);
        let Some(start) = start else { continue };
        let before: u64 = line.runs[..place].iter().map(|run| run.end.0 - run.from.0).sum();
        let stretch = Stretch { place, start, end: run.end, before };
        let (reached, is_broken) = read_run(logs, database, stretch, &mut bins, &mut line, progress)?;
        let run = &mut line.runs[place];
        run.read_from = Some(start);
        if is_broken {
            (run.end, run.is_broken) = (reached, true);
        }
        thin(&mut line.checkpoints, bins.most);
    }
    line.bins = bins.list;
    Ok(line)
}

/// The commits from `from` on, where an entry begins, up to `to`, no more than `limit`.
pub fn commits(
    shared: &Shared,
    logs: &[PathBuf],
    (from, to): (Lsn, Lsn),
    limit: usize,
    progress: &Progress,
) -> Result<Vec<Commit>> {
    let log = &shared.core.log;
    let end = log.end();
    let _ = log.write_to(end);
    let mut reader = open(logs, log.database(), from, to.min(end))?;
    let mut found = Vec::new();
    let mut open: HashMap<TxnId, (Touched, bool)> = HashMap::new();
    let mut entries = 0u64;
    while found.len() < limit {
        let Some(entry) = reader.next()? else { break };
        entries += 1;
        if entries.is_multiple_of(1024) {
            progress.ensure_going()?;
        }
        match entry.header.op {
            Op::Commit => found.push(commit(&entry, open.remove(&entry.header.txn))?),
            Op::AbortEnd => {
                open.remove(&entry.header.txn);
            }
            _ => count(&entry, &mut open)?,
        }
    }
    Ok(found)
}

fn commit(entry: &EntryRef<'_>, seen: Option<(Touched, bool)>) -> Result<Commit> {
    let ended = Ended::decode(entry.body)?;
    let is_alone = entry.header.prev.is_none();
    let (touched, is_whole) = seen.unwrap_or((Touched::new(), is_alone));
    Ok(Commit {
        lsn: entry.header.lsn,
        end: entry.header.end(),
        txn: entry.header.txn,
        at: ended.time,
        rows: ended.deltas,
        touched,
        is_whole,
    })
}

fn count(entry: &EntryRef<'_>, open: &mut HashMap<TxnId, (Touched, bool)>) -> Result<()> {
    let header = &entry.header;
    if header.txn == TxnId::SYSTEM || !header.op.changes_pages() {
        return Ok(());
    }
    if open.len() >= MOST_COUNTED && !open.contains_key(&header.txn) {
        return Ok(());
    }
    let (touched, _) = open.entry(header.txn).or_insert((Touched::new(), header.prev.is_none()));
    let kind = match header.op {
        Op::Insert => 0,
        Op::Update => 1,
        Op::Delete => 2,
        _ => return Ok(()),
    };
    let tree = PartReader::new(entry.body)?.tree();
    touched.entry(tree).or_default()[kind] += 1;
    Ok(())
}

/// A reader of the log in these places, from the start of an entry up to the next gap, or to `to`.
fn open(logs: &[PathBuf], database: DatabaseId, from: Lsn, to: Lsn) -> Result<LogReader> {
    let mut logs = Logs::of(logs, database);
    logs.until_gap(database, from)?;
    let shared: Arc<dyn Disk> = Arc::new(logs);
    let mut reader = LogReader::open(shared, database, from, Lsn::NONE)?;
    reader.stop_at(to);
    Ok(reader)
}

/// What is to be read of a run.
#[derive(Clone, Copy)]
struct Stretch {
    place: usize,
    start: Lsn,
    end: Lsn,
    /// Bytes of the runs before it.
    before: u64,
}

/// Reads one run into the bins; how far it could be read, and whether damage ended it.
fn read_run(
    logs: &[PathBuf],
    database: DatabaseId,
    stretch: Stretch,
    bins: &mut Bins,
    line: &mut Line,
    progress: &Progress,
) -> Result<(Lsn, bool)> {
    let Stretch { place, start, end, before } = stretch;
    let is_damage = |code| matches!(code, Code::WalCorrupted | Code::IoError);
    let mut reader = match open(logs, database, start, end) {
        Ok(reader) => reader,
        Err(error) if is_damage(error.code) => return Ok((start, true)),
        Err(error) => return Err(error),
    };
    let (mut at, mut from, mut entries) = (start, start, 0u64);
    loop {
        match reader.next() {
            Ok(Some(entry)) => {
                entries += 1;
                at = entry.header.end();
                match entry.header.op {
                    Op::Commit => {
                        bins.take(place, from, &commit(&entry, None)?);
                        from = at;
                    }
                    // It begins with the position of its begin record, and the time of it.
                    Op::CheckpointEnd if entry.body.len() >= 16 => line
                        .checkpoints
                        .push(Mark { lsn: entry.header.lsn, at: get_u64(entry.body, 8).cast_signed() }),
                    Op::TreeMade if line.made.len() < MOST_COUNTED => {
                        line.made.push((PartReader::new(entry.body)?.tree(), entry.header.lsn));
                    }
                    _ => {}
                }
            }
            Ok(None) => return Ok((at, false)),
            Err(error) if is_damage(error.code) => return Ok((at, true)),
            Err(error) => return Err(error),
        }
        if entries.is_multiple_of(1024) {
            progress.ensure_going()?;
            progress.set(before + at.0 - start.0);
        }
    }
}

/// Stretches of segments that follow one another; the last one in use ends where the log does.
fn runs(found: &[SegmentInfo], end: Lsn) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut before = None;
    for info in found {
        let Ok(header) = info.header else { continue };
        let full = header.start.plus(header.capacity);
        let goes_on = before.is_some_and(|(number, limit, incarnation)| {
            number + 1 == header.number && header.start <= limit && header.previous == incarnation
        });
        match runs.last_mut() {
            // A new incarnation may begin before the end of the segment before it.
            Some(run) if goes_on => run.end = full.min(end),
            _ => runs.push(Run {
                from: header.start,
                end: full.min(end),
                began_at: header.created_at,
                read_from: None,
                is_broken: false,
            }),
        }
        before = Some((header.number, full, header.incarnation));
    }
    runs.retain(|run| run.from < run.end);
    runs
}

/// Leaves out every second mark where there are too many.
fn thin(marks: &mut Vec<Mark>, most: usize) {
    while marks.len() > most {
        let mut place = 0;
        marks.retain(|_| {
            place += 1;
            place % 2 == 0
        });
    }
}

/// Bins of up to `each` commits; `each` doubles where there would be too many of them.
struct Bins {
    most: usize,
    each: u64,
    list: Vec<Bin>,
}

impl Bins {
    fn take(&mut self, run: usize, from: Lsn, commit: &Commit) {
        let bin = Bin {
            run,
            from,
            end: commit.end,
            commits: 1,
            first_at: commit.at,
            last_at: commit.at,
            rows: commit.rows.clone(),
        };
        if !self.list.last_mut().is_some_and(|last| last.join(&bin, self.each)) {
            self.list.push(bin);
        }
        while self.list.len() > self.most {
            self.each *= 2;
            let before = self.list.len();
            self.list.dedup_by(|later, earlier| earlier.join(later, self.each));
            // Nothing is left to be joined where each run has but one.
            if self.list.len() == before && self.each > 1 << 40 {
                return;
            }
        }
    }
}

impl Bin {
    /// Takes in the bin that follows, where both together are small enough.
    fn join(&mut self, later: &Bin, each: u64) -> bool {
        if self.run != later.run || self.commits + later.commits > each {
            return false;
        }
        (self.end, self.last_at) = (later.end, later.last_at);
        self.commits += later.commits;
        for (tree, delta) in &later.rows {
            *self.rows.entry(*tree).or_default() += delta;
        }
        true
    }
}
