//! One redo worker: it holds its pages for as long as their share lasts, changes them, and writes
//! them out.
//!
//! An entry may change one page more than once (a space map loses several runs of pages). Such
//! parts are applied as one: the page LSN can only say that all of them are there. What an entry
//! does to one page ([`redo_page`]) is the same where pages are redone on demand.

use std::collections::hash_map::Entry;

use super::redo::Redo;
use crate::buffer::{PageMap, Pool, Redone};
use crate::error::{Code, Error, Result};
use crate::log::EntryHeader;
use crate::memory;
use crate::page::{Change, EntryMark, Page, Part, PartReader};
use crate::types::{Lsn, PageId};

/// What memory is asked for.
const OPERATION: &str = "redo pages";

#[derive(Default)]
pub(super) struct Worked {
    /// Entries that were read for a page.
    pub records: u64,
    pub applied: u64,
    pub skipped: u64,
    /// Pages that changed.
    pub pages: u64,
    /// Pages that were written out, with their page LSNs.
    pub written: Vec<(PageId, Lsn)>,
    /// Pages that could be neither read nor rebuilt, with the reason.
    pub damaged: Vec<(PageId, Error)>,
}

/// A page of the share.
struct Held<'p> {
    redone: Redone<'p>,
    is_changed: bool,
}

pub(super) struct Replay<'p> {
    pool: &'p Pool,
    is_lenient: bool,
    pages: PageMap<Held<'p>>,
    damaged: PageMap<Error>,
    worked: Worked,
}

impl<'p> Replay<'p> {
    pub fn new(redo: &Redo<'p>) -> Replay<'p> {
        let (pages, damaged) = (PageMap::default(), PageMap::default());
        let (pool, is_lenient) = (redo.pool, redo.is_lenient);
        Replay { pool, is_lenient, pages, damaged, worked: Worked::default() }
    }

    /// What was done, once everything is written out.
    pub fn end(self) -> Worked {
        Worked { damaged: self.damaged.into_iter().collect(), ..self.worked }
    }

    /// Redoes what an entry does to the pages of which `is_ours` says so.
    pub fn take(
        &mut self,
        entry: &EntryHeader,
        body: &[u8],
        is_ours: impl Fn(PageId) -> bool,
    ) -> Result<()> {
        self.worked.records += 1;
        each_page(entry, body, is_ours, |mark, changes| self.redo(mark, changes))
    }

    /// Applies the changes of one entry to one page, held from now on. A page that cannot be read,
    /// and that no image in the log rebuilds, is told as damaged.
    fn redo(&mut self, mark: EntryMark, changes: &[Part<'_>]) -> Result<()> {
        let id = changes[0].page;
        let is_image = is_image(changes);
        if !is_image && !self.damaged.is_empty() && self.damaged.contains_key(&id) {
            return Ok(());
        }
        let Replay { pool, pages, damaged, worked, .. } = self;
        let held = match hold(pool, pages, id, is_image) {
            Ok(held) => held,
            // Where the log has its image later on, nobody needs what could not be read.
            Err(error) if error.is_page_damage() || error.code == Code::PageNotFound => {
                damaged.insert(id, error);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        // Also where it has the changes: what the system's cache shows after a failed sync need
        // not be on the medium, so every page of the dirty page table is written out again.
        held.redone.page.begin_redo(mark.lsn);
        let mut damage = damaged.remove(&id);
        match redo_page(&mut held.redone.page, mark, changes, &mut damage) {
            Effect::Skipped => worked.skipped += changes.len() as u64,
            Effect::Applied => {
                worked.applied += changes.len() as u64;
                worked.pages += u64::from(!held.is_changed);
                held.is_changed = true;
            }
            Effect::Lost => {}
        }
        damaged.extend(damage.map(|error| (id, error)));
        Ok(())
    }

    /// Pages at hand.
    pub fn held(&self) -> usize {
        self.pages.len()
    }

    /// Writes the pages at hand to their places and lets them go. Damaged ones stay as they were,
    /// unless all is wanted that redo can give.
    pub fn write_out(&mut self) -> Result<()> {
        let mut pages = self.room()?;
        pages.extend(self.pages.drain().map(|(_, held)| held.redone));
        self.write(pages)
    }

    /// As [`Replay::write_out`], for pages that can go one by one. Those that need a double-write
    /// copy stay until there are many, for each batch of copies costs two syncs.
    pub fn write_out_rebuilt(&mut self) -> Result<()> {
        let mut pages = self.room()?;
        let rebuilt = self.pages.extract_if(|_, held| held.redone.is_rebuilt);
        pages.extend(rebuilt.map(|(_, held)| held.redone));
        self.write(pages)
    }

    /// For all pages at hand.
    fn room(&self) -> Result<Vec<Redone<'p>>> {
        let mut pages = Vec::new();
        memory::reserve(&mut pages, self.pages.len(), OPERATION)?;
        Ok(pages)
    }

    fn write(&mut self, mut pages: Vec<Redone<'p>>) -> Result<()> {
        let is_lost =
            |redone: &mut Redone<'_>| !self.is_lenient && self.damaged.contains_key(&redone.id);
        pages.extract_if(.., is_lost).for_each(|redone| self.pool.discard_redone(redone));
        memory::grow(&mut self.worked.written, pages.len(), OPERATION)?;
        self.worked.written.extend(pages.iter().map(|redone| (redone.id, redone.page.lsn())));
        self.pool.write_redone(pages)
    }
}

fn is_image(changes: &[Part<'_>]) -> bool {
    matches!(changes[0].change, Change::Image { .. })
}

/// Gives `each` the changes that an entry makes, by page, those of one page together whatever lies
/// between them, for the pages of which `is_ours` says so.
pub(super) fn each_page(
    entry: &EntryHeader,
    body: &[u8],
    is_ours: impl Fn(PageId) -> bool,
    mut each: impl FnMut(EntryMark, &[Part<'_>]) -> Result<()>,
) -> Result<()> {
    let mark = EntryMark { txn: entry.txn, lsn: entry.lsn, end: entry.end() };
    let mut parts = PartReader::new(body)?;
    let mut next = || -> Result<Option<Part<'_>>> {
        while let Some((page, previous, change)) = parts.next_raw()? {
            if is_ours(page) {
                let change = PartReader::decode_change(change)?;
                return Ok(Some(Part { page, previous, change }));
            }
        }
        Ok(None)
    };
    let Some(first) = next()? else { return Ok(()) };
    let Some(second) = next()? else { return each(mark, &[first]) };
    let mut changes = vec![first, second];
    while let Some(more) = next()? {
        changes.push(more);
    }
    // Stable: the changes of one page stay in their order.
    changes.sort_by_key(|part| part.page);
    changes.chunk_by(|a, b| a.page == b.page).try_for_each(|changes| each(mark, changes))
}

/// What redoing an entry did to a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The page has the changes.
    Skipped,
    Applied,
    /// The page is damaged: the changes did not fit, or were not tried.
    Lost,
}

/// Applies the changes that one entry makes to one page, unless the page has them already.
///
/// A page that lacks an earlier change, or that a change did not fit, is damaged from there on, as
/// is one that begins with `damage`; the next full image of it makes it whole.
pub(super) fn redo_page(
    page: &mut Page,
    mark: EntryMark,
    changes: &[Part<'_>],
    damage: &mut Option<Error>,
) -> Effect {
    let (id, previous) = (changes[0].page, changes[0].previous);
    let is_image = is_image(changes);
    if damage.is_some() {
        if !is_image {
            return Effect::Lost;
        }
        page.bytes_mut().fill(0);
    }
    if page.lsn() >= mark.end {
        return Effect::Skipped;
    }
    if !is_image && page.lsn() != previous {
        let has = page.lsn();
        let why = format!("its last change is of LSN {has}; the one up to {previous} never reached it");
        let error = Error::new(Code::PageDamaged).with("page_id", id.0);
        *damage = Some(error.with("tree", i64::from(page.tree().0)).with("detail", why));
        return Effect::Lost;
    }
    match changes.iter().try_for_each(|part| page.redo(id, &part.change, mark)) {
        Ok(()) => {
            if is_image {
                *damage = None;
            }
            Effect::Applied
        }
        Err(error) => {
            *damage = Some(error);
            Effect::Lost
        }
    }
}

/// The page, held from now on. The first entry of a page is often its image: then what the file
/// has is not even read.
fn hold<'h, 'p>(
    pool: &'p Pool,
    pages: &'h mut PageMap<Held<'p>>,
    id: PageId,
    is_image: bool,
) -> Result<&'h mut Held<'p>> {
    memory::widen(pages, OPERATION)?;
    let vacant = match pages.entry(id) {
        Entry::Occupied(held) => return Ok(held.into_mut()),
        Entry::Vacant(vacant) => vacant,
    };
    let page = if is_image { pool.fresh(id)? } else { pool.write(id)? };
    let redone = Redone { id, page, is_rebuilt: is_image };
    Ok(vacant.insert(Held { redone, is_changed: false }))
}
