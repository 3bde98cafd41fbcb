//! A page made in one go, from records that were laid out one after the other beforehand.

use super::records::{INNER_HEAD, LEAF_HEAD, Record};
use super::search::head_of;
use super::{HEADER, Page, SLOT, Shape, put_u16, put_u32};
use crate::types::PageId;

/// The records of one page to be, in order, as they will lie in it.
#[derive(Default)]
pub struct Heap {
    bytes: Vec<u8>,
    places: Vec<Place>,
}

/// Where a record begins, and where its key lies.
#[derive(Clone, Copy)]
struct Place {
    at: usize,
    key_at: usize,
    key_length: usize,
}

impl Heap {
    pub fn len(&self) -> usize {
        self.places.len()
    }
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes of the records with their slots.
    pub fn size(&self) -> usize {
        self.bytes.len() + SLOT * self.places.len()
    }

    pub fn last_key(&self) -> Option<&[u8]> {
        self.places.last().map(|place| self.key(*place))
    }

    fn key(&self, place: Place) -> &[u8] {
        &self.bytes[place.key_at..place.key_at + place.key_length]
    }

    /// Bytes that a leaf record takes, its slot included.
    pub fn record_size(key: &[u8], value: &[u8]) -> usize {
        SLOT + LEAF_HEAD + key.len() + value.len()
    }

    /// Bytes that a routing record takes, its slot included.
    pub fn child_size(key: &[u8]) -> usize {
        SLOT + INNER_HEAD + key.len()
    }

    /// Adds a leaf record. The lengths of keys and values of leaves have been checked.
    pub fn push_record(&mut self, record: Record<'_>) {
        let at = self.bytes.len();
        self.bytes.push(record.flags);
        self.bytes.extend_from_slice(&record.stamp.txn.0.to_le_bytes());
        self.bytes.extend_from_slice(&record.stamp.lsn.0.to_le_bytes());
        self.bytes.extend_from_slice(&(record.value.len() as u16).to_le_bytes());
        self.push_key(at, record.key);
        self.bytes.extend_from_slice(record.value);
    }

    /// Adds a routing record.
    pub fn push_child(&mut self, key: &[u8], child: PageId) {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&child.0.to_le_bytes());
        self.push_key(at, key);
    }

    fn push_key(&mut self, at: usize, key: &[u8]) {
        let key_at = self.bytes.len();
        self.places.push(Place { at, key_at, key_length: key.len() });
        self.bytes.extend_from_slice(key);
    }

    /// Takes the last record out, into a heap of its own.
    pub fn split_last(&mut self) -> Heap {
        let Some(last) = self.places.pop() else { return Heap::default() };
        let bytes = self.bytes.split_off(last.at);
        let place = Place { at: 0, key_at: last.key_at - last.at, key_length: last.key_length };
        Heap { bytes, places: vec![place] }
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.places.clear();
    }
}

impl Page {
    /// Makes the page anew, with the given shape and these records; false where they do not fit.
    pub fn refill(&mut self, shape: Shape<'_>, heap: &Heap) -> bool {
        self.reformat(shape);
        let (end, prefix) = (self.heap_start(), self.prefix());
        if HEADER + heap.size() > end {
            return false;
        }
        let start = end - heap.bytes.len();
        self.bytes[start..end].copy_from_slice(&heap.bytes);
        put_u32(&mut self.bytes, 48, start as u32);
        put_u16(&mut self.bytes, 44, heap.len() as u16);
        for (place, slot) in heap.places.iter().zip(self.bytes[HEADER..start].as_chunks_mut::<SLOT>().0)
        {
            put_u16(slot, 0, (start + place.at) as u16);
            put_u16(slot, 2, place.key_length as u16);
            put_u32(slot, 4, head_of(heap.key(*place), prefix));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::{Kind, Stamp};
    use super::*;
    use crate::types::{Lsn, TreeId, TxnId};

    fn shape(level: u8) -> Shape<'static> {
        let kind = if level == 0 { Kind::Leaf } else { Kind::Inner };
        let (id, tree, right) = (PageId(3), TreeId(9), PageId(4));
        Shape { id, kind, level, tree, right, low: b"user1", high: Some(b"user2") }
    }

    fn record<'r>(key: &'r [u8], value: &'r [u8]) -> Record<'r> {
        Record { key, value, flags: 0, stamp: Stamp { txn: TxnId(7), lsn: Lsn(99) } }
    }

    #[test]
    fn a_page_filled_in_one_go_holds_what_one_filled_record_by_record_holds() {
        let mut heap = Heap::default();
        let mut page = Page::format(4096, shape(0));
        for number in 0..30usize {
            let (key, value) =
                (format!("user1{number:02}").into_bytes(), vec![number as u8; 3 * number]);
            heap.push_record(record(&key, &value));
            assert!(page.insert_record(number, record(&key, &value)));
        }
        let mut filled = Page::zeroed(4096);
        assert!(filled.refill(shape(0), &heap));
        filled.validate_structure().unwrap();
        assert_eq!((filled.slots(), filled.free_bytes()), (30, page.free_bytes()));
        for slot in 0..30 {
            let (one, other) = (filled.record(slot), page.record(slot));
            assert_eq!((one.key, one.value, one.stamp), (other.key, other.value, other.stamp));
        }
    }

    #[test]
    fn children_route_and_the_last_record_can_go_to_the_next_page() {
        let mut heap = Heap::default();
        heap.push_child(b"user1", PageId(10));
        heap.push_child(b"user15", PageId(11));
        heap.push_child(b"user17", PageId(12));
        let moved = heap.split_last();
        assert_eq!((moved.last_key(), heap.last_key()), (Some(&b"user17"[..]), Some(&b"user15"[..])));
        assert_eq!(moved.size(), Heap::child_size(b"user17"));
        let mut page = Page::zeroed(4096);
        assert!(page.refill(shape(1), &heap));
        page.validate_structure().unwrap();
        assert_eq!((page.child(0), page.child(1), page.slots()), (PageId(10), PageId(11), 2));
    }

    #[test]
    fn records_that_do_not_fit_are_refused() {
        let mut heap = Heap::default();
        heap.push_record(record(b"user11", &[1; 4000]));
        assert!(!Page::zeroed(4096).refill(shape(0), &heap));
    }
}
