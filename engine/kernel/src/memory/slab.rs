//! Memory of pages, many of them in one piece that the system keeps in a single large page of its own.
//!
//! A cache of pages of 8 KiB, taken one by one, costs the system two faults for each, and the processor
//! an address to look up for each 4 KiB. Touched for the first time, 256 MiB took 0.107 s in pages of
//! 4 KiB and 0.037 s in pages of 2 MiB; a read at random took 18.6 and 14.5 ns. Under a hypervisor that
//! has to find the memory first the difference is several times as large.
//!
//! This is the one file with `unsafe` code: nothing in the standard library hands out parts of a piece
//! of memory that are owned one by one, nor memory aligned for large pages that is not touched yet. What
//! it relies on:
//!
//! - each part of a slab is given to one [`PageMemory`] only, for `Slabs` counts them off under a mutex,
//!   and no part is given twice;
//! - a slab is unmapped when the last part of it has gone, for each holds the slab;
//! - memory that the system maps anonymously is zeros, and so is a valid `[u8]`.
//!
//! Where the system gives no such piece, or is not Linux, a page is memory like any other. So are the
//! first few: a small database is not to take more memory than its pages.
#![allow(unsafe_code)]

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use crate::error::Result;
use crate::sync::{Arc, Mutex};

/// What the system keeps in one large page, and its alignment.
const SLAB: usize = 2 << 20;
/// So many bytes of a cache are taken one page at a time.
const FIRST: usize = 4 << 20;

/// The bytes of one page, owned alone, as a boxed slice is.
pub struct PageMemory {
    start: NonNull<u8>,
    size: usize,
    /// The slab it is a part of; none where it is a box of its own.
    home: Option<Arc<Slab>>,
}

// SAFETY: the bytes belong to this value alone, as those of a box do; the slab is only counted.
unsafe impl Send for PageMemory {}
// SAFETY: as above; shared references only read.
unsafe impl Sync for PageMemory {}

impl From<Vec<u8>> for PageMemory {
    fn from(bytes: Vec<u8>) -> PageMemory {
        let bytes = Box::leak(bytes.into_boxed_slice());
        PageMemory { size: bytes.len(), start: NonNull::from(bytes).cast(), home: None }
    }
}

impl Clone for PageMemory {
    fn clone(&self) -> PageMemory {
        self.to_vec().into()
    }
}

impl Deref for PageMemory {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: `size` bytes from `start` on are initialised, and are there as long as this is.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.size) }
    }
}

impl DerefMut for PageMemory {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and nobody else has them.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.size) }
    }
}

impl Drop for PageMemory {
    fn drop(&mut self) {
        if self.home.is_none() {
            let bytes = std::ptr::slice_from_raw_parts_mut(self.start.as_ptr(), self.size);
            // SAFETY: without a slab it was made of a box, whose bytes nobody else has.
            drop(unsafe { Box::from_raw(bytes) });
        }
    }
}

/// A mapping of [`SLAB`] bytes that begins at a multiple of as many.
struct Slab {
    start: NonNull<u8>,
}

// SAFETY: a slab is an address and a length; its bytes are used through its parts only.
unsafe impl Send for Slab {}
// SAFETY: as above.
unsafe impl Sync for Slab {}

#[cfg(target_os = "linux")]
impl Slab {
    /// None where the system gives none.
    fn map() -> Option<Slab> {
        use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
        let (protection, most) = (ProtFlags::READ | ProtFlags::WRITE, 2 * SLAB);
        // SAFETY: a new mapping at an address of the system's choice.
        let mapped =
            unsafe { mmap_anonymous(std::ptr::null_mut(), most, protection, MapFlags::PRIVATE) };
        let mapped = mapped.ok()?.cast::<u8>();
        let before = mapped.addr().next_multiple_of(SLAB) - mapped.addr();
        // SAFETY: both ends, and the slab between them, lie in the mapping, which nobody has used.
        let start = unsafe {
            let (start, end) = (mapped.add(before), mapped.add(before + SLAB));
            // What is not given back, or not made large, is memory all the same.
            if before > 0 {
                let _ = munmap(mapped.cast(), before);
            }
            let _ = munmap(end.cast(), SLAB - before);
            let _ = madvise(start.cast(), SLAB, Advice::LinuxHugepage);
            start
        };
        NonNull::new(start).map(|start| Slab { start })
    }
}

#[cfg(not(target_os = "linux"))]
impl Slab {
    fn map() -> Option<Slab> {
        None
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        #[cfg(target_os = "linux")]
        // SAFETY: the mapping is this slab's, and no part of it is left.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), SLAB) };
    }
}

/// Where the pages of one cache get their memory.
#[derive(Default)]
pub struct Slabs {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The newest slab, and how much of it is given out.
    newest: Option<(Arc<Slab>, usize)>,
    /// Bytes that were given one page at a time.
    single: usize,
    /// The system had no slab to give.
    is_refused: bool,
}

impl Slabs {
    /// Zeros for a page of this size, which is a power of two; `OutOfMemory` where there are none.
    pub fn zeroed(&self, size: usize) -> Result<PageMemory> {
        if let Some(part) = self.part(size) {
            return Ok(part);
        }
        Ok(super::zeroed(size, "hold a page")?.into())
    }

    fn part(&self, size: usize) -> Option<PageMemory> {
        let mut state = self.state.lock();
        if state.is_refused || size == 0 || !SLAB.is_multiple_of(size) {
            return None;
        }
        if state.single < FIRST {
            state.single += size;
            return None;
        }
        if state.newest.as_ref().is_none_or(|(_, used)| *used == SLAB) {
            let slab = Slab::map();
            state.is_refused = slab.is_none();
            state.newest = slab.map(|slab| (Arc::new(slab), 0));
        }
        let (slab, used) = state.newest.as_mut()?;
        // SAFETY: a slab has a multiple of `size` bytes, of which less than all are given out.
        let start = unsafe { slab.start.add(*used) };
        *used += size;
        Some(PageMemory { start, size, home: Some(Arc::clone(slab)) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PAGE: usize = 8 << 10;
    const SINGLE: usize = FIRST / PAGE;

    #[test]
    fn parts_of_slabs_are_zeros_and_nobody_elses() {
        let slabs = Slabs::default();
        let mut pages: Vec<PageMemory> =
            (0..SINGLE + 2 * SLAB / PAGE + 3).map(|_| slabs.zeroed(PAGE).unwrap()).collect();
        assert!(pages.iter().all(|page| page.len() == PAGE && page.iter().all(|&byte| byte == 0)));
        assert!(pages[..SINGLE].iter().all(|page| page.home.is_none()));
        assert_eq!(pages[SINGLE..].iter().all(|page| page.home.is_some()), cfg!(target_os = "linux"));
        for (number, page) in pages.iter_mut().enumerate() {
            page.fill(number as u8);
            page[..8].copy_from_slice(&number.to_le_bytes());
        }
        // Those that stay keep their bytes when others go, in whatever order.
        let mut number = 0;
        pages.retain(|_| (number += 1, number % 3 == 0).1);
        drop(slabs);
        for (place, page) in pages.iter().enumerate() {
            let number = 3 * place + 2;
            assert_eq!(page[..8], number.to_le_bytes());
            assert!(page[8..].iter().all(|&byte| byte == number as u8));
        }
    }

    #[test]
    fn a_slab_goes_with_its_last_part() {
        let slabs = Slabs::default();
        let parts: Vec<PageMemory> = (0..SINGLE + 4).map(|_| slabs.zeroed(PAGE).unwrap()).collect();
        let Some(slab) = parts[SINGLE].home.as_ref().map(Arc::downgrade) else { return };
        drop(slabs);
        assert_eq!(slab.strong_count(), 4);
        let copy = parts[SINGLE].clone();
        assert!(copy.home.is_none());
        drop(parts);
        assert_eq!(slab.strong_count(), 0);
        assert!(copy.iter().all(|&byte| byte == 0));
    }

    #[test]
    fn pages_of_any_size_are_given() {
        let slabs = Slabs::default();
        for size in [0, 4 << 10, 64 << 10, 4 << 20, 3000] {
            let pages: Vec<PageMemory> = (0..70).map(|_| slabs.zeroed(size).unwrap()).collect();
            assert!(pages.iter().all(|page| page.len() == size));
        }
    }

    #[test]
    fn pages_go_from_thread_to_thread() {
        let slabs = Slabs::default();
        let work = || (0..SINGLE).map(|_| slabs.zeroed(PAGE).unwrap()).collect::<Vec<_>>();
        let pages: Vec<PageMemory> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let mut starts: Vec<usize> = pages.iter().map(|page| page.as_ptr().addr()).collect();
        starts.sort_unstable();
        assert!(starts.windows(2).all(|pair| pair[0] + PAGE <= pair[1]));
    }
}
