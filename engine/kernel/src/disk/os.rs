//! The operating system's files.
//!
//! Files are private to their owner (0600, folders 0700). Windows: files are opened so that
//! others may delete and rename them, a sharing violation (a virus scanner, an indexer) is
//! retried, and folders need no sync.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
#[cfg(target_os = "linux")]
use std::ops::Range;
use std::path::{Path, PathBuf};

#[cfg(target_os = "linux")]
use super::aligned::is_aligned;
use super::{Disk, File, OpenMode};
use crate::error::{Error, Result};
use crate::sync::{Arc, AtomicBool, Ordering};

/// Zeros are written in blocks of this size where the file system cannot allocate.
const ZERO_BLOCK: usize = 1 << 20;

/// A database directory of the operating system.
pub struct OsDisk {
    root: PathBuf,
}

struct OsFile {
    file: fs::File,
    path: String,
    /// The size changed since the last sync, so that one has to cover the metadata too.
    resized: AtomicBool,
    #[cfg(target_os = "linux")]
    is_writable: bool,
    /// The same file past the system's cache; none where the system has no such thing.
    #[cfg(target_os = "linux")]
    direct: std::sync::OnceLock<Option<fs::File>>,
}

impl OsDisk {
    /// A disk over `root`, which is created with the first file in it.
    pub fn new(root: &Path) -> Self {
        OsDisk { root: root.to_owned() }
    }

    /// The place of `path` under the root. Only plain relative names: a path that a damaged
    /// or foreign file supplied must not lead out of the database directory.
    fn locate(&self, path: &str) -> Result<PathBuf> {
        let plain = path.is_empty()
            || path.split('/').all(|part| {
                !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', ':', '\0'])
            });
        if !plain {
            return Err(Error::argument("path", "must be a plain path inside the database directory"));
        }
        Ok(if path.is_empty() { self.root.clone() } else { self.root.join(path) })
    }

    fn create_folders(&self, path: &str, full: &Path) -> Result<()> {
        let Some(folder) = full.parent() else { return Ok(()) };
        if folder.is_dir() {
            return Ok(());
        }
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder).map_err(|e| Error::io("create_folder", path, &e))?;
        // The new folder's own name must be as durable as the names that will be in it.
        if let Some(above) = folder.parent() {
            sync_folder(above).map_err(|e| Error::io("sync_dir", path, &e))?;
        }
        Ok(())
    }
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    fs::File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

fn open_options(mode: OpenMode) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(mode != OpenMode::Read).create(mode == OpenMode::Create);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    #[cfg(windows)]
    {
        // FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE.
        std::os::windows::fs::OpenOptionsExt::share_mode(&mut options, 0x1 | 0x2 | 0x4);
    }
    options
}

/// Runs `action` again while another program holds the file against us (Windows only: there,
/// scanners and indexers open files for moments without sharing them).
fn retry_sharing<T>(mut action: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    const ERROR_SHARING_VIOLATION: i32 = 32;
    const ERROR_LOCK_VIOLATION: i32 = 33;
    let mut wait_ms = 5;
    loop {
        match action() {
            Err(e)
                if cfg!(windows)
                    && wait_ms <= 640
                    && matches!(
                        e.raw_os_error(),
                        Some(ERROR_SHARING_VIOLATION | ERROR_LOCK_VIOLATION)
                    ) =>
            {
                std::thread::sleep(std::time::Duration::from_millis(wait_ms));
                wait_ms *= 2;
            }
            result => return result,
        }
    }
}

fn missing(error: Error, cause: &io::Error) -> Error {
    match cause.kind() {
        ErrorKind::NotFound => error.with("missing", 1i64),
        _ => error,
    }
}

impl Disk for OsDisk {
    fn open(&self, path: &str, mode: OpenMode) -> Result<Arc<dyn File>> {
        let full = self.locate(path)?;
        if mode == OpenMode::Create {
            self.create_folders(path, &full)?;
        }
        let file = retry_sharing(|| open_options(mode).open(&full))
            .map_err(|e| missing(Error::io("open", path, &e), &e))?;
        Ok(Arc::new(OsFile {
            file,
            path: path.to_owned(),
            resized: AtomicBool::new(true),
            #[cfg(target_os = "linux")]
            is_writable: mode != OpenMode::Read,
            #[cfg(target_os = "linux")]
            direct: std::sync::OnceLock::new(),
        }))
    }

    fn remove(&self, path: &str) -> Result<()> {
        let full = self.locate(path)?;
        match retry_sharing(|| fs::remove_file(&full)) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io("remove", path, &e)),
            _ => Ok(()),
        }
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        let fault = |e: &io::Error| Error::io("list", folder, e);
        let entries = match fs::read_dir(self.locate(folder)?) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|e| fault(&e))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| fault(&e))?;
            if entry.file_type().map_err(|e| fault(&e))?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn sync_dir(&self, folder: &str) -> Result<()> {
        sync_folder(&self.locate(folder)?).map_err(|e| Error::io("sync_dir", folder, &e))
    }

    fn free_bytes(&self) -> Result<u64> {
        // The directory itself may not exist yet; what is above it lies on the same disk.
        let place = self.root.ancestors().find(|p| p.is_dir()).unwrap_or(Path::new("."));
        fs4::available_space(place).map_err(|e| Error::io("free_bytes", "", &e))
    }
}

impl OsFile {
    fn fault(&self, operation: &'static str, error: &io::Error) -> Error {
        Error::io(operation, &self.path, error)
    }

    /// Straight from the system: the C library makes of each read a place where a thread may be
    /// cancelled, which nobody here does, and which takes longer than to copy a log entry.
    #[cfg(unix)]
    fn read_some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pread(&self.file, buffer, offset)?)
    }

    #[cfg(windows)]
    fn read_some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(&self.file, buffer, offset)
    }

    #[cfg(unix)]
    fn write_some(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::write_at(&self.file, bytes, offset)
    }

    #[cfg(windows)]
    fn write_some(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_write(&self.file, bytes, offset)
    }

    /// Opened by its number, for its name may lead elsewhere by now.
    #[cfg(target_os = "linux")]
    fn direct(&self) -> Option<&fs::File> {
        use std::os::fd::AsRawFd;
        use std::os::unix::fs::OpenOptionsExt;
        let open = || {
            let name = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            let mut options = OpenOptions::new();
            options.read(true).write(self.is_writable).custom_flags(libc::O_DIRECT);
            options.open(name).ok()
        };
        self.direct.get_or_init(open).as_ref()
    }

    /// How many of the bytes went straight to the device; the rest is to be written as ever.
    #[cfg(target_os = "linux")]
    fn write_directly(&self, bytes: &[u8], offset: u64) -> usize {
        use std::os::unix::fs::FileExt;
        let mut done = 0;
        while done < bytes.len() && is_aligned(&bytes[done..], offset + done as u64) {
            let Some(file) = self.direct() else { break };
            match file.write_at(&bytes[done..], offset + done as u64) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // The write as ever meets what is wrong again, or does what is not possible here.
                Ok(0) | Err(_) => break,
                Ok(count) => done += count,
            }
        }
        done
    }

    /// How many of the bytes the system had cached, from the first on; it reads none for that.
    #[cfg(target_os = "linux")]
    fn read_cached(&self, buffer: &mut [u8], offset: u64) -> usize {
        let flags = rustix::io::ReadWriteFlags::NOWAIT;
        let mut done = 0;
        while done < buffer.len() {
            let mut rest = [io::IoSliceMut::new(&mut buffer[done..])];
            match rustix::io::preadv2(&self.file, &mut rest, offset + done as u64, flags) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(0) | Err(_) => break,
                Ok(count) => done += count,
            }
        }
        done
    }

    /// How many of the bytes came straight from the device; the rest is to be read as ever.
    #[cfg(target_os = "linux")]
    fn read_directly(&self, buffer: &mut [u8], offset: u64) -> usize {
        let mut done = 0;
        while done < buffer.len() && is_aligned(&buffer[done..], offset + done as u64) {
            let Some(file) = self.direct() else { break };
            match rustix::io::pread(file, &mut buffer[done..], offset + done as u64) {
                Err(rustix::io::Errno::INTR) => {}
                // The read as ever meets the end or what is wrong again, or does what is not possible here.
                Ok(0) | Err(_) => break,
                Ok(count) => done += count,
            }
        }
        done
    }

    fn write_zeros(&self, from: u64, to: u64) -> Result<()> {
        let zeros = crate::memory::zeroed(ZERO_BLOCK, "write zeros")?;
        let mut at = from;
        while at < to {
            let count = (to - at).min(ZERO_BLOCK as u64);
            self.write_at(&zeros[..count as usize], at)?;
            at += count;
        }
        Ok(())
    }
}

impl File for OsFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.read_some(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // Windows answers a read beyond the end with an error instead of nothing.
                Err(e) if cfg!(windows) && e.raw_os_error() == Some(38) => break,
                Err(e) => return Err(self.fault("read", &e)),
            }
        }
        Ok(done)
    }

    #[cfg(target_os = "linux")]
    fn read_past_cache(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let mut done = 0;
        if is_aligned(buffer, offset) {
            done = self.read_cached(buffer, offset);
            done += self.read_directly(&mut buffer[done..], offset + done as u64);
        }
        Ok(done + self.read_at(&mut buffer[done..], offset + done as u64)?)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            match self.write_some(&bytes[done..], offset + done as u64) {
                Ok(0) => return Err(self.fault("write", &io::Error::from(ErrorKind::WriteZero))),
                Ok(count) => done += count,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(self.fault("write", &e)),
            }
        }
        Ok(())
    }

    #[cfg(target_os = "linux")]
    fn write_past_cache(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let done = self.write_directly(bytes, offset);
        self.write_at(&bytes[done..], offset + done as u64)
    }

    fn allocate(&self, size: u64) -> Result<()> {
        let before = self.size()?;
        if before >= size {
            return Ok(());
        }
        self.resized.store(true, Ordering::Release);
        match fs4::fs_std::FileExt::allocate(&self.file, size) {
            // Network and older file systems cannot reserve blocks: writing them does it too.
            Err(e) if e.kind() == ErrorKind::Unsupported || e.raw_os_error() == Some(95) => {
                self.write_zeros(before, size)
            }
            Err(e) => Err(self.fault("allocate", &e)),
            Ok(()) if self.size()? < size => {
                self.file.set_len(size).map_err(|e| self.fault("allocate", &e))
            }
            Ok(()) => Ok(()),
        }
    }

    fn truncate(&self, size: u64) -> Result<()> {
        self.resized.store(true, Ordering::Release);
        self.file.set_len(size).map_err(|e| self.fault("truncate", &e))
    }

    fn size(&self) -> Result<u64> {
        Ok(self.file.metadata().map_err(|e| self.fault("size", &e))?.len())
    }

    #[cfg(target_os = "linux")]
    fn data(&self, from: u64, to: u64) -> Result<Vec<Range<u64>>> {
        use rustix::fs::SeekFrom;
        // It moves the file's cursor, which nobody uses.
        let seek = |to| rustix::fs::seek(&self.file, to);
        let (mut found, mut at) = (Vec::new(), from);
        while at < to {
            match (seek(SeekFrom::Data(at)), seek(SeekFrom::Hole(at))) {
                (Err(rustix::io::Errno::NXIO), _) => break,
                (Ok(start), _) if start >= to => break,
                (Ok(start), _) if start > at => at = start,
                (Ok(_), Ok(end)) if end > at => {
                    found.push(at..end.min(to));
                    at = end;
                }
                // Not every file system can tell.
                _ => return Ok(std::iter::once(from..to).collect()),
            }
        }
        Ok(found)
    }

    fn sync(&self) -> Result<()> {
        // A data sync covers what is needed to read the data back, a grown size included; after
        // a change of size alone the whole sync is the one that every system defines.
        let result = if self.resized.swap(false, Ordering::AcqRel) {
            self.file.sync_all()
        } else {
            self.file.sync_data()
        };
        result.map_err(|e| self.fault("sync", &e))
    }
}
