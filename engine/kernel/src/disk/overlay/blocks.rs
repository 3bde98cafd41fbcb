//! Which blocks of a file were written, and where they lie.

use crate::error::{Error, Result};

/// The unit of an overlay; every page size is a multiple.
pub const BLOCK: usize = 4096;

const BELOW: u32 = u32::MAX;
const ZERO: u32 = u32::MAX - 1;
/// Blocks in one part of the map, which exists once one of them was written.
const PART: usize = 1024;

/// Where the bytes of a block are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the original, or nowhere: not written.
    Below,
    /// Written as zeros.
    Zero,
    /// At this byte of the blocks file.
    Slot(u64),
}

impl Place {
    fn of(entry: u32) -> Place {
        match entry {
            BELOW => Place::Below,
            ZERO => Place::Zero,
            slot => Place::Slot(u64::from(slot) * BLOCK as u64),
        }
    }
}

/// A stretch of blocks that lie one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub block: u64,
    pub count: u32,
    /// `Zero` or `Slot`.
    pub place: Place,
}

#[derive(Default)]
pub(super) struct BlockMap {
    parts: Vec<Option<Box<[u32; PART]>>>,
}

impl BlockMap {
    fn entry(&self, block: u64) -> u32 {
        let part = usize::try_from(block / PART as u64).ok().and_then(|part| self.parts.get(part));
        part.and_then(Option::as_ref).map_or(BELOW, |part| part[(block % PART as u64) as usize])
    }

    pub fn place(&self, block: u64) -> Place {
        Place::of(self.entry(block))
    }

    /// Notes where a block lies; `None` is zeros.
    pub fn set(&mut self, block: u64, at: Option<u64>) -> Result<()> {
        let entry = match at {
            None => ZERO,
            Some(at) => u32::try_from(at / BLOCK as u64)
                .ok()
                .filter(|slot| *slot < ZERO)
                .ok_or_else(|| Error::argument("size", "an overlay holds at most 16 TiB"))?,
        };
        let part = (block / PART as u64) as usize;
        if part >= self.parts.len() {
            self.parts.resize_with(part + 1, || None);
        }
        self.parts[part].get_or_insert_with(|| Box::new([BELOW; PART]))
            [(block % PART as u64) as usize] = entry;
        Ok(())
    }

    /// Forgets every block from `block` on.
    pub fn cut(&mut self, block: u64) {
        let part = (block / PART as u64) as usize;
        self.parts.truncate(part + 1);
        if let Some(Some(part)) = self.parts.get_mut(part) {
            part[(block % PART as u64) as usize..].fill(BELOW);
        }
    }

    /// Where the byte at `offset` is, and how many bytes, at most `most`, follow there in order.
    pub fn run(&self, offset: u64, most: usize) -> (Place, usize) {
        let into = offset % BLOCK as u64;
        let mut block = offset / BLOCK as u64;
        let first = self.entry(block);
        let mut count = BLOCK - into as usize;
        while count < most {
            block += 1;
            let steps = (block - offset / BLOCK as u64) as u32;
            let follows = match first {
                BELOW | ZERO => self.entry(block) == first,
                slot => slot.checked_add(steps) == Some(self.entry(block)),
            };
            if !follows {
                break;
            }
            count += BLOCK;
        }
        let place = match Place::of(first) {
            Place::Slot(at) => Place::Slot(at + into),
            other => other,
        };
        (place, count.min(most))
    }

    /// Everything that was written, in order.
    pub fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for (index, part) in self.parts.iter().enumerate() {
            let Some(part) = part else { continue };
            for (offset, entry) in part.iter().enumerate().filter(|(_, entry)| **entry != BELOW) {
                let (block, place) = ((index * PART + offset) as u64, Place::of(*entry));
                match runs.last_mut() {
                    Some(run) if run.is_followed_by(block, place) => run.count += 1,
                    _ => runs.push(Run { block, count: 1, place }),
                }
            }
        }
        runs
    }
}

impl Run {
    fn is_followed_by(&self, block: u64, place: Place) -> bool {
        let fits = match (self.place, place) {
            (Place::Zero, Place::Zero) => true,
            (Place::Slot(start), Place::Slot(at)) => start + u64::from(self.count) * BLOCK as u64 == at,
            _ => false,
        };
        fits && self.block + u64::from(self.count) == block && self.count < u32::MAX
    }
}
