//! Making a new database, and knowing one whose making was cut off.
//!
//! The marker `.creating` is there, synced, before any other file, and goes once the control file
//! is certain. Where it is found without a control file that says anything, every other file of
//! ours was made by that creation and nothing was ever stored: it may be begun again.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use super::{Store, StoreOptions, put_marker, remove_marker};
use crate::buffer::{DOUBLEWRITE_PATH, DoubleWrite};
use crate::checkpoint::Checkpointer;
use crate::control::{self, Control, ControlData};
use crate::disk::{Disk, OpenMode};
use crate::error::{Code, Error, Result};
use crate::events::unix_micros;
use crate::lockfile;
use crate::log::{Log, segments};
use crate::page::{Kind, Page, Shape, is_page_size};
use crate::recovery::{Analysis, DATA_PATH, Parts, build};
use crate::repair::Repairs;
use crate::txn::{Shared, format_catalogue};
use crate::types::{DatabaseId, Incarnation, Lsn, PageId, TreeId};

/// Present while a database is being created.
const CREATING_MARKER: &str = ".creating";

/// What may lie in the directory of a half made database; settings may be there beforehand.
const OWN_FILES: [&str; 6] =
    [CREATING_MARKER, control::PATH, DATA_PATH, DOUBLEWRITE_PATH, lockfile::PATH, "reliability.toml"];

/// True where a creation was cut off before there was a database, and nothing but its own files
/// is there: creating again clears them away.
pub fn is_half_made(disk: &dyn Disk) -> Result<bool> {
    if !disk.exists(CREATING_MARKER)? || (disk.exists(control::PATH)? && !Control::is_blank(disk)?) {
        return Ok(false);
    }
    let is_own = |name: &String| OWN_FILES.contains(&name.as_str());
    let is_segment = |name: &String| name.ends_with(".wal");
    Ok(disk.list("")?.iter().all(is_own) && disk.list(segments::FOLDER)?.iter().all(is_segment))
}

/// Takes the marker away that a crash may have left after the database was there: should the
/// control file be lost one day, nobody is to take the database for a half made one.
pub(super) fn forget_creation(disk: &dyn Disk) -> Result<()> {
    if disk.exists(CREATING_MARKER)? { remove_marker(disk, CREATING_MARKER) } else { Ok(()) }
}

fn random_database() -> DatabaseId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&RandomState::new().hash_one(unix_micros()).to_le_bytes());
    id[8..].copy_from_slice(&RandomState::new().hash_one(std::process::id()).to_le_bytes());
    DatabaseId(id)
}

impl Store {
    /// Makes a new, empty database. `DatabaseExists` where there is one already.
    pub fn create(disk: Arc<dyn Disk>, options: &StoreOptions) -> Result<Store> {
        let size = options.page_size;
        if !is_page_size(size) {
            return Err(Error::argument("page_size", "must be a power of two from 4 KiB to 64 KiB"));
        }
        Self::clear_half_made(&*disk)?;
        if disk.exists(control::PATH)? || disk.exists(DATA_PATH)? {
            return Err(Error::new(Code::DatabaseExists).with("path", DATA_PATH));
        }
        put_marker(&*disk, CREATING_MARKER)?;
        let database = options.database.unwrap_or_else(random_database);
        let log = Log::create(Arc::clone(&disk), options.opening.log.clone(), database)?;
        let first = log.end();
        let file = disk.open(DATA_PATH, OpenMode::Create)?;
        let doublewrite = DoubleWrite::open(&*disk, size)?;
        let shared = build(file, doublewrite, log, size, &Analysis::default(), &options.opening)?;
        Repairs::attend(&shared, Arc::clone(&disk), options.opening.on_damage);
        shared.core.space.format()?;
        Self::format_store_page(&shared)?;
        format_catalogue(&shared.core)?;
        shared.core.log.flush_to(shared.core.log.end())?;
        // The names of the other files must be certain before that of the control file may be.
        disk.sync_dir("")?;
        // From here on the log alone can rebuild everything: now it may be called a database.
        let control = Control::create(
            &*disk,
            ControlData {
                database,
                page_size: size as u32,
                incarnation: Incarnation(1),
                checkpoint_lsn: first,
                redo_lsn: first,
                checkpoint_at: unix_micros(),
                next_txn: 1,
                clean_end: Lsn::NONE,
                segment_bytes: options.opening.log.segment_bytes,
                pages_lag: false,
            },
        )?;
        remove_marker(&*disk, CREATING_MARKER)?;
        let parts = Parts { shared, checkpointer: Checkpointer::new(control), on_demand: None };
        let store = Self::start(disk, parts, options)?;
        store.checkpoint()?;
        Ok(store)
    }

    /// Removes what a creation that was cut off left behind: nothing was ever stored in it.
    fn clear_half_made(disk: &dyn Disk) -> Result<()> {
        if !is_half_made(disk)? {
            return Ok(());
        }
        for name in disk.list(segments::FOLDER)? {
            disk.remove(&format!("{}/{name}", segments::FOLDER))?;
        }
        disk.remove(DATA_PATH)?;
        disk.remove(DOUBLEWRITE_PATH)?;
        disk.remove(control::PATH)
    }

    fn format_store_page(shared: &Shared) -> Result<()> {
        let shape = Shape {
            id: PageId(0),
            kind: Kind::Store,
            level: 0,
            tree: TreeId(0),
            right: PageId::NONE,
            low: &[],
            high: None,
        };
        let image = Page::format(shared.core.pool.page_size(), shape).to_image();
        let mut page = shared.core.pool.fresh(PageId(0))?;
        let author = crate::core::Author::system(crate::log::Op::Structure);
        shared.core.change_page(author, &mut page, &crate::page::Change::Image { image: &image })
    }
}
