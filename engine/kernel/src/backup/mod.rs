//! Backups of a database in use, full and incremental, their proof, and restoring from them.
//!
//! ```text
//! TARGET/
//!   pages.zst            the pages of this backup, compressed; `pages` draws the bytes
//!   kept.zst             of an increment: the pages that the backups before it hold
//!   again.zst            pages that changed after they were copied, in a backup that went on later
//!   wal/NNNNNNNNNNNN.wal.zst   zstd of a segment: its header and the stream up to the end LSN
//!   control              as in a database: the checkpoint that recovery starts from
//!   manifest.json        what there is, with sizes and BLAKE3, and what it adds to; written last
//! ```
//!
//! A large database gives several parts of each list, `pages.0001.zst` and so on. A backup that is
//! cut off goes on after the last whole part ([`unfinished`]).
//!
//! A directory without a whole manifest is no backup, so one that was cut off never looks like
//! one. The pages are of different moments (a fuzzy backup, Mohan et al. 1992, section 10.1);
//! redo of the log, which reaches from before the first to after the last, makes them one.
//! Nothing is known of what the pages lacked when they were copied, so the recovery of a restored
//! database does not believe the log's records of page writes (`ControlData::pages_lag`).
//!
//! An increment holds the pages whose LSN is above the start of redo of the backup before it: all
//! else was in the data file when that one was begun, so it has it in this very state. It has a log
//! of its own, from its own start of redo on, so that restoring it needs no log of the others.

use std::path::Path;

use crate::disk::os::OsDisk;
use crate::error::{Code, Error, Result};
use crate::types::Lsn;

mod chain;
mod copies;
#[cfg(test)]
mod copies_tests;
pub(crate) mod current;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
pub(crate) mod increment_tests;
pub mod line;
#[cfg(test)]
mod line_tests;
mod logs;
mod manifest;
pub(crate) mod marks;
mod pace;
mod packer;
mod pages;
mod parts;
mod placing;
mod point;
#[cfg(test)]
mod point_tests;
mod restore;
#[cfg(test)]
mod resume_tests;
#[cfg(test)]
mod rubbish_tests;
mod seal;
#[cfg(test)]
mod seal_tests;
mod sealed;
mod take;
#[cfg(test)]
pub(crate) mod tests;
mod unfinished;
mod unpacker;

pub use copies::{FromBackups, copies_of};
pub use manifest::{MANIFEST, Manifest, ParentName};
pub(crate) use placing::PageWriter;
pub use point::{Point, PointWanted, Reached, restore_point};
pub use restore::{restore_to, verify_on};
pub use seal::Secret;
pub use sealed::{Opener, Sealer, Vault};
pub use take::{Base, Taken, take_to, take_with};

use crate::recovery::Progress;
use crate::store::Store;
use chain::Chain;
use restore::Pass;

const PAGES: &str = "pages.zst";
const PAGES_MAGIC: [u8; 8] = *b"HOLDFPGS";
const AGAIN: &str = "again.zst";
const KEPT: &str = "kept.zst";
const KEPT_MAGIC: [u8; 8] = *b"HOLDFKPT";

/// What was taken, verified or restored.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    pub files: u64,
    /// Bytes of the backup's files.
    pub bytes: u64,
    /// Pages that it holds itself.
    pub pages: u64,
    pub end_lsn: Lsn,
    pub taken_at: i64,
    /// Its number in the chain.
    pub sequence: u64,
    /// The directory of the backup that it adds to; `None` for a full one.
    pub parent: Option<String>,
    /// Of those, pages that were there already when the backup went on.
    pub resumed_pages: u64,
    pub seconds: f64,
}

/// How a backup is to be taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'w> {
    /// The backup to add to, in the directory that the new one goes to; none for a full backup.
    pub parent: Option<&'w Path>,
    /// At most so much of the database is read a second; 0 for as fast as it goes.
    pub bytes_per_second: u64,
    /// Goes on with what an earlier attempt left in the target, and leaves what it has done itself
    /// where it fails, once there is enough of it.
    pub resumable: bool,
    /// Bytes of pages in one part, after each of which it can go on; 0 for the usual number.
    pub part_bytes: u64,
    /// What it is sealed with; none for a backup that everybody can read.
    pub key: Option<&'w Secret>,
}

/// `BackupDamaged`, naming the file.
fn damaged(file: &str, detail: impl Into<String>) -> Error {
    Error::new(Code::BackupDamaged).with("file", file).with("detail", detail.into())
}

/// Names the directory that an error is about, where nobody has yet.
fn at(place: &str, error: Error) -> Error {
    match error.code {
        Code::BackupDamaged | Code::BackupLocked | Code::TargetNotEmpty
            if error.field("path").is_none() =>
        {
            error.with("path", place)
        }
        _ => error,
    }
}

fn refused(parent: &Path, reason: &str) -> Error {
    Error::new(Code::IncrementRefused).with("path", parent.display().to_string()).with("reason", reason)
}

/// Takes a backup of a database in use into the missing or empty directory `target`.
///
/// On return everything in it is on the medium. After an error nothing of it is left there, unless
/// it is to be resumed: then what is left is no backup, and the next attempt goes on with it.
/// `IncrementRefused` where the backup to add to is missing, damaged or of another history.
pub fn take(store: &Store, target: &Path, wanted: &Wanted<'_>, progress: &Progress) -> Result<Summary> {
    if !(wanted.resumable && is_unfinished(target)) {
        ensure_empty(target)?;
    }
    let existed = target.exists();
    let base = wanted.parent.map(|parent| base_of(store, parent, wanted.key)).transpose()?;
    let sequence = target.parent().map_or(1, chain::next_sequence);
    let how = Taken {
        base,
        sequence,
        bytes_per_second: wanted.bytes_per_second,
        resumable: wanted.resumable,
        key: wanted.key.cloned(),
        part_bytes: match wanted.part_bytes {
            0 => take::PART_BYTES,
            bytes => bytes,
        },
    };
    let taken = take_with(store, &OsDisk::new(target), how, progress);
    if taken.is_err() && !is_unfinished(target) {
        clear_folders(target, existed);
    }
    taken.map_err(|error| at(&target.display().to_string(), error))
}

/// True for a directory with a backup that can go on.
pub fn is_unfinished(target: &Path) -> bool {
    target.is_dir() && unfinished::Unfinished::read(&OsDisk::new(target)).is_some()
}

/// The backup in `parent` as what an increment is to add to. It is looked at, not read in full:
/// that is what verifying is for.
fn base_of(store: &Store, parent: &Path, key: Option<&Secret>) -> Result<Base> {
    let damaged = |error: Error| match error.code {
        Code::BackupDamaged => {
            refused(parent, "it, or a backup that it adds to, is damaged or missing").because(error)
        }
        _ if error.field("missing").is_some() => refused(parent, "it is not there").because(error),
        _ => error,
    };
    let chain = Chain::open(parent, key).map_err(damaged)?;
    let links = chain.links();
    if links.len() >= chain::MOST_LINKS {
        return Err(refused(parent, "too many increments follow its full backup"));
    }
    for link in &links {
        for piece in &link.manifest.pieces {
            let size = link
                .disk
                .open(&piece.name, crate::disk::OpenMode::Read)
                .and_then(|file| file.size())
                .map_err(|error| damaged(link.tell(piece.tell_missing(error))))?;
            if size != piece.bytes {
                return Err(refused(parent, "it, or a backup that it adds to, is damaged")
                    .because(link.tell(self::damaged(&piece.name, "its size is another one"))));
            }
        }
    }
    let name = parent.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let base = chain.tip().ok_or_else(|| Error::internal("a chain without a backup"))?;
    take::ensure_history(store, base)
        .map_err(|error| error.with("path", parent.display().to_string()))?;
    Ok(Base { name: name.to_owned(), manifest: base.clone() })
}

/// Checks a backup (the newest of a chain, where `source` is one), and those that it adds to,
/// against their manifests: every hash, every size, every page's checksum and structure.
/// `BackupLocked` where it is encrypted and `key` does not open it.
pub fn verify(source: &Path, key: Option<&Secret>, progress: &Progress) -> Result<Summary> {
    let place = chain::newest(source)?;
    let chain = Chain::open(&place, key)?;
    let links = chain.links();
    let done = Pass::new(&links, None, progress)?.run();
    done.map_err(|error| at(&place.display().to_string(), error))
}

/// Rebuilds a database from a backup (the newest of a chain, where `source` is one) in the
/// missing or empty directory `target`. It needs a recovery, which brings it to the end LSN.
/// `BackupLocked` where it is encrypted and `key` does not open it: then nothing was written.
pub fn restore(
    source: &Path,
    target: &Path,
    key: Option<&Secret>,
    progress: &Progress,
) -> Result<Summary> {
    ensure_empty(target)?;
    let place = chain::newest(source)?;
    let existed = target.exists();
    let chain = Chain::open(&place, key)?;
    let restored = restore::restore_links(&chain.links(), &OsDisk::new(target), progress);
    if restored.is_err() {
        clear_folders(target, existed);
    }
    restored.map_err(|error| at(&place.display().to_string(), error))
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
