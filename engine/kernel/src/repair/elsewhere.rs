//! Whole copies of pages from elsewhere, and the kept log that brings them up to date.
//!
//! A copy that is older than the log in use is taken through the archive first, up to where the log
//! in use begins; from there on it is a base like any other. A page that is in no copy began later:
//! the archive has it in full. Where log is missing in between, the copy stays as it is, and
//! [`Elsewhere::why`] says what is missing: it may do all the same.

use std::collections::HashMap;

use super::Source;
use super::history::{Base, Origin, State, Sum, pass, sum_of};
use crate::disk::Disk;
use crate::error::{Code, Error, Field, Result};
use crate::log::{Log, LogReader};
use crate::page::Page;
use crate::sync::Arc;
use crate::types::{DatabaseId, Lsn, PageId};

/// A whole page from elsewhere.
pub struct Copy {
    pub page: Page,
    pub source: Source,
    /// Where it lies, for people.
    pub place: String,
    /// Every change of the page before this is in it.
    pub as_of: Lsn,
    /// It is of the history that the database is in. Others count only if they are, bit for bit,
    /// what was written last.
    pub is_own: bool,
    /// Changes that it has got since.
    pub changes: u64,
}

impl Copy {
    fn as_base(&self, place: usize) -> Base {
        let (page, origin) = (self.page.clone(), Origin::Copy(place));
        Base { page, origin, as_of: self.as_of, changes: self.changes }
    }
}

/// The log as it is kept in all places together.
pub struct KeptLog {
    pub disk: Arc<dyn Disk>,
    pub database: DatabaseId,
    /// What is missing in it, in words.
    pub gap: Option<String>,
}

/// What a repair may use beyond the database itself.
#[derive(Default)]
pub struct Elsewhere {
    pub copies: Vec<Copy>,
    pub kept: Option<KeptLog>,
    /// Pages in none of the copies, and the LSN before which none of them began.
    pub unfound: Vec<PageId>,
    pub unfound_from: Option<Lsn>,
    /// Backups that nobody gave the key of, and why they stay closed.
    pub locked: Vec<(String, String)>,
    why: Option<String>,
}

impl Elsewhere {
    /// Where the kept log has to be read from for `copies` and what is in none of them.
    pub fn log_from(&self) -> Option<Lsn> {
        let own = self.copies.iter().filter(|copy| copy.is_own).map(|copy| copy.as_of);
        own.chain(self.unfound_from.filter(|_| !self.unfound.is_empty())).min()
    }

    /// Why copies could not be brought up to date; none where they could.
    pub fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// Brings every copy that is older than `log` up to where that begins, if the kept log reaches.
    /// One pass over the kept log. `keep_on` ends it with `Cancelled`.
    pub fn bring_up_to(
        &mut self,
        log: &Log,
        page_size: usize,
        keep_on: &mut dyn FnMut() -> bool,
    ) -> Result<()> {
        let Some(from) = log.first_entry_from(Lsn::NONE)? else { return Ok(()) };
        let Some(start) = self.log_from().filter(|start| *start < from) else { return Ok(()) };
        self.why = None;
        let Some(kept) = &self.kept else {
            self.why = Some("the log since then is not kept".to_owned());
            return Ok(());
        };
        let mut states = self.old_states(from);
        let read = LogReader::open(Arc::clone(&kept.disk), kept.database, start, Lsn::NONE).and_then(
            |mut reader| {
                reader.stop_at(from);
                pass(&mut reader, &mut states, page_size, keep_on)?;
                Ok(reader.position())
            },
        );
        let gap = kept.gap.as_ref().map(|gap| format!("the kept log has a gap: {gap}"));
        match read {
            Ok(reached) if reached >= from => {
                self.copies = brought(&mut states, std::mem::take(&mut self.copies), from);
                self.take_unfound(&mut states, from);
            }
            Ok(reached) => {
                self.why = gap.or_else(|| Some(format!("the kept log ends at LSN {}", reached.0)));
            }
            Err(error) if matches!(error.code, Code::WalCorrupted | Code::IoError) => {
                self.why = gap.or_else(|| Some(broken(&error)));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Pages that the kept log has in full are copies from now on.
    fn take_unfound(&mut self, states: &mut HashMap<PageId, State>, from: Lsn) {
        let is_left = |id: &PageId| match states.remove(id) {
            Some(State::Known(known)) => {
                let (page, changes) = (sealed(known.page), known.changes);
                let (source, place) = (Source::Archive, String::new());
                self.copies.push(Copy { page, source, place, as_of: from, is_own: true, changes });
                false
            }
            _ => true,
        };
        self.unfound.retain(is_left);
        // What is not in the log up to here is in what follows, or nowhere.
        self.unfound_from = self.unfound_from.map(|_| from);
    }

    /// What the pass over the kept log begins with: the first old copy of each page.
    fn old_states(&self, from: Lsn) -> HashMap<PageId, State> {
        let unknown = self.unfound.iter().map(|id| (*id, State::Unknown));
        let mut states: HashMap<PageId, State> = unknown.collect();
        let old = |(_, copy): &(usize, &Copy)| copy.is_own && copy.as_of < from;
        for (place, copy) in self.copies.iter().enumerate().filter(old) {
            let state = || State::on(copy.as_base(place), true);
            states.entry(copy.page.id()).or_insert_with(state);
        }
        states
    }

    /// The copies as bases for a repair. Those of another history only where `sums`, the checksums
    /// in the pages' places, say that they are what was written last.
    pub(super) fn bases(&self, pages: &[PageId], sums: &HashMap<PageId, Sum>) -> Vec<Base> {
        let mut bases = Vec::new();
        for (place, copy) in self.copies.iter().enumerate() {
            let id = copy.page.id();
            let is_last = || sums.get(&id) == Some(&sum_of(&copy.page));
            if pages.contains(&id) && (copy.is_own || is_last()) {
                bases.push(copy.as_base(place));
            }
        }
        bases
    }

    /// Why the copy of a page does not help, in words; none where there is no copy.
    pub(super) fn reason(&self, id: PageId) -> Option<String> {
        let copy = self.copies.iter().find(|copy| copy.page.id() == id)?;
        let why = match &self.why {
            _ if !copy.is_own => "it is of another history of the database",
            Some(why) => why,
            None => "what the log says of the page does not follow on it",
        };
        Some(format!("{} holds the page, but {why}", copy.place))
    }
}

/// The copies after the kept log was read up to `from`. One whose changes did not follow stays as
/// it was: it may be what was written last all the same.
fn brought(states: &mut HashMap<PageId, State>, copies: Vec<Copy>, from: Lsn) -> Vec<Copy> {
    let each = |copy: Copy| {
        if !copy.is_own || copy.as_of >= from {
            return copy;
        }
        match states.remove(&copy.page.id()) {
            Some(State::Known(known)) => {
                Copy { page: sealed(known.page), as_of: from, changes: known.changes, ..copy }
            }
            _ => copy,
        }
    };
    copies.into_iter().map(each).collect()
}

fn sealed(mut page: Page) -> Page {
    page.seal();
    page
}

fn broken(error: &Error) -> String {
    let text = match error.field("details") {
        Some(Field::Text(text)) => text.as_str(),
        _ => "it cannot be read",
    };
    format!("the kept log is not whole: {text}")
}
