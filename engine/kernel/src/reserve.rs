//! Memory set aside for what cannot be refused.
//!
//! Where the size of something is named by others, it is asked for through `memory`, and `OutOfMemory`
//! is the answer where there is none. What is left are small things, a node of a map, an entry of a list,
//! for which Rust's library ends the process when they find no room. So pieces are set aside beforehand:
//! where the system refuses something small, one of them is given back to it, and it is asked again. From
//! then on changes are refused ([`ensure`]) until all pieces could be set aside once more; what brings
//! transactions to their end goes on meanwhile.

// An allocator cannot be written without. This one hands every call on as it came, at most twice.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use crate::error::{Code, Error, Result};

/// So large is each piece; what is asked for without a way to refuse it is smaller.
pub const PIECE: usize = 256 << 10;
const PIECES: usize = 16;
/// So large that the system has it back as soon as it is given up.
const LAYOUT: Layout = match Layout::from_size_align(PIECE, 16) {
    Ok(layout) => layout,
    Err(_) => Layout::new::<u128>(),
};

static ASIDE: [AtomicPtr<u8>; PIECES] = [const { AtomicPtr::new(null_mut()) }; PIECES];
static IS_LOW: AtomicBool = AtomicBool::new(false);

/// An allocator that has pieces set aside, over the one that has the memory.
pub struct Reserved<A>(pub A);

#[cfg(feature = "extension-module")]
#[global_allocator]
static ALLOCATOR: Reserved<std::alloc::System> = Reserved(std::alloc::System);

/// `OutOfMemory` where pieces were needed and cannot be set aside again. Costs one look at a flag else.
pub fn ensure(operation: &str) -> Result<()> {
    if !IS_LOW.load(Ordering::Relaxed) || set_aside() {
        return Ok(());
    }
    Err(Error::new(Code::OutOfMemory).with("operation", operation))
}

/// Sets aside what is lacking; false where there is no memory for it.
pub fn set_aside() -> bool {
    for place in &ASIDE {
        if !place.load(Ordering::Acquire).is_null() {
            continue;
        }
        let mut piece = Vec::<u128>::new();
        if piece.try_reserve_exact(PIECE / size_of::<u128>()).is_err() {
            return false;
        }
        let piece = std::mem::ManuallyDrop::new(piece).as_mut_ptr().cast::<u8>();
        let kept = place.compare_exchange(null_mut(), piece, Ordering::AcqRel, Ordering::Relaxed);
        if kept.is_err() {
            // SAFETY: it was made just now with this layout, and nobody else has seen it.
            unsafe { std::alloc::dealloc(piece, LAYOUT) };
        }
    }
    IS_LOW.store(false, Ordering::Relaxed);
    true
}

impl<A: GlobalAlloc> Reserved<A> {
    /// Asks once more for each piece that is given back, until there is an answer.
    fn insist(&self, bytes: usize, mut ask: impl FnMut() -> *mut u8) -> *mut u8 {
        if bytes >= PIECE {
            return null_mut();
        }
        for place in &ASIDE {
            let piece = place.swap(null_mut(), Ordering::AcqRel);
            if piece.is_null() {
                continue;
            }
            IS_LOW.store(true, Ordering::Relaxed);
            // SAFETY: it was made by this allocator with this layout, and whoever swaps it out has it alone.
            unsafe { self.0.dealloc(piece, LAYOUT) };
            let at = ask();
            if !at.is_null() {
                return at;
            }
        }
        null_mut()
    }
}

// SAFETY: every answer is the one of the allocator below, to the very call that came.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Reserved<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let ask = || unsafe { self.0.alloc(layout) };
        let at = ask();
        if at.is_null() { self.insist(layout.size(), ask) } else { at }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let ask = || unsafe { self.0.alloc_zeroed(layout) };
        let at = ask();
        if at.is_null() { self.insist(layout.size(), ask) } else { at }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // One that was refused leaves what there was.
        let ask = || unsafe { self.0.realloc(at, layout, size) };
        let moved = ask();
        if moved.is_null() { self.insist(size, ask) } else { moved }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { self.0.dealloc(at, layout) }
    }
}
