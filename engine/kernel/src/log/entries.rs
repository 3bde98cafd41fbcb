//! Reading a log that is in use: one entry by its LSN, or what there is from one on.

use super::reader::LogReader;
use super::recent::Found;
use super::record::{self, Entry, Flaw};
use super::segments;
use super::windows::Stretch;
use super::writer::{Core, Log};
use crate::error::{Error, Result};
use crate::sync::{Arc, Ordering};
use crate::types::{Incarnation, Lsn};

/// How much of an entry a read from a file fetches at first.
const FIRST_READ: usize = 4 << 10;

impl Log {
    /// The entry that begins at `lsn`: from memory where it is recent, else from its segment.
    /// Works on a failed log too, for what was written.
    pub fn read(&self, lsn: Lsn) -> Result<Entry> {
        let state = self.core.state.lock();
        if lsn.0 >= state.end {
            return Err(Error::argument("lsn", "lies beyond the end of the log"));
        }
        // Memory begins with this incarnation; what is before it is in files only.
        let found = if lsn.0 >= self.core.first { state.recent.find(lsn) } else { None };
        let entry = match found {
            Some(Found::Active(bytes)) => decode_at(bytes, lsn, self.core.incarnation),
            Some(Found::Frozen(bytes, from)) => {
                drop(state);
                decode_at(&bytes[from..], lsn, self.core.incarnation)
            }
            None => {
                drop(state);
                return self.core.read_file(lsn);
            }
        };
        entry.map_err(|flaw| damaged(lsn, flaw))
    }

    /// As [`Log::read`], `None` where the entry is not in memory any more: reads no file.
    pub fn read_recent(&self, lsn: Lsn) -> Option<Entry> {
        let state = self.core.state.lock();
        if lsn.0 < self.core.first || lsn.0 >= state.end {
            return None;
        }
        match state.recent.find(lsn)? {
            Found::Active(bytes) => decode_at(bytes, lsn, self.core.incarnation).ok(),
            Found::Frozen(bytes, from) => {
                drop(state);
                decode_at(&bytes[from..], lsn, self.core.incarnation).ok()
            }
        }
    }

    /// A reader of what is on the medium from `lsn` on, which must be where an entry begins.
    ///
    /// Up to [`Log::durable`], as it was before the call, the reader promises what it always
    /// does; beyond, the log grows under it. The caller pins what it reads.
    pub fn reader(&self, lsn: Lsn) -> Result<LogReader> {
        LogReader::open(Arc::clone(&self.core.disk), self.database(), lsn, self.durable())
    }

    /// Its bytes from `lsn` on, where an entry begins, to `end`, where one ends and which is durable.
    pub fn stretch(&self, lsn: Lsn, end: Lsn) -> Result<Stretch> {
        Stretch::open(Arc::clone(&self.core.disk), self.database(), lsn, end)
    }
}

impl Core {
    fn read_file(&self, lsn: Lsn) -> Result<Entry> {
        let mut bytes = vec![0; FIRST_READ];
        let (have, incarnation) = self.read_stream(lsn, &mut bytes)?;
        let len = record::peek_len(&bytes[..have], lsn).map_err(|flaw| damaged(lsn, flaw))?;
        if len > have {
            if lsn.0 + len as u64 > self.written.load(Ordering::Acquire) {
                return Err(damaged(lsn, Flaw::CutShort));
            }
            bytes = crate::memory::zeroed(len, "read an entry of the log")?;
            self.read_stream(lsn, &mut bytes)?;
        }
        decode_at(&bytes, lsn, incarnation).map_err(|flaw| damaged(lsn, flaw))
    }
}

fn decode_at(bytes: &[u8], lsn: Lsn, incarnation: Incarnation) -> std::result::Result<Entry, Flaw> {
    record::decode(bytes, lsn, incarnation).map(|entry| entry.to_owned())
}

fn damaged(lsn: Lsn, flaw: Flaw) -> Error {
    segments::corrupted(lsn, "no valid entry begins here").with("flaw", flaw.name())
}
