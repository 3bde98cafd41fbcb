//! A damaged log of a mirror: the damaged part comes again from the log of the database, or from its
//! archive. The mirror needs a new copy only where neither has it any more.
//!
//! A mirror's log is the database's, byte for byte. So whole blocks are compared, and those that
//! differ are replaced, segment after segment, each synced before the next one is touched. What is
//! valid and differs is no damage: then the mirror is of another history, and stays as it is.

use super::diverged;
use super::ends::log_end;
use super::follower::Follower;
use crate::control::Control;
use crate::disk::{Disk, File, OpenMode};
use crate::error::{Code, Error, Result};
use crate::log::record;
use crate::log::segments::{self, FOLDER, HEADER_BYTES, SegmentHeader};
use crate::memory::zeroed;
use crate::sync::Arc;
use crate::types::{Incarnation, Lsn};

const CHUNK: usize = 1 << 20;
/// What is replaced at once.
const BLOCK: usize = 4096;

/// A segment as the database has it, in use or archived.
struct Original {
    file: Arc<dyn File>,
    header: SegmentHeader,
    /// The bytes of its header, by which it is known that nobody has taken its file for another.
    bytes: [u8; HEADER_BYTES as usize],
    /// Where its stream bytes stop counting here.
    limit: Lsn,
}

impl Original {
    /// Fills `into` with the bytes at `offset`; false where the segment is gone.
    fn read(&self, into: &mut [u8], offset: u64) -> Result<bool> {
        let read = self.file.read_at(into, offset)?;
        let mut now = [0; HEADER_BYTES as usize];
        self.file.read_at(&mut now, 0)?;
        Ok(read == into.len() && now == self.bytes)
    }
}

impl Follower {
    /// Looks whether the log of the mirror is whole, from where a recovery of it would begin; notes
    /// damage, so that the next step replaces what is damaged.
    pub(super) fn look_at_log(&self) -> Result<()> {
        let shipped = self.facts.lock().shipped;
        let end = Control::read(&*self.target)
            .and_then(|control| log_end(&self.target, Some(control.redo_lsn)));
        let is_damaged = match end {
            Ok(end) => !shipped.is_none() && end.at < shipped,
            Err(error) if error.code == Code::WalCorrupted => true,
            Err(error) => return Err(error),
        };
        self.facts.lock().is_log_damaged |= is_damaged;
        Ok(())
    }

    /// Replaces what is damaged in the mirror's log, as far as it has come; returns the bytes.
    /// `MirrorDiverged` where something valid differs. What neither the log of the database nor its
    /// archive has stays as it is.
    pub(super) fn mend_log(&self) -> Result<u64> {
        let _turn = self.pages.lock();
        let log = &self.source.shared.core.log;
        if !self.is_own_log_whole()? {
            return Ok(0);
        }
        let shipped = self.facts.lock().shipped;
        let end = if shipped.is_none() { log.durable() } else { shipped.min(log.durable()) };
        let newest = log.in_use().last().map_or(0, |last| last.number);
        let found = segments::discover(&*self.target, log.database())?;
        let numbers = || found.iter().map(|info| info.number).filter(|number| *number <= newest);
        let (Some(first), Some(last)) = (numbers().min(), numbers().max()) else { return Ok(0) };
        let mut mended = 0;
        for number in first.min(self.first_needed().unwrap_or(first))..=last {
            if let Some(original) = self.original(number, end)? {
                mended += self.mend_segment(number, &original)?;
            }
        }
        if mended > 0 {
            self.facts.lock().log_mended += mended;
            self.tell("mirror_log_mended", vec![("bytes", mended.into())]);
        }
        Ok(mended)
    }

    /// What is damaged in the database is not to go over.
    fn is_own_log_whole(&self) -> Result<bool> {
        let log = &self.source.shared.core.log;
        let Some(from) = log.first_entry_from(Lsn::NONE)? else { return Ok(true) };
        let mut reader = log.reader(from)?;
        reader.stop_at(log.durable());
        loop {
            match reader.next() {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(true),
                Err(error) if error.code == Code::WalCorrupted => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// The segment in use that a recovery of the mirror would begin in.
    fn first_needed(&self) -> Option<u64> {
        let from = Control::read(&*self.target).ok()?.redo_lsn;
        let used = self.source.shared.core.log.in_use();
        used.iter().find(|slot| slot.start <= from && from < slot.limit).map(|slot| slot.number)
    }

    fn original(&self, number: u64, end: Lsn) -> Result<Option<Original>> {
        let log = &self.source.shared.core.log;
        for (disk, folder) in log.places() {
            let Some((file, bytes, header)) = opened(&*disk, &folder, number, log.database()) else {
                continue;
            };
            let next = log.places().into_iter().find_map(|(disk, folder)| {
                opened(&*disk, &folder, number + 1, log.database()).map(|(_, _, header)| header.start)
            });
            let full = header.start.plus(header.capacity);
            let limit = full.min(next.unwrap_or(full)).min(end);
            return Ok(Some(Original { file, header, bytes, limit }));
        }
        Ok(None)
    }

    fn mend_segment(&self, number: u64, original: &Original) -> Result<u64> {
        let path = segments::segment_path(FOLDER, number);
        let is_new = !self.target.exists(&path)?;
        let file = self.target.open(&path, OpenMode::Create)?;
        let mut header = [0; HEADER_BYTES as usize];
        file.read_at(&mut header, 0)?;
        if header != original.bytes && SegmentHeader::decode(&header).is_ok() {
            return Err(diverged("its log is of another history"));
        }
        let bytes = HEADER_BYTES + original.header.capacity;
        if file.size()? < bytes {
            file.allocate(bytes)?;
        }
        let mut mended = mend_stream(&*file, original)?;
        if header != original.bytes {
            // The header vouches for what is before it and in it: it comes last.
            file.sync()?;
            file.write_at(&original.bytes, 0)?;
            mended += HEADER_BYTES;
        }
        if mended > 0 {
            file.sync()?;
        }
        if is_new {
            self.target.sync_dir(FOLDER)?;
        }
        Ok(mended)
    }
}

/// A segment of `database`, with its header; `None` where it is not there, or not what it should be.
#[allow(clippy::type_complexity)] // Three plain values, used twice.
fn opened(
    disk: &dyn Disk,
    folder: &str,
    number: u64,
    database: crate::types::DatabaseId,
) -> Option<(Arc<dyn File>, [u8; HEADER_BYTES as usize], SegmentHeader)> {
    let file = disk.open(&segments::segment_path(folder, number), OpenMode::Read).ok()?;
    let mut bytes = [0; HEADER_BYTES as usize];
    file.read_at(&mut bytes, 0).ok()?;
    let header = SegmentHeader::decode(&bytes).ok()?;
    (header.database == database && header.number == number).then_some((file, bytes, header))
}

/// Makes the stream bytes in `file` those of `original`; returns how many were replaced.
fn mend_stream(file: &dyn File, original: &Original) -> Result<u64> {
    let start = original.header.start;
    let (mut ours, mut theirs) = (zeroed(CHUNK, "mend the log")?, zeroed(CHUNK, "mend the log")?);
    let (mut at, mut mended) = (start, 0);
    while at < original.limit {
        let count = (original.limit.0 - at.0).min(CHUNK as u64) as usize;
        let offset = HEADER_BYTES + at.0 - start.0;
        let (ours, theirs) = (&mut ours[..count], &mut theirs[..count]);
        if !original.read(ours, offset)? {
            // It was cleaned up meanwhile: what is damaged from here on is nowhere.
            return Ok(mended);
        }
        let read = file.read_at(theirs, offset)?;
        theirs[read..].fill(0);
        if ours != theirs && is_damage(theirs, ours, at, original.header.incarnation)? {
            for block in (0..count).step_by(BLOCK) {
                let part = block..count.min(block + BLOCK);
                if ours[part.clone()] != theirs[part.clone()] {
                    file.write_at(&ours[part.clone()], offset + block as u64)?;
                    mended += part.len() as u64;
                }
            }
        }
        at = at.plus(count as u64);
    }
    Ok(mended)
}

/// Whether `theirs`, which lies at `at`, is to be replaced by `ours`: not where it has a valid entry
/// that is damaged in ours. `MirrorDiverged` where both have one, and not the same.
fn is_damage(theirs: &[u8], ours: &[u8], at: Lsn, incarnation: Incarnation) -> Result<bool> {
    for offset in 0..theirs.len().saturating_sub(record::HEADER_BYTES) {
        let lsn = at.plus(offset as u64);
        let Ok(entry) = record::decode(&theirs[offset..], lsn, incarnation) else { continue };
        let part = offset..offset + entry.header.len as usize;
        if theirs[part.clone()] != ours[part] {
            return match record::decode(&ours[offset..], lsn, incarnation) {
                Ok(_) => Err(diverged("its log is of another history")),
                Err(_) => Ok(false),
            };
        }
    }
    Ok(true)
}

/// `MirrorIncomplete`: what is damaged of its log is kept nowhere any more.
pub(super) fn kept_nowhere() -> Error {
    super::incomplete("its log is damaged, where the database keeps it neither in use nor archived")
}
