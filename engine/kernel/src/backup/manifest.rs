//! What a backup says of itself: its parts, their hashes, its place in the chain.

use serde_json::{Value, json};

use super::parts::part_name;
use super::seal::{Locks, Seal};
use super::{Summary, damaged};
use crate::disk::{Disk, OpenMode};
use crate::error::Result;
use crate::types::Lsn;

pub const MANIFEST: &str = "manifest.json";
const FORMAT: u64 = 2;
const KIND_FULL: &str = "full";
const KIND_INCREMENT: &str = "increment";

/// One file of a backup.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Piece {
    pub name: String,
    /// As it lies in the backup.
    pub bytes: u64,
    pub hash: String,
    /// The size of what it is restored to.
    pub restored_bytes: u64,
}

impl Piece {
    pub(super) fn value(&self) -> Value {
        json!({
            "name": self.name, "bytes": self.bytes, "blake3": self.hash,
            "restored_bytes": self.restored_bytes,
        })
    }

    pub(super) fn from_value(value: &Value) -> Option<Piece> {
        Some(Piece {
            name: value["name"].as_str()?.to_owned(),
            bytes: value["bytes"].as_u64()?,
            hash: value["blake3"].as_str()?.to_owned(),
            restored_bytes: value["restored_bytes"].as_u64()?,
        })
    }
}

/// The backup that an increment adds to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentName {
    /// Its directory, beside that of the increment.
    pub name: String,
    /// The seal of its manifest.
    pub id: String,
}

/// What a backup is, and what it consists of.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The seal: the BLAKE3 of all the rest.
    pub id: String,
    pub database: String,
    pub page_size: u64,
    /// Microseconds since the Unix epoch.
    pub taken_at: i64,
    /// The number in the chain, in order of taking whatever the clock says; 0 in older backups.
    pub sequence: u64,
    pub start_lsn: Lsn,
    /// Every change before it is in the pages of this backup, or of those it adds to.
    pub redo_lsn: Lsn,
    pub end_lsn: Lsn,
    /// The last commit before the end, in microseconds; later than it at most.
    pub committed_at: i64,
    /// Pages in this backup itself.
    pub pages: u64,
    /// `None` for a full backup.
    pub parent: Option<ParentName>,
    /// How its files are sealed; none where everybody can read them.
    pub locks: Option<Locks>,
    /// The keyed hash of the seal, where its files are sealed.
    pub(super) mac: Option<String>,
    pub(super) pieces: Vec<Piece>,
}

impl Manifest {
    fn value(&self) -> Value {
        let pieces: Vec<Value> = self.pieces.iter().map(Piece::value).collect();
        let kind = if self.parent.is_some() { KIND_INCREMENT } else { KIND_FULL };
        let parent = self.parent.as_ref();
        let mut value = json!({
            "format": FORMAT,
            "kind": kind,
            "database": self.database,
            "page_size": self.page_size,
            "taken_at": self.taken_at,
            "sequence": self.sequence,
            "start_lsn": self.start_lsn.0,
            "redo_lsn": self.redo_lsn.0,
            "end_lsn": self.end_lsn.0,
            "committed_at": self.committed_at,
            "pages": self.pages,
            "parent": parent.map(|parent| parent.name.as_str()),
            "parent_id": parent.map(|parent| parent.id.as_str()),
            "files": pieces,
        });
        if let Some(locks) = &self.locks {
            value["encryption"] = locks.value();
        }
        value
    }

    /// Seals the manifest; returns what is to be written.
    pub(super) fn encode(&mut self, seal: Option<&Seal>) -> String {
        let mut text = self.value();
        self.id = blake3::hash(text.to_string().as_bytes()).to_hex().to_string();
        text["blake3"] = self.id.as_str().into();
        self.mac = seal.map(|seal| seal.sign(&self.id));
        if let Some(mac) = &self.mac {
            text["mac"] = mac.as_str().into();
        }
        format!("{text:#}\n")
    }

    /// Reads a manifest; what is wrong with it, in words, where it cannot be believed.
    pub(super) fn decode(text: &[u8]) -> std::result::Result<Manifest, String> {
        let mut value: Value =
            serde_json::from_slice(text).map_err(|_| "the manifest cannot be read".to_owned())?;
        let mac = value.as_object_mut().and_then(|object| object.shift_remove("mac"));
        let mac = mac.as_ref().and_then(Value::as_str).map(str::to_owned);
        let seal = value.as_object_mut().and_then(|object| object.shift_remove("blake3"));
        let expected = blake3::hash(value.to_string().as_bytes()).to_hex();
        if seal.as_ref().and_then(Value::as_str) != Some(expected.as_str()) {
            return Err("the manifest has been changed or is not complete".to_owned());
        }
        if value["format"].as_u64() != Some(FORMAT) {
            return Err("the backup was written by another version".to_owned());
        }
        Self::from_value(&value, expected.to_string())
            .map(|manifest| Manifest { mac, ..manifest })
            .ok_or_else(|| "the manifest lacks a part".to_owned())
    }

    fn from_value(value: &Value, id: String) -> Option<Manifest> {
        let number = |name: &str| value[name].as_u64();
        let parent = match value["kind"].as_str()? {
            KIND_FULL => None,
            KIND_INCREMENT => Some(ParentName {
                name: value["parent"].as_str()?.to_owned(),
                id: value["parent_id"].as_str()?.to_owned(),
            }),
            _ => return None,
        };
        let locks = match &value["encryption"] {
            Value::Null => None,
            locks => Some(Locks::from_value(locks)?),
        };
        let start_lsn = Lsn(number("start_lsn")?);
        Some(Manifest {
            id,
            database: value["database"].as_str()?.to_owned(),
            page_size: number("page_size")?,
            taken_at: value["taken_at"].as_i64()?,
            sequence: number("sequence").unwrap_or(0),
            start_lsn,
            redo_lsn: number("redo_lsn").map_or(start_lsn, Lsn),
            end_lsn: Lsn(number("end_lsn")?),
            committed_at: value["committed_at"].as_i64().unwrap_or(i64::MAX),
            pages: number("pages")?,
            parent,
            locks,
            mac: None,
            pieces: value["files"].as_array()?.iter().map(Piece::from_value).collect::<Option<_>>()?,
        })
    }

    /// The manifest of the backup on `source`. `BackupDamaged` where there is none.
    pub fn read(source: &dyn Disk) -> Result<Manifest> {
        if !source.exists(MANIFEST)? {
            return Err(damaged(MANIFEST, "there is no manifest: the backup was not finished"));
        }
        let file = source.open(MANIFEST, OpenMode::Read)?;
        let mut text = crate::memory::zeroed(
            usize::try_from(file.size()?.min(64 << 20)).unwrap_or(0),
            "read a manifest",
        )?;
        let read = file.read_at(&mut text, 0)?;
        Manifest::decode(&text[..read]).map_err(|detail| damaged(MANIFEST, detail))
    }

    pub(super) fn piece(&self, name: &str) -> Option<&Piece> {
        self.pieces.iter().find(|piece| piece.name == name)
    }

    /// The parts of a list, in order.
    pub(super) fn parts(&self, name: &str) -> Vec<&Piece> {
        (0..).map_while(|number| self.piece(&part_name(name, number))).collect()
    }

    pub(super) fn summary(&self, seconds: f64) -> Summary {
        Summary {
            files: self.pieces.len() as u64,
            bytes: self.pieces.iter().map(|piece| piece.bytes).sum(),
            pages: self.pages,
            end_lsn: self.end_lsn,
            taken_at: self.taken_at,
            sequence: self.sequence,
            parent: self.parent.as_ref().map(|parent| parent.name.clone()),
            resumed_pages: 0,
            seconds,
        }
    }
}
