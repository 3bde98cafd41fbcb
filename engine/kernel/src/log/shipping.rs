//! The log as its followers see it: the segments in use, and their durable bytes as they lie there.

use std::time::Instant;

use super::archive::archive_folder;
use super::gate::{Gate, Patience};
use super::segments::{self, FOLDER, HEADER_BYTES, SegmentHeader};
use super::writer::Log;
use crate::disk::{Disk, OpenMode};
use crate::error::Result;
use crate::sync::Arc;
use crate::types::{Incarnation, Lsn};

/// A segment that is in use, empty ones included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InUse {
    pub number: u64,
    pub start: Lsn,
    /// Where the next one begins; at or below `start` where this one was given up.
    pub limit: Lsn,
    pub incarnation: Incarnation,
    /// Bytes of its file.
    pub file_bytes: u64,
}

impl Log {
    /// Every segment in use, in order.
    pub fn in_use(&self) -> Vec<InUse> {
        let state = self.core.state.lock();
        let used = state.slots.slots.iter().filter(|slot| slot.used);
        used.map(|slot| InUse {
            number: slot.number,
            start: Lsn(slot.start),
            limit: Lsn(slot.limit),
            incarnation: slot.incarnation,
            file_bytes: HEADER_BYTES + slot.capacity,
        })
        .collect()
    }

    /// Where its segments lie, and where they are archived: disks and folders, as far as that is set.
    pub fn places(&self) -> Vec<(Arc<dyn Disk>, String)> {
        let core = &self.core;
        let mut places = vec![(Arc::clone(&core.disk), FOLDER.to_owned())];
        if core.options.archive {
            places.push(archive_folder(&core.disk, self.database(), core.options.archive_at.as_deref()));
        }
        places
    }

    /// The header of a segment in use, as it lies there.
    pub fn header_bytes(&self, number: u64) -> Result<[u8; HEADER_BYTES as usize]> {
        let path = segments::segment_path(FOLDER, number);
        let mut bytes = [0; HEADER_BYTES as usize];
        self.core.disk.open(&path, OpenMode::Read)?.read_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// What the header of a segment in use says.
    pub fn header_of(&self, number: u64) -> Result<SegmentHeader> {
        let bytes = self.header_bytes(number)?;
        SegmentHeader::decode(&bytes).map_err(|defect| {
            segments::corrupted(Lsn::NONE, "the header of a segment in use cannot be read")
                .with("segment", segments::segment_path(FOLDER, number))
                .with("defect", defect.name())
        })
    }

    /// Fills `bytes` with durable bytes from `lsn` on, of one incarnation; returns how many.
    pub fn durable_bytes(&self, lsn: Lsn, bytes: &mut [u8]) -> Result<usize> {
        let most = usize::try_from(self.durable().0.saturating_sub(lsn.0)).unwrap_or(usize::MAX);
        let most = most.min(bytes.len());
        if most == 0 {
            return Ok(0);
        }
        Ok(self.core.read_stream(lsn, &mut bytes[..most])?.0)
    }

    /// Where commits wait for mirrors.
    pub fn gate(&self) -> &Gate {
        &self.core.gate
    }

    pub fn set_patience(&self, patience: Patience) {
        self.core.gate.set_patience(patience);
    }

    /// Returns once more than `beyond` is durable, the log has failed, or it is `due`.
    pub fn await_growth(&self, beyond: Lsn, due: Instant, is_over: impl Fn() -> bool) {
        let is_ready = || self.durable() > beyond || self.has_failed() || is_over();
        self.core.gate.await_growth(due, is_ready);
    }
}
