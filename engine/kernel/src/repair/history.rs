//! One page's history: a base, and every change the log has of the page since.
//!
//! A base is a full image in the log, or a whole copy of the page from elsewhere whose LSN lies
//! within the log that is kept. Each change names the LSN that its page had before, so the chain
//! proves itself: a page is rebuilt as of its last change, or not at all. A page that is not in
//! memory was written out, and the log was synced up to its LSN before that: what is durable holds
//! all of its history. (Graefe and Kuno 2012, single-page recovery.)
//!
//! Where log is missing between a base and what is kept (an old copy, a hole that a cut left), the
//! base may lack changes. It counts all the same once one of two things proves that it lacks none:
//! the next change of the page names its LSN, or the checksum that lies in the damaged page's place
//! is that of the page rebuilt: then this very content was written there last.

use std::collections::HashMap;

use crate::error::{Code, Error, Result};
use crate::log::{EntryRef, Log, LogReader};
use crate::page::{Change, EntryMark, Page, PartReader};
use crate::types::{Lsn, PageId};

use super::places::Places;

/// How many entries are read between two looks at whether to go on.
const PACE: u64 = 1024;

/// What a page is rebuilt on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A full image in the log.
    Image,
    DoubleWrite,
    /// A copy from elsewhere: its place in what the caller brought.
    Copy(usize),
}

/// A whole copy of a page to rebuild it on.
pub struct Base {
    pub page: Page,
    pub origin: Origin,
    /// Every change of the page before this is in it.
    pub as_of: Lsn,
    /// Changes that the copy has got since it was made.
    pub changes: u64,
}

/// The first bytes of a page: the hash of all the rest.
pub type Sum = [u8; 16];

/// What is to be rebuilt.
pub struct Wanted<'w> {
    pub pages: &'w [PageId],
    pub page_size: usize,
    /// Where the log ends that counts; it is durable.
    pub end: Lsn,
    /// The checksums that lie in the damaged pages' places.
    pub sums: HashMap<PageId, Sum>,
}

/// A page as its history has it.
pub struct Rebuilt {
    pub page: Page,
    /// Where its base lies: the LSN of the image, or of the copy.
    pub base: Lsn,
    pub origin: Origin,
    /// Changes applied to the base.
    pub changes: u64,
    /// False where log is missing between the base and what was read since.
    is_certain: bool,
}

/// What is known of a page so far.
pub(super) enum State {
    /// No base yet.
    Unknown,
    Known(Rebuilt),
}

impl State {
    /// Begins with `base`, from which on all log is read if `is_certain`.
    pub(super) fn on(base: Base, is_certain: bool) -> State {
        let Base { page, origin, changes, .. } = base;
        State::Known(Rebuilt { base: page.lsn(), page, origin, changes, is_certain })
    }
}

/// Rebuilds `wanted` from the durable log and `bases`, whole copies of some of them. A page whose
/// history is not all there is absent from the answer. One pass over the log that is kept; with
/// `places`, one over what they do not know yet, and then the entries they name.
///
/// Takes no latch and no lock; pages in memory are not looked at. `keep_on` is asked between
/// entries and ends the pass with `Cancelled`.
pub fn rebuild(
    log: &Log,
    wanted: &Wanted<'_>,
    mut bases: Vec<Base>,
    places: Option<&mut Places>,
    keep_on: &mut dyn FnMut() -> bool,
) -> Result<HashMap<PageId, Rebuilt>> {
    let Some(from) = log.first_entry_from(Lsn::NONE)? else { return Ok(HashMap::new()) };
    let mut states: HashMap<PageId, State> =
        wanted.pages.iter().map(|id| (*id, State::Unknown)).collect();
    // Of several bases of a page the last one stays.
    bases.sort_by_key(|base| (base.as_of >= from, base.page.lsn()));
    for base in bases.into_iter().filter(|base| base.page.lsn() <= wanted.end) {
        // What was written after an older copy may be gone from the log.
        let is_certain = base.as_of >= from;
        states.insert(base.page.id(), State::on(base, is_certain));
    }
    if let Some(places) = places
        && places.bring_up_to(log, from, wanted.end, keep_on)?
    {
        let each = |entry: &EntryRef<'_>| take(entry, &mut states, wanted.page_size);
        places.read(log, wanted.pages, (from, wanted.end), keep_on, each)?;
        return Ok(all_finished(states, wanted));
    }
    let mut from = from;
    loop {
        let mut reader = log.reader(from)?;
        reader.stop_at(wanted.end);
        let broken = match pass(&mut reader, &mut states, wanted.page_size, keep_on) {
            Ok(()) => break,
            Err(error) if error.code == Code::WalCorrupted => error,
            Err(error) => return Err(error),
        };
        // Where the log was cut, entries begin again above the hole. What is known so far counts
        // only if what follows proves it.
        from = match log.first_entry_from(reader.position().plus(1))? {
            Some(next) if next < wanted.end => next,
            _ => return Err(broken),
        };
        for state in states.values_mut() {
            if let State::Known(known) = state {
                known.is_certain = false;
            }
        }
    }
    Ok(all_finished(states, wanted))
}

/// Takes all that `reader` gives.
pub(super) fn pass(
    reader: &mut LogReader,
    states: &mut HashMap<PageId, State>,
    page_size: usize,
    keep_on: &mut dyn FnMut() -> bool,
) -> Result<()> {
    let mut entries = 0u64;
    while let Some(entry) = reader.next()? {
        entries += 1;
        if entries.is_multiple_of(PACE) && !keep_on() {
            return Err(Error::new(Code::Cancelled));
        }
        if entry.header.op.changes_pages() {
            take(&entry, states, page_size)?;
        }
    }
    Ok(())
}

fn all_finished(states: HashMap<PageId, State>, wanted: &Wanted<'_>) -> HashMap<PageId, Rebuilt> {
    let finished = |(id, state)| {
        let State::Known(mut rebuilt) = state else { return None };
        rebuilt.page.seal();
        rebuilt.page.validate(id, wanted.end).ok()?;
        let is_proven = rebuilt.is_certain || wanted.sums.get(&id) == Some(&sum_of(&rebuilt.page));
        is_proven.then_some((id, rebuilt))
    };
    states.into_iter().filter_map(finished).collect()
}

/// The checksum that a page says it has.
pub fn sum_of(page: &Page) -> Sum {
    let mut sum = Sum::default();
    sum.copy_from_slice(&page.bytes()[..16]);
    sum
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
            Ok(()) => {
                let origin = Origin::Image;
                State::Known(Rebuilt { page, base: mark.lsn, origin, changes: 0, is_certain: true })
            }
            Err(_) => State::Unknown,
        };
        return;
    }
    let State::Known(known) = state else { return };
    // A further change of the same entry comes with the LSN the page had before the first.
    let follows = known.page.lsn() == previous || known.page.lsn() == mark.end;
    if follows && known.page.apply(change, mark).is_ok() {
        known.changes += 1;
        // It names the LSN that the page had: nothing lies between the two.
        known.is_certain = true;
    } else {
        *state = State::Unknown;
    }
}
