//! A database goes back to one of its snapshots, in place: all of it or nothing.
//!
//! Everything is written to an overlay in the database's directory: the pages as they were, the
//! log of the moment in the place of that of now; there it is recovered, checked and closed. Then
//! the installation makes the originals what the overlay shows, and a crash in the middle of it is
//! finished by the next open, as that of a recovery. The disk keeps what is overwritten for the
//! snapshots that there are, those included that are later than the moment: who takes one
//! beforehand can go back to that.

use std::collections::BTreeSet;

use super::chain::{Chain, Snapshot};
use super::damaged;
use super::view::{page_size_of, unpack};
use crate::backup::marks;
use crate::control::{Control, ControlData};
use crate::disk::overlay::{self, Overlay};
use crate::disk::{Disk, OpenMode};
use crate::error::{Code, Error, Result};
use crate::log::segments;
use crate::recovery::{DATA_PATH, Progress};
use crate::store::{
    CLEAN_MARKER, Ground, RECOVERY_MARKER, Recovering, StoreOptions, is_clean, put_marker,
};
use crate::sync::Arc;

/// Makes the closed database on `disk`, which keeps pages for `chain`, what the snapshot `name`
/// is. The caller holds its lock. Returns the pages that were put back.
///
/// `RecoveryNeeded` where it was not closed; `SnapshotNotFound`, `SnapshotDamaged`. After an error
/// the database is what it was, unless the error has the field `installing`: then the next open
/// finishes it.
pub fn revert(
    disk: &Arc<dyn Disk>,
    chain: &Arc<Chain>,
    name: &str,
    options: &StoreOptions,
    progress: &Progress,
) -> Result<u64> {
    overlay::settle(&**disk)?;
    let now = Control::read(&**disk)?;
    if !is_clean(&**disk, &now)? {
        let indicators = vec!["unclean_shutdown".to_owned()];
        return Err(Error::new(Code::RecoveryNeeded).with("indicators", indicators));
    }
    let (reader, snapshot) = chain.hold(name)?;
    let overlay = Overlay::inside(Arc::clone(disk))?;
    let put_back = put_back(&overlay.disk(), chain, &snapshot, now, progress)
        .and_then(|pages| recover(&overlay.disk(), name, options, progress).map(|()| pages));
    let done = put_back.and_then(|pages| progress.ensure_going().map(|()| pages));
    let pages = done.map_err(|error| discarded(&overlay, error))?;
    // What the snapshot needs is on the overlay now: it may be given up while room is made.
    drop(reader);
    progress.begin("install", "bytes", overlay.install_bytes());
    let tell = |bytes| {
        progress.add(bytes);
        Ok(())
    };
    overlay.install(false, &tell).map_err(|error| match overlay.is_decided() {
        Ok(false) => discarded(&overlay, error),
        _ => error.with("installing", 1i64),
    })?;
    Ok(pages)
}

/// The first error is the one to tell; what is left is dropped at the next open.
fn discarded(overlay: &Overlay, error: Error) -> Error {
    let _ = overlay.discard();
    error
}

fn put_back(
    disk: &Arc<dyn Disk>,
    chain: &Chain,
    snapshot: &Snapshot,
    now: ControlData,
    progress: &Progress,
) -> Result<u64> {
    for name in disk.list(segments::FOLDER)? {
        disk.remove(&format!("{}/{name}", segments::FOLDER))?;
    }
    unpack(chain, snapshot, &**disk, progress)?;
    let mut control = Control::open(&**disk, OpenMode::Write)?;
    let data = control.data();
    // No entry of the history that is left passes for one of that which begins.
    control.write(ControlData { incarnation: now.incarnation.max(data.incarnation), ..data })?;
    disk.remove(CLEAN_MARKER)?;
    put_marker(&**disk, RECOVERY_MARKER)?;
    // Increments to the backups that are known would be of another history.
    marks::forget(&**disk)?;
    let size = page_size_of(chain, snapshot.number)?;
    let file = disk.open(DATA_PATH, OpenMode::Write)?;
    let pages = chain.kept_since(snapshot.number);
    progress.begin("pages", "pages", pages.len() as u64);
    let live = chain.base().open(DATA_PATH, OpenMode::Read)?;
    let mut page = vec![0; size];
    for id in &pages {
        progress.ensure_going()?;
        let at = u64::from(*id) * size as u64;
        if at < snapshot.data_bytes {
            chain.read_page((snapshot.number, &snapshot.moment.name), &*live, *id, &mut page)?;
            file.write_at(&page, at)?;
        }
        progress.add(1);
    }
    if file.size()? > snapshot.data_bytes {
        file.truncate(snapshot.data_bytes)?;
    }
    Ok(pages.len() as u64)
}

fn recover(disk: &Arc<dyn Disk>, name: &str, options: &StoreOptions, progress: &Progress) -> Result<()> {
    let options = StoreOptions { background: false, read_only: false, ..options.clone() };
    let mut recovering = Recovering::begin(Arc::clone(disk), &options, Ground::InPlace)?;
    recovering.run(progress)?;
    let store = recovering.finish(progress).map_err(|unfinished| unfinished.error)?;
    let report = store.check(false, progress)?;
    if let Some(problem) = report.problems.first() {
        return Err(damaged(name, format!("{} problems were found", report.problems.len()))
            .with("first", problem.detail.clone()));
    }
    store.close().map(|_| ())
}

impl Chain {
    /// The pages that this snapshot, or a later one, has kept.
    fn kept_since(&self, number: u64) -> BTreeSet<u32> {
        let links = self.links.read();
        links
            .iter()
            .filter(|link| link.number >= number)
            .flat_map(|link| link.frames.numbers())
            .collect()
    }
}
