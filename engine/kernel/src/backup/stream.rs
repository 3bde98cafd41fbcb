//! Files as streams of compressed bytes, hashed on the way.

use std::io::{self, Read, Write};
use std::sync::Arc;

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
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(bytes, self.at).map_err(wrap)?;
        self.at += bytes.len() as u64;
        self.hasher.update(bytes);
        Ok(bytes.len())
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
    pub fn create(disk: &dyn Disk, path: &str) -> Result<Packer> {
        let file = disk.open(path, OpenMode::Create)?;
        let sink = Sink { file, at: 0, hasher: blake3::Hasher::new() };
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
        let sink = self
            .encoder
            .finish()
            .map_err(|error| unwrap(error, |error| Error::io("write", &path, &error)))?;
        sink.file.sync()?;
        Ok((sink.at, sink.hasher.finalize().to_hex().to_string()))
    }
}

/// Reads a file from its beginning.
struct Source {
    file: Arc<dyn File>,
    at: u64,
    hasher: blake3::Hasher,
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at).map_err(wrap)?;
        self.at += read as u64;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

/// A compressed file being read.
pub(super) struct Unpacker {
    decoder: zstd::Decoder<'static, io::BufReader<Source>>,
    path: String,
}

impl Unpacker {
    pub fn open(disk: &dyn Disk, path: &str) -> Result<Unpacker> {
        let file = disk.open(path, OpenMode::Read)?;
        let source = Source { file, at: 0, hasher: blake3::Hasher::new() };
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
        let source = source.into_inner();
        Ok((source.at, source.hasher.finalize().to_hex().to_string()))
    }
}
