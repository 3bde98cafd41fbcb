//! A former primary that comes back becomes a mirror of its successor, where it holds nothing that
//! the successor lacks.

use super::base::drop_snapshots;
use super::diverged;
use super::ends::log_end;
use super::standing::{self, Standing};
use crate::control::{Control, ControlData};
use crate::disk::{Disk, File, OpenMode};
use crate::error::Result;
use crate::log::segments::{self, FOLDER};
use crate::store::{CLEAN_MARKER, RECOVERY_MARKER, put_marker};
use crate::sync::Arc;

/// `MirrorDiverged` unless the former primary on `target` ends where its successor's own history
/// begins, or before; with the commits that only it has.
pub fn ensure_prefix(target: &Arc<dyn Disk>, mine: &Standing, theirs: &Standing) -> Result<()> {
    if theirs.epoch != mine.epoch || mine.parted_at.is_none() {
        return Err(diverged("its place was taken by another one"));
    }
    let end = log_end(target, None)?;
    if end.at <= mine.parted_at {
        return Ok(());
    }
    let beyond = log_end(target, Some(mine.parted_at))?;
    Err(diverged("it holds changes that were made after its mirror had last received any")
        .with("commits", beyond.commits)
        .with("bytes", beyond.at.0 - mine.parted_at.0))
}

/// Makes the former primary a mirror: from now on its pages lag behind its log, which another
/// writes. Each step may be repeated; the last one decides.
pub fn make_mirror(target: &dyn Disk, ours: &Standing) -> Result<()> {
    drop_snapshots(target)?;
    let mut control = Control::open(target, OpenMode::Write)?;
    let data = control.data();
    control.write(ControlData { pages_lag: true, ..data })?;
    put_marker(target, RECOVERY_MARKER)?;
    target.remove(CLEAN_MARKER)?;
    remove_prepared(target, data)?;
    ours.write(target)
}

/// Segments that were prepared and never used: theirs will come under the same numbers.
fn remove_prepared(target: &dyn Disk, data: ControlData) -> Result<()> {
    let found = segments::discover(target, data.database)?;
    let last = found.iter().rev().find(|info| info.header.is_ok()).map_or(0, |info| info.number);
    for info in found.iter().filter(|info| info.number > last) {
        target.remove(&info.path)?;
    }
    target.sync_dir(FOLDER)
}

/// A mirror as a database: `standing` is not to be seen.
pub struct Unmarked(pub Arc<dyn Disk>);

impl Disk for Unmarked {
    fn open(&self, path: &str, mode: OpenMode) -> Result<Arc<dyn File>> {
        self.0.open(path, mode)
    }
    fn remove(&self, path: &str) -> Result<()> {
        self.0.remove(path)
    }
    fn list(&self, folder: &str) -> Result<Vec<String>> {
        let mut names = self.0.list(folder)?;
        names.retain(|name| !folder.is_empty() || name != standing::PATH);
        Ok(names)
    }
    fn sync_dir(&self, folder: &str) -> Result<()> {
        self.0.sync_dir(folder)
    }
    fn free_bytes(&self) -> Result<u64> {
        self.0.free_bytes()
    }
    fn is_atomic(&self) -> bool {
        self.0.is_atomic()
    }
}
