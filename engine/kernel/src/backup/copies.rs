//! Single pages out of backups, for the repair of the database that they are of.

use std::path::{Path, PathBuf};

use super::chain::{self, Chain};
use super::logs::Logs;
use super::manifest::Manifest;
use super::marks;
use super::pages::Layer;
use super::seal::Secret;
use super::take::hex;
use crate::error::{Code, Field, Result};
use crate::page::Page;
use crate::recovery::Progress;
use crate::repair::{Copy, Elsewhere, Helper, KeptLog, Lacking, Source};
use crate::store::Store;
use crate::sync::Arc;
use crate::types::{Lsn, PageId};

/// How many pages go by between two looks at whether to go on.
const PACE: u64 = 128;

/// Whole copies of `pages` from the newest backups in `folders` that hold them, each proved by its
/// own checksum, and the kept log of `logs` (databases, archives) that brings them up to date. What
/// cannot be read of a backup is as if it were not there: an older one may do. One that `key` does not
/// open is named.
///
/// One pass over the pages of a backup, up to the last one that is asked for.
pub fn copies_of(
    store: &Store,
    folders: &[PathBuf],
    logs: &[PathBuf],
    pages: &[PageId],
    key: Option<&Secret>,
    progress: &Progress,
) -> Result<Elsewhere> {
    let core = &store.shared().core;
    let lacking = Lacking {
        pages,
        disk: store.disk(),
        log: &core.log,
        database: core.log.database(),
        page_size: core.pool.page_size(),
        end: Lsn::MAX,
        progress,
    };
    copies_for(&lacking, folders, logs, key)
}

/// The backups of a database that is being recovered, or is open already while it is; those that are
/// encrypted stay closed.
pub struct FromBackups {
    pub folders: Vec<PathBuf>,
    /// Databases and archives.
    pub logs: Vec<PathBuf>,
}

impl Helper for FromBackups {
    fn copies(&self, lacking: &Lacking<'_>) -> Result<Elsewhere> {
        copies_for(lacking, &self.folders, &self.logs, None)
    }
}

fn copies_for(
    lacking: &Lacking<'_>,
    folders: &[PathBuf],
    logs: &[PathBuf],
    key: Option<&Secret>,
) -> Result<Elsewhere> {
    let progress = lacking.progress;
    let mut wanted = lacking.pages.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    let mut elsewhere = Elsewhere::default();
    for (manifest, place) in candidates(lacking, folders) {
        if wanted.is_empty() {
            break;
        }
        progress.begin("pages in backups", "pages", u64::from(wanted[wanted.len() - 1].0) + 1);
        let is_own = marks::has(&**lacking.disk, &manifest.id)?;
        match read(&place, &wanted, key, progress) {
            Ok(found) => {
                wanted.retain(|id| found.iter().all(|page| page.id() != *id));
                elsewhere
                    .copies
                    .extend(found.into_iter().map(|page| copy(page, &manifest, &place, is_own)));
                if is_own {
                    // The newest one: what it does not hold began after it.
                    elsewhere.unfound_from = elsewhere.unfound_from.or(Some(manifest.redo_lsn));
                }
            }
            Err(error) if error.is_interruption() => return Err(error),
            Err(error) if error.code == Code::BackupLocked => {
                if let Some(Field::Text(reason)) = error.field("reason") {
                    elsewhere.locked.push((place.display().to_string(), reason.clone()));
                }
            }
            Err(_) => {}
        }
    }
    elsewhere.unfound = wanted;
    elsewhere.kept = kept_log(lacking, logs, &elsewhere);
    elsewhere.bring_up_to(lacking.log, lacking.page_size, &mut || !progress.is_cancelled())?;
    Ok(elsewhere)
}

/// The backups of this database, newest first.
fn candidates(lacking: &Lacking<'_>, folders: &[PathBuf]) -> Vec<(Manifest, PathBuf)> {
    let (database, page_size) = (hex(&lacking.database.0), lacking.page_size as u64);
    let found = folders.iter().filter_map(|folder| chain::candidates(folder).ok());
    let mut found: Vec<_> = found.flatten().collect();
    found.retain(|(manifest, _)| manifest.database == database && manifest.page_size == page_size);
    found.sort_by_key(|(manifest, _)| std::cmp::Reverse((manifest.end_lsn, manifest.taken_at)));
    found
}

fn copy(page: Page, manifest: &Manifest, place: &Path, is_own: bool) -> Copy {
    // What was changed before the start of its redo was written out before it was begun.
    let as_of = page.lsn().max(manifest.redo_lsn);
    let place = place.display().to_string();
    Copy { page, source: Source::Backup, place, as_of, is_own, changes: 0 }
}

fn read(
    place: &Path,
    wanted: &[PageId],
    key: Option<&Secret>,
    progress: &Progress,
) -> Result<Vec<Page>> {
    let chain = Chain::open(place, key)?;
    let links = chain.links();
    let mut layer = Layer::open(&links)?;
    let size = chain.tip().map_or(0, |tip| tip.page_size as usize);
    let mut page = Page::zeroed(size);
    let (mut found, mut passed) = (Vec::new(), 0u64);
    let Some(last) = wanted.last() else { return Ok(found) };
    while let Some(id) = layer.next(&mut page)? {
        if id > *last {
            break;
        }
        if wanted.binary_search(&id).is_ok() {
            found.push(page.clone());
        }
        passed += 1;
        if passed.is_multiple_of(PACE) {
            progress.ensure_going()?;
            progress.set(u64::from(id.0));
        }
    }
    Ok(found)
}

/// The log in use and what was archived of it, as one.
fn kept_log(lacking: &Lacking<'_>, logs: &[PathBuf], elsewhere: &Elsewhere) -> Option<KeptLog> {
    let database = lacking.database;
    let from = elsewhere.log_from()?;
    let mut kept = Logs::of(logs, database);
    let gap = kept.until_gap(database, from).ok()?;
    Some(KeptLog { disk: Arc::new(kept), database, gap })
}
