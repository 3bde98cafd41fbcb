//! The lock table for callers that must not wait: they hold the interpreter's lock.

use super::table::{LockTable, Participant, State};
use super::{Mode, Resource, Work};
use crate::error::Result;
use crate::sync::{Arc, MutexGuard, soon};
use crate::types::TxnId;

/// The lock table, held for a moment: between its steps nothing has to be waited for.
pub struct Registry<'t> {
    state: MutexGuard<'t, State>,
}

impl LockTable {
    /// The table for a moment, where it is free.
    pub fn try_registry(&self) -> Option<Registry<'_>> {
        soon(|| self.state.try_lock()).map(|state| Registry { state })
    }
}

impl Registry<'_> {
    /// See [`LockTable::register`].
    pub fn register(&mut self, txn: TxnId, work: Arc<dyn Work>) {
        self.state.participants.insert(txn, Participant::new(work));
    }

    /// See [`LockTable::try_acquire`].
    pub fn try_acquire(&mut self, txn: TxnId, resource: &Resource, mode: Mode) -> Result<bool> {
        Ok(self.state.request(txn, resource, mode)?.is_none())
    }

    /// See [`LockTable::ended`].
    pub fn ended(&mut self, txn: TxnId) {
        self.state.ended(txn);
    }
}
