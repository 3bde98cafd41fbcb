//! Pages that come from elsewhere, where the log alone does not bring them back.

use super::Opening;
use crate::error::{Code, Result};
use crate::recovery::{Progress, RedoReport};
use crate::repair::{Lacking, Repairs};
use crate::txn::Shared;
use crate::types::{Lsn, PageId};

impl Opening {
    /// Takes pages that the log alone did not bring back from elsewhere.
    pub(super) fn ask_helpers(
        &self,
        shared: &Shared,
        report: &mut RedoReport,
        end: Lsn,
        progress: &Progress,
    ) -> Result<()> {
        let repairs = Repairs::of(shared)?;
        for helper in &self.options.helpers.0 {
            // What could not be read may be read the next time.
            let left = report.damaged.iter().filter(|(_, why)| why.code != Code::IoError);
            let left: Vec<PageId> = left.map(|(page, _)| *page).collect();
            if left.is_empty() || repairs.only_reports() {
                break;
            }
            let lacking = Lacking {
                pages: &left,
                disk: &self.disk,
                log: &shared.core.log,
                database: self.control().database,
                page_size: shared.core.pool.page_size(),
                end,
                progress,
            };
            let repaired = match helper.copies(&lacking) {
                Ok(elsewhere) => repairs.repair_after_redo_from(&left, &elsewhere, end, progress)?,
                Err(error) if progress.is_cancelled() => return Err(error),
                // Who cannot be reached has nothing.
                Err(_) => continue,
            };
            report.damaged.retain(|(page, _)| !repaired.contains(page));
        }
        Ok(())
    }
}
