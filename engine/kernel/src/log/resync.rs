//! Finding where an entry begins, for readers that know a position only roughly.

use super::record::{self, Flaw, HEADER_BYTES, MAX_ENTRY};
use super::segments::{self, SegmentHeader};
use super::writer::{Core, Log};
use crate::disk::File;
use crate::error::{Code, Result};
use crate::sync::Ordering;
use crate::types::{Incarnation, Lsn};

/// Bytes looked at at a time.
const WINDOW: usize = 256 << 10;

impl Log {
    /// The first entry at or after `lsn`, of what has been written; `None` where there is none.
    ///
    /// An entry begins with its own position, so a byte string that says where it lies and has
    /// the right checksum is one.
    pub fn first_entry_from(&self, lsn: Lsn) -> Result<Option<Lsn>> {
        let from = lsn.max(self.status().oldest);
        self.core.first_from(from, |at, incarnation| self.core.is_entry(at, incarnation))
    }

    /// As [`Log::first_entry_from`], also of an entry that is not whole: it says where it lies.
    pub fn first_sign_from(&self, lsn: Lsn) -> Result<Option<Lsn>> {
        self.core.first_sign(lsn.max(self.status().oldest))
    }
}

impl Core {
    /// Where the first entry at or after `lsn` says that it lies, whole or not.
    pub(super) fn first_sign(&self, lsn: Lsn) -> Result<Option<Lsn>> {
        self.first_from(lsn, |_, _| Ok(true))
    }

    /// The first place from `lsn` on that says it is one, and that `counts`.
    fn first_from(
        &self,
        lsn: Lsn,
        counts: impl Fn(Lsn, Incarnation) -> Result<bool>,
    ) -> Result<Option<Lsn>> {
        let mut window = crate::memory::zeroed(WINDOW, "look for entries")?;
        let mut at = lsn;
        while at.0 < self.written.load(Ordering::Acquire) {
            let (have, incarnation) = self.read_stream(at, &mut window)?;
            if have == 0 {
                return Ok(None);
            }
            let starts = have.saturating_sub(HEADER_BYTES - 1);
            for offset in 0..starts {
                let candidate = at.plus(offset as u64);
                if record::peek_len(&window[offset..have], candidate).is_ok()
                    && counts(candidate, incarnation)?
                {
                    return Ok(Some(candidate));
                }
            }
            // A few bytes before the end of a segment hold no header: the next segment does.
            at = at.plus(if starts == 0 { have } else { starts } as u64);
        }
        Ok(None)
    }

    fn is_entry(&self, lsn: Lsn, incarnation: Incarnation) -> Result<bool> {
        let mut head = [0; HEADER_BYTES];
        let (have, _) = self.read_stream(lsn, &mut head)?;
        let Ok(len) = record::peek_len(&head[..have], lsn) else { return Ok(false) };
        let mut bytes = crate::memory::zeroed(len.min(MAX_ENTRY), "read an entry of the log")?;
        let (have, _) = match self.read_stream(lsn, &mut bytes) {
            Err(error) if error.code == Code::InvalidArgument => return Ok(false),
            read => read?,
        };
        Ok(match record::decode(&bytes[..have], lsn, incarnation) {
            Ok(_) => true,
            // Whole and right, but of an operation that this version does not know.
            Err(flaw) => flaw == Flaw::BadFields,
        })
    }
}

/// What a stretch of log that is given up still shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// Up to the last byte that is not zero.
    pub bytes: u64,
    /// Valid commit entries.
    pub commits: u64,
}

/// Looks for commits in a segment file from the offset `from` on, past whatever is damaged.
pub fn commits_in(file: &dyn File, from: u64, header: &SegmentHeader) -> Result<Remains> {
    let size = file.size()?;
    let (mut remains, mut last_used) = (Remains::default(), from);
    let mut window = crate::memory::zeroed(WINDOW, "look for entries")?;
    let mut at = from;
    while at < size {
        let wanted = ((size - at) as usize).min(WINDOW);
        let have = file.read_at(&mut window[..wanted], at)?;
        if let Some(last) = window[..have].iter().rposition(|byte| *byte != 0) {
            last_used = at + last as u64 + 1;
        }
        // Commits are short: one that is cut by the window's end begins the next window.
        let whole = at + have as u64 >= size;
        let starts = if whole { have } else { have.saturating_sub(WINDOW / 4) };
        for offset in 0..starts {
            let lsn = header.start.plus(at + offset as u64 - segments::HEADER_BYTES);
            let is_commit = window[offset..have].get(16) == Some(&(record::Op::Commit as u8));
            if is_commit
                && let Ok(len) = record::peek_len(&window[offset..have], lsn)
                && let Some(bytes) = window[offset..have].get(..len)
            {
                remains.commits += u64::from(record::decode(bytes, lsn, header.incarnation).is_ok());
            }
        }
        if starts == 0 {
            break;
        }
        at += starts as u64;
    }
    remains.bytes = last_used - from;
    Ok(remains)
}
