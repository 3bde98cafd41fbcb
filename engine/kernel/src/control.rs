//! The `control` file: where recovery starts, and whether the last shutdown was clean.
//!
//! ```text
//! slot at 0 and at 4096, each 512 bytes (one sector, written whole or not at all):
//! magic 8 | version u32 | page_size u32 | sequence u64 | database id 16 | incarnation u32 | flags u32
//! | checkpoint_lsn u64 | redo_lsn u64 | checkpoint_at i64 | next_txn u64 | clean_end_lsn u64
//! | segment_bytes u64 | zeros | BLAKE3 of all before, truncated to 16
//! ```
//!
//! The slots are written in turn and synced, so that the one not being written is always
//! whole; the valid one with the higher sequence counts. Who opens the file to write makes that
//! one certain first: a process that was killed may not have synced it, and the other one, which
//! is written next, would be the only one that the medium has.

use crate::disk::{Disk, File, OpenMode, secure};
use crate::error::{Code, Error, Result};
use crate::sync::Arc;
use crate::types::{DatabaseId, Incarnation, Lsn, is_page_size};

/// The file's name.
pub const PATH: &str = "control";

const MAGIC: [u8; 8] = *b"HOLDFCTL";
/// The version of the format of a database.
pub const VERSION: u32 = 2;
const SLOT: usize = 512;
const SLOTS: [u64; 2] = [0, 4096];
const HASH_AT: usize = SLOT - 16;

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlData {
    pub database: DatabaseId,
    pub page_size: u32,
    pub incarnation: Incarnation,
    /// The begin record of the last complete checkpoint.
    pub checkpoint_lsn: Lsn,
    /// Where redo starts after it.
    pub redo_lsn: Lsn,
    /// Microseconds since the Unix epoch.
    pub checkpoint_at: i64,
    pub next_txn: u64,
    /// Where a clean shutdown left the log; none while the database is open.
    pub clean_end: Lsn,
    pub segment_bytes: u64,
    /// Pages may be older than the log says that they were written: they come from a backup.
    /// Holds until the next checkpoint.
    pub pages_lag: bool,
}

/// The open control file.
pub struct Control {
    file: Arc<dyn File>,
    data: ControlData,
    sequence: u64,
}

/// What is wrong with a slot.
enum Fault {
    Damaged,
    OtherVersion(u32),
}

impl Control {
    /// Writes a new control file, name and all.
    pub fn create(disk: &dyn Disk, data: ControlData) -> Result<Control> {
        let file = disk.open(PATH, OpenMode::Create)?;
        file.allocate(SLOTS[1] + SLOT as u64)?;
        let mut control = Control { file, data, sequence: 0 };
        // Both slots, so that from now on one of them is valid whatever happens to the other.
        control.write(data)?;
        control.write(data)?;
        disk.sync_dir("")?;
        Ok(control)
    }

    /// Opens an existing file. `DatabaseNotFound` where there is none, `ControlDamaged` where
    /// neither slot is valid, `FormatUnsupported` for another version's. What is read is certain,
    /// unless it is opened for reading only.
    pub fn open(disk: &dyn Disk, mode: OpenMode) -> Result<Control> {
        if !disk.exists(PATH)? {
            return Err(Error::new(Code::DatabaseNotFound).with("path", PATH));
        }
        let file = disk.open(PATH, mode)?;
        let mut newest: Option<(u64, ControlData)> = None;
        let mut other = None;
        for offset in SLOTS {
            let mut bytes = [0u8; SLOT];
            file.read_at(&mut bytes, offset)?;
            match decode(&bytes) {
                Ok((sequence, data)) if newest.is_none_or(|(known, _)| sequence > known) => {
                    newest = Some((sequence, data));
                }
                Ok(_) | Err(Fault::Damaged) => {}
                Err(Fault::OtherVersion(version)) => other = Some(version),
            }
        }
        match (newest, other) {
            (Some((sequence, data)), _) => {
                if mode != OpenMode::Read {
                    let offset = SLOTS[(sequence % 2) as usize];
                    secure(&*file, offset..offset + SLOT as u64)?;
                }
                Ok(Control { file, data, sequence })
            }
            (None, Some(version)) => {
                Err(Error::new(Code::FormatUnsupported).with("path", PATH).with("version", version))
            }
            (None, None) => Err(Error::new(Code::ControlDamaged).with("path", PATH)),
        }
    }

    /// True where the file is empty or holds only zeros: a creation crashed before its first
    /// sync. Where the log has no entry either, nothing was ever stored here.
    pub fn is_blank(disk: &dyn Disk) -> Result<bool> {
        let mut bytes = [0u8; SLOTS[1] as usize + SLOT];
        let count = disk.open(PATH, OpenMode::Read)?.read_at(&mut bytes, 0)?;
        Ok(bytes[..count].iter().all(|byte| *byte == 0))
    }

    /// What the file says without keeping it open; changes nothing.
    pub fn read(disk: &dyn Disk) -> Result<ControlData> {
        Ok(Control::open(disk, OpenMode::Read)?.data)
    }

    pub fn data(&self) -> ControlData {
        self.data
    }

    /// Replaces what the file says; durable on return. After an error the old or the new data
    /// may count.
    pub fn write(&mut self, data: ControlData) -> Result<()> {
        let sequence = self.sequence + 1;
        let offset = SLOTS[(sequence % 2) as usize];
        self.file.write_at(&encode(sequence, &data), offset)?;
        self.file.sync()?;
        self.sequence = sequence;
        self.data = data;
        Ok(())
    }
}

/// The file that says this, for a copy that is put together elsewhere.
pub fn image(data: &ControlData) -> Vec<u8> {
    let mut bytes = vec![0; SLOTS[1] as usize + SLOT];
    for (sequence, offset) in [2, 1].into_iter().zip(SLOTS) {
        bytes[offset as usize..][..SLOT].copy_from_slice(&encode(sequence, data));
    }
    bytes
}

fn encode(sequence: u64, data: &ControlData) -> [u8; SLOT] {
    let mut bytes = [0u8; SLOT];
    bytes[0..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..16].copy_from_slice(&data.page_size.to_le_bytes());
    bytes[16..24].copy_from_slice(&sequence.to_le_bytes());
    bytes[24..40].copy_from_slice(&data.database.0);
    bytes[40..44].copy_from_slice(&data.incarnation.0.to_le_bytes());
    bytes[44..48].copy_from_slice(&u32::from(data.pages_lag).to_le_bytes());
    let numbers = [
        data.checkpoint_lsn.0,
        data.redo_lsn.0,
        data.checkpoint_at as u64,
        data.next_txn,
        data.clean_end.0,
        data.segment_bytes,
    ];
    for (index, number) in numbers.iter().enumerate() {
        bytes[48 + index * 8..56 + index * 8].copy_from_slice(&number.to_le_bytes());
    }
    let hash = blake3::hash(&bytes[..HASH_AT]);
    bytes[HASH_AT..].copy_from_slice(&hash.as_bytes()[..16]);
    bytes
}

fn decode(bytes: &[u8; SLOT]) -> std::result::Result<(u64, ControlData), Fault> {
    if bytes[0..8] != MAGIC || bytes[HASH_AT..] != blake3::hash(&bytes[..HASH_AT]).as_bytes()[..16] {
        return Err(Fault::Damaged);
    }
    let u32_at =
        |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let u64_at = |at: usize| u64::from(u32_at(at)) | (u64::from(u32_at(at + 4)) << 32);
    if u32_at(8) != VERSION {
        return Err(Fault::OtherVersion(u32_at(8)));
    }
    let mut database = [0; 16];
    database.copy_from_slice(&bytes[24..40]);
    let data = ControlData {
        database: DatabaseId(database),
        page_size: u32_at(12),
        incarnation: Incarnation(u32_at(40)),
        checkpoint_lsn: Lsn(u64_at(48)),
        redo_lsn: Lsn(u64_at(56)),
        checkpoint_at: u64_at(64) as i64,
        next_txn: u64_at(72),
        clean_end: Lsn(u64_at(80)),
        segment_bytes: u64_at(88),
        pages_lag: u32_at(44) & 1 != 0,
    };
    if data.is_possible() { Ok((u64_at(16), data)) } else { Err(Fault::Damaged) }
}

impl ControlData {
    /// True where the fields can have been written: a checksum says only that they were.
    fn is_possible(&self) -> bool {
        let ordered = self.redo_lsn <= self.checkpoint_lsn && self.checkpoint_lsn < Lsn::LIMIT;
        let ends = self.clean_end.is_none()
            || (self.clean_end >= self.checkpoint_lsn && self.clean_end < Lsn::LIMIT);
        is_page_size(self.page_size as usize)
            && ordered
            && ends
            && self.incarnation.0 > 0
            && self.incarnation.0 < u32::MAX
            && self.next_txn < u64::MAX
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::disk::memory::MemoryDisk;

    fn data(checkpoint: u64) -> ControlData {
        ControlData {
            database: DatabaseId([5; 16]),
            page_size: 8192,
            incarnation: Incarnation(3),
            checkpoint_lsn: Lsn(checkpoint),
            redo_lsn: Lsn(checkpoint / 2),
            checkpoint_at: -7,
            next_txn: 11,
            clean_end: Lsn::NONE,
            segment_bytes: 1 << 20,
            pages_lag: checkpoint % 2 == 1,
        }
    }

    #[test]
    fn what_was_written_last_is_read_back() {
        let disk = MemoryDisk::new(1);
        assert_eq!(Control::read(&*disk).unwrap_err().code, Code::DatabaseNotFound);
        let mut control = Control::create(&*disk, data(2)).unwrap();
        for checkpoint in 3..8 {
            control.write(data(checkpoint)).unwrap();
            assert_eq!(Control::read(&*disk).unwrap(), data(checkpoint));
        }
    }

    #[test]
    fn one_damaged_slot_leaves_the_other_and_two_are_an_error() {
        let disk = MemoryDisk::new(1);
        let mut control = Control::create(&*disk, data(2)).unwrap();
        control.write(data(3)).unwrap();
        disk.flip_bit(PATH, 4096 + 50, 1).unwrap();
        assert_eq!(Control::read(&*disk).unwrap(), data(2));
        disk.flip_bit(PATH, 500, 1).unwrap();
        assert_eq!(Control::read(&*disk).unwrap_err().code, Code::ControlDamaged);
    }

    #[test]
    fn a_creation_that_crashed_left_no_file_or_a_blank_or_a_valid_one() {
        for seed in 0..60 {
            for nth in 1..10 {
                let disk = MemoryDisk::new(seed);
                disk.crash_after(nth);
                let created = Control::create(&*disk, data(2)).is_ok();
                let disk = disk.reopen();
                match Control::read(&*disk) {
                    Ok(found) => assert_eq!(found, data(2)),
                    Err(error) if error.code == Code::ControlDamaged => {
                        assert!(!created && Control::is_blank(&*disk).unwrap());
                    }
                    Err(error) => assert!(!created && error.code == Code::DatabaseNotFound),
                }
            }
        }
    }

    #[test]
    fn a_crash_at_any_call_leaves_the_old_or_the_new_data() {
        for seed in 0..40 {
            for nth in 1..20 {
                let disk = MemoryDisk::new(seed);
                let mut control = Control::create(&*disk, data(2)).unwrap();
                disk.crash_after(nth);
                let mut acknowledged = 2;
                while acknowledged < 12 && control.write(data(acknowledged + 1)).is_ok() {
                    acknowledged += 1;
                }
                let found = Control::read(&*disk.reopen()).unwrap().checkpoint_lsn.0;
                assert!(found == acknowledged || found == acknowledged + 1, "seed {seed} call {nth}");
            }
        }
    }

    /// A process is killed at each call of its writes; the power fails in each call of the next
    /// one's, which began with what it read.
    #[test]
    fn what_was_read_after_a_kill_is_never_lost_to_a_power_failure() {
        let mut outcomes = std::collections::BTreeSet::new();
        for seed in 0..30 {
            for (killed_at, crashed_at) in (1..8).flat_map(|a| (1..8).map(move |b| (a, b))) {
                let disk = MemoryDisk::new(seed);
                let mut control = Control::create(&*disk, data(2)).unwrap();
                disk.kill_after(killed_at);
                let _ = (3..6).try_for_each(|checkpoint| control.write(data(checkpoint)));
                let disk = disk.reopen();
                disk.crash_after(crashed_at);
                let opened = Control::open(&*disk, OpenMode::Write);
                let known = opened.as_ref().map_or(2, |control| control.data().checkpoint_lsn.0);
                let _ =
                    opened.and_then(|mut control| (20..23).try_for_each(|at| control.write(data(at))));
                let found = Control::read(&*disk.reopen()).unwrap().checkpoint_lsn.0;
                assert!(found >= known, "seed {seed}, {killed_at}, {crashed_at}: {found}, not {known}");
                outcomes.insert((known, found));
            }
        }
        assert!(outcomes.len() > 8, "{outcomes:?}");
    }

    #[test]
    fn an_image_is_a_file_that_says_the_same() {
        let disk = crate::disk::memory::MemoryDisk::new(1);
        let said = ControlData { pages_lag: true, ..Control::create(&*disk, data(3)).unwrap().data() };
        disk.open(PATH, OpenMode::Write).unwrap().write_at(&image(&said), 0).unwrap();
        assert_eq!(Control::read(&*disk).unwrap(), said);
        // Either half of it is enough.
        for offset in SLOTS {
            disk.open(PATH, OpenMode::Write).unwrap().write_at(&image(&said), 0).unwrap();
            disk.flip_bit(PATH, offset + 30, 1).unwrap();
            assert_eq!(Control::read(&*disk).unwrap(), said);
        }
    }

    fn file_of(bytes: &[u8]) -> std::sync::Arc<MemoryDisk> {
        MemoryDisk::from_snapshot(1, &[(PATH.to_owned(), bytes.to_vec())].into())
    }

    proptest::proptest! {
        #[test]
        fn a_file_of_rubbish_is_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..6000)) {
            proptest::prop_assert!(Control::read(&*file_of(&bytes)).is_err());
        }

        /// Rubbish that somebody has sealed is read as it is, or refused: what it says is judged where it is used.
        #[test]
        fn a_slot_of_rubbish_under_a_right_seal_is_no_panic(
            inside in proptest::collection::vec(proptest::num::u8::ANY, HASH_AT - 8), is_known: bool,
        ) {
            let mut slot = [&MAGIC[..], &inside].concat();
            if is_known {
                slot[8..12].copy_from_slice(&VERSION.to_le_bytes());
            }
            let hash = blake3::hash(&slot);
            slot.extend_from_slice(&hash.as_bytes()[..16]);
            let read = Control::read(&*file_of(&slot));
            proptest::prop_assert!(is_known || read.is_err());
        }
    }
}
