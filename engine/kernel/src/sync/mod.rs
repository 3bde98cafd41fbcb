//! Every lock and atomic of the kernel comes from here, so that in tests a seeded scheduler can
//! take their place: see `schedule`, where each lock taken, given up or waited for is a point at
//! which another thread may go on. Threads that no scheduler runs use the locks as they are.

pub use std::sync::Arc;
pub use std::sync::atomic::{
    AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};

use std::thread::{Scope, ScopedJoinHandle};

use crate::error::{Code, Error, Result};

#[cfg(not(test))]
pub use parking_lot::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
#[cfg(not(test))]
pub use std::thread::{sleep, yield_now};

#[cfg(test)]
mod locks;
#[cfg(test)]
pub mod schedule;
#[cfg(test)]
pub mod trips;
pub mod turnstile;

#[cfg(test)]
pub use locks::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
#[cfg(test)]
pub use schedule::{hand_over as race_point, sleep, yield_now};
#[cfg(test)]
pub use trips::trip;

/// A place where a test may have the thread panic; nothing outside of tests.
#[cfg(not(test))]
#[inline(always)]
pub fn trip(_place: &'static str) {}

/// Between two steps with atomics, a point at which the scheduler of a test may have another thread
/// go on; nothing outside of tests.
#[cfg(not(test))]
#[inline(always)]
pub fn race_point() {}

/// A thread that ends before its scope does; `OutOfMemory` where the system has none to give.
pub fn begin_scoped<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>> {
    let begun = std::thread::Builder::new().spawn_scoped(scope, work);
    begun.map_err(|_| Error::new(Code::OutOfMemory).with("operation", "begin a thread"))
}

/// Attempts before [`soon`] gives up: some two microseconds.
const ATTEMPTS: u32 = 32;

/// Tries for a moment, as long as somebody may need to leave a short section. For those who hold
/// the interpreter's lock: to hand that over and wait for its return takes far longer.
pub fn soon<T>(mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    for _ in 0..ATTEMPTS {
        if let Some(got) = attempt() {
            return Some(got);
        }
        std::hint::spin_loop();
    }
    None
}
