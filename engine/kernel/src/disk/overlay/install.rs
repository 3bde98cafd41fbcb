//! Installing an overlay, dropping it, and finishing what a crash cut off.

use std::collections::BTreeSet;

use super::blocks::{BLOCK, Place, Run};
use super::journal::{self, Change, FileChange};
use super::{BLOCKS_PATH, JOURNAL_PATH, Layer, Overlay};
use crate::disk::{Disk, File, OpenMode};
use crate::error::{Code, Error, Result};

/// Blocks are copied in pieces of this size.
const PIECE: usize = 1 << 20;

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
    /// Nobody may write through the overlay any more. `tell` is given the bytes copied.
    pub fn install(&self, tell: &dyn Fn(u64)) -> Result<()> {
        let shared = &self.shared;
        if !shared.is_inside {
            return Err(Error::internal("an overlay beside its database cannot be installed"));
        }
        let changes = self.changes();
        self.ensure_room(&changes)?;
        shared.blocks.sync()?;
        shared.base.sync_dir("")?;
        let journal = shared.base.open(JOURNAL_PATH, OpenMode::Create)?;
        journal.truncate(0)?;
        journal.write_at(&journal::encode(&changes), 0)?;
        journal.sync()?;
        shared.base.sync_dir("")?;
        carry_out(&*shared.base, &*shared.blocks, &changes, tell)?;
        drop_files(&*shared.base)
    }

    /// True once the installation can only go forward.
    pub fn is_decided(&self) -> Result<bool> {
        Ok(self.shared.is_inside && read_journal(&*self.shared.base)?.is_some())
    }

    /// Drops what was written: the originals stay what they are.
    pub fn discard(&self) -> Result<()> {
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
    let blocks = disk.open(BLOCKS_PATH, OpenMode::Read)?;
    carry_out(disk, &*blocks, &changes, &|_| {})?;
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

/// Carries out every change; durable on return. Each step may be repeated any number of times.
fn carry_out(
    disk: &dyn Disk,
    blocks: &dyn File,
    changes: &[FileChange],
    tell: &dyn Fn(u64),
) -> Result<()> {
    let mut folders = BTreeSet::new();
    for FileChange { path, change } in changes {
        folders.insert(path.rsplit_once('/').map_or("", |(folder, _)| folder));
        match change {
            Change::Removed => disk.remove(path)?,
            Change::Written { size, keep, runs } => {
                let file = disk.open(path, OpenMode::Create)?;
                // What an earlier attempt put behind `keep` is put there again.
                if file.size()? > *keep {
                    file.truncate(*keep)?;
                }
                file.allocate(*size)?;
                runs.iter().try_for_each(|run| copy(&*file, blocks, run, *size, tell))?;
                file.sync()?;
            }
        }
    }
    folders.into_iter().try_for_each(|folder| disk.sync_dir(folder))
}

fn copy(file: &dyn File, blocks: &dyn File, run: &Run, size: u64, tell: &dyn Fn(u64)) -> Result<()> {
    let start = run.block * BLOCK as u64;
    // The last block of a file may reach over its end.
    let end = size.min(start + u64::from(run.count) * BLOCK as u64);
    let mut piece = vec![0; PIECE.min(end.saturating_sub(start) as usize)];
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
        if run.place != Place::Zero {
            tell(count as u64);
        }
    }
    Ok(())
}
