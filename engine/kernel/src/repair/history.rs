//! One page's history: a base, and every change the log has of the page since.
//!
//! A base is a full image in the log, or a whole copy of the page from elsewhere whose LSN lies
//! within the log that is kept. Each change names the LSN that its page had before, so the chain
//! proves itself: a page is rebuilt as of its last change, or not at all. A page that is not in
//! memory was written out, and the log was synced up to its LSN before that: what is durable holds
//! all of its history. (Graefe and Kuno 2012, single-page recovery.)

use std::collections::HashMap;

use crate::error::{Code, Error, Result};
use crate::log::{EntryRef, Log};
use crate::page::{Change, EntryMark, Page, PartReader};
use crate::types::{Lsn, PageId};

use super::places::Places;

/// How many entries are read between two looks at whether to go on.
const PACE: u64 = 1024;

/// A page as its history has it.
pub struct Rebuilt {
    pub page: Page,
    /// Where its base lies: the LSN of the image, or of the copy.
    pub base: Lsn,
    /// Whether the base is an image in the log.
    pub from_image: bool,
    /// Changes applied to the base.
    pub changes: u64,
}

/// What is known of a page so far.
enum State {
    /// No base yet.
    Unknown,
    Known(Rebuilt),
}

/// Rebuilds `wanted` from the durable log up to `end` and `bases`, whole copies of some of them. A
/// page whose history is not all there is absent from the answer. One pass over the log that is
/// kept; with `places`, one over what they do not know yet, and then the entries they name.
///
/// Takes no latch and no lock; pages in memory are not looked at. `keep_on` is asked between
/// entries and ends the pass with `Cancelled`.
pub fn rebuild(
    log: &Log,
    page_size: usize,
    wanted: &[PageId],
    bases: Vec<Page>,
    places: Option<&mut Places>,
    end: Lsn,
    keep_on: &mut dyn FnMut() -> bool,
) -> Result<HashMap<PageId, Rebuilt>> {
    let Some(from) = log.first_entry_from(Lsn::NONE)? else { return Ok(HashMap::new()) };
    let mut states: HashMap<PageId, State> = wanted.iter().map(|id| (*id, State::Unknown)).collect();
    for page in bases {
        // What was written after an older copy may be gone from the log.
        if page.lsn() >= from && page.lsn() <= end {
            let (id, base) = (page.id(), page.lsn());
            states.insert(id, State::Known(Rebuilt { page, base, from_image: false, changes: 0 }));
        }
    }
    if let Some(places) = places
        && places.bring_up_to(log, from, end, keep_on)?
    {
        let each = |entry: &EntryRef<'_>| take(entry, &mut states, page_size);
        places.read(log, wanted, (from, end), keep_on, each)?;
        return Ok(all_finished(states, end));
    }
    let mut reader = log.reader(from)?;
    reader.stop_at(end);
    let mut entries = 0u64;
    while let Some(entry) = reader.next()? {
        entries += 1;
        if entries.is_multiple_of(PACE) && !keep_on() {
            return Err(Error::new(Code::Cancelled));
        }
        if entry.header.op.changes_pages() {
            take(&entry, &mut states, page_size)?;
        }
    }
    Ok(all_finished(states, end))
}

fn all_finished(states: HashMap<PageId, State>, end: Lsn) -> HashMap<PageId, Rebuilt> {
    states.into_iter().filter_map(|(id, state)| finished(id, state, end)).collect()
}

fn take(entry: &EntryRef<'_>, states: &mut HashMap<PageId, State>, page_size: usize) -> Result<()> {
    let mark = EntryMark { txn: entry.header.txn, lsn: entry.header.lsn, end: entry.header.end() };
    let mut parts = PartReader::new(entry.body)?;
    while let Some((id, previous, change)) = parts.next_raw()? {
        if let Some(state) = states.get_mut(&id) {
            let change = PartReader::decode_change(change)?;
            advance(state, previous, &change, mark, page_size);
        }
    }
    Ok(())
}

/// Takes one change into account. What does not fit ends what was known: a later image may begin anew.
fn advance(state: &mut State, previous: Lsn, change: &Change<'_>, mark: EntryMark, page_size: usize) {
    if let State::Known(known) = state
        && known.base >= mark.end
    {
        // The copy that is the base has it already.
        return;
    }
    if let Change::Image { .. } = change {
        let mut page = Page::zeroed(page_size);
        *state = match page.apply(change, mark) {
            Ok(()) => State::Known(Rebuilt { page, base: mark.lsn, from_image: true, changes: 0 }),
            Err(_) => State::Unknown,
        };
        return;
    }
    let State::Known(known) = state else { return };
    // A further change of the same entry comes with the LSN the page had before the first.
    let follows = known.page.lsn() == previous || known.page.lsn() == mark.end;
    if follows && known.page.apply(change, mark).is_ok() {
        known.changes += 1;
    } else {
        *state = State::Unknown;
    }
}

/// The page, sealed, if it holds what a page of that number must.
fn finished(id: PageId, state: State, end: Lsn) -> Option<(PageId, Rebuilt)> {
    let State::Known(mut rebuilt) = state else { return None };
    rebuilt.page.seal();
    rebuilt.page.validate(id, end).ok()?;
    Some((id, rebuilt))
}
