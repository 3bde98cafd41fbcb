//! `LOCK`: who has the database open.
//!
//! The operating system's lock on the file is the truth, and goes with its holder however that
//! ends; what the file says only tells who it is. Unix: an advisory lock on the open file.
//! Windows: the file is opened so that nobody else may open it for writing, which leaves it
//! readable; a lock on its bytes would hide from others who holds it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::error::{Code, Error, Result};

pub const PATH: &str = "LOCK";

/// How long to try: somebody who only looks takes the lock for a moment.
const PATIENCE: Duration = Duration::from_millis(200);

/// Who holds a database, as the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    pub pid: u32,
    pub host: String,
    /// When it was opened, in words.
    pub since: String,
}

impl Holder {
    fn from_json(json: &Json) -> Option<Holder> {
        Some(Holder {
            pid: u32::try_from(json["pid"].as_u64()?).ok()?,
            host: json["host"].as_str()?.to_owned(),
            since: json["since"].as_str()?.to_owned(),
        })
    }
}

/// The lock; given back when it is dropped.
pub struct LockFile {
    file: File,
}

impl LockFile {
    /// Takes the lock of the database in `directory`, which exists, and writes down who has it.
    /// Raises `DatabaseOpenElsewhere`.
    pub fn acquire(directory: &Path, holder: &Holder) -> Result<LockFile> {
        let path = directory.join(PATH);
        let began = Instant::now();
        let mut file = loop {
            match exclusive(&path) {
                Ok(file) => break file,
                Err(error) if !is_taken(&error) => {
                    return Err(Error::io("lock", &path.display().to_string(), &error));
                }
                Err(_) if began.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(5)),
                Err(_) => return Err(Self::taken(directory)),
            }
        };
        let text = json!({"pid": holder.pid, "host": holder.host, "since": holder.since}).to_string();
        file.set_len(0)
            .and_then(|()| file.write_all(text.as_bytes()))
            .map_err(|error| Error::io("write", &path.display().to_string(), &error))?;
        Ok(LockFile { file })
    }

    fn taken(directory: &Path) -> Error {
        let error =
            Error::new(Code::DatabaseOpenElsewhere).with("path", directory.display().to_string());
        match read_holder(&directory.join(PATH)) {
            Some(holder) => error
                .with("holder", format!("process {} on {}", holder.pid, holder.host))
                .with("since", holder.since),
            None => error,
        }
    }

    /// Who holds the database in `directory`; takes nothing and changes nothing.
    pub fn look(directory: &Path) -> Option<Holder> {
        let path = directory.join(PATH);
        // Where it is held but not described yet, that it is held is all there is to say.
        is_held(&path).then(|| read_holder(&path).unwrap_or_default())
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Closing the file gives the lock back, but a forked child may have it open too.
        let _ = self.file.seek(SeekFrom::Start(0)).and_then(|_| self.file.set_len(0));
        let _ = self.file.unlock();
    }
}

fn read_holder(path: &Path) -> Option<Holder> {
    let mut text = String::new();
    open_shared(path, false).ok()?.take(4096).read_to_string(&mut text).ok()?;
    Holder::from_json(&serde_json::from_str(&text).ok()?)
}

fn open_shared(path: &Path, for_writing: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(for_writing);
    #[cfg(windows)]
    std::os::windows::fs::OpenOptionsExt::share_mode(&mut options, 0x1 | 0x2 | 0x4);
    options.open(path)
}

#[cfg(unix)]
fn exclusive(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.try_lock()?;
    Ok(file)
}

#[cfg(windows)]
fn exclusive(path: &Path) -> io::Result<File> {
    use std::os::windows::fs::OpenOptionsExt;
    const FILE_SHARE_READ: u32 = 0x1;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).share_mode(FILE_SHARE_READ).open(path)
}

#[cfg(unix)]
fn is_taken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

#[cfg(windows)]
fn is_taken(error: &io::Error) -> bool {
    const ERROR_SHARING_VIOLATION: i32 = 32;
    error.raw_os_error() == Some(ERROR_SHARING_VIOLATION)
}

#[cfg(unix)]
fn is_held(path: &Path) -> bool {
    let Ok(file) = open_shared(path, false) else { return false };
    matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock))
}

#[cfg(windows)]
fn is_held(path: &Path) -> bool {
    matches!(open_shared(path, true), Err(error) if is_taken(&error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn folder(name: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("holdfast-lock-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn somebody() -> Holder {
        Holder { pid: 42, host: "here".to_owned(), since: "today".to_owned() }
    }

    #[test]
    fn one_holder_at_a_time_and_the_other_is_told_who_it_is() {
        let folder = folder("one");
        let lock = LockFile::acquire(&folder, &somebody()).unwrap();
        let error = LockFile::acquire(&folder, &somebody()).err().unwrap();
        assert_eq!(error.code, Code::DatabaseOpenElsewhere);
        assert_eq!(error.field("holder"), Some(&"process 42 on here".into()));
        assert_eq!(LockFile::look(&folder), Some(somebody()));
        drop(lock);
        assert_eq!(LockFile::look(&folder), None);
        LockFile::acquire(&folder, &somebody()).unwrap();
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_a_crashed_holder_wrote_holds_nobody_up() {
        let folder = folder("stale");
        fs::write(folder.join(PATH), r#"{"pid": 1, "host": "gone", "since": "long ago"}"#).unwrap();
        assert_eq!(LockFile::look(&folder), None);
        LockFile::acquire(&folder, &somebody()).unwrap();
        fs::remove_dir_all(folder).unwrap();
    }
}
