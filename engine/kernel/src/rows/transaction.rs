//! Tables on real trees: what they need of a transaction.

use std::ops::Bound;

use super::access::{KeyRange, Record, TreeAccess};
use crate::error::Result;
use crate::memory;
use crate::sync::Arc;
use crate::txn::{Range, Transaction, TreeRef};

/// Beyond so many bytes a scan ends before its limit: rows may be long.
const SCAN_BYTES: usize = 8 << 20;

impl TreeAccess for Transaction {
    type Tree = TreeRef;

    fn get(&mut self, tree: TreeRef, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Transaction::get(self, tree, key)
    }

    fn insert(&mut self, tree: TreeRef, key: &[u8], value: &[u8]) -> Result<bool> {
        self.put(tree, key, value).map(|existed| !existed)
    }

    fn replace(&mut self, tree: TreeRef, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>> {
        if self.put(tree, key, value)? { self.replaced(tree, key) } else { Ok(None) }
    }

    fn remove(&mut self, tree: TreeRef, key: &[u8]) -> Result<Option<Vec<u8>>> {
        if Transaction::delete(self, tree, key)? { self.replaced(tree, key) } else { Ok(None) }
    }

    fn delete(&mut self, tree: TreeRef, key: &[u8]) -> Result<bool> {
        Transaction::delete(self, tree, key)
    }

    fn scan(&mut self, tree: TreeRef, range: &KeyRange, limit: usize) -> Result<Vec<Record>> {
        let range = half_open(range);
        let mut records = Vec::new();
        let mut bytes = 0;
        let mut from: Option<Vec<u8>> = None;
        while records.len() < limit && bytes < SCAN_BYTES {
            let batch = Transaction::scan(self, tree, &range, from.as_deref(), limit - records.len())?;
            bytes += batch.records.size_bytes();
            for (key, value) in &batch.records {
                records.push((key.to_vec(), memory::copied(value, "read records")?));
            }
            match batch.next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
        Ok(records)
    }

    fn count(&mut self, tree: TreeRef) -> Result<u64> {
        Transaction::count(self, tree)
    }

    fn max_key(&self) -> usize {
        Transaction::max_key(self)
    }

    fn take_row_id(
        &mut self,
        tree: TreeRef,
        stored: impl FnOnce(&mut Self) -> Result<i64>,
    ) -> Result<i64> {
        let shared = Arc::clone(self.shared());
        shared.row_ids.take(tree.id, || self.reading_newest(stored))
    }

    fn row_id_seen(
        &mut self,
        tree: TreeRef,
        number: i64,
        stored: impl FnOnce(&mut Self) -> Result<i64>,
    ) -> Result<()> {
        let shared = Arc::clone(self.shared());
        shared.row_ids.seen(tree.id, number, || self.reading_newest(stored))
    }

    fn atomically<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        Transaction::atomically(self, work)
    }
}

/// The same keys as `start <= key < stop`: the key after `k` is `k` with a zero byte.
fn half_open(range: &KeyRange) -> Range {
    let after = |key: &Vec<u8>| {
        let mut after = key.clone();
        after.push(0);
        after
    };
    Range {
        start: match &range.start {
            Bound::Unbounded => Vec::new(),
            Bound::Included(key) => key.clone(),
            Bound::Excluded(key) => after(key),
        },
        stop: match &range.stop {
            Bound::Unbounded => None,
            Bound::Included(key) => Some(after(key)),
            Bound::Excluded(key) => Some(key.clone()),
        },
        reverse: range.reverse,
        keys_only: false,
    }
}
