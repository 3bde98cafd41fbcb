//! Numbers for rows that have no key of their own.
//!
//! Two transactions must not be given the same number, and neither sees what the other has
//! not committed: so the numbers are counted here, beside the transactions. A number that was
//! rolled back is not given again before the database is reopened.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::sync::Mutex;
use crate::types::TreeId;

/// The highest row number used in each tree, known from its first use on.
#[derive(Debug, Default)]
pub struct RowIds {
    highest: Mutex<HashMap<TreeId, i64>>,
}

impl RowIds {
    /// The next free number. `stored` reads the highest one in the tree, zero where it is
    /// empty; it is asked once for each tree, without any lock held.
    pub fn take(&self, tree: TreeId, stored: impl FnOnce() -> Result<i64>) -> Result<i64> {
        self.learn(tree, stored)?;
        let mut highest = self.highest.lock();
        let last = highest.entry(tree).or_default();
        let next = last.checked_add(1).ok_or_else(|| Error::argument("row", "no row number is left"))?;
        *last = next;
        Ok(next)
    }

    /// Makes sure that `number`, which was chosen by somebody else, is not given again.
    pub fn seen(&self, tree: TreeId, number: i64, stored: impl FnOnce() -> Result<i64>) -> Result<()> {
        self.learn(tree, stored)?;
        let mut highest = self.highest.lock();
        let last = highest.entry(tree).or_default();
        *last = number.max(*last);
        Ok(())
    }

    fn learn(&self, tree: TreeId, stored: impl FnOnce() -> Result<i64>) -> Result<()> {
        if self.highest.lock().contains_key(&tree) {
            return Ok(());
        }
        let stored = stored()?;
        // Another thread may have counted on meanwhile.
        let mut highest = self.highest.lock();
        let last = highest.entry(tree).or_default();
        *last = stored.max(*last);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn numbers_grow_and_are_given_once() {
        let ids = RowIds::default();
        let tree = TreeId(3);
        assert_eq!(ids.take(tree, || Ok(41)).unwrap(), 42);
        ids.seen(tree, 100, || panic!("known already")).unwrap();
        ids.seen(tree, 7, || panic!("known already")).unwrap();
        assert_eq!(ids.take(tree, || panic!("known already")).unwrap(), 101);
        ids.seen(tree, i64::MAX, || Ok(0)).unwrap();
        assert!(ids.take(tree, || Ok(0)).is_err());
    }
}
