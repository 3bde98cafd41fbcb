//! What trees reach against what the space maps say, and row counts against rows.

use super::{Check, Problem};
use crate::error::{Code, Result};
use crate::page::{Kind, Page};
use crate::space::{GROUP, is_used, map_page_of};
use crate::types::PageId;

impl Check<'_> {
    /// Only of use while nothing happens: pages come and go otherwise.
    pub(super) fn compare_space(&mut self) -> Result<()> {
        let maps = self.maps()?;
        if !self.is_quiet() || !self.is_walk_whole || !self.is_damage_apart() {
            // Below damage nothing could be reached: what looks lost would not be.
            return Ok(());
        }
        let is_sound = self.report.problems.is_empty();
        for (page, name) in std::mem::take(&mut self.twice) {
            self.note(Code::PageDamaged, Some(page), Some(&name), "the page is in use at two places");
        }
        let (mut freed, mut lost) = (Vec::new(), Vec::new());
        for (group, map) in maps.iter().enumerate() {
            let first = group as u32 * GROUP;
            let is_marked = |page| map.as_ref().is_some_and(|map| is_used(map, page));
            for page in (first..first + GROUP).map(PageId) {
                match (self.reached.contains(page), is_marked(page)) {
                    (true, false) => freed.push(page),
                    (false, true) if page.0 != 0 && page != map_page_of(page) => lost.push(page),
                    _ => {}
                }
            }
        }
        for page in freed.into_iter().filter(|_| is_sound) {
            if self.is_in_use_but_free(page)? {
                self.note(
                    Code::PageDamaged,
                    Some(page),
                    None,
                    "the page is in use, but the space map says that it is free",
                );
            }
        }
        if self.report.problems.iter().any(|problem| !self.is_apart(problem)) {
            return Ok(());
        }
        for page in lost {
            if self.is_lost(page)? {
                self.report.lost.push(page);
            }
        }
        if self.options.reports_leaks && is_sound {
            for page in self.report.lost.clone() {
                let words = "the page is marked as in use; nothing uses it";
                self.note(Code::PagesLeaked, Some(page), None, words);
            }
        }
        Ok(())
    }

    /// True where all that was found are altered pages that no tree leads to.
    fn is_damage_apart(&self) -> bool {
        self.report.left_out == 0 && self.report.problems.iter().all(|problem| self.is_apart(problem))
    }

    fn is_apart(&self, problem: &Problem) -> bool {
        let is_altered = matches!(problem.code, Code::ChecksumMismatch | Code::PageDamaged);
        let own = |page: PageId| page.0 != 0 && page != map_page_of(page);
        let is_unmet = |page: PageId| own(page) && !self.reached.contains(page);
        is_altered && problem.tree.is_none() && problem.page.is_some_and(is_unmet)
    }

    /// Background work may have given the page back meanwhile, page and map under one latch.
    fn is_in_use_but_free(&self, id: PageId) -> Result<bool> {
        let pool = &self.shared.core.pool;
        let Ok(page) = pool.read(id) else { return Ok(true) };
        let map = pool.read(map_page_of(id))?;
        Ok(page.kind() != Kind::Free && !is_used(&map, id) && self.is_quiet())
    }

    fn is_lost(&self, id: PageId) -> Result<bool> {
        let pool = &self.shared.core.pool;
        let is_recent = |page: &Page| page.lsn() > self.start;
        // A page that background work has taken since the check began is no lost one.
        if pool.read(id).is_ok_and(|page| is_recent(&page)) {
            return Ok(false);
        }
        Ok(is_used(&*pool.read(map_page_of(id))?, id) && self.is_quiet())
    }

    /// Row counts come from commits: with nobody at work they are those of the trees.
    pub(super) fn compare_counts(&mut self) {
        let known = self.shared.txns.counts();
        if !self.is_quiet() || self.report.problems.iter().any(|p| p.code != Code::PagesLeaked) {
            return;
        }
        let mut counted: Vec<_> = std::mem::take(&mut self.counts).into_iter().collect();
        counted.sort_by_key(|(tree, _)| *tree);
        for (tree, (name, rows)) in counted {
            let expected = known.get(&tree).copied().unwrap_or(0);
            if expected != rows {
                let detail = format!("the tree holds {rows} records, but its count says {expected}");
                self.note(Code::InconsistentState, None, Some(&name), detail);
            }
        }
    }
}
