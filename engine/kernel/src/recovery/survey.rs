//! The one reading of the log before redo: every entry is validated, and what analysis and the
//! index need of it is taken from the same bytes, by a thread of its own.
//!
//! Memory: [`BATCHES`] batches of [`BATCH_BYTES`], analysis' tables, the index.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::Progress;
use super::analysis::Analyser;
use super::index::LogIndex;
use super::opening::LogValidity;
use crate::error::{Error, Result};
use crate::log::record::{self, CRC_BYTES, HEADER_BYTES};
use crate::log::{EntryRef, LogReader, TailReason};
use crate::memory;
use crate::sync::begin_scoped;
use crate::types::Lsn;

const BATCH_BYTES: usize = 256 << 10;
/// Batches on their way.
const BATCHES: usize = 4;

/// Entries one after the other, as they lie in the log.
#[derive(Default)]
struct Batch {
    start: Lsn,
    bytes: Vec<u8>,
}

/// What becomes of the entries.
pub(super) struct Takers {
    pub analyser: Analyser,
    pub index: LogIndex,
}

impl Takers {
    fn take(&mut self, entry: &EntryRef<'_>) -> Result<()> {
        self.analyser.take(entry)?;
        self.index.add_entry(entry)
    }
}

/// Reads the log to its valid end. The takers are an error of their own where an entry says
/// nothing sensible: that is analysis' to report, not validation's.
pub(super) fn survey(
    reader: &mut LogReader,
    takers: Takers,
    progress: &Progress,
) -> Result<(LogValidity, Result<Takers>)> {
    let (_, total) = reader.progress();
    progress.begin("log validation", "bytes", total);
    let (feed, work) = sync_channel(BATCHES);
    let (back, free) = channel();
    std::thread::scope(|scope| {
        let taking = begin_scoped(scope, move || take_all(takers, &work, &back, progress))?;
        let validity = validate(reader, progress, feed, &free);
        let panicked = |_| Err(Error::internal("the analysing thread panicked"));
        let takers = taking.join().unwrap_or_else(panicked);
        Ok((validity?, takers))
    })
}

fn validate(
    reader: &mut LogReader,
    progress: &Progress,
    feed: SyncSender<Batch>,
    free: &Receiver<Batch>,
) -> Result<LogValidity> {
    let (mut entries, mut bytes, mut told) = (0u64, 0u64, (0, 0));
    let mut batch = Batch::default();
    while let Some(header) = reader.next()?.map(|entry| entry.header) {
        entries += 1;
        bytes += u64::from(header.len);
        if batch.bytes.is_empty() {
            batch.start = header.lsn;
        }
        memory::grow(&mut batch.bytes, header.len as usize, "validate the log")?;
        batch.bytes.extend_from_slice(reader.bytes_of_last(&header));
        if batch.bytes.len() >= BATCH_BYTES {
            progress.ensure_going()?;
            progress.set(bytes);
            progress.count(entries - told.0, 0, bytes - told.1);
            told = (entries, bytes);
            let next = free.try_recv().unwrap_or_default();
            // The thread that takes them ends early only where it has an error to tell.
            let _ = feed.send(std::mem::replace(&mut batch, next));
        }
    }
    progress.set(bytes);
    progress.count(entries - told.0, 0, bytes - told.1);
    let _ = feed.send(batch);
    // Without a tail it was to end there, though the log may go on.
    let (end, reason) = reader
        .tail()
        .map_or((reader.position(), TailReason::EndOfSegments), |tail| (tail.end, tail.reason));
    Ok(LogValidity { end, entries, bytes, reason })
}

fn take_all(
    mut takers: Takers,
    work: &Receiver<Batch>,
    back: &Sender<Batch>,
    progress: &Progress,
) -> Result<Takers> {
    while let Ok(mut batch) = work.recv() {
        let (mut at, mut rest) = (batch.start, &batch.bytes[..]);
        while !rest.is_empty() {
            let header = record::frame(rest, at).map_err(|flaw| {
                Error::internal(format!("an entry changed in memory: {}", flaw.name()))
            })?;
            let (entry, after) = rest.split_at(header.len as usize);
            let body = &entry[HEADER_BYTES..entry.len() - CRC_BYTES];
            takers.take(&EntryRef { header, body })?;
            (at, rest) = (header.end(), after);
        }
        progress.set_pages(takers.analyser.dirty_pages());
        progress.set_unfinished(takers.analyser.unfinished_changes());
        batch.bytes.clear();
        // Not what one long entry once needed.
        if batch.bytes.capacity() > 2 * BATCH_BYTES {
            memory::shrink(&mut batch.bytes, 2 * BATCH_BYTES);
        }
        // The reader may be through.
        let _ = back.send(batch);
    }
    Ok(takers)
}
