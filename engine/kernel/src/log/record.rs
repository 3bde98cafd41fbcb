//! Log entries: their bytes, and the one function that decides whether bytes are an entry.
//!
//! ```text
//! lsn u64 | txn u64 | op u8, flags u8, 0 u16 | len u32 | incarnation u32 | prev_lsn u64 | body | crc32 u32
//! ```
//!
//! Little endian; `len` counts the whole entry; the CRC covers all bytes before it. An entry
//! is valid at a position only if it names that position, so bytes that were copied, moved or
//! left over from another place are never taken for an entry of this one.

use crate::error::{Error, Result};
use crate::types::{Incarnation, Lsn, TxnId};

/// Bytes before the body.
pub const HEADER_BYTES: usize = 36;
/// Bytes of an entry that are not body.
pub const OVERHEAD: usize = HEADER_BYTES + CRC_BYTES;
/// No entry is longer.
pub const MAX_ENTRY: usize = 64 << 20;
/// A group entry: its body is the durable LSN.
pub const GROUP_BYTES: usize = OVERHEAD + 8;
/// Bytes after the body.
pub const CRC_BYTES: usize = 4;

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident = $number:literal),* $(,)?) => {
        /// What an entry does. Except for `Group` and the time in `Commit`, the log does not
        /// look into bodies.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Op { $($(#[$doc])* $name = $number),* }

        impl Op {
            pub const ALL: &'static [Op] = &[$(Op::$name),*];

            pub fn from_number(number: u8) -> Option<Op> {
                match number { $($number => Some(Op::$name),)* _ => None }
            }

            pub fn name(self) -> &'static str {
                match self { $(Op::$name => stringify!($name)),* }
            }
        }
    };
}

operations! {
    Insert = 1,
    Update = 2,
    Delete = 3,
    /// Its body begins with the time of the commit, an i64 in microseconds.
    Commit = 4,
    AbortEnd = 5,
    /// A compensation record: redo of an undo, never undone itself.
    Clr = 6,
    Structure = 7,
    Image = 8,
    CheckpointBegin = 9,
    CheckpointEnd = 10,
    /// Opens each flushed group and names the LSN that was durable by then.
    Group = 11,
    Freed = 13,
    PagesWritten = 14,
    /// A transaction took pages; its undo gives them back.
    PagesTaken = 15,
    /// A transaction made a tree; its undo has the tree's pages given back.
    TreeMade = 17,
}

impl Op {
    /// True where the body holds changes of pages.
    pub fn changes_pages(self) -> bool {
        matches!(
            self,
            Op::Insert
                | Op::Update
                | Op::Delete
                | Op::Clr
                | Op::Structure
                | Op::Image
                | Op::PagesTaken
                | Op::TreeMade
                | Op::Freed
        )
    }
}

/// The fixed part of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHeader {
    pub lsn: Lsn,
    pub txn: TxnId,
    pub op: Op,
    pub flags: u8,
    /// Of the whole entry.
    pub len: u32,
    pub incarnation: Incarnation,
    /// The previous entry of the transaction.
    pub prev: Lsn,
}

impl EntryHeader {
    /// Where the next entry begins.
    pub fn end(&self) -> Lsn {
        self.lsn.plus(u64::from(self.len))
    }
}

/// An entry in a buffer of its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRef<'a> {
    pub header: EntryHeader,
    pub body: &'a [u8],
}

/// An entry with a body of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub header: EntryHeader,
    pub body: Vec<u8>,
}

impl EntryRef<'_> {
    pub fn to_owned(&self) -> Entry {
        Entry { header: self.header, body: self.body.to_vec() }
    }
}

/// Why bytes are not the entry that belongs at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The position holds only zeros: nothing was written here yet.
    Zeros,
    /// The bytes name another position.
    WrongLsn,
    /// A length no entry has.
    BadLength,
    /// The valid space ends before the entry does.
    CutShort,
    BadChecksum,
    /// Another history's entry.
    WrongIncarnation,
    /// A reserved field is set, or the operation is unknown, and the checksum does not vouch
    /// for it.
    BadFields,
}

impl Flaw {
    pub fn name(self) -> &'static str {
        match self {
            Flaw::Zeros => "zeros",
            Flaw::WrongLsn => "wrong position",
            Flaw::BadLength => "bad length",
            Flaw::CutShort => "cut short",
            Flaw::BadChecksum => "bad checksum",
            Flaw::WrongIncarnation => "wrong incarnation",
            Flaw::BadFields => "bad fields",
        }
    }
}

/// The fixed part as the bytes have it, before anything is believed.
struct Raw {
    lsn: u64,
    txn: u64,
    op: u8,
    flags: u8,
    reserved: u16,
    len: u32,
    incarnation: u32,
    prev: u64,
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(value)
}

impl Raw {
    /// `bytes` holds at least a header.
    fn parse(bytes: &[u8]) -> Raw {
        Raw {
            lsn: u64_at(bytes, 0),
            txn: u64_at(bytes, 8),
            op: bytes[16],
            flags: bytes[17],
            reserved: u16::from_le_bytes([bytes[18], bytes[19]]),
            len: u32_at(bytes, 20),
            incarnation: u32_at(bytes, 24),
            prev: u64_at(bytes, 28),
        }
    }
}

/// The length of the entry that begins at `lsn`, from its first [`HEADER_BYTES`]. The rest
/// of the entry must still be checked with [`decode`].
pub fn peek_len(header: &[u8], lsn: Lsn) -> std::result::Result<usize, Flaw> {
    if header.len() < HEADER_BYTES {
        let zeros = !header.is_empty() && header.iter().all(|b| *b == 0);
        return Err(if zeros { Flaw::Zeros } else { Flaw::CutShort });
    }
    let raw = Raw::parse(header);
    if raw.lsn != lsn.0 {
        let zeros = header[..HEADER_BYTES].iter().all(|b| *b == 0);
        return Err(if zeros { Flaw::Zeros } else { Flaw::WrongLsn });
    }
    let len = raw.len as usize;
    if (OVERHEAD..=MAX_ENTRY).contains(&len) { Ok(len) } else { Err(Flaw::BadLength) }
}

/// The entry that begins at `lsn`, if the bytes are one of this incarnation. `bytes` may hold
/// more than the entry.
pub fn decode(
    bytes: &[u8],
    lsn: Lsn,
    incarnation: Incarnation,
) -> std::result::Result<EntryRef<'_>, Flaw> {
    let len = peek_len(bytes, lsn)?;
    if bytes.len() < len {
        return Err(Flaw::CutShort);
    }
    let raw = Raw::parse(bytes);
    if raw.incarnation != incarnation.0 {
        return Err(Flaw::WrongIncarnation);
    }
    let covered = len - CRC_BYTES;
    if crc32fast::hash(&bytes[..covered]) != u32_at(bytes, covered) {
        return Err(Flaw::BadChecksum);
    }
    let op = Op::from_number(raw.op).filter(|_| raw.reserved == 0).ok_or(Flaw::BadFields)?;
    let header = EntryHeader {
        lsn,
        txn: TxnId(raw.txn),
        op,
        flags: raw.flags,
        len: raw.len,
        incarnation,
        prev: Lsn(raw.prev),
    };
    Ok(EntryRef { header, body: &bytes[HEADER_BYTES..covered] })
}

/// The header of the entry that begins at `lsn`, of bytes that were checked once: the checksum
/// is left to [`is_whole`]. `bytes` may hold more than the entry.
pub fn frame(bytes: &[u8], lsn: Lsn) -> std::result::Result<EntryHeader, Flaw> {
    let len = peek_len(bytes, lsn)?;
    if bytes.len() < len {
        return Err(Flaw::CutShort);
    }
    let raw = Raw::parse(bytes);
    let op = Op::from_number(raw.op).ok_or(Flaw::BadFields)?;
    Ok(EntryHeader {
        lsn,
        txn: TxnId(raw.txn),
        op,
        flags: raw.flags,
        len: raw.len,
        incarnation: Incarnation(raw.incarnation),
        prev: Lsn(raw.prev),
    })
}

/// True where the checksum of an entry, given with all of its bytes and no more, holds.
pub fn is_whole(entry: &[u8]) -> bool {
    let Some(covered) = entry.len().checked_sub(CRC_BYTES) else { return false };
    crc32fast::hash(&entry[..covered]) == u32_at(entry, covered)
}

/// The length of an entry whose body has these parts.
pub fn entry_len(body: &[&[u8]]) -> Result<usize> {
    let len = OVERHEAD + body.iter().map(|part| part.len()).sum::<usize>();
    if len > MAX_ENTRY {
        return Err(Error::argument("body", format!("a log entry holds at most {MAX_ENTRY} bytes")));
    }
    Ok(len)
}

/// Appends the entry without its checksum; [`seal`] adds that. `header.len` is already right.
pub fn encode_open(header: &EntryHeader, body: &[&[u8]], out: &mut Vec<u8>) {
    let mut fixed = [0u8; HEADER_BYTES];
    fixed[0..8].copy_from_slice(&header.lsn.0.to_le_bytes());
    fixed[8..16].copy_from_slice(&header.txn.0.to_le_bytes());
    fixed[16] = header.op as u8;
    fixed[17] = header.flags;
    fixed[20..24].copy_from_slice(&header.len.to_le_bytes());
    fixed[24..28].copy_from_slice(&header.incarnation.0.to_le_bytes());
    fixed[28..36].copy_from_slice(&header.prev.0.to_le_bytes());
    out.extend_from_slice(&fixed);
    for part in body {
        out.extend_from_slice(part);
    }
}

/// Adds the checksum of the open entry that begins at `from`.
pub fn seal(out: &mut Vec<u8>, from: usize) {
    let crc = crc32fast::hash(&out[from..]);
    out.extend_from_slice(&crc.to_le_bytes());
}

/// Makes the group entry at the start of `bytes` name `durable`.
pub fn set_group_durable(bytes: &mut [u8], durable: Lsn) {
    let covered = GROUP_BYTES - CRC_BYTES;
    bytes[HEADER_BYTES..HEADER_BYTES + 8].copy_from_slice(&durable.0.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..covered]);
    bytes[covered..GROUP_BYTES].copy_from_slice(&crc.to_le_bytes());
}

/// The durable LSN a valid group entry names.
pub fn group_durable(entry: &EntryRef<'_>) -> Option<Lsn> {
    (entry.header.op == Op::Group && entry.body.len() == 8).then(|| Lsn(u64_at(entry.body, 0)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn encoded(lsn: Lsn, body: &[u8]) -> Vec<u8> {
        let header = EntryHeader {
            lsn,
            txn: TxnId(7),
            op: Op::Update,
            flags: 3,
            len: (OVERHEAD + body.len()) as u32,
            incarnation: Incarnation(2),
            prev: Lsn(99),
        };
        let mut out = Vec::new();
        encode_open(&header, &[body], &mut out);
        seal(&mut out, 0);
        out
    }

    #[test]
    fn an_entry_is_read_back_and_any_flipped_bit_is_noticed() {
        let bytes = encoded(Lsn(512), b"before and after");
        let entry = decode(&bytes, Lsn(512), Incarnation(2)).unwrap();
        assert_eq!((entry.body, entry.header.prev), (&b"before and after"[..], Lsn(99)));
        assert_eq!((entry.header.txn, entry.header.op, entry.header.flags), (TxnId(7), Op::Update, 3));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad, Lsn(512), Incarnation(2)).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn an_entry_of_another_place_or_history_is_none_of_ours() {
        let bytes = encoded(Lsn(512), b"x");
        assert_eq!(decode(&bytes, Lsn(513), Incarnation(2)).unwrap_err(), Flaw::WrongLsn);
        assert_eq!(decode(&bytes, Lsn(512), Incarnation(3)).unwrap_err(), Flaw::WrongIncarnation);
        assert_eq!(decode(&bytes[..20], Lsn(512), Incarnation(2)).unwrap_err(), Flaw::CutShort);
        assert_eq!(decode(&[0; 100], Lsn(512), Incarnation(2)).unwrap_err(), Flaw::Zeros);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), lsn: u64) {
            let _ = decode(&bytes, Lsn(lsn), Incarnation(1));
            let mut named = bytes.clone();
            if named.len() >= 8 {
                named[..8].copy_from_slice(&lsn.to_le_bytes());
            }
            prop_assert!(decode(&named, Lsn(lsn), Incarnation(1)).is_err());
        }
    }
}
