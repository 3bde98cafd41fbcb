//! The changes a page can undergo, and how log entries carry them.
//!
//! The body of an entry that changes pages is
//! `tree u32, parts u8, { page u32, previous LSN of that page u64, length u32, change }, extra`.
//! The previous LSNs give each page a chain of its own through the log.

use super::records::Stamp;
use super::{ImagePieces, Page, get_u16, get_u32, get_u64};
use crate::error::{Code, Error, Result};
use crate::types::{Lsn, PageId, TreeId, TxnId};

/// Flags and value of a leaf record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version<'a> {
    pub flags: u8,
    pub value: &'a [u8],
}

/// What a record was before a change, for undo and for older snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Old<'a> {
    pub version: Version<'a>,
    pub stamp: Stamp,
}

/// One change of one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// A record takes a new version, stamped with the entry; `old` is absent where there was none.
    Put {
        slot: u16,
        key: &'a [u8],
        new: Version<'a>,
        old: Option<Old<'a>>,
    },
    /// Compensation: a record takes back an earlier version with its stamp.
    Restore {
        slot: u16,
        old: Old<'a>,
    },
    /// Compensation of an insert.
    Remove {
        slot: u16,
    },
    /// Ghosts that nobody can see any more go; slots as u16, ascending.
    Purge {
        slots: &'a [u8],
    },
    AddChild {
        slot: u16,
        key: &'a [u8],
        child: PageId,
    },
    RemoveChild {
        slot: u16,
    },
    /// The page in full, without its free middle.
    Image {
        image: &'a [u8],
    },
    /// The left half of a split: records from `slot` on are gone, the page ends at `high`.
    Truncate {
        slot: u16,
        right: PageId,
        high: &'a [u8],
    },
    /// The page takes over the key range of its empty right sibling.
    Absorb {
        right: PageId,
        high: Option<&'a [u8]>,
    },
    Free,
    /// `count` pages of a space map, from its bit `first` on.
    Map {
        first: u32,
        count: u32,
        used: bool,
    },
}

/// A change and the page it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    pub page: PageId,
    pub previous: Lsn,
    pub change: Change<'a>,
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn put_old(out: &mut Vec<u8>, old: &Old<'_>) {
    out.push(old.version.flags);
    out.extend_from_slice(&old.stamp.txn.0.to_le_bytes());
    out.extend_from_slice(&old.stamp.lsn.0.to_le_bytes());
    put_bytes(out, old.version.value);
}

impl Change<'_> {
    /// Bytes of keys, values and images that the change carries.
    pub fn bytes(&self) -> usize {
        match self {
            Change::Put { key, new, old, .. } => {
                key.len() + new.value.len() + old.map_or(0, |old| old.version.value.len())
            }
            Change::Restore { old, .. } => old.version.value.len(),
            Change::Purge { slots } => slots.len(),
            Change::AddChild { key, .. } => key.len(),
            Change::Image { image } => image.len(),
            Change::Truncate { high, .. } => high.len(),
            Change::Absorb { high, .. } => high.map_or(0, <[u8]>::len),
            Change::Remove { .. } | Change::RemoveChild { .. } | Change::Free | Change::Map { .. } => 0,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Change::Put { slot, key, new, old } => {
                out.push(if old.is_some() { 2 } else { 1 });
                out.extend_from_slice(&slot.to_le_bytes());
                put_bytes(out, key);
                out.push(new.flags);
                put_bytes(out, new.value);
                if let Some(old) = old {
                    put_old(out, &old);
                }
            }
            Change::Restore { slot, old } => {
                out.push(3);
                out.extend_from_slice(&slot.to_le_bytes());
                put_old(out, &old);
            }
            Change::Remove { slot } => {
                out.push(4);
                out.extend_from_slice(&slot.to_le_bytes());
            }
            Change::Purge { slots } => {
                out.push(5);
                put_bytes(out, slots);
            }
            Change::AddChild { slot, key, child } => {
                out.push(6);
                out.extend_from_slice(&slot.to_le_bytes());
                put_bytes(out, key);
                out.extend_from_slice(&child.0.to_le_bytes());
            }
            Change::RemoveChild { slot } => {
                out.push(7);
                out.extend_from_slice(&slot.to_le_bytes());
            }
            Change::Image { image } => {
                out.push(8);
                put_bytes(out, image);
            }
            Change::Truncate { slot, right, high } => {
                out.push(9);
                out.extend_from_slice(&slot.to_le_bytes());
                out.extend_from_slice(&right.0.to_le_bytes());
                put_bytes(out, high);
            }
            Change::Absorb { right, high } => {
                out.push(if high.is_some() { 11 } else { 10 });
                out.extend_from_slice(&right.0.to_le_bytes());
                if let Some(high) = high {
                    put_bytes(out, high);
                }
            }
            Change::Free => out.push(12),
            Change::Map { first, count, used } => {
                out.push(13);
                out.extend_from_slice(&first.to_le_bytes());
                out.extend_from_slice(&count.to_le_bytes());
                out.push(u8::from(used));
            }
        }
    }

    /// True where an encoded change is the page in full.
    pub fn is_image(encoded: &[u8]) -> bool {
        encoded.first() == Some(&8)
    }

    fn decode(bytes: &[u8]) -> Option<Change<'_>> {
        let mut from = Cut { bytes };
        let change = match from.byte()? {
            kind @ (1 | 2) => {
                let slot = from.u16()?;
                let key = from.bytes()?;
                let new = Version { flags: from.byte()?, value: from.bytes()? };
                let old = if kind == 2 { Some(from.old()?) } else { None };
                Change::Put { slot, key, new, old }
            }
            3 => Change::Restore { slot: from.u16()?, old: from.old()? },
            4 => Change::Remove { slot: from.u16()? },
            5 => Change::Purge { slots: from.bytes()? },
            6 => Change::AddChild { slot: from.u16()?, key: from.bytes()?, child: PageId(from.u32()?) },
            7 => Change::RemoveChild { slot: from.u16()? },
            8 => Change::Image { image: from.bytes()? },
            9 => Change::Truncate { slot: from.u16()?, right: PageId(from.u32()?), high: from.bytes()? },
            10 => Change::Absorb { right: PageId(from.u32()?), high: None },
            11 => Change::Absorb { right: PageId(from.u32()?), high: Some(from.bytes()?) },
            12 => Change::Free,
            13 => Change::Map { first: from.u32()?, count: from.u32()?, used: from.byte()? != 0 },
            _ => return None,
        };
        from.bytes.is_empty().then_some(change)
    }
}

/// Reads fields off the front of untrusted bytes.
struct Cut<'a> {
    bytes: &'a [u8],
}

impl<'a> Cut<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(head)
    }
    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }
    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|b| get_u16(b, 0))
    }
    fn u32(&mut self) -> Option<u32> {
        self.take(4).map(|b| get_u32(b, 0))
    }
    fn u64(&mut self) -> Option<u64> {
        self.take(8).map(|b| get_u64(b, 0))
    }
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        self.take(length)
    }
    fn old(&mut self) -> Option<Old<'a>> {
        let flags = self.byte()?;
        let stamp = Stamp { txn: TxnId(self.u64()?), lsn: Lsn(self.u64()?) };
        Some(Old { version: Version { flags, value: self.bytes()? }, stamp })
    }
}

/// Encodes tree and parts into `out`, cleared first; extra bytes may be appended after.
pub fn encode_parts(out: &mut Vec<u8>, tree: TreeId, parts: &[Part<'_>]) {
    out.clear();
    out.extend_from_slice(&tree.0.to_le_bytes());
    out.push(parts.len() as u8);
    for part in parts {
        out.extend_from_slice(&part.page.0.to_le_bytes());
        out.extend_from_slice(&part.previous.0.to_le_bytes());
        let length_at = out.len();
        out.extend_from_slice(&[0; 4]);
        part.change.encode(out);
        let length = (out.len() - length_at - 4) as u32;
        out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }
}

/// Encodes the beginning of an entry's body whose one part is `page` in full, into `out`, cleared
/// first. The two pieces of the page that are returned are to follow: nobody has to copy them.
pub fn encode_image<'p>(out: &mut Vec<u8>, page: &'p Page, previous: Lsn) -> ImagePieces<'p> {
    let pieces = page.image_pieces();
    let image = 4 + pieces.head.len() + pieces.heap.len();
    out.clear();
    out.extend_from_slice(&page.tree().0.to_le_bytes());
    out.push(1);
    out.extend_from_slice(&page.id().0.to_le_bytes());
    out.extend_from_slice(&previous.0.to_le_bytes());
    out.extend_from_slice(&(1 + 4 + image as u32).to_le_bytes());
    out.push(8);
    out.extend_from_slice(&(image as u32).to_le_bytes());
    out.extend_from_slice(&(pieces.head.len() as u32).to_le_bytes());
    pieces
}

/// Reads the parts of an entry's body, which is not trusted.
pub struct PartReader<'a> {
    tree: TreeId,
    left: u8,
    from: Cut<'a>,
}

impl<'a> PartReader<'a> {
    pub fn new(body: &'a [u8]) -> Result<PartReader<'a>> {
        let mut from = Cut { bytes: body };
        match (from.u32(), from.byte()) {
            (Some(tree), Some(left)) => Ok(PartReader { tree: TreeId(tree), left, from }),
            _ => Err(Self::damaged()),
        }
    }

    pub fn tree(&self) -> TreeId {
        self.tree
    }

    fn damaged() -> Error {
        Error::new(Code::WalCorrupted).with("details", "the changes of a log entry cannot be read")
    }

    /// The next part without decoding its change: page, previous LSN, bytes.
    pub fn next_raw(&mut self) -> Result<Option<(PageId, Lsn, &'a [u8])>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let part = (|| Some((PageId(self.from.u32()?), Lsn(self.from.u64()?), self.from.bytes()?)))();
        part.map(Some).ok_or_else(Self::damaged)
    }

    pub fn decode_change(bytes: &'a [u8]) -> Result<Change<'a>> {
        Change::decode(bytes).ok_or_else(Self::damaged)
    }

    pub fn next_part(&mut self) -> Result<Option<Part<'a>>> {
        let Some((page, previous, bytes)) = self.next_raw()? else { return Ok(None) };
        Ok(Some(Part { page, previous, change: Self::decode_change(bytes)? }))
    }

    /// What follows the parts; call it once they are read.
    pub fn extra(&self) -> &'a [u8] {
        self.from.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::{Kind, Record, Shape};

    #[test]
    fn an_image_in_pieces_is_encoded_as_a_change_with_the_image() {
        let (kind, high) = (Kind::Leaf, Some(b"n".as_slice()));
        let (id, tree, right) = (PageId(5), TreeId(9), PageId(6));
        let mut page = Page::format(4096, Shape { id, kind, level: 0, tree, right, low: b"a", high });
        let stamp = Stamp { txn: TxnId(1), lsn: Lsn(2) };
        assert!(page.insert_record(0, Record { key: b"key", value: b"value", flags: 0, stamp }));
        let (mut whole, mut pieced) = (Vec::new(), Vec::new());
        let image = page.to_image();
        let part = Part { page: id, previous: Lsn(77), change: Change::Image { image: &image } };
        encode_parts(&mut whole, tree, &[part]);
        let pieces = encode_image(&mut pieced, &page, Lsn(77));
        assert_eq!([pieced.as_slice(), pieces.head, pieces.heap].concat(), whole);
    }
}
