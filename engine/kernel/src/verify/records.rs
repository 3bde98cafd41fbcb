//! The records of a leaf: their stamps, and the long values that they refer to.

use super::trees::Walk;
use crate::error::Result;
use crate::page::{Page, Stamp};
use crate::types::{Lsn, TxnId};

/// A copy of a leaf.
pub(super) struct Leaf<'p> {
    pub page: &'p Page,
}

impl Walk<'_, '_> {
    pub(super) fn check_records(&mut self, leaf: &Leaf<'_>) -> Result<()> {
        // After the page was copied: what it names was there before.
        let shared = self.check.shared;
        let (next, log_end) = (shared.txns.next_id(), shared.core.log.end());
        let mut has_foreign_stamp = false;
        for slot in 0..leaf.page.slots() {
            let record = leaf.page.record(slot);
            has_foreign_stamp |= !can_be(record.stamp, next, log_end);
            if record.is_ghost() {
                continue;
            }
            self.count += 1;
            self.check.report.records += 1;
            if record.is_overflow() {
                self.check_long_value(leaf.page.id(), record.key, record.value)?;
            }
        }
        if has_foreign_stamp {
            self.note(leaf.page.id(), "a record names a writer or a log entry that never was");
        }
        Ok(())
    }
}

/// Can this transaction have written, and this entry have been?
fn can_be(stamp: Stamp, next: TxnId, log_end: Lsn) -> bool {
    stamp.txn.0 > 0 && stamp.txn < next && (stamp.lsn < log_end || stamp.lsn == Lsn::NONE)
}
