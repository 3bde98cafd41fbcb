//! Locks on ranges of keys: what serializable transactions have read, the gaps between the
//! records included.
//!
//! Next-key locking (Mohan 1990) locks a gap by the record after it, and so has to hand the lock
//! on whenever that record comes, goes, or is a ghost. Here a range is locked as what it is, an
//! interval of the order of keys, whether there are records in it or not. Splits, merged pages,
//! undone inserts and purged ghosts change nothing of it; a scan of a whole tree is one lock.
//!
//! Protocol.
//!
//! 1. A serializable reader locks the range that it reads *under the read latch of the leaf* in
//!    which that range lies, before it lets go of the latch. The range ends where it has looked:
//!    at the last record it took, the leaf's fence, or the end of what was asked for. The last
//!    leaf's range has no end.
//! 2. Every writer, at whatever level, looks for ranges of others around its key *under the write
//!    latch of the leaf* in which it changes the record, before it logs the change.
//! 3. Both latches are on the one leaf that is responsible for the key at that time, and a key
//!    moves to another leaf under write latches only. So either the reader was first, and the
//!    writer finds its range; or the writer was first, and the reader finds the stamp of an active
//!    transaction in the record. Whoever finds the other lets go of its latch, waits for the
//!    other's end, and looks again. Nobody waits under a latch; the mutexes here are held for a
//!    look-up and taken last.
//! 4. Ranges stay until their transaction has ended: its changes are durable, or undone. They are
//!    gone before those who wait for that end are woken.
//! 5. A record with the writer's own stamp needs no look: who reads it waits for that stamp. What
//!    a rollback to a savepoint takes back was seen all the same, and its stamps go: the undo
//!    leaves a range on the key in their place, under the same latch.
//!
//! Whether a tree has ranges at all is an atomic count, read under the write latch: the latch that
//! the reader gave back is what makes its count visible, so the count needs no order of its own,
//! and a database without serializable transactions pays one load of memory that nobody writes.
//!
//! Fairness. A writer that waits leaves its key here. A new reader of that key waits behind it,
//! so that readers who come and go cannot keep a writer out.
//!
//! Memory. Beyond [`MOST_INTERVALS`] intervals in one tree a transaction's neighbouring ones are
//! joined, the keys between them included: fewer locks, more waiting, never a hole.

use std::time::Instant;

use super::interval::{Interval, IntervalSet, successor};
use crate::hash::FastMap;
use crate::sync::{AtomicBool, AtomicUsize, Mutex, Ordering};
use crate::types::{TreeId, TxnId};

/// Intervals that one transaction holds in one tree.
pub const MOST_INTERVALS: usize = 1024;

const BUCKETS: usize = 64;

/// The ranges of one database. Every method may be called from any thread, under any latch.
pub struct RangeLocks {
    buckets: Vec<Bucket>,
    /// Where each transaction holds ranges.
    trees: Mutex<FastMap<TxnId, Vec<TreeId>>>,
    most: usize,
    /// Writers pass; for campaigns that must then fail, and for nothing else.
    pub is_disarmed: AtomicBool,
}

/// Trees that share a count and a mutex. On a cache line of its own: writers of other trees read
/// their counts at each change.
#[repr(align(64))]
#[derive(Default)]
struct Bucket {
    /// Transactions with ranges in a tree, summed over the trees.
    holders: AtomicUsize,
    trees: Mutex<FastMap<TreeId, TreeRanges>>,
}

#[derive(Default)]
struct TreeRanges {
    held: FastMap<TxnId, Held>,
    /// Writers and the keys that they wait for.
    waiting: Vec<(TxnId, Vec<u8>)>,
}

struct Held {
    keys: IntervalSet,
    since: Instant,
}

/// One transaction's ranges in one tree.
#[derive(Clone, Copy, Debug)]
pub struct RangeHolder {
    pub tree: TreeId,
    pub txn: TxnId,
    pub intervals: usize,
    pub since: Instant,
}

impl RangeLocks {
    pub fn new(most: usize) -> Self {
        RangeLocks {
            buckets: (0..BUCKETS).map(|_| Bucket::default()).collect(),
            trees: Mutex::new(FastMap::default()),
            most: most.max(1),
            is_disarmed: AtomicBool::new(false),
        }
    }

    fn bucket(&self, tree: TreeId) -> &Bucket {
        &self.buckets[tree.0 as usize % BUCKETS]
    }

    /// False where nobody has locked a range of this tree. A writer asks under its leaf's latch.
    pub fn is_watched(&self, tree: TreeId) -> bool {
        self.bucket(tree).holders.load(Ordering::Relaxed) > 0
    }

    /// Locks what `txn` reads, under the latch of the leaf it is in. Where a writer waits for a
    /// key in it, nothing is locked and that writer is answered: wait for its end, look again.
    pub fn lock(&self, txn: TxnId, tree: TreeId, keys: Interval<'_>) -> Result<(), TxnId> {
        let bucket = self.bucket(tree);
        let mut trees = bucket.trees.lock();
        let ranges = trees.entry(tree).or_default();
        if ranges.held.get(&txn).is_some_and(|held| held.keys.covers(keys)) {
            return Ok(());
        }
        if let Some(ahead) = ranges.waiting_ahead(txn, keys) {
            return Err(ahead);
        }
        if ranges.hold(txn, keys, self.most) {
            bucket.holders.fetch_add(1, Ordering::Relaxed);
            self.trees.lock().entry(txn).or_default().push(tree);
        }
        Ok(())
    }

    /// Locks one key that `txn` has had its stamp on, whoever waits for it.
    pub fn keep(&self, txn: TxnId, tree: TreeId, key: &[u8]) {
        let bucket = self.bucket(tree);
        let mut trees = bucket.trees.lock();
        let keys = Interval { start: key, end: Some(&successor(key)) };
        if trees.entry(tree).or_default().hold(txn, keys, self.most) {
            bucket.holders.fetch_add(1, Ordering::Relaxed);
            self.trees.lock().entry(txn).or_default().push(tree);
        }
    }

    /// The holder of a range around `key` that a change by `txn` has to wait for; `txn` then stands
    /// in line until [`RangeLocks::leave`]. Asked under the latch of the key's leaf.
    pub fn in_the_way(&self, txn: TxnId, tree: TreeId, key: &[u8]) -> Option<TxnId> {
        if self.is_disarmed.load(Ordering::Relaxed) {
            return None;
        }
        let mut trees = self.bucket(tree).trees.lock();
        let ranges = trees.get_mut(&tree)?;
        let is_in_the_way =
            |(holder, held): &(&TxnId, &Held)| **holder != txn && held.keys.contains(key);
        let holder = *ranges.held.iter().find(is_in_the_way)?.0;
        if !ranges.waiting.iter().any(|(waiter, _)| *waiter == txn) {
            ranges.waiting.push((txn, key.to_vec()));
        }
        Some(holder)
    }

    /// A writer waits no more: it has made its change, or given up.
    pub fn leave(&self, txn: TxnId, tree: TreeId) {
        let mut trees = self.bucket(tree).trees.lock();
        if let Some(ranges) = trees.get_mut(&tree) {
            ranges.waiting.retain(|(waiter, _)| *waiter != txn);
            if ranges.is_empty() {
                trees.remove(&tree);
            }
        }
    }

    /// Gives back every range of a transaction.
    pub fn release(&self, txn: TxnId) {
        let Some(held) = self.trees.lock().remove(&txn) else { return };
        for tree in held {
            let bucket = self.bucket(tree);
            let mut trees = bucket.trees.lock();
            let Some(ranges) = trees.get_mut(&tree) else { continue };
            if ranges.held.remove(&txn).is_some() {
                bucket.holders.fetch_sub(1, Ordering::Relaxed);
            }
            if ranges.is_empty() {
                trees.remove(&tree);
            }
        }
    }

    /// Who holds ranges where: by tree, then by transaction.
    pub fn holders(&self) -> Vec<RangeHolder> {
        let mut holders = Vec::new();
        for bucket in &self.buckets {
            for (tree, ranges) in bucket.trees.lock().iter() {
                let holder = |(txn, held): (&TxnId, &Held)| RangeHolder {
                    tree: *tree,
                    txn: *txn,
                    intervals: held.keys.len(),
                    since: held.since,
                };
                holders.extend(ranges.held.iter().map(holder));
            }
        }
        holders.sort_by_key(|holder| (holder.tree, holder.txn));
        holders
    }

    /// How many intervals a transaction holds in each tree.
    pub fn held(&self, txn: TxnId) -> Vec<(TreeId, usize)> {
        let trees = self.trees.lock().get(&txn).cloned().unwrap_or_default();
        let intervals = |tree: TreeId| {
            let trees = self.bucket(tree).trees.lock();
            Some((tree, trees.get(&tree)?.held.get(&txn)?.keys.len()))
        };
        trees.into_iter().filter_map(intervals).collect()
    }
}

impl TreeRanges {
    fn is_empty(&self) -> bool {
        self.held.is_empty() && self.waiting.is_empty()
    }

    fn waiting_ahead(&self, txn: TxnId, keys: Interval<'_>) -> Option<TxnId> {
        let is_ahead = |(waiter, key): &&(TxnId, Vec<u8>)| *waiter != txn && keys.contains(key);
        self.waiting.iter().find(is_ahead).map(|(waiter, _)| *waiter)
    }

    /// Adds keys to what a transaction holds; true where these are its first ones.
    fn hold(&mut self, txn: TxnId, keys: Interval<'_>, most: usize) -> bool {
        let is_first = !self.held.contains_key(&txn);
        let new = || Held { keys: IntervalSet::default(), since: Instant::now() };
        let held = self.held.entry(txn).or_insert_with(new);
        held.keys.insert(keys);
        if held.keys.len() > most {
            held.keys.coarsen();
        }
        is_first
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const TREE: TreeId = TreeId(7);

    fn one(key: &[u8]) -> Vec<u8> {
        successor(key)
    }

    fn lock(ranges: &RangeLocks, txn: u64, start: &[u8], end: &[u8]) -> Result<(), TxnId> {
        ranges.lock(TxnId(txn), TREE, Interval { start, end: Some(end) })
    }

    #[test]
    fn a_range_is_in_the_way_of_others_only_and_only_within() {
        let ranges = RangeLocks::new(MOST_INTERVALS);
        assert!(!ranges.is_watched(TREE));
        lock(&ranges, 1, b"d", b"m").unwrap();
        assert!(ranges.is_watched(TREE));
        assert_eq!(ranges.in_the_way(TxnId(2), TREE, b"e"), Some(TxnId(1)));
        assert_eq!(ranges.in_the_way(TxnId(2), TREE, b"m"), None);
        assert_eq!(ranges.in_the_way(TxnId(1), TREE, b"e"), None);
        assert_eq!(ranges.in_the_way(TxnId(2), TreeId(8), b"e"), None);
    }

    #[test]
    fn nothing_is_left_after_the_last_release() {
        let ranges = RangeLocks::new(MOST_INTERVALS);
        lock(&ranges, 1, b"a", b"b").unwrap();
        lock(&ranges, 2, b"a", &one(b"a")).unwrap();
        assert_eq!(ranges.held(TxnId(2)), [(TREE, 1)]);
        ranges.release(TxnId(1));
        assert!(ranges.is_watched(TREE));
        ranges.release(TxnId(2));
        assert!(!ranges.is_watched(TREE) && ranges.holders().is_empty());
        assert!(ranges.buckets.iter().all(|bucket| bucket.trees.lock().is_empty()));
        assert!(ranges.trees.lock().is_empty());
    }

    #[test]
    fn a_new_reader_waits_behind_a_writer_that_waits() {
        let ranges = RangeLocks::new(MOST_INTERVALS);
        lock(&ranges, 1, b"a", b"m").unwrap();
        assert_eq!(ranges.in_the_way(TxnId(2), TREE, b"e"), Some(TxnId(1)));
        assert_eq!(lock(&ranges, 3, b"a", b"m"), Err(TxnId(2)));
        // Not where it waits, and not who has the range already.
        assert_eq!(lock(&ranges, 3, b"f", b"m"), Ok(()));
        assert_eq!(lock(&ranges, 1, b"b", b"g"), Ok(()));
        ranges.leave(TxnId(2), TREE);
        assert_eq!(lock(&ranges, 3, b"a", b"m"), Ok(()));
    }

    #[test]
    fn many_intervals_become_few_without_a_hole() {
        let ranges = RangeLocks::new(16);
        for key in 0..1000u32 {
            let key = key.to_be_bytes();
            lock(&ranges, 1, &key, &one(&key)).unwrap();
        }
        let (_, intervals) = ranges.held(TxnId(1))[0];
        assert!((1..=16).contains(&intervals), "{intervals} intervals");
        for key in 0..1000u32 {
            assert_eq!(ranges.in_the_way(TxnId(2), TREE, &key.to_be_bytes()), Some(TxnId(1)));
        }
        assert_eq!(ranges.in_the_way(TxnId(2), TREE, &1000u32.to_be_bytes()), None);
    }
}
