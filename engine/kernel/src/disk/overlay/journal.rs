//! The journal: what an installation has to do, in one checksummed piece.
//!
//! ```text
//! magic 8 | version u32 | number of files u32 | files | BLAKE3 of all before, 32
//! file: length of its path u16 | path | kind u8 (0 removed, 1 changed) | size u64 | keep u64
//!       | number of runs u32 | runs
//! run:  first block u64 | number of blocks u32 | slot of the first u32 (u32::MAX: zeros)
//! ```

use super::blocks::{BLOCK, Place, Run};

const MAGIC: [u8; 8] = *b"HOLDFOVL";
const VERSION: u32 = 1;
const HASH: usize = 32;
const ZEROS: u32 = u32::MAX;

/// What becomes of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileChange {
    pub path: String,
    pub change: Change,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Removed,
    /// Cut to `keep` bytes, grown to `size`, then written where the runs say.
    Written {
        size: u64,
        keep: u64,
        runs: Vec<Run>,
    },
}

pub(super) fn encode(changes: &[FileChange]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&(changes.len() as u32).to_le_bytes());
    for FileChange { path, change } in changes {
        out.extend_from_slice(&(path.len() as u16).to_le_bytes());
        out.extend_from_slice(path.as_bytes());
        let Change::Written { size, keep, runs } = change else {
            out.push(0);
            continue;
        };
        out.push(1);
        out.extend_from_slice(&size.to_le_bytes());
        out.extend_from_slice(&keep.to_le_bytes());
        out.extend_from_slice(&(runs.len() as u32).to_le_bytes());
        for run in runs {
            let slot = match run.place {
                Place::Slot(at) => (at / BLOCK as u64) as u32,
                _ => ZEROS,
            };
            out.extend_from_slice(&run.block.to_le_bytes());
            out.extend_from_slice(&run.count.to_le_bytes());
            out.extend_from_slice(&slot.to_le_bytes());
        }
    }
    let hash = blake3::hash(&out);
    out.extend_from_slice(hash.as_bytes());
    out
}

/// What the journal says; `None` where it is not whole: then nothing was decided.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<FileChange>> {
    let (body, hash) = bytes.split_at_checked(bytes.len().checked_sub(HASH)?)?;
    if blake3::hash(body).as_bytes() != hash {
        return None;
    }
    let mut from = body;
    if take(&mut from, 8)? != MAGIC || number(&mut from, 4)? != u64::from(VERSION) {
        return None;
    }
    let count = number(&mut from, 4)?;
    let changes: Option<Vec<FileChange>> = (0..count).map(|_| decode_file(&mut from)).collect();
    changes.filter(|_| from.is_empty())
}

fn decode_file(from: &mut &[u8]) -> Option<FileChange> {
    let length = number(from, 2)? as usize;
    let path = String::from_utf8(take(from, length)?.to_vec()).ok()?;
    let change = match number(from, 1)? {
        0 => Change::Removed,
        1 => {
            let (size, keep, count) = (number(from, 8)?, number(from, 8)?, number(from, 4)?);
            let runs: Option<Vec<Run>> = (0..count).map(|_| decode_run(from)).collect();
            Change::Written { size, keep, runs: runs? }
        }
        _ => return None,
    };
    Some(FileChange { path, change })
}

fn decode_run(from: &mut &[u8]) -> Option<Run> {
    let (block, count) = (number(from, 8)?, number(from, 4)? as u32);
    // A place that no file can have was never written.
    block.checked_add(u64::from(count))?.checked_mul(BLOCK as u64)?;
    let place = match number(from, 4)? as u32 {
        ZEROS => Place::Zero,
        slot => Place::Slot(u64::from(slot) * BLOCK as u64),
    };
    Some(Run { block, count, place })
}

fn take<'a>(from: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(count)?;
    *from = rest;
    Some(taken)
}

fn number(from: &mut &[u8], bytes: usize) -> Option<u64> {
    let mut value = [0; 8];
    value[..bytes].copy_from_slice(take(from, bytes)?);
    Some(u64::from_le_bytes(value))
}
