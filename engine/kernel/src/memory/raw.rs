//! The one file with `unsafe` code: parts of large pages that are owned one by one, and an allocator
//! that asks twice.
//!
//! Nothing in the standard library hands out parts of a piece of memory that are owned one by one, nor
//! memory aligned for large pages that is not touched yet; and an allocator cannot be written without
//! `unsafe`. What it relies on:
//!
//! - each part of a slab is given to one [`PageMemory`] only, for [`Slab`] counts them off, and no part
//!   is given twice;
//! - a slab is unmapped when the last part of it has gone, for each holds the mapping;
//! - memory that the system maps anonymously is zeros, and so is a valid `[u8]`;
//! - [`Reserved`] hands every call on as it came, at most a few times, until one is answered.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use crate::reserve::{self, Reserved};
use crate::sync::Arc;

/// What the system keeps in one large page, and its alignment.
const SLAB: usize = 2 << 20;

/// The bytes of one page, owned alone, as a boxed slice is.
pub struct PageMemory {
    start: NonNull<u8>,
    size: usize,
    /// The slab it is a part of; none where it is a box of its own.
    home: Option<Arc<Mapping>>,
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
struct Mapping {
    start: NonNull<u8>,
}

// SAFETY: it is an address and a length; its bytes are used through its parts only.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

#[cfg(target_os = "linux")]
impl Mapping {
    /// None where the system gives none.
    fn map() -> Option<Mapping> {
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
        NonNull::new(start).map(|start| Mapping { start })
    }
}

#[cfg(not(target_os = "linux"))]
impl Mapping {
    fn map() -> Option<Mapping> {
        None
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        #[cfg(target_os = "linux")]
        // SAFETY: the mapping is this value's, and no part of it is left.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), SLAB) };
    }
}

/// A large page of memory, given out in parts.
pub(super) struct Slab {
    mapping: Arc<Mapping>,
    /// Bytes that are given out.
    used: usize,
}

impl Slab {
    /// None where the system gives none.
    pub fn map() -> Option<Slab> {
        Some(Slab { mapping: Arc::new(Mapping::map()?), used: 0 })
    }

    /// Zeros that nobody else has; none where less than that is left.
    pub fn part(&mut self, size: usize) -> Option<PageMemory> {
        if size > SLAB - self.used {
            return None;
        }
        // SAFETY: it ends within the mapping, and begins where the part before it ends.
        let start = unsafe { self.mapping.start.add(self.used) };
        self.used += size;
        Some(PageMemory { start, size, home: Some(Arc::clone(&self.mapping)) })
    }
}

impl PageMemory {
    #[cfg(test)]
    pub(super) fn is_of_slab(&self) -> bool {
        self.home.is_some()
    }

    /// What tells whether its slab is still mapped; none where it is a box of its own.
    #[cfg(test)]
    pub(super) fn watch(&self) -> Option<impl Fn() -> usize + use<>> {
        let mapping = Arc::downgrade(self.home.as_ref()?);
        Some(move || mapping.strong_count())
    }
}

/// Asks again for each piece that is given back, until there is an answer.
fn insist(bytes: usize, mut ask: impl FnMut() -> *mut u8) -> *mut u8 {
    let mut at = ask();
    while at.is_null() && bytes <= reserve::PIECE && reserve::give_back() {
        at = ask();
    }
    at
}

// SAFETY: every answer is the one of the allocator below, to the very call that came; a call that was
// refused changes nothing.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Reserved<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        insist(layout.size(), || unsafe { self.0.alloc(layout) })
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        insist(layout.size(), || unsafe { self.0.alloc_zeroed(layout) })
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        insist(size, || unsafe { self.0.realloc(at, layout, size) })
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { self.0.dealloc(at, layout) }
    }
}
