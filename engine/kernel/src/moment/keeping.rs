//! The disk that a database with snapshots is opened on: its data file keeps pages before they
//! are overwritten, whoever overwrites them.

use super::chain::Chain;
use crate::disk::{Disk, File, OpenMode};
use crate::error::Result;
use crate::recovery::DATA_PATH;
use crate::sync::Arc;

/// A database directory whose data file is written to through its snapshots.
pub struct KeepingDisk {
    base: Arc<dyn Disk>,
    chain: Arc<Chain>,
}

struct KeepingFile {
    file: Arc<dyn File>,
    chain: Arc<Chain>,
}

impl KeepingDisk {
    /// The disk to open the database on, and its snapshots. Changes nothing.
    pub fn over(base: Arc<dyn Disk>) -> Result<(Arc<dyn Disk>, Arc<Chain>)> {
        let chain = Chain::load(Arc::clone(&base))?;
        Ok((Arc::new(KeepingDisk { base, chain: Arc::clone(&chain) }), chain))
    }
}

impl Disk for KeepingDisk {
    fn open(&self, path: &str, mode: OpenMode) -> Result<Arc<dyn File>> {
        let file = self.base.open(path, mode)?;
        if path != DATA_PATH || mode == OpenMode::Read {
            return Ok(file);
        }
        Ok(Arc::new(KeepingFile { file, chain: Arc::clone(&self.chain) }))
    }

    fn remove(&self, path: &str) -> Result<()> {
        self.base.remove(path)
    }
    fn list(&self, folder: &str) -> Result<Vec<String>> {
        self.base.list(folder)
    }
    fn sync_dir(&self, folder: &str) -> Result<()> {
        self.base.sync_dir(folder)
    }
    fn free_bytes(&self) -> Result<u64> {
        self.base.free_bytes()
    }
    fn is_atomic(&self) -> bool {
        self.base.is_atomic()
    }
    fn exists(&self, path: &str) -> Result<bool> {
        self.base.exists(path)
    }
}

impl KeepingFile {
    /// Changes a stretch of the file once what was there is kept.
    fn change(&self, offset: u64, count: u64, change: impl Fn() -> Result<()>) -> Result<()> {
        loop {
            // No snapshot begins in the middle of a write: it would have half of it.
            let links = self.chain.links.read();
            if !Chain::lacks(&links, &[(offset, count)]) {
                return change();
            }
            drop(links);
            self.chain.keep(&*self.file, &[(offset, count)]);
        }
    }
}

impl File for KeepingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn read_past_cache(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.file.read_past_cache(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.change(offset, bytes.len() as u64, || self.file.write_at(bytes, offset))
    }

    fn write_past_cache(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.change(offset, bytes.len() as u64, || self.file.write_past_cache(bytes, offset))
    }

    fn allocate(&self, size: u64) -> Result<()> {
        self.file.allocate(size)
    }

    fn truncate(&self, size: u64) -> Result<()> {
        let lost = self.file.size()?.saturating_sub(size);
        self.change(size, lost, || self.file.truncate(size))
    }

    fn size(&self) -> Result<u64> {
        self.file.size()
    }

    fn sync(&self) -> Result<()> {
        self.file.sync()
    }

    fn will_write(&self, ranges: &[(u64, u64)]) {
        self.chain.keep(&*self.file, ranges);
    }
}
