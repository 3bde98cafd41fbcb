//! Whether a change from the log belongs to a page: redo trusts neither of the two.
//!
//! Whoever makes a change has looked at the page before; these questions are asked again only
//! where page and entry meet years later. A change that passes leaves a page that passes its
//! structure check, so nothing after redo has to fear what it indexes.

use super::change::Version;
use super::records::{GHOST, OVERFLOW};
use super::{Change, EntryMark, HEADER, Kind, Page};
use crate::error::Result;
use crate::types::PageId;

impl Page {
    /// As [`Page::apply`], for an entry read from the log; the page is number `id`.
    ///
    /// `PageDamaged` where the change cannot have been made on this page; it is unchanged then.
    pub fn redo(&mut self, id: PageId, change: &Change<'_>, mark: EntryMark) -> Result<()> {
        match self.misfit(id, change) {
            None => self.apply(change, mark),
            Some(why) => Err(self.refuse(id, mark, why)),
        }
    }

    /// Why the change cannot have been made on this page, where it cannot.
    fn misfit(&self, id: PageId, change: &Change<'_>) -> Option<&'static str> {
        let fits = match *change {
            Change::Image { image } => return self.misfit_of_image(id, image),
            Change::Put { slot, key, new, old: None } => {
                self.kind() == Kind::Leaf && is_known(new) && self.has_place(slot, key)
            }
            Change::Put { slot, key, new, old: Some(_) } => {
                self.holds_record(slot) && is_known(new) && self.key(usize::from(slot)) == key
            }
            Change::Restore { slot, old } => self.holds_record(slot) && is_known(old.version),
            Change::Remove { slot } => self.holds_record(slot),
            Change::Purge { slots } => self.kind() == Kind::Leaf && slots.len().is_multiple_of(2),
            Change::AddChild { slot, key, child } => {
                self.kind() == Kind::Inner && slot > 0 && !child.is_none() && self.has_place(slot, key)
            }
            Change::RemoveChild { slot } => {
                self.kind() == Kind::Inner && slot > 0 && usize::from(slot) < self.slots()
            }
            Change::Truncate { slot, right, high } => {
                self.is_tree() && !right.is_none() && self.can_end(usize::from(slot), high)
            }
            Change::Absorb { right, high } => {
                self.is_tree() && right.is_none() == high.is_none() && self.can_grow(high)
            }
            Change::Map { .. } => self.kind() == Kind::SpaceMap,
            Change::Free => self.id() == id,
        };
        (!fits).then_some("does not fit this page")
    }

    fn misfit_of_image(&self, id: PageId, image: &[u8]) -> Option<&'static str> {
        let mut page = Page::zeroed(self.size());
        let is_page =
            page.fill_from_image(image) && page.id() == id && page.validate_structure().is_ok();
        (!is_page).then_some("holds no image of this page")
    }

    fn is_tree(&self) -> bool {
        matches!(self.kind(), Kind::Leaf | Kind::Inner)
    }

    fn holds_record(&self, slot: u16) -> bool {
        self.kind() == Kind::Leaf && usize::from(slot) < self.slots()
    }

    /// Does a new record with this key belong at this slot?
    fn has_place(&self, slot: u16, key: &[u8]) -> bool {
        let slot = usize::from(slot);
        slot <= self.slots()
            && key >= self.low_fence()
            && !self.is_beyond(key)
            && (slot == 0 || self.key(slot - 1) < key)
            && (slot == self.slots() || key < self.key(slot))
    }

    /// Can the page end at `high`, with the records from `slot` on gone?
    fn can_end(&self, slot: usize, high: &[u8]) -> bool {
        let keeps_a_child = self.kind() == Kind::Leaf || slot > 0;
        slot <= self.slots()
            && keeps_a_child
            && high > self.low_fence()
            && self.has_room_for_fence(high)
            && self.high_fence().is_none_or(|old| high < old)
            && (slot == 0 || self.key(slot - 1) < high)
    }

    /// Can the page reach on to `high`?
    fn can_grow(&self, high: Option<&[u8]>) -> bool {
        let Some(old) = self.high_fence() else { return false };
        high.is_none_or(|high| high > old && self.has_room_for_fence(high))
    }

    fn has_room_for_fence(&self, high: &[u8]) -> bool {
        self.low_fence().len() + high.len() <= self.size() - HEADER
    }
}

fn is_known(version: Version<'_>) -> bool {
    version.flags & !(GHOST | OVERFLOW) == 0
}
