//! The holders and waiters of one resource. Pure state: nothing here waits.

use std::collections::VecDeque;
use std::time::Instant;

use super::{LockInfo, Mode, Resource};
use crate::types::TxnId;

/// The holders of one resource and those who wait for it, in the order of service.
#[derive(Default)]
pub(super) struct Queue {
    pub granted: Vec<Grant>,
    pub waiting: VecDeque<Request>,
}

#[derive(Clone, Copy)]
pub(super) struct Grant {
    pub txn: TxnId,
    pub mode: Mode,
    pub since: Instant,
}

#[derive(Clone, Copy)]
pub(super) struct Request {
    pub txn: TxnId,
    /// What the transaction will hold once it is served; for an upgrade, the join.
    pub mode: Mode,
    pub is_upgrade: bool,
}

/// The answer to a request at the moment it is made.
pub(super) enum Answer {
    /// The transaction holds enough already.
    Held,
    Granted(Request),
    /// It would have to wait as `Request` says; nothing was queued.
    Busy(Request),
}

impl Queue {
    pub fn is_empty(&self) -> bool {
        self.granted.is_empty() && self.waiting.is_empty()
    }

    pub fn held_mode(&self, txn: TxnId) -> Option<Mode> {
        self.granted.iter().find(|grant| grant.txn == txn).map(|grant| grant.mode)
    }

    /// The holders; waiters are added by the table, which knows since when they wait.
    pub fn info(&self, resource: &Resource, now: Instant) -> LockInfo {
        let modes = self.granted.iter().map(|grant| grant.mode);
        let since = self.granted.iter().map(|grant| now.saturating_duration_since(grant.since));
        LockInfo {
            resource: resource.clone(),
            mode: modes.fold(Mode::IntentionShared, Mode::join),
            holders: self.granted.iter().map(|grant| (grant.txn, grant.mode)).collect(),
            waiters: Vec::new(),
            since: since.max().unwrap_or_default(),
        }
    }

    /// Grants `mode` to `txn` where nobody stands in the way.
    pub fn request(&mut self, txn: TxnId, mode: Mode, now: impl FnOnce() -> Instant) -> Answer {
        let held = self.held_mode(txn);
        if held.is_some_and(|held| held.covers(mode)) {
            return Answer::Held;
        }
        let request =
            Request { txn, mode: held.map_or(mode, |held| held.join(mode)), is_upgrade: held.is_some() };
        if !self.may_grant(&request, self.waiting.len()) {
            return Answer::Busy(request);
        }
        self.grant(&request, now());
        Answer::Granted(request)
    }

    /// Queues a request: upgrades behind earlier upgrades, others at the end.
    pub fn enqueue(&mut self, request: Request) {
        let place = if request.is_upgrade {
            self.waiting.iter().take_while(|other| other.is_upgrade).count()
        } else {
            self.waiting.len()
        };
        self.waiting.insert(place, request);
    }

    /// Serves every waiter whose turn has come and returns them.
    pub fn serve(&mut self, now: Instant) -> Vec<Request> {
        let mut served = Vec::new();
        let mut place = 0;
        while place < self.waiting.len() {
            let request = self.waiting[place];
            if self.may_grant(&request, place) {
                self.waiting.remove(place);
                self.grant(&request, now);
                served.push(request);
            } else {
                place += 1;
            }
        }
        served
    }

    /// Takes the grant of `txn` away; true where there was one.
    pub fn release(&mut self, txn: TxnId) -> bool {
        let before = self.granted.len();
        self.granted.retain(|grant| grant.txn != txn);
        self.granted.len() < before
    }

    /// Takes the waiting request of `txn` out of the queue.
    pub fn withdraw(&mut self, txn: TxnId) {
        self.waiting.retain(|request| request.txn != txn);
    }

    /// Those for whom the waiting request of `txn` waits: holders in its way, and earlier
    /// requests that will be served before it.
    pub fn blockers(&self, txn: TxnId) -> Vec<TxnId> {
        let Some(place) = self.waiting.iter().position(|request| request.txn == txn) else {
            return Vec::new();
        };
        let request = &self.waiting[place];
        let mut blockers: Vec<TxnId> = self.holders_in_the_way(request).map(|grant| grant.txn).collect();
        if !request.is_upgrade {
            let ahead =
                self.waiting.iter().take(place).filter(|other| !other.mode.is_compatible(request.mode));
            for other in ahead {
                if !blockers.contains(&other.txn) {
                    blockers.push(other.txn);
                }
            }
        }
        blockers
    }

    /// An upgrade looks at holders only: it must be able to pass an upgrade that waits for it.
    fn may_grant(&self, request: &Request, place: usize) -> bool {
        if self.holders_in_the_way(request).next().is_some() {
            return false;
        }
        request.is_upgrade
            || self.waiting.iter().take(place).all(|other| other.mode.is_compatible(request.mode))
    }

    fn holders_in_the_way<'a>(&'a self, request: &'a Request) -> impl Iterator<Item = &'a Grant> {
        self.granted
            .iter()
            .filter(move |grant| grant.txn != request.txn && !grant.mode.is_compatible(request.mode))
    }

    fn grant(&mut self, request: &Request, now: Instant) {
        match self.granted.iter_mut().find(|grant| grant.txn == request.txn) {
            Some(grant) => grant.mode = request.mode,
            None => self.granted.push(Grant { txn: request.txn, mode: request.mode, since: now }),
        }
    }
}
