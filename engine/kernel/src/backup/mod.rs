//! Full backups of a database in use, their proof, and restoring from them.
//!
//! ```text
//! TARGET/
//!   pages.zst            zstd of: magic 8 | page size u32 | { page id u32, page } ... | NONE, count u32
//!   wal/NNNNNNNNNNNN.wal.zst   zstd of a segment: its header and the stream up to the end LSN
//!   control              as in a database: the checkpoint that recovery starts from
//!   manifest.json        what there is, with sizes and BLAKE3; written last
//! ```
//!
//! A directory without a whole manifest is no backup, so one that was cut off never looks like
//! one. The pages are of different moments (a fuzzy backup, Mohan et al. 1992, section 10.1);
//! redo of the log, which reaches from before the first to after the last, makes them one.
//! Nothing is known of what the pages lacked when they were copied, so the recovery of a restored
//! database does not believe the log's records of page writes (`ControlData::pages_lag`).

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::disk::os::OsDisk;
use crate::disk::{Disk, OpenMode};
use crate::error::{Code, Error, Result};
use crate::types::Lsn;

mod restore;
#[cfg(test)]
mod rubbish_tests;
mod stream;
mod take;
#[cfg(test)]
mod tests;

pub use restore::{restore_to, verify_on};
pub use take::take_to;

use crate::recovery::Progress;
use crate::store::Store;

pub const MANIFEST: &str = "manifest.json";
const PAGES: &str = "pages.zst";
const PAGES_MAGIC: [u8; 8] = *b"HOLDFPGS";
const FORMAT: u64 = 1;
/// The names of backups in a chain begin so; unfinished ones end with a suffix of their own.
const FULL: &str = "full-";
const UNFINISHED: &str = "partial";

/// One file of a backup.
#[derive(Clone, Debug, PartialEq)]
struct Piece {
    name: String,
    /// As it lies in the backup.
    bytes: u64,
    hash: String,
    /// The size of what it is restored to.
    restored_bytes: u64,
}

/// What a backup is, and what it consists of.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    pub database: String,
    pub page_size: u64,
    /// Microseconds since the Unix epoch.
    pub taken_at: i64,
    pub start_lsn: Lsn,
    pub end_lsn: Lsn,
    pub pages: u64,
    pieces: Vec<Piece>,
}

/// What was taken, verified or restored.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    pub files: u64,
    /// Bytes of the backup's files.
    pub bytes: u64,
    pub pages: u64,
    pub end_lsn: Lsn,
    pub taken_at: i64,
    pub seconds: f64,
}

impl Manifest {
    fn encode(&self) -> String {
        let pieces: Vec<Value> = self
            .pieces
            .iter()
            .map(|piece| {
                json!({
                    "name": piece.name, "bytes": piece.bytes, "blake3": piece.hash,
                    "restored_bytes": piece.restored_bytes,
                })
            })
            .collect();
        let mut text = json!({
            "format": FORMAT,
            "kind": "full",
            "database": self.database,
            "page_size": self.page_size,
            "taken_at": self.taken_at,
            "start_lsn": self.start_lsn.0,
            "end_lsn": self.end_lsn.0,
            "pages": self.pages,
            "files": pieces,
        });
        text["blake3"] = blake3::hash(text.to_string().as_bytes()).to_hex().as_str().into();
        format!("{text:#}\n")
    }

    /// Reads a manifest; what is wrong with it, in words, where it cannot be believed.
    fn decode(text: &[u8]) -> std::result::Result<Manifest, String> {
        let mut value: Value =
            serde_json::from_slice(text).map_err(|_| "the manifest cannot be read".to_owned())?;
        let seal = value.as_object_mut().and_then(|object| object.shift_remove("blake3"));
        let expected = blake3::hash(value.to_string().as_bytes()).to_hex();
        if seal.as_ref().and_then(Value::as_str) != Some(expected.as_str()) {
            return Err("the manifest has been changed or is not complete".to_owned());
        }
        if value["format"].as_u64() != Some(FORMAT) {
            return Err("the backup was written by another version".to_owned());
        }
        Self::from_value(&value).ok_or_else(|| "the manifest lacks a part".to_owned())
    }

    fn from_value(value: &Value) -> Option<Manifest> {
        let number = |name: &str| value[name].as_u64();
        let piece = |piece: &Value| {
            Some(Piece {
                name: piece["name"].as_str()?.to_owned(),
                bytes: piece["bytes"].as_u64()?,
                hash: piece["blake3"].as_str()?.to_owned(),
                restored_bytes: piece["restored_bytes"].as_u64()?,
            })
        };
        Some(Manifest {
            database: value["database"].as_str()?.to_owned(),
            page_size: number("page_size")?,
            taken_at: value["taken_at"].as_i64()?,
            start_lsn: Lsn(number("start_lsn")?),
            end_lsn: Lsn(number("end_lsn")?),
            pages: number("pages")?,
            pieces: value["files"].as_array()?.iter().map(piece).collect::<Option<_>>()?,
        })
    }

    /// The manifest of the backup on `source`. `BackupDamaged` where there is none.
    pub fn read(source: &dyn Disk) -> Result<Manifest> {
        if !source.exists(MANIFEST)? {
            return Err(damaged(MANIFEST, "there is no manifest: the backup was not finished"));
        }
        let file = source.open(MANIFEST, OpenMode::Read)?;
        let mut text = vec![0; usize::try_from(file.size()?.min(64 << 20)).unwrap_or(0)];
        let read = file.read_at(&mut text, 0)?;
        Manifest::decode(&text[..read]).map_err(|detail| damaged(MANIFEST, detail))
    }

    fn summary(&self, seconds: f64) -> Summary {
        Summary {
            files: self.pieces.len() as u64,
            bytes: self.pieces.iter().map(|piece| piece.bytes).sum(),
            pages: self.pages,
            end_lsn: self.end_lsn,
            taken_at: self.taken_at,
            seconds,
        }
    }
}

/// `BackupDamaged`, naming the file.
fn damaged(file: &str, detail: impl Into<String>) -> Error {
    Error::new(Code::BackupDamaged).with("file", file).with("detail", detail.into())
}

fn in_directory(path: &Path) -> impl Fn(Error) -> Error {
    let text = path.display().to_string();
    move |error| match error.code {
        Code::BackupDamaged | Code::TargetNotEmpty => error.with("path", text.clone()),
        _ => error,
    }
}

/// Takes a full backup of a database in use into the missing or empty directory `target`.
///
/// On return everything in it is on the medium. After an error nothing of it is left there.
pub fn take(store: &Store, target: &Path, progress: &Progress) -> Result<Summary> {
    ensure_empty(target)?;
    let existed = target.exists();
    let taken = take_to(store, &OsDisk::new(target), progress);
    if taken.is_err() {
        clear_folders(target, existed);
    }
    taken.map_err(in_directory(target))
}

/// Checks a backup (the newest of a chain, where `source` is one) against its manifest: every
/// hash, every size, every page's checksum and structure.
pub fn verify(source: &Path, progress: &Progress) -> Result<Summary> {
    let place = newest(source)?;
    verify_on(&OsDisk::new(&place), progress).map_err(in_directory(&place))
}

/// Rebuilds a database from a backup (the newest of a chain, where `source` is one) in the
/// missing or empty directory `target`. It needs a recovery, which brings it to the end LSN.
pub fn restore(source: &Path, target: &Path, progress: &Progress) -> Result<Summary> {
    ensure_empty(target)?;
    let place = newest(source)?;
    let existed = target.exists();
    let restored = restore_to(&OsDisk::new(&place), &OsDisk::new(target), progress);
    if restored.is_err() {
        clear_folders(target, existed);
    }
    restored.map_err(in_directory(&place))
}

fn ensure_empty(target: &Path) -> Result<()> {
    let text = target.display().to_string();
    match std::fs::read_dir(target).map(|mut entries| entries.next()) {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err(Error::new(Code::TargetNotEmpty).with("path", text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
            Err(Error::new(Code::TargetNotEmpty).with("path", text))
        }
        Err(error) => Err(Error::io("list", &text, &error)),
    }
}

/// Folders that were made on the way go too, once they are empty; the files are gone already.
fn clear_folders(target: &Path, keep_target: bool) {
    let _ = std::fs::remove_dir(target.join(crate::log::segments::FOLDER));
    if !keep_target {
        let _ = std::fs::remove_dir(target);
    }
}

/// The directory of the newest finished backup in a chain, or `source` itself where it is one.
fn newest(source: &Path) -> Result<PathBuf> {
    let text = source.display().to_string();
    if source.join(MANIFEST).exists() {
        return Ok(source.to_owned());
    }
    let entries = std::fs::read_dir(source).map_err(|e| Error::io("list", &text, &e))?;
    let is_finished = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(FULL)
            && path.extension().is_none_or(|ending| ending != UNFINISHED)
            && path.join(MANIFEST).exists()
    };
    let backups = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_finished);
    let dated = backups.filter_map(|path| {
        let manifest = Manifest::read(&OsDisk::new(&path)).ok()?;
        Some(((manifest.taken_at, manifest.end_lsn), path))
    });
    let found = dated.max_by_key(|(date, _)| *date).map(|(_, path)| path);
    found.ok_or_else(|| damaged(MANIFEST, "there is no finished backup").with("path", text))
}
