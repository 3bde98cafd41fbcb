//! Installing an overlay, dropping it, and finishing what a crash cut off.

use std::collections::BTreeSet;
use std::sync::mpsc::sync_channel;

use super::blocks::{BLOCK, Place, Run};
use super::journal::{self, Change, FileChange};
use super::{BLOCKS_PATH, JOURNAL_PATH, Layer, Overlay};
use crate::disk::{Disk, File, OpenMode, secure};
use crate::error::{Code, Error, Result};
use crate::sync::{Arc, begin_scoped};

/// Blocks are copied in pieces of this size.
const PIECE: usize = 1 << 20;
/// So much is copied before the medium is to take it.
const SYNC_BYTES: u64 = 8 << 20;
/// So many times that is copied at most before the medium has it: who asks for an end waits for a sync.
const SYNCS_AHEAD: usize = 4;

/// Is told of so many bytes more, by several threads; its error ends the work where it stands.
pub type Tell<'a> = dyn Fn(u64) -> Result<()> + Sync + 'a;

/// What [`settle`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    Nothing,
    /// An overlay without a decision: it is gone, and the originals are what they were.
    Dropped,
    /// The originals are now what the overlay showed.
    Installed,
}

impl Overlay {
    /// Makes the originals what the overlay shows. On an error before the journal is whole they
    /// are untouched; on a later one (`is_decided`), and after a crash, [`settle`] finishes it.
    /// Nobody may write through the overlay any more. `tell` is given the bytes that went a step on,
    /// [`Overlay::install_bytes`] in all, and may end it at any of them. With threads, files go while others are written; without,
    /// all happens in the same order each time.
    pub fn install(&self, with_threads: bool, tell: &Tell<'_>) -> Result<()> {
        let shared = &self.shared;
        if !shared.is_inside {
            return Err(Error::internal("an overlay beside its database cannot be installed"));
        }
        let changes = self.changes();
        self.ensure_room(&changes)?;
        self.end_ahead()?;
        shared.blocks.sync()?;
        tell(self.bytes())?;
        shared.base.sync_dir("")?;
        let journal = shared.base.open(JOURNAL_PATH, OpenMode::Create)?;
        journal.truncate(0)?;
        journal.write_at(&journal::encode(&changes), 0)?;
        journal.sync()?;
        shared.base.sync_dir("")?;
        carry_out(&*shared.base, &*shared.blocks, &changes, with_threads, tell)?;
        drop_files(&*shared.base)
    }

    /// What an installation tells in all: the bytes beside the originals once they are on the medium,
    /// and those that it copies, once when they are copied and once when they are on the medium.
    pub fn install_bytes(&self) -> u64 {
        let copied = self.changes().iter().map(FileChange::copied_bytes).sum::<u64>();
        self.bytes() + 2 * copied
    }

    /// True once the installation can only go forward.
    pub fn is_decided(&self) -> Result<bool> {
        Ok(self.shared.is_inside && read_journal(&*self.shared.base)?.is_some())
    }

    /// Has the medium take what was written so far, on a thread of its own: the more of it is there
    /// by then, the shorter the installation. Not where nothing is to be installed.
    pub fn sync_ahead(&self) {
        let mut ahead = self.shared.ahead.lock();
        if self.shared.is_inside && ahead.is_none() {
            let blocks = Arc::clone(&self.shared.blocks);
            let thread = std::thread::Builder::new().name("holdfast-overlay".to_owned());
            // Where there is no thread to be had, the installation syncs all of it.
            *ahead = thread.spawn(move || blocks.sync()).ok();
        }
    }

    /// The system tells of a failed sync once only: nothing that thread was told may be lost.
    fn end_ahead(&self) -> Result<()> {
        let ahead = self.shared.ahead.lock().take();
        let panicked = |_| Err(Error::internal("the thread that synced an overlay panicked"));
        ahead.map_or(Ok(()), |thread| thread.join().unwrap_or_else(panicked))
    }

    /// Drops what was written: the originals stay what they are.
    pub fn discard(&self) -> Result<()> {
        // What goes need not have reached the medium.
        let _ = self.end_ahead();
        drop_files(&*self.shared.store)
    }

    fn changes(&self) -> Vec<FileChange> {
        let layers = self.shared.layers.lock();
        let changes = layers.iter().filter_map(|(path, layer)| {
            let change = match layer {
                Layer::Removed => Change::Removed,
                Layer::Present(layer) => {
                    let state = layer.state.read();
                    if !state.is_changed {
                        return None;
                    }
                    Change::Written { size: state.size, keep: state.keep, runs: state.map.runs() }
                }
            };
            Some(FileChange { path: path.clone(), change })
        });
        changes.collect()
    }

    /// `DiskFull` where the originals could not grow to what they are to be: better told now.
    fn ensure_room(&self, changes: &[FileChange]) -> Result<()> {
        let mut growth = 0;
        for FileChange { path, change } in changes {
            if let Change::Written { size, .. } = change {
                let before = match self.shared.open_base(path)? {
                    Some(file) => file.size()?,
                    None => 0,
                };
                growth += size.saturating_sub(before);
            }
        }
        let free = self.shared.base.free_bytes()?;
        if growth > free {
            return Err(Error::new(Code::DiskFull)
                .with("operation", "install")
                .with("path", BLOCKS_PATH)
                .with("required", growth)
                .with("available", free));
        }
        Ok(())
    }
}

/// True where the directory holds files of an overlay.
pub fn is_left(disk: &dyn Disk) -> Result<bool> {
    Ok(disk.exists(JOURNAL_PATH)? || disk.exists(BLOCKS_PATH)?)
}

/// Finishes an installation that was cut off, or drops an overlay that was never to be installed.
/// To be called with the database's lock held, before anything else is read.
pub fn settle(disk: &dyn Disk) -> Result<Settled> {
    if !is_left(disk)? {
        return Ok(Settled::Nothing);
    }
    let Some(changes) = read_journal(disk)? else {
        drop_files(disk)?;
        return Ok(Settled::Dropped);
    };
    // Who decided may have been killed before the medium had it; where it went again half-way, the
    // next one would take what is half done for the originals.
    let journal = disk.open(JOURNAL_PATH, OpenMode::Write)?;
    secure(&*journal, 0..journal.size()?)?;
    disk.sync_dir("")?;
    drop(journal);
    let blocks = disk.open(BLOCKS_PATH, OpenMode::Read)?;
    carry_out(disk, &*blocks, &changes, false, &|_| Ok(()))?;
    drop(blocks);
    drop_files(disk)?;
    Ok(Settled::Installed)
}

fn read_journal(disk: &dyn Disk) -> Result<Option<Vec<FileChange>>> {
    if !disk.exists(JOURNAL_PATH)? {
        return Ok(None);
    }
    let file = disk.open(JOURNAL_PATH, OpenMode::Read)?;
    let mut bytes = crate::memory::zeroed(
        usize::try_from(file.size()?).unwrap_or(usize::MAX),
        "read what a recovery has decided",
    )?;
    let count = file.read_at(&mut bytes, 0)?;
    Ok(journal::decode(&bytes[..count]))
}

/// The journal goes before the blocks that it speaks of: it never names what is not there.
fn drop_files(disk: &dyn Disk) -> Result<()> {
    disk.remove(JOURNAL_PATH)?;
    disk.sync_dir("")?;
    disk.remove(BLOCKS_PATH)?;
    disk.sync_dir("")
}

impl FileChange {
    /// Bytes that are copied to the original; a segment's zeros take as long as any others.
    fn copied_bytes(&self) -> u64 {
        match &self.change {
            Change::Removed => 0,
            Change::Written { size, runs, .. } => runs.iter().map(|run| copied_of(run, *size)).sum(),
        }
    }
}

/// Bytes of a run that go to a file of this size: its last block may reach over the end.
fn copied_of(run: &Run, size: u64) -> u64 {
    let start = run.block * BLOCK as u64;
    let end = size.min(start + u64::from(run.count) * BLOCK as u64);
    end.saturating_sub(start)
}

/// Carries out every change; durable on return. Each step may be repeated any number of times.
fn carry_out(
    disk: &dyn Disk,
    blocks: &dyn File,
    changes: &[FileChange],
    with_threads: bool,
    tell: &Tell<'_>,
) -> Result<()> {
    let folders: BTreeSet<&str> = changes
        .iter()
        .map(|change| change.path.rsplit_once('/').map_or("", |(folder, _)| folder))
        .collect();
    let (removed, written): (Vec<_>, Vec<_>) =
        changes.iter().partition(|change| matches!(change.change, Change::Removed));
    std::thread::scope(|scope| {
        let remove =
            || removed.iter().try_for_each(|change| disk.remove(&change.path).and_then(|()| tell(0)));
        // To remove a large file takes the system as long as to write some: it gives back each block.
        // Where there is no thread to be had, it is done here.
        let removing = with_threads.then(|| begin_scoped(scope, remove).ok()).flatten();
        if removing.is_none() {
            remove()?;
        }
        let copied =
            written.iter().try_for_each(|change| write(disk, blocks, change, with_threads, tell));
        let panicked = |_| Err(Error::internal("the thread that removed files panicked"));
        let gone = removing.map_or(Ok(()), |thread| thread.join().unwrap_or_else(panicked));
        copied.and(gone)
    })?;
    folders.into_iter().try_for_each(|folder| disk.sync_dir(folder))
}

/// Makes one original what the overlay shows of it; durable on return.
fn write(
    disk: &dyn Disk,
    blocks: &dyn File,
    change: &FileChange,
    with_threads: bool,
    tell: &Tell<'_>,
) -> Result<()> {
    let FileChange { path, change: Change::Written { size, keep, runs } } = change else {
        return Ok(());
    };
    let file = disk.open(path, OpenMode::Create)?;
    // What an earlier attempt put behind `keep` is put there again.
    if file.size()? > *keep {
        file.truncate(*keep)?;
    }
    file.allocate(*size)?;
    let on_medium = if with_threads {
        copy_and_sync(&*file, blocks, runs, *size, tell)?
    } else {
        runs.iter().try_for_each(|run| copy(&*file, blocks, run, *size, tell))?;
        0
    };
    file.sync()?;
    tell(change.copied_bytes().saturating_sub(on_medium))
}

/// Copies while another thread has the medium take what was copied before: a sync is left to do.
/// Returns the bytes that it has told to be on the medium.
fn copy_and_sync(
    file: &dyn File,
    blocks: &dyn File,
    runs: &[Run],
    size: u64,
    tell: &Tell<'_>,
) -> Result<u64> {
    std::thread::scope(|scope| {
        let (wake, waker) = sync_channel::<u64>(SYNCS_AHEAD);
        let syncing = begin_scoped(scope, move || {
            let mut on_medium = 0;
            while let Ok(bytes) = waker.recv() {
                let bytes = bytes + waker.try_iter().sum::<u64>();
                file.sync()?;
                tell(bytes)?;
                on_medium += bytes;
            }
            Ok(on_medium)
        });
        let Ok(syncing) = syncing else {
            return runs.iter().try_for_each(|run| copy(file, blocks, run, size, tell)).map(|()| 0);
        };
        let mut since = 0;
        let copied = runs.iter().try_for_each(|run| {
            copy(file, blocks, run, size, tell)?;
            since += copied_of(run, size);
            if since >= SYNC_BYTES {
                // Where it has failed, its error is told below.
                let _ = wake.send(std::mem::take(&mut since));
            }
            Ok(())
        });
        drop(wake);
        let panicked = |_| Err(Error::internal("the thread that synced a file panicked"));
        let synced = syncing.join().unwrap_or_else(panicked);
        copied.and(synced)
    })
}

fn copy(file: &dyn File, blocks: &dyn File, run: &Run, size: u64, tell: &Tell<'_>) -> Result<()> {
    let start = run.block * BLOCK as u64;
    // The last block of a file may reach over its end.
    let end = size.min(start + u64::from(run.count) * BLOCK as u64);
    let mut piece =
        crate::memory::zeroed(PIECE.min(end.saturating_sub(start) as usize), "install a recovery")?;
    let mut at = start;
    while at < end {
        let count = (end - at).min(PIECE as u64) as usize;
        if let Place::Slot(from) = run.place
            && blocks.read_at(&mut piece[..count], from + at - start)? < count
        {
            return Err(Error::new(Code::RecoveryImpossible)
                .with("reason", "the files of a finished recovery are not whole")
                .with("suggested_action", "restore the newest backup into a new directory"));
        }
        file.write_at(&piece[..count], at)?;
        at += count as u64;
        tell(count as u64)?;
    }
    Ok(())
}
