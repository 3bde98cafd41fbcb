//! Proving a backup, and making a database of it: the same pass, with or without a target.

use std::sync::Arc;
use std::time::Instant;

use super::stream::Unpacker;
use super::{Manifest, PAGES, PAGES_MAGIC, Piece, Summary, damaged};
use crate::control::{self, Control};
use crate::disk::{Disk, File, OpenMode};
use crate::error::{Error, Result};
use crate::log::segments;
use crate::page::{Page, get_u32, is_page_size};
use crate::recovery::{DATA_PATH, Progress};
use crate::store::RECOVERY_MARKER;
use crate::types::PageId;

const CHUNK: usize = 1 << 20;

/// One pass over a backup.
struct Pass<'p> {
    source: &'p dyn Disk,
    target: Option<&'p dyn Disk>,
    manifest: Manifest,
    progress: &'p Progress,
}

/// Checks the backup on `source`: sizes, hashes, and every page's checksum and structure.
pub fn verify_on(source: &dyn Disk, progress: &Progress) -> Result<Summary> {
    run(source, None, progress)
}

/// Rebuilds the database of the backup on `source` on the empty disk `target`; everything is
/// checked on the way. After an error its files are removed again.
pub fn restore_to(source: &dyn Disk, target: &dyn Disk, progress: &Progress) -> Result<Summary> {
    let restored = run(source, Some(target), progress);
    if restored.is_err() {
        remove(target);
    }
    restored
}

fn run(source: &dyn Disk, target: Option<&dyn Disk>, progress: &Progress) -> Result<Summary> {
    let started = Instant::now();
    let manifest = Manifest::read(source)?;
    let pass = Pass { source, target, manifest, progress };
    pass.all()?;
    Ok(pass.manifest.summary(started.elapsed().as_secs_f64()))
}

fn remove(target: &dyn Disk) {
    let logs = target.list(segments::FOLDER).unwrap_or_default();
    let logs = logs.into_iter().map(|name| format!("{}/{name}", segments::FOLDER));
    let names = [control::PATH, DATA_PATH, RECOVERY_MARKER].map(str::to_owned);
    for name in names.into_iter().chain(logs) {
        // The error that led here is the one to be told.
        let _ = target.remove(&name);
    }
}

impl Pass<'_> {
    fn all(&self) -> Result<()> {
        let size = self.manifest.page_size as usize;
        if !is_page_size(size) {
            return Err(damaged(super::MANIFEST, "the page size is impossible"));
        }
        let sizes = self.manifest.pieces.iter().map(|piece| piece.restored_bytes);
        let total = sizes.fold(0, u64::saturating_add);
        self.progress.begin(if self.target.is_some() { "restore" } else { "verify" }, "bytes", total);
        for piece in &self.manifest.pieces {
            match piece.name.as_str() {
                PAGES => self.pages(piece)?,
                control::PATH => self.control(piece)?,
                _ => self.segment(piece)?,
            }
        }
        self.ensure_complete()?;
        let Some(target) = self.target else { return Ok(()) };
        target.sync_dir(segments::FOLDER)?;
        crate::store::put_marker(target, RECOVERY_MARKER)?;
        // The control file comes last: without it, this is no database yet.
        Control::create(target, Control::read(self.source)?).map(|_| ())
    }

    fn ensure_complete(&self) -> Result<()> {
        let has = |name: &str| self.manifest.pieces.iter().any(|piece| piece.name == name);
        let data = Control::read(self.source)
            .map_err(|_| damaged(control::PATH, "the control file is damaged"))?;
        let fits = u64::from(data.page_size) == self.manifest.page_size
            && data.clean_end == self.manifest.end_lsn
            && data.redo_lsn >= self.manifest.start_lsn;
        if !(has(PAGES) && has(control::PATH) && fits) {
            return Err(damaged(super::MANIFEST, "its parts do not belong together"));
        }
        Ok(())
    }

    fn ensure_hash(piece: &Piece, (bytes, hash): (u64, String)) -> Result<()> {
        if bytes != piece.bytes {
            let detail = format!("it has {bytes} bytes instead of {}", piece.bytes);
            return Err(damaged(&piece.name, detail));
        }
        if hash != piece.hash {
            return Err(damaged(&piece.name, "its content is not what was written"));
        }
        Ok(())
    }

    /// Opens a compressed part. A missing one is damage.
    fn unpack(&self, piece: &Piece) -> Result<Unpacker> {
        Unpacker::open(self.source, &piece.name).map_err(|error| Self::tell_missing(piece, error))
    }

    fn tell_missing(piece: &Piece, error: Error) -> Error {
        if error.field("missing").is_some() { damaged(&piece.name, "it is missing") } else { error }
    }

    fn pages(&self, piece: &Piece) -> Result<()> {
        let size = self.manifest.page_size as usize;
        let wrong = |detail: &str| damaged(&piece.name, detail);
        let mut unpacker = self.unpack(piece)?;
        let mut head = [0; 12];
        unpacker.read_exact(&mut head)?;
        if head[..8] != PAGES_MAGIC || get_u32(&head, 8) as usize != size {
            return Err(wrong("it does not hold pages of this database"));
        }
        let mut writer = PageWriter::open(self.target, size, piece.restored_bytes)?;
        let mut page = Page::zeroed(size);
        let (mut count, mut last) = (0u64, None);
        loop {
            let mut number = [0; 4];
            unpacker.read_exact(&mut number)?;
            let id = PageId(u32::from_le_bytes(number));
            if id.is_none() {
                unpacker.read_exact(&mut number)?;
                break;
            }
            unpacker.read_exact(page.bytes_mut())?;
            self.check_page(piece, &page, id)?;
            if last >= Some(id) || u64::from(id.0) * size as u64 >= piece.restored_bytes {
                return Err(wrong("its pages are out of order"));
            }
            last = Some(id);
            writer.put(id, &page)?;
            count += 1;
            if count.is_multiple_of(128) {
                self.progress.ensure_going()?;
                self.progress.set(u64::from(id.0) * size as u64);
            }
        }
        if count != self.manifest.pages {
            return Err(wrong("it does not hold all pages"));
        }
        Self::ensure_hash(piece, unpacker.finish()?)?;
        self.progress.set(piece.restored_bytes);
        writer.finish()
    }

    fn check_page(&self, piece: &Piece, page: &Page, id: PageId) -> Result<()> {
        page.validate(id, self.manifest.end_lsn)
            .map_err(|error| damaged(&piece.name, format!("page {id} is damaged")).because(error))
    }

    fn segment(&self, piece: &Piece) -> Result<()> {
        // Nothing else: a forged name could lead out of the directory.
        let name = piece.name.strip_suffix(".zst").filter(|name| segments::is_segment_path(name));
        let name = name.ok_or_else(|| damaged(&piece.name, "it is no part of a backup"))?;
        let mut unpacker = self.unpack(piece)?;
        let file = match self.target {
            Some(target) => Some(target.open(name, OpenMode::Create)?),
            None => None,
        };
        if let Some(file) = &file {
            file.allocate(piece.restored_bytes)?;
        }
        let mut chunk = vec![0; CHUNK];
        let mut at = 0;
        loop {
            self.progress.ensure_going()?;
            let count = unpacker.read(&mut chunk)?;
            if at + count as u64 > piece.restored_bytes {
                return Err(damaged(&piece.name, "it is longer than its segment"));
            }
            if let Some(file) = &file {
                file.write_at(&chunk[..count], at)?;
            }
            at += count as u64;
            self.progress.add(count as u64);
            if count < chunk.len() {
                break;
            }
        }
        Self::ensure_hash(piece, unpacker.finish()?)?;
        file.map_or(Ok(()), |file| file.sync())
    }

    fn control(&self, piece: &Piece) -> Result<()> {
        let file = self
            .source
            .open(&piece.name, OpenMode::Read)
            .map_err(|error| Self::tell_missing(piece, error))?;
        let mut content = vec![0; usize::try_from(piece.bytes.min(1 << 20)).unwrap_or(0)];
        let read = file.read_at(&mut content, 0)?;
        let hash = blake3::hash(&content[..read]).to_hex().to_string();
        Self::ensure_hash(piece, (file.size()?, hash))
    }
}

/// Writes pages to their places, neighbours together.
struct PageWriter {
    file: Option<Arc<dyn File>>,
    run: Vec<u8>,
    first: PageId,
    size: usize,
}

impl PageWriter {
    fn open(target: Option<&dyn Disk>, size: usize, bytes: u64) -> Result<PageWriter> {
        let file = match target {
            Some(target) => {
                let file = target.open(DATA_PATH, OpenMode::Create)?;
                file.allocate(bytes)?;
                Some(file)
            }
            None => None,
        };
        Ok(PageWriter { file, run: Vec::with_capacity(CHUNK), first: PageId(0), size })
    }

    fn put(&mut self, id: PageId, page: &Page) -> Result<()> {
        if self.file.is_none() {
            return Ok(());
        }
        let next = u64::from(self.first.0) + (self.run.len() / self.size) as u64;
        if u64::from(id.0) != next || self.run.len() >= CHUNK {
            self.write()?;
            self.first = id;
        }
        self.run.extend_from_slice(page.bytes());
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        if let Some(file) = &self.file
            && !self.run.is_empty()
        {
            file.write_at(&self.run, u64::from(self.first.0) * self.size as u64)?;
        }
        self.run.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        self.write()?;
        self.file.map_or(Ok(()), |file| file.sync())
    }
}
