//! Where commits wait for mirrors, and mirrors for the log.
//!
//! A mirror that is kept in step has an entry here: how far it has the log, on its own medium. A
//! commit counts once every one of them has it. A mirror that does not answer in time is given up,
//! so that the database goes on alone, or the commit gets `MirrorNotReached`, as set: it is durable
//! here all the same.

use std::time::{Duration, Instant};

use crate::error::{Code, Error, Result};
use crate::sync::{AtomicBool, Condvar, Mutex, Ordering};
use crate::types::Lsn;

/// What a commit does when a mirror that is kept in step does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    pub time: Duration,
    /// After that the database goes on without the mirror.
    pub gives_up: bool,
}

impl Default for Patience {
    fn default() -> Self {
        Patience { time: Duration::from_secs(10), gives_up: true }
    }
}

#[derive(Default)]
struct State {
    /// By the mirror's number.
    in_step: Vec<(u64, Lsn)>,
    patience: Patience,
}

/// See the module's documentation. No other lock is taken while its own is held.
#[derive(Default)]
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
    /// For who waits for time to pass, or for the end: a flush wakes none of them.
    naps: Condvar,
    /// Somebody waits for the log to grow, or must be waited for.
    is_watched: AtomicBool,
    holds_commits: AtomicBool,
}

impl Gate {
    pub fn set_patience(&self, patience: Patience) {
        self.state.lock().patience = patience;
    }

    pub fn patience(&self) -> Patience {
        self.state.lock().patience
    }

    /// From now on [`Gate::await_growth`] is woken by each flush.
    pub fn watch(&self) {
        self.is_watched.store(true, Ordering::Release);
    }

    /// To be called after the log became durable further; costs one load where nobody watches.
    pub fn note_durable(&self) {
        if self.is_watched.load(Ordering::Acquire) {
            // Under the mutex, so that whoever has just looked and is about to wait hears of it.
            drop(self.state.lock());
            self.changed.notify_all();
        }
    }

    /// Wakes whoever waits here, for reasons of its own.
    pub fn wake(&self) {
        drop(self.state.lock());
        self.changed.notify_all();
        self.naps.notify_all();
    }

    /// Returns at `due`, or when `is_over`, which is asked after each [`Gate::wake`].
    pub fn nap(&self, due: Instant, is_over: impl Fn() -> bool) {
        let mut state = self.state.lock();
        while !is_over() && !self.naps.wait_until(&mut state, due).timed_out() {}
    }

    /// Returns when `is_ready`, at the latest at `due`.
    pub fn await_growth(&self, due: Instant, is_ready: impl Fn() -> bool) {
        let mut state = self.state.lock();
        while !is_ready() && !self.changed.wait_until(&mut state, due).timed_out() {}
    }

    /// The mirror has the log up to `lsn`; commits beyond it wait for it from now on.
    pub fn keep_in_step(&self, mirror: u64, lsn: Lsn) {
        let mut state = self.state.lock();
        match state.in_step.iter_mut().find(|(number, _)| *number == mirror) {
            Some((_, reached)) => *reached = lsn.max(*reached),
            None => state.in_step.push((mirror, lsn)),
        }
        self.holds_commits.store(true, Ordering::Release);
        drop(state);
        self.changed.notify_all();
    }

    /// Nobody waits for this mirror any more.
    pub fn let_go(&self, mirror: u64) {
        let mut state = self.state.lock();
        state.in_step.retain(|(number, _)| *number != mirror);
        self.holds_commits.store(!state.in_step.is_empty(), Ordering::Release);
        drop(state);
        self.changed.notify_all();
    }

    /// False once a commit has given it up.
    pub fn is_in_step(&self, mirror: u64) -> bool {
        self.state.lock().in_step.iter().any(|(number, _)| *number == mirror)
    }

    /// Where mirrors that do not answer are not given up.
    pub fn is_strict(&self) -> bool {
        !self.state.lock().patience.gives_up
    }

    /// Returns once every mirror that is kept in step has the log up to `lsn`, which is durable.
    ///
    /// `MirrorNotReached` where one has not in time and is not given up.
    pub fn await_mirrors(&self, lsn: Lsn) -> Result<()> {
        if !self.holds_commits.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut state = self.state.lock();
        let Patience { time, gives_up } = state.patience;
        let due = Instant::now() + time;
        while state.in_step.iter().any(|(_, reached)| *reached < lsn) {
            if !self.changed.wait_until(&mut state, due).timed_out() {
                continue;
            }
            if !gives_up && state.in_step.iter().any(|(_, reached)| *reached < lsn) {
                return Err(
                    Error::new(Code::MirrorNotReached).with("waited_seconds", time.as_secs_f64())
                );
            }
            state.in_step.retain(|(_, reached)| *reached >= lsn);
            self.holds_commits.store(!state.in_step.is_empty(), Ordering::Release);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn gate(gives_up: bool) -> Gate {
        let gate = Gate::default();
        gate.set_patience(Patience { time: Duration::from_millis(5), gives_up });
        gate
    }

    #[test]
    fn nobody_waits_where_no_mirror_is_kept_in_step() {
        gate(false).await_mirrors(Lsn(700)).unwrap();
    }

    #[test]
    fn a_commit_waits_for_the_slowest_mirror() {
        let gate = gate(false);
        gate.keep_in_step(1, Lsn(900));
        gate.keep_in_step(2, Lsn(600));
        assert_eq!(gate.await_mirrors(Lsn(700)).unwrap_err().code, Code::MirrorNotReached);
        gate.set_patience(Patience { time: Duration::from_secs(60), gives_up: false });
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| gate.await_mirrors(Lsn(700)));
            gate.keep_in_step(2, Lsn(700));
            waiting.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_mirror_that_does_not_answer_is_given_up_where_that_is_set() {
        let gate = gate(true);
        gate.keep_in_step(1, Lsn(900));
        gate.keep_in_step(2, Lsn(600));
        gate.await_mirrors(Lsn(700)).unwrap();
        assert!(gate.is_in_step(1) && !gate.is_in_step(2));
        gate.let_go(1);
        gate.await_mirrors(Lsn(9000)).unwrap();
    }
}
