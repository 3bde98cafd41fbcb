//! Compressed files being read, opened where they are sealed, hashed on the way.
//!
//! A short one is read by whoever wants it; of a longer one the next blocks are decompressed by a
//! thread of its own, while those before are looked at.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};

use super::seal::{CHUNK, FileSeal, HEAD, Seal, TAG};
use crate::disk::{AlignedBuffer, Disk, File, OpenMode};
use crate::error::{Error, Result};

/// The largest window that is decompressed: far beyond what is written, so that a damaged header
/// cannot ask for more memory.
const WINDOW_LOG: u32 = 23;
/// Bytes read together, and bytes decompressed together; at first fewer, since often only a head is wanted.
const BLOCK: usize = 1 << 20;
const FIRST_BLOCK: usize = 64 << 10;
/// Blocks that wait to be looked at.
const WAITING: usize = 4;

/// Carries an error of the kernel through the traits of the standard library.
fn wrap(error: Error) -> io::Error {
    io::Error::other(error)
}

/// The error of the kernel that an I/O error carries, or a new one.
fn unwrap(error: io::Error, otherwise: impl FnOnce(io::Error) -> Error) -> Error {
    let lacking = |error: io::Error| match crate::memory::lacks(&error) {
        true => Error::io("decompress", "a backup", &error),
        false => otherwise(error),
    };
    error.downcast::<Error>().unwrap_or_else(lacking)
}

/// Reads a file from its beginning, past the system's cache: for a proof it is best read from the medium.
struct Source {
    file: Arc<dyn File>,
    path: String,
    piece: AlignedBuffer,
    /// Bytes of the piece that were taken, and of the file.
    used: usize,
    at: u64,
    hasher: blake3::Hasher,
    opening: Option<Opening>,
}

/// The chunk of a sealed file that is being read.
struct Opening {
    seal: FileSeal,
    content: Vec<u8>,
    at: usize,
    is_last: bool,
}

impl Source {
    fn raw(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if self.used == self.piece.bytes().len() {
            self.next_piece()?;
        }
        let left = &self.piece.bytes()[self.used..];
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.used += count;
        self.at += count as u64;
        Ok(count)
    }

    fn next_piece(&mut self) -> Result<()> {
        let size = if self.at == 0 { FIRST_BLOCK } else { BLOCK };
        self.piece.begin(size, BLOCK)?;
        self.piece.resize(size);
        self.used = 0;
        let read = self.file.read_past_cache(self.piece.bytes_mut(), self.at);
        self.piece.resize(*read.as_ref().unwrap_or(&0));
        self.hasher.update(self.piece.bytes());
        read.map(|_| ())
    }

    fn raw_exact(&mut self, buffer: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            match self.raw(&mut buffer[done..])? {
                0 => return Err(super::damaged(&self.path, "it is cut short")),
                count => done += count,
            }
        }
        Ok(())
    }

    fn next_chunk(&mut self) -> Result<()> {
        let mut head = [0; HEAD];
        self.raw_exact(&mut head)?;
        let length = crate::page::get_u32(&head, 0) as usize;
        if length > CHUNK {
            return Err(super::damaged(&self.path, "a sealed part has an impossible length"));
        }
        let mut sealed = crate::memory::zeroed(length + TAG, "read a backup")?;
        self.raw_exact(&mut sealed)?;
        let Some(opening) = &mut self.opening else { return Ok(()) };
        match opening.seal.open(&head[4..], &sealed) {
            Some((content, is_last)) => {
                (opening.content, opening.at, opening.is_last) = (content, 0, is_last);
                Ok(())
            }
            None => Err(super::damaged(&self.path, "a part is not what was sealed there")),
        }
    }

    /// Reads what is left of the file, whatever it is.
    fn skip_rest(&mut self) -> Result<()> {
        let mut rest = [0; 8192];
        while self.raw(&mut rest)? > 0 {}
        Ok(())
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(opening) = &mut self.opening else { return self.raw(buffer).map_err(wrap) };
            let left = &opening.content[opening.at..];
            if !left.is_empty() {
                let count = left.len().min(buffer.len());
                buffer[..count].copy_from_slice(&left[..count]);
                opening.at += count;
                return Ok(count);
            }
            if opening.is_last {
                return Ok(0);
            }
            self.next_chunk().map_err(wrap)?;
        }
    }
}

/// Decompresses a file.
struct Decoding {
    decoder: zstd::Decoder<'static, io::BufReader<Source>>,
    path: String,
}

impl Decoding {
    /// Fills `block` as far as the content reaches, and cuts it there.
    fn fill(&mut self, block: &mut Vec<u8>, size: usize) -> Result<()> {
        crate::memory::resize(block, size, "read a backup")?;
        let mut done = 0;
        while done < size {
            match self.decoder.read(&mut block[done..]) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let damage = |_| super::damaged(&self.path, "the compressed content is damaged");
                    return Err(unwrap(error, damage));
                }
            }
        }
        block.truncate(done);
        Ok(())
    }

    /// Reads what is left of the file; returns its size and hash.
    fn finish(self) -> Result<(u64, String)> {
        let mut source = self.decoder.finish();
        let mut rest = [0; 8192];
        loop {
            match source.read(&mut rest) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    return Err(unwrap(error, |error| Error::io("read", &self.path, &error)));
                }
            }
        }
        let mut source = source.into_inner();
        source.skip_rest()?;
        Ok((source.at, source.hasher.finalize().to_hex().to_string()))
    }
}

/// A thread that is some blocks ahead.
struct Ahead {
    blocks: Receiver<Result<Vec<u8>>>,
    emptied: Sender<Vec<u8>>,
    thread: JoinHandle<Option<Decoding>>,
}

impl Ahead {
    /// `None` where there is no thread to be had; then `decoding` is there still.
    fn begin(decoding: &mut Option<Decoding>) -> Option<Ahead> {
        let (give, blocks) = sync_channel(WAITING);
        let (emptied, spare) = channel();
        let (hand_over, handed) = sync_channel::<Decoding>(1);
        let work = move || decode_each(handed.recv().ok()?, &give, &spare);
        let thread = Builder::new().name("holdfast-backup-read".to_owned()).spawn(work).ok()?;
        // It waits for this and for nothing else.
        let _ = hand_over.send(decoding.take()?);
        Some(Ahead { blocks, emptied, thread })
    }

    /// The next block, empty after the last, for one that was used.
    fn next(&self, used: Vec<u8>) -> Result<Vec<u8>> {
        // It may be at the end already.
        let _ = self.emptied.send(used);
        self.blocks.recv().unwrap_or_else(|_| Ok(Vec::new()))
    }

    /// Stops the thread; `None` where it failed.
    fn end(self) -> Option<Decoding> {
        drop((self.blocks, self.emptied));
        self.thread.join().ok().flatten()
    }
}

/// Decompresses until the content ends, or nobody wants more of it.
fn decode_each(
    mut decoding: Decoding,
    give: &SyncSender<Result<Vec<u8>>>,
    spare: &Receiver<Vec<u8>>,
) -> Option<Decoding> {
    loop {
        let mut block = spare.try_recv().unwrap_or_default();
        if let Err(error) = decoding.fill(&mut block, BLOCK) {
            // Nobody may want it any longer.
            let _ = give.send(Err(error));
            return None;
        }
        let is_last = block.is_empty();
        if give.send(Ok(block)).is_err() || is_last {
            return Some(decoding);
        }
    }
}

/// A compressed file being read. Dropped before its end it leaves no thread behind.
pub(super) struct Unpacker {
    decoding: Option<Decoding>,
    ahead: Option<Ahead>,
    block: Vec<u8>,
    /// Bytes of the block that were read.
    at: usize,
    path: String,
}

impl Unpacker {
    pub fn open(disk: &dyn Disk, path: &str, seal: Option<&Seal>) -> Result<Unpacker> {
        let file = disk.open(path, OpenMode::Read)?;
        let opening = seal.map(|seal| {
            let (seal, content) = (seal.file(path), Vec::new());
            Opening { seal, content, at: 0, is_last: false }
        });
        let hasher = blake3::Hasher::new();
        let (piece, path) = (AlignedBuffer::default(), path.to_owned());
        let source = Source { file, path: path.clone(), piece, used: 0, at: 0, hasher, opening };
        let told = |error: io::Error| Error::io("decompress", &path, &error);
        let mut decoder = zstd::Decoder::new(source).map_err(told)?;
        decoder.window_log_max(WINDOW_LOG).map_err(told)?;
        let decoding = Some(Decoding { decoder, path: path.clone() });
        Ok(Unpacker { decoding, ahead: None, block: Vec::new(), at: 0, path })
    }

    /// The next block; an empty one is the end.
    fn advance(&mut self) -> Result<()> {
        self.at = 0;
        let mut block = std::mem::take(&mut self.block);
        let is_first = block.capacity() == 0;
        if block.len() == BLOCK && self.ahead.is_none() {
            self.ahead = Ahead::begin(&mut self.decoding);
        }
        if let Some(ahead) = &self.ahead {
            self.block = ahead.next(block)?;
            return Ok(());
        }
        let Some(decoding) = &mut self.decoding else { return Err(self.failed()) };
        decoding.fill(&mut block, if is_first { FIRST_BLOCK } else { BLOCK })?;
        self.block = block;
        Ok(())
    }

    /// Fills `buffer` as far as the content reaches; returns the bytes.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            if self.at == self.block.len() {
                self.advance()?;
                if self.block.is_empty() {
                    break;
                }
            }
            let count = (buffer.len() - done).min(self.block.len() - self.at);
            buffer[done..done + count].copy_from_slice(&self.block[self.at..self.at + count]);
            (self.at, done) = (self.at + count, done + count);
        }
        Ok(done)
    }

    /// Fills `buffer`, or says that the file ends too early.
    pub fn read_exact(&mut self, buffer: &mut [u8]) -> Result<()> {
        if self.read(buffer)? < buffer.len() {
            return Err(super::damaged(&self.path, "the content ends too early"));
        }
        Ok(())
    }

    fn failed(&self) -> Error {
        super::damaged(&self.path, "the compressed content is damaged")
    }

    /// Reads what is left of the file; returns its size and hash.
    pub fn finish(mut self) -> Result<(u64, String)> {
        let decoding = match self.ahead.take() {
            Some(ahead) => ahead.end(),
            None => self.decoding.take(),
        };
        decoding.ok_or_else(|| self.failed())?.finish()
    }
}

impl Drop for Unpacker {
    fn drop(&mut self) {
        self.ahead.take().map(Ahead::end);
    }
}
