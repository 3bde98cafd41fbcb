//! Files that are being written: beside their place, and moved there when they are whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::source::io_error;
use crate::error::Result;
use crate::memory;

/// What memory is asked for.
const WRITING: &str = "write a row";

/// A file written beside its place and moved there when it is whole.
pub struct PartFile {
    place: PathBuf,
    part: PathBuf,
    writer: Option<BufWriter<File>>,
}

impl PartFile {
    pub fn create(place: &Path) -> Result<Self> {
        let part = part_path(place);
        let file = File::create(&part).map_err(|error| io_error("create", &part, &error))?;
        let writer = Some(BufWriter::with_capacity(1 << 17, file));
        Ok(PartFile { place: place.to_owned(), part, writer })
    }

    /// Where the file stands until it is finished.
    pub fn part(&self) -> &Path {
        &self.part
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        writer.write_all(bytes).map_err(|error| io_error("write", &self.part, &error))
    }

    /// Syncs the file and moves it to its place, over one that may be there.
    pub fn finish(mut self) -> Result<()> {
        if let Some(writer) = self.writer.take() {
            let synced = writer.into_inner().map_err(io::IntoInnerError::into_error);
            let synced = synced.and_then(|file| file.sync_all());
            synced.map_err(|error| io_error("write", &self.part, &error))?;
        }
        fs::rename(&self.part, &self.place).map_err(|error| io_error("rename", &self.place, &error))
    }

    /// Closes the file so that another program part can write it by its path.
    pub fn release(&mut self) {
        self.writer = None;
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        // Closed first: Windows removes no open file. After `finish` there is nothing to remove.
        self.writer = None;
        let _ = fs::remove_file(&self.part);
    }
}

fn part_path(place: &Path) -> PathBuf {
    let mut name = place.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    place.with_file_name(name)
}

/// The files of a target that has one for each table.
pub struct Files {
    place: PathBuf,
    is_folder: bool,
    extension: &'static str,
    files: Vec<PartFile>,
}

impl Files {
    /// One table goes to the file `place`; several to files in a folder of that name.
    pub fn create(place: &Path, tables: usize, extension: &'static str) -> Result<Self> {
        let is_folder = tables != 1;
        if is_folder {
            fs::create_dir_all(place).map_err(|error| io_error("create", place, &error))?;
        }
        Ok(Files { place: place.to_owned(), is_folder, extension, files: Vec::new() })
    }

    /// Begins the file of a table; what is written from here on goes there.
    pub fn begin(&mut self, table: &str) -> Result<()> {
        let place = if self.is_folder {
            self.place.join(format!("{}.{}", file_name(table), self.extension))
        } else {
            self.place.clone()
        };
        self.files.push(PartFile::create(&place)?);
        Ok(())
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.files.last_mut().map_or(Ok(()), |file| file.write(bytes))
    }

    /// Puts every file in its place.
    pub fn finish(self) -> Result<()> {
        self.files.into_iter().try_for_each(PartFile::finish)
    }
}

/// Bytes that wait for the file. Where they are too many for the memory there is, the writer is told
/// `ErrorKind::OutOfMemory`.
#[derive(Default)]
pub struct Gathered(pub Vec<u8>);

impl Write for Gathered {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let lacking = |_| io::Error::from(io::ErrorKind::OutOfMemory);
        memory::grow(&mut self.0, bytes.len(), WRITING).map_err(lacking)?;
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lower case hexadecimal digits of a blob.
pub fn hex(bytes: &[u8]) -> Result<Vec<u8>> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut digits = Vec::new();
    memory::reserve(&mut digits, 2 * bytes.len(), WRITING)?;
    let digit = |nibble: u8| DIGITS[usize::from(nibble)];
    digits.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
    Ok(digits)
}

/// A table's name without what some file system refuses.
fn file_name(table: &str) -> String {
    let is_refused = |c: char| c.is_control() || r#"<>:"/\|?*"#.contains(c);
    let name: String = table.chars().map(|c| if is_refused(c) { '_' } else { c }).collect();
    if name.starts_with('.') { format!("_{name}") } else { name }
}
