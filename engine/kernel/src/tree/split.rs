//! Splits: each a redo-only system transaction of one entry, the parent's link a second one.

use crate::sync::Ordering;

use super::{Tree, Waiting};
use crate::buffer::PageWrite;
use crate::core::Author;
use crate::error::{Code, Error, Result};
use crate::log::Op;
use crate::page::{Change, HEADER, Kind, Page, SLOT, Shape, common_prefix};
use crate::types::{Lsn, PageId};

/// What made a page too small: the record that is to come, and where.
#[derive(Clone, Copy)]
pub struct Incoming<'k> {
    pub slot: usize,
    pub key: &'k [u8],
    /// Bytes of the record to come, without its slot.
    pub size: usize,
    /// It takes the place of the record at `slot`.
    pub replaces: bool,
}

/// Where to cut: records from `slot` on move right, which begins at `separator`.
struct Cut {
    slot: usize,
    separator: Vec<u8>,
}

/// The shortest key that is above `left` and not above `right`.
fn shortest_separator(left: &[u8], right: &[u8]) -> Vec<u8> {
    right[..(common_prefix(left, right) + 1).min(right.len())].to_vec()
}

/// The records of a page with the incoming one among them.
struct Items<'p> {
    page: &'p Page,
    incoming: Incoming<'p>,
}

impl Items<'_> {
    fn count(&self) -> usize {
        self.page.slots() + usize::from(!self.incoming.replaces)
    }
    fn slot_of(&self, item: usize) -> usize {
        if self.incoming.replaces || item <= self.incoming.slot { item } else { item - 1 }
    }
    fn is_incoming(&self, item: usize) -> bool {
        item == self.incoming.slot
    }
    fn key(&self, item: usize) -> &[u8] {
        if self.is_incoming(item) { self.incoming.key } else { self.page.key(self.slot_of(item)) }
    }
    fn size(&self, item: usize) -> usize {
        if self.is_incoming(item) {
            self.incoming.size
        } else {
            self.page.record_size(self.slot_of(item))
        }
    }

    /// Where the right half should begin: halves of equal bytes, but a page filled in ascending
    /// order stays full, so that sorted loads waste nothing.
    fn middle(&self) -> usize {
        let count = self.count();
        let is_append = !self.incoming.replaces && self.incoming.slot == count - 1;
        if is_append && self.page.right().is_none() {
            return count - 1;
        }
        let total: usize = (0..count).map(|item| self.size(item)).sum();
        let mut left = 0;
        for item in 0..count {
            left += self.size(item);
            if 2 * left >= total {
                return (item + 1).clamp(1, count - 1);
            }
        }
        count - 1
    }

    /// The key between both halves, if the right one begins with item `first`.
    fn separator(&self, first: usize) -> Vec<u8> {
        if self.page.level() == 0 {
            shortest_separator(self.key(first - 1), self.key(first))
        } else {
            self.key(first).to_vec()
        }
    }

    /// True where both halves hold their present records and their new fences.
    fn is_possible(&self, first: usize) -> bool {
        // The right half of an inner page must begin with a child it has already: until the
        // incoming one is added, its first child answers for the whole beginning of its range.
        if self.page.level() > 0 && self.is_incoming(first) {
            return false;
        }
        let (cut, separator) = (self.slot_of(first), self.separator(first).len());
        let records =
            |from, to| (from..to).map(|slot| self.page.record_size(slot) + SLOT).sum::<usize>();
        let low = self.page.low_fence().len();
        let high = self.page.high_fence().map_or(0, <[u8]>::len);
        let room = self.page.size() - HEADER;
        records(0, cut) + low + separator <= room
            && records(cut, self.page.slots()) + separator + high <= room
            && (self.page.level() == 0 || (cut > 0 && cut < self.page.slots()))
    }
}

/// The possible cut that is nearest to the wanted one.
fn choose_cut(page: &Page, incoming: Incoming<'_>) -> Result<Cut> {
    let items = Items { page, incoming };
    let count = items.count();
    let wanted = if count < 2 { 1 } else { items.middle() };
    let first = (1..count)
        .filter(|&first| items.is_possible(first))
        .min_by_key(|&first| first.abs_diff(wanted))
        .ok_or_else(|| Error::internal("a page cannot be split"))?;
    Ok(Cut { slot: items.slot_of(first), separator: items.separator(first) })
}

impl<'c> Tree<'c> {
    /// Splits a page that `incoming` does not fit into, and links the new half to the parent.
    pub(crate) fn split(&self, page: PageWrite<'c>, incoming: Incoming<'_>) -> Result<()> {
        let cut = choose_cut(&page, incoming)?;
        if page.id() == self.root {
            self.split_root(page, &cut)?;
        } else {
            self.split_page(page, &cut)?;
        }
        self.core.splits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn half(&self, source: &Page, shape: Shape<'_>, from: usize, to: usize) -> Result<Page> {
        let mut half = Page::format(self.core.pool.page_size(), shape);
        half.set_incarnation(self.core.pool.incarnation());
        if !half.copy_records(source, from, to) {
            return Err(Error::internal("half of a page does not fit a page"));
        }
        Ok(half)
    }

    fn split_page(&self, mut page: PageWrite<'c>, cut: &Cut) -> Result<()> {
        let space = self.core.space.allocate(1)?;
        let id = space.pages[0];
        let shape = Shape {
            id,
            kind: page.kind(),
            level: page.level(),
            tree: self.id,
            right: page.right(),
            low: &cut.separator,
            high: page.high_fence(),
        };
        let image = self.half(&page, shape, cut.slot, page.slots())?.to_image();
        let mut right = self.core.pool.fresh(id)?;
        let new = Change::Image { image: &image };
        let old = Change::Truncate { slot: cut.slot as u16, right: id, high: &cut.separator };
        [&page, &right].iter().for_each(|page| page.begin_change());
        space.begin_change();
        let mut parts =
            vec![crate::page::Part { page: id, previous: Lsn::NONE, change: new }, page.part(old)];
        parts.extend(space.parts());
        let entry = self.core.append(Author::system(Op::Structure), self.id, &parts, &[])?;
        right.apply(&new, entry)?;
        page.apply(&old, entry)?;
        space.apply(entry)?;
        drop(right);
        let level = page.level() + 1;
        let held = page.downgrade();
        self.link_to_parent(level, &cut.separator, id)?;
        drop(held);
        Ok(())
    }

    /// The root stays where it is: both halves move down, and it becomes their parent.
    fn split_root(&self, mut root: PageWrite<'c>, cut: &Cut) -> Result<()> {
        let space = self.core.space.allocate(2)?;
        let (left_id, right_id) = (space.pages[0], space.pages[1]);
        let shape = |id, low, high, right| Shape {
            id,
            kind: root.kind(),
            level: root.level(),
            tree: self.id,
            right,
            low,
            high,
        };
        let separator = cut.separator.as_slice();
        let left = self.half(&root, shape(left_id, &[], Some(separator), right_id), 0, cut.slot)?;
        let right =
            self.half(&root, shape(right_id, separator, None, PageId::NONE), cut.slot, root.slots())?;
        let top_shape = Shape {
            kind: Kind::Inner,
            level: root.level() + 1,
            ..shape(root.id(), &[], None, PageId::NONE)
        };
        let mut top = Page::format(self.core.pool.page_size(), top_shape);
        if !(top.insert_child(0, &[], left_id) && top.insert_child(1, separator, right_id)) {
            return Err(Error::internal("a root does not fit a page"));
        }
        let images = [left.to_image(), right.to_image(), top.to_image()];
        let (mut left, mut right) = (self.core.pool.fresh(left_id)?, self.core.pool.fresh(right_id)?);
        let changes = images.each_ref().map(|image| Change::Image { image });
        [&left, &right, &root].iter().for_each(|page| page.begin_change());
        space.begin_change();
        let mut parts = vec![
            crate::page::Part { page: left_id, previous: Lsn::NONE, change: changes[0] },
            crate::page::Part { page: right_id, previous: Lsn::NONE, change: changes[1] },
            root.part(changes[2]),
        ];
        parts.extend(space.parts());
        let entry = self.core.append(Author::system(Op::Structure), self.id, &parts, &[])?;
        left.apply(&changes[0], entry)?;
        right.apply(&changes[1], entry)?;
        root.apply(&changes[2], entry)?;
        space.apply(entry)
    }

    /// Adds the routing record `separator -> child` at `level`, where it is not there yet.
    ///
    /// The caller holds the latch of the page left of `child`, which proves that the child is
    /// still part of the tree: unlinking it needs that latch.
    pub(super) fn link_to_parent(&self, level: u8, separator: &[u8], child: PageId) -> Result<()> {
        loop {
            let Some(mut parent) = self.page_for_change::<Waiting>(separator, level)? else {
                return Err(Error::internal("a latch that is waited for was refused"));
            };
            let slot = match parent.search(separator) {
                Ok(slot) if parent.child(slot) == child => return Ok(()),
                Ok(slot) => {
                    return Err(Error::new(Code::PageDamaged)
                        .with("page_id", parent.id().0)
                        .with("tree", i64::from(self.id.0))
                        .with(
                            "detail",
                            format!("slot {slot} leads to another page than its left sibling does"),
                        ));
                }
                Err(slot) => slot,
            };
            if parent.fits_child(separator.len()) {
                let change = Change::AddChild { slot: slot as u16, key: separator, child };
                self.core.change_page(Author::system(Op::Structure), &mut parent, &change)?;
                return self.core.renew_image(&mut parent);
            }
            let size = 4 + separator.len();
            self.split(parent, Incoming { slot, key: separator, size, replaces: false })?;
        }
    }
}
