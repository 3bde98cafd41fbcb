//! An allocator that refuses: what goes beyond a budget, or large pieces from a certain one on.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use _kernel::reserve::{PIECE, Reserved};

pub struct Budget;

static NOW: AtomicI64 = AtomicI64::new(0);
static MOST: AtomicI64 = AtomicI64::new(0);
static LIMIT: AtomicI64 = AtomicI64::new(i64::MAX);
static REFUSED: AtomicU64 = AtomicU64::new(0);
/// Large pieces that were asked for, and from which one on they are refused.
static LARGE: AtomicU64 = AtomicU64::new(0);
static FIRST_REFUSED: AtomicU64 = AtomicU64::new(u64::MAX);

/// Takes so many bytes of the budget; false where it has them not.
fn take(bytes: i64) -> bool {
    let now = NOW.fetch_add(bytes, Relaxed) + bytes;
    if bytes > 0 && (now > LIMIT.load(Relaxed) || is_refused(bytes as usize)) {
        NOW.fetch_sub(bytes, Relaxed);
        REFUSED.fetch_add(1, Relaxed);
        return false;
    }
    MOST.fetch_max(now, Relaxed);
    true
}

/// Smaller ones cannot be refused for ever: what is set aside is for them.
fn is_refused(bytes: usize) -> bool {
    bytes >= PIECE && LARGE.fetch_add(1, Relaxed) >= FIRST_REFUSED.load(Relaxed)
}

// SAFETY: what is not refused is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Budget {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !take(layout.size() as i64) {
            return std::ptr::null_mut();
        }
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        take(-(layout.size() as i64));
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Reserved<Budget> = Reserved(Budget);

/// What refuses here refuses every thread: one test at a time.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does `work`, and refuses every large piece from the one of this number on. Returns how many were asked
/// for.
pub fn without_large<T>(first_refused: u64, work: impl FnOnce() -> T) -> (u64, T) {
    LARGE.store(0, Relaxed);
    FIRST_REFUSED.store(first_refused, Relaxed);
    let done = work();
    FIRST_REFUSED.store(u64::MAX, Relaxed);
    (LARGE.load(Relaxed), done)
}

/// Does `work` with at most so many bytes beyond those that are there now. Returns how many times memory
/// was refused, and how much there was at most beyond that.
pub fn within<T>(budget: i64, work: impl FnOnce() -> T) -> (u64, i64, T) {
    let before = NOW.load(Relaxed);
    MOST.store(before, Relaxed);
    REFUSED.store(0, Relaxed);
    LIMIT.store(before.saturating_add(budget), Relaxed);
    let done = work();
    LIMIT.store(i64::MAX, Relaxed);
    (REFUSED.load(Relaxed), MOST.load(Relaxed) - before, done)
}
