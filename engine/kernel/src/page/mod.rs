//! Pages: what lies in the data file and in the cache.
//!
//! ```text
//!   0  checksum [16]   BLAKE3, cut to 16 bytes, of everything after it
//!  16  page id u32     20 kind u8  21 level u8  22 format u16
//!  24  page LSN u64    the end of the last log entry applied
//!  32  tree id u32     36 incarnation u32
//!  40  right u32       44 slots u16  46 prefix u16
//!  48  heap start u32  52 garbage u32
//!  56  low fence length u16  58 high fence length u16 (0xFFFF: none)
//!  60  changes since the last image u16  62 spare u16
//!  64  reserved for encryption [48]  112 image LSN u64  120 spare [8]
//! 128  slots: offset u16, key length u16, head u32 ... free ... records, high fence, low fence
//! ```
//!
//! Invariants: `low fence <= key < high fence` for every key; keys ascend strictly; every key
//! shares the first `prefix` bytes of the fences; a slot's head is the four bytes after them,
//! big-endian, so that most comparisons touch slots only. Records never overlap.
//!
//! Every change of a page is a [`Change`], applied by the same code when it is made and when it
//! is redone: redo is a function of one page and its records.

use crate::error::{Code, Error, Result};
use crate::memory::{PageMemory, Slabs};
use crate::types::{Incarnation, Lsn, PageId, TreeId, TxnId};
pub use crate::types::{MAX_PAGE, MIN_PAGE, is_page_size};

mod apply;
mod change;
mod filling;
mod fit;
#[cfg(test)]
mod model_tests;
mod records;
#[cfg(test)]
mod rubbish_tests;
mod search;
mod validate;

pub use apply::EntryMark;
pub use change::{Change, Old, Part, PartReader, Version, encode_image, encode_parts};
pub use filling::Heap;
pub(crate) use records::{GHOST, LEAF_HEAD, OVERFLOW};
pub use records::{Record, Stamp};

/// Bytes before the first slot.
pub const HEADER: usize = 128;
/// The checksum, at the beginning of a page.
const CHECKSUM: usize = 16;
pub(crate) const SLOT: usize = 8;
const NO_FENCE: u16 = u16::MAX;

/// What a page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Given back: a sign that tells a late reader to start again from the root.
    Free,
    Leaf,
    Inner,
    /// A piece of a value too long for its leaf.
    Overflow,
    /// One bit for each page of a group: is it in use?
    SpaceMap,
    /// Page 0.
    Store,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        Some(match byte {
            0 => Kind::Free,
            1 => Kind::Leaf,
            2 => Kind::Inner,
            3 => Kind::Overflow,
            4 => Kind::SpaceMap,
            5 => Kind::Store,
            _ => return None,
        })
    }

    fn to_byte(self) -> u8 {
        match self {
            Kind::Free => 0,
            Kind::Leaf => 1,
            Kind::Inner => 2,
            Kind::Overflow => 3,
            Kind::SpaceMap => 4,
            Kind::Store => 5,
        }
    }
}

/// One page's bytes. The accessors index freely: a page read from a file is validated first.
#[derive(Clone)]
pub struct Page {
    pub(crate) bytes: PageMemory,
}

/// The parts of a page that hold something.
#[derive(Clone, Copy)]
pub struct ImagePieces<'p> {
    pub head: &'p [u8],
    pub heap: &'p [u8],
}

/// What a new page is to be.
#[derive(Clone, Copy, Debug)]
pub struct Shape<'a> {
    pub id: PageId,
    pub kind: Kind,
    pub level: u8,
    pub tree: TreeId,
    pub right: PageId,
    pub low: &'a [u8],
    pub high: Option<&'a [u8]>,
}

pub(crate) fn get_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}
pub(crate) fn get_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
pub(crate) fn get_u64(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}
pub(crate) fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}
pub(crate) fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}
pub(crate) fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// How many leading bytes two keys share.
pub(crate) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

impl Page {
    /// A page of zeros, to be filled from a file or by an image.
    pub fn zeroed(size: usize) -> Page {
        Page { bytes: vec![0; size].into() }
    }

    /// As [`Page::zeroed`], of the memory of a cache; `OutOfMemory` where there is none.
    pub fn of_cache(slabs: &Slabs, size: usize) -> Result<Page> {
        Ok(Page { bytes: slabs.zeroed(size)? })
    }

    /// A new, empty page of the given shape with page LSN 0.
    pub fn format(size: usize, shape: Shape<'_>) -> Page {
        let mut page = Page::zeroed(size);
        page.reformat(shape);
        page
    }

    fn reformat(&mut self, shape: Shape<'_>) {
        self.bytes.fill(0);
        let size = self.bytes.len();
        put_u32(&mut self.bytes, 16, shape.id.0);
        self.bytes[20] = shape.kind.to_byte();
        self.bytes[21] = shape.level;
        put_u16(&mut self.bytes, 22, 1);
        put_u32(&mut self.bytes, 32, shape.tree.0);
        put_u32(&mut self.bytes, 40, shape.right.0);
        let prefix = shape.high.map_or(0, |high| common_prefix(shape.low, high));
        put_u16(&mut self.bytes, 46, prefix as u16);
        put_u16(&mut self.bytes, 56, shape.low.len() as u16);
        let high_length = shape.high.map_or(0, <[u8]>::len);
        put_u16(&mut self.bytes, 58, shape.high.map_or(NO_FENCE, |high| high.len() as u16));
        let low_at = size - shape.low.len();
        self.bytes[low_at..].copy_from_slice(shape.low);
        if let Some(high) = shape.high {
            self.bytes[low_at - high_length..low_at].copy_from_slice(high);
        }
        put_u32(&mut self.bytes, 48, (low_at - high_length) as u32);
    }

    pub fn size(&self) -> usize {
        self.bytes.len()
    }
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
    /// For filling from a file; [`Page::validate`] must follow before any accessor is used.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
    pub fn id(&self) -> PageId {
        PageId(get_u32(&self.bytes, 16))
    }
    pub fn kind(&self) -> Kind {
        Kind::from_byte(self.bytes[20]).unwrap_or(Kind::Free)
    }
    pub fn level(&self) -> u8 {
        self.bytes[21]
    }
    pub fn lsn(&self) -> Lsn {
        Lsn(get_u64(&self.bytes, 24))
    }
    pub fn set_lsn(&mut self, lsn: Lsn) {
        put_u64(&mut self.bytes, 24, lsn.0);
    }
    pub fn tree(&self) -> TreeId {
        TreeId(get_u32(&self.bytes, 32))
    }
    pub fn incarnation(&self) -> Incarnation {
        Incarnation(get_u32(&self.bytes, 36))
    }
    pub fn set_incarnation(&mut self, incarnation: Incarnation) {
        put_u32(&mut self.bytes, 36, incarnation.0);
    }
    pub fn right(&self) -> PageId {
        PageId(get_u32(&self.bytes, 40))
    }
    pub fn slots(&self) -> usize {
        usize::from(get_u16(&self.bytes, 44))
    }
    pub(crate) fn prefix(&self) -> usize {
        usize::from(get_u16(&self.bytes, 46))
    }
    pub(crate) fn heap_start(&self) -> usize {
        get_u32(&self.bytes, 48) as usize
    }
    pub(crate) fn garbage(&self) -> usize {
        get_u32(&self.bytes, 52) as usize
    }
    pub fn low_fence(&self) -> &[u8] {
        let length = usize::from(get_u16(&self.bytes, 56));
        &self.bytes[self.bytes.len() - length..]
    }
    /// The first key that belongs to the right; `None` on the last page of a level.
    pub fn high_fence(&self) -> Option<&[u8]> {
        let length = get_u16(&self.bytes, 58);
        if length == NO_FENCE {
            return None;
        }
        let end = self.bytes.len() - usize::from(get_u16(&self.bytes, 56));
        Some(&self.bytes[end - usize::from(length)..end])
    }
    /// True where `key` lies beyond this page, to the right.
    pub fn is_beyond(&self, key: &[u8]) -> bool {
        self.high_fence().is_some_and(|high| key >= high)
    }
    pub fn changes_since_image(&self) -> u16 {
        get_u16(&self.bytes, 60)
    }
    pub fn image_lsn(&self) -> Lsn {
        Lsn(get_u64(&self.bytes, 112))
    }

    /// Bytes that a new record with its slot may still take, after compaction.
    pub fn free_bytes(&self) -> usize {
        self.heap_start() - (HEADER + SLOT * self.slots()) + self.garbage()
    }

    /// The bytes between header and the end: overflow data and space map bits.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[HEADER..]
    }
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[HEADER..]
    }

    /// Writes the checksum over what the page now holds: the last step before it goes out.
    pub fn seal(&mut self) {
        Self::seal_bytes(&mut self.bytes);
    }

    /// As [`Page::seal`], for the bytes of a whole page.
    pub fn seal_bytes(bytes: &mut [u8]) {
        let checksum = Self::checksum_of(bytes);
        bytes[..CHECKSUM].copy_from_slice(&checksum);
    }

    /// The checksum of a whole page, with zeros where it lies itself: these are there meanwhile.
    ///
    /// So as many bytes are hashed as the chunks of BLAKE3 hold, and all chunks of a page side by side;
    /// without the first few the last chunk would be shorter, and the rest an odd number of them.
    fn checksum_of(bytes: &mut [u8]) -> [u8; CHECKSUM] {
        let mut told = [0; CHECKSUM];
        told.swap_with_slice(&mut bytes[..CHECKSUM]);
        let hash = blake3::hash(bytes);
        bytes[..CHECKSUM].copy_from_slice(&told);
        let mut checksum = [0; CHECKSUM];
        checksum.copy_from_slice(&hash.as_bytes()[..CHECKSUM]);
        checksum
    }

    /// True where the checksum holds.
    pub fn is_sealed(&mut self) -> bool {
        Self::checksum_of(&mut self.bytes) == self.bytes[..CHECKSUM]
    }

    /// True where the bytes of a page hold what its number, checksum and LSN promise.
    pub fn is_plausible(bytes: &mut [u8], expected: PageId, log_end: Lsn) -> bool {
        Self::checksum_of(bytes) == bytes[..CHECKSUM]
            && get_u32(bytes, 16) == expected.0
            && Lsn(get_u64(bytes, 24)) <= log_end
    }

    /// Checks bytes read from a file, in three levels: checksum; structure; is it the page asked
    /// for, and can its LSN be (`log_end`)?
    pub fn validate(&mut self, expected: PageId, log_end: Lsn) -> Result<()> {
        let checksum = Self::checksum_of(&mut self.bytes);
        if checksum != self.bytes[..CHECKSUM] {
            return Err(self.checksum_mismatch(expected, checksum));
        }
        self.validate_content(expected, log_end)
    }

    /// As [`Page::validate`], for bytes whose checksum was compared a moment ago.
    pub fn validate_content(&self, expected: PageId, log_end: Lsn) -> Result<()> {
        let damaged = |detail: String| {
            Error::new(Code::PageDamaged)
                .with("page_id", expected.0)
                .with("tree", i64::from(self.tree().0))
                .with("detail", detail)
        };
        if self.id() != expected {
            return Err(damaged(format!("this is page {}: a misdirected write", self.id())));
        }
        if self.lsn() > log_end {
            return Err(damaged(format!("page LSN {} lies beyond the log's end {log_end}", self.lsn())));
        }
        self.validate_structure().map_err(damaged)
    }

    fn checksum_mismatch(&self, page: PageId, actual: [u8; CHECKSUM]) -> Error {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let corruption = if self.bytes.iter().all(|&b| b == 0) {
            "zeroed"
        } else if self.bytes.chunks(512).any(|sector| sector.iter().all(|&b| b == 0)) {
            "torn"
        } else {
            "altered"
        };
        Error::new(Code::ChecksumMismatch)
            .with("page_id", page.0)
            .with("expected", hex(&self.bytes[..CHECKSUM]))
            .with("actual", hex(&actual))
            .with("corruption_type", corruption)
    }

    /// The page without its free middle, for the log: `[heap start u32][head][heap]`.
    pub fn to_image(&self) -> Vec<u8> {
        let pieces = self.image_pieces();
        let mut image = Vec::with_capacity(4 + pieces.head.len() + pieces.heap.len());
        image.extend_from_slice(&(pieces.head.len() as u32).to_le_bytes());
        image.extend_from_slice(pieces.head);
        image.extend_from_slice(pieces.heap);
        image
    }

    /// What an image is made of.
    fn image_pieces(&self) -> ImagePieces<'_> {
        let slotted = matches!(self.kind(), Kind::Leaf | Kind::Inner);
        let (head_end, heap) = if slotted {
            (HEADER + SLOT * self.slots(), self.heap_start())
        } else {
            (self.size(), self.size())
        };
        ImagePieces { head: &self.bytes[..head_end], heap: &self.bytes[heap..] }
    }

    /// Takes a page from its image in the log; false where the image cannot be of this size.
    pub(crate) fn fill_from_image(&mut self, image: &[u8]) -> bool {
        let size = self.size();
        if image.len() < 4 + HEADER || image.len() > 4 + size {
            return false;
        }
        let head_end = get_u32(image, 0) as usize;
        let body = &image[4..];
        if head_end < HEADER || head_end > body.len() {
            return false;
        }
        self.bytes.fill(0);
        self.bytes[..head_end].copy_from_slice(&body[..head_end]);
        let tail = &body[head_end..];
        self.bytes[size - tail.len()..].copy_from_slice(tail);
        true
    }
}

/// The stamp an entry gives to the record it writes.
pub fn entry_stamp(txn: TxnId, lsn: Lsn) -> Stamp {
    Stamp { txn, lsn }
}
