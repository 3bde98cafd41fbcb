//! Reads the log in order and finds where it validly ends.
//!
//! At the first position without a valid entry the log may simply end (the rest was never
//! written, or not synced before a crash), or bytes that were durable once may be gone. It is
//! damage when anything proves that the stream was durable beyond that position:
//!
//! - a later segment is in use (its header is written only after all before it was synced),
//!   unless the entry is an unfinished one that runs into it;
//! - a later group names a durable LSN beyond it, also in a file whose header is damaged;
//! - the caller knows better (`durable_floor`, from the control file).
//!
//! Memory: one window of [`WINDOW`] bytes, more only for an entry that is longer and whose
//! bytes exist.

use super::record::{self, EntryHeader, EntryRef, Flaw, GROUP_BYTES, HEADER_BYTES};
use super::segments::{self, Extent, SegmentInfo};
use crate::disk::{Disk, File, OpenMode};
use crate::error::Result;
use crate::sync::Arc;
use crate::types::{DatabaseId, Incarnation, Lsn};

const WINDOW: usize = 1 << 20;

/// Why the valid log ends where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TailReason {
    /// The last segment is full to its last byte.
    EndOfSegments,
    Flaw(Flaw),
}

/// The end of the valid log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Where the next entry belongs.
    pub end: Lsn,
    pub reason: TailReason,
    /// Bytes after the end that had been written, up to the last that is not zero.
    pub discarded_bytes: u64,
}

/// A streaming reader; see the module's documentation for what it promises at the end.
pub struct LogReader {
    disk: Arc<dyn Disk>,
    extents: Vec<Extent>,
    /// Files after the last segment in use.
    trailing: Vec<SegmentInfo>,
    current: usize,
    open: Option<(u64, Arc<dyn File>)>,
    from: Lsn,
    at: Lsn,
    durable_floor: Lsn,
    /// Stream bytes from `buffer_start` on.
    buffer: Vec<u8>,
    buffer_start: Lsn,
    tail: Option<Tail>,
    stop: Lsn,
}

impl LogReader {
    /// Reads from `from`, which must be where an entry begins (or the log ends). An end below
    /// `durable_floor` is damage.
    pub fn open(
        disk: Arc<dyn Disk>,
        database: DatabaseId,
        from: Lsn,
        durable_floor: Lsn,
    ) -> Result<LogReader> {
        let mut found = segments::discover(&*disk, database)?;
        let extents = segments::extents(&found, from)?;
        let last = extents.last().map_or(0, |extent| extent.number);
        found.retain(|info| info.number > last);
        Ok(LogReader {
            disk,
            extents,
            trailing: found,
            current: 0,
            open: None,
            from,
            at: from,
            durable_floor,
            buffer: Vec::new(),
            buffer_start: from,
            tail: None,
            stop: Lsn::MAX,
        })
    }

    /// Ends the reading at `lsn`, an entry's end, as if nothing followed: what follows may be
    /// written at this moment.
    pub fn stop_at(&mut self, lsn: Lsn) {
        self.stop = lsn;
    }

    /// The next entry; `None` at the valid end, of which [`LogReader::tail`] then tells.
    /// `WalCorrupted` where the log is damaged rather than ended.
    #[allow(clippy::should_implement_trait)] // It lends from its buffer, as an Iterator cannot.
    pub fn next(&mut self) -> Result<Option<EntryRef<'_>>> {
        if self.tail.is_some() || self.at >= self.stop {
            return Ok(None);
        }
        while self.current + 1 < self.extents.len() && self.at >= self.extents[self.current].limit {
            self.current += 1;
        }
        match self.take()? {
            Ok(header) => {
                let from = (self.at.0 - self.buffer_start.0) as usize;
                self.at = header.end();
                let body = from + HEADER_BYTES..from + header.len as usize - 4;
                Ok(Some(EntryRef { header, body: &self.buffer[body] }))
            }
            Err(flaw) => {
                self.tail = Some(self.judge_end(flaw)?);
                Ok(None)
            }
        }
    }

    /// All bytes of the entry that `next` gave last.
    pub fn bytes_of_last(&self, header: &EntryHeader) -> &[u8] {
        let from = (header.lsn.0 - self.buffer_start.0) as usize;
        &self.buffer[from..from + header.len as usize]
    }

    /// The end of the valid log, once `next` has answered `None`.
    pub fn tail(&self) -> Option<Tail> {
        self.tail
    }

    /// Where the next entry begins.
    pub fn position(&self) -> Lsn {
        self.at
    }

    /// Bytes read so far, and bytes there are from the start to the end of the last segment.
    pub fn progress(&self) -> (u64, u64) {
        let last = self.extents.last().map_or(self.from, |extent| extent.limit);
        (self.at.0 - self.from.0, last.0.saturating_sub(self.from.0))
    }

    /// The segments read, in order.
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// The entry at `at`, left in the buffer.
    fn take(&mut self) -> Result<std::result::Result<EntryHeader, Flaw>> {
        let room = self.entry_room();
        let have = self.fill(HEADER_BYTES.min(room))?;
        let from = (self.at.0 - self.buffer_start.0) as usize;
        let len = match record::peek_len(&self.buffer[from..from + have], self.at) {
            Ok(len) if len > room => return Ok(Err(Flaw::CutShort)),
            Ok(len) => len,
            Err(flaw) => return Ok(Err(flaw)),
        };
        let have = self.fill(len)?;
        let from = (self.at.0 - self.buffer_start.0) as usize;
        let incarnation = self.extents[self.current].incarnation;
        let entry = record::decode(&self.buffer[from..from + have.min(len)], self.at, incarnation);
        Ok(entry.map(|entry| entry.header))
    }

    /// How far an entry that begins at `at` may reach: across segments of its incarnation
    /// that are full, never across one that was cut short by its successor.
    fn entry_room(&self) -> usize {
        let mut last = &self.extents[self.current];
        for next in &self.extents[self.current + 1..] {
            if last.limit != last.full || next.incarnation != last.incarnation {
                break;
            }
            last = next;
        }
        usize::try_from(last.limit.0.saturating_sub(self.at.0)).unwrap_or(usize::MAX)
    }

    /// Makes the buffer hold `count` bytes from `at` on, as far as they exist, and returns how
    /// many there are. `count` never exceeds what the segments have room for.
    fn fill(&mut self, count: usize) -> Result<usize> {
        let from = (self.at.0 - self.buffer_start.0) as usize;
        let have = self.buffer.len().saturating_sub(from);
        if have >= count {
            return Ok(count);
        }
        self.buffer.drain(..from.min(self.buffer.len()));
        self.buffer_start = self.at;
        if count <= WINDOW && self.buffer.capacity() > 2 * WINDOW {
            crate::memory::shrink(&mut self.buffer, WINDOW);
        }
        let wanted = count.max(WINDOW);
        let more = wanted.saturating_sub(self.buffer.len());
        crate::memory::reserve(&mut self.buffer, more, "read an entry of the log")?;
        self.buffer.resize(wanted, 0);
        let mut filled = have;
        while filled < wanted {
            match self.read_stream(self.at.plus(filled as u64), filled)? {
                0 => break,
                read => filled += read,
            }
        }
        self.buffer.truncate(filled);
        Ok(filled.min(count))
    }

    /// Reads stream bytes at `lsn` into the buffer from `into` on, within one segment.
    fn read_stream(&mut self, lsn: Lsn, into: usize) -> Result<usize> {
        let holds = |extent: &&Extent| extent.start <= lsn && lsn < extent.limit;
        let Some(extent) = self.extents[self.current..].iter().find(holds) else { return Ok(0) };
        let file = match &self.open {
            Some((number, file)) if *number == extent.number => Arc::clone(file),
            _ => self.disk.open(&extent.path, OpenMode::Read)?,
        };
        let left = (extent.limit.0 - lsn.0).min((self.buffer.len() - into) as u64) as usize;
        let read = file.read_at(&mut self.buffer[into..into + left], extent.offset(lsn))?;
        self.open = Some((extent.number, file));
        Ok(read)
    }

    /// Where the entry that is not valid at `at` says it ends: an unfinished one may run into
    /// segments that were put into use for it. Without a length, the end of its header.
    fn claimed_end(&mut self) -> Result<Lsn> {
        let have = self.fill(HEADER_BYTES)?;
        let from = (self.at.0 - self.buffer_start.0) as usize;
        let len = record::peek_len(&self.buffer[from..from + have], self.at);
        Ok(self.at.plus(len.unwrap_or(HEADER_BYTES) as u64))
    }

    /// `at` holds no valid entry: is that the end, or is something gone?
    fn judge_end(&mut self, flaw: Flaw) -> Result<Tail> {
        let at = self.at;
        let claimed_end = self.claimed_end()?;
        let damage = |details: &str| {
            let error = segments::corrupted(at, details);
            Err(error
                .with("segment", self.extents[self.current].path.as_str())
                .with("flaw", flaw.name()))
        };
        let last = &self.extents[self.extents.len() - 1];
        if last.start > at && last.start >= claimed_end {
            return damage("an entry is damaged, and a later segment shows that it was durable");
        }
        let mut scan = Scan { hole: at, incarnation: last.incarnation, last_used: 0, evidence: false };
        let mut discarded_bytes = 0;
        for extent in &self.extents[self.current..] {
            let file = self.disk.open(&extent.path, OpenMode::Read)?;
            let place = |offset: u64| Some(extent.start.plus(offset - segments::HEADER_BYTES));
            let (from, to) = (extent.offset(at.max(extent.start)), extent.offset(extent.limit));
            scan.incarnation = extent.incarnation;
            scan.last_used = from;
            scan.run(&*file, from, to, place)?;
            discarded_bytes += scan.last_used - from;
        }
        for info in &self.trailing {
            if info.header == Err(segments::Defect::Cut) {
                return damage("a later segment was in use and has been cut");
            }
            let file = self.disk.open(&info.path, OpenMode::Read)?;
            scan.run(&*file, 0, info.size, |_| None)?;
        }
        if scan.evidence {
            return damage("an entry is damaged, and a later group shows that it was durable");
        }
        if at < self.durable_floor {
            return damage("the log ends before a position that is known to be durable");
        }
        let full = at == last.limit && at == last.full;
        let reason = if full { TailReason::EndOfSegments } else { TailReason::Flaw(flaw) };
        Ok(Tail { end: at, reason, discarded_bytes })
    }
}

/// The last byte that is not zero. Most of what is looked at here is zeros, so they are looked at
/// many at a time.
fn last_written(bytes: &[u8]) -> Option<usize> {
    const STEP: usize = 4096;
    let mut end = bytes.len();
    for part in bytes.rchunks(STEP) {
        if part.iter().fold(0, |all, byte| all | byte) != 0 {
            let start = end - part.len();
            return part.iter().rposition(|byte| *byte != 0).map(|last| start + last);
        }
        end -= part.len();
    }
    None
}

/// A search for groups that prove the stream durable beyond `hole`.
struct Scan {
    hole: Lsn,
    incarnation: Incarnation,
    /// File offset behind the last byte that is not zero.
    last_used: u64,
    evidence: bool,
}

impl Scan {
    /// Looks at each offset in `from..to`. `place` gives the LSN that belongs at an offset, or
    /// none where the file's header cannot be trusted: then an entry speaks for itself.
    fn run(
        &mut self,
        file: &dyn File,
        from: u64,
        to: u64,
        place: impl Fn(u64) -> Option<Lsn>,
    ) -> Result<()> {
        const MORE: u64 = GROUP_BYTES as u64 - 1;
        let mut window = crate::memory::zeroed(WINDOW, "look for the end of the log")?;
        for data in file.data(from, to)? {
            // A group may begin and end with zeros, which need not have been written.
            let (from, to) = (from.max(data.start.saturating_sub(MORE)), to.min(data.end + MORE));
            self.run_over(file, from, to, &mut window, &place)?;
        }
        Ok(())
    }

    fn run_over(
        &mut self,
        file: &dyn File,
        from: u64,
        to: u64,
        window: &mut [u8],
        place: &impl Fn(u64) -> Option<Lsn>,
    ) -> Result<()> {
        let mut at = from;
        while at < to && !self.evidence {
            let wanted = (to - at).min(WINDOW as u64) as usize;
            let read = file.read_at(&mut window[..wanted], at)?;
            let bytes = &window[..read];
            if let Some(last) = last_written(bytes) {
                self.last_used = at + last as u64 + 1;
                self.search(bytes, |offset| place(at + offset as u64));
            }
            if read < wanted || read < GROUP_BYTES {
                break;
            }
            // The next window overlaps this one, so that no group hides between two.
            at += (read - (GROUP_BYTES - 1)) as u64;
        }
        Ok(())
    }

    fn search(&mut self, bytes: &[u8], place: impl Fn(usize) -> Option<Lsn>) {
        const LEN: [u8; 4] = (GROUP_BYTES as u32).to_le_bytes();
        for (offset, candidate) in bytes.windows(GROUP_BYTES).enumerate() {
            if candidate[16] != record::Op::Group as u8 || candidate[20..24] != LEN {
                continue;
            }
            let mut lsn = [0; 8];
            lsn.copy_from_slice(&candidate[..8]);
            let named = Lsn(u64::from_le_bytes(lsn));
            let mut incarnation = [0; 4];
            incarnation.copy_from_slice(&candidate[24..28]);
            let incarnation = Incarnation(u32::from_le_bytes(incarnation));
            let lineage = match place(offset) {
                Some(lsn) => lsn == named && incarnation == self.incarnation,
                None => named > self.hole && incarnation >= self.incarnation,
            };
            if !lineage {
                continue;
            }
            if let Ok(entry) = record::decode(candidate, named, incarnation)
                && record::group_durable(&entry).is_some_and(|durable| durable > self.hole)
            {
                self.evidence = true;
                return;
            }
        }
    }
}
