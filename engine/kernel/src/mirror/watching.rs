//! Who looks whether a mirror answers, and waits for its threads no longer than it may.

use std::time::{Duration, Instant};

use super::follower::{Follower, Phase};
use crate::error::{Code, Error};
use crate::sync::{Condvar, Mutex};

/// How often somebody who waits for threads looks at their disk.
const LOOK: Duration = Duration::from_millis(100);

/// The threads of one mirror that have not ended.
#[derive(Default)]
pub struct Running {
    count: Mutex<usize>,
    ended: Condvar,
}

/// One thread; it has ended when this is dropped.
pub struct Turn<'r>(&'r Running);

impl Running {
    /// To be called before the thread is begun.
    pub fn expect_one(&self) {
        *self.count.lock() += 1;
    }

    /// A thread that was expected has begun, or will never.
    pub fn begun(&self) -> Turn<'_> {
        Turn(self)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.count.lock() -= 1;
        self.0.ended.notify_all();
    }
}

impl Follower {
    /// So long a call to the mirror's disk may take: as long as a commit waits.
    pub(super) fn patience(&self) -> Duration {
        self.source.shared.core.log.gate().patience().time
    }

    /// False where a call to its disk has not come back in time.
    pub(super) fn is_answering(&self) -> bool {
        self.pulse.pending() < self.patience()
    }

    /// Notes that the mirror is lost where its disk does not answer; touches no disk.
    pub fn look_after(&self) {
        let waited = self.pulse.pending();
        if waited < self.patience() || self.facts.lock().phase == Phase::Lost {
            return;
        }
        let error = Error::new(Code::IoError)
            .with("operation", "reach the mirror")
            .with("path", self.path.as_str())
            .with(
                "os_error",
                format!("its disk has not answered for {} s", waited.as_secs_f64().round()),
            );
        self.note_phase(Phase::Lost, &error);
    }

    /// Waits until its threads have ended, after [`Follower::stop`]. One that is with the mirror's
    /// disk is waited for until `due`, or until that has not answered for the set time: then the disk
    /// is given up, and false is the answer.
    pub fn wait_ended(&self, due: Instant) -> bool {
        let mut count = self.running.count.lock();
        while *count > 0 {
            if !self.running.ended.wait_until(&mut count, Instant::now() + LOOK).timed_out() {
                continue;
            }
            let patience = if Instant::now() < due { self.patience() } else { Duration::ZERO };
            if *count > 0 && self.pulse.give_up(patience) {
                return false;
            }
        }
        true
    }
}
