//! The walk over a tree: every page once, parents before children, each level as one chain.
//!
//! At each level the walk remembers the page it visited last. The next child of a parent must be
//! the page that the chain leads to, perhaps over pages whose parent lacks their link, which is
//! legal; its low fence must be the parent's separator and the high fence of the page before it.

use super::Check;
use super::records::Leaf;
use crate::core::{CATALOGUE, CATALOGUE_ROOT};
use crate::error::{Code, Result};
use crate::page::{Kind, Page};
use crate::tree::Tree;
use crate::txn::{CatalogueEntry, CatalogueKind, RawRow, newest_rows};
use crate::types::{PageId, TreeId};

/// How often two pages are read again, until neither has changed between.
const LOOKS: u32 = 50;

/// Where the chain of a level stands.
enum Chain {
    Start,
    At(Link),
    /// Lost, by damage or by a change under way: the parents lead on.
    Lost,
}

/// The right end of the page visited last.
#[derive(Clone)]
struct Link {
    from: PageId,
    right: PageId,
    high: Option<Vec<u8>>,
}

pub(super) struct Walk<'w, 's> {
    pub check: &'w mut Check<'s>,
    pub tree: Tree<'s>,
    pub name: &'w str,
    chains: Vec<Chain>,
    /// Rows of the catalogue that were met.
    rows: Vec<RawRow>,
    pub count: i64,
}

/// The name of a tree as a report shows it.
pub fn shown_name(entry: &CatalogueEntry) -> &str {
    match (entry.kind, entry.name.split_once('\0')) {
        (CatalogueKind::Index, Some((_, index))) => index,
        _ => &entry.name,
    }
}

fn separator(parent: &Page, slot: usize) -> &[u8] {
    if slot == 0 { parent.low_fence() } else { parent.key(slot) }
}

impl<'s> Check<'s> {
    /// Walks the catalogue, then every tree in it.
    pub(super) fn walk_trees(&mut self) -> Result<()> {
        let core = &self.shared.core;
        // Where the sweep goes on beside the walk it tells of its pages too.
        let swept = if self.proved.is_some() { core.pool.file_pages() } else { 0 };
        self.progress.begin("trees", "pages", core.space.used_pages() + u64::from(swept));
        let catalogue = Tree { core, id: CATALOGUE, root: CATALOGUE_ROOT };
        let rows = self.walk(catalogue, "catalogue")?;
        for row in rows {
            let row = match row.read(core) {
                Ok(Some(row)) => row,
                Ok(None) => {
                    self.is_walk_whole = false;
                    continue;
                }
                Err(error) => {
                    self.is_walk_whole = false;
                    let code = error.code;
                    self.note(code, None, Some("catalogue"), super::describe(&error));
                    continue;
                }
            };
            let tree = Tree { core, id: row.tree.id, root: row.tree.root };
            self.walk(tree, shown_name(&row))?;
        }
        Ok(())
    }

    fn walk(&mut self, tree: Tree<'s>, name: &str) -> Result<Vec<RawRow>> {
        let mut walk = Walk { check: self, tree, name, chains: Vec::new(), rows: Vec::new(), count: 0 };
        walk.run()?;
        let (rows, count) = (walk.rows, walk.count);
        self.counts.insert(tree.id, (name.to_owned(), count));
        Ok(rows)
    }

    /// A copy of a page, from memory or past it. `None` where it is damaged, which is noted.
    pub(super) fn fetch(&mut self, id: PageId, tree: &str) -> Result<Option<Page>> {
        let pool = &self.shared.core.pool;
        self.progress.ensure_going()?;
        if let Some(page) = pool.read_cached(id).map(|guard| guard.clone()) {
            return self.sound(page, id, tree);
        }
        // What the file has of a page that is yet to be redone is not the page.
        if !pool.is_overdue(id)
            && let Ok(mut raw) = pool.read_raw(id)
            && self.holds(&mut raw, id)
        {
            return Ok(Some(raw));
        }
        match pool.read(id).map(|guard| guard.clone()) {
            Ok(page) => self.sound(page, id, tree),
            Err(error) => {
                self.note_error(id, Some(tree), error)?;
                Ok(None)
            }
        }
    }

    /// Is this, read from the file, the page? Its checksum may have been computed before.
    fn holds(&self, raw: &mut Page, id: PageId) -> bool {
        let log_end = self.shared.core.pool.log().end();
        match &self.proved {
            Some(proved) if proved.contains(id) => raw.validate_content(id, log_end).is_ok(),
            proved => {
                let is_whole = raw.validate(id, log_end).is_ok();
                if let Some(proved) = proved.as_ref().filter(|_| is_whole) {
                    proved.insert(id);
                }
                is_whole
            }
        }
    }

    fn sound(&mut self, page: Page, id: PageId, tree: &str) -> Result<Option<Page>> {
        match page.validate_structure() {
            Ok(()) => Ok(Some(page)),
            Err(detail) => {
                self.note(Code::PageDamaged, Some(id), Some(tree), format!("in memory: {detail}"));
                Ok(None)
            }
        }
    }

    fn is_catalogued(&self, id: TreeId) -> bool {
        // Where the catalogue itself is damaged, its trees are taken to be there.
        id == CATALOGUE
            || newest_rows(&self.shared.core)
                .map_or(true, |rows| rows.iter().any(|row| row.tree.id == id))
    }
}

impl Walk<'_, '_> {
    fn run(&mut self) -> Result<()> {
        let Some(root) = self.check.fetch(self.tree.root, self.name)? else { return self.lose() };
        let is_root = self.belongs(&root, root.level())
            && root.low_fence().is_empty()
            && root.high_fence().is_none();
        if !is_root {
            self.note(self.tree.root, "this page is not the root of its tree");
            return self.lose();
        }
        self.chains = (0..=root.level()).map(|_| Chain::Start).collect();
        self.visit(&root)?;
        for level in (0..self.chains.len()).rev() {
            while matches!(&self.chains[level], Chain::At(link) if !link.right.is_none()) {
                self.step(level)?;
            }
        }
        Ok(())
    }

    /// The walk does not come to all pages of its tree.
    fn lose(&mut self) -> Result<()> {
        self.check.is_walk_whole = false;
        Ok(())
    }

    /// Notes a finding, unless the tree has been dropped meanwhile: its pages go one by one.
    pub(super) fn note(&mut self, page: PageId, detail: &str) {
        if self.check.is_catalogued(self.tree.id) {
            self.check.note(Code::PageDamaged, Some(page), Some(self.name), detail);
        }
    }

    fn belongs(&self, page: &Page, level: u8) -> bool {
        matches!(page.kind(), Kind::Leaf | Kind::Inner)
            && page.tree() == self.tree.id
            && page.level() == level
    }

    fn visit(&mut self, page: &Page) -> Result<()> {
        self.check.progress.add(1);
        if !self.check.reached.insert(page.id()) {
            self.check.twice.push((page.id(), self.name.to_owned()));
        }
        self.chains[usize::from(page.level())] = Chain::At(Link {
            from: page.id(),
            right: page.right(),
            high: page.high_fence().map(<[u8]>::to_vec),
        });
        if page.level() > 0 {
            return (0..page.slots()).try_for_each(|slot| self.go_down(page, slot));
        }
        if self.tree.id == CATALOGUE {
            self.rows.extend((0..page.slots()).filter_map(|slot| RawRow::of(page.record(slot))));
        }
        self.check_records(&Leaf { page })
    }

    /// Visits a child, and before it the pages of the chain that no parent leads to.
    fn go_down(&mut self, parent: &Page, slot: usize) -> Result<()> {
        let level = usize::from(parent.level() - 1);
        let (child, low) = (parent.child(slot), separator(parent, slot));
        while let Chain::At(link) = &self.chains[level] {
            if link.right == child && link.high.as_deref() == Some(low) {
                break;
            }
            if link.high.as_deref().is_none_or(|high| high >= low) {
                let from = link.from;
                self.chains[level] = Chain::Lost;
                self.lose()?;
                if self.is_chain_wrong(parent.id(), child, low, from)? {
                    self.note(
                        from,
                        "the right link does not lead to the page that the parent names next",
                    );
                }
                break;
            }
            self.step(level)?;
        }
        let Some(page) = self.check.fetch(child, self.name)? else {
            self.chains[level] = Chain::Lost;
            return self.lose();
        };
        if self.belongs(&page, parent.level() - 1) && page.low_fence() == low {
            return self.visit(&page);
        }
        self.chains[level] = Chain::Lost;
        self.lose()?;
        if self.is_child_wrong(parent.id(), child, low)? {
            self.note(child, "the page is not the one that its parent means");
        }
        Ok(())
    }

    /// Follows the right link of a level once.
    fn step(&mut self, level: usize) -> Result<()> {
        let Chain::At(link) = std::mem::replace(&mut self.chains[level], Chain::Lost) else {
            return Ok(());
        };
        let Some(page) = self.check.fetch(link.right, self.name)? else { return self.lose() };
        if self.belongs(&page, level as u8) && Some(page.low_fence()) == link.high.as_deref() {
            return self.visit(&page);
        }
        self.lose()?;
        if self.is_link_wrong(link.from, level as u8)? {
            self.note(link.from, "the right link leads to a page that does not continue this one");
        }
        Ok(())
    }

    /// Reads `second` between two equal reads of `first`, so that both are of one moment, and
    /// judges them. False where they never stood still, or cannot be read.
    fn at_one_moment(
        &self,
        first: PageId,
        second: impl Fn(&Page) -> Option<PageId>,
        is_wrong: impl Fn(&Page, &Page) -> bool,
    ) -> Result<bool> {
        let pool = &self.check.shared.core.pool;
        for _ in 0..LOOKS {
            let Ok(before) = pool.read(first).map(|guard| guard.clone()) else { return Ok(false) };
            let Some(other) = second(&before) else { return Ok(false) };
            let Ok(between) = pool.read(other).map(|guard| guard.clone()) else { return Ok(false) };
            let Ok(after) = pool.read(first) else { return Ok(false) };
            if after.lsn() == before.lsn() {
                return Ok(is_wrong(&before, &between));
            }
            self.check.progress.ensure_going()?;
        }
        Ok(false)
    }

    fn leads_to(&self, parent: &Page, child: PageId, low: &[u8]) -> bool {
        self.tree.id == parent.tree()
            && parent.kind() == Kind::Inner
            && (0..parent.slots())
                .any(|slot| parent.child(slot) == child && separator(parent, slot) == low)
    }

    fn is_child_wrong(&self, parent: PageId, child: PageId, low: &[u8]) -> Result<bool> {
        let second = |parent: &Page| self.leads_to(parent, child, low).then_some(child);
        self.at_one_moment(parent, second, |parent, page| {
            !(self.belongs(page, parent.level() - 1) && page.low_fence() == low)
        })
    }

    fn is_chain_wrong(&self, parent: PageId, child: PageId, low: &[u8], from: PageId) -> Result<bool> {
        let second = |parent: &Page| self.leads_to(parent, child, low).then_some(from);
        self.at_one_moment(parent, second, |parent, left| {
            let is_left = self.belongs(left, parent.level() - 1) && left.low_fence() < low;
            let continues = left.right() == child && left.high_fence() == Some(low);
            is_left && !continues && left.high_fence().is_none_or(|high| high >= low)
        })
    }

    fn is_link_wrong(&self, from: PageId, level: u8) -> Result<bool> {
        let second =
            |left: &Page| (self.belongs(left, level) && !left.right().is_none()).then(|| left.right());
        self.at_one_moment(from, second, |left, right| {
            !(self.belongs(right, level) && Some(right.low_fence()) == left.high_fence())
        })
    }
}
