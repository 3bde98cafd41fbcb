//! The file `standing`: whether a directory holds the primary of a database, a mirror of it, or a
//! former primary whose place another has taken. Without the file it is a primary without mirrors.
//!
//! ```text
//! slot at 0 and at 4096, 4096 bytes each, written in turn and synced:
//! magic 8 | sequence u64 | length u32 | JSON | zeros | BLAKE3 of all before, truncated to 16
//! ```
//!
//! The slot that counts is made certain before the other one is written: a process that was killed
//! may not have synced it, and then the other one is the only one that the medium has.
//!
//! The *epoch* grows with each fail over. Of two directories of one database that both say they
//! are the primary, the one with the higher epoch is; the other one is told so when it is opened,
//! or when it meets the mirror that was.

use serde_json::{Value as Json, json};

use super::hex;
use crate::disk::{Disk, File, OpenMode, secure};
use crate::error::{Code, Error, Result};
use crate::types::{DatabaseId, Lsn};

/// The file's name.
pub const PATH: &str = "standing";

const MAGIC: [u8; 8] = *b"HOLDFSTD";
const SLOT: usize = 4096;
const TEXT_AT: usize = 20;
const HASH_AT: usize = SLOT - 16;

/// What a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Primary,
    /// A mirror whose first copy is not complete: of no use yet.
    Copying,
    Mirror,
    /// A primary whose mirror has taken its place.
    Superseded,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Role::Primary => "primary",
            Role::Copying => "copying",
            Role::Mirror => "mirror",
            Role::Superseded => "superseded",
        }
    }

    fn named(name: &str) -> Option<Role> {
        [Role::Primary, Role::Copying, Role::Mirror, Role::Superseded]
            .into_iter()
            .find(|role| role.name() == name)
    }
}

/// A mirror, as its primary knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub path: String,
    pub is_synchronous: bool,
    /// Log from here on is kept for it; none while it has no whole copy.
    pub hold: Lsn,
    /// The database went back to an earlier moment since: what the mirror holds beyond is given up on
    /// purpose, and it gets a new copy.
    pub is_renewed: bool,
    /// What is in its directory and of another history is given up on purpose: it gets a new copy.
    pub is_given_up: bool,
}

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub role: Role,
    pub database: DatabaseId,
    pub epoch: u64,
    /// Of a primary.
    pub mirrors: Vec<Known>,
    /// Of a mirror its primary, of a former primary its successor, of a primary its predecessor.
    pub other: String,
    /// Of a primary after a fail over, and of its predecessor: where their histories part.
    pub parted_at: Lsn,
}

impl Standing {
    pub fn primary(database: DatabaseId) -> Standing {
        Standing {
            role: Role::Primary,
            database,
            epoch: 1,
            mirrors: Vec::new(),
            other: String::new(),
            parted_at: Lsn::NONE,
        }
    }

    /// What the file on `disk` says; `None` where there is none, or its making was cut off.
    /// `ControlDamaged` where neither slot is valid.
    pub fn read(disk: &dyn Disk) -> Result<Option<Standing>> {
        if !disk.exists(PATH)? {
            return Ok(None);
        }
        let file = disk.open(PATH, OpenMode::Read)?;
        if let Some((_, standing)) = newest(&*file)? {
            return Ok(Some(standing));
        }
        // The slot that is written second is still as it was made.
        let mut first = vec![0; SLOT];
        file.read_at(&mut first, 0)?;
        if first.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        Err(Error::new(Code::ControlDamaged).with("path", PATH))
    }

    /// Replaces what the file says, or makes it; durable on return. After an error the old or the
    /// new may count.
    pub fn write(&self, disk: &dyn Disk) -> Result<()> {
        let file = disk.open(PATH, OpenMode::Create)?;
        let before = newest(&*file)?.map(|(sequence, _)| sequence);
        if let Some(sequence) = before {
            secure_slot(&*file, sequence)?;
            self.write_slot(&*file, sequence + 1)?;
        } else {
            file.allocate(2 * SLOT as u64)?;
            // Both, so that from now on one of them is valid whatever happens to the other.
            self.write_slot(&*file, 1)?;
            self.write_slot(&*file, 2)?;
        }
        // Also where the file was there: its name need not be certain.
        disk.sync_dir("")
    }

    /// Makes certain what the file on `disk` says, whoever wrote it.
    pub fn confirm(disk: &dyn Disk) -> Result<()> {
        let file = disk.open(PATH, OpenMode::Write)?;
        if let Some((sequence, _)) = newest(&*file)? {
            secure_slot(&*file, sequence)?;
        }
        disk.sync_dir("")
    }

    fn write_slot(&self, file: &dyn File, sequence: u64) -> Result<()> {
        file.write_at(&self.encode(sequence)?, offset_of(sequence))?;
        file.sync()
    }

    fn encode(&self, sequence: u64) -> Result<Vec<u8>> {
        let mirrors: Vec<Json> = self
            .mirrors
            .iter()
            .map(|known| {
                json!({
                    "path": known.path,
                    "synchronous": known.is_synchronous,
                    "hold": known.hold.0,
                    "renewed": known.is_renewed,
                    "given_up": known.is_given_up,
                })
            })
            .collect();
        let text = json!({
            "role": self.role.name(),
            "database": hex(&self.database.0),
            "epoch": self.epoch,
            "mirrors": mirrors,
            "other": self.other,
            "parted_at": self.parted_at.0,
        })
        .to_string();
        if TEXT_AT + text.len() > HASH_AT {
            return Err(Error::argument("mirrors", "there are too many, or their paths are too long"));
        }
        let mut bytes = vec![0; SLOT];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&sequence.to_le_bytes());
        bytes[16..20].copy_from_slice(&(text.len() as u32).to_le_bytes());
        bytes[TEXT_AT..TEXT_AT + text.len()].copy_from_slice(text.as_bytes());
        let hash = blake3::hash(&bytes[..HASH_AT]);
        bytes[HASH_AT..].copy_from_slice(&hash.as_bytes()[..16]);
        Ok(bytes)
    }

    fn from_json(json: &Json) -> Option<Standing> {
        let text = |value: &Json| value.as_str().map(str::to_owned);
        let known = |json: &Json| {
            Some(Known {
                path: text(&json["path"])?,
                is_synchronous: json["synchronous"].as_bool()?,
                hold: Lsn(json["hold"].as_u64()?),
                is_renewed: json["renewed"].as_bool().unwrap_or(false),
                is_given_up: json["given_up"].as_bool().unwrap_or(false),
            })
        };
        Some(Standing {
            role: Role::named(json["role"].as_str()?)?,
            database: super::database_of(json["database"].as_str()?)?,
            epoch: json["epoch"].as_u64()?,
            mirrors: json["mirrors"].as_array()?.iter().map(known).collect::<Option<_>>()?,
            other: text(&json["other"])?,
            parted_at: Lsn(json["parted_at"].as_u64()?),
        })
    }
}

fn offset_of(sequence: u64) -> u64 {
    (sequence % 2) * SLOT as u64
}

fn secure_slot(file: &dyn File, sequence: u64) -> Result<()> {
    let offset = offset_of(sequence);
    secure(file, offset..offset + SLOT as u64)
}

fn newest(file: &dyn File) -> Result<Option<(u64, Standing)>> {
    let mut newest: Option<(u64, Standing)> = None;
    for slot in 0..2 {
        let mut bytes = vec![0; SLOT];
        file.read_at(&mut bytes, slot * SLOT as u64)?;
        if let Some((sequence, standing)) = decode(&bytes)
            && newest.as_ref().is_none_or(|(known, _)| sequence > *known)
        {
            newest = Some((sequence, standing));
        }
    }
    Ok(newest)
}

fn decode(bytes: &[u8]) -> Option<(u64, Standing)> {
    if bytes[0..8] != MAGIC || bytes[HASH_AT..] != blake3::hash(&bytes[..HASH_AT]).as_bytes()[..16] {
        return None;
    }
    let sequence = crate::page::get_u64(bytes, 8);
    let length = crate::page::get_u32(bytes, 16) as usize;
    let text = bytes.get(TEXT_AT..TEXT_AT.checked_add(length)?)?;
    Some((sequence, Standing::from_json(&serde_json::from_slice(text).ok()?)?))
}

/// Refuses to open what is no primary: `DatabaseIsMirror`, `DatabaseSuperseded`.
pub fn ensure_primary(disk: &dyn Disk) -> Result<()> {
    let Some(standing) = Standing::read(disk)? else { return Ok(()) };
    match standing.role {
        Role::Primary => Ok(()),
        Role::Copying | Role::Mirror => {
            Err(Error::new(Code::DatabaseIsMirror).with("primary", standing.other))
        }
        Role::Superseded => Err(superseded(&standing)),
    }
}

/// After the closed database on `disk` went back to an earlier moment: its mirrors get new copies.
/// Where this is not done, they are refused as of another history.
pub fn renew_mirrors(disk: &dyn Disk) -> Result<()> {
    let Some(mut mine) = Standing::read(disk)? else { return Ok(()) };
    if mine.role != Role::Primary || mine.mirrors.is_empty() {
        return Ok(());
    }
    for known in &mut mine.mirrors {
        (known.hold, known.is_renewed) = (Lsn::NONE, true);
    }
    mine.write(disk)
}

/// `DatabaseSuperseded`, with who took the place.
pub fn superseded(standing: &Standing) -> Error {
    Error::new(Code::DatabaseSuperseded)
        .with("successor", standing.other.as_str())
        .with("epoch", standing.epoch)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::disk::memory::MemoryDisk;

    fn standing(epoch: u64) -> Standing {
        let known = Known {
            path: "/mnt/other".to_owned(),
            is_synchronous: epoch % 2 == 1,
            hold: Lsn(epoch),
            is_renewed: epoch % 3 == 1,
            is_given_up: epoch % 5 == 1,
        };
        Standing {
            epoch,
            mirrors: vec![known],
            other: "/home/who/db.holdfast".to_owned(),
            ..Standing::primary(DatabaseId([9; 16]))
        }
    }

    #[test]
    fn what_was_written_last_is_read_back() {
        let disk = MemoryDisk::new(1);
        assert_eq!(Standing::read(&*disk).unwrap(), None);
        for epoch in 1..6 {
            standing(epoch).write(&*disk).unwrap();
            assert_eq!(Standing::read(&*disk).unwrap(), Some(standing(epoch)));
        }
    }

    #[test]
    fn a_crash_at_any_call_leaves_the_old_or_the_new() {
        for seed in 0..30 {
            for nth in 1..12 {
                let disk = MemoryDisk::new(seed);
                standing(1).write(&*disk).unwrap();
                disk.crash_after(nth);
                let mut acknowledged = 1;
                while acknowledged < 8 && standing(acknowledged + 1).write(&*disk).is_ok() {
                    acknowledged += 1;
                }
                let found = Standing::read(&*disk.reopen()).unwrap().unwrap().epoch;
                assert!(found == acknowledged || found == acknowledged + 1, "seed {seed} call {nth}");
            }
        }
    }

    /// As many crashes as there are calls, twice over: of a process that is killed, then of the power
    /// while the next one writes.
    #[test]
    fn what_was_read_after_a_kill_is_never_lost_to_a_power_failure() {
        let mut torn = 0;
        for seed in 0..30 {
            for (killed_at, crashed_at) in (1..9).flat_map(|a| (1..9).map(move |b| (a, b))) {
                let disk = MemoryDisk::new(seed);
                standing(1).write(&*disk).unwrap();
                disk.kill_after(killed_at);
                let mut acknowledged = 1;
                while acknowledged < 4 && standing(acknowledged + 1).write(&*disk).is_ok() {
                    acknowledged += 1;
                }
                let disk = disk.reopen();
                disk.crash_after(crashed_at);
                let written = standing(10).write(&*disk).is_ok();
                torn += u32::from(!written);
                let found = Standing::read(&*disk.reopen()).unwrap().unwrap().epoch;
                let told = format!("seed {seed}, {killed_at}, {crashed_at}: {found}");
                assert!(found >= if written { 10 } else { acknowledged }, "{told}");
            }
        }
        assert!(torn > 100, "{torn}");
    }

    #[test]
    fn what_was_confirmed_after_a_kill_stays_so() {
        for seed in 0..30 {
            for killed_at in 1..9 {
                let disk = MemoryDisk::new(seed);
                disk.kill_after(killed_at);
                let _ = standing(1).write(&*disk).and_then(|()| standing(2).write(&*disk));
                let disk = disk.reopen();
                let Ok(Some(seen)) = Standing::read(&*disk) else { continue };
                Standing::confirm(&*disk).unwrap();
                assert_eq!(Standing::read(&*disk.reopen()).unwrap(), Some(seen), "seed {seed}");
            }
        }
    }

    #[test]
    fn a_damaged_slot_leaves_the_other_and_two_are_an_error() {
        let disk = MemoryDisk::new(1);
        standing(1).write(&*disk).unwrap();
        standing(2).write(&*disk).unwrap();
        disk.flip_bit(PATH, 4096 + 30, 1).unwrap();
        assert_eq!(Standing::read(&*disk).unwrap().unwrap().epoch, 1);
        disk.flip_bit(PATH, 30, 1).unwrap();
        assert_eq!(Standing::read(&*disk).unwrap_err().code, Code::ControlDamaged);
    }

    #[test]
    fn only_a_primary_may_be_opened() {
        let disk = MemoryDisk::new(1);
        ensure_primary(&*disk).unwrap();
        for (role, code) in [
            (Role::Primary, None),
            (Role::Copying, Some(Code::DatabaseIsMirror)),
            (Role::Mirror, Some(Code::DatabaseIsMirror)),
            (Role::Superseded, Some(Code::DatabaseSuperseded)),
        ] {
            Standing { role, ..standing(3) }.write(&*disk).unwrap();
            assert_eq!(ensure_primary(&*disk).err().map(|error| error.code), code);
        }
    }

    proptest::proptest! {
        /// Bytes that are changed and get a right checksum again give a standing or none.
        #[test]
        fn a_forged_slot_is_read_or_refused(
            sequence: u64,
            edits in proptest::collection::vec((0..SLOT - 16, proptest::num::u8::ANY), 0..6),
            length in proptest::option::of(proptest::num::u32::ANY),
        ) {
            let mut bytes = standing(2).encode(sequence).unwrap();
            edits.iter().for_each(|(at, byte)| bytes[*at] = *byte);
            if let Some(length) = length {
                bytes[16..20].copy_from_slice(&length.to_le_bytes());
            }
            let hash = blake3::hash(&bytes[..HASH_AT]);
            bytes[HASH_AT..].copy_from_slice(&hash.as_bytes()[..16]);
            let found = decode(&bytes);
            proptest::prop_assert!(found.is_some() || !edits.is_empty() || length.is_some());
        }
    }

    fn file_of(bytes: &[u8]) -> std::sync::Arc<MemoryDisk> {
        MemoryDisk::from_snapshot(1, &[(PATH.to_owned(), bytes.to_vec())].into())
    }

    proptest::proptest! {
        #[test]
        fn a_file_of_rubbish_says_nothing(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..9000)) {
            let is_made = bytes.iter().take(SLOT).any(|byte| *byte != 0);
            proptest::prop_assert_eq!(Standing::read(&*file_of(&bytes)).is_err(), is_made);
        }
    }
}
