//! The lock table: who holds what, who waits for whom, and how a wait ends.
//!
//! Invariants, under the table's mutex: a transaction waits in at most one place; a wait
//! without an outcome stands in exactly one queue or one holder's list of followers; a
//! queue without holders and waiters is not kept.

use std::time::{Duration, Instant};

use super::deadlock::{choose_victim, find_cycle};
use super::inspect::Story;
use super::queue::{Answer, Queue, Request};
use super::ranges::{MOST_INTERVALS, RangeLocks};
use super::{LockCounters, LockOptions, Mode, Resource, Work};
use crate::error::{Code, Error, Result};
use crate::events::EventQueue;
use crate::hash::FastMap;
use crate::stats::{Counter, Stats, Timed};
use crate::sync::{Arc, Condvar, Mutex, MutexGuard};
use crate::types::TxnId;

/// Locks of one database. Every method may be called from any thread.
pub struct LockTable {
    options: LockOptions,
    pub(super) state: Mutex<State>,
    pub(super) ranges: RangeLocks,
    stats: Arc<Stats>,
    events: Arc<EventQueue>,
}

#[derive(Default)]
pub(super) struct State {
    pub participants: FastMap<TxnId, Participant>,
    pub queues: FastMap<Resource, Queue>,
    counters: LockCounters,
    /// Why nobody may wait any more.
    failed: Option<Error>,
}

pub(super) struct Participant {
    work: Arc<dyn Work>,
    pub held: Vec<Resource>,
    wait: Option<Wait>,
    doomed: Option<Error>,
    /// Those who wait for its end.
    followers: Vec<TxnId>,
}

pub(super) struct Wait {
    pub resource: Resource,
    pub mode: Mode,
    pub place: Place,
    pub since: Instant,
    /// Set by whoever ends the wait; the waiting thread takes it away.
    outcome: Option<Result<()>>,
    signal: Arc<Condvar>,
}

#[derive(Clone, Copy)]
pub(super) enum Place {
    Queue,
    Behind { holder: TxnId },
}

impl LockTable {
    pub fn new(options: LockOptions, stats: Arc<Stats>, events: Arc<EventQueue>) -> Self {
        let ranges = RangeLocks::new(MOST_INTERVALS);
        LockTable { options, state: Mutex::new(State::default()), ranges, stats, events }
    }

    /// Locks on ranges of keys. Waiting for one is [`LockTable::wait_behind`] its holder.
    pub fn ranges(&self) -> &RangeLocks {
        &self.ranges
    }

    /// Makes a transaction known. Only known ones can hold, wait, or be waited for.
    pub fn register(&self, txn: TxnId, work: Arc<dyn Work>) {
        self.state.lock().participants.insert(txn, Participant::new(work));
    }

    /// Forgets a transaction that has committed or been rolled back: releases its locks and
    /// wakes those who wait for its stamps. A wait of its own ends with `TransactionEnded`.
    pub fn ended(&self, txn: TxnId) {
        self.ranges.release(txn);
        self.state.lock().ended(txn);
    }

    /// Locks `resource`, waiting at most `timeout` (the table's own where it is `None`).
    ///
    /// A lock that is held already is upgraded to the join of both modes. Raises `Deadlock`
    /// where this transaction has to give way, `LockTimeout`, or what it was doomed with.
    pub fn acquire(
        &self,
        txn: TxnId,
        resource: Resource,
        mode: Mode,
        timeout: Option<Duration>,
    ) -> Result<()> {
        let mut state = self.state.lock();
        let Some(request) = state.request(txn, &resource, mode)? else { return Ok(()) };
        state.queues.entry(resource.clone()).or_default().enqueue(request);
        self.wait(state, txn, Wait::new(resource, request.mode, Place::Queue), timeout)
    }

    /// Locks `resource` where that needs no waiting; false where it does.
    pub fn try_acquire(&self, txn: TxnId, resource: Resource, mode: Mode) -> Result<bool> {
        Ok(self.state.lock().request(txn, &resource, mode)?.is_none())
    }

    /// Gives one lock back before the transaction ends; false where it was not held.
    pub fn release(&self, txn: TxnId, resource: &Resource) -> bool {
        let mut state = self.state.lock();
        let Some(participant) = state.participants.get_mut(&txn) else { return false };
        let Some(place) = participant.held.iter().rposition(|held| held == resource) else {
            return false;
        };
        participant.held.swap_remove(place);
        state.release(txn, resource);
        true
    }

    /// Gives back every lock whose resource `is_meant`, and returns how many there were.
    pub fn release_all(&self, txn: TxnId, is_meant: impl Fn(&Resource) -> bool) -> usize {
        let mut state = self.state.lock();
        let Some(participant) = state.participants.get_mut(&txn) else { return 0 };
        let (meant, others) = std::mem::take(&mut participant.held).into_iter().partition(is_meant);
        participant.held = others;
        let meant: Vec<Resource> = meant;
        meant.iter().for_each(|resource| state.release(txn, resource));
        meant.len()
    }

    /// Waits until `holder`, which has stamped a record or locked a range, has ended, or has called
    /// [`LockTable::look_again`]; the caller then looks for itself. Returns at once where `holder`
    /// is not known. `resource` and `mode` say what is waited for.
    pub fn wait_behind(
        &self,
        waiter: TxnId,
        holder: TxnId,
        resource: Resource,
        mode: Mode,
        timeout: Option<Duration>,
    ) -> Result<()> {
        let mut state = self.state.lock();
        state.usable(waiter)?;
        if waiter == holder {
            return Ok(());
        }
        let Some(participant) = state.participants.get_mut(&holder) else { return Ok(()) };
        participant.followers.push(waiter);
        self.wait(state, waiter, Wait::new(resource, mode, Place::Behind { holder }), timeout)
    }

    /// Wakes those who wait behind a transaction that goes on: what they wait for may be free.
    pub fn look_again(&self, holder: TxnId) {
        let mut state = self.state.lock();
        let Some(participant) = state.participants.get_mut(&holder) else { return };
        for waiter in std::mem::take(&mut participant.followers) {
            state.settle(waiter, Ok(()));
        }
    }

    /// Condemns a transaction: a wait of its own ends with `error` now, later ones fail with it.
    /// The first error stays; its locks stay too, until [`ended`](LockTable::ended).
    pub fn doom(&self, txn: TxnId, error: Error) {
        self.state.lock().doom(txn, error);
    }

    /// Ends every wait with `error`, and every later one: who holds the locks cannot end any more.
    /// What can be had without waiting can still be had.
    pub fn fail(&self, error: &Error) {
        let mut state = self.state.lock();
        if state.failed.is_none() {
            state.failed = Some(error.clone());
            let waiting: Vec<TxnId> = state.waits().map(|(waiter, _)| waiter).collect();
            waiting.into_iter().for_each(|waiter| state.settle(waiter, Err(error.clone())));
        }
    }

    /// What the transaction was condemned with.
    pub fn doomed(&self, txn: TxnId) -> Option<Error> {
        self.state.lock().participants.get(&txn)?.doomed.clone()
    }

    pub fn counters(&self) -> LockCounters {
        let state = self.state.lock();
        LockCounters {
            waiting_now: state.waits().count() as u64,
            transactions: state.participants.len() as u64,
            ..state.counters
        }
    }

    fn wait(
        &self,
        mut state: MutexGuard<'_, State>,
        txn: TxnId,
        wait: Wait,
        timeout: Option<Duration>,
    ) -> Result<()> {
        let (signal, since) = (Arc::clone(&wait.signal), wait.since);
        let timeout = timeout.unwrap_or(self.options.timeout);
        // A timeout too far away to be written as an instant is none.
        let deadline = since.checked_add(timeout);
        if let Some(participant) = state.participants.get_mut(&txn) {
            participant.wait = Some(wait);
        }
        state.counters.waits += 1;
        self.stats.add(Counter::LockWaits, 1);
        self.break_cycles(&mut state, txn);
        if let Some(error) = state.failed.clone() {
            state.settle(txn, Err(error));
        }
        let outcome = loop {
            if let Some(outcome) = state.take_outcome(txn) {
                break outcome;
            }
            match deadline {
                None => signal.wait(&mut state),
                Some(deadline) if Instant::now() < deadline => {
                    signal.wait_until(&mut state, deadline);
                }
                Some(_) => break Err(self.time_out(&mut state, txn, timeout)),
            }
        };
        drop(state);
        self.stats.record(Timed::LockWait, since.elapsed());
        outcome
    }

    fn time_out(&self, state: &mut State, txn: TxnId, timeout: Duration) -> Error {
        let holders = state.blockers(txn).iter().map(TxnId::to_string).collect::<Vec<_>>();
        state.withdraw(txn);
        state.counters.timeouts += 1;
        self.stats.add(Counter::LockTimeouts, 1);
        let error = Error::new(Code::LockTimeout)
            .with("timeout_s", timeout.as_secs_f64())
            .with("holder", holders.join(", "));
        match state.participants.get_mut(&txn).and_then(|participant| participant.wait.take()) {
            Some(wait) => {
                error.with("resource", wait.resource.to_string()).with("mode", wait.mode.name())
            }
            None => error,
        }
    }

    /// Dooms victims until no cycle leads through `txn` any more.
    fn break_cycles(&self, state: &mut State, txn: TxnId) {
        while let Some(cycle) = find_cycle(txn, |waiter| state.blockers(waiter)) {
            let members =
                cycle.iter().filter_map(|txn| Some((*txn, state.participants.get(txn)?.work.as_ref())));
            let Some(victim) = choose_victim(self.options.victim, members) else { return };
            let story = Story(state.cycle_edges(&cycle));
            self.events.push("deadlock", story.event(victim, self.options.victim));
            state.counters.deadlocks += 1;
            self.stats.add(Counter::Deadlocks, 1);
            let error = Error::new(Code::Deadlock).with("victim", victim.0).with("cycle", story.lines());
            state.doom(victim, error);
        }
    }
}

impl Wait {
    fn new(resource: Resource, mode: Mode, place: Place) -> Self {
        let signal = Arc::new(Condvar::new());
        Wait { resource, mode, place, since: Instant::now(), outcome: None, signal }
    }
}

impl Participant {
    pub(super) fn new(work: Arc<dyn Work>) -> Participant {
        Participant { work, held: Vec::new(), wait: None, doomed: None, followers: Vec::new() }
    }
}

impl State {
    /// See [`LockTable::ended`].
    pub(super) fn ended(&mut self, txn: TxnId) {
        self.withdraw(txn);
        let Some(participant) = self.participants.remove(&txn) else { return };
        for resource in &participant.held {
            self.release(txn, resource);
        }
        for waiter in participant.followers {
            self.settle(waiter, Ok(()));
        }
        if let Some(wait) = participant.wait {
            wait.signal.notify_one();
        }
    }

    /// The transaction, where it may begin a wait or take a lock.
    fn usable(&mut self, txn: TxnId) -> Result<&mut Participant> {
        let ended = || Error::new(Code::TransactionEnded).with("txn", txn.0);
        let participant = self.participants.get_mut(&txn).ok_or_else(ended)?;
        if let Some(error) = &participant.doomed {
            return Err(error.clone());
        }
        if participant.wait.is_some() {
            return Err(Error::new(Code::TransactionBusy).with("txn", txn.0));
        }
        Ok(participant)
    }

    /// Serves a request at once, or tells what to queue.
    pub(super) fn request(
        &mut self,
        txn: TxnId,
        resource: &Resource,
        mode: Mode,
    ) -> Result<Option<Request>> {
        self.usable(txn)?;
        let answer = match self.queues.get_mut(resource) {
            Some(queue) => queue.request(txn, mode, Instant::now),
            None => self.queues.entry(resource.clone()).or_default().request(txn, mode, Instant::now),
        };
        match answer {
            Answer::Held => Ok(None),
            Answer::Busy(request) => Ok(Some(request)),
            Answer::Granted(request) => {
                self.remember(request, resource);
                Ok(None)
            }
        }
    }

    fn remember(&mut self, request: Request, resource: &Resource) {
        let Some(participant) = self.participants.get_mut(&request.txn) else { return };
        // An upgrade is in the list already.
        if !request.is_upgrade {
            participant.held.push(resource.clone());
        }
    }

    fn release(&mut self, txn: TxnId, resource: &Resource) {
        if self.queues.get_mut(resource).is_some_and(|queue| queue.release(txn)) {
            self.serve(resource);
        }
    }

    /// Grants what can be granted now, and drops the queue where nobody is left.
    fn serve(&mut self, resource: &Resource) {
        let Some(queue) = self.queues.get_mut(resource) else { return };
        if queue.waiting.is_empty() {
            if queue.is_empty() {
                self.queues.remove(resource);
            }
            return;
        }
        for request in queue.serve(Instant::now()) {
            self.remember(request, resource);
            self.finish(request.txn, Ok(()));
        }
        if self.queues.get(resource).is_some_and(Queue::is_empty) {
            self.queues.remove(resource);
        }
    }

    fn doom(&mut self, txn: TxnId, error: Error) {
        let Some(participant) = self.participants.get_mut(&txn) else { return };
        participant.doomed.get_or_insert_with(|| error.clone());
        participant.work.condemn();
        self.settle(txn, Err(error));
    }

    /// Ends a wait from outside: takes it out of where it stands and wakes its thread.
    fn settle(&mut self, txn: TxnId, outcome: Result<()>) {
        self.withdraw(txn);
        self.finish(txn, outcome);
    }

    /// Hands a waiting thread its outcome; the first one counts.
    fn finish(&mut self, txn: TxnId, outcome: Result<()>) {
        let Some(participant) = self.participants.get_mut(&txn) else { return };
        if let Some(wait) = &mut participant.wait {
            wait.outcome.get_or_insert(outcome);
            wait.signal.notify_one();
        }
    }

    /// Takes a wait without an outcome out of its queue or list; others may move up.
    fn withdraw(&mut self, txn: TxnId) {
        let Some(wait) = self.wait_of(txn) else { return };
        match wait.place {
            Place::Queue => {
                let resource = wait.resource.clone();
                if let Some(queue) = self.queues.get_mut(&resource) {
                    queue.withdraw(txn);
                }
                self.serve(&resource);
            }
            Place::Behind { holder } => {
                if let Some(holder) = self.participants.get_mut(&holder) {
                    holder.followers.retain(|waiter| *waiter != txn);
                }
            }
        }
    }

    fn take_outcome(&mut self, txn: TxnId) -> Option<Result<()>> {
        let Some(participant) = self.participants.get_mut(&txn) else {
            return Some(Err(Error::new(Code::TransactionEnded).with("txn", txn.0)));
        };
        let outcome = participant.wait.as_mut()?.outcome.take()?;
        participant.wait = None;
        Some(outcome)
    }

    /// The wait of a transaction that has not been decided yet.
    pub fn wait_of(&self, txn: TxnId) -> Option<&Wait> {
        self.participants.get(&txn)?.wait.as_ref().filter(|wait| wait.outcome.is_none())
    }

    pub fn waits(&self) -> impl Iterator<Item = (TxnId, &Wait)> {
        self.participants.keys().filter_map(|txn| Some((*txn, self.wait_of(*txn)?)))
    }

    pub fn blockers(&self, txn: TxnId) -> Vec<TxnId> {
        let Some(wait) = self.wait_of(txn) else { return Vec::new() };
        match wait.place {
            Place::Queue => {
                self.queues.get(&wait.resource).map_or_else(Vec::new, |queue| queue.blockers(txn))
            }
            Place::Behind { holder } => vec![holder],
        }
    }
}
