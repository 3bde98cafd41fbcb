//! Taking a snapshot: a checkpoint, the moment, the log that belongs to it, its name.

use std::ops::Range;

use super::chain::{Chain, Snapshot};
use super::frames::{self, FileHead, Frames, MOST_RAW};
use super::manifest::{Moment, Piece};
use super::{FOLDER, path_of};
use crate::control::{self, Control, ControlData};
use crate::disk::memory::MemoryDisk;
use crate::disk::{Disk, File, OpenMode};
use crate::error::{Code, Error, Result};
use crate::events::unix_micros;
use crate::log::segments::{self, HEADER_BYTES};
use crate::recovery::{DATA_PATH, Progress};
use crate::store::Store;
use crate::types::Lsn;

/// The longest name.
const MOST_NAME: usize = 100;
/// Frames of log in one batch.
const BATCH: usize = 64;

/// What snapshot is to be taken.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Given to no other one; up to 100 bytes without control characters.
    pub name: String,
    pub is_scheduled: bool,
}

/// Takes a snapshot of a database in use: everything committed before this returns, and after it
/// was called, up to one moment. Whole and durable on return; after an error or `Cancelled` there
/// is none.
pub fn take(store: &Store, chain: &Chain, wanted: &Wanted, progress: &Progress) -> Result<Snapshot> {
    ensure_name(chain, &wanted.name)?;
    if store.is_view() {
        return Err(Error::new(Code::ReadOnlyDatabase));
    }
    progress.begin("checkpoint", "pages", 0);
    store.checkpointer().take(store.shared(), true, &mut || !progress.is_cancelled())?;
    progress.ensure_going()?;
    let (pin, from, control) = store.checkpointer().pin_with_undo(store.shared());
    let taken = take_from(store, chain, wanted, (from, control), progress);
    store.checkpointer().unpin(pin);
    taken
}

fn ensure_name(chain: &Chain, name: &str) -> Result<()> {
    let is_plain = !name.trim().is_empty() && name.len() <= MOST_NAME;
    if !is_plain || name.chars().any(char::is_control) {
        return Err(Error::argument("name", "must be 1 to 100 bytes of text in one line"));
    }
    if chain.named(name).is_ok() {
        return Err(Error::argument("name", "a snapshot of this name is there already"));
    }
    Ok(())
}

fn take_from(
    store: &Store,
    chain: &Chain,
    wanted: &Wanted,
    (from, control): (Lsn, ControlData),
    progress: &Progress,
) -> Result<Snapshot> {
    let data = chain.base().open(DATA_PATH, OpenMode::Write)?;
    let number = chain.begin(&*data, store.page_size())?;
    let moment = Moment {
        name: wanted.name.clone(),
        taken_at: unix_micros(),
        is_scheduled: wanted.is_scheduled,
        database: control.database.0.iter().map(|byte| format!("{byte:02x}")).collect(),
        start_lsn: from,
        // Read after the beginning: no page that it has was written with anything later.
        end_lsn: store.shared().core.log.end(),
        committed_at: store.shared().core.log.last_commit_at(),
        pieces: Vec::new(),
    };
    let done = finish(store, chain, number, (&*data, control), moment, progress);
    done.inspect_err(|_| chain.abandon(number))
}

fn finish(
    store: &Store,
    chain: &Chain,
    number: u64,
    (data, control): (&dyn File, ControlData),
    moment: Moment,
    progress: &Progress,
) -> Result<Snapshot> {
    let end = moment.end_lsn;
    store.shared().core.log.flush_to(end)?;
    // A write that was under way at the beginning is part of the snapshot.
    data.sync()?;
    let head = FileHead { page_size: store.page_size() as u32, data_bytes: 0 };
    let frames = Frames::create(&**chain.base(), &path_of(number, "log"), head)?;
    let mut log = LogCopy { frames, next: 0, pieces: Vec::new(), chain, progress };
    log.segments(&**store.disk(), &moment, &control)?;
    log.control(ControlData { clean_end: end, pages_lag: true, ..control })?;
    chain.base().sync_dir(FOLDER)?;
    progress.ensure_going()?;
    let bytes = log.frames.bytes();
    chain.publish(number, Moment { pieces: log.pieces, ..moment }, bytes)
}

/// The log of a snapshot being written.
struct LogCopy<'c> {
    frames: Frames,
    next: u32,
    pieces: Vec<Piece>,
    chain: &'c Chain,
    progress: &'c Progress,
}

impl LogCopy<'_> {
    /// From before the start of redo up to the moment, and nothing that came later.
    fn segments(&mut self, source: &dyn Disk, moment: &Moment, control: &ControlData) -> Result<()> {
        let (from, end) = (moment.start_lsn, moment.end_lsn);
        let found = segments::discover(source, control.database)?;
        let extents = segments::extents(&found, from)?;
        self.progress.begin("log", "bytes", end.0 - from.0);
        for extent in extents.iter().filter(|extent| extent.start < end) {
            let file = source.open(&extent.path, OpenMode::Read)?;
            let bytes = HEADER_BYTES + extent.limit.min(end).0 - extent.start.0;
            // A segment may be old: what lies before the start of redo is neither read nor kept.
            let unused = HEADER_BYTES..extent.offset(from.max(extent.start));
            self.file(&*file, &extent.path, (bytes, file.size()?), &unused)?;
        }
        if extents.last().is_none_or(|last| last.limit < end) {
            return Err(Error::new(Code::WalCorrupted)
                .with("details", "the log ends before what was written to it")
                .with("lsn", end.0));
        }
        Ok(())
    }

    fn control(&mut self, data: ControlData) -> Result<()> {
        let disk = MemoryDisk::new(0);
        Control::create(&*disk, data)?;
        let file = disk.open(control::PATH, OpenMode::Read)?;
        let size = file.size()?;
        self.file(&*file, control::PATH, (size, size), &(0..0))
    }

    /// Copies the first `bytes` of a file of `size` bytes; parts that are all `unused` as zeros.
    fn file(
        &mut self,
        file: &dyn File,
        path: &str,
        (bytes, size): (u64, u64),
        unused: &Range<u64>,
    ) -> Result<()> {
        self.pieces.push(Piece { path: path.to_owned(), bytes, first: self.next, size });
        let mut compressor = frames::compressor()?;
        let mut chunk = vec![0; MOST_RAW];
        let mut at = 0;
        while at < bytes {
            let mut batch = self.frames.batch();
            for _ in 0..BATCH {
                let count = (bytes - at).min(MOST_RAW as u64) as usize;
                if count == 0 {
                    break;
                }
                self.progress.ensure_going()?;
                let part = &mut chunk[..count];
                if unused.start <= at && at + count as u64 <= unused.end {
                    part.fill(0);
                } else if file.read_at(part, at)? < count {
                    return Err(Error::new(Code::WalCorrupted)
                        .with("details", "a segment is shorter than its content")
                        .with("segment", path));
                }
                batch.put(&mut compressor, self.next, &chunk[..count])?;
                self.next += 1;
                at += count as u64;
                self.progress.add(count as u64);
            }
            self.chain.ensure_room(batch.len())?;
            batch.write(&*self.frames.file())?;
            self.frames.note(batch)?;
        }
        Ok(())
    }
}
