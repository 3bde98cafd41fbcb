//! The write-ahead log: one stream of entries in segment files.
//!
//! An [`Lsn`] is a byte position in the stream. Writers append under one short mutex into
//! memory ([`recent`]); whoever needs durability leads a flush for all who wait
//! ([`flush`]); segments are written full of zeros beforehand ([`space`]), because a sync of
//! blocks that exist takes half as long. [`record`] and [`segments`] draw the bytes;
//! [`reader`] finds where they validly end.
//!
//! Order of locks: `removing`, `preparing`, then `io`, then `state`; each may be taken without the ones
//! before it. No I/O happens while `state` is held.

use std::path::PathBuf;

use crate::error::Error;
use crate::stats::Latency;
use crate::types::{Incarnation, Lsn, TxnId};

mod archive;
mod bounce;
mod entries;
mod flush;
pub mod gate;
mod lead;
mod opening;
pub mod reader;
mod recent;
pub mod record;
mod resync;
pub mod segments;
mod shipping;
mod space;
#[cfg(test)]
mod tests;
pub mod windows;
mod writer;

pub use archive::{ArchiveGap, archive_folder};
pub use reader::{LogReader, Tail, TailReason};
pub use record::{Entry, EntryHeader, EntryRef, Op};
pub use resync::{Remains, commits_in};
pub use shipping::InUse;
pub use writer::Log;

/// When a commit counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMode {
    /// Once its entry is on the medium.
    Durable,
    /// At once; the log is synced every so many milliseconds.
    Interval(u64),
    /// At once; the operating system decides when bytes reach the medium.
    Off,
}

/// How a log is kept.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Size of a segment file, header included.
    pub segment_bytes: u64,
    /// Memory for entries that are not written yet, and again for recent ones.
    pub buffer_bytes: usize,
    pub sync_mode: SyncMode,
    /// Prepare segments and write ahead in threads of the log's own. Without, everything
    /// happens in the calls, in the same order each time.
    pub background: bool,
    /// Keep segments that are no longer needed instead of removing them.
    pub archive: bool,
    /// Where they go; none for `archive/` in the database. There each database has a folder.
    pub archive_at: Option<PathBuf>,
    /// At most so much log waits for an archive that cannot be written to; then it goes without.
    pub archive_wait_bytes: u64,
    /// Microseconds since the Unix epoch; a simulation brings its own clock.
    pub clock: fn() -> i64,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions {
            segment_bytes: 64 << 20,
            buffer_bytes: 16 << 20,
            sync_mode: SyncMode::Durable,
            background: true,
            archive: false,
            archive_at: None,
            archive_wait_bytes: 4 << 30,
            clock: system_time_us,
        }
    }
}

fn system_time_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// An entry to be appended.
#[derive(Clone, Copy, Debug)]
pub struct NewEntry<'a> {
    pub txn: TxnId,
    pub op: Op,
    pub flags: u8,
    /// The transaction's previous entry.
    pub prev: Lsn,
    /// The body in parts that are put one after the other.
    pub body: &'a [&'a [u8]],
    /// Room to set aside for the undo of this entry: [`undo_room`] of its body, or 0.
    pub reserve_undo: u64,
    /// Room that this entry takes back from what was set aside: for the undo itself.
    pub use_undo: u64,
}

impl<'a> NewEntry<'a> {
    pub fn new(txn: TxnId, op: Op, prev: Lsn, body: &'a [&'a [u8]]) -> Self {
        NewEntry { txn, op, flags: 0, prev, body, reserve_undo: 0, use_undo: 0 }
    }
}

/// The room an entry with a body of `body_bytes` may take, the group entry before it included:
/// what to set aside for an undo so that an abort never meets a full disk.
pub fn undo_room(body_bytes: usize) -> u64 {
    (record::OVERHEAD + body_bytes + record::GROUP_BYTES) as u64
}

/// Where an entry was put: `lsn` is its first byte, `end` the one after its last. A flush
/// up to `end` makes it durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub lsn: Lsn,
    pub end: Lsn,
}

/// The log in figures.
#[derive(Clone, Debug)]
pub struct LogStatus {
    pub incarnation: Incarnation,
    pub oldest: Lsn,
    pub end: Lsn,
    pub written: Lsn,
    pub durable: Lsn,
    /// Since the log was opened.
    pub entries: u64,
    pub bytes: u64,
    pub groups: u64,
    pub syncs: u64,
    pub rotations: u64,
    /// Segment files, those prepared included, and their bytes.
    pub segments: u64,
    pub segment_bytes: u64,
    /// Room set aside for undo.
    pub reserved_undo: u64,
    pub sync_latency: Latency,
    /// Bytes of a flushed group, on average.
    pub group_bytes: u64,
    pub failed: Option<Error>,
}
