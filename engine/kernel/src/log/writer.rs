//! The log as its users see it: append, flush, read, keep, close.

use std::thread::JoinHandle;

use super::archive::ArchiveGap;
use super::flush::Io;
use super::gate::Gate;
use super::lead::Lead;
use super::recent::Recent;
use super::record::{self, EntryHeader, GROUP_BYTES, HEADER_BYTES, Op};
use super::space::Slots;
use super::{LogOptions, LogStatus, NewEntry, Span, SyncMode};
use crate::disk::Disk;
use crate::error::{Code, Error, Result};
use crate::stats::Histogram;
use crate::sync::{Arc, AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, Ordering, soon, trip};
use crate::types::{DatabaseId, Incarnation, Lsn, TxnId};

/// What appends change, under the append mutex.
pub(super) struct State {
    pub end: u64,
    pub recent: Recent,
    /// The entry that opens the group being filled.
    pub group: Option<u64>,
    pub reserved: u64,
    /// What is known to come reaches at least as far.
    pub expected: u64,
    pub slots: Slots,
    pub last_commit_at: i64,
    pub entries: u64,
    /// A segment was asked for and is not there yet.
    pub segment_asked: bool,
    pub write_asked: bool,
    pub closed: bool,
}

/// What the background threads wait for.
#[derive(Default)]
pub(super) struct Wishes {
    pub stop: bool,
    pub segment: bool,
    pub write: bool,
}

/// Everything the log's threads share.
pub(super) struct Core {
    pub disk: Arc<dyn Disk>,
    pub options: LogOptions,
    pub incarnation: Incarnation,
    pub first: u64,
    pub state: Mutex<State>,
    pub end: AtomicU64,
    pub written: AtomicU64,
    pub durable: AtomicU64,
    pub io: Mutex<Io>,
    pub lead: Mutex<Lead>,
    /// What a sync has taken of late, in nanoseconds.
    pub sync_ns: AtomicU64,
    pub preparing: Mutex<()>,
    /// Held while segments are archived and removed. Entries before it were found whole as they were archived.
    pub removing: Mutex<Lsn>,
    pub archive_failure: Mutex<Option<Error>>,
    /// What has gone without a copy since somebody last asked.
    pub archive_gap: Mutex<Option<ArchiveGap>>,
    pub wishes: Mutex<Wishes>,
    pub wished: Condvar,
    pub failure: Mutex<Option<Error>>,
    pub has_failed: AtomicBool,
    pub is_view: AtomicBool,
    pub gate: Gate,
    pub sync_latency: Histogram,
    pub groups: AtomicU64,
    pub syncs: AtomicU64,
    pub rotations: AtomicU64,
}

/// The write-ahead log of an open database. Every method may be called from many threads.
pub struct Log {
    pub(super) core: Arc<Core>,
    pub(super) threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Whether an entry can be placed now.
enum Admission {
    Granted,
    /// Too much is unwritten: a flush comes first.
    NoMemory,
    /// The prepared segments have no room for it.
    NoSegment,
}

impl Log {
    /// Appends an entry; `under` runs in the same step, before anybody can see or flush it. It
    /// must be short and must not call the log, whose mutex is held.
    ///
    /// Waits while too much is unwritten, and for a segment where none is prepared; there it
    /// may find the disk full (`DiskFull`; nothing was appended). A commit's time is raised to
    /// that of the commit before it, so that it never runs backwards.
    pub fn append(&self, entry: &NewEntry<'_>, under: impl FnOnce(Span)) -> Result<Span> {
        let len = record::entry_len(entry.body)?;
        loop {
            let mut state = self.core.state.lock();
            match self.core.admit(&mut state, entry, len)? {
                Admission::Granted => return Ok(self.core.place(state, entry, len, under)),
                Admission::NoMemory => {
                    drop(state);
                    self.core.drain()?;
                }
                Admission::NoSegment => {
                    let needed = Core::needed(&state, entry, len);
                    drop(state);
                    self.core.prepare(needed)?;
                }
            }
        }
    }

    /// As [`Log::append`], but `None` where no segment that is prepared has room: for entries that
    /// help and are not needed, and must not fail what they are about.
    pub fn append_if_room(&self, entry: &NewEntry<'_>) -> Result<Option<Span>> {
        let len = record::entry_len(entry.body)?;
        if self.is_view() {
            return Ok(None);
        }
        loop {
            let mut state = self.core.state.lock();
            let admitted = match self.core.admit(&mut state, entry, len) {
                Err(error) if error.code == Code::OutOfMemory => return Ok(None),
                admitted => admitted?,
            };
            match admitted {
                Admission::Granted => return Ok(Some(self.core.place(state, entry, len, |_| {}))),
                Admission::NoSegment => return Ok(None),
                Admission::NoMemory => {
                    drop(state);
                    self.core.drain()?;
                }
            }
        }
    }

    /// As [`Log::append`], but never waits: `None` where the mutex is taken, too much is
    /// unwritten, or no segment is prepared.
    pub fn try_append(&self, entry: &NewEntry<'_>, under: impl FnOnce(Span)) -> Option<Result<Span>> {
        let len = match record::entry_len(entry.body) {
            Ok(len) => len,
            Err(error) => return Some(Err(error)),
        };
        let mut state = soon(|| self.core.state.try_lock())?;
        match self.core.admit(&mut state, entry, len) {
            Ok(Admission::Granted) => Some(Ok(self.core.place(state, entry, len, under))),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Gives back room set aside for undo that is no longer needed.
    pub fn release_undo(&self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let mut state = self.core.state.lock();
        state.reserved = state.reserved.saturating_sub(bytes);
    }

    /// Says that about so many bytes come in a few long entries after another, before anybody waits for
    /// a sync: segments that they fill need not be written beforehand. 0 takes it back.
    pub fn expect(&self, bytes: u64) {
        let mut state = self.core.state.lock();
        state.expected = if bytes == 0 { 0 } else { state.end + bytes };
    }

    /// Commit times begin no earlier than this (microseconds): the last one in the log.
    pub fn set_commit_floor(&self, at: i64) {
        let mut state = self.core.state.lock();
        state.last_commit_at = state.last_commit_at.max(at);
    }

    /// Where the next entry will begin, or the group entry before it.
    pub fn end(&self) -> Lsn {
        Lsn(self.core.end.load(Ordering::Acquire))
    }

    /// Everything before this is on the medium.
    pub fn durable(&self) -> Lsn {
        Lsn(self.core.durable.load(Ordering::Acquire))
    }

    /// Where this opening of the log began; what lies before was there, and was read by then.
    pub fn begun_at(&self) -> Lsn {
        Lsn(self.core.first)
    }

    pub fn incarnation(&self) -> Incarnation {
        self.core.incarnation
    }

    /// Returns once everything before `lsn` (an entry's `end`) is on the medium, whatever the
    /// sync mode. `StoreFailed` where a write or sync of the log failed, then or earlier.
    pub fn flush_to(&self, lsn: Lsn) -> Result<()> {
        self.core.reach(lsn.0, true)
    }

    /// Returns once everything before `lsn` was handed to the operating system.
    pub fn write_to(&self, lsn: Lsn) -> Result<()> {
        self.core.reach(lsn.0, false)
    }

    /// Waits for a commit whose entry ends at `lsn` as the sync mode asks.
    pub fn commit_wait(&self, lsn: Lsn) -> Result<()> {
        match self.core.options.sync_mode {
            SyncMode::Durable => self.flush_to(lsn),
            SyncMode::Interval(_) | SyncMode::Off => self.core.check(),
        }
    }

    /// Whose log it is.
    pub fn database(&self) -> DatabaseId {
        self.core.state.lock().slots.database()
    }

    /// Removes whole segments before `lsn`, or archives them; returns how many. Never one that
    /// holds anything which is not durable, nor the one being written.
    pub fn truncate_before(&self, lsn: Lsn) -> Result<u32> {
        self.core.truncate_before(lsn)
    }

    /// Why the last segment that was to be archived could not be; none where it was.
    pub fn archive_failure(&self) -> Option<Error> {
        self.core.archive_failure.lock().clone()
    }

    /// What has gone without a copy in the archive since the last call; none where nothing has.
    pub fn take_archive_gap(&self) -> Option<ArchiveGap> {
        self.core.archive_gap.lock().take()
    }

    /// The time of the last commit, in microseconds since the Unix epoch.
    pub fn last_commit_at(&self) -> i64 {
        self.core.state.lock().last_commit_at
    }

    /// Ends the current segment at the end of the log; the next entry goes to a new one.
    pub fn rotate(&self) -> Result<()> {
        self.core.rotate()
    }

    pub fn status(&self) -> LogStatus {
        self.core.status()
    }

    /// Poisons the log: every later append and flush fails with `StoreFailed`, which is returned.
    pub fn fail(&self, reason: Error) -> Error {
        self.core.fail(reason)
    }

    pub fn sync_mode(&self) -> SyncMode {
        self.core.options.sync_mode
    }

    /// True where [`Log::failed`] has something to tell; costs nothing.
    pub fn has_failed(&self) -> bool {
        self.core.has_failed.load(Ordering::Acquire)
    }

    /// Why the log takes no more entries, where it does not.
    pub fn failed(&self) -> Option<Error> {
        self.core.failure.lock().clone()
    }

    /// Flushes everything and stops; later appends get `StoreClosed`. Returns the log's end, which
    /// stays: asked for before, it could be passed by an entry still to come.
    pub fn close(&self) -> Result<Lsn> {
        self.core.state.lock().closed = true;
        let end = self.end();
        let result = self.flush_to(end);
        self.stop();
        result.map(|()| end)
    }

    fn stop(&self) {
        self.core.wishes.lock().stop = true;
        self.core.wished.notify_all();
        for thread in self.threads.lock().drain(..) {
            // A panic in there has already been told by the runtime; the log is going anyway.
            let _ = thread.join();
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A panic in the middle of an append leaves half an entry in memory: it must never be written.
struct Fuse<'a>(&'a Core);

impl Drop for Fuse<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(Error::internal("a thread panicked while it appended to the log"));
        }
    }
}

impl Core {
    /// An error once the log has failed, and where it takes no entries at all.
    pub(super) fn check(&self) -> Result<()> {
        if self.is_view.load(Ordering::Relaxed) {
            return Err(Error::new(Code::ReadOnlyDatabase));
        }
        if self.has_failed.load(Ordering::Acquire)
            && let Some(failure) = &*self.failure.lock()
        {
            return Err(failure.clone());
        }
        Ok(())
    }

    /// The first failure counts; it is never taken back (Rebello et al. 2020: what a failed
    /// sync covered is unknown for ever, only recovery can decide).
    pub(super) fn fail(&self, reason: Error) -> Error {
        let mut failure = self.failure.lock();
        let error = failure.get_or_insert_with(|| {
            Error::new(Code::StoreFailed).with("reason", reason.to_string()).because(reason)
        });
        let error = error.clone();
        self.has_failed.store(true, Ordering::Release);
        error
    }

    /// The stream bytes an entry needs from the end on: itself, its group entry, and all room
    /// set aside for undo.
    fn needed(state: &State, entry: &NewEntry<'_>, len: usize) -> u64 {
        let reserved = state.reserved.saturating_sub(entry.use_undo) + entry.reserve_undo;
        len as u64 + GROUP_BYTES as u64 + reserved
    }

    fn admit(&self, state: &mut State, entry: &NewEntry<'_>, len: usize) -> Result<Admission> {
        self.check()?;
        if state.closed {
            return Err(Error::new(Code::StoreClosed));
        }
        let unwritten = (state.end - self.written.load(Ordering::Acquire)) as usize;
        let limit = self.options.buffer_bytes;
        if unwritten > 0 && unwritten + len > limit {
            return Ok(Admission::NoMemory);
        }
        if unwritten > limit / 2 && !state.write_asked && self.options.background {
            state.write_asked = true;
            self.wish(|wishes| wishes.write = true);
        }
        let space = state.slots.space_end() - state.end;
        let needed = Self::needed(state, entry, len);
        if self.options.background
            && !state.segment_asked
            && space < needed + self.options.segment_bytes / 2
        {
            state.segment_asked = true;
            self.wish(|wishes| wishes.segment = true);
        }
        if needed > space {
            return Ok(Admission::NoSegment);
        }
        state.recent.prepare(len + GROUP_BYTES)?;
        Ok(Admission::Granted)
    }

    /// Puts an admitted entry at the end, after a group entry where it is the first of its
    /// group.
    fn place(
        &self,
        mut state: MutexGuard<'_, State>,
        entry: &NewEntry<'_>,
        len: usize,
        under: impl FnOnce(Span),
    ) -> Span {
        let _fuse = Fuse(self);
        let written = self.written.load(Ordering::Acquire);
        if state.group.is_none() {
            state.group = Some(state.end);
            let durable = self.durable.load(Ordering::Acquire).to_le_bytes();
            let group = NewEntry::new(TxnId::SYSTEM, Op::Group, Lsn::NONE, &[]);
            self.put(&mut state, &NewEntry { body: &[&durable], ..group }, GROUP_BYTES, written);
        }
        let lsn = Lsn(state.end);
        self.put(&mut state, entry, len, written);
        state.reserved = state.reserved.saturating_sub(entry.use_undo) + entry.reserve_undo;
        let span = Span { lsn, end: Lsn(state.end) };
        under(span);
        self.end.store(state.end, Ordering::Release);
        span
    }

    fn put(&self, state: &mut State, entry: &NewEntry<'_>, len: usize, written: u64) {
        let header = EntryHeader {
            lsn: Lsn(state.end),
            txn: entry.txn,
            op: entry.op,
            flags: entry.flags,
            len: len as u32,
            incarnation: self.incarnation,
            prev: entry.prev,
        };
        let chunk = state.recent.room(len, written);
        let from = chunk.len();
        record::encode_open(&header, entry.body, chunk);
        if entry.op == Op::Commit {
            let time = from + HEADER_BYTES..from + HEADER_BYTES + 8;
            if let Some(bytes) = chunk.get_mut(time) {
                let mut at = [0; 8];
                at.copy_from_slice(bytes);
                state.last_commit_at = state.last_commit_at.max(i64::from_le_bytes(at));
                bytes.copy_from_slice(&state.last_commit_at.to_le_bytes());
            }
        }
        trip("append");
        record::seal(chunk, from);
        state.end += len as u64;
        state.entries += 1;
    }
}
