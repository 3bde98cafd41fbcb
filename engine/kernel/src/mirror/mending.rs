//! Damaged pages: of the mirror, taken from the database; of the database, taken from the mirror.
//!
//! A page of the mirror may be as new as the mirror's log, and no newer. So the database's page,
//! which may be in any state since, goes over after the log up to its LSN has; redo skips what the
//! page has already. A page of the database is the mirror's, brought up to date from the log; where
//! the mirror's pages are older than the log that the database keeps, the mirror's own log, which
//! reaches back to where its redo would begin, takes it there first.

use std::path::Path;
use std::time::Duration;

use super::ends::log_end;
use super::follower::{Follower, Phase};
use super::incomplete;
use super::mirrors::Mirrors;
use super::standing::{Role, Standing};
use crate::backup::current::page_now;
use crate::control::Control;
use crate::disk::os::OsDisk;
use crate::disk::{Disk, File, OpenMode};
use crate::error::{Code, Result};
use crate::log::Log;
use crate::page::Page;
use crate::recovery::{DATA_PATH, Progress};
use crate::repair::{Copy, Elsewhere, Helper, KeptLog, Lacking, Source};
use crate::sync::{Arc, MutexGuard, sleep};
use crate::types::{Lsn, PageId};

/// Pages that are held in memory at once.
const BATCH: usize = 256;
/// How often somebody who needs pages of a mirror looks whether they are being written, and between.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(50);

/// The pages of a mirror, while nobody writes them.
struct Pages {
    file: Arc<dyn File>,
    size: usize,
    /// Every change before is in each of them.
    as_of: Lsn,
    shipped: Lsn,
}

impl Pages {
    /// Whole copies of `ids`, brought up to where `log` begins; the mirror's own log, at `place`, for
    /// what is older.
    fn copies(
        &self,
        ids: &[PageId],
        (disk, place): (&Arc<dyn Disk>, &str),
        log: &Log,
        progress: &Progress,
    ) -> Result<Elsewhere> {
        let (disk, database) = (Arc::clone(disk), log.database());
        let mut found = Elsewhere::default();
        found.kept = Some(KeptLog { disk, database, gap: None });
        found.unfound_from = Some(self.as_of);
        for id in ids {
            match self.read(*id) {
                Ok(page) => found.copies.push(Copy {
                    as_of: self.as_of.max(page.lsn()),
                    page,
                    source: Source::Mirror,
                    place: place.to_owned(),
                    is_own: true,
                    changes: 0,
                }),
                Err(error) if error.is_page_damage() => found.unfound.push(*id),
                Err(error) => return Err(error),
            }
        }
        found.bring_up_to(log, self.size, &mut || !progress.is_cancelled())?;
        for copy in found.copies.iter_mut().filter(|copy| copy.source == Source::Archive) {
            // The mirror's log has the page in full.
            (copy.source, copy.place) = (Source::Mirror, place.to_owned());
        }
        Ok(found)
    }

    fn read(&self, id: PageId) -> Result<Page> {
        let mut page = Page::zeroed(self.size);
        let at = u64::from(id.0) * self.size as u64;
        let read = self.file.read_at(page.bytes_mut(), at)?;
        page.bytes_mut()[read..].fill(0);
        page.validate(id, self.shipped).map(|()| page)
    }
}

impl Follower {
    /// Reads the log and every page of the mirror, and puts what the database has in the place of
    /// what is damaged; returns the pages. The database and the mirror are in use meanwhile.
    ///
    /// `MirrorIncomplete` where the mirror does not follow; the page's own error where the database
    /// has it no more either. Pages that were put in place stay after an error, each durable or
    /// still damaged.
    pub fn mend(&self, progress: &Progress) -> Result<u64> {
        self.look_at_log()?;
        self.step()?;
        let (damaged, copies) = {
            let _turn = self.pages.lock();
            (self.damaged(progress)?, self.copies_made())
        };
        let mut count = 0;
        for batch in damaged.chunks(BATCH) {
            progress.ensure_going()?;
            let (mut pages, newest) = self.of_the_database(batch)?;
            self.source.shared.core.log.flush_to(newest)?;
            self.step()?;
            let _turn = self.pages.lock();
            let now = self.pages_now()?;
            if self.copies_made() != copies || now.shipped < newest {
                return Err(incomplete("it was lost while it was mended"));
            }
            // Somebody else may have mended one, and redo gone on with it.
            pages.retain(|(id, _)| now.read(*id).is_err());
            put(&*self.target, &pages, now.size)?;
            count += pages.len() as u64;
        }
        if count > 0 {
            self.facts.lock().mended += count;
            self.tell("mirror_mended", vec![("pages", count.into())]);
        }
        Ok(count)
    }

    fn copies_made(&self) -> u64 {
        self.facts.lock().copies
    }

    /// The pages, for a caller that holds their turn.
    fn pages_now(&self) -> Result<Pages> {
        let facts = self.facts.lock();
        let (phase, shipped, redone) = (facts.phase, facts.shipped, facts.redone);
        drop(facts);
        if phase != Phase::Following {
            return Err(incomplete("it cannot be reached, or is being copied"));
        }
        let control = Control::read(&*self.target)?;
        let file = self.target.open(DATA_PATH, OpenMode::Read)?;
        let size = self.source.shared.core.pool.page_size();
        Ok(Pages { file, size, as_of: control.redo_lsn.max(redone), shipped })
    }

    fn damaged(&self, progress: &Progress) -> Result<Vec<PageId>> {
        let pages = self.pages_now()?;
        let count = pages.file.size()?.div_ceil(pages.size as u64);
        progress.begin("pages of the mirror", "pages", count);
        let mut damaged = Vec::new();
        for id in (0..count as u32).map(PageId) {
            progress.ensure_going()?;
            if let Err(error) = pages.read(id) {
                if !error.is_page_damage() {
                    return Err(error);
                }
                let is_zeroed = error.field("corruption_type") == Some(&"zeroed".into());
                if !is_zeroed || self.is_lost(id, pages.as_of)? {
                    damaged.push(id);
                }
            }
            progress.add(1);
        }
        Ok(damaged)
    }

    /// Zeros are where nothing was written yet; they are damage where the database wrote its page
    /// before what the mirror's pages have.
    fn is_lost(&self, id: PageId, as_of: Lsn) -> Result<bool> {
        Ok(page_now(&self.source.shared, id)?.is_some_and(|page| page.lsn() < as_of))
    }

    /// The database's pages, and the newest LSN among them.
    fn of_the_database(&self, ids: &[PageId]) -> Result<(Vec<(PageId, Page)>, Lsn)> {
        let shared = &self.source.shared;
        let (mut pages, mut newest) = (Vec::new(), Lsn::NONE);
        for id in ids {
            // One that the database never wrote is not read by redo either, before it is made.
            let page =
                page_now(shared, *id)?.unwrap_or_else(|| Page::zeroed(shared.core.pool.page_size()));
            newest = newest.max(page.lsn());
            pages.push((*id, page));
        }
        Ok((pages, newest))
    }

    /// The turn of its pages, unless somebody writes them for long: a disk may keep them for ever.
    fn quiet_pages(&self) -> Option<MutexGuard<'_, ()>> {
        (0..TRIES).find_map(|attempt| {
            if attempt > 0 {
                sleep(PAUSE);
            }
            self.pages.try_lock()
        })
    }

    /// Whole copies of `pages`, brought up to where the database's log begins; the mirror's own log
    /// for what is older. `MirrorIncomplete` where it does not follow, or its pages are being written.
    fn copies(&self, pages: &[PageId], progress: &Progress) -> Result<Elsewhere> {
        let Some(_turn) = self.quiet_pages() else {
            return Err(incomplete("its pages are being brought up to date: try again"));
        };
        let log = &self.source.shared.core.log;
        self.pages_now()?.copies(pages, (&self.target, &self.path), log, progress)
    }
}

/// The mirrors of a database that is being recovered: nobody keeps them meanwhile, or it is open
/// already, and what is written there at this moment does not pass for whole.
pub struct FromMirrors(pub Vec<(String, Arc<dyn Disk>)>);

impl FromMirrors {
    /// Those that the database in `directory` knows of; none where that cannot be read.
    pub fn of(directory: &Path) -> FromMirrors {
        let mine = Standing::read(&OsDisk::new(directory)).ok().flatten();
        let known = mine.map(|mine| mine.mirrors).unwrap_or_default();
        // Of others the database has gone back, or they have no whole copy.
        let whole = known.into_iter().filter(|known| !known.hold.is_none());
        FromMirrors(
            whole
                .map(|known| -> (String, Arc<dyn Disk>) {
                    (known.path.clone(), Arc::new(OsDisk::new(Path::new(&known.path))))
                })
                .collect(),
        )
    }

    fn copies_in(
        lacking: &Lacking<'_>,
        left: &[PageId],
        (place, disk): (&str, &Arc<dyn Disk>),
    ) -> Result<Elsewhere> {
        let epoch = Standing::read(&**lacking.disk)?.map_or(1, |mine| mine.epoch);
        let theirs = Standing::read(&**disk)?.ok_or_else(|| incomplete("it is no mirror"))?;
        let is_ours = theirs.role == Role::Mirror && theirs.database == lacking.database;
        let control = Control::read(&**disk)?;
        if !is_ours || theirs.epoch != epoch || control.page_size as usize != lacking.page_size {
            return Err(incomplete("it is no mirror of this database"));
        }
        let from = Pages {
            file: disk.open(DATA_PATH, OpenMode::Read)?,
            size: lacking.page_size,
            // Of a page that has nothing from beyond the end, nothing is missing before it.
            as_of: control.redo_lsn.min(lacking.end),
            shipped: log_end(disk, None)?.at.min(lacking.end),
        };
        from.copies(left, (disk, place), lacking.log, lacking.progress)
    }
}

impl Helper for FromMirrors {
    fn copies(&self, lacking: &Lacking<'_>) -> Result<Elsewhere> {
        let mut all = Elsewhere::default();
        let mut left = lacking.pages.to_vec();
        for (place, disk) in &self.0 {
            if left.is_empty() {
                break;
            }
            match Self::copies_in(lacking, &left, (place, disk)) {
                Ok(found) => {
                    left.retain(|id| found.copies.iter().all(|copy| copy.page.id() != *id));
                    all.copies.extend(found.copies);
                    all.kept = all.kept.or(found.kept);
                }
                Err(error) if lacking.progress.is_cancelled() => return Err(error),
                Err(_) => {}
            }
        }
        Ok(all)
    }
}

/// Whole copies of `pages` of the database from its mirrors, the one that lacks least first. Pages
/// that no mirror has are left out, and so are mirrors that cannot be reached.
pub fn copies_of(mirrors: &Mirrors, pages: &[PageId], progress: &Progress) -> Result<Elsewhere> {
    let mut all = Elsewhere::default();
    let mut left = pages.to_vec();
    let mut followers: Vec<_> = mirrors.followers().into_iter().map(|f| (f.status(), f)).collect();
    followers.sort_by_key(|(status, _)| (!status.is_in_step, status.lag_bytes));
    for (_, follower) in followers {
        if left.is_empty() {
            break;
        }
        match follower.copies(&left, progress) {
            Ok(found) => {
                left.retain(|id| found.copies.iter().all(|copy| copy.page.id() != *id));
                all.copies.extend(found.copies);
                all.kept = all.kept.or(found.kept);
            }
            Err(error) if error.code == Code::Cancelled && progress.is_cancelled() => return Err(error),
            Err(_) => {}
        }
    }
    Ok(all)
}

/// Writes whole pages to their places; durable on return.
fn put(target: &dyn Disk, pages: &[(PageId, Page)], size: usize) -> Result<()> {
    let file = target.open(DATA_PATH, OpenMode::Write)?;
    for (id, page) in pages {
        file.write_at(page.bytes(), u64::from(id.0) * size as u64)?;
    }
    file.sync()
}
