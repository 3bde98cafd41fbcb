//! Log on its way past the system's cache: what a bulk load writes is read again by a recovery at
//! most, and to find memory for the system's copy may take longer than to write it.
//!
//! Entries lie at any place of a file, so that their bytes go through memory that a device can take
//! them from; the first and the last few, which share a block with others, go as ever.

use super::recent::Piece;
use crate::disk::{ALIGNMENT, AlignedBuffer, File};
use crate::error::Result;

/// Written at a time; less is not worth the way.
pub(super) const BLOCK: usize = 1 << 20;
const WHOLE: u64 = ALIGNMENT as u64;

/// Writes what `pieces`, one after the other, hold of `from..to`; `from` lies at `offset` of the file.
/// False where there is no memory for that, with nothing written: a failed write would fail the log.
pub(super) fn write(
    file: &dyn File,
    pieces: &[Piece],
    (from, to): (u64, u64),
    offset: u64,
) -> Result<bool> {
    let mut buffer = AlignedBuffer::default();
    if buffer.begin(BLOCK, BLOCK).is_err() {
        return Ok(false);
    }
    let mut at = offset;
    for piece in pieces {
        let mut bytes = piece.within(from, to);
        while !bytes.is_empty() {
            // Short up to where whole blocks begin.
            let wanted = if at.is_multiple_of(WHOLE) { BLOCK } else { (WHOLE - at % WHOLE) as usize };
            let (now, later) = bytes.split_at(bytes.len().min(wanted - buffer.bytes().len()));
            buffer.extend(now);
            bytes = later;
            if buffer.bytes().len() == wanted {
                file.write_past_cache(buffer.bytes(), at)?;
                at += wanted as u64;
                buffer.begin(BLOCK, BLOCK)?;
            }
        }
    }
    let (blocks, rest) = buffer.bytes().split_at(buffer.bytes().len() / ALIGNMENT * ALIGNMENT);
    file.write_past_cache(blocks, at)?;
    file.write_at(rest, at + blocks.len() as u64)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::disk::memory::MemoryDisk;
    use crate::disk::{Disk, OpenMode};
    use crate::sync::Arc;

    #[test]
    fn every_byte_of_a_stretch_lands_in_its_place() {
        let byte = |lsn: u64| (lsn % 251) as u8;
        let piece = |start: u64, len: u64| {
            let bytes: Vec<u8> = (start - 7..start + len + 3).map(byte).collect();
            Piece { start, bytes: Arc::new(bytes), range: 7..7 + len as usize }
        };
        let mut pieces = vec![piece(1000, 10), piece(1010, 3 << 20), piece(1010 + (3 << 20), 1)];
        pieces.push(piece(1011 + (3 << 20), 700_000));
        let end = 1011 + (3 << 20) + 700_000;
        for (from, to, offset) in
            [(1000, end, 512), (1003, end - 9, 4096), (1010, 1011, 8191), (1500, 1500 + (2 << 20), 1)]
        {
            let file = MemoryDisk::new(1).open("file", OpenMode::Create).unwrap();
            assert!(write(&*file, &pieces, (from, to), offset).unwrap());
            let mut found = vec![0; (offset + to - from) as usize];
            assert_eq!(file.read_at(&mut found, 0).unwrap(), found.len());
            assert!(found[..offset as usize].iter().all(|&byte| byte == 0));
            assert!(found[offset as usize..].iter().copied().eq((from..to).map(byte)), "{from} {to}");
            assert_eq!(file.size().unwrap(), offset + to - from);
        }
    }
}
