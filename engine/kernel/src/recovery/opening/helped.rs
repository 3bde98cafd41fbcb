//! Pages that come from elsewhere, where the log alone does not bring them back.

use std::collections::HashSet;

use super::Opening;
use crate::disk::Disk;
use crate::error::{Code, Result};
use crate::recovery::{Progress, RedoReport};
use crate::repair::{Helpers, Lacking, Repairs};
use crate::sync::Arc;
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
        // What could not be read may be read the next time.
        let lacking = report.damaged.iter().filter(|(_, why)| why.code != Code::IoError);
        let pages: HashSet<PageId> = lacking.map(|(page, _)| *page).collect();
        let asked = pages.iter().copied().collect();
        let left = ask(&self.options.helpers, shared, &self.disk, asked, end, progress)?;
        report.damaged.retain(|(page, _)| !pages.contains(page) || left.contains(page));
        Ok(())
    }
}

/// Takes `pages` from whoever of the helpers has them, and brings them up to `end` from the log;
/// returns those that nobody has. No latch is held while a helper looks.
pub(in crate::recovery) fn ask(
    helpers: &Helpers,
    shared: &Shared,
    disk: &Arc<dyn Disk>,
    pages: Vec<PageId>,
    end: Lsn,
    progress: &Progress,
) -> Result<Vec<PageId>> {
    let repairs = Repairs::of(shared)?;
    let mut left = pages;
    left.sort_unstable();
    for helper in &helpers.0 {
        if left.is_empty() || repairs.only_reports() {
            break;
        }
        let lacking = Lacking {
            pages: &left,
            disk,
            log: &shared.core.log,
            database: shared.core.log.database(),
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
        left.retain(|page| !repaired.contains(page));
    }
    Ok(left)
}
