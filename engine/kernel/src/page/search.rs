//! The search among the slots of a tree page.
//!
//! A descent waits for memory more than it computes: the slots of a leaf lie in cache lines that
//! nobody has touched of late. So the last steps of the search are a count of the smaller heads,
//! which asks for all of those lines at once, where halving would wait for one after the other and
//! guess wrongly every second time. Records are looked at only where heads are equal.

use super::{HEADER, Page, SLOT, get_u32};
use std::cmp::Ordering;

/// Up to so many slots are counted instead of halved.
const COUNTED: usize = 64;

/// The slots of a page as they lie in it.
type Slots<'p> = &'p [[u8; SLOT]];

/// The four bytes of a key after the prefix of its page, the missing ones as zeros.
pub(super) fn head_of(key: &[u8], prefix: usize) -> u32 {
    let rest = key.get(prefix..).unwrap_or(&[]);
    match rest.first_chunk::<4>() {
        Some(head) => u32::from_be_bytes(*head),
        None => {
            let mut head = [0; 4];
            head[..rest.len()].copy_from_slice(rest);
            u32::from_be_bytes(head)
        }
    }
}

fn head_in(slot: &[u8; SLOT]) -> u32 {
    get_u32(slot, 4)
}

/// How many of these slots, which are in order, have a smaller head.
fn smaller(slots: Slots<'_>, head: u32) -> usize {
    let mut from = 0;
    let mut count = slots.len();
    while count > COUNTED {
        let half = count / 2;
        // No branch: which half it is cannot be guessed.
        from = if head_in(&slots[from + half]) < head { from + half } else { from };
        count -= half;
    }
    from + slots[from..from + count].iter().map(|slot| usize::from(head_in(slot) < head)).sum::<usize>()
}

/// The order of two keys that mostly differ in their first eight bytes.
fn compare(one: &[u8], other: &[u8]) -> Ordering {
    match (one.first_chunk::<8>(), other.first_chunk::<8>()) {
        (Some(a), Some(b)) if a != b => u64::from_be_bytes(*a).cmp(&u64::from_be_bytes(*b)),
        _ => one.cmp(other),
    }
}

impl Page {
    fn slot_array(&self) -> Slots<'_> {
        self.bytes[HEADER..HEADER + SLOT * self.slots()].as_chunks::<SLOT>().0
    }

    pub(crate) fn slot_head_holds(&self, slot: usize) -> bool {
        head_in(&self.slot_array()[slot]) == head_of(self.key(slot), self.prefix())
    }

    /// The slot that holds `key`, or the one it would take.
    pub fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let prefix = self.prefix();
        let head = head_of(key, prefix);
        let slots = self.slot_array();
        let first = smaller(slots, head);
        let has_head = |slot: usize| slots.get(slot).is_some_and(|slot| head_in(slot) == head);
        if !has_head(first) {
            return Err(first);
        }
        let rest = key.get(prefix..).unwrap_or(&[]);
        let order = |slot: usize| compare(self.key(slot).get(prefix..).unwrap_or(&[]), rest);
        if !has_head(first + 1) {
            return match order(first) {
                Ordering::Less => Err(first + 1),
                Ordering::Equal => Ok(first),
                Ordering::Greater => Err(first),
            };
        }
        self.search_alike(first, head, order)
    }

    /// As [`Page::search`] among the slots from `first` on whose heads are all the same.
    fn search_alike(
        &self,
        first: usize,
        head: u32,
        order: impl Fn(usize) -> Ordering,
    ) -> Result<usize, usize> {
        let slots = self.slot_array();
        let is_last_alike = slots.last().is_some_and(|slot| head_in(slot) == head);
        let mut high = match is_last_alike {
            true => slots.len(),
            false => first + slots[first..].partition_point(|slot| head_in(slot) == head),
        };
        let mut low = first;
        while low < high {
            let middle = low.midpoint(high);
            match order(middle) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// True where `key` begins with the prefix that all keys of the page share, the one at `slot`
    /// among them.
    pub fn shares_prefix(&self, slot: usize, key: &[u8]) -> bool {
        let prefix = self.prefix();
        prefix == 0 || key.get(..prefix) == self.key(slot).get(..prefix)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::super::{Kind, Record, Shape, Stamp};
    use super::*;
    use crate::types::{Lsn, PageId, TreeId, TxnId};

    /// A leaf with as many of these keys, in order, as it takes.
    fn leaf(keys: &[Vec<u8>], low: &[u8], high: Option<&[u8]>) -> (Page, usize) {
        let right = if high.is_some() { PageId(4) } else { PageId::NONE };
        let (id, kind, level, tree) = (PageId(3), Kind::Leaf, 0, TreeId(9));
        let mut page = Page::format(65536, Shape { id, kind, level, tree, right, low, high });
        let stamp = Stamp { txn: TxnId(1), lsn: Lsn::NONE };
        let put = |(slot, key): (usize, &Vec<u8>)| {
            page.insert_record(slot, Record { key, value: b"", flags: 0, stamp })
        };
        let held = keys.iter().enumerate().map(put).take_while(|fits| *fits).count();
        (page, held)
    }

    /// Keys of few letters, so that many begin alike and some begin others.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![Just(0u8), Just(b'a'), Just(b'b'), Just(255)], 0..14)
    }

    proptest! {
        #[test]
        fn a_search_comes_to_where_a_sorted_list_has_the_key(
            keys in proptest::collection::btree_set(key(), 0..400),
            sought in proptest::collection::vec(key(), 1..30),
        ) {
            let keys: Vec<Vec<u8>> = keys.into_iter().collect();
            let (page, held) = leaf(&keys, &[], None);
            for key in sought.iter().chain(&keys) {
                let expected = keys[..held].binary_search(key);
                prop_assert_eq!(page.search(key), expected, "{:?} among {:?}", key, &keys);
            }
        }
    }

    #[test]
    fn a_search_passes_over_the_prefix_of_the_fences() {
        let keys: Vec<Vec<u8>> =
            (0..300).map(|n| format!("user{:06}", 100_000 + 7 * n).into_bytes()).collect();
        let (page, held) = leaf(&keys, b"user100", Some(b"user103"));
        assert_eq!((page.prefix(), held), (6, 300));
        for (place, key) in keys.iter().enumerate() {
            assert_eq!(page.search(key), Ok(place));
            assert_eq!(page.search(&[key.as_slice(), b"0"].concat()), Err(place + 1));
        }
    }
}
