//! Where the log of a mirror, or of a former primary, validly ends.

use crate::control::Control;
use crate::disk::{Disk, OpenMode};
use crate::error::{Code, Error, Field, Result};
use crate::log::segments::{self, FOLDER, HEADER_BYTES};
use crate::log::{LogReader, Op};
use crate::page::get_u64;
use crate::sync::Arc;
use crate::types::Lsn;

/// What a look through the log found.
#[derive(Clone, Debug)]
pub struct LogEnd {
    pub at: Lsn,
    pub commits: u64,
    /// Microseconds since the Unix epoch; 0 where there was no commit.
    pub last_commit_at: i64,
    /// Bytes are missing there, and something lies beyond.
    pub broken: Option<Error>,
}

/// Reads the log on `disk` from `from`, or from its last checkpoint, to its valid end.
///
/// A crash in the middle of shipping may leave a hole before bytes that came later. So a hole is an
/// end here, unless it lies before what is known to have been synced: then the log is damaged, and
/// `WalCorrupted` says so.
pub fn log_end(disk: &Arc<dyn Disk>, from: Option<Lsn>) -> Result<LogEnd> {
    let control = Control::read(&**disk)?;
    let floor = control.checkpoint_lsn.max(control.clean_end);
    let from = from.unwrap_or(control.checkpoint_lsn);
    let mut reader = LogReader::open(Arc::clone(disk), control.database, from, floor)?;
    let mut end = LogEnd { at: from, commits: 0, last_commit_at: 0, broken: None };
    loop {
        match reader.next() {
            Ok(Some(entry)) => {
                end.at = entry.header.end();
                if entry.header.op == Op::Commit && entry.body.len() >= 8 {
                    end.commits += 1;
                    end.last_commit_at = get_u64(entry.body, 0).cast_signed();
                }
            }
            Ok(None) => return Ok(end),
            Err(error) if error.code == Code::WalCorrupted && end.at >= floor => {
                end.broken = Some(error);
                return Ok(end);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Removes what lies beyond `end` in the log on `disk`, so that it ends there.
pub fn cut(disk: &dyn Disk, end: &LogEnd) -> Result<()> {
    let database = Control::read(disk)?.database;
    let found = segments::discover(disk, database)?;
    for info in found.iter().rev() {
        let Ok(header) = info.header else { continue };
        if header.start > end.at {
            disk.remove(&info.path)?;
            disk.sync_dir(FOLDER)?;
            continue;
        }
        let file = disk.open(&info.path, OpenMode::Write)?;
        let zeros = crate::memory::zeroed(1 << 20, "fail over to a mirror")?;
        let mut at = HEADER_BYTES + end.at.0 - header.start.0;
        while at < info.size {
            let count = (info.size - at).min(zeros.len() as u64) as usize;
            file.write_at(&zeros[..count], at)?;
            at += count as u64;
        }
        return file.sync();
    }
    Ok(())
}

/// The text of a field, for the reason of another error.
pub fn details(error: &Error) -> String {
    match error.field("details") {
        Some(Field::Text(text)) => text.clone(),
        _ => error.to_string(),
    }
}
