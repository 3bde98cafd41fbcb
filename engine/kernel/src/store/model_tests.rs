//! A tree against an ordered map: every step of the one is a step of the other, over closes,
//! crashes and checkpoints, on the smallest pages.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ops::Bound;

use proptest::prelude::*;

use super::tests::{options, tree};
use super::*;
use crate::disk::memory::MemoryDisk;
use crate::txn::{Range, TreeRef};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Clone, Debug)]
enum Step {
    Put {
        key: u16,
        length: usize,
    },
    Delete {
        key: u16,
    },
    /// A run of neighbours: what splits leaves, and empties them.
    Run {
        from: u16,
        count: u16,
        deletes: bool,
    },
    Scan {
        start: u16,
        stop: u16,
        reverse: bool,
    },
    Commit,
    Abort,
    Maintain,
    Close,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || prop_oneof![0u16..40, 0u16..600];
    // Values within a leaf, at the border to chains, and over several pages.
    let length = || prop_oneof![0usize..80, 900usize..1100, 0usize..13_000];
    prop_oneof![
        10 => (key(), length()).prop_map(|(key, length)| Step::Put { key, length }),
        6 => key().prop_map(|key| Step::Delete { key }),
        3 => (key(), 1u16..150, any::<bool>())
            .prop_map(|(from, count, deletes)| Step::Run { from, count, deletes }),
        4 => (key(), key(), any::<bool>()).prop_map(|(start, stop, reverse)| Step::Scan { start, stop, reverse }),
        4 => Just(Step::Commit),
        1 => Just(Step::Abort),
        1 => Just(Step::Maintain),
        1 => Just(Step::Close),
        1 => Just(Step::Crash),
    ]
}

/// Keys of many lengths, the empty one and the longest among them.
fn key_of(number: u16) -> Vec<u8> {
    let mut key = number.to_string().into_bytes();
    match number % 17 {
        0 => key.resize(512, b'~'),
        1 => key.extend_from_slice(&[b'x'; 70]),
        _ => {}
    }
    if number == 7 { Vec::new() } else { key }
}

struct Subject {
    disk: Arc<MemoryDisk>,
    /// `None` only between two lives.
    store: Option<Store>,
    txn: Option<(Transaction, TreeRef)>,
    committed: Rows,
    rows: Rows,
}

impl Subject {
    fn new() -> Subject {
        let disk = MemoryDisk::new(1);
        let store = Some(Store::create(disk.clone(), &small()).unwrap());
        Subject { disk, store, txn: None, committed: Rows::new(), rows: Rows::new() }
    }

    fn txn(&mut self) -> (&mut Transaction, TreeRef) {
        let store = self.store.as_ref().unwrap();
        let (txn, at) = self.txn.get_or_insert_with(|| {
            let mut txn = store.begin(Isolation::RepeatableRead, false).unwrap();
            let at = tree(&mut txn, "t");
            (txn, at)
        });
        (txn, *at)
    }

    fn put(&mut self, key: u16, length: usize) {
        let (key, value) = (key_of(key), vec![key as u8 ^ length as u8; length]);
        let (txn, at) = self.txn();
        let existed = txn.put(at, &key, &value).unwrap();
        assert_eq!(existed, self.rows.insert(key, value).is_some());
    }

    fn delete(&mut self, key: u16) {
        let key = key_of(key);
        let (txn, at) = self.txn();
        let existed = txn.delete(at, &key).unwrap();
        assert_eq!(existed, self.rows.remove(&key).is_some());
    }

    fn scan(&mut self, start: u16, stop: u16, reverse: bool) {
        let (start, stop) = (key_of(start), key_of(stop));
        let range =
            Range { start: start.clone(), stop: Some(stop.clone()), reverse, ..Range::default() };
        let (txn, at) = self.txn();
        let (mut found, mut from) = (Vec::new(), None);
        loop {
            let batch = txn.scan(at, &range, from.as_deref(), 23).unwrap();
            found.extend(batch.records);
            match batch.next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
        let bounds = (Bound::Included(start.clone()), Bound::Excluded(stop.clone()));
        let mut expected: Vec<_> = match start < stop {
            true => self.rows.range(bounds).map(|(key, value)| (key.clone(), value.clone())).collect(),
            false => Vec::new(),
        };
        if reverse {
            expected.reverse();
        }
        assert!(found == expected, "a range of {} records came as {}", expected.len(), found.len());
    }

    fn end(&mut self, commits: bool) {
        let Some((mut txn, _)) = self.txn.take() else { return };
        if commits {
            txn.commit().unwrap();
            self.committed = self.rows.clone();
        } else {
            txn.abort().unwrap();
            self.rows = self.committed.clone();
        }
    }

    /// The store goes, with what is open in it, and comes back.
    fn live_again(&mut self, crashes: bool) {
        let store = self.store.take().unwrap();
        if crashes {
            self.disk.crash(5);
        } else {
            store.close().unwrap();
        }
        self.txn = None;
        drop(store);
        self.disk = self.disk.reopen();
        let store = Store::open_recovering(self.disk.clone(), &small(), &Progress::default()).unwrap();
        self.store = Some(store);
        self.rows = self.committed.clone();
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Put { key, length } => self.put(key, length),
            Step::Delete { key } => self.delete(key),
            Step::Run { from, count, deletes: true } => {
                (from..from + count).for_each(|k| self.delete(k))
            }
            Step::Run { from, count, .. } => (from..from + count).for_each(|k| self.put(k, 60)),
            Step::Scan { start, stop, reverse } => self.scan(start, stop, reverse),
            Step::Commit => self.end(true),
            Step::Abort => self.end(false),
            Step::Maintain => self.store.as_ref().unwrap().maintain().unwrap(),
            Step::Close => self.live_again(false),
            Step::Crash => self.live_again(true),
        }
    }

    fn finish(&mut self) {
        self.end(true);
        self.live_again(true);
        self.scan(7, 999, false);
        let (txn, at) = self.txn();
        let all: Rows = super::tests::all(txn, at, false).into_iter().collect();
        let count = txn.count(at).unwrap();
        assert!(all == self.rows && count == all.len() as u64);
        self.end(true);
        let store = self.store.as_ref().unwrap();
        store.maintain().unwrap();
        assert_eq!(store.check(false, &Progress::default()).unwrap().problems, []);
    }
}

fn small() -> StoreOptions {
    let mut options = options();
    options.opening.cache_bytes = 24 * 4096;
    options.opening.log.segment_bytes = 64 << 10;
    options.opening.image_every = 9;
    options
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_tree_holds_what_a_map_holds(steps in prop::collection::vec(step(), 1..80)) {
        let mut subject = Subject::new();
        steps.iter().for_each(|step| subject.take(step));
        subject.finish();
    }
}
