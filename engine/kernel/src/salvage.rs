//! Salvage: the readable records of a database that cannot be recovered, put into a new one.
//!
//! First the log is brought to bear as far as it is valid, on an overlay; where not even that can
//! begin, the pages are taken as they are. Then every page is read by itself: leaves say to which
//! tree they belong, so neither inner pages nor roots are needed. A tree's leaves are taken from
//! the oldest to the newest, so that of several records of a key the newest stays. The original is
//! only read.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::buffer::DoubleWrite;
use crate::control::Control;
use crate::core::CATALOGUE;
use crate::disk::{Disk, File, OpenMode};
use crate::error::{Code, Error, Result};
use crate::memory;
use crate::page::{Kind, MAX_PAGE, MIN_PAGE, Page, Record};
use crate::recovery::{Beyond, DATA_PATH, Progress};
use crate::rows::{schema::Schema, tables};
use crate::store::{Ground, Recovering, Store, StoreOptions};
use crate::tree::overflow::{self, Reference};
use crate::txn::{CatalogueEntry, CatalogueKind, Isolation, TreeRef};
use crate::types::{Incarnation, Lsn, PageId, TreeId};

#[cfg(test)]
mod tests;

/// Pages read at a time.
const RUN: usize = 64;
/// Records in one transaction of the new database.
const BATCH: u64 = 2000;

/// What was saved of one tree or table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedTree {
    pub name: String,
    pub is_table: bool,
    pub records: u64,
    /// Records whose long value could not be read in full.
    pub lost_values: u64,
    /// Stretches of keys of which no page could be read.
    pub gaps: u64,
    /// Indexes that could not be built again.
    pub lost_indexes: Vec<String>,
}

/// What a salvage did.
#[derive(Clone, Debug, Default)]
pub struct SalvageReport {
    pub pages: u64,
    /// Pages in the file that hold something and cannot be trusted.
    pub damaged: Vec<PageId>,
    pub trees: Vec<SavedTree>,
    /// Why the log could not be brought to bear; empty where it was.
    pub without_log: String,
    /// Changes of transactions that never ended may be among the records.
    pub has_unfinished: bool,
    /// Bytes and commits of log that could not be used.
    pub lost_log_bytes: u64,
    pub lost_commits: u64,
}

/// A leaf, by what its header says.
struct Leaf {
    tree: TreeId,
    lsn: Lsn,
    page: PageId,
}

struct Source {
    file: Arc<dyn File>,
    size: usize,
    copies: HashMap<PageId, Page>,
}

/// Saves what can be read of the database on `base` into a new one on the empty disk `target`.
/// `scratch` takes what redo writes; the caller holds the lock of `base` and removes `scratch`.
pub fn salvage(
    base: Arc<dyn Disk>,
    scratch: Arc<dyn Disk>,
    target: Arc<dyn Disk>,
    options: &StoreOptions,
    progress: &Progress,
) -> Result<SalvageReport> {
    let mut report = SalvageReport::default();
    let raised = match raise(&base, scratch, options, &mut report, progress) {
        Ok(recovering) => Some(recovering),
        Err(error) if error.is_interruption() => return Err(error),
        Err(error) => {
            report.without_log = error.to_string();
            report.has_unfinished = true;
            None
        }
    };
    let disk = raised.as_ref().map_or(&base, Recovering::disk);
    let source = Source::open(&**disk)?;
    let options = StoreOptions { page_size: source.size, database: None, ..options.clone() };
    let store = Store::create(target, &options)?;
    let saved = Saving { source: &source, store: &store, progress }.run(&mut report);
    let closed = saved.and_then(|()| store.close().map(|_| ()));
    let dropped = raised.map_or(Ok(()), Recovering::abandon);
    closed.and(dropped).map(|()| report)
}

/// Brings the valid part of the log to bear, leniently.
fn raise(
    base: &Arc<dyn Disk>,
    scratch: Arc<dyn Disk>,
    options: &StoreOptions,
    report: &mut SalvageReport,
    progress: &Progress,
) -> Result<Recovering> {
    let ground = Ground::Rehearsal(scratch);
    let mut recovering = Recovering::begin(Arc::clone(base), options, ground)?;
    let mut run = || -> Result<()> {
        let opening = &mut recovering.opening;
        let cut = opening.cut_log(Beyond::Keep, progress)?;
        (report.lost_log_bytes, report.lost_commits) = (cut.lost_bytes, cut.lost_commits);
        report.has_unfinished = !cut.pages.is_empty();
        opening.validate_log(progress)?;
        opening.restore_doublewrite(progress)?;
        opening.analyse(progress)?;
        opening.redo(progress)?;
        // A loser that cannot be undone leaves its records as they are: better told than lost.
        if let Err(error) = opening.undo(progress) {
            if error.is_interruption() {
                return Err(error);
            }
            report.has_unfinished = true;
            report.without_log = error.to_string();
        }
        let shared = opening.shared().ok_or_else(|| Error::internal("redo left no store"))?;
        shared.core.pool.write_out_all().map(|_| ())
    };
    match run() {
        Ok(()) => Ok(recovering),
        Err(error) => {
            // What lies on the scratch disk goes with it.
            let _ = recovering.abandon();
            Err(error)
        }
    }
}

impl Source {
    fn open(disk: &dyn Disk) -> Result<Source> {
        let file = disk.open(DATA_PATH, OpenMode::Read)?;
        let size = match Control::read(disk) {
            Ok(data) => data.page_size as usize,
            Err(_) => guess_page_size(&*file)?,
        };
        let mut copies = HashMap::new();
        if disk.exists(crate::buffer::DOUBLEWRITE_PATH)?
            && let Ok(doublewrite) = DoubleWrite::look(disk, size)
        {
            copies.extend(doublewrite.copies(Lsn::NONE, Lsn::MAX, Incarnation(u32::MAX))?);
        }
        Ok(Source { file, size, copies })
    }

    /// A page that can be trusted by itself: from the file, else from the double-write file.
    fn page(&self, id: PageId) -> Option<Page> {
        let mut page = Page::zeroed(self.size);
        let offset = u64::from(id.0) * self.size as u64;
        let read = self.file.read_at(page.bytes_mut(), offset).unwrap_or(0);
        if read == self.size && page.validate(id, Lsn::MAX).is_ok() {
            return Some(page);
        }
        self.copies.get(&id).cloned()
    }

    /// None where it cannot be read; `OutOfMemory` where it could.
    fn value(&self, tree: TreeId, record: &Record<'_>) -> Result<Option<Vec<u8>>> {
        if !record.is_overflow() {
            return Ok(Some(record.value.to_vec()));
        }
        let Ok(reference) = Reference::decode(record.value) else { return Ok(None) };
        let length = usize::try_from(reference.length).unwrap_or(usize::MAX);
        let mut value = Vec::new();
        let mut at = reference.head;
        while value.len() < length.min(overflow::MAX_VALUE) {
            let page = self.page(at);
            let piece = page.as_ref().and_then(|page| overflow::piece(page, tree, &reference.name));
            let (Some(page), Some(piece)) = (&page, piece.filter(|piece| !piece.is_empty())) else {
                return Ok(None);
            };
            memory::grow(&mut value, piece.len(), "salvage a long value")?;
            value.extend_from_slice(piece);
            at = page.right();
        }
        Ok((value.len() == length).then_some(value))
    }
}

/// Page 0 proves itself at the size that it was written with, and at no other.
fn guess_page_size(file: &dyn File) -> Result<usize> {
    let mut size = MIN_PAGE;
    while size <= MAX_PAGE {
        let mut page = Page::zeroed(size);
        if file.read_at(page.bytes_mut(), 0)? == size && page.validate(PageId(0), Lsn::MAX).is_ok() {
            return Ok(size);
        }
        size *= 2;
    }
    Err(Error::new(Code::RecoveryImpossible)
        .with("reason", "neither the control file nor the first page says how large a page is")
        .with("suggested_action", "restore the newest backup into a new directory"))
}

struct Saving<'a> {
    source: &'a Source,
    store: &'a Store,
    progress: &'a Progress,
}

impl Saving<'_> {
    fn run(&self, report: &mut SalvageReport) -> Result<()> {
        let mut leaves = self.sweep(report)?;
        leaves.sort_by_key(|leaf| (leaf.tree, leaf.lsn, leaf.page));
        let of = |tree: TreeId| -> &[Leaf] {
            let start = leaves.partition_point(|leaf| leaf.tree < tree);
            let end = leaves.partition_point(|leaf| leaf.tree <= tree);
            &leaves[start..end]
        };
        let mut known = self.catalogue(of(CATALOGUE))?;
        if self.gaps(of(CATALOGUE)) > 0 {
            // Trees whose row is lost get a name of their own; dropped ones may be among them.
            for tree in leaves.chunk_by(|a, b| a.tree == b.tree).map(|leaves| leaves[0].tree) {
                if tree > CATALOGUE && known.values().all(|entry| entry.tree.id != tree) {
                    let name = format!("salvaged tree {}", tree.0);
                    let tree = TreeRef { id: tree, root: PageId::NONE };
                    let kind = CatalogueKind::Tree;
                    let entry = CatalogueEntry { kind, name, tree, description: Vec::new() };
                    known.insert(entry.key(), entry);
                }
            }
        }
        self.progress.begin("salvage", "pages", leaves.len() as u64);
        for entry in known.values().filter(|entry| entry.kind != CatalogueKind::Index) {
            report.trees.push(self.save(entry, of(entry.tree.id))?);
        }
        Ok(())
    }

    /// Reads every page once and notes the leaves.
    fn sweep(&self, report: &mut SalvageReport) -> Result<Vec<Leaf>> {
        let size = self.source.size;
        let pages = self.source.file.size()? / size as u64;
        self.progress.begin("reading pages", "pages", pages);
        let mut leaves = Vec::new();
        let mut run = crate::memory::zeroed(RUN * size, "salvage")?;
        for first in (0..pages).step_by(RUN) {
            self.progress.ensure_going()?;
            self.progress.set(first);
            // Where a run cannot be read, its pages are tried one by one.
            let read = self.source.file.read_at(&mut run, first * size as u64).unwrap_or(0);
            for number in first..pages.min(first + RUN as u64) {
                let at = (number - first) as usize * size;
                let id = PageId(u32::try_from(number).unwrap_or(u32::MAX));
                if at + size <= read && run[at..at + size].iter().all(|byte| *byte == 0) {
                    continue;
                }
                report.pages += 1;
                match self.source.page(id) {
                    Some(page) if page.kind() == Kind::Leaf => {
                        memory::grow(&mut leaves, 1, "salvage")?;
                        leaves.push(Leaf { tree: page.tree(), lsn: page.lsn(), page: id });
                    }
                    Some(_) => {}
                    None => {
                        memory::grow(&mut report.damaged, 1, "salvage")?;
                        report.damaged.push(id);
                    }
                }
            }
        }
        Ok(leaves)
    }

    /// The rows of the catalogue that can be read, by key.
    fn catalogue(&self, leaves: &[Leaf]) -> Result<BTreeMap<Vec<u8>, CatalogueEntry>> {
        let mut rows = BTreeMap::new();
        for page in leaves.iter().filter_map(|leaf| self.source.page(leaf.page)) {
            for record in (0..page.slots()).map(|slot| page.record(slot)) {
                let value = self.source.value(CATALOGUE, &record)?.filter(|_| !record.is_ghost());
                match value.and_then(|value| CatalogueEntry::decode(record.key, &value).ok()) {
                    Some(entry) => rows.insert(record.key.to_vec(), entry),
                    None => rows.remove(record.key),
                };
            }
        }
        Ok(rows)
    }

    /// Stretches of a tree's keys that none of its leaves covers.
    fn gaps(&self, leaves: &[Leaf]) -> u64 {
        let mut ranges: Vec<(Vec<u8>, Option<Vec<u8>>)> = leaves
            .iter()
            .filter_map(|leaf| self.source.page(leaf.page))
            .map(|page| (page.low_fence().to_vec(), page.high_fence().map(<[u8]>::to_vec)))
            .collect();
        ranges.sort();
        let (mut gaps, mut reached) = (0, Some(Vec::new()));
        for (low, high) in ranges {
            let Some(end) = &reached else { break };
            gaps += u64::from(low > *end);
            if high.as_ref().is_none_or(|high| high > end) {
                reached = high;
            }
        }
        gaps + u64::from(reached.is_some())
    }

    fn save(&self, entry: &CatalogueEntry, leaves: &[Leaf]) -> Result<SavedTree> {
        let schema = std::str::from_utf8(&entry.description)
            .ok()
            .filter(|_| entry.kind == CatalogueKind::Table)
            .and_then(|text| Schema::from_json(text).ok());
        let mut saved = SavedTree {
            name: entry.name.clone(),
            is_table: schema.is_some(),
            gaps: self.gaps(leaves),
            ..SavedTree::default()
        };
        let at = self.make(entry, schema.as_ref())?;
        let mut txn = self.store.begin(Isolation::ReadCommitted, false)?;
        let mut changes = 0u64;
        for leaf in leaves {
            self.progress.ensure_going()?;
            self.progress.add(1);
            let Some(page) = self.source.page(leaf.page) else { continue };
            for record in (0..page.slots()).map(|slot| page.record(slot)) {
                let value = self.source.value(entry.tree.id, &record)?;
                match value {
                    _ if record.is_ghost() => drop(txn.delete(at, record.key)?),
                    Some(value) => drop(txn.put(at, record.key, &value)?),
                    None => saved.lost_values += 1,
                }
                changes += 1;
                if changes.is_multiple_of(BATCH) {
                    txn.commit()?;
                    txn = self.store.begin(Isolation::ReadCommitted, false)?;
                }
            }
        }
        saved.records = txn.count(at)?;
        txn.commit()?;
        for index in schema.iter().flat_map(|schema| &schema.indexes) {
            let columns: Vec<&str> = schema
                .iter()
                .flat_map(|schema| index.columns.iter().map(|c| schema.columns[*c].name.as_str()))
                .collect();
            let mut txn = self.store.begin(Isolation::ReadCommitted, false)?;
            let built = tables::create_index(
                &mut txn,
                self.store.disk(),
                &entry.name,
                &index.name,
                &columns,
                index.unique,
            )
            .and_then(|_| txn.commit());
            if built.is_err() {
                // Rows that came back twice may collide; the table is worth more than its index.
                saved.lost_indexes.push(index.name.clone());
            }
        }
        Ok(saved)
    }

    /// The empty tree or table that the records go to.
    fn make(&self, entry: &CatalogueEntry, schema: Option<&Schema>) -> Result<TreeRef> {
        let mut txn = self.store.begin(Isolation::ReadCommitted, false)?;
        let at = match schema {
            Some(schema) => {
                let bare = Schema { indexes: Vec::new(), ..schema.clone() };
                tables::create(&mut txn, &bare)?.tree
            }
            None => txn.create_tree(CatalogueKind::Tree, &entry.name, &[])?,
        };
        txn.commit()?;
        Ok(at)
    }
}
