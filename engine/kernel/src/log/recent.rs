//! The end of the log in memory: what is not written yet, and the recent past for readers.
//!
//! Entries are appended to the active chunk; a full chunk is frozen and shared, so that the
//! flushing thread and readers use its bytes without the append mutex. An entry never spans
//! two chunks.

use std::collections::VecDeque;
use std::ops::Range;

use super::record;
use crate::error::Result;
use crate::memory;
use crate::sync::Arc;
use crate::types::Lsn;

/// Up to this much of the active chunk is copied out for writing; more freezes it instead.
const COPY_BYTES: usize = 64 << 10;

struct Chunk {
    start: u64,
    bytes: Arc<Vec<u8>>,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// Bytes to be written from `start` on.
pub(super) struct Piece {
    pub start: u64,
    pub bytes: Arc<Vec<u8>>,
    pub range: Range<usize>,
}

impl Piece {
    pub(super) fn slice(&self) -> &[u8] {
        &self.bytes[self.range.clone()]
    }

    /// The part of it that lies between two positions.
    pub(super) fn within(&self, from: u64, to: u64) -> &[u8] {
        let bytes = self.slice();
        let end = self.start + bytes.len() as u64;
        let (from, to) = (from.clamp(self.start, end), to.clamp(self.start, end));
        if from < to { &bytes[(from - self.start) as usize..(to - self.start) as usize] } else { &[] }
    }
}

/// Where the bytes of a recent entry are.
pub(super) enum Found<'a> {
    Frozen(Arc<Vec<u8>>, usize),
    Active(&'a [u8]),
}

pub(super) struct Recent {
    frozen: VecDeque<Chunk>,
    frozen_bytes: usize,
    active: Vec<u8>,
    active_start: u64,
    chunk_bytes: usize,
    keep_bytes: usize,
    spare: Option<Vec<u8>>,
}

impl Recent {
    /// An empty memory at `start` that keeps about `keep_bytes`.
    pub(super) fn new(start: Lsn, keep_bytes: usize) -> Self {
        let chunk_bytes = (keep_bytes / 8).clamp(4 << 10, 256 << 10);
        Recent {
            frozen: VecDeque::new(),
            frozen_bytes: 0,
            active: Vec::new(),
            active_start: start.0,
            chunk_bytes,
            keep_bytes,
            spare: None,
        }
    }

    /// Makes sure of the memory for `len` more bytes. `OutOfMemory`, with nothing changed, where there is
    /// none: once an entry is being put there, it is too late to say so.
    pub(super) fn prepare(&mut self, len: usize) -> Result<()> {
        let has_room = self.active.len() + len <= self.active.capacity();
        let is_spared = self.spare.as_ref().is_some_and(|spare| spare.capacity() >= len);
        if has_room || (is_spared && !self.active.is_empty()) {
            return Ok(());
        }
        let (mut fresh, least) = (Vec::new(), len.max(4 << 10));
        if memory::reserve(&mut fresh, least.max(self.chunk_bytes), "append to the log").is_err() {
            memory::reserve(&mut fresh, least, "append to the log")?;
        }
        if self.active.is_empty() {
            self.active = fresh;
        } else {
            self.spare = Some(fresh);
        }
        Ok(())
    }

    /// The active chunk with room for `len` more bytes; what was `written` may be let go.
    pub(super) fn room(&mut self, len: usize, written: u64) -> &mut Vec<u8> {
        if !self.active.is_empty() && self.active.len() + len > self.active.capacity() {
            self.freeze();
            self.shed(written);
            if self.active.capacity() < len {
                self.active.reserve_exact(len);
            }
        }
        &mut self.active
    }

    fn freeze(&mut self) {
        let fresh = self.spare.take().unwrap_or_default();
        let full = std::mem::replace(&mut self.active, fresh);
        let start = self.active_start;
        self.active_start += full.len() as u64;
        self.frozen_bytes += full.len();
        self.frozen.push_back(Chunk { start, bytes: Arc::new(full) });
    }

    fn shed(&mut self, written: u64) {
        while self.frozen_bytes > self.keep_bytes
            && let Some(front) = self.frozen.pop_front()
        {
            if front.end() > written {
                self.frozen.push_front(front);
                return;
            }
            self.frozen_bytes -= front.bytes.len();
            if let Ok(mut bytes) = Arc::try_unwrap(front.bytes)
                && bytes.capacity() == self.chunk_bytes
            {
                bytes.clear();
                self.spare = Some(bytes);
            }
        }
    }

    fn chunk_of(&self, lsn: u64) -> Option<usize> {
        let after = self.frozen.partition_point(|chunk| chunk.start <= lsn);
        after.checked_sub(1).filter(|index| lsn < self.frozen[*index].end())
    }

    /// The bytes from `lsn` to the end of its chunk; `None` where they were let go.
    pub(super) fn find(&self, lsn: Lsn) -> Option<Found<'_>> {
        if lsn.0 >= self.active_start {
            return self.active.get((lsn.0 - self.active_start) as usize..).map(Found::Active);
        }
        let chunk = &self.frozen[self.chunk_of(lsn.0)?];
        Some(Found::Frozen(Arc::clone(&chunk.bytes), (lsn.0 - chunk.start) as usize))
    }

    /// Makes the group entry at `lsn`, which is not written yet, name `durable`.
    pub(super) fn name_durable(&mut self, lsn: u64, durable: Lsn) {
        if lsn >= self.active_start {
            let from = (lsn - self.active_start) as usize;
            record::set_group_durable(&mut self.active[from..], durable);
        } else if let Some(index) = self.chunk_of(lsn) {
            let chunk = &mut self.frozen[index];
            let from = (lsn - chunk.start) as usize;
            // Copies the chunk in the rare case that a reader holds it just now.
            record::set_group_durable(&mut Arc::make_mut(&mut chunk.bytes)[from..], durable);
        }
    }

    /// Everything from `from` to the end, for writing.
    pub(super) fn pieces(&mut self, from: u64) -> Vec<Piece> {
        let unwritten = self.active.len() - from.saturating_sub(self.active_start) as usize;
        if unwritten > COPY_BYTES {
            self.freeze();
        }
        let first = self.frozen.partition_point(|chunk| chunk.end() <= from);
        let mut pieces: Vec<Piece> = self
            .frozen
            .range(first..)
            .map(|chunk| {
                let skip = from.saturating_sub(chunk.start) as usize;
                let range = skip..chunk.bytes.len();
                Piece { start: chunk.start + skip as u64, bytes: Arc::clone(&chunk.bytes), range }
            })
            .collect();
        let skip = from.saturating_sub(self.active_start) as usize;
        if skip < self.active.len() {
            let bytes = Arc::new(self.active[skip..].to_vec());
            let range = 0..bytes.len();
            pieces.push(Piece { start: self.active_start + skip as u64, bytes, range });
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::error::Code;

    #[test]
    fn memory_for_an_entry_is_there_before_the_entry_is_or_refused_with_nothing_changed() {
        let mut recent = Recent::new(Lsn(700), 64 << 10);
        recent.prepare(10).unwrap();
        recent.room(10, 700).extend([1; 10]);
        for len in [1 << 60, usize::MAX / 2] {
            assert_eq!(recent.prepare(len).unwrap_err().code, Code::OutOfMemory);
        }
        for len in [100_000, 20, 8000, 300_000] {
            recent.prepare(len).unwrap();
            let chunk = recent.room(len, 700);
            let (room, before) = (chunk.capacity() - chunk.len(), chunk.capacity());
            assert!(room >= len, "{room} of {len}");
            chunk.extend(std::iter::repeat_n(2, len));
            assert_eq!(chunk.capacity(), before, "it grew in the middle of an entry");
        }
        assert!(
            matches!(recent.find(Lsn(700)), Some(Found::Frozen(bytes, 0)) if bytes[..10] == [1; 10])
        );
    }
}
