//! Opening a log: new, after a crash, after a clean shutdown, or for reading only.

use super::flush::Io;
use super::gate::Gate;
use super::recent::Recent;
use super::segments::{self, FIRST_LSN, FOLDER, HEADER_BYTES, SegmentInfo};
use super::space::{Slot, Slots, prepare_file};
use super::writer::{Core, State};
use super::{Log, LogOptions, record};
use crate::disk::{Disk, File, OpenMode, secure};
use crate::error::{Code, Error, Result};
use crate::stats::Histogram;
use crate::sync::{Arc, AtomicBool, AtomicU64, Condvar, Mutex, Ordering};
use crate::types::{DatabaseId, Incarnation, Lsn};

impl Log {
    /// The first segment of a new database, as incarnation 1. `DatabaseExists` where a log
    /// with entries is there; an empty one, left by a creation that crashed, is written anew.
    pub fn create(disk: Arc<dyn Disk>, options: LogOptions, database: DatabaseId) -> Result<Log> {
        if segments::any_entry(&*disk)? {
            return Err(Error::new(Code::DatabaseExists).with("path", segments::FOLDER));
        }
        Self::start(disk, options, database, Incarnation(1), FIRST_LSN, &[])
    }

    /// Begins a new segment at `end`, the valid end that recovery found, as a new incarnation
    /// (above every one in the log). What the old segments hold beyond `end` counts no more.
    pub fn open(
        disk: Arc<dyn Disk>,
        options: LogOptions,
        database: DatabaseId,
        incarnation: Incarnation,
        end: Lsn,
    ) -> Result<Log> {
        let found = segments::discover(&*disk, database)?;
        if incarnation <= segments::highest_incarnation(&found) {
            return Err(Error::argument("incarnation", "must be above every one in the log"));
        }
        Self::start(disk, options, database, incarnation, end, &found)
    }

    fn start(
        disk: Arc<dyn Disk>,
        options: LogOptions,
        database: DatabaseId,
        incarnation: Incarnation,
        end: Lsn,
        found: &[segments::SegmentInfo],
    ) -> Result<Log> {
        let (slots, io) = begin_segment(&*disk, &options, database, incarnation, end, found)?;
        Ok(Self::assemble(disk, options, incarnation, end, slots, io))
    }

    /// Continues in the last segment at `end`, where a clean shutdown left it. `WalCorrupted`
    /// where anything follows `end`: then the shutdown was not clean.
    pub fn resume(
        disk: Arc<dyn Disk>,
        options: LogOptions,
        database: DatabaseId,
        incarnation: Incarnation,
        end: Lsn,
    ) -> Result<Log> {
        let found = segments::discover(&*disk, database)?;
        let (slots, io) = continue_segment(&*disk, &options, database, incarnation, end, &found)?;
        Ok(Self::assemble(disk, options, incarnation, end, slots, io))
    }

    /// The log of a database that is only read, as a clean shutdown left it: it takes no entry
    /// and writes nothing. `WalCorrupted` where anything follows `end`.
    pub fn view(
        disk: Arc<dyn Disk>,
        options: LogOptions,
        database: DatabaseId,
        incarnation: Incarnation,
        end: Lsn,
    ) -> Result<Log> {
        let found = segments::discover(&*disk, database)?;
        let (slots, io) = view_segments(&*disk, &options, database, incarnation, end, &found)?;
        let options = LogOptions { background: false, ..options };
        let log = Self::assemble(disk, options, incarnation, end, slots, io);
        log.core.is_view.store(true, Ordering::Release);
        Ok(log)
    }

    /// The log of a mirror as far as `end`, where an entry ends: it takes no entry and writes nothing.
    /// What follows `end` may be being written.
    pub fn followed(
        disk: Arc<dyn Disk>,
        options: LogOptions,
        database: DatabaseId,
        incarnation: Incarnation,
        end: Lsn,
    ) -> Result<Log> {
        let slots = used_slots(&segments::discover(&*disk, database)?, end)?;
        let Some(last) = slots.last() else {
            return Err(segments::corrupted(end, "there is no segment to read"));
        };
        let file = disk.open(&segments::segment_path(FOLDER, last.number), OpenMode::Read)?;
        let options = LogOptions { background: false, ..options };
        let slots = Slots::new(slots, database, options.clock);
        let io = Io { file, dirty: false };
        let log = Self::assemble(disk, options, incarnation, end, slots, io);
        log.core.is_view.store(true, Ordering::Release);
        Ok(log)
    }

    /// True where nothing can be appended, because the database is only read.
    pub fn is_view(&self) -> bool {
        self.core.is_view.load(Ordering::Acquire)
    }

    fn assemble(
        disk: Arc<dyn Disk>,
        options: LogOptions,
        incarnation: Incarnation,
        end: Lsn,
        slots: Slots,
        io: Io,
    ) -> Log {
        let state = State {
            end: end.0,
            recent: Recent::new(end, options.buffer_bytes),
            group: None,
            reserved: 0,
            expected: 0,
            slots,
            last_commit_at: i64::MIN,
            entries: 0,
            segment_asked: false,
            write_asked: false,
            closed: false,
        };
        let core = Arc::new(Core {
            disk,
            options,
            incarnation,
            first: end.0,
            state: Mutex::new(state),
            end: AtomicU64::new(end.0),
            written: AtomicU64::new(end.0),
            durable: AtomicU64::new(end.0),
            io: Mutex::new(io),
            lead: Mutex::default(),
            sync_ns: AtomicU64::new(0),
            preparing: Mutex::new(()),
            removing: Mutex::new(Lsn::NONE),
            archive_failure: Mutex::new(None),
            archive_gap: Mutex::new(None),
            wishes: Mutex::default(),
            wished: Condvar::new(),
            failure: Mutex::new(None),
            has_failed: AtomicBool::new(false),
            is_view: AtomicBool::new(false),
            gate: Gate::default(),
            sync_latency: Histogram::new(),
            groups: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            rotations: AtomicU64::new(0),
        });
        let threads = Mutex::new(if core.options.background { core.spawn() } else { Vec::new() });
        Log { core, threads }
    }
}

fn capacity_of(segment_bytes: u64) -> Result<u64> {
    match segment_bytes.checked_sub(HEADER_BYTES) {
        Some(capacity) if capacity >= HEADER_BYTES => Ok(capacity),
        _ => Err(Error::argument("segment_bytes", "a segment needs at least 1024 bytes")),
    }
}

/// The segments in use: those before a gap too, which are only there to be removed, and those
/// that were given up, which hold nothing. `end` must lie in the readable part.
fn used_slots(found: &[SegmentInfo], end: Lsn) -> Result<Vec<Slot>> {
    let used = segments::used(found)?;
    if !used.is_empty() {
        segments::extents(found, end)?;
    }
    let slot = |segment: &segments::Used<'_>| Slot {
        number: segment.info.number,
        start: segment.header.start.min(segment.limit).0,
        limit: segment.limit.0,
        capacity: segment.header.capacity,
        incarnation: segment.header.incarnation,
        used: true,
        file: None,
    };
    Ok(used.iter().map(slot).collect())
}

/// Removes files that were prepared or half prepared and never put into use.
fn remove_unused(disk: &dyn Disk, found: &[SegmentInfo], last_used: u64) -> Result<()> {
    let unused: Vec<&SegmentInfo> = found.iter().filter(|info| info.number > last_used).collect();
    for info in &unused {
        disk.remove(&info.path)?;
    }
    if unused.is_empty() { Ok(()) } else { disk.sync_dir(FOLDER) }
}

/// Makes what a recovery read in a segment certain.
fn secure_slot(disk: &dyn Disk, slot: &Slot) -> Result<()> {
    let file = disk.open(&segments::segment_path(FOLDER, slot.number), OpenMode::Write)?;
    secure(&*file, 0..HEADER_BYTES + slot.limit - slot.start)
}

/// Puts a new segment into use at `end`, after everything before it was synced: the reader
/// takes a segment's header as proof of that.
fn begin_segment(
    disk: &dyn Disk,
    options: &LogOptions,
    database: DatabaseId,
    incarnation: Incarnation,
    end: Lsn,
    found: &[SegmentInfo],
) -> Result<(Slots, Io)> {
    let capacity = capacity_of(options.segment_bytes)?;
    let mut slots = used_slots(found, end)?;
    let last_used = slots.last().map_or(0, |slot| slot.number);
    for slot in slots.iter_mut().filter(|slot| slot.limit >= end.0) {
        slot.limit = end.0;
        slot.start = slot.start.min(end.0);
        secure_slot(disk, slot)?;
    }
    if last_used > 0 {
        disk.sync_dir(FOLDER)?;
    }
    remove_unused(disk, found, last_used)?;
    let number = last_used + 1;
    let file = prepare_file(disk, number, options, false)?;
    let mut slots = Slots::new(slots, database, options.clock);
    let (start, limit) = (end.0, end.0 + capacity);
    slots.slots.push(Slot { number, start, limit, capacity, incarnation, used: true, file: None });
    let header = slots.header(slots.slots.len() - 1);
    file.write_at(&header.encode(), 0)?;
    file.sync()?;
    Ok((slots, Io { file, dirty: false }))
}

/// The segments of a clean shutdown, the last one opened in `mode`: nothing may follow `end`.
fn closed_segments(
    disk: &dyn Disk,
    incarnation: Incarnation,
    end: Lsn,
    found: &[SegmentInfo],
    mode: OpenMode,
) -> Result<(Vec<Slot>, Arc<dyn File>)> {
    let mut slots = used_slots(found, end)?;
    let Some(last) = slots.last_mut() else {
        return Err(segments::corrupted(end, "there is no segment to continue"));
    };
    let unclean = |details| Err(segments::corrupted(end, details));
    if last.incarnation != incarnation || last.start > end.0 || end.0 > last.limit {
        return unclean("the last segment is not the one that was closed");
    }
    let file = disk.open(&segments::segment_path(FOLDER, last.number), mode)?;
    let mut after = [0u8; record::OVERHEAD];
    let count = file.read_at(&mut after, HEADER_BYTES + end.0 - last.start)?;
    let room = (last.limit - end.0).min(after.len() as u64) as usize;
    if after[..count.min(room)].iter().any(|byte| *byte != 0) {
        return unclean("something was written after the end of a clean shutdown");
    }
    Ok((slots, file))
}

/// Takes up the last segment at `end`, and the files that were prepared after it.
fn continue_segment(
    disk: &dyn Disk,
    options: &LogOptions,
    database: DatabaseId,
    incarnation: Incarnation,
    end: Lsn,
    found: &[SegmentInfo],
) -> Result<(Slots, Io)> {
    let (slots, file) = closed_segments(disk, incarnation, end, found, OpenMode::Write)?;
    let mut number = slots.last().map_or(0, |slot| slot.number);
    let mut slots = Slots::new(slots, database, options.clock);
    for info in found.iter().filter(|info| info.number > number).cloned().collect::<Vec<_>>() {
        let ready = info.header == Err(segments::Defect::Unused) && info.size > 2 * HEADER_BYTES;
        if info.number != number + 1 || !ready {
            remove_unused(disk, found, number)?;
            break;
        }
        let prepared = disk.open(&info.path, OpenMode::Write)?;
        slots.push_prepared(info.number, info.size - HEADER_BYTES, incarnation, prepared);
        number = info.number;
    }
    Ok((slots, Io { file, dirty: false }))
}

/// The segments of a clean shutdown, for reading only.
fn view_segments(
    disk: &dyn Disk,
    options: &LogOptions,
    database: DatabaseId,
    incarnation: Incarnation,
    end: Lsn,
    found: &[SegmentInfo],
) -> Result<(Slots, Io)> {
    let (slots, file) = closed_segments(disk, incarnation, end, found, OpenMode::Read)?;
    Ok((Slots::new(slots, database, options.clock), Io { file, dirty: false }))
}
