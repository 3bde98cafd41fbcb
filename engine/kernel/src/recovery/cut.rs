//! Cutting a damaged log at its last valid record, so that recovery can go up to there.
//!
//! Only on an overlay: the originals keep everything. What the cut leaves is a log that ends
//! validly, with the last complete checkpoint before the damage in force. New entries begin above
//! every LSN that the lost part may have given out, so that no later page, backup or mirror ever
//! takes one history for the other: the segment of the cut is said to reach up to there.
//!
//! Pages that were written with changes from beyond the cut would show transactions in part. They
//! are emptied, and redo rebuilds them from their images in the log; what it cannot rebuild is told.

use super::Progress;
use crate::checkpoint::Tables;
use crate::control::{Control, ControlData};
use crate::disk::{Disk, OpenMode};
use crate::error::{Code, Error, Result};
use crate::log::segments::{self, FOLDER, HEADER_BYTES, SegmentHeader, SegmentInfo};
use crate::log::{LogReader, Op, commits_in};
use crate::memory;
use crate::page::Page;
use crate::recovery::DATA_PATH;
use crate::sync::Arc;
use crate::types::{Incarnation, Lsn, PageId};

/// What memory is asked for.
const OPERATION: &str = "look at pages beyond the cut";

/// Pages read at a time.
const RUN: usize = 128;

/// What becomes of pages with changes from beyond the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// They are rebuilt as they were at the cut.
    Rebuild,
    /// They stay as they are: for a salvage, which wants the newest records, whole or not.
    Keep,
}

/// Where a log was cut, and what that costs.
#[derive(Clone, Debug, Default)]
pub struct Cut {
    /// The end of the last valid record.
    pub at: Lsn,
    /// Where reading began.
    pub from: Lsn,
    /// Where new entries begin.
    pub start: Lsn,
    /// The highest incarnation that was found anywhere.
    pub incarnation: Incarnation,
    /// Why the log could not be read further; empty where it ends validly.
    pub reason: String,
    /// Bytes of log behind the cut that had been written, and the commits that can still be
    /// recognised among them.
    pub lost_bytes: u64,
    pub lost_commits: u64,
    /// The time of the last commit that is kept, in microseconds; 0 where there is none.
    pub last_commit_at: i64,
    /// Pages that hold changes from beyond the cut.
    pub pages: Vec<PageId>,
}

/// What a pass up to the damage found.
#[derive(Default)]
struct Valid {
    end: Lsn,
    reason: String,
    last_commit_at: i64,
    /// The last checkpoint of which both records were read.
    checkpoint: Option<Tables>,
}

/// Cuts the log on `disk`, an overlay, and says so in its control file.
pub(super) fn cut(
    disk: &Arc<dyn Disk>,
    control: &mut Control,
    beyond: Beyond,
    progress: &Progress,
) -> Result<Cut> {
    let data = control.data();
    let found = segments::discover(&**disk, data.database)?;
    let highest = segments::highest_incarnation(&found).max(data.incarnation);
    let from = data.redo_lsn;
    let kept = readable(&found, from)?;
    let (lost_bytes, lost_commits) = give_up(&**disk, &found[kept.len()..])?;
    let valid = read_valid(disk, &data, from, progress)?;
    let checkpoint = checkpoint_before(&data, &valid)?;
    let mut cut = Cut {
        at: valid.end,
        from: from.min(checkpoint.redo_lsn),
        incarnation: highest,
        reason: valid.reason,
        last_commit_at: valid.last_commit_at,
        lost_bytes,
        lost_commits,
        ..Cut::default()
    };
    let mut top = found.iter().filter_map(|info| info.header.ok()).map(reach).max().unwrap_or(valid.end);
    top = top.max(data.clean_end).max(data.checkpoint_lsn);
    top = top.max(find_pages(&**disk, data.page_size as usize, beyond, &mut cut, progress)?);
    cut.start = Lsn(top.0.next_multiple_of(HEADER_BYTES)).plus(HEADER_BYTES);
    count_lost(&**disk, &found, &mut cut)?;
    end_segments(&**disk, kept, &cut)?;
    // A backup may hold what is cut off here: no increment may be put on top of one.
    crate::backup::marks::forget(&**disk)?;
    control.write(ControlData { clean_end: Lsn::NONE, ..checkpoint })?;
    Ok(cut)
}

fn reach(header: SegmentHeader) -> Lsn {
    header.start.plus(header.capacity)
}

/// The segments before the first one, from the beginning of recovery on, that cannot be read.
fn readable(found: &[SegmentInfo], from: Lsn) -> Result<&[SegmentInfo]> {
    let holds = |info: &SegmentInfo| info.header.is_ok_and(|header| header.start <= from);
    let first =
        found.iter().rposition(holds).ok_or_else(|| nothing_to_cut("the log does not reach back"))?;
    let mut count = 1 + found[first..]
        .windows(2)
        .take_while(|pair| pair[1].number == pair[0].number + 1 && pair[1].header.is_ok())
        .count();
    while count > 0 && segments::extents(&found[..first + count], from).is_err() {
        count -= 1;
    }
    if count == 0 {
        return Err(nothing_to_cut("the segment where recovery begins cannot be read"));
    }
    Ok(&found[..first + count])
}

/// Removes segments that nothing leads to any more; the bytes and the commits in them are lost.
fn give_up(disk: &dyn Disk, given_up: &[SegmentInfo]) -> Result<(u64, u64)> {
    let mut lost = (0, 0);
    for info in given_up {
        match info.header {
            Ok(header) => {
                let file = disk.open(&info.path, OpenMode::Read)?;
                let there = commits_in(&*file, HEADER_BYTES, &header)?;
                lost = (lost.0 + there.bytes, lost.1 + there.commits);
            }
            Err(_) => lost.0 += info.size,
        }
        disk.remove(&info.path)?;
    }
    Ok(lost)
}

fn nothing_to_cut(why: &str) -> Error {
    Error::new(Code::RecoveryImpossible)
        .with("reason", format!("there is no valid log to recover up to: {why}"))
        .with("suggested_action", "restore from a backup, or salvage the readable records")
}

fn read_valid(
    disk: &Arc<dyn Disk>,
    data: &ControlData,
    from: Lsn,
    progress: &Progress,
) -> Result<Valid> {
    let mut reader = LogReader::open(Arc::clone(disk), data.database, from, Lsn::NONE)?;
    progress.begin("log validation", "bytes", reader.progress().1);
    let mut valid = Valid { end: from, ..Valid::default() };
    let mut entries = 0u64;
    loop {
        let entry = match reader.next() {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ok(valid),
            // A sector that cannot be read ends the log as well as one that was altered.
            Err(error) if matches!(error.code, Code::WalCorrupted | Code::IoError) => {
                valid.reason = error.to_string();
                return Ok(valid);
            }
            Err(error) => return Err(error),
        };
        valid.end = entry.header.end();
        match entry.header.op {
            Op::Commit if entry.body.len() >= 8 => {
                valid.last_commit_at = crate::page::get_u64(entry.body, 0).cast_signed();
            }
            Op::CheckpointEnd => valid.checkpoint = Some(Tables::decode(entry.body)?),
            _ => {}
        }
        entries += 1;
        if entries.is_multiple_of(1024) {
            progress.ensure_going()?;
            progress.set(valid.end.0 - from.0);
        }
    }
}

/// The control data with the last checkpoint that is complete before the cut.
fn checkpoint_before(data: &ControlData, valid: &Valid) -> Result<ControlData> {
    let Some(tables) = &valid.checkpoint else {
        return Err(nothing_to_cut("the last checkpoint lies behind the damage"));
    };
    let redo_lsn = tables.dirty.iter().map(|(_, lsn)| *lsn).fold(tables.begin, Lsn::min);
    Ok(ControlData {
        checkpoint_lsn: tables.begin,
        redo_lsn,
        checkpoint_at: tables.at,
        next_txn: tables.next_txn.0.max(data.next_txn),
        ..*data
    })
}

/// Finds the pages with changes from beyond the cut, and returns the highest LSN of any page.
fn find_pages(
    disk: &dyn Disk,
    size: usize,
    beyond: Beyond,
    cut: &mut Cut,
    progress: &Progress,
) -> Result<Lsn> {
    let file = disk.open(DATA_PATH, OpenMode::Write)?;
    let pages = file.size()? / size as u64;
    progress.begin("pages beyond the cut", "pages", pages);
    let (mut highest, mut run) = (Lsn::NONE, memory::zeroed(RUN * size, OPERATION)?);
    let zeros = vec![0; size];
    let mut page = Page::zeroed(size);
    for first in (0..pages).step_by(RUN) {
        progress.ensure_going()?;
        progress.set(first);
        let read = file.read_at(&mut run, first * size as u64)?;
        for (index, bytes) in run[..read - read % size].chunks_exact(size).enumerate() {
            page.bytes_mut().copy_from_slice(bytes);
            let id = PageId(u32::try_from(first + index as u64).unwrap_or(u32::MAX));
            if page.validate(id, Lsn::MAX).is_err() {
                continue;
            }
            highest = highest.max(page.lsn());
            if page.lsn() > cut.at {
                memory::grow(&mut cut.pages, 1, OPERATION)?;
                cut.pages.push(id);
                if beyond == Beyond::Rebuild {
                    file.write_at(&zeros, u64::from(id.0) * size as u64)?;
                }
            }
        }
    }
    Ok(highest)
}

/// What lay behind the cut, as far as it can still be told.
fn count_lost(disk: &dyn Disk, found: &[SegmentInfo], cut: &mut Cut) -> Result<()> {
    for info in found {
        let Ok(header) = info.header else { continue };
        let from = HEADER_BYTES + cut.at.0.saturating_sub(header.start.0);
        // Those that were given up are counted, and gone from the overlay.
        if reach(header) <= cut.at || !disk.exists(&info.path)? {
            continue;
        }
        let file = disk.open(&info.path, OpenMode::Read)?;
        let lost = commits_in(&*file, from, &header)?;
        cut.lost_bytes += lost.bytes;
        cut.lost_commits += lost.commits;
    }
    Ok(())
}

/// Ends the log at the cut: its segment holds zeros from there up to where new entries begin.
fn end_segments(disk: &dyn Disk, kept: &[SegmentInfo], cut: &Cut) -> Result<()> {
    let holds = |info: &&SegmentInfo| info.header.is_ok_and(|header| header.start <= cut.at);
    let last = kept.iter().rfind(holds).ok_or_else(|| nothing_to_cut("the cut lies before it"))?;
    for info in kept.iter().filter(|info| info.number > last.number) {
        disk.remove(&info.path)?;
    }
    let Ok(header) = last.header else { return Err(nothing_to_cut("its segment has no header")) };
    let file = disk.open(&segments::segment_path(FOLDER, last.number), OpenMode::Write)?;
    let capacity = cut.start.0 - header.start.0;
    file.truncate(HEADER_BYTES + (cut.at.0 - header.start.0))?;
    file.allocate(HEADER_BYTES + capacity)?;
    file.write_at(&SegmentHeader { capacity, ..header }.encode(), 0)
}
