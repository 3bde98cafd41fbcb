//! Records and slots of tree pages.
//!
//! Leaf record: `flags u8, writer u64, entry LSN u64, value length u16, key, value`.
//! Inner record: `child u32, key`; it routes keys from its own key up to the next one's. The
//! first one of a page stands for everything below the second.

use super::search::head_of;
use super::{HEADER, Page, SLOT, get_u16, get_u32, get_u64, put_u16, put_u32, put_u64};
use crate::types::{Lsn, PageId, TxnId};

pub(crate) const GHOST: u8 = 1;
pub(crate) const OVERFLOW: u8 = 2;
pub(crate) const LEAF_HEAD: usize = 19;
pub(crate) const INNER_HEAD: usize = 4;

/// Who wrote a record, and the log entry that holds what was there before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    pub txn: TxnId,
    pub lsn: Lsn,
}

/// A leaf record, borrowed from its page.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub key: &'a [u8],
    pub value: &'a [u8],
    pub flags: u8,
    pub stamp: Stamp,
}

impl Record<'_> {
    /// Deleted; kept until no snapshot can see what it was.
    pub fn is_ghost(&self) -> bool {
        self.flags & GHOST != 0
    }
    /// The value is a reference to overflow pages.
    pub fn is_overflow(&self) -> bool {
        self.flags & OVERFLOW != 0
    }
}

impl Page {
    /// False where a leaf holds nothing, or only deleted records.
    pub fn has_live_record(&self) -> bool {
        (0..self.slots()).any(|slot| !self.record(slot).is_ghost())
    }

    fn slot_offset(&self, slot: usize) -> usize {
        usize::from(get_u16(&self.bytes, HEADER + SLOT * slot))
    }
    fn slot_key_length(&self, slot: usize) -> usize {
        usize::from(get_u16(&self.bytes, HEADER + SLOT * slot + 2))
    }
    fn record_head(&self) -> usize {
        if self.level() == 0 { LEAF_HEAD } else { INNER_HEAD }
    }

    pub fn key(&self, slot: usize) -> &[u8] {
        let at = self.slot_offset(slot) + self.record_head();
        &self.bytes[at..at + self.slot_key_length(slot)]
    }

    /// The record of a leaf.
    pub fn record(&self, slot: usize) -> Record<'_> {
        let at = self.slot_offset(slot);
        let key_length = self.slot_key_length(slot);
        let value_length = usize::from(get_u16(&self.bytes, at + 17));
        let key_at = at + LEAF_HEAD;
        Record {
            key: &self.bytes[key_at..key_at + key_length],
            value: &self.bytes[key_at + key_length..key_at + key_length + value_length],
            flags: self.bytes[at],
            stamp: Stamp {
                txn: TxnId(get_u64(&self.bytes, at + 1)),
                lsn: Lsn(get_u64(&self.bytes, at + 9)),
            },
        }
    }

    /// The child of an inner record.
    pub fn child(&self, slot: usize) -> PageId {
        PageId(get_u32(&self.bytes, self.slot_offset(slot)))
    }

    pub(crate) fn record_size(&self, slot: usize) -> usize {
        let key_length = self.slot_key_length(slot);
        if self.level() == 0 {
            LEAF_HEAD + key_length + usize::from(get_u16(&self.bytes, self.slot_offset(slot) + 17))
        } else {
            INNER_HEAD + key_length
        }
    }

    /// Offset and size of a record, for the structure check, without trusting either.
    pub(crate) fn raw_extent(&self, slot: usize) -> Option<(usize, usize)> {
        let at = self.slot_offset(slot);
        let key_length = self.slot_key_length(slot);
        let size = if self.level() == 0 {
            if at + LEAF_HEAD > self.size() {
                return None;
            }
            LEAF_HEAD + key_length + usize::from(get_u16(&self.bytes, at + 17))
        } else {
            INNER_HEAD + key_length
        };
        (at >= HEADER && at + size <= self.size()).then_some((at, size))
    }

    /// True where a leaf record of this size fits in a new slot, after compaction.
    pub fn fits_record(&self, key_length: usize, value_length: usize) -> bool {
        self.free_bytes() >= SLOT + LEAF_HEAD + key_length + value_length
    }

    /// True where the record at `slot` can take a value of this length, after compaction.
    pub fn fits_value(&self, slot: usize, value_length: usize) -> bool {
        let wanted = LEAF_HEAD + self.slot_key_length(slot) + value_length;
        self.free_bytes() + self.record_size(slot) >= wanted
    }

    pub fn fits_child(&self, key_length: usize) -> bool {
        self.free_bytes() >= SLOT + INNER_HEAD + key_length
    }

    // Writing. Callers have made sure of room; `make_room` compacts where the middle is too small.

    fn set_slots(&mut self, slots: usize) {
        put_u16(&mut self.bytes, 44, slots as u16);
    }
    fn set_heap_start(&mut self, at: usize) {
        put_u32(&mut self.bytes, 48, at as u32);
    }
    fn add_garbage(&mut self, bytes: usize) {
        let garbage = self.garbage() + bytes;
        put_u32(&mut self.bytes, 52, garbage as u32);
    }

    fn make_room(&mut self, record: usize, slots: usize) -> bool {
        let needed = record + SLOT * slots;
        let middle = self.heap_start() - (HEADER + SLOT * self.slots());
        if middle >= needed {
            return true;
        }
        if middle + self.garbage() < needed {
            return false;
        }
        self.compact();
        true
    }

    /// Moves the records together, so that all free bytes lie in the middle.
    fn compact(&mut self) {
        let fences = self.low_fence().len() + self.high_fence().map_or(0, <[u8]>::len);
        let old = self.bytes.clone();
        let mut at = self.size() - fences;
        for slot in 0..self.slots() {
            let (from, size) = (self.slot_offset(slot), self.record_size_in(&old, slot));
            at -= size;
            self.bytes[at..at + size].copy_from_slice(&old[from..from + size]);
            put_u16(&mut self.bytes, HEADER + SLOT * slot, at as u16);
        }
        self.set_heap_start(at);
        put_u32(&mut self.bytes, 52, 0);
    }

    fn record_size_in(&self, bytes: &[u8], slot: usize) -> usize {
        let key_length = self.slot_key_length(slot);
        if self.level() == 0 {
            LEAF_HEAD + key_length + usize::from(get_u16(bytes, self.slot_offset(slot) + 17))
        } else {
            INNER_HEAD + key_length
        }
    }

    fn take_heap(&mut self, size: usize) -> usize {
        let at = self.heap_start() - size;
        self.set_heap_start(at);
        at
    }

    fn open_slot(&mut self, slot: usize, offset: usize, key: &[u8]) {
        let slots = self.slots();
        let at = HEADER + SLOT * slot;
        self.bytes.copy_within(at..HEADER + SLOT * slots, at + SLOT);
        put_u16(&mut self.bytes, at, offset as u16);
        put_u16(&mut self.bytes, at + 2, key.len() as u16);
        let head = head_of(key, self.prefix());
        put_u32(&mut self.bytes, at + 4, head);
        self.set_slots(slots + 1);
    }

    fn write_leaf_record(&mut self, at: usize, record: Record<'_>) {
        self.bytes[at] = record.flags;
        put_u64(&mut self.bytes, at + 1, record.stamp.txn.0);
        put_u64(&mut self.bytes, at + 9, record.stamp.lsn.0);
        put_u16(&mut self.bytes, at + 17, record.value.len() as u16);
        let key_at = at + LEAF_HEAD;
        let value_at = key_at + record.key.len();
        self.bytes[key_at..value_at].copy_from_slice(record.key);
        self.bytes[value_at..value_at + record.value.len()].copy_from_slice(record.value);
    }

    /// Inserts a leaf record at `slot`; false where there is no room.
    pub(crate) fn insert_record(&mut self, slot: usize, record: Record<'_>) -> bool {
        let size = LEAF_HEAD + record.key.len() + record.value.len();
        if slot > self.slots() || !self.make_room(size, 1) {
            return false;
        }
        let at = self.take_heap(size);
        self.write_leaf_record(at, record);
        self.open_slot(slot, at, record.key);
        true
    }

    /// Gives the record at `slot` new flags, stamp and value; false where there is no room.
    pub(crate) fn replace_value(&mut self, slot: usize, flags: u8, stamp: Stamp, value: &[u8]) -> bool {
        if slot >= self.slots() {
            return false;
        }
        let old_size = self.record_size(slot);
        let key_length = self.slot_key_length(slot);
        let size = LEAF_HEAD + key_length + value.len();
        if size <= old_size {
            let at = self.slot_offset(slot);
            self.bytes[at] = flags;
            put_u64(&mut self.bytes, at + 1, stamp.txn.0);
            put_u64(&mut self.bytes, at + 9, stamp.lsn.0);
            put_u16(&mut self.bytes, at + 17, value.len() as u16);
            let value_at = at + LEAF_HEAD + key_length;
            self.bytes[value_at..value_at + value.len()].copy_from_slice(value);
            self.add_garbage(old_size - size);
            return true;
        }
        if self.free_bytes() + old_size < size {
            return false;
        }
        let key = self.key(slot).to_vec();
        self.remove_slot(slot);
        self.insert_record(slot, Record { key: &key, value, flags, stamp })
    }

    /// Removes a record and its slot.
    pub(crate) fn remove_slot(&mut self, slot: usize) {
        let (at, size) = (self.slot_offset(slot), self.record_size(slot));
        if at == self.heap_start() {
            self.set_heap_start(at + size);
        } else {
            self.add_garbage(size);
        }
        let slots = self.slots();
        self.bytes.copy_within(HEADER + SLOT * (slot + 1)..HEADER + SLOT * slots, HEADER + SLOT * slot);
        self.set_slots(slots - 1);
    }

    /// Inserts a routing record; false where there is no room.
    pub(crate) fn insert_child(&mut self, slot: usize, key: &[u8], child: PageId) -> bool {
        let size = INNER_HEAD + key.len();
        if slot > self.slots() || !self.make_room(size, 1) {
            return false;
        }
        let at = self.take_heap(size);
        put_u32(&mut self.bytes, at, child.0);
        self.bytes[at + INNER_HEAD..at + size].copy_from_slice(key);
        self.open_slot(slot, at, key);
        true
    }

    /// Appends the records `from..to` of `source`; used to build the halves of a split.
    pub(crate) fn copy_records(&mut self, source: &Page, from: usize, to: usize) -> bool {
        (from..to).all(|slot| {
            let at = self.slots();
            if source.level() == 0 {
                self.insert_record(at, source.record(slot))
            } else {
                self.insert_child(at, source.key(slot), source.child(slot))
            }
        })
    }
}
