//! What can be told of the lock table at any moment: holders, waiters, the wait-for graph, and the
//! story of a cycle. Keys are told by their hashes, or not at all.

use std::collections::HashMap;
use std::time::Instant;

use super::ranges::RangeHolder;
use super::table::{Place, State, Wait};
use super::{Edge, LockInfo, LockTable, Mode, Resource, VictimPolicy, WaiterInfo};
use crate::error::Field;
use crate::types::TxnId;

impl LockTable {
    /// The locks that a transaction holds, with their modes; ranges are one for each tree.
    pub fn held(&self, txn: TxnId) -> Vec<(Resource, Mode)> {
        let ranges = self.ranges.held(txn).into_iter();
        let state = self.state.lock();
        let Some(participant) = state.participants.get(&txn) else { return Vec::new() };
        let mode = |resource| state.queues.get(resource).and_then(|queue| queue.held_mode(txn));
        let queued = participant.held.iter().filter_map(|held| Some((held.clone(), mode(held)?)));
        queued.chain(ranges.map(|(tree, _)| (Resource::Ranges(tree), Mode::Shared))).collect()
    }

    /// How many locks a transaction holds, each interval of keys counted.
    pub fn count(&self, txn: TxnId) -> usize {
        let intervals: usize = self.ranges.held(txn).iter().map(|(_, intervals)| intervals).sum();
        let state = self.state.lock();
        intervals + state.participants.get(&txn).map_or(0, |participant| participant.held.len())
    }

    /// The first transaction that `txn` waits for at this moment.
    pub fn waiting_for(&self, txn: TxnId) -> Option<TxnId> {
        self.state.lock().blockers(txn).first().copied()
    }

    /// Every locked or awaited resource, in a stable order.
    pub fn locks(&self) -> Vec<LockInfo> {
        let ranges = self.ranges.holders();
        self.state.lock().locks(&ranges)
    }

    /// Every edge of the wait-for graph at this moment.
    pub fn wait_for_graph(&self) -> Vec<Edge> {
        let state = self.state.lock();
        let mut edges = Vec::new();
        for (waiter, wait) in state.waits() {
            edges.extend(state.blockers(waiter).into_iter().map(|holder| wait.edge(waiter, holder)));
        }
        edges.sort_by_key(|edge| (edge.waiter, edge.holder));
        edges
    }
}

impl Wait {
    fn edge(&self, waiter: TxnId, holder: TxnId) -> Edge {
        let (resource, since) = (self.resource.clone(), self.since.elapsed());
        Edge { waiter, holder, resource, mode: self.mode, since }
    }
}

impl Edge {
    fn tell(&self) -> String {
        let Edge { waiter, holder, resource, mode, .. } = self;
        format!("transaction {waiter} waits for transaction {holder}: {mode} on {resource}")
    }
}

/// A deadlock as its victim's error and its event tell it. The lists of the event go together: one
/// place for each participant.
pub(super) struct Story(pub Vec<Edge>);

impl Story {
    pub fn lines(&self) -> Vec<String> {
        self.0.iter().map(Edge::tell).collect()
    }

    pub fn event(&self, victim: TxnId, policy: VictimPolicy) -> Vec<(&'static str, Field)> {
        let list = |tell: fn(&Edge) -> String| Field::from(self.0.iter().map(tell).collect::<Vec<_>>());
        vec![
            ("victim", Field::from(victim.0)),
            ("cycle", Field::from(self.lines())),
            ("policy", Field::from(policy.name())),
            ("transactions", list(|edge| edge.waiter.to_string())),
            ("resources", list(|edge| edge.resource.to_string())),
            ("modes", list(|edge| edge.mode.to_string())),
            ("waited_s", list(|edge| format!("{:.6}", edge.since.as_secs_f64()))),
        ]
    }
}

impl State {
    /// The waits of a cycle, in its order.
    pub fn cycle_edges(&self, cycle: &[TxnId]) -> Vec<Edge> {
        let next = cycle.iter().cycle().skip(1);
        let edge =
            |(waiter, holder): (&TxnId, &TxnId)| Some(self.wait_of(*waiter)?.edge(*waiter, *holder));
        cycle.iter().zip(next).filter_map(edge).collect()
    }

    fn locks(&self, ranges: &[RangeHolder]) -> Vec<LockInfo> {
        let now = Instant::now();
        let mut locks: HashMap<Resource, LockInfo> = self
            .queues
            .iter()
            .map(|(resource, queue)| (resource.clone(), queue.info(resource, now)))
            .collect();
        for holder in ranges {
            let resource = Resource::Ranges(holder.tree);
            let info = locks.entry(resource.clone()).or_insert_with(|| LockInfo::of(resource));
            info.holders.push((holder.txn, Mode::Shared));
            info.since = info.since.max(now.saturating_duration_since(holder.since));
        }
        for (txn, wait) in self.waits() {
            let waited = now.saturating_duration_since(wait.since);
            let info = locks
                .entry(wait.resource.clone())
                .or_insert_with(|| LockInfo { mode: wait.mode, ..LockInfo::of(wait.resource.clone()) });
            info.waiters.push(WaiterInfo { txn, mode: wait.mode, since: waited });
            if let (Place::Behind { holder }, Resource::Record { .. }) = (wait.place, &wait.resource) {
                // A stamp is an exclusive lock; it has stood at least as long as the wait.
                info.mode = Mode::Exclusive;
                info.since = info.since.max(waited);
                if !info.holders.iter().any(|(txn, _)| *txn == holder) {
                    info.holders.push((holder, Mode::Exclusive));
                }
            }
        }
        let mut locks: Vec<LockInfo> = locks.into_values().collect();
        for info in &mut locks {
            info.waiters.sort_by(|a, b| b.since.cmp(&a.since).then(a.txn.cmp(&b.txn)));
        }
        locks.sort_by(|a, b| a.resource.cmp(&b.resource));
        locks
    }
}
