//! One after the other into a section that is short nearly always, without a promise.
//!
//! Threads that were woken together would meet at a lock whose waiters sleep: each goes to sleep
//! once more and has to be woken again, which takes far longer than the section. Here the next
//! one spins for a moment until the section is free, and goes to that lock only then. Nobody relies
//! on it: who has spun long enough goes on, a holder that stays away is passed over, and only one
//! thread spins at a time.

use std::time::{Duration, Instant};

use super::{AtomicBool, AtomicU64, Ordering};

/// Looks between two readings of the clock.
const LOOKS: u32 = 16;

pub struct Turnstile {
    epoch: Instant,
    patience: u64,
    /// When the one inside came, in nanoseconds since the epoch; 0 where nobody is inside.
    since: AtomicU64,
    has_spinner: AtomicBool,
}

/// Says which entry is to be ended by [`Turnstile::leave`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry(u64);

impl Turnstile {
    /// Nobody spins for longer than `patience`, nor is a holder waited for beyond it. With none,
    /// nobody ever spins: for a machine that runs one thread at a time.
    pub fn new(patience: Duration) -> Turnstile {
        Turnstile {
            epoch: Instant::now(),
            patience: patience.as_nanos() as u64,
            since: AtomicU64::new(0),
            has_spinner: AtomicBool::new(false),
        }
    }

    /// Comes in, after a moment at most; `None` for one that goes on without.
    pub fn enter(&self) -> Option<Entry> {
        let begun = self.now();
        if let Some(entry) = self.try_enter(begun) {
            return Some(entry);
        }
        if self.patience == 0 || self.has_spinner.swap(true, Ordering::AcqRel) {
            return None;
        }
        let entry = self.spin(begun);
        self.has_spinner.store(false, Ordering::Release);
        entry
    }

    fn spin(&self, begun: u64) -> Option<Entry> {
        loop {
            let looks = |_| {
                self.since.load(Ordering::Relaxed) == 0 || {
                    std::hint::spin_loop();
                    false
                }
            };
            (0..LOOKS).any(looks);
            let now = self.now();
            if let Some(entry) = self.try_enter(now) {
                return Some(entry);
            }
            if now - begun > self.patience {
                return None;
            }
        }
    }

    fn try_enter(&self, now: u64) -> Option<Entry> {
        let since = self.since.load(Ordering::Acquire);
        let is_free = since == 0 || now.saturating_sub(since) > self.patience;
        let enters =
            || self.since.compare_exchange(since, now, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        (is_free && enters()).then_some(Entry(now))
    }

    /// Lets the next one in, unless it has passed this entry over.
    pub fn leave(&self, entry: Entry) {
        let _ = self.since.compare_exchange(entry.0, 0, Ordering::Release, Ordering::Relaxed);
    }

    /// Never 0, and never before what this thread was told earlier.
    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOR_EVER: Duration = Duration::from_secs(3600);

    #[test]
    fn the_next_one_comes_in_when_the_one_inside_has_left() {
        let stile = Turnstile::new(FOR_EVER);
        let has_left = AtomicBool::new(false);
        let first = stile.enter().expect("it is free, or passed over");
        std::thread::scope(|scope| {
            let second = scope.spawn(|| {
                let entry = stile.enter();
                assert!(has_left.load(Ordering::Acquire));
                entry
            });
            while !stile.has_spinner.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            assert_eq!(stile.enter(), None, "only one spins");
            has_left.store(true, Ordering::Release);
            stile.leave(first);
            assert!(second.join().is_ok_and(|entry| entry.is_some()));
        });
    }

    #[test]
    fn one_that_stays_inside_is_passed_over_and_ends_no_entry_but_its_own() {
        let stile = Turnstile::new(Duration::from_micros(50));
        let first = stile.enter().expect("it is free, or passed over");
        let second = stile.enter().expect("it is free, or passed over");
        stile.leave(first);
        assert_eq!(stile.since.load(Ordering::Acquire), second.0);
        stile.leave(second);
        assert_eq!(stile.since.load(Ordering::Acquire), 0);
    }

    #[test]
    fn nobody_spins_where_there_is_no_patience() {
        let stile = Turnstile::new(Duration::ZERO);
        // Whoever is inside, nobody waits for it: either it is passed over, or nobody comes in.
        assert!(stile.enter().is_some());
        let _ = stile.enter();
        assert!(!stile.has_spinner.load(Ordering::Acquire));
    }
}
