//! Finding cycles in the wait-for graph and choosing who gives way.

use std::collections::HashSet;

use super::{VictimPolicy, Work};
use crate::types::TxnId;

/// Finds a cycle of waits that leads from `start` back to it: the transactions in waiting
/// order, `start` first. Depth first, each transaction visited once, so the search is linear
/// in the edges that can be reached.
pub(super) fn find_cycle(
    start: TxnId,
    mut blockers: impl FnMut(TxnId) -> Vec<TxnId>,
) -> Option<Vec<TxnId>> {
    let mut seen = HashSet::from([start]);
    let mut path = vec![start];
    let mut pending = vec![blockers(start)];
    while let Some(next) = pending.last_mut() {
        match next.pop() {
            Some(txn) if txn == start => return Some(path),
            Some(txn) => {
                if seen.insert(txn) {
                    path.push(txn);
                    pending.push(blockers(txn));
                }
            }
            None => {
                pending.pop();
                path.pop();
            }
        }
    }
    None
}

/// Chooses the one to give way among the transactions of a cycle.
pub(super) fn choose_victim<'a>(
    policy: VictimPolicy,
    cycle: impl Iterator<Item = (TxnId, &'a dyn Work)>,
) -> Option<TxnId> {
    cycle
        .min_by_key(|(txn, work)| {
            let undo = match policy {
                VictimPolicy::Youngest => 0,
                VictimPolicy::LeastWork => work.work(),
            };
            (undo, std::cmp::Reverse((work.started_at(), *txn)))
        })
        .map(|(txn, _)| txn)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cycle(edges: &[(u64, u64)], start: u64) -> Option<Vec<u64>> {
        let blockers =
            |txn: TxnId| edges.iter().filter(|edge| edge.0 == txn.0).map(|edge| TxnId(edge.1)).collect();
        find_cycle(TxnId(start), blockers).map(|path| path.iter().map(|txn| txn.0).collect())
    }

    #[test]
    fn only_cycles_through_the_start_count() {
        assert_eq!(cycle(&[(1, 2), (2, 3), (3, 1)], 1), Some(vec![1, 2, 3]));
        assert_eq!(cycle(&[(1, 2), (2, 3), (3, 2)], 1), None);
        assert_eq!(cycle(&[(1, 2), (1, 3), (2, 4), (3, 1)], 1), Some(vec![1, 3]));
        assert_eq!(cycle(&[], 1), None);
    }

    #[test]
    fn a_wide_graph_is_searched_once_per_transaction() {
        let mut calls = 0;
        let found = find_cycle(TxnId(0), |txn| {
            calls += 1;
            (txn.0 + 1..=200).map(TxnId).collect()
        });
        assert_eq!((found, calls), (None, 201));
    }
}
