//! The log that a recovery would need: every entry up to what was durable when the check began.

use super::Check;
use crate::error::{Code, Result};
use crate::log::{EntryRef, Op};
use crate::page::PartReader;
use crate::recovery::Progress;
use crate::txn::Shared;
use crate::types::{Lsn, TxnId};

/// Entries between two looks at cancellation.
const STRIDE: u64 = 1024;

/// What reading the log came to.
pub(super) struct LogFindings {
    bytes: u64,
    /// Why it cannot be read on.
    problem: Option<String>,
}

/// Reads the log from `from` on. Independent of all else that is checked, so that it can run beside.
pub(super) fn read_log(shared: &Shared, progress: &Progress, from: Lsn) -> Result<LogFindings> {
    let log = &shared.core.log;
    let durable = log.durable();
    let mut entries = 0u64;
    let outcome = log.reader(from).and_then(|mut reader| {
        while reader.position() < durable {
            let position = reader.position();
            let entry = match reader.next() {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                // What is not durable yet changes under the reader.
                Err(_) if position >= durable => break,
                Err(error) => return Err(error),
            };
            inspect(&entry)?;
            entries += 1;
            if entries.is_multiple_of(STRIDE) {
                progress.ensure_going()?;
            }
        }
        Ok(reader.position())
    });
    match outcome {
        Ok(end) => Ok(LogFindings { bytes: end.0.saturating_sub(from.0), problem: None }),
        Err(error) if error.is_interruption() => Err(error),
        Err(error) => {
            let problem = Some(format!("the log cannot be read on: {}", super::describe(&error)));
            Ok(LogFindings { bytes: 0, problem })
        }
    }
}

impl Check<'_> {
    pub(super) fn note_log(&mut self, found: LogFindings) {
        self.report.bytes += found.bytes;
        if let Some(detail) = found.problem {
            self.note(Code::WalCorrupted, None, None, detail);
        }
    }
}

/// Reads what an entry says about pages.
fn inspect(entry: &EntryRef<'_>) -> Result<()> {
    let has_parts = matches!(
        entry.header.op,
        Op::Insert | Op::Update | Op::Delete | Op::Clr | Op::Structure | Op::Image | Op::Freed
    );
    if has_parts {
        let mut parts = PartReader::new(entry.body)?;
        while parts.next_part()?.is_some() {}
    }
    let is_chained = entry.header.prev < entry.header.lsn || entry.header.txn == TxnId::SYSTEM;
    if !is_chained {
        return Err(crate::error::Error::new(Code::WalCorrupted)
            .with("details", "an entry names a later one as the one before it"));
    }
    Ok(())
}
