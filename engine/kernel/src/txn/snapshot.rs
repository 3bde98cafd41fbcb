//! What a reader sees, and what every reader sees alike.

use std::sync::Arc;

use super::Counts;
use crate::types::TxnId;

/// Which writers a reader sees: those that had ended before it began.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Every transaction below this had ended.
    pub min: TxnId,
    /// This one and those after it had not begun.
    next: TxnId,
    active: Box<[TxnId]>,
    pub counts: Arc<Counts>,
}

impl Snapshot {
    /// The snapshot of a transaction that begins while `active`, in order, are under way.
    pub fn new(id: TxnId, active: Box<[TxnId]>, counts: Arc<Counts>) -> Snapshot {
        Snapshot { min: active.first().copied().unwrap_or(id), next: id, active, counts }
    }

    pub fn sees(&self, writer: TxnId) -> bool {
        writer < self.min || (writer < self.next && self.active.binary_search(&writer).is_err())
    }
}

/// What had come to pass for everybody at one moment: it stays so for those who begin later.
///
/// Transactions that read the newest versions hold it up no longer than they write themselves.
#[derive(Clone, Debug)]
pub struct Horizon {
    oldest: Option<Snapshot>,
    active: Box<[TxnId]>,
    next: TxnId,
}

impl Horizon {
    /// `oldest` is the oldest snapshot that is still read; `active`, in order, who is under way.
    pub fn new(oldest: Option<Snapshot>, active: Box<[TxnId]>, next: TxnId) -> Horizon {
        Horizon { oldest, active, next }
    }

    /// True where every reader sees what `writer` did: what it replaced or deleted is needed by
    /// nobody.
    pub fn has_passed(&self, writer: TxnId) -> bool {
        let has_ended = writer < self.next && self.active.binary_search(&writer).is_err();
        has_ended && self.oldest.as_ref().is_none_or(|snapshot| snapshot.sees(writer))
    }
}
