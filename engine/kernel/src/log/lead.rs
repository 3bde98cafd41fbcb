//! Who leads a flush of the log, and who waits for it.
//!
//! One leads at a time. Who comes meanwhile waits on a condition of its own, so that nobody is woken
//! in vain, until the leader has reached its position or hands it the lead. Threads that commit again
//! and again come back a moment after they were woken: so a leader first waits, among the others, for
//! those who were there at the last sync. The last of them leads in its place, for it runs already:
//! to wake the one that waits would keep the medium waiting too.

use std::time::{Duration, Instant};

use crate::sync::{Arc, Condvar, Mutex};

/// Nobody waits for others where a sync takes no longer: to sleep and be woken takes as long.
const BRIEF_SYNC: Duration = Duration::from_micros(50);

/// The longest that a leader waits for others to come, whatever a sync takes.
const MOST_PATIENCE: Duration = Duration::from_millis(1);

/// After waits in vain so many flushes at most go without one.
const MOST_SKIPPED: u32 = 64;

/// How long others are waited for, where a sync usually takes so long: what it saves is a second
/// sync, and the wake of the one that leads it.
pub(super) fn patience(usual: Duration) -> Duration {
    (usual + BRIEF_SYNC).min(MOST_PATIENCE)
}

/// Who leads a flush, and who waits for one; under a mutex of its own.
#[derive(Default)]
pub(super) struct Lead {
    pub is_led: bool,
    /// In the order in which they came.
    waiting: Vec<Waiter>,
    /// Threads that the last sync served, and those that waited at its end.
    company: usize,
    gathering: Option<Gathering>,
    /// Flushes that do not wait for others, and how many the next wait in vain adds.
    skipped: u32,
    skips: u32,
}

/// The leader waits among the others until so many have come; the last of them leads.
struct Gathering {
    wanted: usize,
    turn: Arc<Turn>,
}

/// One that waits for a position to be written or synced.
pub(super) struct Waiter {
    pub lsn: u64,
    pub sync: bool,
    turn: Arc<Turn>,
}

/// How a waiter learns that its wait is over. Its mutex is its own too: those who are woken together
/// do not meet again at that of [`Lead`].
#[derive(Default)]
pub(super) struct Turn {
    /// Set when it is called: whether it is to lead; nobody else does until it has.
    leads: Mutex<Option<bool>>,
    signal: Condvar,
}

impl Turn {
    /// Waits for the call; true where it is to lead.
    pub fn wait(&self) -> bool {
        let mut leads = self.leads.lock();
        loop {
            match *leads {
                Some(leads) => return leads,
                None => self.signal.wait(&mut leads),
            }
        }
    }

    /// As [`Turn::wait`]; `None` where it was not called in time.
    pub fn wait_until(&self, due: Instant) -> Option<bool> {
        let mut leads = self.leads.lock();
        while leads.is_none() && !self.signal.wait_until(&mut leads, due).timed_out() {}
        *leads
    }

    pub fn call(&self, leads: bool) {
        *self.leads.lock() = Some(leads);
        self.signal.notify_one();
    }
}

impl Lead {
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    #[cfg(test)]
    pub fn has_waited_in_vain(&self) -> bool {
        self.skips > 0
    }

    pub fn join(&mut self, lsn: u64, sync: bool) -> Arc<Turn> {
        let turn = Arc::new(Turn::default());
        self.waiting.push(Waiter { lsn, sync, turn: Arc::clone(&turn) });
        turn
    }

    /// The leader waits for those who were there at the last sync, unless enough are there, or that
    /// was in vain of late.
    pub fn gather(&mut self, lsn: u64, usual: Duration) -> Option<Arc<Turn>> {
        let wanted = self.company.saturating_sub(1);
        if self.waiting.len() >= wanted || usual <= BRIEF_SYNC {
            return None;
        }
        if self.skipped > 0 {
            self.skipped -= 1;
            return None;
        }
        let turn = self.join(lsn, true);
        self.gathering = Some(Gathering { wanted, turn: Arc::clone(&turn) });
        Some(turn)
    }

    /// Takes the lead of one that gathers, for the last that it waits for.
    pub fn complete(&mut self) -> bool {
        let is_last = |gathering: &mut Gathering| self.waiting.len() >= gathering.wanted;
        let completes = self.gathering.take_if(is_last).is_some();
        if completes {
            self.skips = 0;
        }
        completes
    }

    /// Ends the wait of one that gathers; false where another one has taken the lead.
    pub fn give_up(&mut self, turn: &Arc<Turn>) -> bool {
        let is_mine = |gathering: &mut Gathering| Arc::ptr_eq(&gathering.turn, turn);
        let leads = self.gathering.take_if(is_mine).is_some();
        if leads {
            self.waiting.retain(|waiter| !Arc::ptr_eq(&waiter.turn, turn));
            self.skips = (self.skips * 2).clamp(1, MOST_SKIPPED);
            self.skipped = self.skips;
        }
        leads
    }

    /// Ends a lead: takes those out who are through, the next leader first where there is one. The
    /// caller calls each, as it is told to lead or not, without the mutex.
    pub fn pass_on(&mut self, is_through: impl Fn(&Waiter) -> bool) -> Vec<(Arc<Turn>, bool)> {
        self.company = self.waiting.len() + 1;
        let (through, mut left): (Vec<Waiter>, Vec<Waiter>) =
            std::mem::take(&mut self.waiting).into_iter().partition(is_through);
        // A sync is a write too: it serves those who wait for one only.
        let next = left.iter().position(|waiter| waiter.sync).unwrap_or(0);
        let next = (next < left.len()).then(|| left.remove(next));
        self.is_led = next.is_some();
        self.waiting = left;
        let next = next.map(|waiter| (waiter.turn, true)).into_iter();
        next.chain(through.into_iter().map(|waiter| (waiter.turn, false))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(waiting: &[(u64, bool)]) -> (Lead, Vec<Arc<Turn>>) {
        let turns: Vec<Arc<Turn>> = waiting.iter().map(|_| Arc::default()).collect();
        let waiter = |(&(lsn, sync), turn): (&(u64, bool), &Arc<Turn>)| Waiter {
            lsn,
            sync,
            turn: Arc::clone(turn),
        };
        let waiting = waiting.iter().zip(&turns).map(waiter).collect();
        (Lead { is_led: true, waiting, ..Lead::default() }, turns)
    }

    #[test]
    fn the_lead_goes_to_one_that_waits_for_a_sync_before_the_others_are_woken() {
        let (mut lead, turns) = lead(&[(10, true), (90, false), (20, true), (80, true), (95, true)]);
        let called = lead.pass_on(|waiter| waiter.lsn <= 50);
        let expected = [(&turns[3], true), (&turns[0], false), (&turns[2], false)];
        assert_eq!(called.len(), expected.len());
        for ((turn, leads), (expected, should_lead)) in called.iter().zip(expected) {
            assert!(Arc::ptr_eq(turn, expected) && *leads == should_lead);
        }
        assert_eq!((lead.waiting(), lead.is_led), (2, true));
    }

    #[test]
    fn nobody_leads_where_nobody_waits_any_more() {
        let (mut lead, _) = lead(&[(10, true), (20, false)]);
        let called = lead.pass_on(|_| true);
        assert!(called.len() == 2 && called.iter().all(|(_, leads)| !leads));
        assert!(!lead.is_led && lead.pass_on(|_| true).is_empty());
    }

    const USUAL: Duration = Duration::from_millis(1);

    /// A leader, where so many were there at the last sync.
    fn alone_of(company: usize) -> Lead {
        Lead { is_led: true, company, ..Lead::default() }
    }

    #[test]
    fn the_last_that_is_waited_for_leads_in_the_place_of_the_one_that_waits() {
        let mut lead = alone_of(3);
        let turn = lead.gather(10, USUAL).expect("two others were there");
        assert!(!lead.complete());
        lead.join(20, true);
        assert!(lead.complete(), "it is the third");
        assert!(lead.is_led && !lead.complete(), "one alone takes the lead");
        assert!(!lead.give_up(&turn), "who waited leads no more");
        let called = lead.pass_on(|_| true);
        assert_eq!(called.len(), 2);
        assert!(Arc::ptr_eq(&called[0].0, &turn) && !called[0].1);
        assert_eq!(lead.company, 3);
    }

    #[test]
    fn who_waits_in_vain_leads_and_the_next_leaders_wait_ever_more_seldom() {
        let mut lead = alone_of(2);
        let mut without = Vec::new();
        for _ in 0..8 {
            let turn = lead.gather(10, USUAL).expect("nothing is to be skipped");
            assert!(lead.give_up(&turn) && lead.waiting() == 0);
            without.push(
                (0..).take_while(|_| lead.skipped > 0 && lead.gather(10, USUAL).is_none()).count(),
            );
        }
        assert_eq!(without, [1, 2, 4, 8, 16, 32, 64, 64]);
        lead.gather(10, USUAL).expect("nothing is to be skipped");
        lead.join(20, true);
        assert!(lead.complete() && lead.skips == 0, "they came again");
    }

    #[test]
    fn nobody_is_waited_for_by_one_alone_nor_where_all_are_there_or_a_sync_is_brief() {
        assert!(alone_of(1).gather(10, USUAL).is_none());
        let mut there = alone_of(3);
        there.join(20, true);
        there.join(30, true);
        assert!(there.gather(10, USUAL).is_none());
        assert!(alone_of(3).gather(10, BRIEF_SYNC).is_none());
    }
}
