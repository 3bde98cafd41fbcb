//! Memory that a device can take bytes from by itself, without a copy in between.

use crate::error::Result;

/// What begins at a multiple of this, in memory and in a file, suits every device in use.
pub const ALIGNMENT: usize = 4096;

/// Bytes that begin at a multiple of [`ALIGNMENT`], up to a capacity that is set beforehand.
#[derive(Default)]
pub struct AlignedBuffer {
    bytes: Vec<u8>,
    start: usize,
}

impl AlignedBuffer {
    /// Empties it, and makes room for `capacity` bytes; gives memory back beyond `keep` of them.
    /// `OutOfMemory` where there is none: it is empty then.
    pub fn begin(&mut self, capacity: usize, keep: usize) -> Result<()> {
        let room = self.bytes.capacity();
        if room < capacity + ALIGNMENT || room > capacity.max(keep) + 2 * ALIGNMENT {
            // The old one goes first: both together would be the peak.
            self.bytes = Vec::new();
            self.start = 0;
            crate::memory::reserve(
                &mut self.bytes,
                capacity + ALIGNMENT,
                "hold what is read or written",
            )?;
        }
        // Where it cannot be told, nothing is aligned, and written as any other bytes.
        self.start = self.bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        self.bytes.clear();
        self.bytes.resize(self.start, 0);
        Ok(())
    }

    /// Adds bytes; beyond the capacity they are kept too, but may not be aligned any more.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Holds so many zeros; `OutOfMemory` where there is no room for them.
    pub fn zeroed(size: usize) -> Result<AlignedBuffer> {
        let mut buffer = AlignedBuffer::default();
        buffer.begin(size, size)?;
        buffer.resize(size);
        Ok(buffer)
    }

    /// Adds zeros until it holds `size` bytes, or takes away what is beyond them.
    pub fn resize(&mut self, size: usize) {
        self.bytes.resize(self.start + size, 0);
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }
}

/// True where a device can take these bytes by itself.
#[cfg(any(target_os = "linux", test))]
pub(super) fn is_aligned(bytes: &[u8], offset: u64) -> bool {
    let suits = |number: usize| number.is_multiple_of(ALIGNMENT);
    suits(bytes.as_ptr().addr()) && suits(bytes.len()) && offset.is_multiple_of(ALIGNMENT as u64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_put_into_it_is_aligned_and_its_memory_given_back() {
        let mut buffer = AlignedBuffer::default();
        buffer.begin(1 << 20, 1 << 16).unwrap();
        for piece in 0..256u32 {
            buffer.extend(&[piece as u8; 4096]);
        }
        assert_eq!(buffer.bytes().len(), 1 << 20);
        assert!(is_aligned(buffer.bytes(), 8192) && !is_aligned(buffer.bytes(), 512));
        assert!(is_aligned(&buffer.bytes()[4096 * 255..], 0) && !is_aligned(&buffer.bytes()[1..], 0));
        assert!(buffer.bytes().chunks(4096).zip(0..=255u8).all(|(chunk, piece)| chunk == [piece; 4096]));
        buffer.begin(1 << 16, 1 << 16).unwrap();
        assert!(buffer.bytes().is_empty() && buffer.bytes.capacity() < 1 << 17);
    }
}
