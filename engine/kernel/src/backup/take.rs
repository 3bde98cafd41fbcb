//! Taking a backup: pages first, then the log from before the first page to after the last.

use std::time::Instant;

use super::current::{Stretch, page_not_found};
use super::manifest::{MANIFEST, Manifest, ParentName, Piece};
use super::pace::Pace;
use super::packer::Packer;
use super::parts::{Again, Lists, To, is_part};
use super::seal::{Keyring, Locks, Seal, Secret};
use super::unfinished::{self, Unfinished};
use super::{PAGES, Summary, marks};
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
/// Bytes of pages in one part: what is lost at most where a backup is cut off.
pub(super) const PART_BYTES: u64 = 256 << 20;

/// The backup that an increment adds to.
#[derive(Clone, Debug)]
pub struct Base {
    /// Its directory's name.
    pub name: String,
    pub manifest: Manifest,
}

/// How a backup is taken.
#[derive(Clone, Debug)]
pub struct Taken {
    /// None for a full backup.
    pub base: Option<Base>,
    pub sequence: u64,
    /// 0: as fast as it goes.
    pub bytes_per_second: u64,
    /// See [`super::Wanted::resumable`].
    pub resumable: bool,
    /// Bytes of pages in one part.
    pub part_bytes: u64,
    /// What it is sealed with; the key of the base, where that is sealed.
    pub key: Option<Secret>,
}

impl Default for Taken {
    fn default() -> Taken {
        Taken {
            base: None,
            sequence: 0,
            bytes_per_second: 0,
            resumable: false,
            part_bytes: PART_BYTES,
            key: None,
        }
    }
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
    /// What is durable of it so far.
    unfinished: Unfinished,
    locks: Option<Locks>,
    seal: Option<Seal>,
}

/// What a scan of the pages comes to.
enum Seen<'p> {
    Page(PageId, &'p Page),
    /// Everything before this was given.
    ChunkEnd(PageId),
}

type Each<'e, T> = dyn FnMut(&mut T, Seen<'_>) -> Result<()> + 'e;

/// Takes a full backup of a database in use onto an empty disk. After an error or `Cancelled`
/// its files are removed again.
pub fn take_to(store: &Store, target: &dyn Disk, progress: &Progress) -> Result<Summary> {
    take_with(store, target, Taken::default(), progress)
}

/// As [`take_to`], full or incremental. What a recovery has left to redo is redone first; the error
/// of a page that cannot be redone is raised.
pub fn take_with(store: &Store, target: &dyn Disk, how: Taken, progress: &Progress) -> Result<Summary> {
    let started = Instant::now();
    if let Some(base) = &how.base {
        ensure_history(store, &base.manifest)?;
    }
    // Pages are copied from their places.
    store.ensure_redone(progress)?;
    let mut found = if how.resumable { find_unfinished(store, target, &how)? } else { None };
    let (locks, seal) = sealing(&how, &mut found)?.unzip();
    refresh(store, how.base.is_some(), progress)?;
    let (pin, from, control) = store.checkpointer().pin_with_undo(store.shared());
    let pace = Pace::new(how.bytes_per_second);
    let unfinished = found.unwrap_or_default();
    let (pieces, pages) = (unfinished.pieces.clone(), unfinished.pages);
    let mut taking =
        Taking { store, target, progress, how, pace, pieces, pages, unfinished, locks, seal };
    let resumed_pages = pages;
    taking.remove_rest();
    let taken = taking.take(from, control);
    store.checkpointer().unpin(pin);
    match taken {
        Ok(manifest) => {
            if let Err(error) = store.remember_backup(&manifest.id) {
                // The backup is whole all the same; only increments to it will be refused.
                let told = vec![("error", error.to_string().into())];
                store.shared().events.push("backup_not_remembered", told);
            }
            let summary = manifest.summary(started.elapsed().as_secs_f64());
            Ok(Summary { resumed_pages, ..summary })
        }
        Err(error) => {
            taking.remove_rest();
            Err(error)
        }
    }
}

/// What an earlier attempt left on `target`, where it was begun in the history that the database is
/// in, and on top of the same backup.
fn find_unfinished(store: &Store, target: &dyn Disk, how: &Taken) -> Result<Option<Unfinished>> {
    let Some(found) = Unfinished::read(target) else { return Ok(None) };
    let control = store.checkpointer().control();
    let parent = how.base.as_ref().map_or("", |base| base.manifest.id.as_str());
    let fits = found.database == hex(&control.database.0)
        && found.page_size == u64::from(control.page_size)
        && found.parent == parent
        && marks::has(&**store.disk(), &found.id)?;
    Ok(fits.then_some(found))
}

/// What the backup is sealed with: as what it goes on with, where the key fits that; else `found` is
/// given up. `BackupLocked` where an increment is to be sealed with another key than its base,
/// `IncrementRefused` where one of the two is sealed and the other is not.
fn sealing(how: &Taken, found: &mut Option<Unfinished>) -> Result<Option<(Locks, Seal)>> {
    let parent = how.base.as_ref().map(|base| base.manifest.locks.as_ref());
    let mut keys = Keyring::default();
    let Some(key) = &how.key else {
        if let Some(locks) = parent.flatten() {
            keys.open(locks, None)?;
        }
        found.take_if(|found| found.locks.is_some());
        return Ok(None);
    };
    if parent == Some(None) {
        return Err(Error::new(Code::IncrementRefused)
            .with("reason", "it is not encrypted: only a full backup begins to be"));
    }
    if let Some(locks) = found.as_ref().and_then(|found| found.locks.clone())
        && let Ok(seal) = keys.open(&locks, Some(key))
    {
        return Ok(Some((locks, seal)));
    }
    *found = None;
    keys.create(key, parent.flatten()).map(Some)
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

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Taking<'_> {
    fn shared(&self) -> &Shared {
        self.store.shared()
    }

    fn take(&mut self, from: Lsn, control: ControlData) -> Result<Manifest> {
        let taken_at = unix_micros();
        self.copy_pages(&control)?;
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
            locks: self.locks.clone(),
            mac: None,
            pieces: self.pieces.clone(),
        };
        self.progress.ensure_going()?;
        self.target.sync_dir("")?;
        let file = self.target.open(MANIFEST, OpenMode::Create)?;
        file.write_at(manifest.encode(self.seal.as_ref()).as_bytes(), 0)?;
        file.sync()?;
        for path in unfinished::PATHS {
            // It is whole now, whether they are there or not.
            let _ = self.target.remove(path);
        }
        self.target.sync_dir("")?;
        Ok(manifest)
    }

    /// Removes all that does not belong to what the backup can go on with. The manifest goes first:
    /// what is then left is no backup.
    fn remove_rest(&self) {
        let kept = &self.unfinished.pieces;
        let is_kept = |name: &str| kept.iter().any(|piece| piece.name == name);
        let own = self.target.list("").unwrap_or_default();
        let parts = own.into_iter().filter(|name| is_part(name) && !is_kept(name));
        let logs = self.target.list(segments::FOLDER).unwrap_or_default();
        let logs = logs.into_iter().map(|name| format!("{}/{name}", segments::FOLDER));
        let begun = unfinished::PATHS.iter().filter(|_| kept.is_empty());
        let single = [MANIFEST, CONTROL].iter().chain(begun).map(|name| (*name).to_owned());
        for name in single.chain(parts).chain(logs) {
            // The error that led here is the one to be told.
            let _ = self.target.remove(&name);
        }
    }

    fn copy_pages(&mut self, control: &ControlData) -> Result<()> {
        let size = self.shared().core.pool.page_size();
        self.ensure_not_shorter(size)?;
        self.progress.begin("pages", "pages", u64::from(self.shared().core.pool.file_pages()));
        let (from, changed_since) = (self.unfinished.next, self.unfinished.redo_lsn);
        self.progress.add(u64::from(from.0));
        let before = self.how.base.as_ref().map(|base| base.manifest.redo_lsn);
        let seal = self.seal.clone();
        let to = To { target: self.target, seal: seal.as_ref() };
        let mut lists = Lists::create(to, size, before, self.unfinished.parts)?;
        self.scan(from, PageId::NONE, &mut |taking, seen| match seen {
            Seen::Page(id, page) => lists.put(id, page),
            Seen::ChunkEnd(next) if taking.how.resumable && lists.passed() >= taking.how.part_bytes => {
                taking.end_part(&mut lists, next, control)
            }
            Seen::ChunkEnd(_) => Ok(()),
        })?;
        let (pieces, pages) = lists.end()?;
        self.pieces.extend(pieces);
        self.pages += pages;
        if from > PageId(0) {
            self.copy_again(from, changed_since, size)?;
        }
        let bytes = u64::from(self.shared().core.pool.file_pages()) * size as u64;
        if let Some(first) = self.pieces.iter_mut().find(|piece| piece.name == PAGES) {
            first.restored_bytes = bytes;
        }
        Ok(())
    }

    /// Makes durable what was copied so far, for a backup that is cut off to go on after it.
    fn end_part(&mut self, lists: &mut Lists<'_>, next: PageId, control: &ControlData) -> Result<()> {
        let (pieces, pages) = lists.end()?;
        self.pieces.extend(pieces);
        self.pages += pages;
        let parts = self.unfinished.parts + 1;
        if self.unfinished.id.is_empty() {
            let seed = format!("{} {} {}", hex(&control.database.0), unix_micros(), std::process::id());
            self.unfinished = Unfinished {
                id: format!("unfinished {}", blake3::hash(seed.as_bytes()).to_hex()),
                database: hex(&control.database.0),
                page_size: u64::from(control.page_size),
                parent: self.how.base.as_ref().map_or_else(String::new, |base| base.manifest.id.clone()),
                redo_lsn: control.redo_lsn,
                locks: self.locks.clone(),
                ..Unfinished::default()
            };
            self.store.remember_backup(&self.unfinished.id)?;
        }
        let (pages, pieces) = (self.pages, self.pieces.clone());
        let unfinished = Unfinished { next, pages, parts, pieces, ..self.unfinished.clone() };
        unfinished.write(self.target)?;
        self.unfinished = unfinished;
        lists.begin(parts)
    }

    /// Takes what changed among the pages before `before` since they were copied.
    fn copy_again(&mut self, before: PageId, changed_since: Lsn, size: usize) -> Result<()> {
        self.progress.begin("pages changed since", "pages", u64::from(before.0));
        let seal = self.seal.clone();
        let mut again = Again::create(To { target: self.target, seal: seal.as_ref() }, size)?;
        self.scan(PageId(0), before, &mut |_, seen| match seen {
            Seen::Page(id, page) if page.lsn() > changed_since => again.put(id, page),
            _ => Ok(()),
        })?;
        let (piece, pages) = again.finish()?;
        self.pieces.push(piece);
        self.pages += pages;
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

    /// Gives `each` the pages from `from` up to `to` that were ever written.
    fn scan(&mut self, from: PageId, to: PageId, each: &mut Each<'_, Self>) -> Result<()> {
        let space = &self.store.shared().core.space;
        for group in from.0 / GROUP..space.groups() {
            if group * GROUP >= to.0 {
                break;
            }
            if let Some(map) = space.map(group)?.map(|map| map.clone()) {
                self.scan_group(group, &map, (from, to), each)?;
            }
        }
        Ok(())
    }

    fn scan_group(
        &mut self,
        group: u32,
        map: &Page,
        (from, to): (PageId, PageId),
        each: &mut Each<'_, Self>,
    ) -> Result<()> {
        let pool = &self.store.shared().core.pool;
        let size = pool.page_size();
        let mut stretch = Stretch::new(size)?;
        let step = stretch.step(size);
        let first = group * GROUP;
        let last = (first + GROUP).min(pool.file_pages());
        // Room comes before use: a page in use beyond the end of the file was cut off.
        if let Some(lost) = (last..first + GROUP).map(PageId).find(|id| is_used(map, *id)) {
            return Err(page_not_found(lost, pool.file_pages()));
        }
        let wanted = first.max(from.0)..last.min(to.0);
        for start in wanted.clone().step_by(step as usize) {
            self.progress.ensure_going()?;
            stretch.stand_at(PageId(start));
            let end = (start + step).min(wanted.end);
            for id in (start..end).map(PageId) {
                // Free pages come along: redo begins in the past, when they may have been in use.
                if let Some(page) = stretch.current(self.shared(), id, is_used(map, id))? {
                    each(self, Seen::Page(id, &page))?;
                }
            }
            each(self, Seen::ChunkEnd(PageId(end)))?;
            self.progress.add(u64::from(end - start));
            self.pace.spend(u64::from(end - start) * size as u64, self.progress)?;
        }
        Ok(())
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
        let mut packer = Packer::create(self.target, &name, self.seal.as_ref())?;
        let wanted = HEADER_BYTES + extent.limit.min(end).0 - extent.start.0;
        let mut chunk = crate::memory::zeroed(CHUNK, "copy the log")?;
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
