//! Proving a backup, and making a database of it: the same pass, with or without a target.

use std::time::Instant;

use super::chain::{Link, ensure_parent, unlock};
use super::manifest::{MANIFEST, Manifest, Piece};
use super::pages::Layer;
use super::parts::is_part;
use super::placing::PageWriter;
use super::seal::Keyring;
use super::{KEPT, PAGES, Summary, damaged};
use crate::control::{self, Control};
use crate::disk::{Disk, OpenMode};
use crate::error::{Error, Result};
use crate::log::segments;
use crate::page::{Page, is_page_size};
use crate::recovery::{DATA_PATH, Progress};
use crate::store::RECOVERY_MARKER;

const CHUNK: usize = 1 << 20;

/// One pass over a backup and those it adds to.
pub(super) struct Pass<'p> {
    /// The backup, then what it adds to, down to the full one.
    links: &'p [Link<'p>],
    tip: &'p Link<'p>,
    target: Option<&'p dyn Disk>,
    progress: &'p Progress,
}

/// Checks the full backup on `source`: sizes, hashes, and every page's checksum and structure.
pub fn verify_on(source: &dyn Disk, progress: &Progress) -> Result<Summary> {
    let manifest = Manifest::read(source)?;
    Pass::new(&[alone(source, &manifest)?], None, progress)?.run()
}

/// Rebuilds the database of the full backup on `source` on the empty disk `target`; everything is
/// checked on the way. After an error its files are removed again.
pub fn restore_to(source: &dyn Disk, target: &dyn Disk, progress: &Progress) -> Result<Summary> {
    let manifest = Manifest::read(source)?;
    restore_links(&[alone(source, &manifest)?], target, progress)
}

fn alone<'p>(disk: &'p dyn Disk, manifest: &'p Manifest) -> Result<Link<'p>> {
    let seal = unlock(manifest, &mut Keyring::default(), None)?;
    Ok(Link { disk, manifest, place: String::new(), seal })
}

/// As [`restore_to`], from a backup and those that it adds to.
pub(super) fn restore_links(
    links: &[Link<'_>],
    target: &dyn Disk,
    progress: &Progress,
) -> Result<Summary> {
    let restored = Pass::new(links, Some(target), progress).and_then(|pass| pass.run());
    if restored.is_err() {
        remove(target);
    }
    restored
}

pub(super) fn remove(target: &dyn Disk) {
    let logs = target.list(segments::FOLDER).unwrap_or_default();
    let logs = logs.into_iter().map(|name| format!("{}/{name}", segments::FOLDER));
    let names = [control::PATH, DATA_PATH, RECOVERY_MARKER].map(str::to_owned);
    for name in names.into_iter().chain(logs) {
        // The error that led here is the one to be told.
        let _ = target.remove(&name);
    }
}

impl<'p> Pass<'p> {
    /// `target` gets the database; without, everything is read and checked only.
    pub fn new(
        links: &'p [Link<'p>],
        target: Option<&'p dyn Disk>,
        progress: &'p Progress,
    ) -> Result<Pass<'p>> {
        let tip = links.first().ok_or_else(|| Error::internal("a chain without a backup"))?;
        Ok(Pass { links, tip, target, progress })
    }

    pub fn run(&self) -> Result<Summary> {
        let started = Instant::now();
        self.all()?;
        Ok(self.tip.manifest.summary(started.elapsed().as_secs_f64()))
    }

    fn all(&self) -> Result<()> {
        for link in self.links {
            Self::ensure_complete(link).map_err(|error| link.tell(error))?;
        }
        for pair in self.links.windows(2) {
            ensure_parent(pair[0].manifest, pair[1].manifest).map_err(|e| pair[1].tell(e))?;
        }
        // What is restored of the others is their pages; a proof takes everything.
        let read = if self.target.is_some() { 1 } else { self.links.len() };
        self.progress.begin(
            if self.target.is_some() { "restore" } else { "verify" },
            "bytes",
            self.links[..read].iter().map(Self::total).fold(0, u64::saturating_add),
        );
        self.pages()?;
        for link in &self.links[..read] {
            self.log_and_control(link).map_err(|error| link.tell(error))?;
        }
        let Some(target) = self.target else { return Ok(()) };
        target.sync_dir(segments::FOLDER)?;
        crate::store::put_marker(target, RECOVERY_MARKER)?;
        // The control file comes last: without it, this is no database yet.
        Control::create(target, Control::read(self.tip.disk)?).map(|_| ())
    }

    fn total(link: &Link<'_>) -> u64 {
        let sizes = link.manifest.pieces.iter().map(|piece| piece.restored_bytes);
        sizes.fold(0, u64::saturating_add)
    }

    fn ensure_complete(link: &Link<'_>) -> Result<()> {
        let manifest = link.manifest;
        if !is_page_size(manifest.page_size as usize) {
            return Err(damaged(MANIFEST, "the page size is impossible"));
        }
        let data = Control::read(link.disk)
            .map_err(|_| damaged(control::PATH, "the control file is damaged"))?;
        let fits = u64::from(data.page_size) == manifest.page_size
            && data.clean_end == manifest.end_lsn
            && data.redo_lsn >= manifest.start_lsn
            && data.redo_lsn >= manifest.redo_lsn;
        let has = |name: &str| manifest.piece(name).is_some();
        let has_kept = has(KEPT) == manifest.parent.is_some();
        if !(has(PAGES) && has(control::PATH) && has_kept && fits) {
            return Err(damaged(MANIFEST, "its parts do not belong together"));
        }
        Ok(())
    }

    fn pages(&self) -> Result<()> {
        let size = self.tip.manifest.page_size as usize;
        let bytes = self.tip.manifest.piece(PAGES).map_or(0, |piece| piece.restored_bytes);
        let mut layer = Layer::open(self.links)?;
        let mut writer = PageWriter::open(self.target, size, bytes)?;
        let mut page = Page::zeroed(size);
        let mut count = 0u64;
        while let Some(id) = layer.next(&mut page)? {
            writer.put(id, &page)?;
            count += 1;
            if count.is_multiple_of(128) {
                self.progress.ensure_going()?;
                self.progress.set(u64::from(id.0) * size as u64);
            }
        }
        layer.finish(&mut page, self.progress)?;
        self.progress.set(bytes);
        writer.finish()
    }

    fn log_and_control(&self, link: &Link<'_>) -> Result<()> {
        for piece in &link.manifest.pieces {
            match piece.name.as_str() {
                name if is_part(name) => {}
                control::PATH => Self::control(link, piece)?,
                _ => self.segment(link, piece)?,
            }
        }
        Ok(())
    }

    fn segment(&self, link: &Link<'_>, piece: &Piece) -> Result<()> {
        // Nothing else: a forged name could lead out of the directory.
        let name = piece.name.strip_suffix(".zst").filter(|name| segments::is_segment_path(name));
        let name = name.ok_or_else(|| damaged(&piece.name, "it is no part of a backup"))?;
        let mut unpacker = link.unpack(piece)?;
        let file = match self.target {
            Some(target) => Some(target.open(name, OpenMode::Create)?),
            None => None,
        };
        if let Some(file) = &file {
            file.allocate(piece.restored_bytes)?;
        }
        let mut chunk = crate::memory::zeroed(CHUNK, "restore a backup")?;
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
        piece.ensure_hash(unpacker.finish()?)?;
        file.map_or(Ok(()), |file| file.sync())
    }

    fn control(link: &Link<'_>, piece: &Piece) -> Result<()> {
        let file =
            link.disk.open(&piece.name, OpenMode::Read).map_err(|error| piece.tell_missing(error))?;
        let most = usize::try_from(piece.bytes.min(1 << 20)).unwrap_or(0);
        let mut content = crate::memory::zeroed(most, "read a backup")?;
        let read = file.read_at(&mut content, 0)?;
        let hash = blake3::hash(&content[..read]).to_hex().to_string();
        piece.ensure_hash((file.size()?, hash))
    }
}
