//! Opening a SQLite database without changing a byte of it or leaving a file beside it.
//!
//! A database that is at rest is opened as immutable: SQLite then takes no lock and makes no
//! file. One with a log or a journal beside it holds committed work that only SQLite can put
//! together, and doing so writes: it is copied first, and the copy is opened.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::{Connection, OpenFlags};

use super::sqlite_error;
use crate::error::Result;
use crate::rows::source::{bad_input, io_error, unsupported};
use crate::sync::{AtomicU64, Ordering};

const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// A log or journal of no more bytes than this holds nothing.
const EMPTY_LOG: u64 = 32;
const COPY_ATTEMPTS: usize = 3;

/// A database open for reading.
pub struct Opened {
    // The connection is closed before the copy is removed: fields are dropped in this order.
    pub connection: Connection,
    copy: Option<Copy>,
    file: PathBuf,
    stamp: Stamp,
}

/// Sizes and times of the database, its log and its journal.
#[derive(PartialEq)]
struct Stamp([Option<(u64, Option<SystemTime>)>; 3]);

impl Opened {
    pub fn open(file: &Path) -> Result<Opened> {
        check_magic(file)?;
        let stamp = Stamp::of(file)?;
        let (copy, stamp) = if stamp.has_unsettled_work() { copy(file)? } else { (None, stamp) };
        let connection = match &copy {
            Some(copy) => {
                Connection::open_with_flags(copy.database(), OpenFlags::SQLITE_OPEN_READ_WRITE)
            }
            None => {
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
                Connection::open_with_flags(immutable_uri(file)?, flags)
            }
        };
        let connection = connection.map_err(|error| sqlite_error(file, &error))?;
        // The schema of a stranger's file must not run anything while it is read.
        connection
            .execute_batch(
                "PRAGMA query_only = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;",
            )
            .map_err(|error| sqlite_error(file, &error))?;
        Ok(Opened { connection, copy, file: file.to_owned(), stamp })
    }

    /// Raises `BadInput` where another program wrote to the file while it was read: the rows
    /// may then be of two different states.
    pub fn check_unchanged(&self) -> Result<()> {
        if self.copy.is_some() || Stamp::of(&self.file)? == self.stamp {
            return Ok(());
        }
        Err(changed(&self.file))
    }
}

impl Stamp {
    fn of(file: &Path) -> Result<Stamp> {
        let of_one = |suffix: &str| {
            let path = beside(file, suffix);
            match fs::metadata(&path) {
                Ok(metadata) => Ok(Some((metadata.len(), metadata.modified().ok()))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(io_error("open", &path, &error)),
            }
        };
        Ok(Stamp([of_one("")?, of_one("-wal")?, of_one("-journal")?]))
    }

    fn has_unsettled_work(&self) -> bool {
        self.0[1..].iter().flatten().any(|(size, _)| *size > EMPTY_LOG)
    }
}

/// A private copy in the folder for temporary files.
struct Copy {
    folder: PathBuf,
}

impl Copy {
    fn new() -> Result<Copy> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("holdfast-import-{}-{number}", std::process::id()));
        create_private(&folder).map_err(|error| io_error("create", &folder, &error))?;
        Ok(Copy { folder })
    }

    fn database(&self) -> PathBuf {
        self.folder.join("source.db")
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Copies the database with its log and journal, again where it changed meanwhile.
fn copy(file: &Path) -> Result<(Option<Copy>, Stamp)> {
    for _ in 0..COPY_ATTEMPTS {
        let before = Stamp::of(file)?;
        let copy = Copy::new()?;
        for suffix in ["", "-wal", "-journal"] {
            let from = beside(file, suffix);
            match fs::copy(&from, beside(&copy.database(), suffix)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && !suffix.is_empty() => {}
                copied => drop(copied.map_err(|error| io_error("copy", &from, &error))?),
            }
        }
        if Stamp::of(file)? == before {
            return Ok((Some(copy), before));
        }
    }
    Err(changed(file))
}

fn changed(file: &Path) -> crate::error::Error {
    bad_input(file, None, None, "another program is writing to the file; close it there and try again")
}

fn check_magic(file: &Path) -> Result<()> {
    let mut start = Vec::new();
    let opened = fs::File::open(file).map_err(|error| io_error("open", file, &error))?;
    if !opened.metadata().map_err(|error| io_error("open", file, &error))?.is_file() {
        return Err(unsupported(file, "it is no file"));
    }
    opened.take(16).read_to_end(&mut start).map_err(|error| io_error("read", file, &error))?;
    if start == MAGIC {
        return Ok(());
    }
    Err(unsupported(file, "it is no SQLite database, or one that is encrypted"))
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The file as a URI (RFC 8089) with the settings that keep SQLite's hands off it.
fn immutable_uri(file: &Path) -> Result<PathBuf> {
    let file = std::path::absolute(file).map_err(|error| io_error("open", file, &error))?;
    let mut uri = String::from("file:");
    let bytes = path_bytes(&file);
    // A path with a drive letter needs a root before it; one with a server brings two slashes.
    if !bytes.starts_with(b"/") {
        uri.push('/');
    }
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' | b':' => {
                uri.push(char::from(byte));
            }
            byte => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri.push_str("?mode=ro&immutable=1");
    Ok(PathBuf::from(uri))
}

#[cfg(unix)]
fn path_bytes(file: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = file.as_os_str().as_bytes();
    // Two slashes at the start would name a server.
    let extra = bytes.iter().take_while(|byte| **byte == b'/').count().saturating_sub(1);
    bytes[extra..].to_vec()
}

#[cfg(not(unix))]
fn path_bytes(file: &Path) -> Vec<u8> {
    let text = file.to_string_lossy().replace('\\', "/");
    // Paths of the form \\server\share need four slashes in a URI for SQLite.
    if text.starts_with("//") { format!("//{text}").into_bytes() } else { text.into_bytes() }
}

#[cfg(unix)]
fn create_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().mode(0o700).create(folder)
}

/// Folders below a user's own temporary folder are private on Windows.
#[cfg(not(unix))]
fn create_private(folder: &Path) -> io::Result<()> {
    fs::create_dir(folder)
}
