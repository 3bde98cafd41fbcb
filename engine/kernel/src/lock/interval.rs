//! Sets of keys as intervals of the order of keys: `start <= key < end`, where no end is beyond
//! every key. One key is the interval up to the smallest key after it, itself with a zero byte.

use std::collections::BTreeMap;
use std::ops::Bound;

/// Keys from `start` on and before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval<'k> {
    pub start: &'k [u8],
    pub end: Option<&'k [u8]>,
}

/// The smallest key after `key`.
pub fn successor(key: &[u8]) -> Vec<u8> {
    let mut after = Vec::with_capacity(key.len() + 1);
    after.extend_from_slice(key);
    after.push(0);
    after
}

impl Interval<'_> {
    pub fn is_empty(&self) -> bool {
        self.end.is_some_and(|end| end <= self.start)
    }
    pub fn contains(&self, key: &[u8]) -> bool {
        self.start <= key && self.end.is_none_or(|end| key < end)
    }
}

type End = Option<Vec<u8>>;

/// True where an interval that ends at `end` reaches as far as `other`.
fn reaches(end: Option<&[u8]>, other: Option<&[u8]>) -> bool {
    match (end, other) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(end), Some(other)) => end >= other,
    }
}

/// Disjoint intervals, neither empty nor touching each other, by their starts.
#[derive(Debug, Default)]
pub(super) struct IntervalSet {
    ends: BTreeMap<Vec<u8>, End>,
}

impl IntervalSet {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The interval that begins last at or before `key`.
    fn at(&self, key: &[u8]) -> Option<(&Vec<u8>, &End)> {
        self.ends.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back()
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        self.at(key).is_some_and(|(_, end)| end.as_deref().is_none_or(|end| key < end))
    }

    pub fn covers(&self, interval: Interval<'_>) -> bool {
        interval.is_empty()
            || self.at(interval.start).is_some_and(|(_, end)| reaches(end.as_deref(), interval.end))
    }

    /// Adds keys, joined with the intervals that they overlap or touch.
    pub fn insert(&mut self, interval: Interval<'_>) {
        if self.covers(interval) {
            return;
        }
        let mut start = interval.start.to_vec();
        let mut end = interval.end.map(<[u8]>::to_vec);
        if let Some((before, reach)) = self.at(&start)
            && reaches(reach.as_deref(), Some(&start))
        {
            start = before.clone();
        }
        while let Some((next, reach)) = self.ends.range(start.clone()..).next()
            && reaches(end.as_deref(), Some(next))
        {
            let next = next.clone();
            if reaches(reach.as_deref(), end.as_deref()) {
                end = reach.clone();
            }
            self.ends.remove(&next);
        }
        self.ends.insert(start, end);
    }

    /// Joins each second interval with the one before it, the keys in between included.
    pub fn coarsen(&mut self) {
        let mut finer = std::mem::take(&mut self.ends).into_iter();
        while let Some((start, end)) = finer.next() {
            let end = finer.next().map_or(end, |(_, end)| end);
            self.ends.insert(start, end);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(of: &[(&str, Option<&str>)]) -> IntervalSet {
        let mut set = IntervalSet::default();
        for (start, end) in of {
            set.insert(Interval { start: start.as_bytes(), end: end.map(str::as_bytes) });
        }
        set
    }

    #[test]
    fn what_touches_becomes_one_interval() {
        assert_eq!(set(&[("a", Some("c")), ("c", Some("e"))]).len(), 1);
        assert_eq!(set(&[("c", Some("e")), ("a", Some("c"))]).len(), 1);
        assert_eq!(set(&[("a", Some("c")), ("d", Some("e"))]).len(), 2);
        assert_eq!(set(&[("a", Some("b")), ("d", None), ("b", Some("x"))]).len(), 1);
        assert_eq!(set(&[("b", Some("b"))]).len(), 0);
    }

    #[test]
    fn a_key_by_itself_is_the_interval_up_to_its_successor() {
        let mut set = IntervalSet::default();
        set.insert(Interval { start: b"k", end: Some(&successor(b"k")) });
        assert!(set.contains(b"k"));
        assert!(!set.contains(b"k\0") && !set.contains(b"j") && !set.contains(b""));
    }

    #[test]
    fn the_last_gap_has_no_end() {
        let set = set(&[("m", None)]);
        assert!(set.contains(b"m") && set.contains(&[255; 40]) && !set.contains(b"l"));
        assert!(set.covers(Interval { start: b"n", end: None }));
        assert!(!set.covers(Interval { start: b"", end: None }));
    }

    proptest! {
        #[test]
        fn a_set_holds_what_was_added_and_more_only_when_it_is_coarsened(
            added in prop::collection::vec((0u8..60, prop::option::of(0u8..60)), 0..25),
            coarsened in any::<bool>(),
        ) {
            let mut set = IntervalSet::default();
            for (start, end) in &added {
                let end = end.map(|end| [end]);
                set.insert(Interval { start: &[*start], end: end.as_ref().map(|end| &end[..]) });
            }
            let before = set.len();
            if coarsened {
                set.coarsen();
                prop_assert_eq!(set.len(), before.div_ceil(2));
            }
            for key in 0..61 {
                let is_in = |(start, end): &(u8, Option<u8>)| {
                    *start <= key && end.is_none_or(|end| key < end)
                };
                let expected = added.iter().any(is_in);
                prop_assert!(set.contains(&[key]) == expected || (coarsened && !expected));
            }
        }
    }
}
