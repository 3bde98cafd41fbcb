//! The body of the entry that ends a transaction:
//! `time i64 (microseconds), deltas u32, { tree u32, delta i64 }, garbage u32, { garbage }`.
//!
//! Row counts are deltas in commit records, so that counting costs nothing and is right; pages
//! to be given back are named here, so that analysis takes the duty up again after a crash.

use super::{Counts, Garbage};
use crate::error::{Code, Error, Result};
use crate::page::{get_u32, get_u64};
use crate::tree::overflow::{REFERENCE, Reference};
use crate::types::{PageId, TreeId};

pub struct Ending<'e> {
    pub time: i64,
    pub deltas: &'e Counts,
    pub garbage: &'e [Garbage],
}

/// An ending read from the log.
#[derive(Debug, Default)]
pub struct Ended {
    pub time: i64,
    pub deltas: Counts,
    pub garbage: Vec<Garbage>,
}

impl Garbage {
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Garbage::Chain { tree, reference } => {
                out.push(1);
                out.extend_from_slice(&tree.0.to_le_bytes());
                out.extend_from_slice(&reference.encode());
            }
            Garbage::Tree { tree, root } => {
                out.push(2);
                out.extend_from_slice(&tree.0.to_le_bytes());
                out.extend_from_slice(&root.0.to_le_bytes());
            }
            Garbage::Page { page } => {
                out.push(3);
                out.extend_from_slice(&page.0.to_le_bytes());
            }
        }
    }

    /// Reads one off the front of `bytes`.
    pub fn decode(bytes: &mut &[u8]) -> Option<Garbage> {
        let kind = take(bytes, 1)?[0];
        let number = get_u32(take(bytes, 4)?, 0);
        let tree = TreeId(number);
        Some(match kind {
            3 => Garbage::Page { page: PageId(number) },
            1 => Garbage::Chain { tree, reference: Reference::decode(take(bytes, REFERENCE)?).ok()? },
            2 => Garbage::Tree { tree, root: PageId(get_u32(take(bytes, 4)?, 0)) },
            _ => return None,
        })
    }
}

pub(crate) fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(head)
}

pub(crate) fn encode_counts(counts: &Counts, out: &mut Vec<u8>) {
    out.extend_from_slice(&(counts.len() as u32).to_le_bytes());
    for (tree, delta) in counts {
        out.extend_from_slice(&tree.0.to_le_bytes());
        out.extend_from_slice(&delta.to_le_bytes());
    }
}

pub(crate) fn decode_counts(bytes: &mut &[u8]) -> Option<Counts> {
    let count = get_u32(take(bytes, 4)?, 0);
    let mut counts = Counts::default();
    for _ in 0..count {
        let tree = TreeId(get_u32(take(bytes, 4)?, 0));
        counts.insert(tree, get_u64(take(bytes, 8)?, 0).cast_signed());
    }
    Some(counts)
}

impl Ending<'_> {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + 12 * self.deltas.len() + 40 * self.garbage.len());
        out.extend_from_slice(&self.time.to_le_bytes());
        encode_counts(self.deltas, &mut out);
        out.extend_from_slice(&(self.garbage.len() as u32).to_le_bytes());
        self.garbage.iter().for_each(|garbage| garbage.encode(&mut out));
        out
    }
}

impl Ended {
    pub fn decode(mut bytes: &[u8]) -> Result<Ended> {
        let from = &mut bytes;
        (|| {
            let time = get_u64(take(from, 8)?, 0).cast_signed();
            let deltas = decode_counts(from)?;
            let count = get_u32(take(from, 4)?, 0);
            let garbage = (0..count).map(|_| Garbage::decode(from)).collect::<Option<Vec<_>>>()?;
            Some(Ended { time, deltas, garbage })
        })()
        .ok_or_else(|| {
            Error::new(Code::WalCorrupted).with("details", "the end of a transaction cannot be read")
        })
    }
}
