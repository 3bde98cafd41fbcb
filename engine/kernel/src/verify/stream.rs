//! The log that a recovery would need: every entry up to what was durable when the check began.

use super::Check;
use crate::error::{Code, Result};
use crate::log::{EntryRef, Op};
use crate::page::PartReader;
use crate::types::TxnId;

/// Entries between two looks at cancellation.
const STRIDE: u64 = 1024;

impl Check<'_> {
    pub(super) fn read_log(&mut self) -> Result<()> {
        let Some(from) = self.options.redo_lsn else { return Ok(()) };
        let log = &self.shared.core.log;
        let durable = log.durable();
        self.progress.begin("log", "bytes", durable.0.saturating_sub(from.0));
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
                    self.progress.ensure_going()?;
                    self.progress.set(position.0 - from.0);
                }
            }
            Ok(reader.position())
        });
        match outcome {
            Ok(end) => self.report.bytes += end.0.saturating_sub(from.0),
            Err(error) if error.code == Code::Cancelled => return Err(error),
            Err(error) => {
                let detail = format!("the log cannot be read on: {}", super::describe(&error));
                self.note(Code::WalCorrupted, None, None, detail);
            }
        }
        Ok(())
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
