//! Segment files and the stream they form.
//!
//! ```text
//! wal/000000000001.wal = header of 512 bytes | stream bytes
//! header: magic 8 | version u32 | database id 16 | incarnation u32 | number u64 | start_lsn u64
//!         | capacity u64 | previous incarnation u32 | created_at i64 | zeros | crc32 u32
//! ```
//!
//! Stream byte `i` of a segment has the LSN `start_lsn + i`. A file is first written full of
//! zeros and synced, header included; its header is written when it is put into use, and only
//! after every byte of its predecessors was synced. From this follows:
//!
//! - a file without a header is not in use, whatever its size: a crash left it so;
//! - a valid header proves that the stream before its `start_lsn` was durable;
//! - a file with a header that is shorter than its capacity was cut by somebody else;
//! - a segment ends where its successor starts. A successor that starts early belongs to a
//!   rotation or to a new incarnation; bytes beyond its start do not count. A new incarnation
//!   may begin before whole segments: an entry that ran into them was never finished.

use crate::disk::{Disk, OpenMode};
use crate::error::{Code, Error, Field, Result};
use crate::types::{DatabaseId, Incarnation, Lsn};

/// The folder of the segments in use, and the one of those kept for later.
pub const FOLDER: &str = "wal";
pub const ARCHIVE: &str = "archive";
/// Bytes before the stream bytes of a segment.
pub const HEADER_BYTES: u64 = 512;
/// The first LSN of all, so that zero can mean "none".
pub const FIRST_LSN: Lsn = Lsn(512);

const MAGIC: [u8; 8] = *b"HOLDFWAL";
const VERSION: u32 = 1;
const CRC_AT: usize = 508;

/// What the header of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub database: DatabaseId,
    pub incarnation: Incarnation,
    pub number: u64,
    pub start: Lsn,
    /// Stream bytes the file has room for.
    pub capacity: u64,
    /// The incarnation of the segment before; zero for the first.
    pub previous: Incarnation,
    /// Microseconds since the Unix epoch.
    pub created_at: i64,
}

impl SegmentHeader {
    pub fn encode(&self) -> [u8; HEADER_BYTES as usize] {
        let mut bytes = [0u8; HEADER_BYTES as usize];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..28].copy_from_slice(&self.database.0);
        bytes[28..32].copy_from_slice(&self.incarnation.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.number.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.start.0.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.capacity.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.previous.0.to_le_bytes());
        bytes[60..68].copy_from_slice(&self.created_at.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8]) -> std::result::Result<SegmentHeader, Defect> {
        let is_zeroed = bytes.iter().all(|b| *b == 0);
        if bytes.len() < HEADER_BYTES as usize {
            return Err(if is_zeroed { Defect::Empty } else { Defect::Cut });
        }
        if is_zeroed {
            return Err(Defect::Unused);
        }
        let number = |at: usize, len: usize| {
            let mut value = [0u8; 8];
            value[..len].copy_from_slice(&bytes[at..at + len]);
            u64::from_le_bytes(value)
        };
        if bytes[0..8] != MAGIC || number(CRC_AT, 4) != u64::from(crc32fast::hash(&bytes[..CRC_AT])) {
            return Err(Defect::BadHeader);
        }
        if number(8, 4) != u64::from(VERSION) {
            return Err(Defect::OtherVersion(number(8, 4) as u32));
        }
        let mut database = [0; 16];
        database.copy_from_slice(&bytes[12..28]);
        Ok(SegmentHeader {
            database: DatabaseId(database),
            incarnation: Incarnation(number(28, 4) as u32),
            number: number(32, 8),
            start: Lsn(number(40, 8)),
            capacity: number(48, 8),
            previous: Incarnation(number(56, 4) as u32),
            created_at: number(60, 8) as i64,
        })
    }
}

/// Why a segment file cannot be read as part of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Shorter than a header, and nothing in it: its preparation was cut off.
    Empty,
    /// It had a header, and what is left is shorter than one.
    Cut,
    /// Its header is still zeros: written beforehand, never put into use.
    Unused,
    /// The header's checksum or magic is wrong.
    BadHeader,
    /// The file names another number than its name, or impossible sizes.
    Misplaced,
    /// It belongs to another database.
    Foreign,
    /// A format this version does not read.
    OtherVersion(u32),
}

impl Defect {
    pub fn name(self) -> &'static str {
        match self {
            Defect::Empty => "empty",
            Defect::Cut => "cut within its header",
            Defect::Unused => "not in use",
            Defect::BadHeader => "damaged header",
            Defect::Misplaced => "header of another segment",
            Defect::Foreign => "belongs to another database",
            Defect::OtherVersion(_) => "written by another version",
        }
    }
}

/// A segment file as it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentInfo {
    pub number: u64,
    pub path: String,
    /// Bytes of the file.
    pub size: u64,
    pub header: std::result::Result<SegmentHeader, Defect>,
}

/// The path of a segment.
pub fn segment_path(folder: &str, number: u64) -> String {
    format!("{folder}/{number:012}.wal")
}

/// True for the path of a segment in use, as [`segment_path`] writes it.
pub fn is_segment_path(path: &str) -> bool {
    path.strip_prefix(FOLDER)
        .and_then(|rest| rest.strip_prefix('/'))
        .is_some_and(|name| number_of(name).is_some())
}

fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".wal")?;
    let plain = digits.len() == 12 && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// Every segment file, by number, with its header read and judged. Files with other names are
/// none of the log's and are left out.
pub fn discover(disk: &dyn Disk, database: DatabaseId) -> Result<Vec<SegmentInfo>> {
    let mut found = Vec::new();
    for name in disk.list(FOLDER)? {
        if let Some(number) = number_of(&name) {
            match examine(disk, database, number) {
                // A checkpoint has removed it since the folder was listed.
                Err(error) if error.field("missing").is_some() => {}
                examined => found.push(examined?),
            }
        }
    }
    found.sort_by_key(|info| info.number);
    Ok(found)
}

fn examine(disk: &dyn Disk, database: DatabaseId, number: u64) -> Result<SegmentInfo> {
    let path = segment_path(FOLDER, number);
    let file = disk.open(&path, OpenMode::Read)?;
    let size = file.size()?;
    let mut bytes = [0u8; HEADER_BYTES as usize];
    let count = file.read_at(&mut bytes, 0)?;
    let header = SegmentHeader::decode(&bytes[..count]).and_then(|header| {
        let sane = header.number == number
            && header.start >= FIRST_LSN
            && header.start < Lsn::LIMIT
            && header.capacity < Lsn::LIMIT.0
            && header.incarnation.0 < u32::MAX;
        match () {
            () if header.database != database => Err(Defect::Foreign),
            () if !sane => Err(Defect::Misplaced),
            () => Ok(header),
        }
    });
    Ok(SegmentInfo { number, path, size, header })
}

/// True where any file in the folder, of whatever database, holds something in its stream.
pub fn any_entry(disk: &dyn Disk) -> Result<bool> {
    for name in disk.list(FOLDER)? {
        let file = disk.open(&format!("{FOLDER}/{name}"), OpenMode::Read)?;
        let mut bytes = [0u8; 8];
        let count = file.read_at(&mut bytes, HEADER_BYTES)?;
        if bytes[..count].iter().any(|byte| *byte != 0) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The highest incarnation any segment carries: a new one must be above it.
pub fn highest_incarnation(found: &[SegmentInfo]) -> Incarnation {
    let incarnations = found.iter().filter_map(|info| info.header.ok()).map(|h| h.incarnation);
    incarnations.max().unwrap_or_default()
}

/// The part of the stream that one segment holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    pub number: u64,
    pub path: String,
    pub incarnation: Incarnation,
    pub start: Lsn,
    /// Where its stream bytes stop counting: the next segment's start, or the file's end.
    pub limit: Lsn,
    /// Where its room ends by its header.
    pub full: Lsn,
}

impl Extent {
    /// The file offset of a stream position inside the extent.
    pub fn offset(&self, lsn: Lsn) -> u64 {
        HEADER_BYTES + (lsn.0 - self.start.0)
    }
}

/// A segment in use and how far its stream bytes count.
pub(super) struct Used<'a> {
    pub info: &'a SegmentInfo,
    pub header: SegmentHeader,
    /// Not beyond its room, nor beyond the start of any later segment. At or below its start
    /// where it was given up: a later incarnation begins before it.
    pub limit: Lsn,
}

/// Every segment in use, in order. `FormatUnsupported` where another version wrote one.
pub(super) fn used(found: &[SegmentInfo]) -> Result<Vec<Used<'_>>> {
    let mut used = Vec::with_capacity(found.len());
    for info in found {
        match info.header {
            Ok(header) => used.push(Used { info, header, limit: header.start.plus(header.capacity) }),
            Err(Defect::OtherVersion(version)) => {
                let error = Error::new(Code::FormatUnsupported);
                return Err(error.with("path", info.path.as_str()).with("version", version));
            }
            Err(_) => {}
        }
    }
    let mut cut = Lsn::MAX;
    for segment in used.iter_mut().rev() {
        segment.limit = segment.limit.min(cut);
        cut = cut.min(segment.header.start);
    }
    Ok(used)
}

/// The stream from the segment that holds `from` onward, in order. `WalCorrupted` where a
/// segment in the middle is missing, damaged or does not fit its neighbours.
///
/// Trailing files that are not in use, or whose headers cannot be read, are left out here;
/// whether they are damage is the reader's to judge.
pub fn extents(found: &[SegmentInfo], from: Lsn) -> Result<Vec<Extent>> {
    let used = used(found)?;
    let counts = |segment: &Used<'_>| segment.header.start < segment.limit;
    let first = used.iter().rposition(|segment| counts(segment) && segment.header.start <= from);
    let Some(first) = first else {
        let oldest = used.iter().map(|segment| segment.header.start).min();
        let detail = "the log does not reach back to where reading must start";
        return Err(corrupted(from, detail).with("oldest_lsn", oldest.unwrap_or(Lsn::NONE).0));
    };
    check_neighbours(found, &used[first..])?;
    let mut result: Vec<Extent> = Vec::with_capacity(used.len() - first);
    for segment in used.iter().skip(first).filter(|segment| counts(segment)) {
        let Used { info, header, limit } = *segment;
        let room = header.start.plus(info.size.saturating_sub(HEADER_BYTES));
        // A segment is put into use at its full size, synced: whatever it lacks was cut off later.
        if room < limit {
            return Err(corrupted(room, "a segment is short").with("segment", info.path.as_str()));
        }
        result.push(Extent {
            number: info.number,
            path: info.path.clone(),
            incarnation: header.incarnation,
            start: header.start,
            limit,
            full: header.start.plus(header.capacity),
        });
    }
    match result.first() {
        Some(extent) if from <= extent.limit => Ok(result),
        _ => Err(corrupted(from, "the position lies beyond the log")),
    }
}

/// From the first of `used` to the last, numbers have no gap, and each segment begins where
/// the one before it has stream bytes or ends; only a new incarnation may go back further.
fn check_neighbours(found: &[SegmentInfo], used: &[Used<'_>]) -> Result<()> {
    for pair in used.windows(2) {
        let (old, new) = (&pair[0], &pair[1]);
        let old_end = old.header.start.plus(old.header.capacity);
        if new.info.number != old.info.number + 1 {
            let missing = old.info.number + 1;
            let fault = found.iter().find(|info| info.number == missing);
            let defect = fault.and_then(|info| info.header.err()).map_or("missing", Defect::name);
            return Err(corrupted(old_end, "a segment in the middle cannot be read")
                .with("segment", segment_path(FOLDER, missing))
                .with("defect", defect));
        }
        let goes_back = new.header.start < old.header.start;
        let fits = new.header.start <= old_end
            && new.header.previous == old.header.incarnation
            && new.header.incarnation >= old.header.incarnation
            && (!goes_back || new.header.incarnation > old.header.incarnation);
        if !fits {
            return Err(corrupted(new.header.start, "a segment does not continue the one before it")
                .with("segment", new.info.path.as_str()));
        }
    }
    Ok(())
}

/// `WalCorrupted` at a position.
pub fn corrupted(position: Lsn, details: impl Into<String>) -> Error {
    Error::new(Code::WalCorrupted)
        .with("details", Field::Text(details.into()))
        .with("lsn", position.0)
        .with("suggested_action", "copy the database, then restore from a backup")
}
