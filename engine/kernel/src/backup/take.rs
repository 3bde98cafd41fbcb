//! Taking a backup: pages first, then the log from before the first page to after the last.

use std::time::{Duration, Instant};

use super::stream::Packer;
use super::{MANIFEST, Manifest, PAGES, PAGES_MAGIC, Piece, Summary};
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

/// A backup being written.
struct Taking<'t> {
    store: &'t Store,
    target: &'t dyn Disk,
    progress: &'t Progress,
    pieces: Vec<Piece>,
    pages: u64,
}

/// Takes a full backup of a database in use onto an empty disk. After an error or `Cancelled`
/// its files are removed again.
pub fn take_to(store: &Store, target: &dyn Disk, progress: &Progress) -> Result<Summary> {
    let started = Instant::now();
    let (pin, from, control) = store.checkpointer().pin_with_undo(store.shared());
    let mut taking = Taking { store, target, progress, pieces: Vec::new(), pages: 0 };
    let taken = taking.take(from, control);
    store.checkpointer().unpin(pin);
    match taken {
        Ok(manifest) => Ok(manifest.summary(started.elapsed().as_secs_f64())),
        Err(error) => {
            taking.remove();
            Err(error)
        }
    }
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
        log.flush_to(end)?;
        self.copy_log(from, end, &control)?;
        self.write_control(ControlData { clean_end: end, pages_lag: true, ..control })?;
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let manifest = Manifest {
            database: hex(&control.database.0),
            page_size: u64::from(control.page_size),
            taken_at,
            start_lsn: from,
            end_lsn: end,
            pages: self.pages,
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
        let names = [MANIFEST.to_owned(), PAGES.to_owned(), CONTROL.to_owned()];
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
        let mut packer = Packer::create(self.target, PAGES)?;
        packer.write(&PAGES_MAGIC)?;
        packer.write(&(size as u32).to_le_bytes())?;
        for group in 0..self.shared().core.space.groups() {
            let map = self.shared().core.space.map(group)?.map(|map| map.clone());
            if let Some(map) = map {
                self.copy_group(group, &map, &mut packer)?;
            }
        }
        packer.write(&PageId::NONE.0.to_le_bytes())?;
        packer.write(&(self.pages as u32).to_le_bytes())?;
        let (bytes, hash) = packer.finish()?;
        let restored_bytes = u64::from(self.shared().core.pool.file_pages()) * size as u64;
        self.pieces.push(Piece { name: PAGES.to_owned(), bytes, hash, restored_bytes });
        Ok(())
    }

    fn copy_group(&mut self, group: u32, map: &Page, packer: &mut Packer) -> Result<()> {
        let pool = &self.store.shared().core.pool;
        let size = pool.page_size();
        let step = (CHUNK / size) as u32;
        let mut chunk = vec![0; step as usize * size];
        let first = group * GROUP;
        let last = (first + GROUP).min(pool.file_pages());
        for start in (first..last).step_by(step as usize) {
            self.progress.ensure_going()?;
            let read = pool.read_run(PageId(start), &mut chunk)?;
            chunk[read..].fill(0);
            let ids = (start..(start + step).min(last)).map(PageId);
            for (id, raw) in ids.zip(chunk.chunks_exact(size)) {
                // Free pages come along: redo begins in the past, when they may have been in use.
                if let Some(page) = self.copy_page(id, raw, is_used(map, id))? {
                    packer.write(&id.0.to_le_bytes())?;
                    packer.write(page.bytes())?;
                    self.pages += 1;
                }
            }
            self.progress.add(u64::from(step));
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
