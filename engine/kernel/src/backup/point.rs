//! Restoring to a point: the newest backup before it, and the kept log from there up to just there.
//!
//! The restored log ends at the point, between two entries; the recovery that follows finds the
//! transactions that were in flight there, and undoes them.

use std::path::{Path, PathBuf};

use super::chain::{self, Chain};
use super::logs::Logs;
use super::manifest::Manifest;
use super::restore::{remove, restore_links};
use super::seal::Secret;
use super::{Summary, clear_folders, ensure_empty};
use crate::control::{Control, ControlData};
use crate::disk::os::OsDisk;
use crate::disk::{Disk, File, OpenMode};
use crate::error::{Code, Error, Result};
use crate::log::segments::{self, FOLDER};
use crate::log::{EntryRef, LogReader, Op};
use crate::memory::zeroed;
use crate::page::get_u64;
use crate::recovery::Progress;
use crate::sync::Arc;
use crate::types::{DatabaseId, Lsn, TxnId};

const CHUNK: usize = 1 << 20;
/// What memory is asked for.
const OPERATION: &str = "restore to a point";

/// Where a restored database is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// With the newest backup.
    Backup,
    /// As far as the kept log reaches.
    End,
    /// With the last entry that ends at or before it.
    Lsn(Lsn),
    /// With the last commit at or before it, in microseconds since the Unix epoch.
    Time(i64),
    /// With the commit of this transaction.
    Transaction(TxnId),
}

/// What is to be restored, and from where.
#[derive(Clone, Debug)]
pub struct PointWanted {
    pub point: Point,
    /// Databases or archives that hold the log after the backup.
    pub logs: Vec<PathBuf>,
    /// What opens the backups, where they are encrypted.
    pub key: Option<Secret>,
}

/// A point that was found in the log, or restored to.
#[derive(Clone, Debug)]
pub struct Reached {
    pub backup: PathBuf,
    pub summary: Summary,
    pub lsn: Lsn,
    /// Commits and bytes of log after the backup.
    pub commits: u64,
    pub bytes: u64,
    /// The last of those commits; 0 where there is none.
    pub committed_at: i64,
    /// The kept log ends there.
    pub is_end: bool,
}

/// What a look through the log came to.
struct Walk {
    at: Lsn,
    commits: u64,
    committed_at: i64,
    is_reached: bool,
    is_end: bool,
    broken: Option<Error>,
}

impl Walk {
    /// Takes an entry in; false where the point lies before it, or just after it.
    fn goes_on(&mut self, entry: &EntryRef<'_>, point: Point) -> bool {
        let (op, end) = (entry.header.op, entry.header.end());
        let time =
            (op == Op::Commit && entry.body.len() >= 8).then(|| get_u64(entry.body, 0).cast_signed());
        let is_before = match point {
            Point::Lsn(lsn) => end > lsn,
            Point::Time(limit) => time.is_some_and(|time| time > limit),
            Point::Backup | Point::End | Point::Transaction(_) => false,
        };
        if is_before {
            self.is_reached = true;
            return false;
        }
        self.at = end;
        if let Some(time) = time {
            self.commits += 1;
            self.committed_at = time;
            if point == Point::Transaction(entry.header.txn) {
                self.is_reached = true;
                return false;
            }
        }
        true
    }
}

fn not_reached(reason: impl Into<String>) -> Error {
    Error::new(Code::PointNotReached).with("reason", reason.into())
}

/// Restores the chain or backup in `source` to a point, in the missing or empty directory `target`;
/// without one it only says where the point is. `PointNotReached` names what is missing, and how
/// far the log reaches.
pub fn restore_point(
    source: &Path,
    target: Option<&Path>,
    wanted: &PointWanted,
    progress: &Progress,
) -> Result<Reached> {
    if let Some(target) = target {
        ensure_empty(target)?;
    }
    let candidates = chain::candidates(source)?;
    let mut first: Option<Error> = None;
    for (manifest, place) in &candidates {
        let is_after = match wanted.point {
            Point::Lsn(lsn) => manifest.end_lsn > lsn,
            Point::Time(time) => manifest.committed_at > time,
            Point::Backup | Point::End | Point::Transaction(_) => false,
        };
        if is_after {
            continue;
        }
        match from_backup(place, target, wanted, progress) {
            Ok(reached) => return Ok(reached),
            // A backup of another history, or one that is damaged: an older one may do.
            Err(error) if matches!(error.code, Code::PointNotReached | Code::BackupDamaged) => {
                first = first.or(Some(error.with("backup", place.display().to_string())));
            }
            Err(error) => return Err(error),
        }
    }
    Err(first.unwrap_or_else(|| not_reached("it lies before the oldest backup")))
}

fn database_of(manifest: &Manifest) -> Result<DatabaseId> {
    let mut id = [0; 16];
    let text = manifest.database.as_bytes();
    for (byte, pair) in id.iter_mut().zip(text.chunks_exact(2)) {
        let digits = std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
        *byte = digits.ok_or_else(|| super::damaged(super::MANIFEST, "it names no database"))?;
    }
    Ok(DatabaseId(id))
}

fn from_backup(
    place: &Path,
    target: Option<&Path>,
    wanted: &PointWanted,
    progress: &Progress,
) -> Result<Reached> {
    let chain = Chain::open(place, wanted.key.as_ref())?;
    let links = chain.links();
    let tip = links.first().ok_or_else(|| Error::internal("a chain without a backup"))?;
    let (database, from) = (database_of(tip.manifest)?, tip.manifest.end_lsn);
    let mut logs = Logs::of(&wanted.logs, database);
    let walk = if matches!(wanted.point, Point::Backup) || wanted.point == Point::Lsn(from) {
        Walk { at: from, commits: 0, committed_at: 0, is_reached: true, is_end: false, broken: None }
    } else {
        if !logs.continues(tip)? {
            return Err(not_reached("the kept log is of another history than the backup"));
        }
        let gap = logs.until_gap(database, from)?;
        let shared: Arc<dyn Disk> = Arc::new(logs);
        let walk = walk(&shared, database, from, wanted.point, progress)?;
        ensure_reached(&walk, wanted.point, gap)?;
        return finish(place, &chain, target, Some((&*shared, database)), &walk, progress);
    };
    finish(place, &chain, target, None, &walk, progress)
}

fn walk(
    logs: &Arc<dyn Disk>,
    database: DatabaseId,
    from: Lsn,
    point: Point,
    progress: &Progress,
) -> Result<Walk> {
    let mut walk =
        Walk { at: from, commits: 0, committed_at: 0, is_reached: false, is_end: false, broken: None };
    let mut reader = match LogReader::open(Arc::clone(logs), database, from, Lsn::NONE) {
        Ok(reader) => reader,
        Err(error) if error.code == Code::WalCorrupted => {
            walk.broken = Some(error);
            return Ok(walk);
        }
        Err(error) => return Err(error),
    };
    progress.begin("looking for the point", "bytes", reader.progress().1);
    let mut entries = 0u64;
    loop {
        match reader.next() {
            Ok(Some(entry)) => {
                if !walk.goes_on(&entry, point) {
                    return Ok(walk);
                }
            }
            Ok(None) => {
                walk.is_end = true;
                walk.is_reached |=
                    matches!(point, Point::End | Point::Time(_)) || point == Point::Lsn(walk.at);
                return Ok(walk);
            }
            Err(error) if matches!(error.code, Code::WalCorrupted | Code::IoError) => {
                walk.broken = Some(error);
                return Ok(walk);
            }
            Err(error) => return Err(error),
        }
        entries += 1;
        if entries.is_multiple_of(1024) {
            progress.ensure_going()?;
            progress.set(walk.at.0 - from.0);
        }
    }
}

/// What lies behind a gap or damage is not made up for: the caller learns how far the log reaches.
fn ensure_reached(walk: &Walk, point: Point, gap: Option<String>) -> Result<()> {
    let is_cut = walk.is_end && gap.is_some();
    if walk.is_reached && !is_cut && walk.broken.is_none() {
        return Ok(());
    }
    let reason = match (&walk.broken, gap, point) {
        (_, Some(gap), _) => format!("the kept log has a gap: {gap}"),
        (Some(broken), None, _) => {
            let details = broken.field("details");
            let text = match details {
                Some(crate::error::Field::Text(text)) => text.as_str(),
                _ => "it cannot be read",
            };
            format!("the kept log is not whole: {text}")
        }
        (None, None, Point::Transaction(id)) => {
            format!("no commit of transaction {id} is in the log after the backup")
        }
        (None, None, _) => "the kept log ends before it".to_owned(),
    };
    let mut error = not_reached(reason)
        .with("reached_lsn", walk.at.0)
        .with("reached_time", walk.committed_at as f64 / 1e6);
    if let Some(broken) = &walk.broken {
        error = error.because(broken.clone());
    }
    Err(error)
}

fn finish(
    place: &Path,
    chain: &Chain,
    target: Option<&Path>,
    logs: Option<(&dyn Disk, DatabaseId)>,
    walk: &Walk,
    progress: &Progress,
) -> Result<Reached> {
    let tip = chain.tip().ok_or_else(|| Error::internal("a chain without a backup"))?;
    let mut summary = tip.summary(0.0);
    if let Some(target) = target {
        let existed = target.exists();
        let disk = OsDisk::new(target);
        let done = restore_links(&chain.links(), &disk, progress).and_then(|done| match logs {
            Some((logs, database)) if walk.at > tip.end_lsn => {
                roll(logs, &disk, database, (tip.end_lsn, walk.at), progress).map(|()| done)
            }
            _ => Ok(done),
        });
        if done.is_err() {
            remove(&disk);
            clear_folders(target, existed);
        }
        summary = done?;
    }
    Ok(Reached {
        backup: place.to_owned(),
        summary,
        lsn: walk.at,
        commits: walk.commits,
        bytes: walk.at.0 - tip.end_lsn.0,
        committed_at: walk.committed_at,
        is_end: walk.is_end,
    })
}

/// Lets the log of a restored database go on from the end of its backup up to the point.
fn roll(
    logs: &dyn Disk,
    target: &dyn Disk,
    database: DatabaseId,
    (from, to): (Lsn, Lsn),
    progress: &Progress,
) -> Result<()> {
    let found = segments::discover(logs, database)?;
    let extents = segments::extents(&found, from)?;
    progress.begin("log", "bytes", to.0 - from.0);
    for extent in extents.iter().filter(|extent| extent.start < to) {
        let source = logs.open(&extent.path, OpenMode::Read)?;
        let end = extent.offset(extent.limit.min(to));
        if target.exists(&extent.path)? {
            let known = extent.offset(from.min(extent.limit));
            ensure_same(&*source, &*target.open(&extent.path, OpenMode::Read)?, known)?;
        }
        let copy = target.open(&extent.path, OpenMode::Create)?;
        copy.allocate(source.size()?)?;
        copy_bytes(&*source, &*copy, end, progress)?;
    }
    target.sync_dir(FOLDER)?;
    let mut control = Control::open(target, OpenMode::Write)?;
    let data = control.data();
    control.write(ControlData { clean_end: to, ..data })
}

fn ensure_same(here: &dyn File, there: &dyn File, bytes: u64) -> Result<()> {
    let (mut one, mut other) = (zeroed(CHUNK, OPERATION)?, zeroed(CHUNK, OPERATION)?);
    let mut at = 0;
    while at < bytes {
        let count = (bytes - at).min(CHUNK as u64) as usize;
        let read = here.read_at(&mut one[..count], at)?;
        if read < count
            || there.read_at(&mut other[..count], at)? < count
            || one[..count] != other[..count]
        {
            return Err(not_reached("the kept log is of another history than the backup"));
        }
        at += count as u64;
    }
    Ok(())
}

fn copy_bytes(source: &dyn File, copy: &dyn File, end: u64, progress: &Progress) -> Result<()> {
    let mut chunk = zeroed(CHUNK, OPERATION)?;
    let mut at = 0;
    while at < end {
        progress.ensure_going()?;
        let count = (end - at).min(CHUNK as u64) as usize;
        if source.read_at(&mut chunk[..count], at)? < count {
            return Err(not_reached("a segment became shorter while it was read"));
        }
        copy.write_at(&chunk[..count], at)?;
        at += count as u64;
        progress.add(count as u64);
    }
    copy.sync()
}
