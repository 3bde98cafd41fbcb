//! Files as streams of compressed bytes, sealed where there is a key, hashed on the way.

use std::io::{self, Read, Write};
use std::sync::Arc;

use super::seal::{CHUNK, FileSeal, HEAD, Seal, TAG};
use crate::disk::{Disk, File, OpenMode};
use crate::error::{Error, Result};

/// Ordinary data shrinks to a half or a third at little cost.
const LEVEL: i32 = 1;

/// The largest window that is decompressed: far beyond what this level writes, so that a damaged
/// header cannot ask for more memory.
const WINDOW_LOG: u32 = 23;

/// Carries an error of the kernel through the traits of the standard library.
fn wrap(error: Error) -> io::Error {
    io::Error::other(error)
}

/// The error of the kernel that an I/O error carries, or a new one.
fn unwrap(error: io::Error, otherwise: impl FnOnce(io::Error) -> Error) -> Error {
    error.downcast::<Error>().unwrap_or_else(otherwise)
}

/// Writes a file from its beginning.
struct Sink {
    file: Arc<dyn File>,
    at: u64,
    hasher: blake3::Hasher,
    /// With what waits to be sealed: it may be the last of the file.
    seal: Option<(FileSeal, Vec<u8>)>,
}

impl Sink {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        self.hasher.update(bytes);
        Ok(())
    }

    /// Writes what waits; nothing comes after it.
    fn end(&mut self) -> Result<()> {
        let Some((mut seal, waiting)) = self.seal.take() else { return Ok(()) };
        self.put(&seal.close(&waiting, true)?)
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some((seal, waiting)) = &mut self.seal else {
            self.put(bytes).map_err(wrap)?;
            return Ok(bytes.len());
        };
        if waiting.len() < CHUNK {
            let count = bytes.len().min(CHUNK - waiting.len());
            waiting.extend_from_slice(&bytes[..count]);
            return Ok(count);
        }
        let chunk = seal.close(waiting, false).map_err(wrap)?;
        waiting.clear();
        self.put(&chunk).map_err(wrap)?;
        self.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A compressed file being written.
pub(super) struct Packer {
    encoder: zstd::Encoder<'static, Sink>,
    path: String,
}

impl Packer {
    /// What is there already under this name goes.
    pub fn create(disk: &dyn Disk, path: &str, seal: Option<&Seal>) -> Result<Packer> {
        let file = disk.open(path, OpenMode::Create)?;
        file.truncate(0)?;
        let seal = seal.map(|seal| (seal.file(path), Vec::with_capacity(CHUNK)));
        let sink = Sink { file, at: 0, hasher: blake3::Hasher::new(), seal };
        let encoder = zstd::Encoder::new(sink, LEVEL).map_err(|e| Error::io("compress", path, &e))?;
        Ok(Packer { encoder, path: path.to_owned() })
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let path = &self.path;
        self.encoder
            .write_all(bytes)
            .map_err(|error| unwrap(error, |error| Error::io("write", path, &error)))
    }

    /// Ends the file and syncs it; returns its size and hash.
    pub fn finish(self) -> Result<(u64, String)> {
        let path = self.path;
        let mut sink = self
            .encoder
            .finish()
            .map_err(|error| unwrap(error, |error| Error::io("write", &path, &error)))?;
        sink.end()?;
        sink.file.sync()?;
        Ok((sink.at, sink.hasher.finalize().to_hex().to_string()))
    }
}

/// Reads a file from its beginning.
struct Source {
    file: Arc<dyn File>,
    path: String,
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
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        self.hasher.update(&buffer[..read]);
        Ok(read)
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
        let mut sealed = vec![0; length + TAG];
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

/// A compressed file being read.
pub(super) struct Unpacker {
    decoder: zstd::Decoder<'static, io::BufReader<Source>>,
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
        let source = Source { file, path: path.to_owned(), at: 0, hasher, opening };
        let told = |error: io::Error| Error::io("decompress", path, &error);
        let mut decoder = zstd::Decoder::new(source).map_err(told)?;
        decoder.window_log_max(WINDOW_LOG).map_err(told)?;
        Ok(Unpacker { decoder, path: path.to_owned() })
    }

    /// Fills `buffer` as far as the content reaches; returns the bytes.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.decoder.read(&mut buffer[done..]) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let path = &self.path;
                    let damage = |_| super::damaged(path, "the compressed content is damaged");
                    return Err(unwrap(error, damage));
                }
            }
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

    /// Reads what is left of the file; returns its size and hash.
    pub fn finish(self) -> Result<(u64, String)> {
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
