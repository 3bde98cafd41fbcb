//! Applying a change to a page: one function for making it and for redoing it.

use super::records::Record;
use super::{Change, Kind, Page, Shape, get_u16, put_u16, put_u64};
use crate::error::{Code, Error, Result};
use crate::types::{Lsn, PageId, TxnId};

/// The entry a change belongs to.
#[derive(Clone, Copy, Debug)]
pub struct EntryMark {
    pub txn: TxnId,
    pub lsn: Lsn,
    pub end: Lsn,
}

impl Page {
    /// Applies a change and takes over the entry's end as the page LSN.
    ///
    /// Callers have checked room and, in redo, that the page LSN is older. A change that cannot
    /// be applied means that page and log disagree: `PageDamaged`, and the page is unchanged.
    pub fn apply(&mut self, change: &Change<'_>, mark: EntryMark) -> Result<()> {
        let applied = match *change {
            Change::Put { slot, key, new, old } => {
                let stamp = super::entry_stamp(mark.txn, mark.lsn);
                let slot = usize::from(slot);
                if old.is_some() {
                    self.replace_value(slot, new.flags, stamp, new.value)
                } else {
                    self.insert_record(slot, Record { key, value: new.value, flags: new.flags, stamp })
                }
            }
            Change::Restore { slot, old } => {
                self.replace_value(usize::from(slot), old.version.flags, old.stamp, old.version.value)
            }
            Change::Remove { slot } | Change::RemoveChild { slot } => {
                self.remove_checked(usize::from(slot))
            }
            Change::Purge { slots } => self.purge(slots),
            Change::AddChild { slot, key, child } => self.insert_child(usize::from(slot), key, child),
            Change::Image { image } => self.fill_from_image(image),
            Change::Truncate { slot, right, high } => self.truncate(usize::from(slot), right, high),
            Change::Absorb { right, high } => self.absorb(right, high),
            Change::Free => self.free(),
            Change::Map { first, count, used } => self.mark_pages(first as usize, count as usize, used),
        };
        if !applied {
            return Err(self.refuse(self.id(), mark, "does not fit this page"));
        }
        self.set_lsn(mark.end);
        self.count_change(matches!(change, Change::Image { .. }), mark.end);
        Ok(())
    }

    /// Takes note that the page, as it is, went to the log in full with this entry.
    pub fn note_image(&mut self, mark: EntryMark) {
        self.set_lsn(mark.end);
        self.count_change(true, mark.end);
    }

    pub(super) fn refuse(&self, id: PageId, mark: EntryMark, why: &str) -> Error {
        Error::new(Code::PageDamaged)
            .with("page_id", id.0)
            .with("tree", i64::from(self.tree().0))
            .with("detail", format!("a change of log entry {} {why}", mark.lsn))
    }

    fn count_change(&mut self, is_image: bool, end: Lsn) {
        if is_image {
            put_u16(&mut self.bytes, 60, 0);
            put_u64(&mut self.bytes, 112, end.0);
        } else {
            let count = self.changes_since_image().saturating_add(1);
            put_u16(&mut self.bytes, 60, count);
        }
    }

    fn remove_checked(&mut self, slot: usize) -> bool {
        let there = slot < self.slots();
        if there {
            self.remove_slot(slot);
        }
        there
    }

    fn purge(&mut self, slots: &[u8]) -> bool {
        let listed: Vec<usize> =
            (0..slots.len() / 2).map(|i| usize::from(get_u16(slots, 2 * i))).collect();
        let sound = listed.windows(2).all(|w| w[0] < w[1]) && listed.iter().all(|&s| s < self.slots());
        if sound {
            listed.iter().rev().for_each(|&slot| self.remove_slot(slot));
        }
        sound
    }

    /// Rebuilds the page with records `0..slot` and new bounds on the right.
    fn rebuild(&mut self, slot: usize, right: PageId, high: Option<&[u8]>) -> bool {
        let old = self.clone();
        self.reformat(Shape {
            id: old.id(),
            kind: old.kind(),
            level: old.level(),
            tree: old.tree(),
            right,
            low: old.low_fence(),
            high,
        });
        put_u16(&mut self.bytes, 60, old.changes_since_image());
        put_u64(&mut self.bytes, 112, old.image_lsn().0);
        self.set_incarnation(old.incarnation());
        let fits = self.copy_records(&old, 0, slot);
        if !fits {
            *self = old;
        }
        fits
    }

    fn truncate(&mut self, slot: usize, right: PageId, high: &[u8]) -> bool {
        self.is_tree_page() && slot <= self.slots() && self.rebuild(slot, right, Some(high))
    }

    fn absorb(&mut self, right: PageId, high: Option<&[u8]>) -> bool {
        self.is_tree_page() && self.rebuild(self.slots(), right, high)
    }

    fn is_tree_page(&self) -> bool {
        matches!(self.kind(), Kind::Leaf | Kind::Inner)
    }

    fn free(&mut self) -> bool {
        let shape = Shape {
            id: self.id(),
            kind: Kind::Free,
            level: 0,
            tree: self.tree(),
            right: PageId::NONE,
            low: &[],
            high: None,
        };
        self.reformat(shape);
        true
    }

    fn mark_pages(&mut self, first: usize, count: usize, used: bool) -> bool {
        let bits = self.payload_mut();
        if first + count > bits.len() * 8 {
            return false;
        }
        for bit in first..first + count {
            let mask = 1u8 << (bit % 8);
            if used {
                bits[bit / 8] |= mask;
            } else {
                bits[bit / 8] &= !mask;
            }
        }
        true
    }
}
