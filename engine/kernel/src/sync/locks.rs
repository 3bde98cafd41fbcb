//! The locks of tests: those of parking_lot, of which a scheduled thread never waits for one, but
//! hands over and tries again.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::schedule::{chance, hand_over, until};

#[derive(Debug, Default)]
pub struct Mutex<T: ?Sized>(parking_lot::Mutex<T>);

/// `None` only while a condition is waited for, and on the way out.
pub struct MutexGuard<'a, T: ?Sized> {
    guard: Option<parking_lot::MutexGuard<'a, T>>,
    mutex: &'a parking_lot::Mutex<T>,
}

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Mutex<T> {
        Mutex(parking_lot::Mutex::new(value))
    }
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }
    fn wrap<'a>(&'a self, guard: parking_lot::MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        MutexGuard { guard: Some(guard), mutex: &self.0 }
    }
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.wrap(until(|| self.0.try_lock()).unwrap_or_else(|| self.0.lock()))
    }
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        hand_over();
        self.0.try_lock().map(|guard| self.wrap(guard))
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.guard.as_ref().expect("taken on the way out alone")
    }
}
impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_mut().expect("taken on the way out alone")
    }
}
impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        if self.guard.take().is_some() {
            hand_over();
        }
    }
}

/// Tells whether waiting ended by itself.
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

#[derive(Debug, Default)]
pub struct Condvar {
    inner: parking_lot::Condvar,
    waiting: AtomicU64,
    /// Scheduled threads that may go on.
    permits: AtomicU64,
}

impl Condvar {
    pub const fn new() -> Condvar {
        Condvar {
            inner: parking_lot::Condvar::new(),
            waiting: AtomicU64::new(0),
            permits: AtomicU64::new(0),
        }
    }

    pub fn notify_one(&self) {
        let waiting = self.waiting.load(Ordering::SeqCst);
        let permits = self.permits.load(Ordering::SeqCst);
        self.permits.store((permits + 1).min(waiting), Ordering::SeqCst);
        self.inner.notify_one();
        hand_over();
    }

    pub fn notify_all(&self) {
        self.permits.store(self.waiting.load(Ordering::SeqCst), Ordering::SeqCst);
        self.inner.notify_all();
        hand_over();
    }

    pub fn wait<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>) {
        if self.wait_scheduled(guard, 0).is_none()
            && let Some(inner) = &mut guard.guard
        {
            self.inner.wait(inner);
        }
    }

    /// In a schedule time passes when it is drawn to.
    pub fn wait_until<T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        due: Instant,
    ) -> WaitTimeoutResult {
        match (self.wait_scheduled(guard, 5), &mut guard.guard) {
            (Some(is_late), _) => WaitTimeoutResult(is_late),
            (None, Some(inner)) => WaitTimeoutResult(self.inner.wait_until(inner, due).timed_out()),
            (None, None) => WaitTimeoutResult(false),
        }
    }

    /// True where the time was up, in `late` of a thousand draws; `None` outside of a schedule.
    fn wait_scheduled<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>, late: u64) -> Option<bool> {
        chance(0)?;
        self.waiting.fetch_add(1, Ordering::SeqCst);
        guard.guard = None;
        let is_late = until(|| {
            let permits = self.permits.load(Ordering::SeqCst);
            if permits > 0 {
                self.permits.store(permits - 1, Ordering::SeqCst);
                return Some(false);
            }
            chance(late)?.then_some(true)
        });
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        let left = self.waiting.load(Ordering::SeqCst);
        self.permits.fetch_min(left, Ordering::SeqCst);
        let mutex = guard.mutex;
        guard.guard = Some(until(|| mutex.try_lock()).unwrap_or_else(|| mutex.lock()));
        is_late
    }
}

#[derive(Debug, Default)]
pub struct RwLock<T: ?Sized>(parking_lot::RwLock<T>);
pub struct RwLockReadGuard<'a, T: ?Sized>(Option<parking_lot::RwLockReadGuard<'a, T>>);
pub struct RwLockWriteGuard<'a, T: ?Sized>(Option<parking_lot::RwLockWriteGuard<'a, T>>);

impl<T> RwLock<T> {
    pub const fn new(value: T) -> RwLock<T> {
        RwLock(parking_lot::RwLock::new(value))
    }
}

impl<T: ?Sized> RwLock<T> {
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        RwLockReadGuard(Some(until(|| self.0.try_read()).unwrap_or_else(|| self.0.read())))
    }
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        RwLockWriteGuard(Some(until(|| self.0.try_write()).unwrap_or_else(|| self.0.write())))
    }
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        hand_over();
        self.0.try_read().map(|guard| RwLockReadGuard(Some(guard)))
    }
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        hand_over();
        self.0.try_write().map(|guard| RwLockWriteGuard(Some(guard)))
    }
}

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    pub fn downgrade(mut this: Self) -> RwLockReadGuard<'a, T> {
        RwLockReadGuard(this.0.take().map(parking_lot::RwLockWriteGuard::downgrade))
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0.as_ref().expect("taken on the way out alone")
    }
}
impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0.as_ref().expect("taken on the way out alone")
    }
}
impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("taken on the way out alone")
    }
}
impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    fn drop(&mut self) {
        if self.0.take().is_some() {
            hand_over();
        }
    }
}
impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    fn drop(&mut self) {
        if self.0.take().is_some() {
            hand_over();
        }
    }
}
