//! The stop of all changes while damage that nothing could repair is about: reads, rollbacks and the
//! repair itself go on. It ends when whoever began it says so.

use crate::error::Error;
use crate::sync::{AtomicBool, Mutex, Ordering};

/// Whether changes are stopped, and what whoever tries is told.
#[derive(Default)]
pub struct Halt {
    /// Whether there is a reason, for those who look at each change; changed under its mutex only.
    is_on: AtomicBool,
    why: Mutex<Option<Error>>,
}

impl Halt {
    /// Stops changes from now on, and commits of what was changed before. The first reason stays.
    pub fn begin(&self, why: Error) {
        let mut reason = self.why.lock();
        reason.get_or_insert(why);
        self.is_on.store(true, Ordering::SeqCst);
    }

    /// Takes changes again.
    pub fn lift(&self) {
        let mut reason = self.why.lock();
        *reason = None;
        self.is_on.store(false, Ordering::SeqCst);
    }

    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::SeqCst)
    }

    /// Why changes are stopped; `None` where they are not.
    pub fn why(&self) -> Option<Error> {
        self.why.lock().clone()
    }
}
