//! The segments of an open log: those in use, the one being written, those prepared.
//!
//! Invariants: slots are in order of their numbers without gaps; each starts where the one
//! before it ends; prepared ones ("not used") come last and always lie beyond `written`.

use std::time::{Duration, Instant};

use super::segments::{self, FOLDER, HEADER_BYTES, SegmentHeader};
use super::writer::Core;
use super::{LogOptions, SyncMode};
use crate::disk::{AlignedBuffer, Disk, File, OpenMode};
use crate::error::{Error, Result};
use crate::sync::{Arc, Ordering};
use crate::types::{DatabaseId, Incarnation, Lsn};

/// Zeros are written in blocks of this size.
pub(super) const BLOCK: usize = 1 << 20;
/// Segments that are kept open for reading, and prepared ones for writing: a long transaction
/// keeps and prepares more of them than a process may have open.
const OPEN_READERS: usize = 8;
const OPEN_AHEAD: usize = 2;
/// Prepared segments that stay although nothing has room set aside in them.
const SPARE: u64 = 2;
/// Between two attempts to prepare a segment ahead of need.
const PAUSE: Duration = Duration::from_secs(1);

/// One segment of the open log.
pub(super) struct Slot {
    pub(super) number: u64,
    pub(super) start: u64,
    pub(super) limit: u64,
    pub(super) capacity: u64,
    pub(super) incarnation: Incarnation,
    /// Its header was written.
    pub(super) used: bool,
    /// Kept open from its preparation to its use, for the next ones only: undo may have many set
    /// aside.
    pub(super) file: Option<Arc<dyn File>>,
}

/// Where a part of a group is to be written.
pub(super) struct Target {
    pub number: u64,
    pub file: Option<Arc<dyn File>>,
    pub start: u64,
    pub limit: u64,
    /// To be written first: the segment is put into use.
    pub header: Option<SegmentHeader>,
}

impl Target {
    /// The file offset of a stream position in this segment.
    pub(super) fn offset(&self, lsn: u64) -> u64 {
        HEADER_BYTES + (lsn - self.start)
    }
}

pub(super) struct Slots {
    pub(super) slots: Vec<Slot>,
    /// Segments open for reading, the one used last at the end.
    readers: Vec<(u64, Arc<dyn File>)>,
    pub(super) database: DatabaseId,
    pub(super) clock: fn() -> i64,
}

impl Slots {
    pub(super) fn new(slots: Vec<Slot>, database: DatabaseId, clock: fn() -> i64) -> Slots {
        Slots { slots, readers: Vec::new(), database, clock }
    }

    pub(super) fn space_end(&self) -> u64 {
        self.slots.last().map_or(0, |slot| slot.limit)
    }

    pub(super) fn database(&self) -> DatabaseId {
        self.database
    }

    pub(super) fn oldest(&self) -> Lsn {
        Lsn(self.slots.first().map_or(0, |slot| slot.start))
    }

    /// How many files there are, and their bytes.
    pub(super) fn totals(&self) -> (u64, u64) {
        let bytes = self.slots.iter().map(|slot| slot.capacity + HEADER_BYTES).sum();
        (self.slots.len() as u64, bytes)
    }

    fn holding(&self, lsn: u64) -> Option<usize> {
        self.slots.iter().rposition(|slot| slot.start <= lsn && lsn < slot.limit)
    }

    /// The segments that hold `from..to`, in order.
    pub(super) fn targets(&self, from: u64, to: u64) -> Vec<Target> {
        let first = self.slots.partition_point(|slot| slot.limit <= from);
        let mut targets = Vec::new();
        for index in first..self.slots.len() {
            let slot = &self.slots[index];
            if slot.start >= to {
                break;
            }
            if slot.start < slot.limit {
                let header = (!slot.used).then(|| self.header(index));
                let (number, start, limit) = (slot.number, slot.start, slot.limit);
                targets.push(Target { number, file: slot.file.clone(), start, limit, header });
            }
        }
        targets
    }

    pub(super) fn header(&self, index: usize) -> SegmentHeader {
        let slot = &self.slots[index];
        let previous = index.checked_sub(1).map(|before| self.slots[before].incarnation);
        SegmentHeader {
            database: self.database,
            incarnation: slot.incarnation,
            number: slot.number,
            start: Lsn(slot.start),
            capacity: slot.capacity,
            previous: previous.unwrap_or_default(),
            created_at: (self.clock)(),
        }
    }

    pub(super) fn set_used(&mut self, number: u64) {
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.number == number) {
            slot.used = true;
            slot.file = None;
        }
    }

    /// The segment's file, where it is open for reading.
    fn reader(&mut self, number: u64) -> Option<Arc<dyn File>> {
        let place = self.readers.iter().position(|(known, _)| *known == number)?;
        self.readers[place..].rotate_left(1);
        self.readers.last().map(|(_, file)| Arc::clone(file))
    }

    fn keep_reader(&mut self, number: u64, file: &Arc<dyn File>) {
        self.readers.retain(|(known, _)| *known != number);
        if self.readers.len() >= OPEN_READERS {
            self.readers.remove(0);
        }
        self.readers.push((number, Arc::clone(file)));
    }

    /// Files that are open for reading or to be written next.
    #[cfg(test)]
    pub(super) fn open_files(&self) -> usize {
        self.readers.len() + self.slots.iter().filter(|slot| slot.file.is_some()).count()
    }

    pub(super) fn push_prepared(
        &mut self,
        number: u64,
        capacity: u64,
        incarnation: Incarnation,
        file: Arc<dyn File>,
    ) {
        let start = self.space_end();
        let limit = start + capacity;
        let waiting = self.slots.iter().filter(|slot| !slot.used).count();
        let file = (waiting < OPEN_AHEAD).then_some(file);
        self.slots.push(Slot { number, start, limit, capacity, incarnation, used: false, file });
    }

    /// Ends the segment that holds the byte before `end` there; the prepared ones move up.
    /// False where none is prepared.
    fn cut(&mut self, end: u64) -> bool {
        let Some(current) = self.slots.iter().rposition(|slot| slot.start < end && end <= slot.limit)
        else {
            return true;
        };
        match self.slots.get(current + 1) {
            None => return false,
            // Already in use from `end` on, and empty: nothing to end.
            Some(next) if next.used => return true,
            Some(_) => {}
        }
        self.slots[current].limit = end;
        let mut start = end;
        for slot in &mut self.slots[current + 1..] {
            slot.start = start;
            start += slot.capacity;
            slot.limit = start;
        }
        true
    }
}

/// Creates segment file `number` full of zeros, synced, name and all. A file of that number
/// that was left unfinished is written anew.
///
/// Where no commit waits for a sync, or what is known to come is long (`is_for_bulk`), the blocks are
/// only set aside: writing them beforehand would double what goes to the disk, and nobody gains.
pub(super) fn prepare_file(
    disk: &dyn Disk,
    number: u64,
    options: &LogOptions,
    is_for_bulk: bool,
) -> Result<Arc<dyn File>> {
    let segment_bytes = options.segment_bytes;
    let path = segments::segment_path(FOLDER, number);
    let fill = || -> Result<Arc<dyn File>> {
        let file = disk.open(&path, OpenMode::Create)?;
        file.truncate(0)?;
        if options.sync_mode == SyncMode::Off || is_for_bulk {
            file.allocate(segment_bytes)?;
        } else {
            write_zeros(&*file, segment_bytes)?;
        }
        file.sync()?;
        disk.sync_dir(FOLDER)?;
        Ok(file)
    };
    fill().inspect_err(|_| {
        // Frees what the attempt took of a full disk. Where even this fails, the next attempt
        // writes the file anew.
        let _ = disk.remove(&path);
    })
}

/// Past the system's cache: nobody reads zeros, and to find memory for them takes the system longer
/// than to write them.
fn write_zeros(file: &dyn File, bytes: u64) -> Result<()> {
    let block = BLOCK.min(bytes as usize);
    let zeros = AlignedBuffer::zeroed(block)?;
    let mut at = 0;
    while at < bytes {
        let count = (bytes - at).min(BLOCK as u64);
        file.write_past_cache(&zeros.bytes()[..count as usize], at)?;
        at += count;
    }
    Ok(())
}

impl Core {
    /// Prepares segments until `needed` bytes fit after the end. `DiskFull` leaves the log as
    /// it was.
    pub(super) fn prepare(&self, needed: u64) -> Result<()> {
        let _turn = self.preparing.lock();
        loop {
            self.check()?;
            let state = self.state.lock();
            if state.slots.space_end() - state.end >= needed {
                return Ok(());
            }
            let number = state.slots.slots.last().map_or(1, |slot| slot.number + 1);
            let capacity = self.options.segment_bytes - HEADER_BYTES;
            // Of a segment that would be filled in part only, the rest is for commits that wait.
            let is_for_bulk = state.expected >= state.slots.space_end() + capacity;
            drop(state);
            let file = prepare_file(&*self.disk, number, &self.options, is_for_bulk)?;
            let mut state = self.state.lock();
            state.slots.push_prepared(number, capacity, self.incarnation, file);
        }
    }

    /// Keeps one segment ahead of the end.
    pub(super) fn prepare_in_background(&self) {
        loop {
            let mut wishes = self.wishes.lock();
            while !wishes.stop && !wishes.segment {
                self.wished.wait(&mut wishes);
            }
            if wishes.stop {
                return;
            }
            wishes.segment = false;
            drop(wishes);
            let reserved = self.state.lock().reserved;
            if self.prepare(reserved + self.options.segment_bytes - HEADER_BYTES).is_err() {
                // On a full disk the append that needs the segment tries itself, and is told;
                // this thread must not fill the disk again and again meanwhile.
                self.pause(PAUSE);
            }
            self.state.lock().segment_asked = false;
        }
    }

    fn pause(&self, time: Duration) {
        let due = Instant::now() + time;
        let mut wishes = self.wishes.lock();
        while !wishes.stop && !self.wished.wait_until(&mut wishes, due).timed_out() {}
    }

    pub(super) fn rotate(&self) -> Result<()> {
        loop {
            self.check()?;
            let mut state = self.state.lock();
            let end = state.end;
            // What is set aside for undo must still fit once the rest of the segment is given up.
            let after: u64 =
                state.slots.slots.iter().filter(|s| s.start >= end).map(|s| s.capacity).sum();
            if after > state.reserved && state.slots.cut(end) {
                drop(state);
                // The group that is open now may belong to the new segment; what is before it
                // is flushed, so that the closed segment is complete.
                return self.reach(end, true);
            }
            let needed = state.slots.space_end() - end + state.reserved + 1;
            drop(state);
            self.prepare(needed)?;
        }
    }

    /// A segment that cannot be archived stays, and those after it, as long as that can be afforded;
    /// [`Core::archive_failure`] tells why, [`Core::archive_gap`] what went all the same.
    pub(super) fn truncate_before(&self, lsn: Lsn) -> Result<u32> {
        let mut checked = self.removing.lock();
        let lsn = lsn.0.min(self.durable.load(Ordering::Acquire));
        let mut removed = 0;
        loop {
            let state = self.state.lock();
            let (oldest, start, limit) = match state.slots.slots.as_slice() {
                [oldest, next, ..] if next.used && oldest.limit <= lsn => {
                    (oldest.number, Lsn(oldest.start), Lsn(oldest.limit))
                }
                _ => break,
            };
            drop(state);
            let path = segments::segment_path(FOLDER, oldest);
            if self.options.archive {
                let archived = self.archive(&path, oldest);
                *self.archive_failure.lock() = archived.as_ref().err().cloned();
                if let Err(error) = archived {
                    if !self.waits_no_longer(start, Lsn(lsn)) {
                        break;
                    }
                    self.note_archive_gap(oldest, limit, error);
                } else if let Err(error) = self.ensure_archived_whole((start, limit), &mut checked) {
                    self.note_archive_gap(oldest, limit, error);
                }
            }
            self.disk.remove(&path)?;
            let mut state = self.state.lock();
            if state.slots.slots.first().is_some_and(|slot| slot.number == oldest) {
                state.slots.slots.remove(0);
                state.slots.readers.retain(|(number, _)| *number != oldest);
                removed += 1;
            }
        }
        self.remove_spare()?;
        if removed > 0 {
            self.disk.sync_dir(FOLDER)?;
        }
        Ok(removed)
    }

    /// Removes segments that were prepared for an undo which is no longer to be feared.
    fn remove_spare(&self) -> Result<()> {
        // No other segment is prepared, under the same number, while one goes.
        let _turn = self.preparing.lock();
        let mut removed = false;
        loop {
            let mut state = self.state.lock();
            let wanted = state.end + state.reserved + SPARE * self.options.segment_bytes;
            let number = match state.slots.slots.last() {
                Some(last) if !last.used && last.start > wanted => last.number,
                _ => break,
            };
            state.slots.slots.pop();
            drop(state);
            self.disk.remove(&segments::segment_path(FOLDER, number))?;
            removed = true;
        }
        if removed { self.disk.sync_dir(FOLDER) } else { Ok(()) }
    }

    /// Fills `bytes` with the stream from `lsn` on as far as it is written; returns how many
    /// there are, and the incarnation of the segment that holds `lsn`.
    pub(super) fn read_stream(&self, lsn: Lsn, bytes: &mut [u8]) -> Result<(usize, Incarnation)> {
        let mut filled = 0;
        let mut owner = None;
        while filled < bytes.len() {
            let at = lsn.0 + filled as u64;
            let Some((file, offset, left, incarnation)) = self.locate(at)? else { break };
            if *owner.get_or_insert(incarnation) != incarnation {
                break;
            }
            let wanted = left.min((bytes.len() - filled) as u64) as usize;
            let read = file.read_at(&mut bytes[filled..filled + wanted], offset)?;
            if read == 0 {
                break;
            }
            filled += read;
        }
        let owner =
            owner.ok_or_else(|| Error::argument("lsn", "lies before the oldest segment kept"))?;
        Ok((filled, owner))
    }

    /// The open file, offset and number of bytes at a position; none where nothing is written.
    #[allow(clippy::type_complexity)] // Four plain values, used once.
    fn locate(&self, lsn: u64) -> Result<Option<(Arc<dyn File>, u64, u64, Incarnation)>> {
        let mut state = self.state.lock();
        let written = self.written.load(Ordering::Acquire);
        let Some(slot) = state.slots.holding(lsn).map(|index| &state.slots.slots[index]) else {
            return Ok(None);
        };
        let (number, incarnation) = (slot.number, slot.incarnation);
        let offset = HEADER_BYTES + lsn - slot.start;
        let left = slot.limit.min(written).saturating_sub(lsn);
        let known = state.slots.reader(number);
        drop(state);
        let file = match known {
            Some(file) => file,
            None => {
                let file = self.disk.open(&segments::segment_path(FOLDER, number), OpenMode::Read)?;
                self.state.lock().slots.keep_reader(number, &file);
                file
            }
        };
        Ok((left > 0).then_some((file, offset, left, incarnation)))
    }
}
