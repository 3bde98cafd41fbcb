//! What a cut of the log has emptied and nothing brings back.

use std::collections::HashSet;

use super::Opening;
use crate::error::{Code, Error, Result};
use crate::recovery::{Progress, RedoReport};
use crate::repair::{Repairs, looking_only};
use crate::space::{is_used, map_page_of};
use crate::types::PageId;

impl Opening {
    /// Pages in use that were emptied, for what they held came from beyond the cut, and of which the
    /// log has no image. One pass looks for all: most of them are in use no more.
    pub(super) fn lost_beyond_cut(
        &self,
        report: &RedoReport,
        progress: &Progress,
    ) -> Result<Vec<(PageId, Error)>> {
        let (Some(cut), Some(shared)) = (&self.cut, &self.shared) else { return Ok(Vec::new()) };
        let (Some(analysis), false) = (&self.analysis, self.is_lenient) else { return Ok(Vec::new()) };
        let pool = &shared.core.pool;
        let told: HashSet<PageId> = report.damaged.iter().map(|(page, _)| *page).collect();
        let repairs = Repairs::of(shared)?;
        let is_empty = |page: PageId| looking_only(|| pool.read(page).is_err());
        // Maps that no source reaches were made after the cut, with all they speak of. Were one of
        // them lost, the check after recovery would find what refers to its pages.
        let maps = cut.pages.iter().copied().filter(|page| *page == map_page_of(*page));
        let maps: Vec<PageId> = maps.filter(|page| !told.contains(page) && is_empty(*page)).collect();
        repairs.repair_after_redo(&maps, analysis.end, progress)?;
        looking_only(|| shared.core.space.drop_empty_groups())?;
        let is_in_use = |page: PageId| {
            let map = map_page_of(page);
            page == map || pool.read(map).map_or(true, |map| is_used(&map, page))
        };
        let mut empty = Vec::new();
        for page in cut.pages.iter().filter(|page| !told.contains(page)) {
            progress.ensure_going()?;
            if page.0 < pool.file_pages() && is_in_use(*page) && is_empty(*page) {
                empty.push(*page);
            }
        }
        let rebuilt: HashSet<PageId> =
            repairs.repair_after_redo(&empty, analysis.end, progress)?.into_iter().collect();
        let why = "it was written after the cut, and no image of it is left";
        let lost = empty.into_iter().filter(|page| !rebuilt.contains(page)).map(|page| {
            (page, Error::new(Code::PageDamaged).with("page_id", page.0).with("detail", why))
        });
        Ok(lost.collect())
    }
}
