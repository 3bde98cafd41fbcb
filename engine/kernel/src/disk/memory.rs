//! A simulated disk that forgets, tears and reorders what was not synced.
//!
//! A file holds the bytes a reader sees, the bytes that are certain (synced), and the list
//! of changes in between. A power loss keeps, for each file, some outcome that a real disk
//! allows: changes kept whole, lost, torn at 512-byte sectors, or applied in another order.
//! Names are certain only after `sync_dir`; until then each creation and removal may or may
//! not have happened, on its own. Everything follows from the seed: the same calls and the
//! same seeds give the same bytes.

use std::collections::BTreeMap;

use super::simulated::{Call, Counters, Inode, Life, Medium, NameChange};
use super::{Disk, File, OpenMode};
use crate::error::{Code, Error, Result};
use crate::sync::{Arc, Mutex};

/// What `free_bytes` answers where no capacity was set.
const AMPLE: u64 = 1 << 40;

/// A simulated disk; one value is one life of it, between two crashes.
pub struct MemoryDisk {
    medium: Arc<Mutex<Medium>>,
    life: Life,
}

struct MemoryFile {
    medium: Arc<Mutex<Medium>>,
    life: Life,
    inode: u64,
    path: String,
    writable: bool,
}

impl MemoryDisk {
    /// An empty disk; `seed` decides what crashes leave of unsynced changes.
    pub fn new(seed: u64) -> Arc<Self> {
        let medium = Medium::new(seed);
        let life = medium.life;
        Arc::new(MemoryDisk { medium: Arc::new(Mutex::new(medium)), life })
    }

    /// A disk that holds exactly these files, all of them durable.
    pub fn from_snapshot(seed: u64, files: &BTreeMap<String, Vec<u8>>) -> Arc<Self> {
        let disk = MemoryDisk::new(seed);
        let mut medium = disk.medium.lock();
        for (path, bytes) in files {
            medium.insert_durable(path, bytes.clone());
        }
        drop(medium);
        disk
    }

    /// Power is lost: `seed` decides what is left of unsynced changes. Every handle and this
    /// disk itself answer with an error from now on; [`MemoryDisk::reopen`] gives the new life.
    pub fn crash(&self, seed: u64) {
        let mut medium = self.medium.lock();
        if medium.life == self.life {
            medium.lose_power(seed);
        }
    }

    /// The process is killed: the system keeps what was written, synced or not.
    pub fn kill(&self) {
        let mut medium = self.medium.lock();
        if medium.life == self.life {
            medium.begin_life();
        }
    }

    /// The same medium in its new life. Where it died by [`MemoryDisk::crash_after`], power
    /// was lost at that moment, with the disk's own seed; where by [`MemoryDisk::kill_after`],
    /// all that was written is still seen.
    pub fn reopen(&self) -> Arc<Self> {
        let mut medium = self.medium.lock();
        if medium.life == self.life {
            let seed = medium.next_seed();
            if medium.dead && medium.is_kill { medium.begin_life() } else { medium.lose_power(seed) }
        }
        let life = medium.life;
        drop(medium);
        Arc::new(MemoryDisk { medium: Arc::clone(&self.medium), life })
    }

    /// The `nth` changing call from now (1 is the next) and all later calls fail with a
    /// simulated crash. The change of that call itself is among those that may survive.
    pub fn crash_after(&self, nth: u64) {
        let mut medium = self.medium.lock();
        (medium.countdown, medium.is_kill) = (Some(nth), false);
    }

    /// As [`MemoryDisk::crash_after`], but the process is killed there: between a write and its
    /// sync, say. The system shows whoever comes next what was written, and a power failure after
    /// that still takes it away.
    pub fn kill_after(&self, nth: u64) {
        let mut medium = self.medium.lock();
        (medium.countdown, medium.is_kill) = (Some(nth), true);
    }

    /// True once a countdown has struck or the disk has crashed.
    pub fn is_dead(&self) -> bool {
        let medium = self.medium.lock();
        medium.dead || medium.life != self.life
    }

    /// Limits the sum of all file sizes; `None` lifts the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.medium.lock().capacity = bytes;
    }

    /// Syncs of files whose path contains `pattern` do nothing from now on. Folders count as
    /// "wal/" (the root as "./"). Shows that leaving out one sync is noticed.
    pub fn ignore_sync(&self, pattern: &str) {
        self.medium.lock().ignored_syncs.push(pattern.to_owned());
    }

    /// What a failed sync leaves on common systems: the changes of `path` since its last sync
    /// are still read back, but will never reach the medium (Rebello et al. 2020).
    pub fn drop_unsynced(&self, path: &str) {
        let mut medium = self.medium.lock();
        if let Some(inode) = medium.names.get(path).copied()
            && let Some(inode) = medium.inodes.get_mut(&inode)
        {
            inode.pending.clear();
        }
    }

    /// Turns one bit over, in the certain and in the visible bytes.
    pub fn flip_bit(&self, path: &str, offset: u64, bit: u8) -> Result<()> {
        let mut medium = self.medium.lock();
        let inode = medium.visible(path)?;
        for bytes in [&mut inode.current, &mut inode.durable] {
            if let Some(byte) = bytes.get_mut(offset as usize) {
                *byte ^= 1 << (bit % 8);
            }
        }
        Ok(())
    }

    /// Every file as it is seen now.
    pub fn snapshot(&self) -> BTreeMap<String, Vec<u8>> {
        let medium = self.medium.lock();
        let bytes =
            |inode: &u64| medium.inodes.get(inode).map(|i| i.current.clone()).unwrap_or_default();
        medium.names.iter().map(|(path, inode)| (path.clone(), bytes(inode))).collect()
    }

    /// A hash of every name and byte that is seen now.
    pub fn hash(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for (path, bytes) in self.snapshot() {
            hasher.update(&(path.len() as u64).to_le_bytes());
            hasher.update(path.as_bytes());
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(&bytes);
        }
        *hasher.finalize().as_bytes()
    }

    /// How often each kind of call was made, over all lives.
    pub fn counters(&self) -> Counters {
        self.medium.lock().counters
    }
}

/// Finds the medium alive and of the same life as the handle; counts the call.
fn enter(medium: &mut Medium, life: Life, call: Call) -> Result<()> {
    medium.counters.count(call);
    if medium.dead || medium.life != life {
        return Err(crashed(call));
    }
    Ok(())
}

/// After the effect of a changing call was noted: has the countdown struck?
fn strike(medium: &mut Medium, call: Call) -> Result<()> {
    medium.counters.changes += 1;
    if medium.countdown_strikes() {
        return Err(crashed(call));
    }
    Ok(())
}

fn crashed(call: Call) -> Error {
    Error::new(Code::IoError).with("operation", call.name()).with("os_error", "simulated crash")
}

fn disk_full(call: Call, path: &str) -> Error {
    Error::new(Code::DiskFull)
        .with("operation", call.name())
        .with("path", path)
        .with("os_error", "simulated disk is full")
}

impl Disk for MemoryDisk {
    fn open(&self, path: &str, mode: OpenMode) -> Result<Arc<dyn File>> {
        let mut medium = self.medium.lock();
        enter(&mut medium, self.life, Call::Open)?;
        let inode = match medium.names.get(path).copied() {
            Some(inode) => inode,
            None if mode == OpenMode::Create => {
                let inode = medium.create(path);
                strike(&mut medium, Call::Open)?;
                inode
            }
            None => {
                return Err(Error::new(Code::IoError)
                    .with("operation", "open")
                    .with("path", path)
                    .with("missing", 1i64));
            }
        };
        Ok(Arc::new(MemoryFile {
            medium: Arc::clone(&self.medium),
            life: self.life,
            inode,
            path: path.to_owned(),
            writable: mode != OpenMode::Read,
        }))
    }

    fn remove(&self, path: &str) -> Result<()> {
        let mut medium = self.medium.lock();
        enter(&mut medium, self.life, Call::Remove)?;
        if let Some(inode) = medium.names.remove(path) {
            let size = medium.inodes.get(&inode).map_or(0, |i| i.current.len() as u64);
            medium.used -= size;
            medium.name_changes.push(NameChange::Removed { path: path.to_owned() });
            strike(&mut medium, Call::Remove)?;
        }
        Ok(())
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        let mut medium = self.medium.lock();
        enter(&mut medium, self.life, Call::List)?;
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let rest = medium.names.keys().filter_map(|path| path.strip_prefix(&prefix));
        Ok(rest.filter(|name| !name.contains('/')).map(str::to_owned).collect())
    }

    fn sync_dir(&self, folder: &str) -> Result<()> {
        let mut medium = self.medium.lock();
        enter(&mut medium, self.life, Call::SyncDir)?;
        strike(&mut medium, Call::SyncDir)?;
        let label = if folder.is_empty() { "./".to_owned() } else { format!("{folder}/") };
        if !medium.is_sync_ignored(&label) {
            medium.settle_names(folder);
        }
        Ok(())
    }

    fn free_bytes(&self) -> Result<u64> {
        let mut medium = self.medium.lock();
        enter(&mut medium, self.life, Call::FreeBytes)?;
        Ok(medium.capacity.map_or(AMPLE, |capacity| capacity.saturating_sub(medium.used)))
    }
}

impl MemoryFile {
    /// Runs `change` on the file as one changing call, within the capacity.
    fn change(&self, call: Call, grown_to: u64, change: impl FnOnce(&mut Inode)) -> Result<()> {
        let mut medium = self.medium.lock();
        enter(&mut medium, self.life, call)?;
        if !self.writable {
            return Err(Error::io(
                call.name(),
                &self.path,
                &std::io::ErrorKind::PermissionDenied.into(),
            ));
        }
        let before = medium.inode(self.inode)?.current.len() as u64;
        if medium.lacks_room(grown_to.saturating_sub(before)) {
            return Err(disk_full(call, &self.path));
        }
        let inode = medium.inode(self.inode)?;
        change(inode);
        let after = inode.current.len() as u64;
        // A removed file that is still open no longer counts.
        if medium.names.get(&self.path) == Some(&self.inode) {
            medium.used = medium.used + after - before;
        }
        strike(&mut medium, call)
    }
}

impl File for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let mut medium = self.medium.lock();
        enter(&mut medium, self.life, Call::Read)?;
        let bytes = &medium.inode(self.inode)?.current;
        let from = bytes.len().min(usize::try_from(offset).unwrap_or(usize::MAX));
        let count = buffer.len().min(bytes.len() - from);
        buffer[..count].copy_from_slice(&bytes[from..from + count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let end = offset + bytes.len() as u64;
        self.change(Call::Write, end, |inode| inode.write(bytes, offset))
    }

    fn allocate(&self, size: u64) -> Result<()> {
        self.change(Call::Allocate, size, |inode| inode.resize(size.max(inode.current.len() as u64)))
    }

    fn truncate(&self, size: u64) -> Result<()> {
        self.change(Call::Truncate, size, |inode| inode.resize(size))
    }

    fn size(&self) -> Result<u64> {
        let mut medium = self.medium.lock();
        enter(&mut medium, self.life, Call::Size)?;
        Ok(medium.inode(self.inode)?.current.len() as u64)
    }

    fn sync(&self) -> Result<()> {
        let mut medium = self.medium.lock();
        enter(&mut medium, self.life, Call::Sync)?;
        strike(&mut medium, Call::Sync)?;
        if !medium.is_sync_ignored(&self.path) {
            medium.inode(self.inode)?.settle();
        }
        Ok(())
    }
}
