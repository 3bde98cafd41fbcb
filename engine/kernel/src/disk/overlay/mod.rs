//! A disk over another disk: what is written goes beside the originals, and what was not written
//! is read from them.
//!
//! A recovery runs on one. Where it succeeds, [`Overlay::install`] makes the originals what the
//! overlay shows; where it fails, [`Overlay::discard`] leaves them as they were, byte for byte; a
//! rehearsal never installs. The originals are opened for reading only until the installation.
//!
//! ```text
//! recovery.blocks    blocks of 4 KiB that were written, in the order of their first writing
//! recovery.journal   which block of which file lies where; new sizes; files removed (journal.rs)
//! ```
//!
//! While work goes on the map is in memory only and nothing has to be synced: a crash then loses
//! the overlay, which is dropped at the next open. What is synced ahead ([`Overlay::sync_ahead`])
//! only makes the installation shorter. The installation begins with a sync of the blocks,
//! then of the journal; a whole journal is the decision. From there on every step can be repeated,
//! and [`settle`] repeats them after a crash, before anything else touches the database. The
//! journal goes first when all is done, the blocks after it.
//!
//! Memory: four bytes for each block that was written, and its neighbours to 4 MiB.

use std::collections::BTreeMap;
use std::ops::Range;
use std::thread::JoinHandle;

use super::{Disk, File, OpenMode};
use crate::error::{Code, Error, Result};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering, RwLock};

mod blocks;
mod install;
mod journal;
#[cfg(test)]
mod tests;

pub use blocks::BLOCK;
pub use install::{Settled, is_left, settle};

use blocks::{BlockMap, Place};

/// The files of an overlay that lies in the database directory.
pub const BLOCKS_PATH: &str = "recovery.blocks";
pub const JOURNAL_PATH: &str = "recovery.journal";

/// The overlay; one at a time for each database.
pub struct Overlay {
    shared: Arc<Shared>,
}

struct Shared {
    base: Arc<dyn Disk>,
    /// Where blocks and journal lie.
    store: Arc<dyn Disk>,
    /// `store` is `base`: its own files are not part of what the overlay shows.
    is_inside: bool,
    blocks: Arc<dyn File>,
    /// Slots of `blocks` that were given out. They are not used again: a recovery gives up little.
    slots: AtomicU64,
    layers: Mutex<BTreeMap<String, Layer>>,
    /// Has the medium take the first blocks while others are still being written.
    ahead: Mutex<Option<JoinHandle<Result<()>>>>,
}

/// What the overlay knows of a name.
#[derive(Clone)]
enum Layer {
    Removed,
    Present(Arc<Layered>),
}

/// A file that was opened through the overlay.
struct Layered {
    /// The original shows through where nothing was written.
    has_base: bool,
    state: RwLock<State>,
}

struct State {
    size: u64,
    /// Bytes of the original that still count: up to the lowest size it was cut to.
    keep: u64,
    map: BlockMap,
    is_changed: bool,
}

struct OverlayFile {
    shared: Arc<Shared>,
    layer: Arc<Layered>,
    base: Option<Arc<dyn File>>,
    path: String,
    is_writable: bool,
}

impl Overlay {
    /// An overlay whose files lie among those of `base`, from where it can be installed. What an
    /// earlier one left must have been settled.
    pub fn inside(base: Arc<dyn Disk>) -> Result<Overlay> {
        if is_left(&*base)? {
            return Err(Error::internal("an overlay was begun over one that is not settled"));
        }
        Self::begin(Arc::clone(&base), base, true)
    }

    /// An overlay whose files lie on `store`; `base` is never written to.
    pub fn beside(base: Arc<dyn Disk>, store: Arc<dyn Disk>) -> Result<Overlay> {
        Self::begin(base, store, false)
    }

    fn begin(base: Arc<dyn Disk>, store: Arc<dyn Disk>, is_inside: bool) -> Result<Overlay> {
        let blocks = store.open(BLOCKS_PATH, OpenMode::Create)?;
        blocks.truncate(0)?;
        let (slots, layers, ahead) = (AtomicU64::new(0), Mutex::default(), Mutex::default());
        let shared = Shared { base, store, is_inside, blocks, slots, layers, ahead };
        Ok(Overlay { shared: Arc::new(shared) })
    }

    /// Bytes written beside the originals so far.
    pub fn bytes(&self) -> u64 {
        self.shared.slots.load(Ordering::Relaxed) * BLOCK as u64
    }

    /// The disk to work on.
    pub fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(Overlay { shared: Arc::clone(&self.shared) })
    }
}

impl Shared {
    fn ensure_foreign(&self, path: &str) -> Result<()> {
        if self.is_own(path) {
            return Err(Error::argument("path", "belongs to the overlay itself"));
        }
        Ok(())
    }

    fn is_own(&self, path: &str) -> bool {
        self.is_inside && (path == BLOCKS_PATH || path == JOURNAL_PATH)
    }

    /// The original of `path`; `None` where there is none.
    fn open_base(&self, path: &str) -> Result<Option<Arc<dyn File>>> {
        match self.base.open(path, OpenMode::Read) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.field("missing").is_some() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn missing(path: &str) -> Error {
    Error::new(Code::IoError).with("operation", "open").with("path", path).with("missing", 1i64)
}

impl Layered {
    fn over(file: &dyn File) -> Result<Layered> {
        let size = file.size()?;
        let state = State { size, keep: size, map: BlockMap::default(), is_changed: false };
        Ok(Layered { has_base: true, state: RwLock::new(state) })
    }

    fn new() -> Layered {
        let state = State { size: 0, keep: 0, map: BlockMap::default(), is_changed: true };
        Layered { has_base: false, state: RwLock::new(state) }
    }
}

impl Disk for Overlay {
    fn open(&self, path: &str, mode: OpenMode) -> Result<Arc<dyn File>> {
        let shared = &self.shared;
        shared.ensure_foreign(path)?;
        let mut layers = shared.layers.lock();
        let (layer, base) = match layers.get(path) {
            Some(Layer::Present(layer)) => {
                let base = if layer.has_base { shared.open_base(path)? } else { None };
                (Arc::clone(layer), base)
            }
            known => {
                let base = if known.is_some() { None } else { shared.open_base(path)? };
                let layer = match &base {
                    Some(file) => Layered::over(&**file)?,
                    None if mode == OpenMode::Create => Layered::new(),
                    None => return Err(missing(path)),
                };
                let layer = Arc::new(layer);
                layers.insert(path.to_owned(), Layer::Present(Arc::clone(&layer)));
                (layer, base)
            }
        };
        Ok(Arc::new(OverlayFile {
            shared: Arc::clone(shared),
            layer,
            base,
            path: path.to_owned(),
            is_writable: mode != OpenMode::Read,
        }))
    }

    fn remove(&self, path: &str) -> Result<()> {
        self.shared.ensure_foreign(path)?;
        let mut layers = self.shared.layers.lock();
        if self.shared.base.exists(path)? {
            layers.insert(path.to_owned(), Layer::Removed);
        } else {
            layers.remove(path);
        }
        Ok(())
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let layers = self.shared.layers.lock();
        let mut names = self.shared.base.list(folder)?;
        names.retain(|name| {
            let path = format!("{prefix}{name}");
            !self.shared.is_own(&path) && !layers.contains_key(&path)
        });
        let present = layers.iter().filter(|(_, layer)| matches!(layer, Layer::Present(_)));
        let inside = present.filter_map(|(path, _)| path.strip_prefix(&prefix));
        names.extend(inside.filter(|name| !name.contains('/')).map(str::to_owned));
        names.sort();
        Ok(names)
    }

    /// Nothing is certain before the installation, which makes all of it certain.
    fn sync_dir(&self, _folder: &str) -> Result<()> {
        Ok(())
    }

    fn free_bytes(&self) -> Result<u64> {
        self.shared.store.free_bytes()
    }

    fn is_atomic(&self) -> bool {
        true
    }
}

impl OverlayFile {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        if !self.is_writable {
            let denied = std::io::ErrorKind::PermissionDenied.into();
            return Err(Error::io("write", &self.path, &denied));
        }
        let mut state = self.layer.state.write();
        state.is_changed = true;
        change(&mut state)
    }

    /// Fills `buffer` from `offset`, all of it; what lies beyond the end reads as zeros.
    fn fill(&self, state: &State, buffer: &mut [u8], offset: u64) -> Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            let at = offset + done as u64;
            let (place, count) = state.map.run(at, buffer.len() - done);
            let part = &mut buffer[done..done + count];
            match place {
                Place::Zero => part.fill(0),
                Place::Slot(from) => self.read_blocks(part, from)?,
                Place::Below => self.read_base(state, part, at)?,
            }
            done += count;
        }
        Ok(())
    }

    fn read_blocks(&self, part: &mut [u8], from: u64) -> Result<()> {
        match self.shared.blocks.read_at(part, from)? == part.len() {
            true => Ok(()),
            false => Err(Error::new(Code::IoError)
                .with("operation", "read")
                .with("path", BLOCKS_PATH)
                .with("os_error", "shorter than what was written to it")),
        }
    }

    fn read_base(&self, state: &State, part: &mut [u8], at: u64) -> Result<()> {
        let counts = state.keep.saturating_sub(at).min(part.len() as u64) as usize;
        let read = match &self.base {
            Some(base) => base.read_at(&mut part[..counts], at)?,
            None => 0,
        };
        part[read..].fill(0);
        Ok(())
    }

    fn write(&self, state: &mut State, bytes: &[u8], offset: u64) -> Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let (block, into) = (at / BLOCK as u64, (at % BLOCK as u64) as usize);
            let rest = &bytes[done..];
            if into == 0 && rest.len() >= BLOCK {
                let whole = rest.len() - rest.len() % BLOCK;
                self.put_blocks(state, block, &rest[..whole])?;
                done += whole;
            } else {
                let count = rest.len().min(BLOCK - into);
                self.patch(state, block, into, &rest[..count])?;
                done += count;
            }
        }
        state.size = state.size.max(offset + bytes.len() as u64);
        Ok(())
    }

    /// Writes a part of one block.
    fn patch(&self, state: &mut State, block: u64, into: usize, bytes: &[u8]) -> Result<()> {
        if let Place::Slot(from) = state.map.place(block) {
            return self.shared.blocks.write_at(bytes, from + into as u64);
        }
        let mut whole = [0; BLOCK];
        self.fill(state, &mut whole, block * BLOCK as u64)?;
        whole[into..into + bytes.len()].copy_from_slice(bytes);
        self.put_blocks(state, block, &whole)
    }

    /// Writes whole blocks from `first` on. Those of zeros take no room.
    fn put_blocks(&self, state: &mut State, first: u64, bytes: &[u8]) -> Result<()> {
        let mut run: Option<(u64, usize, usize)> = None;
        for (index, block) in bytes.chunks_exact(BLOCK).enumerate() {
            let number = first + index as u64;
            let place = match state.map.place(number) {
                Place::Slot(place) => Some(place),
                _ if block.iter().all(|byte| *byte == 0) => None,
                _ => Some(self.shared.slots.fetch_add(1, Ordering::Relaxed) * BLOCK as u64),
            };
            let (from, to) = (index * BLOCK, (index + 1) * BLOCK);
            run = match (run, place) {
                (Some((at, start, end)), Some(place)) if at + (end - start) as u64 == place => {
                    Some((at, start, to))
                }
                (before, place) => {
                    self.write_run(before, bytes)?;
                    place.map(|place| (place, from, to))
                }
            };
            state.map.set(number, place)?;
        }
        self.write_run(run, bytes)
    }

    fn write_run(&self, run: Option<(u64, usize, usize)>, bytes: &[u8]) -> Result<()> {
        match run {
            Some((at, start, end)) => self.shared.blocks.write_at(&bytes[start..end], at),
            None => Ok(()),
        }
    }
}

impl File for OverlayFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let state = self.layer.state.read();
        let count = state.size.saturating_sub(offset).min(buffer.len() as u64) as usize;
        self.fill(&state, &mut buffer[..count], offset)?;
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.change(|state| self.write(state, bytes, offset))
    }

    fn allocate(&self, size: u64) -> Result<()> {
        self.change(|state| {
            state.size = state.size.max(size);
            Ok(())
        })
    }

    fn truncate(&self, size: u64) -> Result<()> {
        self.change(|state| {
            if size < state.size {
                let rest = (size % BLOCK as u64) as usize;
                // What is behind the end must read as zeros if the file grows again.
                if rest > 0
                    && let Place::Slot(from) = state.map.place(size / BLOCK as u64)
                {
                    self.shared.blocks.write_at(&vec![0; BLOCK - rest], from + rest as u64)?;
                }
                state.map.cut(size.div_ceil(BLOCK as u64));
                state.keep = state.keep.min(size);
            }
            state.size = size;
            Ok(())
        })
    }

    fn size(&self) -> Result<u64> {
        Ok(self.layer.state.read().size)
    }

    fn data(&self, from: u64, to: u64) -> Result<Vec<Range<u64>>> {
        let state = self.layer.state.read();
        let (mut found, mut at, to) = (Vec::new(), from, to.min(state.size));
        while at < to {
            let left = usize::try_from(to - at).unwrap_or(usize::MAX);
            let (place, count) = state.map.run(at, left);
            let end = at + count as u64;
            match (place, &self.base) {
                (Place::Slot(_), _) => found.push(at..end),
                (Place::Below, Some(base)) if at < state.keep => {
                    found.extend(base.data(at, end.min(state.keep))?);
                }
                _ => {}
            }
            at = end;
        }
        Ok(found)
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }
}
