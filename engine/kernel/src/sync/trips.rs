//! Panics on demand: a test names a place, and the thread that armed it panics there.

use std::cell::Cell;

thread_local! {
    static ARMED: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// The next time that this thread comes to `place`, it panics.
pub fn arm(place: &'static str) {
    ARMED.set(Some(place));
}

/// Panics where this thread was told to.
pub fn trip(place: &'static str) {
    if ARMED.get() == Some(place) {
        ARMED.set(None);
        panic!("tripped at {place}");
    }
}
