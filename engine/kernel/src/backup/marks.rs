//! Which backups a database remembers: those that were taken of it, in the history it is in.
//!
//! An increment is only right on top of a backup of this very history. LSNs cannot tell: a database
//! that was restored meanwhile gives the same ones out again. So each backup that is complete leaves
//! its id in the file `backups` of the database it was taken of. A restored database begins without;
//! one that was put back from a copy has the marks of its copy; one whose log was cut at damage
//! loses them. What is not remembered takes no increment: the next backup is a full one.

use serde_json::{Value, json};

use crate::disk::{Disk, OpenMode};
use crate::error::Result;

const PATH: &str = "backups";
/// The oldest go: who has so many chains takes a full backup now and then.
const MOST: usize = 1000;
const MOST_BYTES: u64 = 1 << 20;

/// The ids that are remembered, oldest first; none where the file cannot be believed.
fn read(disk: &dyn Disk) -> Result<Vec<String>> {
    if !disk.exists(PATH)? {
        return Ok(Vec::new());
    }
    let file = disk.open(PATH, OpenMode::Read)?;
    let mut text = vec![0; usize::try_from(file.size()?.min(MOST_BYTES)).unwrap_or(0)];
    let count = file.read_at(&mut text, 0)?;
    let value: Value = serde_json::from_slice(&text[..count]).unwrap_or_default();
    let ids = || {
        value["ids"]
            .as_array()?
            .iter()
            .map(|id| Some(id.as_str()?.to_owned()))
            .collect::<Option<Vec<String>>>()
    };
    let ids = ids().unwrap_or_default();
    Ok(if value["blake3"].as_str() == Some(&seal(&ids)) { ids } else { Vec::new() })
}

fn seal(ids: &[String]) -> String {
    blake3::hash(ids.join("\n").as_bytes()).to_hex().to_string()
}

pub(super) fn has(disk: &dyn Disk, id: &str) -> Result<bool> {
    Ok(read(disk)?.iter().any(|known| known == id))
}

/// Remembers a backup; durable on return. A crash in the middle may forget them all.
pub(crate) fn add(disk: &dyn Disk, id: &str) -> Result<()> {
    let mut ids = read(disk)?;
    ids.push(id.to_owned());
    ids.drain(..ids.len().saturating_sub(MOST));
    let text = json!({ "ids": ids, "blake3": seal(&ids) }).to_string();
    let file = disk.open(PATH, OpenMode::Create)?;
    file.truncate(0)?;
    file.write_at(text.as_bytes(), 0)?;
    file.sync()?;
    disk.sync_dir("")
}

/// Forgets them all: the database leaves the history that they are of.
pub(crate) fn forget(disk: &dyn Disk) -> Result<()> {
    disk.remove(PATH)
}
