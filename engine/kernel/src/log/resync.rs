//! Finding where an entry begins, for readers that know a position only roughly.

use super::record::{self, Flaw, HEADER_BYTES, MAX_ENTRY};
use super::writer::{Core, Log};
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
        self.core.first_entry_from(lsn.max(self.status().oldest))
    }
}

impl Core {
    fn first_entry_from(&self, lsn: Lsn) -> Result<Option<Lsn>> {
        let mut window = vec![0; WINDOW];
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
                    && self.is_entry(candidate, incarnation)?
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
        let mut bytes = vec![0; len.min(MAX_ENTRY)];
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
