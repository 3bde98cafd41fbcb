//! The only code that touches files.
//!
//! The kernel sees a database directory through [`Disk`]: paths are relative to it, with
//! forward slashes ("wal/000000000001.wal"). The same kernel runs on the operating system
//! ([`os`]), on a simulated disk that loses, tears and reorders what was not synced
//! ([`memory`]), and on a disk whose every call can be made to fail ([`faults`]).
//!
//! Assumptions about a medium: what a completed `sync` covered is there after a crash; what
//! was not synced may be there whole, in part (in 512-byte sectors), or not at all, in any
//! order; a new or removed name is certain only after `sync_dir`.

use std::ops::Range;
use std::sync::Arc;

use crate::error::Result;

mod aligned;
pub mod faults;
pub mod memory;
pub mod os;
pub mod overlay;
mod secure;
mod simulated;
#[cfg(test)]
pub(crate) mod tests;

pub use aligned::{ALIGNMENT, AlignedBuffer};
pub use secure::secure;

/// How a file is to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Must exist; writes are refused.
    Read,
    /// Must exist.
    Write,
    /// Created where it is missing, kept as it is where it exists.
    Create,
}

/// A database directory. Every method may be called from many threads.
pub trait Disk: Send + Sync {
    /// Opens a file. A missing one gives `IoError` with the field `missing = 1`.
    fn open(&self, path: &str, mode: OpenMode) -> Result<Arc<dyn File>>;
    /// Removes a file; removing one that is not there is no error.
    fn remove(&self, path: &str) -> Result<()>;
    /// The names of the files in a folder ("" is the database directory), sorted; empty for a
    /// folder that does not exist.
    fn list(&self, folder: &str) -> Result<Vec<String>>;
    /// Makes names created in or removed from `folder` durable. Nothing to do on Windows.
    fn sync_dir(&self, folder: &str) -> Result<()>;
    /// Bytes that can still be allocated, where the medium tells.
    fn free_bytes(&self) -> Result<u64>;
    /// True where what was written is seen whole or not at all after a crash, however much it is.
    fn is_atomic(&self) -> bool {
        false
    }
    /// True where the file exists.
    fn exists(&self, path: &str) -> Result<bool> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok(self.list(folder)?.iter().any(|n| n == name))
    }
}

/// An open file. Positioned reads and writes only, so that threads never share a cursor.
pub trait File: Send + Sync {
    /// Fills `buffer` from `offset` as far as the file reaches; returns the bytes read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize>;
    /// As [`File::read_at`], from the system's cache where it has the bytes, else past it where that
    /// is possible: what is read once puts nothing else out of the cache, and needs no memory of it.
    /// Worth it for long pieces that come to lie in an [`AlignedBuffer`], from places that are
    /// multiples of [`ALIGNMENT`]; any other is read as ever.
    fn read_past_cache(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.read_at(buffer, offset)
    }
    /// Writes all of `bytes`; the file grows where it must.
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()>;
    /// As [`File::write_at`], past the system's cache where that is possible: it spares a copy of
    /// what nobody reads soon. Worth it for long pieces that lie in an [`AlignedBuffer`], at places
    /// that are multiples of [`ALIGNMENT`]; any other is written as ever. Needs a sync as ever.
    fn write_past_cache(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.write_at(bytes, offset)
    }
    /// Makes sure that blocks for the first `size` bytes exist (new ones read as zeros), so that
    /// later writes there cannot meet a full disk.
    fn allocate(&self, size: u64) -> Result<()>;
    /// Cuts the file to `size` bytes.
    fn truncate(&self, size: u64) -> Result<()>;
    fn size(&self) -> Result<u64>;
    /// The stretches between two offsets that may hold something else than zeros, ascending: what
    /// lies between them was never written, and need not be read. To be asked before reading: to
    /// some systems what was read counts as written.
    fn data(&self, from: u64, to: u64) -> Result<Vec<Range<u64>>> {
        Ok(std::iter::once(from..to).collect())
    }
    /// Says that these stretches (offset, bytes) will be overwritten soon: whoever keeps what is
    /// there can do it for all of them at once.
    fn will_write(&self, _ranges: &[(u64, u64)]) {}
    /// Returns once everything written and allocated before the call is on the medium.
    fn sync(&self) -> Result<()>;
}
