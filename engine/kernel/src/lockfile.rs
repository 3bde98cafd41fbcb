//! `LOCK`: who has the database open. The operating system's lock on the file is the truth; what
//! is written in it (process, host, since) only tells whom to ask.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use fs4::fs_std::FileExt;
use serde_json::{Value, json};

use crate::error::{Code, Error, Result};
use crate::events::unix_micros;

pub const NAME: &str = "LOCK";

/// The held lock; dropping it, or the end of the process, releases it.
pub struct LockFile {
    file: File,
}

/// Who holds, or last held, a database.
#[derive(Clone, Debug, PartialEq)]
pub struct Holder {
    pub pid: u32,
    pub host: String,
    /// Microseconds since the Unix epoch.
    pub since: i64,
    /// The lock is held at this moment.
    pub is_alive: bool,
}

fn host_name() -> String {
    std::env::var("COMPUTERNAME")
        .ok()
        .or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok())
        .or_else(|| std::env::var("HOSTNAME").ok())
        .map_or_else(|| "this computer".to_owned(), |name| name.trim().to_owned())
}

impl LockFile {
    /// Takes the lock; `DatabaseOpenElsewhere` where somebody has it.
    pub fn acquire(directory: &Path) -> Result<LockFile> {
        let path = directory.join(NAME);
        let io = |e: &std::io::Error| Error::io("lock", NAME, e);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&path).map_err(|e| io(&e))?;
        if !FileExt::try_lock_exclusive(&file).map_err(|e| io(&e))? {
            return Err(open_elsewhere(directory, read_holder(&mut file).as_ref()));
        }
        let text = json!({ "pid": std::process::id(), "host": host_name(), "since": unix_micros() });
        let written = file
            .set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(text.to_string().as_bytes()));
        written.map_err(|e| io(&e))?;
        Ok(LockFile { file })
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Closing the file releases the lock too; this only does it at once.
        let _ = FileExt::unlock(&self.file);
    }
}

fn open_elsewhere(directory: &Path, holder: Option<&Holder>) -> Error {
    let told = holder.map_or_else(
        || "another process".to_owned(),
        |holder| format!("process {} on {}", holder.pid, holder.host),
    );
    let error = Error::new(Code::DatabaseOpenElsewhere)
        .with("path", directory.display().to_string())
        .with("holder", told);
    match holder {
        Some(holder) => error
            .with("pid", holder.pid)
            .with("host", holder.host.as_str())
            .with("since", holder.since as f64 / 1e6),
        None => error,
    }
}

fn read_holder(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(4096).read_to_string(&mut text).ok()?;
    let value: Value = serde_json::from_str(&text).ok()?;
    Some(Holder {
        pid: u32::try_from(value.get("pid")?.as_u64()?).ok()?,
        host: value.get("host")?.as_str()?.to_owned(),
        since: value.get("since")?.as_i64()?,
        is_alive: false,
    })
}

/// Who has the database open, or had it last; takes no lock for longer than the look.
pub fn holder(directory: &Path) -> Option<Holder> {
    let mut file = OpenOptions::new().read(true).open(directory.join(NAME)).ok()?;
    let is_free = FileExt::try_lock_shared(&file).unwrap_or(false);
    if is_free {
        let _ = FileExt::unlock(&file);
    }
    read_holder(&mut file).map(|holder| Holder { is_alive: !is_free, ..holder })
}
