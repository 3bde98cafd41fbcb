//! The words every layer shares: log positions, page, tree and transaction names.

use std::fmt;

/// A byte position in the log stream. Positions never run backwards and are never reused
/// within one incarnation of a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

/// The number of a page in the data file; page `n` starts at byte `n * page_size`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageId(pub u32);

/// Names a transaction. Zero is the system: redo-only structure changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxnId(pub u64);

/// Names a tree for ever; ids are never used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeId(pub u32);

/// One unbroken run of history. New after each unclean open, restore and fail over, so that
/// bytes of an abandoned history are never mistaken for this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u32);

/// Drawn at random when a database is created; every file of it carries the same one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DatabaseId(pub [u8; 16]);

/// The sizes of pages, in bytes.
pub const MIN_PAGE: usize = 4096;
pub const MAX_PAGE: usize = 65536;

/// True for a size that pages may have: a power of two from 4 to 64 KiB.
pub fn is_page_size(size: usize) -> bool {
    size.is_power_of_two() && (MIN_PAGE..=MAX_PAGE).contains(&size)
}

impl Lsn {
    /// Before every entry: "nowhere" in chains of previous entries.
    pub const NONE: Lsn = Lsn(0);
    /// After every entry.
    pub const MAX: Lsn = Lsn(u64::MAX);
    /// No log grows so long: a position beyond it, read from a file, is none.
    pub const LIMIT: Lsn = Lsn(1 << 62);

    pub fn is_none(self) -> bool {
        self == Lsn::NONE
    }

    pub fn plus(self, bytes: u64) -> Lsn {
        Lsn(self.0 + bytes)
    }
}

impl PageId {
    /// "No page": the right sibling of the last page of a level.
    pub const NONE: PageId = PageId(u32::MAX);

    pub fn is_none(self) -> bool {
        self == PageId::NONE
    }
}

impl TxnId {
    /// The writer of redo-only structure changes.
    pub const SYSTEM: TxnId = TxnId(0);
}

macro_rules! display_as_number {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    )*};
}

display_as_number!(Lsn, PageId, TxnId, TreeId, Incarnation);
