//! Runs a schedule of several transactions, each on a thread of its own, step by step.
//!
//! A step is sent to its transaction's thread, and the next one only once it was answered or its
//! transaction is known to the lock table as waiting: so each run of a schedule is the same, and
//! nothing sleeps. Steps of a transaction that waits are done as soon as it goes on. A transaction
//! that meets an error is rolled back, and its later steps are left out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use _kernel::disk::memory::MemoryDisk;
use _kernel::error::{Code, Result};
use _kernel::recovery::Progress;
use _kernel::rows::{Schema, tables};
use _kernel::store::{Store, StoreOptions};
use _kernel::txn::{Isolation, Range, Transaction};
use _kernel::types::TxnId;

use crate::operation::{is_read, perform, rows, tell, tree};

/// A run that stands still for so long is an error.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a schedule begins with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Before<'a> {
    /// Rows of the tree: `x=10 y=20`.
    pub rows: &'a str,
    /// Rows of the table: `1=red 2=blue`.
    pub colours: &'a str,
    /// How long locks are waited for.
    pub timeout: Option<Duration>,
}

/// What came of one schedule.
#[derive(Debug, Default)]
pub struct Run {
    /// Answers to the reads of each transaction, in its order.
    reads: BTreeMap<u32, Vec<String>>,
    committed: Vec<u32>,
    pub failed: BTreeMap<u32, Code>,
    /// Who waited for whom, in the order in which it was noticed.
    pub waits: Vec<(u32, u32)>,
    /// The rows that are left.
    pub left: String,
}

impl Run {
    /// The answers to the reads of a transaction; empty ones are missing where it failed before.
    pub fn reads(&self, txn: u32) -> Vec<&str> {
        self.reads.get(&txn).map_or_else(Vec::new, |reads| reads.iter().map(String::as_str).collect())
    }

    pub fn have_committed(&self, txns: &[u32]) -> bool {
        txns.iter().all(|txn| self.committed.contains(txn))
    }
}

struct Session {
    id: TxnId,
    orders: Sender<String>,
    answers: Receiver<(String, Result<String>)>,
    is_pending: bool,
    backlog: VecDeque<String>,
}

/// A database in memory, and the transactions of one schedule on it.
pub struct Stage {
    pub store: Arc<Store>,
    sessions: BTreeMap<u32, Session>,
    run: Run,
}

impl Stage {
    pub fn new(before: Before<'_>) -> Stage {
        let mut options = StoreOptions { background: false, ..StoreOptions::default() };
        options.opening.cache_bytes = 1 << 20;
        options.opening.log.segment_bytes = 1 << 20;
        options.opening.log.background = false;
        options.opening.locks.timeout = before.timeout.unwrap_or(PATIENCE);
        let store = Arc::new(Store::create(MemoryDisk::new(1), &options).unwrap());
        let mut txn = store.begin(Isolation::RepeatableRead, false).unwrap();
        let at = txn.tree("t", true).unwrap().unwrap();
        for (key, value) in before.rows.split_whitespace().map(|row| row.split_once('=').unwrap()) {
            txn.put(at, key.as_bytes(), value.as_bytes()).unwrap();
        }
        let schema = r#"{"name": "colours", "primary_key": ["id"],
            "columns": [{"name": "id", "type": "INTEGER"}, {"name": "colour", "type": "TEXT"}],
            "indexes": [{"name": "by_colour", "columns": ["colour"], "unique": false}]}"#;
        let table = tables::create(&mut txn, &Schema::from_json(schema).unwrap()).unwrap();
        for (id, colour) in before.colours.split_whitespace().map(|row| row.split_once('=').unwrap()) {
            let id: i64 = id.parse().unwrap();
            table.insert(&mut txn, vec![id.into(), colour.into()]).unwrap();
        }
        txn.commit().unwrap();
        Stage { store, sessions: BTreeMap::new(), run: Run::default() }
    }

    /// Runs steps, `1 get x | 2 put x 3 | ...`; a transaction begins with its first one, at the
    /// level of its number; `0 maintain` is the store's own, and `0 await 2`
    /// goes on once the second waits no more. What is still open at the end is rolled back.
    pub fn play(mut self, schedule: &str, level: impl Fn(u32) -> Isolation) -> Run {
        for step in schedule.split('|').map(str::trim) {
            let (number, operation) = step.split_once(' ').unwrap();
            let number: u32 = number.parse().unwrap();
            if number == 0 {
                match operation.split_once(' ') {
                    Some(("await", number)) => self.wait_for(number.parse().unwrap()),
                    _ => self.store.maintain().unwrap(),
                }
                continue;
            }
            if self.run.failed.contains_key(&number) {
                continue;
            }
            let store = &self.store;
            let session =
                self.sessions.entry(number).or_insert_with(|| Session::start(store, level(number)));
            session.backlog.push_back(operation.to_owned());
            self.settle();
        }
        self.finish()
    }

    /// Goes on until every transaction has done its steps or waits for another one.
    fn settle(&mut self) {
        let started = Instant::now();
        loop {
            let mut is_quiet = true;
            for number in self.sessions.keys().copied().collect::<Vec<_>>() {
                is_quiet &= !self.advance(number);
            }
            if is_quiet {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "nothing moves any more: {:?}", self.run);
            std::thread::yield_now();
        }
    }

    fn wait_for(&mut self, number: u32) {
        let started = Instant::now();
        while self.sessions.get(&number).is_some_and(|session| session.is_pending) {
            assert!(started.elapsed() < PATIENCE, "transaction {number} waits for ever");
            std::thread::yield_now();
            self.settle();
        }
    }

    /// True where this transaction has moved, or still runs.
    fn advance(&mut self, number: u32) -> bool {
        let Some(session) = self.sessions.get_mut(&number) else { return false };
        if !session.is_pending {
            let Some(next) = session.backlog.pop_front() else { return false };
            session.orders.send(next).unwrap();
            session.is_pending = true;
            return true;
        }
        match session.answers.try_recv() {
            Ok((operation, answer)) => {
                session.is_pending = false;
                self.note(number, &operation, answer);
                true
            }
            Err(TryRecvError::Empty) => !self.is_waiting(number),
            Err(TryRecvError::Disconnected) => panic!("the thread of transaction {number} is gone"),
        }
    }

    fn is_waiting(&mut self, number: u32) -> bool {
        let Some(holder) = self.store.shared().locks.waiting_for(self.sessions[&number].id) else {
            return false;
        };
        let holder = self.sessions.iter().find(|(_, session)| session.id == holder);
        let wait = (number, *holder.unwrap().0);
        if self.run.waits.last() != Some(&wait) {
            self.run.waits.push(wait);
        }
        true
    }

    fn note(&mut self, number: u32, operation: &str, answer: Result<String>) {
        match answer {
            Err(error) => {
                self.run.failed.insert(number, error.code);
                self.sessions.remove(&number);
            }
            Ok(_) if operation == "commit" => {
                self.run.committed.push(number);
                self.sessions.remove(&number);
            }
            Ok(_) if operation == "abort" => drop(self.sessions.remove(&number)),
            Ok(answer) if is_read(operation) => {
                self.run.reads.entry(number).or_default().push(answer);
            }
            Ok(_) => {}
        }
    }

    /// Ends what is open, looks what is left and checks every invariant.
    fn finish(mut self) -> Run {
        assert!(self.sessions.values().all(|session| !session.is_pending), "{:?}", self.run);
        for session in self.sessions.values_mut() {
            session.backlog.push_back("abort".to_owned());
        }
        self.settle();
        let mut txn = self.store.begin(Isolation::ReadCommitted, true).unwrap();
        let at = tree(&mut txn).unwrap();
        self.run.left = tell(&rows(&mut txn, at, &Range::default(), usize::MAX).unwrap());
        txn.commit().unwrap();
        assert!(self.store.shared().locks.locks().is_empty(), "a lock is left");
        let report = self.store.check(false, &Progress::default()).unwrap();
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        self.run
    }
}

impl Session {
    fn start(store: &Arc<Store>, isolation: Isolation) -> Session {
        let txn = store.begin(isolation, false).unwrap();
        let (orders, incoming) = channel();
        let (outgoing, answers) = channel();
        let id = txn.id();
        std::thread::spawn(move || serve(txn, &incoming, &outgoing));
        Session { id, orders, answers, is_pending: false, backlog: VecDeque::new() }
    }
}

fn serve(mut txn: Transaction, orders: &Receiver<String>, answers: &Sender<(String, Result<String>)>) {
    while let Ok(operation) = orders.recv() {
        let answer = perform(&mut txn, &operation);
        if answer.is_err() {
            // The answer comes after the rollback, so that the next step finds its locks gone.
            txn.abort().unwrap();
        }
        if answers.send((operation, answer)).is_err() {
            return;
        }
    }
}
