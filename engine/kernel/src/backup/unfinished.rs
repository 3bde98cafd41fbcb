//! What is known of a backup that was cut off, so that it can go on where it was.
//!
//! `unfinished.0` and `unfinished.1` are written in turn, each time some parts are whole and synced:
//! a crash in the middle of one leaves the other. They name the parts, the page that comes next, and
//! from which LSN on a change makes a copied page old. A backup goes on only in the history that it
//! was begun in: the database remembers its id (see [`super::marks`]).

use serde_json::{Value, json};

use super::manifest::Piece;
use super::seal::Locks;
use crate::disk::{Disk, OpenMode};
use crate::error::Result;
use crate::types::{Lsn, PageId};

pub(super) const PATHS: [&str; 2] = ["unfinished.0", "unfinished.1"];
const MOST_BYTES: u64 = 16 << 20;

/// A backup in the making, as far as it is durable.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Unfinished {
    /// What the database remembers it by.
    pub id: String,
    pub database: String,
    pub page_size: u64,
    /// The seal of the backup that it adds to; empty for a full one.
    pub parent: String,
    /// How its files are sealed, where they are.
    pub locks: Option<Locks>,
    /// Pages that changed after this may be newer than their copies.
    pub redo_lsn: Lsn,
    /// The first page that is not copied yet.
    pub next: PageId,
    /// Pages in the parts.
    pub pages: u64,
    /// Parts of each list that are whole.
    pub parts: u32,
    pub pieces: Vec<Piece>,
}

impl Unfinished {
    fn value(&self) -> Value {
        json!({
            "id": self.id, "database": self.database, "page_size": self.page_size,
            "parent": self.parent, "encryption": self.locks.as_ref().map(Locks::value), "redo_lsn": self.redo_lsn.0, "next": self.next.0,
            "pages": self.pages, "parts": self.parts,
            "files": self.pieces.iter().map(Piece::value).collect::<Vec<_>>(),
        })
    }

    fn from_value(value: &Value) -> Option<Unfinished> {
        let text = |name: &str| Some(value[name].as_str()?.to_owned());
        let number = |name: &str| value[name].as_u64();
        Some(Unfinished {
            id: text("id")?,
            database: text("database")?,
            page_size: number("page_size")?,
            parent: text("parent")?,
            locks: match &value["encryption"] {
                Value::Null => None,
                locks => Some(Locks::from_value(locks)?),
            },
            redo_lsn: Lsn(number("redo_lsn")?),
            next: PageId(u32::try_from(number("next")?).ok()?),
            pages: number("pages")?,
            parts: u32::try_from(number("parts")?).ok()?,
            pieces: value["files"].as_array()?.iter().map(Piece::from_value).collect::<Option<_>>()?,
        })
    }

    /// Makes it durable, beside the one before.
    pub fn write(&self, target: &dyn Disk) -> Result<()> {
        let value = self.value();
        let seal = blake3::hash(value.to_string().as_bytes()).to_hex().to_string();
        let text = json!({ "backup": value, "blake3": seal }).to_string();
        let file = target.open(PATHS[self.parts as usize % 2], OpenMode::Create)?;
        file.truncate(0)?;
        file.write_at(text.as_bytes(), 0)?;
        file.sync()?;
        target.sync_dir("")
    }

    /// The newest that can be believed, with all of its parts there at their sizes.
    pub fn read(target: &dyn Disk) -> Option<Unfinished> {
        let found = PATHS.iter().filter_map(|path| Self::read_one(target, path));
        found.filter(|it| it.is_there(target)).max_by_key(|it| it.parts)
    }

    fn read_one(target: &dyn Disk, path: &str) -> Option<Unfinished> {
        let file = target.open(path, OpenMode::Read).ok()?;
        let mut text = vec![0; usize::try_from(file.size().ok()?.min(MOST_BYTES)).ok()?];
        let count = file.read_at(&mut text, 0).ok()?;
        let value: Value = serde_json::from_slice(&text[..count]).ok()?;
        let seal = blake3::hash(value["backup"].to_string().as_bytes()).to_hex();
        let is_whole = value["blake3"].as_str() == Some(seal.as_str());
        is_whole.then(|| Self::from_value(&value["backup"])).flatten()
    }

    fn is_there(&self, target: &dyn Disk) -> bool {
        let size = |piece: &Piece| target.open(&piece.name, OpenMode::Read).and_then(|file| file.size());
        self.parts > 0
            && self.pieces.iter().all(|piece| size(piece).is_ok_and(|size| size == piece.bytes))
    }
}
