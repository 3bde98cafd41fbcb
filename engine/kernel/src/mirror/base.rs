//! The first copy of a mirror: pages of a database in use, then the log from before the first of
//! them to after the last, as in a backup.

use super::shipper::Shipper;
use super::standing::{self, Role, Standing};
use crate::backup::{PageWriter, current};
use crate::checkpoint::Checkpointer;
use crate::control::{self, Control, ControlData};
use crate::disk::Disk;
use crate::error::Result;
use crate::log::segments::{self, FOLDER};
use crate::moment::FOLDER as SNAPSHOTS;
use crate::recovery::{DATA_PATH, Progress};
use crate::store::{CLEAN_MARKER, RECOVERY_MARKER, put_marker};
use crate::sync::Arc;
use crate::txn::Shared;
use crate::types::Lsn;

/// The database that mirrors are of.
pub struct Source {
    pub shared: Arc<Shared>,
    pub checkpointer: Arc<Checkpointer>,
    pub disk: Arc<dyn Disk>,
}

/// Where the log must be kept from for the copy, once it is complete.
pub struct Copied {
    pub shipper: Shipper,
    pub pages: u64,
}

/// Makes `target`, which is at `path`, a mirror, whatever of a mirror was there before. `standing` says whose. Log from
/// the copy's beginning on is held under `number`. After an error the target is no mirror yet, and
/// says so.
pub fn copy(
    source: &Source,
    (target, path): (&Arc<dyn Disk>, &str),
    standing: &Standing,
    number: u64,
    progress: &Progress,
) -> Result<Copied> {
    let shared = &source.shared;
    Standing { role: Role::Copying, ..standing.clone() }.write(&**target)?;
    clear(&**target)?;
    progress.begin("checkpoint", "pages", 0);
    source.checkpointer.take(shared, true, &mut || !progress.is_cancelled())?;
    progress.ensure_going()?;
    let (pin, from, control) = source.checkpointer.pin_with_undo(shared);
    source.checkpointer.hold(number, from);
    source.checkpointer.unpin(pin);
    let pages = copy_pages(shared, &**target, progress)?;
    ensure_there(&**target, standing, path)?;
    let log = &shared.core.log;
    let end = log.end();
    log.flush_to(end)?;
    progress.begin("log", "bytes", end.0 - from.0);
    let mut shipper = Shipper::begin(Arc::clone(target), Arc::clone(log), from)?;
    shipper.ship(end, &|| progress.ensure_going())?;
    target.sync_dir(FOLDER)?;
    ensure_there(&**target, standing, path)?;
    put_marker(&**target, RECOVERY_MARKER)?;
    // What is there up to here can be recovered: now it may have a control file, and be a mirror.
    Control::create(&**target, ControlData { clean_end: end, pages_lag: true, ..control })?;
    Standing { role: Role::Mirror, ..standing.clone() }.write(&**target)?;
    if !target.exists(DATA_PATH)? {
        // It went at the last moment: a mirror that has no pages must not say that it is one.
        target.remove(standing::PATH)?;
        return Err(super::not_there(path));
    }
    Ok(Copied { shipper, pages })
}

/// Files of a directory that went away take what is written all the same, and new ones are made in a
/// directory of their own: what is there now must be what the copy was begun in.
fn ensure_there(target: &dyn Disk, standing: &Standing, path: &str) -> Result<()> {
    let begun = Standing::read(target)?;
    let is_ours = begun.is_some_and(|it| it.role == Role::Copying && it.database == standing.database);
    if is_ours && target.exists(DATA_PATH)? { Ok(()) } else { Err(super::not_there(path)) }
}

fn copy_pages(shared: &Shared, target: &dyn Disk, progress: &Progress) -> Result<u64> {
    let pool = &shared.core.pool;
    let size = pool.page_size();
    progress.begin("pages", "pages", u64::from(pool.file_pages()));
    let mut writer = PageWriter::open(Some(target), size, u64::from(pool.file_pages()) * size as u64)?;
    let mut count = 0;
    let went = |pages, _| {
        progress.add(pages);
        progress.ensure_going()
    };
    current::each_page(shared, went, |id, page| {
        count += 1;
        writer.put(id, page)
    })?;
    writer.finish()?;
    Ok(count)
}

/// Removes what a mirror consists of; the control file goes first, so that what is left is none.
pub fn clear(target: &dyn Disk) -> Result<()> {
    drop_snapshots(target)?;
    target.remove(control::PATH)?;
    target.sync_dir("")?;
    let logs = target.list(segments::FOLDER)?;
    let logs = logs.into_iter().map(|name| format!("{}/{name}", segments::FOLDER));
    let others = [DATA_PATH, crate::buffer::DOUBLEWRITE_PATH, RECOVERY_MARKER, CLEAN_MARKER];
    others.map(str::to_owned).into_iter().chain(logs).try_for_each(|name| target.remove(&name))?;
    target.sync_dir("")
}

/// Removes the snapshots that a former primary has: its pages change from now on without being kept
/// for them.
pub fn drop_snapshots(target: &dyn Disk) -> Result<()> {
    let mut names = target.list(SNAPSHOTS)?;
    // What makes one of them whole goes first.
    names.sort_by_key(|name| !name.ends_with(".json"));
    if names.is_empty() {
        return Ok(());
    }
    names.iter().try_for_each(|name| target.remove(&format!("{SNAPSHOTS}/{name}")))?;
    target.sync_dir(SNAPSHOTS)
}

/// Removes the segments of a mirror's log that end at or before `lsn`.
pub fn clean_log(target: &dyn Disk, source: &Shared, lsn: Lsn) -> Result<()> {
    let found = segments::discover(target, source.core.log.database())?;
    let mut removed = false;
    for pair in found.windows(2) {
        let (Ok(_), Ok(next)) = (pair[0].header, pair[1].header) else { break };
        if next.start > lsn {
            break;
        }
        target.remove(&pair[0].path)?;
        removed = true;
    }
    if removed { target.sync_dir(FOLDER) } else { Ok(()) }
}
