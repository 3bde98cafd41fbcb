//! Single-page repair: a damaged page is made whole when it is read, or set apart.
//!
//! Sources, best first: a whole copy in the double-write file brought up to date from the log, the
//! log alone ([`history`]), and a copy that the caller brings from a backup or a mirror
//! ([`elsewhere`]). A
//! repaired page gets a full image in the log at once, so that redo never needs what lies in its
//! place; the damaged bytes are kept in `quarantine/`. A page without a source is set apart: each
//! read of it gets its error at once, and everything else goes on.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::Mutex;

use crate::buffer::{Mender, PageWrite};
use crate::core::Author;
use crate::disk::{Disk, OpenMode};
use crate::error::{Code, Error, Result};
use crate::log::Op;
use crate::page::{Change, Kind, Page, Shape};
use crate::recovery::Progress;
use crate::space::map_page_of;
use crate::txn::Shared;
use crate::types::{Lsn, PageId, TreeId};

mod elsewhere;
mod halt;
mod helpers;
mod history;
mod places;
mod reach;
#[cfg(test)]
mod reach_tests;
mod records;
#[cfg(test)]
mod tests;

pub use elsewhere::{Copy, Elsewhere, KeptLog};
pub use halt::Halt;
pub use helpers::{Helper, Helpers, Lacking};
pub use history::{Base, Origin, Rebuilt, Wanted, rebuild, sum_of};
pub use places::Places;

/// Where the bytes of damaged pages are kept.
pub const QUARANTINE: &str = "quarantine";
/// So many pages at once are found quicker in one pass over the whole log.
const MOST_BY_PLACES: usize = 64;

/// What happens when a damaged page is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnDamage {
    /// It is repaired if it can be, and set apart if not.
    #[default]
    Repair,
    /// It is told, and left as it is.
    Report,
    /// As `Repair`; when that fails no more changes are taken until that is lifted.
    Halt,
}

/// Where a repaired page came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// It was whole in memory; only its place in the file was damaged.
    Memory,
    DoubleWrite,
    Log,
    /// A page of a backup, brought up to date from the log.
    Backup,
    /// The log that was archived: the page began after the newest backup.
    Archive,
    /// The page of a mirror, brought up to date from the log.
    Mirror,
}

impl Source {
    pub fn name(self) -> &'static str {
        match self {
            Source::Memory => "memory",
            Source::DoubleWrite => "doublewrite",
            Source::Log => "log",
            Source::Backup => "backup",
            Source::Archive => "archive",
            Source::Mirror => "mirror",
        }
    }
}

/// What a page can be, or was, rebuilt from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy {
    pub page: PageId,
    pub source: Source,
    /// Where a copy lies that was brought from elsewhere; empty otherwise.
    pub place: String,
    /// The base's LSN, and the changes applied to it.
    pub base: Lsn,
    pub changes: u64,
}

impl Remedy {
    fn in_memory(page: PageId, base: Lsn) -> Remedy {
        Remedy { page, source: Source::Memory, place: String::new(), base, changes: 0 }
    }
}

/// What can be done about some pages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub remedies: Vec<Remedy>,
    /// Pages of which there is a copy that does not help, and why.
    pub unhelped: Vec<(PageId, String)>,
}

/// Repairs the pages of one store.
pub struct Repairs {
    shared: Weak<Shared>,
    disk: Arc<dyn Disk>,
    on_damage: OnDamage,
    set_apart: Mutex<HashMap<PageId, Error>>,
    records: records::Records,
    /// Held while the log is read for a repair; nothing else is taken under it.
    places: Mutex<Places>,
}

impl Repairs {
    /// From now on damaged pages of `shared` are met as `on_damage` says.
    pub fn attend(shared: &Arc<Shared>, disk: Arc<dyn Disk>, on_damage: OnDamage) {
        let weak = Arc::downgrade(shared);
        let (set_apart, places) = (Mutex::default(), Mutex::default());
        let records = records::Records::default();
        let repairs = Arc::new(Repairs { shared: weak, disk, on_damage, set_apart, records, places });
        shared.core.pool.set_mender(Arc::clone(&repairs) as Arc<dyn Mender>);
        let _ = shared.repairs.set(repairs);
    }

    /// Those of an open store.
    pub fn of(shared: &Shared) -> Result<&Arc<Repairs>> {
        shared.repairs.get().ok_or_else(|| Error::internal("a store without repairs"))
    }

    /// The pages that were damaged and could not be repaired, with what their readers are told.
    pub fn set_apart(&self) -> Vec<(PageId, Error)> {
        let mut pages: Vec<_> =
            self.set_apart.lock().iter().map(|(id, error)| (*id, error.clone())).collect();
        pages.sort_by_key(|(id, _)| *id);
        pages
    }

    /// What each of the pages could be rebuilt from now; changes nothing. A page that has no source is
    /// absent.
    pub fn plan(
        &self,
        pages: &[PageId],
        elsewhere: &Elsewhere,
        keep_on: &mut dyn FnMut() -> bool,
    ) -> Result<Plan> {
        let shared = self.shared()?;
        let mut plan = Plan::default();
        let mut others = Vec::new();
        for id in pages {
            match shared.core.pool.read_cached(*id) {
                Some(page) => plan.remedies.push(Remedy::in_memory(*id, page.lsn())),
                None => others.push(*id),
            }
        }
        let found = self.rebuild(&shared, &others, elsewhere, shared.core.log.durable(), keep_on)?;
        let is_left = |id: &PageId| found.iter().all(|(remedy, _)| remedy.page != *id);
        let left = others.iter().filter(|id| is_left(id));
        plan.unhelped = left.filter_map(|id| Some((*id, elsewhere.reason(*id)?))).collect();
        plan.remedies.extend(found.into_iter().map(|(remedy, _)| remedy));
        plan.remedies.sort_by_key(|remedy| remedy.page);
        Ok(plan)
    }

    /// Repairs one page now, whatever the setting says, writes it to its place, and reads it again
    /// from there. Raises the page's own error where no source reaches; its cause is
    /// `PointNotReached` where a copy from elsewhere does not help.
    pub fn repair(&self, id: PageId, elsewhere: &Elsewhere) -> Result<Remedy> {
        let shared = self.shared()?;
        let pool = &shared.core.pool;
        let remedy = match pool.read_cached(id) {
            Some(page) => {
                let base = page.lsn();
                drop(page);
                self.keep_damaged(&shared, &pool.read_raw(id)?, id);
                let mut page = pool.write(id)?;
                Self::log_image(&shared, &mut page)?;
                Remedy::in_memory(id, base)
            }
            None => self.repair_from_sources(&shared, id, elsewhere)?,
        };
        pool.write_out_older(Lsn::MAX, || true)?;
        pool.read_raw(id)?.validate(id, shared.core.log.end()).or_else(|error| {
            // It changed meanwhile, and its newest form waits in memory: nothing is wrong.
            if pool.is_dirty(id) { Ok(()) } else { Err(error) }
        })?;
        self.take_back(id);
        Ok(remedy)
    }

    /// Makes an empty page of `tree` of a damaged one that nobody will look for; its bytes are kept.
    /// One that can be read stays as it is.
    pub fn empty(&self, id: PageId, tree: TreeId) -> Result<()> {
        let shared = self.shared()?;
        let pool = &shared.core.pool;
        if pool.read(id).is_ok() {
            return Ok(());
        }
        self.keep_damaged(&shared, &pool.read_raw(id)?, id);
        let (kind, right) = (Kind::Leaf, PageId::NONE);
        let shape = Shape { id, kind, level: 0, tree, right, low: &[], high: None };
        let mut place = pool.place_of(id)?;
        Self::install(&shared, &mut place, Page::format(pool.page_size(), shape))?;
        pool.note_redone(&place, id);
        drop(place);
        self.take_back(id);
        Ok(())
    }

    fn repair_from_sources(
        &self,
        shared: &Arc<Shared>,
        id: PageId,
        elsewhere: &Elsewhere,
    ) -> Result<Remedy> {
        let pool = &shared.core.pool;
        let mut damaged = pool.read_raw(id)?;
        let known = damaged.validate(id, shared.core.log.end());
        let end = shared.core.log.durable();
        let mut found = self.rebuild(shared, &[id], elsewhere, end, &mut || true)?;
        let Some((remedy, page)) = found.pop() else {
            let Err(error) = known else {
                return Err(Error::argument("page", "it is not damaged, and needs no repair"));
            };
            return Err(match elsewhere.reason(id) {
                Some(why) => error.because(Error::new(Code::PointNotReached).with("reason", why)),
                None => error,
            });
        };
        let started = Instant::now();
        let is_kept = self.keep_damaged(shared, &damaged, id);
        let mut place = pool.place_of(id)?;
        Self::install(shared, &mut place, page)?;
        pool.note_redone(&place, id);
        drop(place);
        self.tell_repaired(shared, &remedy, is_kept, started);
        Ok(remedy)
    }

    /// Rebuilds pages that redo could not bring up to date, in one pass over the log up to `end`,
    /// where redo ended: what follows says nothing of them, and does not follow at once where the
    /// log was cut. Returns those that a source reached. None where damage is only to be reported.
    pub fn repair_after_redo(
        &self,
        pages: &[PageId],
        end: Lsn,
        progress: &Progress,
    ) -> Result<Vec<PageId>> {
        self.repair_after_redo_from(pages, &Elsewhere::default(), end, progress)
    }

    /// As [`Repairs::repair_after_redo`], also from copies that lie elsewhere.
    pub fn repair_after_redo_from(
        &self,
        pages: &[PageId],
        elsewhere: &Elsewhere,
        end: Lsn,
        progress: &Progress,
    ) -> Result<Vec<PageId>> {
        if pages.is_empty() || self.on_damage == OnDamage::Report {
            return Ok(Vec::new());
        }
        let (shared, started) = (self.shared()?, Instant::now());
        let pool = &shared.core.pool;
        let mut keep_on = || !progress.is_cancelled();
        let is_open = pages.iter().any(|id| pool.is_overdue(*id));
        let found = self.rebuild(&shared, pages, elsewhere, end, &mut keep_on)?;
        let mut repaired = Vec::new();
        for (remedy, page) in found {
            let id = remedy.page;
            repaired.push(id);
            pool.ensure(id)?;
            let damaged = pool.read_raw(id)?;
            let mut place = pool.place_of(id)?;
            if is_open && !pool.is_overdue(id) {
                // In an open store somebody else was quicker, and it may have changed since.
                if place.bytes().iter().all(|byte| *byte == 0) {
                    pool.give_back(place, id);
                }
                continue;
            }
            Self::install(&shared, &mut place, page)?;
            pool.note_redone(&place, id);
            drop(place);
            let is_kept = self.keep_damaged(&shared, &damaged, id);
            self.tell_repaired(&shared, &remedy, is_kept, started);
        }
        Ok(repaired)
    }

    /// Damage is only told.
    pub fn only_reports(&self) -> bool {
        self.on_damage == OnDamage::Report
    }

    fn shared(&self) -> Result<Arc<Shared>> {
        self.shared.upgrade().ok_or_else(|| Error::new(Code::StoreClosed))
    }

    /// The pages that a source reaches, with their remedies.
    fn rebuild(
        &self,
        shared: &Shared,
        pages: &[PageId],
        elsewhere: &Elsewhere,
        end: Lsn,
        keep_on: &mut dyn FnMut() -> bool,
    ) -> Result<Vec<(Remedy, Page)>> {
        let (pool, log) = (&shared.core.pool, &shared.core.log);
        let sum = |id: &PageId| Some((*id, sum_of(&pool.read_raw(*id).ok()?)));
        let sums = pages.iter().filter_map(sum).collect();
        let mut bases = elsewhere.bases(pages, &sums);
        let written = pool.doublewrite_copies(Lsn::NONE, end)?;
        let written =
            written.into_iter().map(|(_, page)| page).filter(|page| pages.contains(&page.id()));
        bases.extend(written.map(|page| {
            let as_of = page.lsn();
            Base { page, origin: Origin::DoubleWrite, as_of, changes: 0 }
        }));
        let wanted = Wanted { pages, page_size: pool.page_size(), end, sums };
        let mut places = (pages.len() <= MOST_BY_PLACES).then(|| self.places.lock());
        let rebuilt = rebuild(log, &wanted, bases, places.as_deref_mut(), keep_on)?;
        let remedy = |page: PageId, found: &Rebuilt| {
            let (source, place) = match found.origin {
                Origin::Image => (Source::Log, String::new()),
                Origin::DoubleWrite => (Source::DoubleWrite, String::new()),
                Origin::Copy(place) => {
                    let copy = &elsewhere.copies[place];
                    (copy.source, copy.place.clone())
                }
            };
            Remedy { page, source, place, base: found.base, changes: found.changes }
        };
        Ok(rebuilt.into_iter().map(|(id, found)| (remedy(id, &found), found.page)).collect())
    }

    /// Puts the whole page in its frame, and its image in the log.
    fn install(shared: &Shared, place: &mut PageWrite<'_>, page: Page) -> Result<()> {
        place.bytes_mut().copy_from_slice(page.bytes());
        Self::log_image(shared, place)
    }

    fn log_image(shared: &Shared, page: &mut PageWrite<'_>) -> Result<()> {
        let is_fixed = shared.read_only.load(Ordering::Acquire) || shared.core.log.has_failed();
        if is_fixed {
            // Nothing is written any more: the page is right in memory, which is all there is.
            return Ok(());
        }
        let image = page.to_image();
        shared.core.change_page(Author::system(Op::Image), page, &Change::Image { image: &image })
    }

    /// Keeps the bytes of a damaged page; false where that was not possible.
    fn keep_damaged(&self, shared: &Shared, page: &Page, id: PageId) -> bool {
        if shared.read_only.load(Ordering::Acquire) {
            return false;
        }
        let path = format!("{QUARANTINE}/{:010}-{}.page", id.0, crate::events::unix_micros());
        let kept = self.disk.open(&path, OpenMode::Create).and_then(|file| {
            file.write_at(page.bytes(), 0)?;
            file.sync()
        });
        kept.and_then(|()| self.disk.sync_dir(QUARANTINE)).is_ok()
    }

    fn tell_repaired(&self, shared: &Shared, remedy: &Remedy, is_kept: bool, started: Instant) {
        shared.events.push(
            "page_repaired",
            vec![
                ("page", remedy.page.0.into()),
                ("source", remedy.source.name().into()),
                ("changes", remedy.changes.into()),
                ("kept", i64::from(is_kept).into()),
                ("seconds", started.elapsed().as_secs_f64().into()),
            ],
        );
    }

    /// It is whole again, and its readers are told nothing any more.
    fn take_back(&self, id: PageId) {
        self.set_apart.lock().remove(&id);
        self.records.forget(id);
    }

    fn give_up(&self, shared: &Shared, id: PageId, error: Error) -> Error {
        let is_new = self.set_apart.lock().insert(id, error.clone()).is_none();
        if is_new {
            shared.events.push(
                "page_set_apart",
                vec![("page", id.0.into()), ("error", error.to_string().into())],
            );
        }
        if self.on_damage == OnDamage::Halt {
            let halted = Error::new(Code::WritesHalted).with("page_id", id.0);
            shared.halt.begin(halted.because(error.clone()));
        }
        error
    }
}

/// What this thread does about a damaged page that it meets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stance {
    /// As the setting says.
    Mend,
    /// Mends it where it can, and tells nobody where it cannot.
    MendQuietly,
    LookOnly,
}

thread_local! {
    static STANCE: Cell<Stance> = const { Cell::new(Stance::Mend) };
}

fn with_stance<T>(stance: Stance, work: impl FnOnce() -> T) -> T {
    let before = STANCE.replace(stance);
    let done = work();
    STANCE.set(before);
    done
}

/// Runs `work` so that damaged pages which this thread meets stay as they are: for whoever is to
/// find damage rather than mend it.
pub fn looking_only<T>(work: impl FnOnce() -> T) -> T {
    with_stance(Stance::LookOnly, work)
}

/// Runs `work` so that a damaged page which nothing reaches is neither set apart nor told of: for
/// whoever gives it back, and needs nothing of what it held.
pub fn mending_quietly<T>(work: impl FnOnce() -> T) -> T {
    with_stance(Stance::MendQuietly, work)
}

impl Mender for Repairs {
    fn mend(&self, place: &mut PageWrite<'_>, id: PageId, error: Error) -> Result<()> {
        let stance = STANCE.get();
        if stance == Stance::LookOnly {
            return Err(error);
        }
        if let Some(known) = self.set_apart.lock().get(&id) {
            return Err(known.clone());
        }
        let Some(shared) = self.shared.upgrade() else { return Err(error) };
        // Zeros where the next map will be are no page yet: the file grows by many at a time.
        let is_zeroed = error.field("corruption_type") == Some(&"zeroed".into());
        let last_map = map_page_of(PageId(shared.core.pool.file_pages().saturating_sub(1)));
        if is_zeroed && id == last_map {
            return Err(error);
        }
        // Somebody else may be asked for it yet.
        let is_quiet = stance == Stance::MendQuietly || shared.core.pool.may_be_helped(id);
        if self.on_damage == OnDamage::Report {
            return Err(if is_quiet { error } else { self.give_up(&shared, id, error) });
        }
        let started = Instant::now();
        let end = shared.core.log.durable();
        let none = Elsewhere::default();
        let found = self.rebuild(&shared, &[id], &none, end, &mut || true).unwrap_or_default();
        let Some((remedy, page)) = found.into_iter().next() else {
            // A read that failed may succeed the next time; bytes that are wrong stay wrong.
            let may_pass = error.code == Code::IoError;
            return Err(if may_pass || is_quiet { error } else { self.give_up(&shared, id, error) });
        };
        let is_kept = self.keep_damaged(&shared, place, id);
        Self::install(&shared, place, page)?;
        self.tell_repaired(&shared, &remedy, is_kept, started);
        Ok(())
    }
}
