//! Taking a backup: pages first, then the log from before the first page to after the last.

use std::time::{Duration, Instant};

use super::manifest::{MANIFEST, Manifest, ParentName, Piece};
use super::pace::Pace;
use super::stream::Packer;
use super::{KEPT, KEPT_MAGIC, PAGES, PAGES_MAGIC, Summary, marks};
use crate::control::{Control, ControlData, PATH as CONTROL};
use crate::disk::{Disk, OpenMode};
use crate::error::{Code, Error, Result};
use crate::events::unix_micros;
use crate::log::segments::{self, Extent, HEADER_BYTES};
use crate::page::Page;
use crate::recovery::Progress;
use crate::space::{GROUP, is_used};
use crate::store::Store;
use crate::txn::Shared;
use crate::types::{Lsn, PageId};

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;
/// How often a page that looks bad is read again: it may be on its way out.
const LOOKS: u32 = 10;

/// The backup that an increment adds to.
#[derive(Clone, Debug)]
pub struct Base {
    /// Its directory's name.
    pub name: String,
    pub manifest: Manifest,
}

/// How a backup is taken.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// None for a full backup.
    pub base: Option<Base>,
    pub sequence: u64,
    /// 0: as fast as it goes.
    pub bytes_per_second: u64,
}

/// A backup being written.
struct Taking<'t> {
    store: &'t Store,
    target: &'t dyn Disk,
    progress: &'t Progress,
    how: Taken,
    pace: Pace,
    pieces: Vec<Piece>,
    pages: u64,
}

/// Takes a full backup of a database in use onto an empty disk. After an error or `Cancelled`
/// its files are removed again.
pub fn take_to(store: &Store, target: &dyn Disk, progress: &Progress) -> Result<Summary> {
    take_with(store, target, Taken::default(), progress)
}

/// As [`take_to`], full or incremental.
pub fn take_with(store: &Store, target: &dyn Disk, how: Taken, progress: &Progress) -> Result<Summary> {
    let started = Instant::now();
    if let Some(base) = &how.base {
        ensure_history(store, &base.manifest)?;
    }
    refresh(store, how.base.is_some(), progress)?;
    let (pin, from, control) = store.checkpointer().pin_with_undo(store.shared());
    let pace = Pace::new(how.bytes_per_second);
    let mut taking = Taking { store, target, progress, how, pace, pieces: Vec::new(), pages: 0 };
    let taken = taking.take(from, control);
    store.checkpointer().unpin(pin);
    match taken {
        Ok(manifest) => {
            if let Err(error) = store.remember_backup(&manifest.id) {
                // The backup is whole all the same; only increments to it will be refused.
                let told = vec![("error", error.to_string().into())];
                store.shared().events.push("backup_not_remembered", told);
            }
            Ok(manifest.summary(started.elapsed().as_secs_f64()))
        }
        Err(error) => {
            taking.remove();
            Err(error)
        }
    }
}

/// A checkpoint first: the less log there is after it, the smaller are this backup and the
/// increments that come to it. A segment is copied from its beginning, so an increment has one begun
/// for it.
fn refresh(store: &Store, is_increment: bool, progress: &Progress) -> Result<()> {
    let shared = store.shared();
    if shared.core.log.is_view() {
        return Ok(());
    }
    if is_increment {
        // It saves room in the backup, and must not cost one: the disk of the database may be full.
        let _ = shared.core.log.rotate();
    }
    progress.begin("checkpoint", "pages", 0);
    store.checkpointer().take(shared, true, &mut || !progress.is_cancelled())?;
    progress.ensure_going()
}

/// `IncrementRefused` unless `base` was taken of this database, in the history that it is in.
pub(super) fn ensure_history(store: &Store, base: &Manifest) -> Result<()> {
    let refused = |reason: &str| Err(Error::new(Code::IncrementRefused).with("reason", reason));
    let control = store.checkpointer().control();
    if base.database != hex(&control.database.0) || base.page_size != u64::from(control.page_size) {
        return refused("it is of another database");
    }
    if base.end_lsn > store.shared().core.log.end() {
        return refused("it is newer than the database, which was restored meanwhile");
    }
    if !marks::has(&**store.disk(), &base.id)? {
        return refused(
            "the database does not remember it: it was restored, or its log was cut, since then",
        );
    }
    Ok(())
}

fn page_not_found(page: PageId, pages: u32) -> Error {
    Error::new(Code::PageNotFound).with("page_id", page.0).with("available_pages", pages)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Taking<'_> {
    fn shared(&self) -> &Shared {
        self.store.shared()
    }

    fn take(&mut self, from: Lsn, control: ControlData) -> Result<Manifest> {
        let taken_at = unix_micros();
        self.copy_pages()?;
        let log = &self.shared().core.log;
        let end = log.end();
        let committed_at = log.last_commit_at();
        log.flush_to(end)?;
        self.copy_log(from, end, &control)?;
        self.write_control(ControlData { clean_end: end, pages_lag: true, ..control })?;
        let parent = self
            .how
            .base
            .as_ref()
            .map(|base| ParentName { name: base.name.clone(), id: base.manifest.id.clone() });
        let mut manifest = Manifest {
            id: String::new(),
            database: hex(&control.database.0),
            page_size: u64::from(control.page_size),
            taken_at,
            sequence: self.how.sequence,
            start_lsn: from,
            redo_lsn: control.redo_lsn,
            end_lsn: end,
            committed_at,
            pages: self.pages,
            parent,
            pieces: self.pieces.clone(),
        };
        self.progress.ensure_going()?;
        self.target.sync_dir("")?;
        let file = self.target.open(MANIFEST, OpenMode::Create)?;
        file.write_at(manifest.encode().as_bytes(), 0)?;
        file.sync()?;
        self.target.sync_dir("")?;
        Ok(manifest)
    }

    /// The manifest goes first: what is then left is no backup.
    fn remove(&self) {
        let names = [MANIFEST, PAGES, KEPT, CONTROL].map(str::to_owned);
        let logs = self.target.list(segments::FOLDER).unwrap_or_default();
        let logs = logs.into_iter().map(|name| format!("{}/{name}", segments::FOLDER));
        for name in names.into_iter().chain(logs) {
            // The error that led here is the one to be told.
            let _ = self.target.remove(&name);
        }
    }

    fn copy_pages(&mut self) -> Result<()> {
        let pool = &self.shared().core.pool;
        let size = pool.page_size();
        self.progress.begin("pages", "pages", u64::from(pool.file_pages()));
        self.ensure_not_shorter(size)?;
        let mut lists = Lists::create(self.target, size, self.how.base.as_ref())?;
        for group in 0..self.shared().core.space.groups() {
            let map = self.shared().core.space.map(group)?.map(|map| map.clone());
            if let Some(map) = map {
                self.copy_group(group, &map, &mut lists)?;
            }
        }
        self.pages = u64::from(lists.pages.count);
        let restored_bytes = u64::from(self.shared().core.pool.file_pages()) * size as u64;
        self.pieces.push(lists.pages.finish(PAGES, restored_bytes)?);
        if let Some((kept, _)) = lists.kept {
            self.pieces.push(kept.finish(KEPT, 0)?);
        }
        Ok(())
    }

    /// The data file never shrinks: one that is shorter than at the backup before was cut off.
    fn ensure_not_shorter(&self, size: usize) -> Result<()> {
        let pages = self.shared().core.pool.file_pages();
        let base = self.how.base.as_ref().and_then(|base| base.manifest.piece(PAGES));
        match base.map(|piece| piece.restored_bytes / size as u64) {
            Some(before) if before > u64::from(pages) => Err(page_not_found(PageId(pages), pages)),
            _ => Ok(()),
        }
    }

    fn copy_group(&mut self, group: u32, map: &Page, lists: &mut Lists) -> Result<()> {
        let pool = &self.store.shared().core.pool;
        let size = pool.page_size();
        let step = (CHUNK / size) as u32;
        let mut chunk = vec![0; step as usize * size];
        let first = group * GROUP;
        let last = (first + GROUP).min(pool.file_pages());
        // Room comes before use: a page in use beyond the end of the file was cut off.
        if let Some(lost) = (last..first + GROUP).map(PageId).find(|id| is_used(map, *id)) {
            return Err(page_not_found(lost, pool.file_pages()));
        }
        for start in (first..last).step_by(step as usize) {
            self.progress.ensure_going()?;
            let read = pool.read_run(PageId(start), &mut chunk)?;
            chunk[read..].fill(0);
            let ids = (start..(start + step).min(last)).map(PageId);
            for (id, raw) in ids.zip(chunk.chunks_exact(size)) {
                // Free pages come along: redo begins in the past, when they may have been in use.
                if let Some(page) = self.copy_page(id, raw, is_used(map, id))? {
                    lists.put(id, &page)?;
                }
            }
            self.progress.add(u64::from(step));
            self.pace.spend(read as u64, self.progress)?;
        }
        Ok(())
    }

    /// The page as memory has it, else as it lies in the file. Any state since the checkpoint
    /// will do. `None` for a page that was never written: the log has it, or it is not in use.
    fn copy_page(&self, id: PageId, raw: &[u8], is_used: bool) -> Result<Option<Page>> {
        let shared = self.shared();
        let pool = &shared.core.pool;
        let mut page = Page::zeroed(pool.page_size());
        page.bytes_mut().copy_from_slice(raw);
        let mut look = 0;
        loop {
            if let Some(cached) = pool.read_cached(id).map(|guard| guard.clone())
                && cached.id() == id
            {
                page = cached;
                page.seal();
                return Ok(Some(page));
            }
            let error = match page.validate(id, pool.log().end()) {
                Ok(()) => return Ok(Some(page)),
                Err(error) => error,
            };
            look += 1;
            let is_zeroed = error.field("corruption_type") == Some(&"zeroed".into());
            if is_zeroed && !is_used {
                return Ok(None);
            }
            if look == LOOKS {
                let is_idle = shared.txns.active().is_empty() && shared.txns.pending().is_empty();
                // A transaction at work may have taken the page and not written it yet.
                let is_lost = !is_zeroed || is_idle;
                return if is_used && is_lost { Err(error) } else { Ok(None) };
            }
            crate::sync::sleep(Duration::from_millis(1));
            page = pool.read_raw(id)?;
        }
    }

    fn copy_log(&mut self, from: Lsn, end: Lsn, control: &ControlData) -> Result<()> {
        let source = self.store.disk();
        let found = segments::discover(&**source, control.database)?;
        let extents = segments::extents(&found, from)?;
        self.progress.begin("log", "bytes", end.0 - from.0);
        for extent in extents.iter().filter(|extent| extent.start < end) {
            self.copy_segment(extent, end)?;
        }
        if extents.last().is_none_or(|last| last.limit < end) {
            return Err(Error::new(Code::WalCorrupted)
                .with("details", "the log ends before what was written to it")
                .with("lsn", end.0));
        }
        self.target.sync_dir(segments::FOLDER)
    }

    /// Copies a segment up to its own end, or that of the backup: nothing that came later.
    fn copy_segment(&mut self, extent: &Extent, end: Lsn) -> Result<()> {
        let source = self.store.disk().open(&extent.path, OpenMode::Read)?;
        let name = format!("{}.zst", extent.path);
        let mut packer = Packer::create(self.target, &name)?;
        let wanted = HEADER_BYTES + extent.limit.min(end).0 - extent.start.0;
        let mut chunk = vec![0; CHUNK];
        let mut at = 0;
        while at < wanted {
            self.progress.ensure_going()?;
            let count = (wanted - at).min(CHUNK as u64) as usize;
            if source.read_at(&mut chunk[..count], at)? < count {
                return Err(Error::new(Code::WalCorrupted)
                    .with("details", "a segment is shorter than its content")
                    .with("segment", extent.path.as_str()));
            }
            packer.write(&chunk[..count])?;
            at += count as u64;
            self.progress.add(count as u64);
            self.pace.spend(count as u64, self.progress)?;
        }
        let restored_bytes = source.size()?;
        let (bytes, hash) = packer.finish()?;
        self.pieces.push(Piece { name, bytes, hash, restored_bytes });
        Ok(())
    }

    fn write_control(&mut self, data: ControlData) -> Result<()> {
        Control::create(self.target, data)?;
        let file = self.target.open(CONTROL, OpenMode::Read)?;
        let bytes = file.size()?;
        let mut content = vec![0; usize::try_from(bytes).unwrap_or(0)];
        file.read_at(&mut content, 0)?;
        let hash = blake3::hash(&content).to_hex().to_string();
        self.pieces.push(Piece { name: CONTROL.to_owned(), bytes, hash, restored_bytes: bytes });
        Ok(())
    }
}

/// A compressed list with an end mark and a count.
struct List {
    packer: Packer,
    count: u32,
}

impl List {
    fn create(target: &dyn Disk, name: &str, head: &[&[u8]]) -> Result<List> {
        let mut packer = Packer::create(target, name)?;
        for part in head {
            packer.write(part)?;
        }
        Ok(List { packer, count: 0 })
    }

    fn put(&mut self, id: PageId, rest: &[u8]) -> Result<()> {
        self.packer.write(&id.0.to_le_bytes())?;
        self.count += 1;
        self.packer.write(rest)
    }

    fn finish(mut self, name: &str, restored_bytes: u64) -> Result<Piece> {
        self.packer.write(&PageId::NONE.0.to_le_bytes())?;
        self.packer.write(&self.count.to_le_bytes())?;
        let (bytes, hash) = self.packer.finish()?;
        Ok(Piece { name: name.to_owned(), bytes, hash, restored_bytes })
    }
}

/// The pages that a backup holds, and those that it leaves to the backups before it: all that have
/// not changed since before the start of redo of the last one.
struct Lists {
    pages: List,
    kept: Option<(List, Lsn)>,
}

impl Lists {
    fn create(target: &dyn Disk, size: usize, base: Option<&Base>) -> Result<Lists> {
        let pages = List::create(target, PAGES, &[&PAGES_MAGIC, &(size as u32).to_le_bytes()])?;
        let kept = match base {
            Some(base) => {
                let list = List::create(target, KEPT, &[&KEPT_MAGIC])?;
                Some((list, base.manifest.redo_lsn))
            }
            None => None,
        };
        Ok(Lists { pages, kept })
    }

    fn put(&mut self, id: PageId, page: &Page) -> Result<()> {
        match &mut self.kept {
            Some((kept, before)) if page.lsn() <= *before => kept.put(id, &page.lsn().0.to_le_bytes()),
            _ => self.pages.put(id, page.bytes()),
        }
    }
}
