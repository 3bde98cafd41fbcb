//! Tests of the log as a whole. `ends`: every way a log can end; `groups`: who syncs for whom;
//! `writing`: appends, group
//! commit, rotation, space; `crashes`: power loss and failure at every call; `speed`: figures,
//! run on demand.
#![allow(clippy::unwrap_used)]

mod crashes;
mod ends;
mod groups;
mod speed;
mod writing;

use super::reader::{LogReader, Tail};
use super::record::Entry;
use super::segments::FIRST_LSN;
use super::{Log, LogOptions, NewEntry, Op, Span, SyncMode};
use crate::disk::Disk;
use crate::error::Result;
use crate::sync::Arc;
use crate::types::{DatabaseId, Lsn, TxnId};

const ID: DatabaseId = DatabaseId([7; 16]);

/// Small segments, no threads: every run is the same.
fn small() -> LogOptions {
    LogOptions {
        segment_bytes: 2048,
        buffer_bytes: 64 << 10,
        sync_mode: SyncMode::Durable,
        background: false,
        archive: false,
        archive_at: None,
        archive_wait_bytes: u64::MAX,
        clock: || 0,
    }
}

/// A body that tells its number and has a length of its own.
fn body(number: u64, len: usize) -> Vec<u8> {
    let mut body = number.to_le_bytes().to_vec();
    body.resize(len.max(8), number as u8);
    body
}

fn append(log: &Log, number: u64, len: usize) -> Result<Span> {
    log.append(&NewEntry::new(TxnId(1), Op::Update, Lsn::NONE, &[&body(number, len)]), |_| {})
}

/// Everything valid from `from` on without the group entries, and the tail.
fn read_from(disk: &Arc<dyn Disk>, from: Lsn, floor: Lsn) -> Result<(Vec<Entry>, Tail)> {
    let mut reader = LogReader::open(Arc::clone(disk), ID, from, floor)?;
    let mut entries = Vec::new();
    while let Some(entry) = reader.next()? {
        if entry.header.op != Op::Group {
            entries.push(entry.to_owned());
        }
    }
    Ok((entries, reader.tail().unwrap()))
}

fn read_all(disk: &Arc<dyn Disk>) -> Result<(Vec<Entry>, Tail)> {
    read_from(disk, FIRST_LSN, Lsn::NONE)
}

fn numbers(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| u64::from_le_bytes(entry.body[..8].try_into().unwrap())).collect()
}
