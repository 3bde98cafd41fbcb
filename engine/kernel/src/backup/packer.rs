//! Files being written as compressed bytes, sealed where there is a key, hashed on the way.
//!
//! ```text
//! write -> blocks -> thread 0, 1, ... compress, block by block in turn -> one thread: seal, hash, write
//! ```
//!
//! Each block is a zstd frame of its own, so that blocks are compressed side by side; a file of one
//! block takes no thread. A backup is to go as fast as its medium writes: blocks are compressed little,
//! and well only while frames pile up before the medium ([`level`]). What is written is synced every now
//! and then while more of it is compressed: a medium that begins only at the end would be waited for
//! once more.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, JoinHandle, available_parallelism};

use super::seal::Seal;
use super::sealed::Sealer;
use crate::disk::{AlignedBuffer, Disk, File, OpenMode};
use crate::error::{Error, Result};
use crate::memory;
use crate::sync::{AtomicBool, AtomicUsize, Ordering};

/// Ordinary data shrinks to a half or a third. For files of one block, and while the medium is behind.
const LEVEL: i32 = 1;
/// Twice as fast as that, and a half of what it takes away stays.
const FAST_LEVEL: i32 = -3;
/// Bytes that are compressed together.
const BLOCK: usize = 1 << 20;
const MOST_THREADS: usize = 4;
/// Blocks that wait for each thread, and frames of each that wait to be written: they outlast a sync.
const WAITING: usize = 8;
/// With so many frames of each thread waiting, the medium is behind.
const BEHIND: usize = WAITING / 2;
/// Bytes that are written together.
const PIECE: usize = 1 << 20;
/// Bytes written between two syncs.
const SYNC_BYTES: u64 = 16 << 20;

type Frame = Result<Vec<u8>>;

/// How a block is to be compressed, with so many frames waiting to be written.
fn level(waiting: usize, threads: usize) -> i32 {
    if waiting < BEHIND * threads { FAST_LEVEL } else { LEVEL }
}

/// The file itself.
struct Sink {
    file: Arc<dyn File>,
    /// What is not written yet, and where it goes.
    piece: AlignedBuffer,
    at: u64,
    synced: u64,
    hasher: blake3::Hasher,
    sealer: Option<Sealer>,
}

impl Sink {
    fn new(file: Arc<dyn File>, sealer: Option<Sealer>) -> Result<Sink> {
        let mut piece = AlignedBuffer::default();
        piece.begin(PIECE, PIECE)?;
        Ok(Sink { file, piece, at: 0, synced: 0, hasher: blake3::Hasher::new(), sealer })
    }

    fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        while !bytes.is_empty() {
            let room = PIECE - self.piece.bytes().len();
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.piece.extend(now);
            bytes = later;
            if self.piece.bytes().len() == PIECE {
                self.write()?;
            }
        }
        Ok(())
    }

    /// Writes what waits, past the system's cache: it is read once more, for the proof, and to find
    /// memory for it costs more than that.
    fn write(&mut self) -> Result<()> {
        self.file.write_past_cache(self.piece.bytes(), self.at)?;
        self.at += self.piece.bytes().len() as u64;
        self.piece.begin(PIECE, PIECE)?;
        if self.at - self.synced >= SYNC_BYTES {
            self.file.sync()?;
            self.synced = self.at;
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(sealer) = &mut self.sealer else { return self.put(bytes) };
        let sealed = sealer.push(bytes)?;
        self.put(&sealed)
    }

    /// Writes what waits, nothing comes after it; syncs. The size and the hash of the file.
    fn end(mut self) -> Result<(u64, String)> {
        if let Some(mut sealer) = self.sealer.take() {
            self.put(&sealer.finish()?)?;
        }
        self.write()?;
        self.file.sync()?;
        Ok((self.at, self.hasher.finalize().to_hex().to_string()))
    }
}

/// Compresses blocks, each into a frame.
struct Press {
    compressor: zstd::bulk::Compressor<'static>,
    level: i32,
    path: String,
    /// Frames that were written, to be filled again.
    spare: Receiver<Vec<u8>>,
}

impl Press {
    /// With what takes its frames back.
    fn new(path: &str) -> Result<(Press, Sender<Vec<u8>>)> {
        let told = |error| Error::io("compress", path, &error);
        let compressor = zstd::bulk::Compressor::new(LEVEL).map_err(told)?;
        let (written, spare) = channel();
        Ok((Press { compressor, level: LEVEL, path: path.to_owned(), spare }, written))
    }

    fn press(&mut self, block: &[u8], level: i32) -> Frame {
        let told = |error| Error::io("compress", &self.path, &error);
        if level != self.level {
            self.compressor.set_compression_level(level).map_err(told)?;
            self.level = level;
        }
        let mut frame = self.spare.try_recv().unwrap_or_default();
        frame.clear();
        memory::reserve(&mut frame, zstd::zstd_safe::compress_bound(block.len()), "compress a backup")?;
        self.compressor.compress_to_buffer(block, &mut frame).map_err(told)?;
        Ok(frame)
    }
}

/// The threads of a file that is longer than a block.
struct Works {
    blocks: Vec<SyncSender<Vec<u8>>>,
    pressing: Vec<JoinHandle<()>>,
    writing: JoinHandle<(Result<Sink>, u64)>,
    /// Blocks to be filled again.
    spare: Receiver<Vec<u8>>,
    given: u64,
    is_given_up: Arc<AtomicBool>,
}

impl Works {
    /// `None` where there is no thread to be had; then `sink` is there still.
    fn begin(sink: &mut Option<Sink>, path: &str) -> Result<Option<Works>> {
        let count = available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
        let (emptied, spare) = channel();
        let (mut blocks, mut frames, mut pressing) = (Vec::new(), Vec::new(), Vec::new());
        let waiting = Arc::new(AtomicUsize::new(0));
        for _ in 0..count {
            let ((give, given), (done, framed)) = (sync_channel(WAITING), sync_channel(WAITING));
            let (press, written) = Press::new(path)?;
            let (emptied, waiting) = (emptied.clone(), Arc::clone(&waiting));
            let work = move || press_each(press, (&given, &done, &emptied), &waiting, count);
            let Ok(thread) = Builder::new().name("holdfast-backup-press".to_owned()).spawn(work) else {
                break;
            };
            blocks.push(give);
            frames.push((framed, written));
            pressing.push(thread);
        }
        let is_given_up = Arc::new(AtomicBool::new(false));
        let (hand_over, handed) = sync_channel(1);
        let seen = Arc::clone(&is_given_up);
        let work = move || write_each(&handed, &frames, &waiting, &seen);
        let writing = Builder::new().name("holdfast-backup-write".to_owned()).spawn(work);
        let (false, Ok(writing)) = (pressing.is_empty(), writing) else { return Ok(None) };
        if let Some(sink) = sink.take() {
            // It waits for this and for nothing else.
            let _ = hand_over.send(sink);
        }
        Ok(Some(Works { blocks, pressing, writing, spare, given: 0, is_given_up }))
    }

    /// Gives `block` away for an empty one; false where nobody writes any longer.
    fn give(&mut self, block: &mut Vec<u8>) -> Result<bool> {
        let mut next = self.spare.try_recv().unwrap_or_default();
        next.clear();
        memory::reserve(&mut next, BLOCK, "compress a backup")?;
        let turn = (self.given % self.blocks.len() as u64) as usize;
        self.given += 1;
        Ok(self.blocks[turn].send(std::mem::replace(block, next)).is_ok())
    }

    /// Waits for everything that was given to be written.
    fn end(self) -> Result<Sink> {
        let Works { blocks, pressing, writing, given, .. } = self;
        drop(blocks);
        let panicked = || Error::internal("a thread of a backup panicked");
        let all = pressing.into_iter().all(|thread| thread.join().is_ok());
        let (sink, written) = writing.join().map_err(|_| panicked())?;
        let sink = sink?;
        if all && written == given { Ok(sink) } else { Err(panicked()) }
    }
}

/// One of `threads` that compress.
fn press_each(
    mut press: Press,
    (blocks, frames, emptied): (&Receiver<Vec<u8>>, &SyncSender<Frame>, &Sender<Vec<u8>>),
    waiting: &AtomicUsize,
    threads: usize,
) {
    while let Ok(block) = blocks.recv() {
        let frame = press.press(&block, level(waiting.load(Ordering::Relaxed), threads));
        waiting.fetch_add(1, Ordering::Relaxed);
        if frames.send(frame).is_err() {
            return;
        }
        // Nobody may want it any longer.
        let _ = emptied.send(block);
    }
}

/// Writes the frames in the order of their blocks, which the threads took in turn. What became of it,
/// and how many there were.
fn write_each(
    handed: &Receiver<Sink>,
    frames: &[(Receiver<Frame>, Sender<Vec<u8>>)],
    waiting: &AtomicUsize,
    is_given_up: &AtomicBool,
) -> (Result<Sink>, u64) {
    let Ok(mut sink) = handed.recv() else {
        return (Err(Error::internal("nothing to write a backup to")), 0);
    };
    let mut count = 0;
    for (from, written) in frames.iter().cycle() {
        let Ok(frame) = from.recv() else { break };
        waiting.fetch_sub(1, Ordering::Relaxed);
        if is_given_up.load(Ordering::Relaxed) {
            break;
        }
        let taken = frame.and_then(|frame| sink.take(&frame).map(|()| frame));
        match taken {
            // Nobody may want it any longer.
            Ok(frame) => drop(written.send(frame)),
            Err(error) => return (Err(error), count),
        }
        count += 1;
    }
    (Ok(sink), count)
}

/// A compressed file being written. Dropped before its end it leaves no thread behind.
pub(super) struct Packer {
    block: Vec<u8>,
    sink: Option<Sink>,
    works: Option<Works>,
    path: String,
}

impl Packer {
    /// What is there already under this name goes.
    pub fn create(disk: &dyn Disk, path: &str, seal: Option<&Seal>) -> Result<Packer> {
        let file = disk.open(path, OpenMode::Create)?;
        file.truncate(0)?;
        let sealer = seal.map(|seal| Sealer::new(seal.file(path)));
        let sink = Some(Sink::new(file, sealer)?);
        Ok(Packer { block: Vec::new(), sink, works: None, path: path.to_owned() })
    }

    /// Errors are of this or of an earlier call.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            if self.block.len() == BLOCK {
                self.give_block()?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - self.block.len()));
            memory::grow(&mut self.block, now.len(), "compress a backup")?;
            self.block.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    fn give_block(&mut self) -> Result<()> {
        if self.works.is_none() {
            self.works = Works::begin(&mut self.sink, &self.path)?;
        }
        let Some(works) = &mut self.works else { return self.press_here() };
        if works.give(&mut self.block)? {
            return Ok(());
        }
        let ended = self.works.take().map(Works::end);
        ended.map_or(Ok(()), |ended| ended.map(|_| ()))?;
        Err(Error::internal("the threads of a backup ended early"))
    }

    fn press_here(&mut self) -> Result<()> {
        let frame = Press::new(&self.path)?.0.press(&self.block, LEVEL)?;
        self.block.clear();
        self.sink.as_mut().map_or_else(|| Err(Self::ended()), |sink| sink.take(&frame))
    }

    fn ended() -> Error {
        Error::internal("a file of a backup that has ended")
    }

    /// Ends the file and syncs it; returns its size and hash.
    pub fn finish(mut self) -> Result<(u64, String)> {
        if self.works.is_some() {
            self.give_block()?;
        }
        match self.works.take() {
            Some(works) => self.sink = Some(works.end()?),
            None => self.press_here()?,
        }
        self.sink.take().ok_or_else(Self::ended)?.end()
    }
}

impl Drop for Packer {
    fn drop(&mut self) {
        if let Some(works) = self.works.take() {
            works.is_given_up.store(true, Ordering::Relaxed);
            // Whoever drops it has an error of its own to tell.
            let _ = works.end();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::seal::{Keyring, Secret};
    use super::super::unpacker::Unpacker;
    use super::*;
    use crate::disk::faults::{Call, Failure, Fault, FaultDisk};
    use crate::disk::memory::MemoryDisk;
    use crate::error::Code;

    const PATH: &str = "pages.zst";

    /// Compresses to two thirds, each stretch in a way of its own.
    fn content(bytes: usize) -> Vec<u8> {
        let mut state = 1u64;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u32
        };
        (0..bytes).map(|at| if at % 3 == 0 { (at >> 18) as u8 } else { next() as u8 }).collect()
    }

    fn packed(disk: &dyn Disk, content: &[u8], seal: Option<&Seal>) -> Result<(u64, String)> {
        let mut packer = Packer::create(disk, PATH, seal)?;
        for piece in content.chunks(77_777) {
            packer.write(piece)?;
        }
        packer.finish()
    }

    fn unpacked(disk: &dyn Disk, seal: Option<&Seal>) -> Result<(Vec<u8>, (u64, String))> {
        let mut unpacker = Unpacker::open(disk, PATH, seal)?;
        let (mut content, mut piece) = (Vec::new(), vec![0; 99_991]);
        loop {
            let count = unpacker.read(&mut piece)?;
            content.extend_from_slice(&piece[..count]);
            if count < piece.len() {
                return Ok((content, unpacker.finish()?));
            }
        }
    }

    fn raw(disk: &dyn Disk) -> Vec<u8> {
        let file = disk.open(PATH, OpenMode::Read).unwrap();
        let mut raw = vec![0; file.size().unwrap() as usize];
        file.read_at(&mut raw, 0).unwrap();
        raw
    }

    #[test]
    fn what_goes_in_over_several_threads_comes_out_in_order() {
        let key = Secret::KeyFile(b"key".to_vec());
        let (_, seal) = Keyring::default().create(&key, None).unwrap();
        for (bytes, seal) in [0, 1, FEW, BLOCK, BLOCK + 1, 30 * BLOCK + 7]
            .into_iter()
            .flat_map(|bytes| [(bytes, None), (bytes, Some(&seal))])
        {
            let (disk, content) = (MemoryDisk::new(1), content(bytes));
            let told = packed(&*disk, &content, seal).unwrap();
            let raw = raw(&*disk);
            assert_eq!(told, (raw.len() as u64, blake3::hash(&raw).to_hex().to_string()));
            let (found, read) = unpacked(&*disk, seal).unwrap();
            assert!(found == content, "{bytes} bytes");
            assert_eq!(read, told);
        }
    }

    const FEW: usize = 100_000;

    #[test]
    fn blocks_are_compressed_well_only_while_the_medium_is_behind() {
        assert_eq!((level(0, 1), level(0, 4), level(7, 2)), (FAST_LEVEL, FAST_LEVEL, FAST_LEVEL));
        assert_eq!((level(8, 2), level(BEHIND, 1), level(4 * WAITING, 4)), (LEVEL, LEVEL, LEVEL));
    }

    #[test]
    fn frames_of_both_levels_follow_one_another_in_a_file() {
        let (mut press, _) = Press::new(PATH).unwrap();
        let (content, mut frames) = (content(4 * FEW), Vec::new());
        for (block, level) in content.chunks(FEW).zip([LEVEL, FAST_LEVEL, FAST_LEVEL, LEVEL]) {
            frames.extend(press.press(block, level).unwrap());
        }
        let disk = MemoryDisk::new(6);
        disk.open(PATH, OpenMode::Create).unwrap().write_at(&frames, 0).unwrap();
        assert!(unpacked(&*disk, None).unwrap().0 == content);
    }

    #[test]
    fn all_of_a_long_file_is_on_the_medium_and_most_of_it_before_the_end() {
        let disk = FaultDisk::over_memory(MemoryDisk::new(2));
        // The second sync of three fails: it is not the last one.
        disk.fail(Fault { call: Some(Call::Sync), nth: 2, for_good: false, failure: Failure::Device });
        let content = content(50 * BLOCK);
        assert_eq!(packed(&*disk, &content, None).unwrap_err().code, Code::IoError);
        disk.heal();
        let (size, _) = packed(&*disk, &content, None).unwrap();
        assert!(size > 2 * SYNC_BYTES, "{size}");
    }

    #[test]
    fn a_medium_that_fails_within_a_long_file_is_told_and_nothing_waits_for_it() {
        for nth in [1, 2, 9, 15] {
            let disk = FaultDisk::over_memory(MemoryDisk::new(3));
            let fault = Fault { call: Some(Call::Write), nth, for_good: true, failure: Failure::Full };
            disk.fail(fault);
            let error = packed(&*disk, &content(20 * BLOCK), None).unwrap_err();
            assert_eq!(error.code, Code::DiskFull, "write {nth}: {error}");
        }
    }

    #[test]
    fn a_long_file_that_is_given_up_leaves_no_thread_behind() {
        let disk = MemoryDisk::new(4);
        let mut packer = Packer::create(&*disk, PATH, None).unwrap();
        let file = Arc::downgrade(&packer.sink.as_ref().unwrap().file);
        packer.write(&content(20 * BLOCK)).unwrap();
        drop(packer);
        assert!(file.upgrade().is_none());
    }

    #[test]
    fn damage_within_a_long_file_is_found_or_changes_its_hash() {
        let (disk, content) = (MemoryDisk::new(5), content(5 * BLOCK));
        let told = packed(&*disk, &content, None).unwrap();
        let whole = raw(&*disk);
        for part in 0..20 {
            let at = told.0 * part / 20 + part;
            disk.flip_bit(PATH, at, 3).unwrap();
            match unpacked(&*disk, None) {
                Ok((_, read)) => assert_ne!(read, told, "byte {at}"),
                Err(error) => assert_eq!(error.code, Code::BackupDamaged, "byte {at}"),
            }
            disk.flip_bit(PATH, at, 3).unwrap();
        }
        for part in 0..20 {
            let file = disk.open(PATH, OpenMode::Write).unwrap();
            file.truncate(told.0 * part / 20).unwrap();
            match unpacked(&*disk, None) {
                Ok((_, read)) => assert_ne!(read, told, "cut at {part}"),
                Err(error) => assert_eq!(error.code, Code::BackupDamaged, "cut at {part}"),
            }
            file.write_at(&whole, 0).unwrap();
        }
        assert_eq!(unpacked(&*disk, None).unwrap().1, told);
    }
}
