//! What tables need of a transaction: ordered trees of bytes, and a way back.

use std::ops::Bound;

use crate::error::Result;

/// A record of a tree: key and value.
pub type Record = (Vec<u8>, Vec<u8>);

/// Which keys to read, and from which end.
#[derive(Clone, Debug)]
pub struct KeyRange {
    pub start: Bound<Vec<u8>>,
    pub stop: Bound<Vec<u8>>,
    pub reverse: bool,
}

impl KeyRange {
    pub const ALL: KeyRange =
        KeyRange { start: Bound::Unbounded, stop: Bound::Unbounded, reverse: false };

    /// What follows a key that has been read, in the direction of reading.
    pub fn go_on_after(&mut self, key: Vec<u8>) {
        if self.reverse {
            self.stop = Bound::Excluded(key);
        } else {
            self.start = Bound::Excluded(key);
        }
    }
}

/// The trees of a database as one transaction sees and changes them.
pub trait TreeAccess {
    /// Names a tree.
    type Tree: Copy;

    fn get(&mut self, tree: Self::Tree, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Adds a record; false where the key is there already. The caller then gives up the whole
    /// operation: what was there may have been replaced.
    fn insert(&mut self, tree: Self::Tree, key: &[u8], value: &[u8]) -> Result<bool>;

    /// Adds or replaces a record and returns the value that it replaced: the newest one, which
    /// below a snapshot need not be the one read before.
    fn replace(&mut self, tree: Self::Tree, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Removes a record and returns the value that it had, as `replace` does.
    fn remove(&mut self, tree: Self::Tree, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Removes a record; false where there was none.
    fn delete(&mut self, tree: Self::Tree, key: &[u8]) -> Result<bool>;

    /// At most `limit` records of a range, in the order of reading; fewer where they are long, none only
    /// at its end.
    fn scan(&mut self, tree: Self::Tree, range: &KeyRange, limit: usize) -> Result<Vec<Record>>;

    /// The number of records.
    fn count(&mut self, tree: Self::Tree) -> Result<u64>;

    /// The longest key a tree takes, in bytes.
    fn max_key(&self) -> usize;

    /// The next free row number of a tree. `stored` reads the highest one in it, zero where it
    /// is empty; it is asked once for each tree.
    fn take_row_id(
        &mut self,
        tree: Self::Tree,
        stored: impl FnOnce(&mut Self) -> Result<i64>,
    ) -> Result<i64>;

    /// Makes sure that a number which somebody else chose is not given again.
    fn row_id_seen(
        &mut self,
        tree: Self::Tree,
        number: i64,
        stored: impl FnOnce(&mut Self) -> Result<i64>,
    ) -> Result<()>;

    /// Runs one operation of several changes: after an error none of them is left.
    fn atomically<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T>;
}
