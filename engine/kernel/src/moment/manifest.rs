//! What a snapshot says of itself; without a whole one there is no snapshot.

use serde_json::{Value, json};

use crate::disk::{Disk, OpenMode};
use crate::error::Result;
use crate::types::Lsn;

const FORMAT: u64 = 1;
const MOST_BYTES: u64 = 1 << 20;

/// A small file that the recovery of a snapshot starts from, as it lies in the file of frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub path: String,
    /// Bytes that are kept of it, in the frames from `first` on.
    pub bytes: u64,
    pub first: u32,
    /// The size of the file that it is put back into; zeros follow what is kept.
    pub size: u64,
}

/// A named moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    pub name: String,
    /// Microseconds since the Unix epoch.
    pub taken_at: i64,
    /// Nobody asked for it: the schedule took it.
    pub is_scheduled: bool,
    pub database: String,
    pub start_lsn: Lsn,
    /// The snapshot is what was committed before it.
    pub end_lsn: Lsn,
    /// The last commit before the end, in microseconds; `i64::MIN` where none is known.
    pub committed_at: i64,
    pub(super) pieces: Vec<Piece>,
}

fn seal(value: &Value) -> String {
    blake3::hash(value.to_string().as_bytes()).to_hex().to_string()
}

impl Moment {
    fn value(&self) -> Value {
        let piece = |piece: &Piece| {
            json!({
                "path": piece.path, "bytes": piece.bytes, "first": piece.first, "size": piece.size,
            })
        };
        json!({
            "format": FORMAT,
            "name": self.name,
            "taken_at": self.taken_at,
            "scheduled": self.is_scheduled,
            "database": self.database,
            "start_lsn": self.start_lsn.0,
            "end_lsn": self.end_lsn.0,
            "committed_at": self.committed_at,
            "pieces": self.pieces.iter().map(piece).collect::<Vec<_>>(),
        })
    }

    fn encode(&self) -> String {
        let mut value = self.value();
        value["blake3"] = Value::from(seal(&value));
        value.to_string()
    }

    fn decode(text: &[u8]) -> Option<Moment> {
        let mut value: Value = serde_json::from_slice(text).ok()?;
        let found = value.as_object_mut()?.shift_remove("blake3")?;
        if found.as_str()? != seal(&value) || value["format"].as_u64()? != FORMAT {
            return None;
        }
        let piece = |piece: &Value| {
            Some(Piece {
                path: piece["path"].as_str()?.to_owned(),
                bytes: piece["bytes"].as_u64()?,
                first: u32::try_from(piece["first"].as_u64()?).ok()?,
                size: piece["size"].as_u64()?,
            })
        };
        Some(Moment {
            name: value["name"].as_str()?.to_owned(),
            taken_at: value["taken_at"].as_i64()?,
            is_scheduled: value["scheduled"].as_bool()?,
            database: value["database"].as_str()?.to_owned(),
            start_lsn: Lsn(value["start_lsn"].as_u64()?),
            end_lsn: Lsn(value["end_lsn"].as_u64()?),
            committed_at: value["committed_at"].as_i64()?,
            pieces: value["pieces"].as_array()?.iter().map(piece).collect::<Option<_>>()?,
        })
    }

    /// Writes the manifest; durable on return, name and all.
    pub(super) fn write(&self, disk: &dyn Disk, path: &str, folder: &str) -> Result<()> {
        let file = disk.open(path, OpenMode::Create)?;
        file.truncate(0)?;
        file.write_at(self.encode().as_bytes(), 0)?;
        file.sync()?;
        disk.sync_dir(folder)
    }

    /// The manifest at `path`; `None` where it is not whole.
    pub(super) fn read(disk: &dyn Disk, path: &str) -> Result<Option<Moment>> {
        let file = disk.open(path, OpenMode::Read)?;
        let mut text = vec![0; usize::try_from(file.size()?.min(MOST_BYTES)).unwrap_or(0)];
        let read = file.read_at(&mut text, 0)?;
        Ok(Moment::decode(&text[..read]))
    }
}
