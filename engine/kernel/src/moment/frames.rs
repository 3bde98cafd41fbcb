//! Compressed pieces of a file, each under a number, appended in batches that are synced.
//!
//! ```text
//! head of the file: magic 8 | version u32 | page size u32 | bytes of the data file u64 | crc32 u32
//! frame: magic u32 | number u32 | stored bytes u32 | raw bytes u32 | start of its batch u64
//!        | BLAKE3 of number, raw bytes and stored content, truncated to 16 | crc32 of the head u32
//!        | zstd of the content; nothing for zeros
//! ```
//!
//! A batch is written and synced before the next one begins. So a frame proves that all before
//! the start of its batch was durable: what cannot be read behind the last such frame is a batch
//! that a crash cut off and that nobody relied on; what cannot be read before it is damage. The
//! first frame of a number counts.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::disk::{Disk, File, OpenMode, secure};
use crate::error::{Error, Result};
use crate::memory;
use crate::page::{get_u32, get_u64};
use crate::sync::Arc;

const FILE_MAGIC: [u8; 8] = *b"HOLDFKPT";
const VERSION: u32 = 1;
const FILE_HEAD: usize = 28;
const MAGIC: u32 = 0x4b50_4631;
const HEAD: usize = 44;
/// The largest content of a frame; a page is smaller.
pub(super) const MOST_RAW: usize = 64 << 10;
/// Looking for a frame behind damage reads so much at first, and up to so much at a time.
const FIRST_LOOK: usize = 8 << 10;
const LOOK: usize = 1 << 20;
/// Pages are compressed while somebody waits for their places.
const LEVEL: i32 = 1;

/// What the head of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHead {
    pub page_size: u32,
    /// The size of the data file when the snapshot began.
    pub data_bytes: u64,
}

/// Where a frame lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: u64,
    stored: u32,
}

/// A frame's head.
#[derive(Clone, Copy)]
struct Head {
    number: u32,
    stored: u32,
    raw: u32,
    batch: u64,
    hash: [u8; 16],
}

/// What memory is asked for.
const KEEPING: &str = "keep pages for snapshots";

/// A batch to be appended: its bytes, and where in it each frame begins.
pub(super) struct Batch {
    start: u64,
    bytes: Vec<u8>,
    places: Vec<(u32, Place)>,
}

/// An open file of frames and the index of them.
pub(super) struct Frames {
    file: Arc<dyn File>,
    pub head: FileHead,
    places: HashMap<u32, Place>,
    /// Where the next batch begins.
    end: u64,
    /// Something before the end could not be read: numbers may be missing.
    pub is_damaged: bool,
}

fn content_hash(number: u32, raw: u32, stored: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&number.to_le_bytes()).update(&raw.to_le_bytes()).update(stored);
    let mut hash = [0; 16];
    hash.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    hash
}

impl Head {
    fn encode(&self) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.stored.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.raw.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.batch.to_le_bytes());
        bytes[24..40].copy_from_slice(&self.hash);
        let crc = crc32fast::hash(&bytes[..40]);
        bytes[40..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The head in `bytes`, which lie at `at` of the file.
    fn decode(bytes: &[u8], at: u64) -> Option<Head> {
        let bytes = bytes.get(..HEAD)?;
        let is_ours = get_u32(bytes, 0) == MAGIC && get_u32(bytes, 40) == crc32fast::hash(&bytes[..40]);
        let mut hash = [0; 16];
        hash.copy_from_slice(&bytes[24..40]);
        let head = Head {
            number: get_u32(bytes, 4),
            stored: get_u32(bytes, 8),
            raw: get_u32(bytes, 12),
            batch: get_u64(bytes, 16),
            hash,
        };
        // What compresses badly grows by a little.
        let fits = head.raw as usize <= MOST_RAW && head.stored as usize <= 2 * MOST_RAW;
        (is_ours && fits && head.batch <= at && head.batch >= FILE_HEAD as u64).then_some(head)
    }
}

impl Batch {
    /// Adds a frame.
    pub fn put(
        &mut self,
        compressor: &mut zstd::bulk::Compressor<'_>,
        number: u32,
        content: &[u8],
    ) -> Result<()> {
        let stored = if content.iter().all(|byte| *byte == 0) {
            Vec::new()
        } else {
            compressor.compress(content).map_err(|error| Error::io("compress", "a page", &error))?
        };
        self.put_stored(number, content.len() as u32, &stored)
    }

    /// Adds a frame of `raw` bytes whose content is `stored` already, as [`Frames::stored`] answers.
    pub fn put_stored(&mut self, number: u32, raw: u32, stored: &[u8]) -> Result<()> {
        memory::grow(&mut self.bytes, HEAD + stored.len(), KEEPING)?;
        memory::grow(&mut self.places, 1, KEEPING)?;
        let head = Head {
            number,
            stored: stored.len() as u32,
            raw,
            batch: self.start,
            hash: content_hash(number, raw, stored),
        };
        let at = self.start + self.bytes.len() as u64;
        self.places.push((number, Place { at, stored: head.stored }));
        self.bytes.extend_from_slice(&head.encode());
        self.bytes.extend_from_slice(stored);
        Ok(())
    }

    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }
}

pub(super) fn compressor() -> Result<zstd::bulk::Compressor<'static>> {
    zstd::bulk::Compressor::new(LEVEL).map_err(|error| Error::io("compress", "a page", &error))
}

impl Frames {
    /// Makes a file without frames; durable on return, but for its name.
    pub fn create(disk: &dyn Disk, path: &str, head: FileHead) -> Result<Frames> {
        let file = disk.open(path, OpenMode::Create)?;
        let mut bytes = [0; FILE_HEAD];
        bytes[..8].copy_from_slice(&FILE_MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&head.page_size.to_le_bytes());
        bytes[16..24].copy_from_slice(&head.data_bytes.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..24]);
        bytes[24..].copy_from_slice(&crc.to_le_bytes());
        file.truncate(0)?;
        file.write_at(&bytes, 0)?;
        file.sync()?;
        Ok(Frames { file, head, places: HashMap::new(), end: FILE_HEAD as u64, is_damaged: false })
    }

    /// Opens a file and finds its frames. Changes nothing. Where its head is not one, `None`, or
    /// damage where it was whole once.
    pub fn open(disk: &dyn Disk, path: &str, was_whole: bool) -> Result<Option<Frames>> {
        let file = disk.open(path, OpenMode::Read)?;
        let mut bytes = [0; FILE_HEAD];
        let read = file.read_at(&mut bytes, 0)?;
        let page_size = get_u32(&bytes, 12);
        let is_head = read == FILE_HEAD
            && bytes[..8] == FILE_MAGIC
            && get_u32(&bytes, 8) == VERSION
            && get_u32(&bytes, 24) == crc32fast::hash(&bytes[..24])
            && crate::page::is_page_size(page_size as usize);
        if !is_head {
            let head = FileHead { page_size: crate::types::MIN_PAGE as u32, data_bytes: 0 };
            let (places, end) = (HashMap::new(), file.size()?);
            return Ok(was_whole.then_some(Frames { file, head, places, end, is_damaged: true }));
        }
        let head = FileHead { page_size, data_bytes: get_u64(&bytes, 16) };
        let mut frames =
            Frames { file, head, places: HashMap::new(), end: FILE_HEAD as u64, is_damaged: false };
        frames.scan()?;
        Ok(Some(frames))
    }

    /// Opens the file for appending; what a crash left of a last batch is cut off. What is whole of
    /// it is made certain: a process that was killed may not have synced it, and what it holds counts
    /// as kept from now on.
    pub fn make_writable(&mut self, disk: &dyn Disk, path: &str) -> Result<()> {
        let file = disk.open(path, OpenMode::Write)?;
        if !self.is_damaged && file.size()? > self.end {
            file.truncate(self.end)?;
        }
        let last = self.last_batch()?.unwrap_or(self.end);
        secure(&*file, last..self.end)?;
        if self.is_damaged {
            self.end = file.size()?;
        }
        self.file = file;
        Ok(())
    }

    fn scan(&mut self) -> Result<()> {
        let size = self.file.size()?;
        self.scan_whole(size)?;
        while let Some(later) = self.proof_behind(self.end, size)? {
            // What lies between was durable once, and is not what was written.
            self.is_damaged = true;
            self.end = later;
            self.scan_whole(size)?;
        }
        self.ensure_last_batch()
    }

    /// Takes in the frames from the end so far on, as far as one follows the other.
    fn scan_whole(&mut self, size: u64) -> Result<()> {
        let mut at = self.end;
        while let Some(head) = self.head_at(at)? {
            let next = at + HEAD as u64 + u64::from(head.stored);
            if next > size {
                break;
            }
            memory::widen(&mut self.places, KEEPING)?;
            if let Entry::Vacant(place) = self.places.entry(head.number) {
                place.insert(Place { at, stored: head.stored });
            }
            at = next;
            self.end = at;
        }
        Ok(())
    }

    /// The last batch may be whole in its heads and torn in its contents: then it was never synced.
    fn ensure_last_batch(&mut self) -> Result<()> {
        let Some(start) = self.last_batch()? else { return Ok(()) };
        let behind = self.places.iter().filter(|(_, place)| place.at >= start);
        let behind = behind.map(|(number, place)| (*number, *place));
        let mut behind = memory::gathered(behind, KEEPING)?;
        behind.sort_unstable_by_key(|(_, place)| place.at);
        for index in 0..behind.len() {
            if self.read_place(behind[index].0, behind[index].1).is_err() {
                // Those before it are whole, and pages that nobody has overwritten since.
                self.end = behind[index].1.at;
                for (number, _) in &behind[index..] {
                    self.places.remove(number);
                }
                break;
            }
        }
        Ok(())
    }

    /// Where the last batch begins.
    fn last_batch(&self) -> Result<Option<u64>> {
        let last = self.places.values().map(|place| place.at).max();
        match last {
            Some(at) => Ok(self.head_at(at)?.map(|head| head.batch)),
            None => Ok(None),
        }
    }

    fn head_at(&self, at: u64) -> Result<Option<Head>> {
        let mut bytes = [0; HEAD];
        let read = self.file.read_at(&mut bytes, at)?;
        Ok(Head::decode(&bytes[..read], at))
    }

    /// The first frame behind `from` whose batch began later: it proves that `from` was durable.
    fn proof_behind(&self, from: u64, size: u64) -> Result<Option<u64>> {
        let (mut at, mut look) = (from + 1, FIRST_LOOK);
        let mut bytes = Vec::new();
        while at + HEAD as u64 <= size {
            memory::resize(&mut bytes, look + HEAD, KEEPING)?;
            let read = self.file.read_at(&mut bytes, at)?;
            let heads = (0..read.saturating_sub(HEAD - 1).min(look))
                .filter(|i| get_u32(&bytes, *i) == MAGIC)
                .filter_map(|i| Some((at + i as u64, Head::decode(&bytes[i..read], at + i as u64)?)));
            if let Some((place, _)) = heads.into_iter().find(|(_, head)| head.batch > from) {
                return Ok(Some(place));
            }
            at += look as u64;
            look = (2 * look).min(LOOK);
        }
        Ok(None)
    }

    pub fn batch(&self) -> Batch {
        Batch { start: self.end, bytes: Vec::new(), places: Vec::new() }
    }

    /// The file, for a batch to be written to without holding on to the index.
    pub fn file(&self) -> Arc<dyn File> {
        Arc::clone(&self.file)
    }

    /// Takes a batch in that was written at its place and synced. After an error it is as if it had
    /// not been written: the next one goes to its place.
    pub fn note(&mut self, batch: Batch) -> Result<()> {
        self.places.try_reserve(batch.places.len()).map_err(|_| memory::lacking(KEEPING))?;
        self.end = batch.start + batch.bytes.len() as u64;
        for (number, place) in batch.places {
            self.places.entry(number).or_insert(place);
        }
        Ok(())
    }

    pub fn has(&self, number: u32) -> bool {
        self.places.contains_key(&number)
    }

    pub fn count(&self) -> u64 {
        self.places.len() as u64
    }

    /// Bytes of the file that count.
    pub fn bytes(&self) -> u64 {
        self.end
    }

    pub fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        self.places.keys().copied()
    }

    /// The content under a number; `None` where there is none. The error says what is wrong with it.
    pub fn read(&self, number: u32) -> Option<std::result::Result<Vec<u8>, String>> {
        self.places.get(&number).map(|place| self.read_place(number, *place))
    }

    /// The size and the stored content under a number, verified; for another file of frames.
    pub fn stored(&self, number: u32) -> Option<std::result::Result<(u32, Vec<u8>), String>> {
        self.places.get(&number).map(|place| self.stored_at(number, *place))
    }

    fn stored_at(&self, number: u32, place: Place) -> std::result::Result<(u32, Vec<u8>), String> {
        let mut bytes = vec![0; HEAD + place.stored as usize];
        let read = self.file.read_at(&mut bytes, place.at).map_err(|error| error.to_string())?;
        let head = Head::decode(&bytes[..read], place.at)
            .filter(|head| head.number == number && head.stored == place.stored)
            .ok_or("its head is damaged")?;
        let stored = bytes.get(HEAD..read).unwrap_or_default();
        if head.hash != content_hash(number, head.raw, stored) {
            return Err("it is not what was written".to_owned());
        }
        Ok((head.raw, stored.to_vec()))
    }

    fn read_place(&self, number: u32, place: Place) -> std::result::Result<Vec<u8>, String> {
        let (raw, stored) = self.stored_at(number, place)?;
        if stored.is_empty() {
            return Ok(vec![0; raw as usize]);
        }
        match zstd::bulk::decompress(&stored, raw as usize) {
            Ok(content) if content.len() == raw as usize => Ok(content),
            _ => Err("it cannot be decompressed".to_owned()),
        }
    }
}

impl Batch {
    /// Writes and syncs the batch.
    pub fn write(&self, file: &dyn File) -> Result<()> {
        file.write_at(&self.bytes, self.start)?;
        file.sync()
    }
}
