//! Copies the durable log of a primary into the `wal` folder of a mirror, byte for byte.
//!
//! Only whole entries go, each checked on the way, and only what is durable in the primary: a
//! mirror never holds what its primary may lose. The rule of the log holds in the mirror too: a
//! segment gets its header after everything before it was synced.

use crate::checkpoint::Tables;
use crate::disk::{Disk, File, OpenMode, secure};
use crate::error::{Code, Error, Result};
use crate::log::record::{self, Flaw};
use crate::log::segments::{self, FOLDER, HEADER_BYTES, SegmentHeader};
use crate::log::{InUse, Log, Op};
use crate::sync::Arc;
use crate::types::{Incarnation, Lsn};

const CHUNK: usize = 1 << 20;

/// A complete checkpoint of the primary that the mirror's log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub begin: Lsn,
    pub end: Lsn,
    pub redo_lsn: Lsn,
    /// What redo from it, and undo, can need.
    pub keep_from: Lsn,
    pub at: i64,
    pub next_txn: u64,
    pub incarnation: Incarnation,
}

/// The log on its way into one mirror.
pub struct Shipper {
    target: Arc<dyn Disk>,
    log: Arc<Log>,
    /// The newest segment that the mirror has, 0 for none, and its file.
    number: u64,
    file: Option<Arc<dyn File>>,
    /// Everything before is in the mirror, synced.
    at: Lsn,
    /// Every entry that ends before is checked; what has been read of the next one.
    checked: Lsn,
    rest: Vec<u8>,
    mark: Option<Mark>,
}

impl Shipper {
    /// Begins with the segment that holds `from`, where an entry begins; the mirror has none yet.
    pub fn begin(target: Arc<dyn Disk>, log: Arc<Log>, from: Lsn) -> Result<Shipper> {
        let used = log.in_use();
        let first = holding(&used, from).ok_or_else(|| too_late(from))?;
        Ok(Shipper {
            target,
            log,
            number: first.number - 1,
            file: None,
            at: first.start,
            checked: from,
            rest: Vec::new(),
            mark: None,
        })
    }

    /// Goes on at `at`, where the mirror's valid log ends, in the segment `last` of it. The caller
    /// has made sure that both are of one history. What lies before `at` and not before `synced` may
    /// have been left by a process that was killed, or by a sync that failed: it is made certain.
    pub fn resume(
        target: Arc<dyn Disk>,
        log: Arc<Log>,
        (at, synced): (Lsn, Lsn),
        last: SegmentHeader,
    ) -> Result<Shipper> {
        let (number, start) = (last.number, last.start);
        let file = target.open(&segments::segment_path(FOLDER, number), OpenMode::Write)?;
        let known = if synced <= at { synced.max(start) } else { start };
        secure(&*file, 0..HEADER_BYTES)?;
        secure(&*file, HEADER_BYTES + known.0 - start.0..HEADER_BYTES + at.0.max(start.0) - start.0)?;
        target.sync_dir(FOLDER)?;
        let (file, rest) = (Some(file), Vec::new());
        Ok(Shipper { target, log, number, file, at, checked: at, rest, mark: None })
    }

    pub fn at(&self) -> Lsn {
        self.at
    }

    /// The newest complete checkpoint that has gone over, handed out once.
    pub fn take_mark(&mut self) -> Option<Mark> {
        self.mark.take()
    }

    /// Brings the log up to `to`, an entry's end that is durable, to the mirror's medium. After an
    /// error the mirror holds some of it, and shipping begins again with a new shipper.
    pub fn ship(&mut self, to: Lsn, keep_on: &dyn Fn() -> Result<()>) -> Result<u64> {
        let begun = self.at;
        let mut at = self.at;
        let wanted = CHUNK.min((to.0.saturating_sub(at.0)) as usize);
        let mut chunk = crate::memory::zeroed(wanted, "ship the log to a mirror")?;
        while at < to {
            keep_on()?;
            let used = self.log.in_use();
            let segment = holding(&used, at).ok_or_else(|| too_late(at))?;
            self.open_up_to(&used, &segment)?;
            let most = (segment.limit.min(to).0 - at.0).min(CHUNK as u64) as usize;
            let read = durable_bytes(&self.log, at, &mut chunk[..most])?;
            if read == 0 {
                return Err(Error::internal("durable log that cannot be read"));
            }
            self.check(at, &chunk[..read], segment.incarnation)?;
            let file =
                self.file.as_ref().ok_or_else(|| Error::internal("a mirror without a segment"))?;
            file.write_at(&chunk[..read], HEADER_BYTES + at.0 - segment.start.0)?;
            at = at.plus(read as u64);
        }
        if at > begun {
            self.sync()?;
            self.at = at;
        }
        Ok(at.0 - begun.0)
    }

    fn sync(&self) -> Result<()> {
        self.file.as_ref().map_or(Ok(()), |file| file.sync())
    }

    /// Puts the segments up to `last` into use, those that hold nothing too: their numbers must
    /// have no gap.
    fn open_up_to(&mut self, used: &[InUse], last: &InUse) -> Result<()> {
        for segment in used.iter().filter(|segment| segment.number <= last.number) {
            if segment.number <= self.number {
                continue;
            }
            if segment.number != self.number + 1 {
                return Err(too_late(segment.start));
            }
            self.sync()?;
            let path = segments::segment_path(FOLDER, segment.number);
            let file = self.target.open(&path, OpenMode::Create)?;
            file.truncate(0)?;
            file.allocate(segment.file_bytes)?;
            file.sync()?;
            self.target.sync_dir(FOLDER)?;
            file.write_at(&self.log.header_bytes(segment.number)?, 0)?;
            self.file = Some(file);
            self.number = segment.number;
        }
        Ok(())
    }

    /// Checks the entries that end in these bytes, and notes checkpoints among them.
    fn check(&mut self, at: Lsn, bytes: &[u8], incarnation: Incarnation) -> Result<()> {
        let expected = self.checked.0 + self.rest.len() as u64;
        let known = (expected.saturating_sub(at.0) as usize).min(bytes.len());
        self.rest.extend_from_slice(&bytes[known..]);
        let mut from = 0;
        // Of less than a header nothing can be said yet.
        while self.rest.len() - from >= record::HEADER_BYTES {
            let lsn = self.checked.plus(from as u64);
            match record::decode(&self.rest[from..], lsn, incarnation) {
                Ok(entry) => {
                    if entry.header.op == Op::CheckpointEnd {
                        self.mark = Some(mark(entry.body, entry.header.end(), incarnation)?);
                    }
                    from += entry.header.len as usize;
                }
                Err(Flaw::CutShort) => break,
                Err(flaw) => {
                    let error = segments::corrupted(lsn, "an entry of the primary's log is damaged");
                    return Err(error.with("flaw", flaw.name()));
                }
            }
        }
        self.rest.drain(..from);
        self.checked = self.checked.plus(from as u64);
        Ok(())
    }
}

fn mark(body: &[u8], end: Lsn, incarnation: Incarnation) -> Result<Mark> {
    let tables = Tables::decode(body)?;
    let redo_lsn = tables.dirty.iter().map(|(_, lsn)| *lsn).fold(tables.begin, Lsn::min);
    Ok(Mark {
        begin: tables.begin,
        end,
        redo_lsn,
        keep_from: tables.active.iter().map(|txn| txn.first).fold(redo_lsn, Lsn::min),
        at: tables.at,
        next_txn: tables.next_txn.0,
        incarnation,
    })
}

/// The segment whose stream bytes `lsn` is one of.
fn holding(used: &[InUse], lsn: Lsn) -> Option<InUse> {
    used.iter().rev().find(|s| s.start <= lsn && lsn < s.limit).copied()
}

/// As [`Log::durable_bytes`]; `MirrorIncomplete` where the log is cut meanwhile.
pub(super) fn durable_bytes(log: &Log, lsn: Lsn, bytes: &mut [u8]) -> Result<usize> {
    log.durable_bytes(lsn, bytes).map_err(|error| match error.code {
        Code::InvalidArgument => too_late(lsn).because(error),
        _ => error,
    })
}

/// The log was cleaned up beyond where the mirror is.
pub(super) fn too_late(lsn: Lsn) -> Error {
    super::incomplete("the log of the primary no longer reaches back to where the mirror is")
        .with("lsn", lsn.0)
}
