//! Pool, log and space map together: what trees and transactions are made on.

use crate::sync::{AtomicU64, Ordering};
use std::cell::RefCell;
use std::sync::Arc;

use crate::buffer::{PageWrite, Pool};
use crate::error::{Code, Result};
use crate::log::{Log, NewEntry, Op, Span};
use crate::page::{Change, EntryMark, Page, Part, encode_image, encode_parts};
use crate::space::Space;
use crate::types::{Lsn, PageId, TreeId, TxnId};

/// The root page of the catalogue, fixed.
pub const CATALOGUE_ROOT: PageId = PageId(2);
pub const CATALOGUE: TreeId = TreeId(1);

pub struct Core {
    pub pool: Arc<Pool>,
    pub log: Arc<Log>,
    pub space: Space,
    /// After so many changes of a page its full image goes into the log, which bounds how far
    /// back the repair of one page has to read.
    pub image_every: u16,
    /// The last checkpoint, or the opening: an inner page with an older image is logged in full with its
    /// next change. So a log that is cut rebuilds it, also where it was written after the cut.
    pub images_since: AtomicU64,
    /// Pages of trees split since the store was opened.
    pub splits: AtomicU64,
}

/// Who appends an entry, where its transaction's chain stood before, and the log space that its
/// undo needs or, for an undo, takes back.
#[derive(Clone, Copy)]
pub struct Author {
    pub txn: TxnId,
    pub op: Op,
    pub previous: Lsn,
    pub reserve_undo: u64,
    pub use_undo: u64,
}

impl Author {
    pub fn new(txn: TxnId, op: Op, previous: Lsn) -> Author {
        Author { txn, op, previous, reserve_undo: 0, use_undo: 0 }
    }

    /// A redo-only step of the store's own.
    pub fn system(op: Op) -> Author {
        Author::new(TxnId::SYSTEM, op, Lsn::NONE)
    }

    pub fn entry<'a>(&self, body: &'a [&'a [u8]]) -> NewEntry<'a> {
        NewEntry {
            reserve_undo: self.reserve_undo,
            use_undo: self.use_undo,
            ..NewEntry::new(self.txn, self.op, self.previous, body)
        }
    }
}

thread_local! {
    static BODY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn mark(txn: TxnId, span: Span) -> EntryMark {
    EntryMark { txn, lsn: span.lsn, end: span.end }
}

impl Core {
    /// Appends one entry of page changes. The pages are latched for change by the caller, who
    /// has called `begin_change` on each and applies the changes after.
    pub fn append(
        &self,
        author: Author,
        tree: TreeId,
        parts: &[Part<'_>],
        extra: &[u8],
    ) -> Result<EntryMark> {
        self.append_with(author, tree, parts, extra, |_| {})
    }

    /// As [`Core::append`]; `under` runs under the log's mutex.
    pub fn append_with(
        &self,
        author: Author,
        tree: TreeId,
        parts: &[Part<'_>],
        extra: &[u8],
        under: impl FnOnce(Span),
    ) -> Result<EntryMark> {
        let span = BODY.with_borrow_mut(|body| {
            encode_parts(body, tree, parts);
            self.log.append(&author.entry(&[body, extra]), under)
        })?;
        Ok(mark(author.txn, span))
    }

    /// As [`Core::append_with`], but `None` where something would have to be waited for.
    pub fn try_append_with(
        &self,
        author: Author,
        tree: TreeId,
        parts: &[Part<'_>],
        under: impl FnOnce(Span),
    ) -> Option<Result<EntryMark>> {
        BODY.with_borrow_mut(|body| {
            encode_parts(body, tree, parts);
            self.log.try_append(&author.entry(&[body]), under)
        })
        .map(|span| span.map(|span| mark(author.txn, span)))
    }

    /// Appends an entry with all of `page`, which has been made outside of the cache, and puts it
    /// into its `place`, which had the LSN `previous`; `page` is left with what was there. `under`
    /// runs under the log's mutex.
    pub fn put_page(
        &self,
        author: Author,
        (place, previous): (&mut PageWrite<'_>, Lsn),
        page: &mut Page,
        under: impl FnOnce(Span),
    ) -> Result<()> {
        place.begin_change();
        let span = BODY.with_borrow_mut(|body| {
            let pieces = encode_image(body, page, previous);
            self.log.append(&author.entry(&[body, pieces.head, pieces.heap]), under)
        })?;
        place.take_image(page, mark(author.txn, span));
        Ok(())
    }

    /// Appends an entry that changes one page, and applies it.
    pub fn change_page(
        &self,
        author: Author,
        page: &mut PageWrite<'_>,
        change: &Change<'_>,
    ) -> Result<()> {
        page.begin_change();
        let entry = self.append(author, page.tree(), &[page.part(*change)], &[])?;
        page.apply(change, entry)
    }

    /// True where so much has been changed since the page's last image that somebody has to wait for a new one.
    pub fn is_image_overdue(&self, page: &Page) -> bool {
        page.changes_since_image() >= self.image_every.saturating_mul(2)
    }

    /// True where the page's last image in the log has become old.
    fn needs_image(&self, page: &Page) -> bool {
        let is_inner = page.level() > 0;
        page.changes_since_image() >= self.image_every
            || (is_inner && page.image_lsn().0 < self.images_since.load(Ordering::Relaxed))
    }

    /// Logs the page in full where its last image has become old.
    ///
    /// Where the log has no room for it, the next change of the page tries again: a change that is
    /// made must not be told as failed, nor an undo be held up, for want of an image.
    pub fn renew_image(&self, page: &mut PageWrite<'_>) -> Result<()> {
        self.renew_image_by(page, |entry| self.log.append_if_room(entry))
    }

    /// As [`Core::renew_image`]; where something would have to be waited for, the next change tries again.
    pub fn try_renew_image(&self, page: &mut PageWrite<'_>) -> Result<()> {
        self.renew_image_by(page, |entry| match self.log.try_append(entry, |_| {}).transpose() {
            Err(error) if error.code == Code::OutOfMemory => Ok(None),
            appended => appended,
        })
    }

    fn renew_image_by(
        &self,
        page: &mut PageWrite<'_>,
        append: impl FnOnce(&NewEntry<'_>) -> Result<Option<Span>>,
    ) -> Result<()> {
        if !self.needs_image(page) {
            return Ok(());
        }
        let image = page.to_image();
        let change = Change::Image { image: &image };
        page.begin_change();
        let author = Author::system(Op::Image);
        let span = BODY.with_borrow_mut(|body| {
            encode_parts(body, page.tree(), &[page.part(change)]);
            append(&author.entry(&[body]))
        })?;
        span.map_or(Ok(()), |span| page.apply(&change, mark(author.txn, span)))
    }
}
