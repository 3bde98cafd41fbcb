//! A snapshot as a database: opened for reading only, made one of its own, proved.

use super::chain::{Chain, Reader, Snapshot};
use super::frames::{Frames, MOST_RAW};
use super::{damaged, path_of};
use crate::control;
use crate::disk::{Disk, File, OpenMode};
use crate::error::{Error, Result};
use crate::log::segments;
use crate::page::Page;
use crate::recovery::{DATA_PATH, Progress};
use crate::store::{CLEAN_MARKER, Ground, RECOVERY_MARKER, Recovering, Store, StoreOptions, put_marker};
use crate::sync::Arc;
use crate::types::{Lsn, PageId};

/// Bytes copied at a time.
const CHUNK: usize = 1 << 20;

/// Opens the snapshot `name` for reading only. What its recovery writes goes to the empty disk
/// `scratch`, which must last as long as the store; the database may be in use, and goes on. The
/// reader keeps the snapshot's files: it is let go of once the store is closed.
///
/// `SnapshotNotFound`, `SnapshotDamaged`; reading it raises `SnapshotGivenUp` once it is.
pub fn look(
    chain: &Arc<Chain>,
    name: &str,
    scratch: &Arc<dyn Disk>,
    options: &StoreOptions,
    progress: &Progress,
) -> Result<(Store, Reader)> {
    let (reader, snapshot) = chain.hold(name)?;
    unpack(chain, &snapshot, &**scratch, progress)?;
    put_marker(&**scratch, RECOVERY_MARKER)?;
    let disk: Arc<dyn Disk> = Arc::new(MomentDisk {
        data: Arc::new(MomentFile {
            chain: Arc::clone(chain),
            live: chain.base().open(DATA_PATH, OpenMode::Read)?,
            page_size: page_size_of(chain, snapshot.number)?,
            snapshot,
        }),
        scratch: Arc::clone(scratch),
    });
    let options = StoreOptions { background: false, ..options.clone() };
    let mut recovering = Recovering::begin(disk, &options, Ground::Rehearsal(Arc::clone(scratch)))?;
    match recovering.run(progress) {
        Ok(()) => Ok((recovering.look()?, reader)),
        Err(error) => {
            // The first error is the one to tell; the scratch disk goes anyway.
            let _ = recovering.abandon();
            Err(error)
        }
    }
}

pub(super) fn page_size_of(chain: &Chain, number: u64) -> Result<usize> {
    let links = chain.links.read();
    let link = links.iter().find(|link| link.number == number);
    link.map(|link| link.frames.head.page_size as usize)
        .ok_or_else(|| Error::internal("a snapshot that is held went away"))
}

/// Puts the log and the control file of a snapshot onto `scratch`.
pub(super) fn unpack(
    chain: &Chain,
    snapshot: &Snapshot,
    scratch: &dyn Disk,
    progress: &Progress,
) -> Result<()> {
    let name = snapshot.moment.name.as_str();
    let wrong = |detail: String| damaged(name, format!("its log: {detail}"));
    let path = path_of(snapshot.number, "log");
    let frames = Frames::open(&**chain.base(), &path, false)
        .map_err(|error| {
            if error.field("missing").is_some() { wrong("it is missing".to_owned()) } else { error }
        })?
        .ok_or_else(|| wrong("its head is damaged".to_owned()))?;
    let total = snapshot.moment.pieces.iter().fold(0, |sum: u64, piece| sum.saturating_add(piece.bytes));
    progress.begin("log", "bytes", total);
    for piece in &snapshot.moment.pieces {
        // Nothing else: a forged name could lead out of the directory.
        if piece.path != control::PATH && !segments::is_segment_path(&piece.path) {
            return Err(wrong("it holds what is no part of a log".to_owned()));
        }
        if piece.bytes > piece.size {
            return Err(wrong("a file of it is larger than it is said to be".to_owned()));
        }
        let file = scratch.open(&piece.path, OpenMode::Create)?;
        file.allocate(piece.size)?;
        let mut at = 0;
        for number in piece.first..u32::MAX {
            if at >= piece.bytes {
                break;
            }
            progress.ensure_going()?;
            let wanted = (piece.bytes - at).min(MOST_RAW as u64) as usize;
            let content = frames.read(number).unwrap_or_else(|| Err("a part is missing".to_owned()));
            let content = content.map_err(wrong)?;
            if content.len() != wanted {
                return Err(wrong("a part has another size".to_owned()));
            }
            file.write_at(&content, at)?;
            at += wanted as u64;
            progress.add(wanted as u64);
        }
        file.sync()?;
    }
    Ok(())
}

/// What the recovery of a snapshot starts from.
struct MomentDisk {
    data: Arc<MomentFile>,
    /// Holds the log and the control file.
    scratch: Arc<dyn Disk>,
}

/// The data file of a moment.
struct MomentFile {
    chain: Arc<Chain>,
    live: Arc<dyn File>,
    page_size: usize,
    snapshot: Snapshot,
}

/// Hands the data file out for reading.
struct Handle(Arc<MomentFile>);

fn refused() -> Error {
    Error::internal("a snapshot is only read")
}

impl Disk for MomentDisk {
    fn open(&self, path: &str, mode: OpenMode) -> Result<Arc<dyn File>> {
        if mode != OpenMode::Read {
            return Err(refused());
        }
        match path {
            DATA_PATH => Ok(Arc::new(Handle(Arc::clone(&self.data)))),
            _ => self.scratch.open(path, OpenMode::Read),
        }
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        if !folder.is_empty() {
            return self.scratch.list(folder);
        }
        // The overlay's own files lie on the scratch disk too.
        let has_marker = self.scratch.exists(RECOVERY_MARKER)?;
        let marker = has_marker.then(|| RECOVERY_MARKER.to_owned());
        let mut names = vec![control::PATH.to_owned(), DATA_PATH.to_owned()];
        names.extend(marker);
        names.sort();
        Ok(names)
    }

    fn remove(&self, _path: &str) -> Result<()> {
        Err(refused())
    }
    fn sync_dir(&self, _folder: &str) -> Result<()> {
        Ok(())
    }
    fn free_bytes(&self) -> Result<u64> {
        self.scratch.free_bytes()
    }
}

impl MomentFile {
    /// One page as it was; refused where it is of a later time than the moment.
    fn page(&self, id: u32, page: &mut Page) -> Result<()> {
        let moment = &self.snapshot.moment;
        let which = (self.snapshot.number, moment.name.as_str());
        self.chain.read_page(which, &*self.live, id, page.bytes_mut())?;
        if page.lsn() > moment.end_lsn && page.is_sealed() {
            return Err(damaged(&moment.name, format!("page {id} is of a later time")));
        }
        Ok(())
    }
}

impl File for Handle {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let file = &self.0;
        let size = file.page_size as u64;
        let count = file.snapshot.data_bytes.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let mut page = Page::zeroed(file.page_size);
        let mut done = 0;
        while done < count {
            let at = offset + done as u64;
            let into = (at % size) as usize;
            let part = (file.page_size - into).min(count - done);
            let id = u32::try_from(at / size).map_err(|_| Error::internal("a page beyond the last"))?;
            file.page(id, &mut page)?;
            buffer[done..done + part].copy_from_slice(&page.bytes()[into..into + part]);
            done += part;
        }
        Ok(count)
    }

    fn write_at(&self, _bytes: &[u8], _offset: u64) -> Result<()> {
        Err(refused())
    }
    fn allocate(&self, _size: u64) -> Result<()> {
        Err(refused())
    }
    fn truncate(&self, _size: u64) -> Result<()> {
        Err(refused())
    }
    fn size(&self) -> Result<u64> {
        Ok(self.0.snapshot.data_bytes)
    }
    fn sync(&self) -> Result<()> {
        Ok(())
    }
}

/// Proves a snapshot: its log, every page that it or a later one keeps for it, and every page that
/// it shares with the database of now. Returns the number of pages.
pub fn verify(
    chain: &Arc<Chain>,
    name: &str,
    scratch: &Arc<dyn Disk>,
    progress: &Progress,
) -> Result<u64> {
    let (_reader, snapshot) = chain.hold(name)?;
    unpack(chain, &snapshot, &**scratch, progress)?;
    let page_size = page_size_of(chain, snapshot.number)?;
    let (end, pages) = (snapshot.moment.end_lsn, snapshot.data_bytes / page_size as u64);
    let file = MomentFile {
        chain: Arc::clone(chain),
        live: chain.base().open(DATA_PATH, OpenMode::Read)?,
        page_size,
        snapshot,
    };
    progress.begin("pages", "pages", pages);
    let mut page = Page::zeroed(page_size);
    for id in 0..u32::try_from(pages).unwrap_or(u32::MAX) {
        progress.ensure_going()?;
        file.page(id, &mut page)?;
        ensure_page(&mut page, PageId(id), end)
            .map_err(|error| damaged(name, format!("page {id} is damaged")).because(error))?;
        progress.add(1);
    }
    Ok(pages)
}

/// A page that was never written is no damage: the log has it, or it is not in use.
fn ensure_page(page: &mut Page, id: PageId, end: Lsn) -> Result<()> {
    if page.bytes().iter().all(|byte| *byte == 0) { Ok(()) } else { page.validate(id, end) }
}

/// Makes a database of the open snapshot `store` on the empty disk `target`: closed cleanly, every
/// page checked on the way. After an error its files are removed again. Returns the bytes.
pub fn restore(store: &Store, target: &dyn Disk, progress: &Progress) -> Result<u64> {
    let source = store.disk();
    let mut names = vec![DATA_PATH.to_owned()];
    let logs = source.list(segments::FOLDER)?;
    names.extend(logs.iter().map(|name| format!("{}/{name}", segments::FOLDER)));
    let sizes = names.iter().map(|name| source.open(name, OpenMode::Read)?.size());
    let total = sizes.sum::<Result<u64>>()?;
    progress.begin("restore", "bytes", total);
    let done = copy_all(&**source, target, &names, store.page_size(), progress);
    if done.is_err() {
        let last = [control::PATH, CLEAN_MARKER].map(str::to_owned);
        for name in last.iter().chain(&names) {
            // The error that led here is the one to be told.
            let _ = target.remove(name);
        }
    }
    done.map(|()| total)
}

fn copy_all(
    source: &dyn Disk,
    target: &dyn Disk,
    names: &[String],
    page_size: usize,
    progress: &Progress,
) -> Result<()> {
    for name in names {
        copy(source, target, name, page_size, progress)?;
    }
    target.sync_dir(segments::FOLDER)?;
    put_marker(target, CLEAN_MARKER)?;
    // The control file comes last: without it, this is no database yet.
    copy(source, target, control::PATH, page_size, progress)?;
    target.sync_dir("")
}

fn copy(
    source: &dyn Disk,
    target: &dyn Disk,
    name: &str,
    page_size: usize,
    progress: &Progress,
) -> Result<()> {
    let from = source.open(name, OpenMode::Read)?;
    let to = target.open(name, OpenMode::Create)?;
    let size = from.size()?;
    to.allocate(size)?;
    let mut chunk = crate::memory::zeroed(CHUNK, "restore a snapshot")?;
    let mut page = Page::zeroed(page_size);
    let mut at = 0;
    while at < size {
        progress.ensure_going()?;
        let count = (size - at).min(CHUNK as u64) as usize;
        let read = from.read_at(&mut chunk[..count], at)?;
        chunk[read..count].fill(0);
        if name == DATA_PATH {
            for (index, bytes) in chunk[..count].chunks_exact(page_size).enumerate() {
                page.bytes_mut().copy_from_slice(bytes);
                let id = (at / page_size as u64) as u32 + index as u32;
                ensure_page(&mut page, PageId(id), Lsn::MAX)?;
            }
        }
        to.write_at(&chunk[..count], at)?;
        at += count as u64;
        progress.add(count as u64);
    }
    to.sync()
}
