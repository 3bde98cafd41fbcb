//! B+trees with right links, fences and levels (Lehman and Yao 1981).
//!
//! The root page of a tree never moves: when it is full its contents move down. A split is one
//! log entry that leaves a legal tree, reachable through the right link; the parent's link to
//! the new page is a second one, written while the split page is still latched. A crash between
//! the two leaves a link missing, which whoever moves right finds and adds.
//!
//! A descent holds one latch at a time. What it finds is checked (tree, level, fences): a page
//! that was freed, or freed and used again, fails the check, and the descent starts again.

use crate::buffer::{PageRead, PageWrite};
use crate::core::Core;
use crate::error::{Code, Error, Result};
use crate::page::{Kind, Page};
use crate::types::{PageId, TreeId};

mod bounds;
pub mod build;
pub mod overflow;
pub mod scan;
pub(crate) mod split;
mod unlink;

#[cfg(test)]
mod seek_tests;

pub use bounds::Reach;

/// A descent that had to start again so often has met a tree that routes nowhere.
const MAX_RESTARTS: u32 = 10_000;

/// A descent of more steps than this must not have more than there are pages.
const MOST_STEPS: u32 = 1000;

/// What a descent looks for.
#[derive(Clone, Copy, Debug)]
pub enum Seek<'k> {
    /// The leaf that holds, or would hold, this key.
    At(&'k [u8]),
    /// The leaf that holds the greatest keys below this one; `None` is beyond every key.
    Below(Option<&'k [u8]>),
}

impl Seek<'_> {
    fn lies_right_of(self, page: &Page) -> bool {
        match self {
            Seek::At(key) => page.is_beyond(key),
            Seek::Below(Some(key)) => page.high_fence().is_some_and(|high| high < key),
            Seek::Below(None) => page.high_fence().is_some(),
        }
    }
    fn lies_left_of(self, page: &Page) -> bool {
        match self {
            Seek::At(key) => key < page.low_fence(),
            Seek::Below(Some(key)) => !page.low_fence().is_empty() && key <= page.low_fence(),
            Seek::Below(None) => false,
        }
    }

    /// Where this seek stands on a page of its tree, which is searched once.
    fn stand(self, page: &Page) -> Standing {
        let place = match self {
            Seek::At(key) | Seek::Below(Some(key)) => page.search(key),
            Seek::Below(None) => Err(page.slots()),
        };
        // A key among a page's keys belongs to it. Only where it is at their end do the fences
        // tell, which lie at the far end of the page, in cache lines that nothing else touches.
        if matches!(self, Seek::At(key) if is_among_keys(page, key, place)) {
            Standing::Here(place)
        } else if self.lies_left_of(page) {
            Standing::Astray
        } else if self.lies_right_of(page) {
            Standing::Right
        } else {
            Standing::Here(place)
        }
    }

    /// The slot of the child that leads on from where the seek stands.
    fn slot(self, place: Place) -> usize {
        match (self, place) {
            (Seek::At(_), Ok(slot)) => slot,
            (_, Ok(slot) | Err(slot)) => slot.saturating_sub(1),
        }
    }
}

/// True where a search that came to `place` proves that the key lies between two keys of the page.
///
/// A search looks only beyond the prefix that all keys of the page begin with, so it proves nothing
/// of a key that begins otherwise, as one that has moved to another page may.
fn is_among_keys(page: &Page, key: &[u8], place: Place) -> bool {
    let neighbour = match place {
        Ok(slot) => slot,
        Err(slot) if 0 < slot && slot < page.slots() => slot - 1,
        Err(_) => return false,
    };
    page.shares_prefix(neighbour, key)
}

/// The slot that holds a key, or the one it would take.
pub type Place = std::result::Result<usize, usize>;

/// Where a seek stands on a page.
enum Standing {
    /// The page is the one.
    Here(Place),
    /// What is sought lies to the right: the page has been split.
    Right,
    /// The page begins beyond what is sought: it was freed and used again.
    Astray,
}

/// How latches are taken: waited for, or only tried.
pub trait Latching {
    const IS_TRYING: bool;
    fn read(core: &Core, page: PageId) -> Result<Option<PageRead<'_>>>;
    fn write(core: &Core, page: PageId) -> Result<Option<PageWrite<'_>>>;
}

/// Waits for latches and for pages to be read.
pub struct Waiting;
/// Gives up where a latch is taken or a page is not in memory.
pub struct Trying;

impl Latching for Waiting {
    const IS_TRYING: bool = false;
    fn read(core: &Core, page: PageId) -> Result<Option<PageRead<'_>>> {
        core.pool.read(page).map(Some)
    }
    fn write(core: &Core, page: PageId) -> Result<Option<PageWrite<'_>>> {
        core.pool.write(page).map(Some)
    }
}

impl Latching for Trying {
    const IS_TRYING: bool = true;
    fn read(core: &Core, page: PageId) -> Result<Option<PageRead<'_>>> {
        Ok(core.pool.try_read(page))
    }
    fn write(core: &Core, page: PageId) -> Result<Option<PageWrite<'_>>> {
        Ok(core.pool.try_write(page))
    }
}

/// Where a descent came to.
enum Reached<'c> {
    Page(PageRead<'c>, Place),
    /// The page to latch for change is this child, one level below a page that was read.
    Child(PageId),
}

/// One tree of a store. Copies are cheap.
#[derive(Clone, Copy)]
pub struct Tree<'c> {
    pub core: &'c Core,
    pub id: TreeId,
    pub root: PageId,
}

impl<'c> Tree<'c> {
    fn stand(&self, page: &Page, seek: Seek<'_>, level: Option<u8>) -> Standing {
        let is_sound = matches!(page.kind(), Kind::Leaf | Kind::Inner)
            && page.tree() == self.id
            && level.is_none_or(|level| page.level() == level);
        if is_sound { seek.stand(page) } else { Standing::Astray }
    }

    fn routes_nowhere(&self) -> Error {
        Error::new(Code::PageDamaged)
            .with("page_id", self.root.0)
            .with("tree", i64::from(self.id.0))
            .with("detail", "descents of this tree do not arrive")
    }

    /// Descends with read latches to `level`, or to the page above it where `stop_above`.
    fn descend<L: Latching>(
        &self,
        seek: Seek<'_>,
        level: u8,
        stop_above: bool,
    ) -> Result<Option<Reached<'c>>> {
        for restart in 0..MAX_RESTARTS {
            if restart > 10 {
                crate::sync::yield_now();
            }
            let mut at = self.root;
            let mut expected = None;
            let mut steps = 0;
            loop {
                // Right links of damaged pages may lead in a circle.
                steps += 1;
                if steps > MOST_STEPS && steps > self.core.pool.file_pages() {
                    return Err(self.routes_nowhere());
                }
                let read = L::read(self.core, at).map_err(|error| self.located(error, at, seek, level));
                let Some(page) = read? else { return Ok(None) };
                let place = match self.stand(&page, seek, expected) {
                    Standing::Here(place) => place,
                    Standing::Astray => break,
                    Standing::Right => {
                        expected = Some(page.level());
                        at = page.right();
                        continue;
                    }
                };
                if page.level() <= level {
                    return Ok(Some(Reached::Page(page, place)));
                }
                let child = page.child(seek.slot(place));
                if stop_above && page.level() == level + 1 {
                    return Ok(Some(Reached::Child(child)));
                }
                expected = Some(page.level() - 1);
                at = child;
            }
        }
        Err(self.routes_nowhere())
    }

    /// Latches the leaf that `seek` leads to, for reading.
    pub fn leaf<L: Latching>(&self, seek: Seek<'_>) -> Result<Option<PageRead<'c>>> {
        Ok(self.leaf_and_place::<L>(seek)?.map(|(page, _)| page))
    }

    /// As [`Tree::leaf`], with the place of the key in it.
    pub fn leaf_and_place<L: Latching>(&self, seek: Seek<'_>) -> Result<Option<(PageRead<'c>, Place)>> {
        match self.descend::<L>(seek, 0, false)? {
            Some(Reached::Page(page, place)) => Ok(Some((page, place))),
            Some(Reached::Child(_)) => Err(self.routes_nowhere()),
            None => Ok(None),
        }
    }

    /// Latches the leaf of `key` for change.
    pub fn leaf_for_change<L: Latching>(&self, key: &[u8]) -> Result<Option<PageWrite<'c>>> {
        Ok(self.place_for_change::<L>(key, 0)?.map(|(page, _)| page))
    }

    /// As [`Tree::leaf_for_change`], with the place of the key in it.
    pub fn leaf_and_place_for_change<L: Latching>(
        &self,
        key: &[u8],
    ) -> Result<Option<(PageWrite<'c>, Place)>> {
        self.place_for_change::<L>(key, 0)
    }

    /// Latches the page of `key` at `level` for change.
    fn page_for_change<L: Latching>(&self, key: &[u8], level: u8) -> Result<Option<PageWrite<'c>>> {
        Ok(self.place_for_change::<L>(key, level)?.map(|(page, _)| page))
    }

    fn place_for_change<L: Latching>(
        &self,
        key: &[u8],
        level: u8,
    ) -> Result<Option<(PageWrite<'c>, Place)>> {
        let seek = Seek::At(key);
        for _ in 0..MAX_RESTARTS {
            let at = match self.descend::<L>(seek, level, true)? {
                None => return Ok(None),
                Some(Reached::Child(child)) => child,
                // The root itself is at this level, or the page was reached through right links.
                Some(Reached::Page(page, _)) => page.id(),
            };
            let latched = L::write(self.core, at).map_err(|error| self.located(error, at, seek, level));
            let Some(page) = latched? else { return Ok(None) };
            match self.stand(&page, seek, Some(level)) {
                Standing::Here(place) => return Ok(Some((page, place))),
                Standing::Astray => {}
                Standing::Right => self.add_missing_link(page)?,
            }
        }
        Err(self.routes_nowhere())
    }

    /// The key lies beyond `page` although its parent led here: the parent may lack the link to
    /// the right sibling. A split in progress holds its page until the link is there, so what is
    /// missing now was cut off by a crash.
    fn add_missing_link(&self, page: PageWrite<'c>) -> Result<()> {
        let (level, right) = (page.level(), page.right());
        let Some(separator) = page.high_fence().map(<[u8]>::to_vec) else { return Ok(()) };
        let held = page.downgrade();
        self.link_to_parent(level + 1, &separator, right)?;
        drop(held);
        Ok(())
    }
}
