//! The catalogue: a tree whose rows name the other trees, so that creating and dropping one is
//! part of a transaction. Users of a tree lock it by intention, who drops it exclusively.
//!
//! Row: key `kind u8, name`; value `tree id u32, root page u32, description`.

use super::read::Range;
use super::{Garbage, Shared, Transaction};
use crate::core::{CATALOGUE, CATALOGUE_ROOT, Core};
use crate::error::{Code, Error, Result};
use crate::lock::Mode;
use crate::log::Op;
use crate::page::{Change, Kind, Page, Part, Record, Shape, get_u32};
use crate::tree::overflow::{self, Reference};
use crate::tree::scan::Next;
use crate::tree::{Seek, Tree, Waiting};
use crate::types::{Lsn, PageId, TreeId};

/// Where a tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TreeRef {
    pub id: TreeId,
    pub root: PageId,
}

pub const CATALOGUE_REF: TreeRef = TreeRef { id: CATALOGUE, root: CATALOGUE_ROOT };

/// What a tree is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatalogueKind {
    /// A plain tree of keys and values.
    Tree,
    /// The rows of a table; its description is the schema.
    Table,
    /// A secondary index; its name is "table\0index".
    Index,
}

impl CatalogueKind {
    fn byte(self) -> u8 {
        match self {
            CatalogueKind::Tree => b'k',
            CatalogueKind::Table => b't',
            CatalogueKind::Index => b'x',
        }
    }

    fn from_byte(byte: u8) -> Option<CatalogueKind> {
        [CatalogueKind::Tree, CatalogueKind::Table, CatalogueKind::Index]
            .into_iter()
            .find(|kind| kind.byte() == byte)
    }

    pub(super) fn key(self, name: &str) -> Vec<u8> {
        let mut key = vec![self.byte()];
        key.extend_from_slice(name.as_bytes());
        key
    }
}

/// One row of the catalogue.
#[derive(Clone, Debug)]
pub struct CatalogueEntry {
    pub kind: CatalogueKind,
    pub name: String,
    pub tree: TreeRef,
    pub description: Vec<u8>,
}

impl CatalogueEntry {
    /// The key of this row.
    pub fn key(&self) -> Vec<u8> {
        self.kind.key(&self.name)
    }

    fn encode(tree: TreeRef, description: &[u8]) -> Vec<u8> {
        let mut value = Vec::with_capacity(8 + description.len());
        value.extend_from_slice(&tree.id.0.to_le_bytes());
        value.extend_from_slice(&tree.root.0.to_le_bytes());
        value.extend_from_slice(description);
        value
    }

    pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<CatalogueEntry> {
        let kind = key.first().copied().and_then(CatalogueKind::from_byte);
        match (kind, value.len() >= 8) {
            (Some(kind), true) => Ok(CatalogueEntry {
                kind,
                name: String::from_utf8_lossy(&key[1..]).into_owned(),
                tree: TreeRef { id: TreeId(get_u32(value, 0)), root: PageId(get_u32(value, 4)) },
                description: value[8..].to_vec(),
            }),
            _ => Err(Error::new(Code::InconsistentState)
                .with("description", "a row of the catalogue cannot be read")
                .with("diagnostics", Vec::new())
                .with("recovery_suggestions", vec!["restore from backup".to_owned()])),
        }
    }
}

/// Writes the empty catalogue of a new database.
pub fn format(core: &Core) -> Result<()> {
    let space = core.space.allocate(1)?;
    debug_assert_eq!(space.pages[0], CATALOGUE_ROOT);
    let page = empty_root(core, CATALOGUE, space.pages[0]);
    write_root(core, super::Author::system(Op::Structure), space, &page, |_| {})
}

pub(super) fn empty_root(core: &Core, tree: TreeId, id: PageId) -> Page {
    let shape =
        Shape { id, kind: Kind::Leaf, level: 0, tree, right: PageId::NONE, low: &[], high: None };
    Page::format(core.pool.page_size(), shape)
}

/// Logs and writes a new tree's root page, the space map's bit in the same entry.
fn write_root(
    core: &Core,
    author: super::Author,
    space: crate::space::Allocation<'_>,
    page: &Page,
    under: impl FnOnce(crate::log::Span),
) -> Result<()> {
    let image = page.to_image();
    let change = Change::Image { image: &image };
    let mut root = core.pool.fresh(page.id())?;
    root.begin_change();
    space.begin_change();
    let mut parts = vec![Part { page: page.id(), previous: Lsn::NONE, change }];
    parts.extend(space.parts());
    let entry = core.append_with(author, page.tree(), &parts, &[], under)?;
    root.apply(&change, entry)?;
    space.apply(entry)
}

/// A record of the catalogue, copied out of its leaf.
#[derive(Clone, Debug)]
pub struct RawRow {
    key: Vec<u8>,
    is_long: bool,
    value: Vec<u8>,
}

impl RawRow {
    pub fn new(key: &[u8], is_long: bool, value: &[u8]) -> RawRow {
        RawRow { key: key.to_vec(), is_long, value: value.to_vec() }
    }

    /// `None` for a ghost.
    pub fn of(record: Record<'_>) -> Option<RawRow> {
        (!record.is_ghost()).then(|| RawRow {
            key: record.key.to_vec(),
            is_long: record.is_overflow(),
            value: record.value.to_vec(),
        })
    }

    /// The row; `None` where its long value has gone since: so has the row, or it is damaged.
    pub fn read(self, core: &Core) -> Result<Option<CatalogueEntry>> {
        if !self.is_long {
            return CatalogueEntry::decode(&self.key, &self.value).map(Some);
        }
        let reference = Reference::decode(&self.value)?;
        match overflow::read(core, CATALOGUE, reference)? {
            Some(value) => CatalogueEntry::decode(&self.key, &value).map(Some),
            None if self.is_there(core)? => Err(overflow::broken(CATALOGUE, reference)),
            None => Ok(None),
        }
    }

    /// Does the leaf still hold the row as it was copied?
    fn is_there(&self, core: &Core) -> Result<bool> {
        let tree = Tree { core, id: CATALOGUE, root: CATALOGUE_ROOT };
        let Some(leaf) = tree.leaf::<Waiting>(Seek::At(&self.key))? else { return Ok(false) };
        let found = leaf.search(&self.key).ok().map(|slot| leaf.record(slot));
        Ok(found.is_some_and(|record| !record.is_ghost() && record.value == self.value))
    }
}

/// The newest rows, committed or not, without a transaction: for undo after a crash, and for
/// checks.
pub fn newest_rows(core: &Core) -> Result<Vec<CatalogueEntry>> {
    let tree = Tree { core, id: CATALOGUE, root: CATALOGUE_ROOT };
    let mut rows = Vec::new();
    let mut position = Vec::new();
    loop {
        let mut raw = Vec::new();
        let next = tree.visit_forward(&position, &mut |record| {
            raw.extend(RawRow::of(record));
            true
        })?;
        for row in raw {
            rows.extend(row.read(core)?);
        }
        match next {
            Next::Fence(fence) => position = fence,
            _ => return Ok(rows),
        }
    }
}

/// Finds a tree's root without a transaction: for undo after a crash.
pub(super) fn find_root(shared: &Shared, wanted: TreeId) -> Result<PageId> {
    if wanted == CATALOGUE {
        return Ok(CATALOGUE_ROOT);
    }
    let found = newest_rows(&shared.core)?.into_iter().find(|row| row.tree.id == wanted);
    let row =
        found.ok_or_else(|| Error::new(Code::TreeNotFound).with("tree", format!("number {wanted}")))?;
    shared.roots.write().insert(wanted, row.tree.root);
    Ok(row.tree.root)
}

impl Transaction {
    /// Looks a tree up by kind and name, and locks it by intention.
    pub fn find_tree(&mut self, kind: CatalogueKind, name: &str) -> Result<Option<CatalogueEntry>> {
        let key = kind.key(name);
        let Some(value) = self.get(CATALOGUE_REF, &key)? else { return Ok(None) };
        let entry = CatalogueEntry::decode(&key, &value)?;
        self.lock_tree(entry.tree, Mode::IntentionShared)?;
        // Whoever was waited for may have dropped it.
        if self.get(CATALOGUE_REF, &key)?.as_deref() != Some(value.as_slice()) {
            return self.find_tree(kind, name);
        }
        self.shared.roots.write().insert(entry.tree.id, entry.tree.root);
        Ok(Some(entry))
    }

    /// The tree of this name; made where it is missing and `create` is set, `None` otherwise.
    pub fn tree(&mut self, name: &str, create: bool) -> Result<Option<TreeRef>> {
        if let Some(tree) = self.trees.get(name) {
            return Ok(Some(*tree));
        }
        let tree = match self.find_tree(CatalogueKind::Tree, name)? {
            Some(entry) => entry.tree,
            None if create => self.create_tree(CatalogueKind::Tree, name, &[])?,
            None => return Ok(None),
        };
        self.trees.insert(name.to_owned(), tree);
        Ok(Some(tree))
    }

    /// Makes an empty tree; the caller has looked that the name is free.
    pub fn create_tree(
        &mut self,
        kind: CatalogueKind,
        name: &str,
        description: &[u8],
    ) -> Result<TreeRef> {
        let _work = self.ensure_writable()?;
        let key = kind.key(name);
        if key.len() > self.max_key() {
            return Err(Error::argument("name", format!("is longer than {} bytes", self.max_key() - 1)));
        }
        self.atomically(|txn| {
            let tree = txn.make_root()?;
            txn.put(CATALOGUE_REF, &key, &CatalogueEntry::encode(tree, description))?;
            txn.lock_tree(tree, Mode::Exclusive)?;
            txn.shared.roots.write().insert(tree.id, tree.root);
            Ok(tree)
        })
    }

    fn make_root(&mut self) -> Result<TreeRef> {
        let core = &self.shared.core;
        let space = core.space.allocate(1)?;
        let tree = TreeRef { id: self.shared.txns.new_tree(), root: space.pages[0] };
        let page = empty_root(core, tree.id, tree.root);
        let state = &self.state;
        let author = self.author(Op::TreeMade, super::undo::room_of_tree());
        write_root(core, author, space, &page, |span| state.appended(span, &author))?;
        Ok(tree)
    }

    /// Changes a tree's description.
    pub fn describe(&mut self, entry: &CatalogueEntry, description: &[u8]) -> Result<()> {
        let value = CatalogueEntry::encode(entry.tree, description);
        self.put(CATALOGUE_REF, &entry.kind.key(&entry.name), &value).map(|_| ())
    }

    /// Drops a tree; its pages stay until the commit and as long as anybody may see them.
    pub fn drop_tree(&mut self, kind: CatalogueKind, name: &str) -> Result<bool> {
        let _work = self.ensure_writable()?;
        let Some(entry) = self.find_tree(kind, name)? else { return Ok(false) };
        self.lock_tree(entry.tree, Mode::Exclusive)?;
        self.atomically(|txn| {
            let count = i64::try_from(txn.count(entry.tree)?).unwrap_or(0);
            txn.delete(CATALOGUE_REF, &kind.key(name))?;
            *txn.deltas.entry(entry.tree.id).or_default() -= count;
            txn.garbage.push(Garbage::Tree { tree: entry.tree.id, root: entry.tree.root });
            txn.trees.remove(name);
            Ok(true)
        })
    }

    /// The rows of the catalogue of one kind, by name.
    pub fn catalogue(&mut self, kind: CatalogueKind) -> Result<Vec<CatalogueEntry>> {
        let range =
            Range { start: vec![kind.byte()], stop: Some(vec![kind.byte() + 1]), ..Range::default() };
        let mut entries = Vec::new();
        let mut from = None;
        loop {
            let batch = self.scan(CATALOGUE_REF, &range, from.as_deref(), 256)?;
            for (key, value) in &batch.records {
                entries.push(CatalogueEntry::decode(key, value)?);
            }
            match batch.next {
                Some(next) => from = Some(next),
                None => return Ok(entries),
            }
        }
    }
}
