//! What tables need of a transaction: ordered trees of bytes, and a way back.

use std::ops::Bound;

use super::row_ids::RowIds;
use crate::error::Result;
use crate::types::TreeId;

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
    fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// The newest version of a record, once no other transaction is changing it; none can
    /// change it before this one ends. Raises `WriteConflict` where a snapshot may not see it.
    fn get_for_update(&self, tree: TreeId, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Adds a record; false, and nothing changed, where the key is there already.
    fn insert(&self, tree: TreeId, key: &[u8], value: &[u8]) -> Result<bool>;

    /// Adds or replaces a record.
    fn put(&self, tree: TreeId, key: &[u8], value: &[u8]) -> Result<()>;

    /// Removes a record; false where there was none.
    fn delete(&self, tree: TreeId, key: &[u8]) -> Result<bool>;

    /// At most `limit` records of a range, in the order of reading.
    fn scan(&self, tree: TreeId, range: &KeyRange, limit: usize) -> Result<Vec<Record>>;

    /// The number of records.
    fn count(&self, tree: TreeId) -> Result<u64>;

    /// The longest key a tree takes, in bytes.
    fn max_key(&self) -> usize;

    /// The row numbers of the database; one object for all its transactions.
    fn row_ids(&self) -> &RowIds;

    /// A place in this transaction's changes to return to.
    fn mark(&self) -> Result<u64>;

    /// Takes back every change since `mark`.
    fn undo_to(&self, mark: u64) -> Result<()>;
}

/// Runs one operation of several changes: after an error none of them is left.
pub fn atomically<T>(
    access: &(impl TreeAccess + ?Sized),
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let mark = access.mark()?;
    work().map_err(|error| match access.undo_to(mark) {
        Ok(()) => error,
        Err(worse) => worse.because(error),
    })
}
