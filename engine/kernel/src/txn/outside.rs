//! Ending transactions for their owners: at the close, all at once, and where one holds more log
//! than it may.
//!
//! Whoever ends a transaction from outside claims its end; its owner begins nothing more, and learns
//! why with its next call. It is rolled back once the call that its owner is in has returned: at
//! once where somebody waits for that, else in the background, so that whoever finds that it holds
//! too much log never waits for an owner.

use std::sync::Arc;
use std::time::Duration;

use super::{Counts, Shared, Status, TxnState, roll_back_whole};
use crate::error::{Code, Error, Result};
use crate::types::{Lsn, TxnId};

/// How long to wait for an owner before looking again.
const LITTLE: Duration = Duration::from_micros(100);

/// How much log transactions may hold back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// For versions that a snapshot may still read; beyond, the snapshot gets `SnapshotTooOld`.
    pub snapshot_bytes: u64,
    /// For undoing a transaction; what it reads is then kept with that.
    pub transaction_bytes: u64,
    /// Beyond that limit a transaction is rolled back, not only told of.
    pub aborts: bool,
}

impl Default for LogLimits {
    fn default() -> Self {
        LogLimits { snapshot_bytes: 1 << 30, transaction_bytes: 8 << 30, aborts: false }
    }
}

impl Shared {
    /// Takes a transaction out of its owner's hands and wakes it; false where its end has begun. The
    /// taker must see to it that it is rolled back: by [`Self::end_taken`], or as an orphan.
    fn take_over(&self, state: &TxnState, fate: Error) -> bool {
        let is_taken = state.take_over(&fate);
        if is_taken {
            self.locks.doom(state.id, fate);
        }
        is_taken
    }

    /// Rolls back a transaction that was taken over; false where its owner is in the middle of a
    /// call. What its owner had committed by then stays.
    fn end_taken(&self, state: &TxnState, keep_on: &mut dyn FnMut() -> bool) -> Result<bool> {
        if state.is_at_work() {
            return Ok(false);
        }
        if state.status() != Status::Active {
            return Ok(true);
        }
        if state.first_lsn().is_none() {
            self.finish(state, Status::Aborted, &Counts::default());
            return Ok(true);
        }
        roll_back_whole(self, state, keep_on).map(|_| true)
    }

    /// Rolls back every transaction in flight, waiting for the calls that their owners are in;
    /// returns how many. All are woken first, so that none waits for another.
    pub fn end_all(&self, fate: &dyn Fn(TxnId) -> Error) -> Result<usize> {
        self.end_while(fate, &mut || true)
    }

    /// As [`Self::end_all`]. Once `keep_on` says no, those that are left are rolled back by nobody: a
    /// store that is closed then leaves them to the next recovery.
    pub fn end_while(
        &self,
        fate: &dyn Fn(TxnId) -> Error,
        keep_on: &mut dyn FnMut() -> bool,
    ) -> Result<usize> {
        let mut taken = std::mem::take(&mut *self.orphans.lock());
        let mut active = self.txns.active();
        active.retain(|state| self.take_over(state, fate(state.id)));
        taken.append(&mut active);
        let mut ended = 0;
        while let Some(state) = taken.pop() {
            if !keep_on() {
                taken.push(state);
                self.orphans.lock().append(&mut taken);
                break;
            }
            let was_active = state.status() == Status::Active;
            let failed = self.core.log.failed().map_or(Ok(()), Err);
            match failed.and_then(|()| self.end_taken(&state, keep_on)) {
                Ok(true) => ended += usize::from(was_active && state.status() == Status::Aborted),
                Ok(false) => {
                    taken.insert(0, state);
                    crate::sync::sleep(LITTLE);
                }
                Err(error) => {
                    taken.push(state);
                    self.orphans.lock().append(&mut taken);
                    return Err(error);
                }
            }
        }
        Ok(ended)
    }

    /// Rolls back the transactions that nobody else will, but for those whose owners are in the
    /// middle of a call; those that fail, or are not over yet, are looked at again by the next call.
    pub fn roll_back_orphans(&self, keep_on: &mut dyn FnMut() -> bool) -> Result<()> {
        let orphans = std::mem::take(&mut *self.orphans.lock());
        let mut outcome = Ok(());
        for state in orphans {
            match self.end_taken(&state, keep_on) {
                Ok(true) => {}
                Ok(false) => self.orphans.lock().push(state),
                Err(error) => {
                    self.orphans.lock().push(state);
                    outcome = Err(error);
                }
            }
        }
        outcome
    }

    /// Looks at who holds how much log, and takes over or tells of those that hold too much.
    pub fn enforce_limits(&self) {
        let end = self.core.log.end();
        let held = |from: Lsn, to: Lsn| if from.is_none() { 0 } else { to.0.saturating_sub(from.0) };
        for state in self.txns.active().iter().filter(|state| !state.is_ending()) {
            let first = state.first_lsn();
            let undo = held(first, end);
            // From its own first entry on, the log is kept for its undo, whatever it reads.
            let versions = held(state.pin, if first.is_none() { end } else { first });
            let limits = self.limits;
            if undo > limits.transaction_bytes {
                let action = if limits.aborts { "aborted" } else { "reported" };
                self.tell(state, "transaction", action, undo, limits.transaction_bytes);
                if limits.aborts {
                    let reason = "it held more log than transaction_log_limit allows";
                    let fate = Error::new(Code::TransactionAborted).with("txn", state.id.0);
                    self.give_up(state, fate.with("reason", reason));
                    continue;
                }
            }
            if versions > limits.snapshot_bytes {
                self.tell(state, "snapshot", "aborted", versions, limits.snapshot_bytes);
                let detail = "it would hold more log than snapshot_log_limit allows";
                let fate = Error::new(Code::SnapshotTooOld).with("txn", state.id.0);
                self.give_up(state, fate.with("detail", detail));
            }
        }
    }

    /// Takes a transaction over, to be rolled back in the background. One that only reads holds
    /// nothing from here on.
    fn give_up(&self, state: &Arc<TxnState>, fate: Error) {
        if !self.take_over(state, fate) {
            return;
        }
        if state.first_lsn().is_none() && !state.is_at_work() && state.status() == Status::Active {
            self.finish(state, Status::Aborted, &Counts::default());
        } else {
            self.orphans.lock().push(Arc::clone(state));
        }
    }

    fn tell(&self, state: &TxnState, what: &str, action: &str, bytes: u64, limit: u64) {
        if !state.tell_once(what) {
            return;
        }
        let fields = vec![
            ("txn", state.id.0.into()),
            ("what", what.into()),
            ("action", action.into()),
            ("bytes", bytes.into()),
            ("limit", limit.into()),
        ];
        self.events.push("log_held", fields);
    }
}
