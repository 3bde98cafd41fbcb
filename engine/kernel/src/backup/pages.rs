//! The pages of a backup and of those it adds to, merged in one pass.
//!
//! ```text
//! pages.zst   zstd of: magic 8 | page size u32 | { page id u32, page } ... | NONE, count u32
//! kept.zst    zstd of: magic 8 | { page id u32, page LSN u64 } ... | NONE, count u32
//! ```
//!
//! Both in order of the page ids, over all of their parts; each part has an end mark and a count of its
//! own. What is in `again.zst`, which is as `pages.zst`, takes the place of what is in the others. An
//! increment lists in `kept.zst` every page that it does not
//! hold, with the LSN that the page must have in the backup below; so a page that is missing there,
//! or of another moment, is found, and one that the database gave up is not brought back.

use super::chain::Link;
use super::manifest::{Manifest, Piece};
use super::unpacker::Unpacker;
use super::{AGAIN, KEPT, KEPT_MAGIC, PAGES, PAGES_MAGIC, damaged};
use crate::error::{Error, Result};
use crate::page::{Page, get_u32};
use crate::recovery::Progress;
use crate::types::{Lsn, PageId};

/// A compressed list of pages or of what is said of them, up to the end mark of its last part.
struct List<'p> {
    link: Link<'p>,
    head: Vec<u8>,
    unpacker: Unpacker,
    piece: &'p Piece,
    /// Parts that come after this one, the last one first.
    rest: Vec<&'p Piece>,
    next: Option<PageId>,
    /// Items of this part, and of all so far.
    count: u64,
    total: u64,
    limit: u64,
}

impl<'p> List<'p> {
    fn open(link: &Link<'p>, name: &str, head: &[u8], limit: u64) -> Result<List<'p>> {
        let mut rest = link.manifest.parts(name);
        rest.reverse();
        let piece = rest.pop().ok_or_else(|| damaged(name, "it is missing"))?;
        let unpacker = open_part(link, piece, head)?;
        let (link, head) = (link.clone(), head.to_vec());
        let mut list = List { link, head, unpacker, piece, rest, next: None, count: 0, total: 0, limit };
        list.advance()?;
        Ok(list)
    }

    fn wrong(&self, detail: &str) -> Error {
        damaged(&self.piece.name, detail)
    }

    /// Reads the id of the next item, or the end mark.
    fn advance(&mut self) -> Result<()> {
        let mut number = [0; 4];
        loop {
            self.unpacker.read_exact(&mut number)?;
            let id = PageId(u32::from_le_bytes(number));
            if !id.is_none() {
                return self.step_to(id);
            }
            self.unpacker.read_exact(&mut number)?;
            if u64::from(get_u32(&number, 0)) != self.count {
                return Err(self.wrong("it does not hold all pages"));
            }
            let Some(piece) = self.rest.pop() else {
                self.next = None;
                return Ok(());
            };
            let part = open_part(&self.link, piece, &self.head)?;
            let whole = std::mem::replace(&mut self.unpacker, part);
            self.piece.ensure_hash(whole.finish()?)?;
            (self.piece, self.count) = (piece, 0);
        }
    }

    fn step_to(&mut self, id: PageId) -> Result<()> {
        if self.next >= Some(id) || u64::from(id.0) >= self.limit {
            return Err(self.wrong("its pages are out of order"));
        }
        self.next = Some(id);
        self.count += 1;
        self.total += 1;
        Ok(())
    }

    /// Reads the page that is next.
    fn take(&mut self, id: PageId, page: &mut Page, end: Lsn) -> Result<PageId> {
        self.unpacker.read_exact(page.bytes_mut())?;
        page.validate(id, end).map_err(|error| {
            damaged(&self.piece.name, format!("page {id} is damaged")).because(error)
        })?;
        self.advance()?;
        Ok(id)
    }

    fn finish(self) -> Result<()> {
        self.piece.ensure_hash(self.unpacker.finish()?)
    }
}

fn open_part(link: &Link<'_>, piece: &Piece, head: &[u8]) -> Result<Unpacker> {
    let mut unpacker = link.unpack(piece)?;
    let mut found = vec![0; head.len()];
    unpacker.read_exact(&mut found)?;
    if found != head {
        return Err(damaged(&piece.name, "it does not hold pages of this database"));
    }
    Ok(unpacker)
}

/// The pages of one backup; what it has not, it takes from the one below.
pub(super) struct Layer<'p> {
    manifest: &'p Manifest,
    own: List<'p>,
    /// What was taken again: it counts, whatever the others say.
    again: Option<List<'p>>,
    kept: Option<List<'p>>,
    below: Option<Box<Layer<'p>>>,
    tell: String,
}

impl<'p> Layer<'p> {
    /// The pages of the first of `links`; each link adds to the one after it.
    pub fn open(links: &[Link<'p>]) -> Result<Layer<'p>> {
        let Some((link, rest)) = links.split_first() else {
            return Err(Error::internal("a chain without a backup"));
        };
        Self::open_link(link, rest).map_err(|error| link.tell(error))
    }

    fn open_link(link: &Link<'p>, rest: &[Link<'p>]) -> Result<Layer<'p>> {
        let manifest = link.manifest;
        let pages = manifest.piece(PAGES).ok_or_else(|| damaged(PAGES, "it is missing"))?;
        let limit = pages.restored_bytes / manifest.page_size;
        let mut head = PAGES_MAGIC.to_vec();
        head.extend_from_slice(&(manifest.page_size as u32).to_le_bytes());
        let own = List::open(link, PAGES, &head, limit)?;
        let (kept, below) = if manifest.parent.is_some() {
            let kept = List::open(link, KEPT, &KEPT_MAGIC, limit)?;
            (Some(kept), Some(Box::new(Layer::open(rest)?)))
        } else {
            (None, None)
        };
        let again = manifest.piece(AGAIN).map(|_| List::open(link, AGAIN, &head, limit)).transpose()?;
        Ok(Layer { manifest, own, again, kept, below, tell: link.place.clone() })
    }

    /// The next page in order, read into `page`; `None` after the last.
    pub fn next(&mut self, page: &mut Page) -> Result<Option<PageId>> {
        let kept = self.kept.as_ref().and_then(|kept| kept.next);
        if let Some(again) = self.again.as_ref().and_then(|again| again.next) {
            let is_next = |other: Option<PageId>| other.is_none_or(|other| again <= other);
            if is_next(self.own.next) && is_next(kept) {
                let taken = self.take_again(again, page);
                return taken.map_err(|error| super::at(&self.tell, error)).map(Some);
            }
        }
        match (self.own.next, kept) {
            (None, None) => Ok(None),
            (Some(own), kept) if kept.is_none_or(|kept| own < kept) => {
                self.take_own(own, page).map_err(|error| super::at(&self.tell, error)).map(Some)
            }
            (own, Some(kept)) if own != Some(kept) => self.take_kept(kept, page).map(Some),
            _ => Err(super::at(&self.tell, self.own.wrong("a page is in it twice"))),
        }
    }

    fn take_own(&mut self, id: PageId, page: &mut Page) -> Result<PageId> {
        self.own.take(id, page, self.manifest.end_lsn)
    }

    /// What the others have of the page is older, and is passed over.
    fn take_again(&mut self, id: PageId, page: &mut Page) -> Result<PageId> {
        if self.own.next == Some(id) {
            self.own.take(id, page, self.manifest.end_lsn)?;
        }
        if let Some(kept) = self.kept.as_mut().filter(|kept| kept.next == Some(id)) {
            kept.unpacker.read_exact(&mut [0; 8])?;
            kept.advance()?;
        }
        let Some(again) = &mut self.again else { return Err(Error::internal("no list of these pages")) };
        again.take(id, page, self.manifest.end_lsn)
    }

    fn take_kept(&mut self, id: PageId, page: &mut Page) -> Result<PageId> {
        let (Some(kept), Some(below)) = (&mut self.kept, &mut self.below) else {
            return Err(Error::internal("a page kept of nothing"));
        };
        let mut lsn = [0; 8];
        kept.unpacker.read_exact(&mut lsn).map_err(|error| super::at(&self.tell, error))?;
        kept.advance().map_err(|error| super::at(&self.tell, error))?;
        loop {
            match below.next(page)? {
                Some(found) if found < id => {}
                Some(found) if found == id => break,
                _ => {
                    let detail = format!("page {id} is in no backup before it");
                    return Err(super::at(&self.tell, damaged(KEPT, detail)));
                }
            }
        }
        if page.lsn() != Lsn(u64::from_le_bytes(lsn)) {
            let detail = format!("page {id} of the backup before it is of another moment");
            return Err(super::at(&self.tell, damaged(KEPT, detail)));
        }
        Ok(id)
    }

    /// Reads what is left, and checks every file against its manifest.
    pub fn finish(mut self, page: &mut Page, progress: &Progress) -> Result<()> {
        while self.next(page)?.is_some() {
            progress.ensure_going()?;
        }
        let again = self.again.as_ref().map_or(0, |again| again.total);
        if self.own.total + again != self.manifest.pages {
            return Err(super::at(&self.tell, self.own.wrong("it does not hold all pages")));
        }
        let tell = self.tell;
        self.own.finish().map_err(|error| super::at(&tell, error))?;
        if let Some(again) = self.again {
            again.finish().map_err(|error| super::at(&tell, error))?;
        }
        if let Some(kept) = self.kept {
            kept.finish().map_err(|error| super::at(&tell, error))?;
        }
        self.below.map_or(Ok(()), |below| below.finish(page, progress))
    }
}
