//! Locks that belong to transactions: trees, the catalogue, advisory names, ranges of keys (their
//! own protocol heads `ranges`), and waits for the writer of a record's stamp. No I/O, and nothing
//! of pages.
//!
//! Protocol. One mutex guards the whole table but for the ranges; every critical section is short, and a thread
//! that waits does so on a condition variable of its own that gives the mutex back. Nobody may
//! hold any other mutex or latch while it calls something that waits. Queues are fair: a
//! request waits behind every earlier one that it conflicts with; upgrades go before new
//! requests, because their holder blocks the others anyway.
//!
//! Deadlocks. Every wait adds its edges to a wait-for graph and then looks for a cycle through
//! itself; an edge appears only when a wait begins, so no cycle is ever missed and none waits
//! for a timer. A victim's wait ends with [`Code::Deadlock`](crate::error::Code::Deadlock);
//! the locks stay with it until its transaction has been rolled back.

mod deadlock;
mod inspect;
mod interval;
mod mode;
mod queue;
mod ranges;
mod registry;
mod table;

#[cfg(test)]
mod table_tests;

use std::fmt;
use std::time::Duration;

use crate::types::{TreeId, TxnId};

pub use interval::{Interval, successor};
pub use mode::Mode;
pub use ranges::{MOST_INTERVALS, RangeHolder, RangeLocks};
pub use table::LockTable;

/// What a lock is on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resource {
    Catalogue,
    Tree(TreeId),
    /// An advisory lock on any name.
    Name(String),
    /// One record, told by the hash of its key: the key itself is stored data.
    Record {
        tree: TreeId,
        key_hash: u64,
    },
    /// Ranges of keys that serializable transactions have read.
    Ranges(TreeId),
    /// The end of a transaction.
    Txn(TxnId),
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resource::Catalogue => write!(f, "catalogue"),
            Resource::Tree(tree) => write!(f, "tree {tree}"),
            Resource::Name(name) => write!(f, "name {name}"),
            Resource::Record { tree, key_hash } => write!(f, "record {key_hash:016x} of tree {tree}"),
            Resource::Ranges(tree) => write!(f, "key ranges of tree {tree}"),
            Resource::Txn(txn) => write!(f, "transaction {txn}"),
        }
    }
}

/// What the choice of a victim needs to know of a transaction. Called with the table's mutex
/// held: it must answer at once, from atomics.
pub trait Work: Send + Sync {
    /// When it began, in microseconds since the Unix epoch.
    fn started_at(&self) -> i64;
    /// Changes so far: what a rollback would have to undo.
    fn work(&self) -> u64;
    /// It has been condemned: the table knows why. Lets an owner notice without asking the table.
    fn condemn(&self) {}
}

/// Which transaction of a cycle has to give way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VictimPolicy {
    /// The one that began last; a victim that is run again grows older, so it cannot starve.
    Youngest,
    /// The one with the fewest changes to undo; the youngest among equals.
    LeastWork,
}

impl VictimPolicy {
    pub fn name(self) -> &'static str {
        match self {
            VictimPolicy::Youngest => "youngest",
            VictimPolicy::LeastWork => "least_work",
        }
    }
}

/// Settings of a lock table.
#[derive(Clone, Debug)]
pub struct LockOptions {
    /// How long a request waits that names no timeout of its own.
    pub timeout: Duration,
    pub victim: VictimPolicy,
}

impl Default for LockOptions {
    fn default() -> Self {
        LockOptions { timeout: Duration::from_secs(10), victim: VictimPolicy::Youngest }
    }
}

/// One locked or awaited resource.
#[derive(Clone, Debug)]
pub struct LockInfo {
    pub resource: Resource,
    /// The strongest mode held.
    pub mode: Mode,
    pub holders: Vec<(TxnId, Mode)>,
    pub waiters: Vec<WaiterInfo>,
    /// How long the first of the holders has had it.
    pub since: Duration,
}

impl LockInfo {
    /// Nobody holds or awaits it yet.
    fn of(resource: Resource) -> LockInfo {
        let (holders, waiters) = (Vec::new(), Vec::new());
        LockInfo { resource, mode: Mode::Shared, holders, waiters, since: Duration::ZERO }
    }
}

#[derive(Clone, Debug)]
pub struct WaiterInfo {
    pub txn: TxnId,
    pub mode: Mode,
    pub since: Duration,
}

/// `waiter` cannot go on before `holder` gives way.
#[derive(Clone, Debug)]
pub struct Edge {
    pub waiter: TxnId,
    pub holder: TxnId,
    pub resource: Resource,
    pub mode: Mode,
    pub since: Duration,
}

/// What has happened to waits since the table was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LockCounters {
    pub waits: u64,
    pub deadlocks: u64,
    pub timeouts: u64,
    pub waiting_now: u64,
    pub transactions: u64,
}
