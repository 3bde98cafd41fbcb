//! One life of a database: transactions interleaved on one thread, held against the model at
//! every step, until the power goes.

use std::rc::Rc;

use _kernel::error::{Code, Error, Field};
use _kernel::store::Store;
use _kernel::txn::{CatalogueKind, Isolation, Range, Transaction, TreeRef};

use crate::dice::Dice;
use crate::model::{History, Ledger, Rows};

const TREES: [&str; 4] = ["accounts", "orders", "notes", "log"];
const MOST_OPEN: usize = 5;

/// Why a life ended.
pub enum End {
    /// The disk failed a call.
    Crashed,
    /// The kernel did what it must not.
    Violation(String),
}

type Step<T> = Result<T, End>;

fn violation<T>(what: impl Into<String>) -> Step<T> {
    Err(End::Violation(what.into()))
}

/// Is this a fault that the simulated disk was told to have, whichever call met it first?
pub fn is_disk_fault(error: &Error) -> bool {
    let faults = ["simulated crash", "simulated device error"].map(Field::from);
    let mut error = Some(error);
    while let Some(one) = error {
        let is_told = one.fields.iter().any(|(_, value)| faults.contains(value));
        if is_told || matches!(one.code, Code::StoreFailed | Code::DiskFull) {
            return true;
        }
        error = one.cause.as_deref();
    }
    false
}

/// An error that ends the life: the crash, or one that should not have come.
fn fatal(what: &str, error: &Error) -> End {
    if is_disk_fault(error) { End::Crashed } else { End::Violation(format!("{what}: {error}")) }
}

/// An error that a transaction may get because of another one.
fn is_refusal(error: &Error) -> bool {
    matches!(error.code, Code::LockTimeout | Code::WriteConflict) && !is_disk_fault(error)
}

/// What happened in a run, in figures.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub commits: u64,
    pub aborts: u64,
    pub changes: u64,
    pub reads: u64,
    pub refusals: u64,
    pub savepoints: u64,
    pub trees_made: u64,
    pub trees_dropped: u64,
}

struct Actor {
    txn: Transaction,
    ledger: Ledger,
}

pub struct Life<'a> {
    pub store: &'a Store,
    pub history: &'a mut History,
    pub dice: &'a mut Dice,
    pub tally: &'a mut Tally,
    actors: Vec<Actor>,
    keys: u64,
}

impl<'a> Life<'a> {
    pub fn new(
        store: &'a Store,
        history: &'a mut History,
        dice: &'a mut Dice,
        tally: &'a mut Tally,
    ) -> Life<'a> {
        let keys = dice.pick(&[40, 400, 4000]);
        Life { store, history, dice, tally, actors: Vec::new(), keys }
    }

    /// Works for so many steps, or until the disk dies.
    pub fn live(&mut self, steps: u64) -> Step<()> {
        for _ in 0..steps {
            self.step()?;
        }
        Ok(())
    }

    /// Rolls back what is open.
    pub fn leave(&mut self) {
        self.actors.clear();
    }

    fn step(&mut self) -> Step<()> {
        let roll = self.dice.below(1000);
        if self.actors.is_empty() || (roll < 60 && self.actors.len() < MOST_OPEN) {
            return self.begin();
        }
        let who = self.dice.index(self.actors.len());
        match roll {
            0..=99 => self.end(who),
            100..=119 => self.keep_house(),
            120..=134 => self.savepoint(who),
            135..=144 => self.roll_back(who),
            145..=149 => self.drop_tree(who),
            150..=229 => self.read(who),
            230..=239 => self.compare(who),
            240..=249 => self.burst(who),
            _ => self.change(who),
        }
    }

    fn begin(&mut self) -> Step<()> {
        let isolation = self.dice.pick(&[
            Isolation::ReadCommitted,
            Isolation::RepeatableRead,
            Isolation::RepeatableRead,
            Isolation::Serializable,
        ]);
        let txn = self.store.begin(isolation, false).map_err(|error| fatal("begin", &error))?;
        let ledger = Ledger::new(isolation, Rc::clone(self.history.newest()));
        self.actors.push(Actor { txn, ledger });
        Ok(())
    }

    fn end(&mut self, who: usize) -> Step<()> {
        let mut actor = self.actors.swap_remove(who);
        if self.dice.percent(25) {
            self.tally.aborts += 1;
            return actor.txn.abort().map_err(|error| fatal("abort", &error));
        }
        let after = actor.ledger.draft.apply(self.history.newest());
        match actor.txn.commit() {
            Ok(lsn) => {
                self.tally.commits += 1;
                self.history.commit(lsn, after);
                Ok(())
            }
            Err(error) => {
                // Nobody was told; recovery may keep it or not.
                self.history.commit(_kernel::types::Lsn::MAX, after);
                Err(fatal("commit", &error))
            }
        }
    }

    fn keep_house(&mut self) -> Step<()> {
        let done = match self.dice.below(6) {
            0 => self.store.checkpoint().map(|_| ()),
            1 => self.store.flush(),
            2 => self.store.shared().core.pool.write_out_cold().map(|_| ()),
            3 => self.store.shared().core.log.rotate(),
            _ => self.store.maintain(),
        };
        done.map_err(|error| fatal("housekeeping", &error))
    }

    /// Finds a tree for an actor, or makes it; `None` where another transaction is in the way.
    fn tree(&mut self, who: usize, name: &str, create: bool) -> Step<Option<TreeRef>> {
        let actor = &mut self.actors[who];
        let is_there = actor.ledger.has_tree(self.history.newest(), name);
        let got = actor.txn.tree(name, create);
        match got {
            Ok(Some(tree)) if is_there => Ok(Some(tree)),
            Ok(Some(tree)) if create => {
                actor.ledger.draft.create(name);
                self.tally.trees_made += 1;
                Ok(Some(tree))
            }
            Ok(None) if !is_there => Ok(None),
            Ok(_) => violation(format!("tree {name}: seen {}, should be {is_there}", !is_there)),
            Err(error) if is_refusal(&error) => {
                self.tally.refusals += 1;
                Ok(None)
            }
            Err(error) => Err(fatal("tree", &error)),
        }
    }

    fn key(&mut self) -> Vec<u8> {
        let number = self.dice.below(self.keys);
        let mut key = format!("{:06}", number.wrapping_mul(2_654_435_761) % 1_000_000).into_bytes();
        // Some keys are long, so that fences are and inner pages split early.
        key.extend(std::iter::repeat_n(b'x', (number % 5 * number % 97) as usize));
        key
    }

    fn value(&mut self) -> Vec<u8> {
        let length = match self.dice.below(40) {
            0 => self.dice.between(1000, 30_000),
            1..=4 => self.dice.between(300, 1000),
            _ => self.dice.below(120),
        };
        let byte = self.dice.next() as u8;
        (0..length).map(|i| byte.wrapping_add((i % 251) as u8)).collect()
    }

    fn change(&mut self, who: usize) -> Step<()> {
        let name = self.dice.pick(&TREES);
        let Some(tree) = self.tree(who, name, true)? else { return Ok(()) };
        let key = self.key();
        let value = if self.dice.percent(35) { None } else { Some(self.value()) };
        self.write(who, name, tree, &key, value)
    }

    fn write(
        &mut self,
        who: usize,
        name: &str,
        tree: TreeRef,
        key: &[u8],
        value: Option<Vec<u8>>,
    ) -> Step<()> {
        let actor = &mut self.actors[who];
        let before = actor.ledger.get(self.history.newest(), name, key).is_some();
        let done = match &value {
            Some(value) => actor.txn.put(tree, key, value),
            None => actor.txn.delete(tree, key),
        };
        match done {
            // A deletion that found nothing changes nothing: it does not even lock.
            Ok(false) if !before && value.is_none() => Ok(()),
            Ok(existed) if existed == before => {
                actor.ledger.draft.set(name, key, value);
                self.tally.changes += 1;
                Ok(())
            }
            Ok(existed) => {
                violation(format!("a change of {name} met a record: {existed}, not {before}"))
            }
            Err(error) if is_refusal(&error) => {
                self.tally.refusals += 1;
                Ok(())
            }
            Err(error) => Err(fatal("change", &error)),
        }
    }

    /// Many neighbouring changes by one transaction: what splits pages, and empties them.
    fn burst(&mut self, who: usize) -> Step<()> {
        let name = self.dice.pick(&TREES);
        let Some(tree) = self.tree(who, name, true)? else { return Ok(()) };
        let delete = self.dice.percent(40);
        let start = self.dice.below(5000);
        for number in start..start + self.dice.between(20, 150) {
            let key = format!("burst{number:06}").into_bytes();
            let value = (!delete).then(|| vec![number as u8; self.dice.between(20, 200) as usize]);
            self.write(who, name, tree, &key, value)?;
        }
        Ok(())
    }

    fn read(&mut self, who: usize) -> Step<()> {
        let name = self.dice.pick(&TREES);
        let Some(tree) = self.tree(who, name, false)? else { return Ok(()) };
        let key = self.key();
        let actor = &mut self.actors[who];
        let expected = actor.ledger.get(self.history.newest(), name, &key);
        self.tally.reads += 1;
        match actor.txn.get(tree, &key) {
            Ok(found) if found.as_ref() == expected => Ok(()),
            Ok(_) => violation(format!("a {} read of {name} is wrong", actor.ledger.isolation.name())),
            Err(error) if is_refusal(&error) => Ok(()),
            Err(error) => Err(fatal("get", &error)),
        }
    }

    /// Reads a whole tree and compares.
    fn compare(&mut self, who: usize) -> Step<()> {
        let name = self.dice.pick(&TREES);
        let Some(tree) = self.tree(who, name, false)? else { return Ok(()) };
        let reverse = self.dice.percent(50);
        let actor = &mut self.actors[who];
        let expected = actor.ledger.rows(self.history.newest(), name);
        match rows_of(&mut actor.txn, tree, reverse) {
            Ok(rows) if rows == expected => Ok(()),
            Ok(rows) => violation(format!(
                "a {} scan of {name} saw {} records of {}",
                actor.ledger.isolation.name(),
                rows.len(),
                expected.len()
            )),
            Err(error) if is_refusal(&error) => Ok(()),
            Err(error) => Err(fatal("scan", &error)),
        }
    }

    fn savepoint(&mut self, who: usize) -> Step<()> {
        let name = self.dice.pick(&["a", "b", "c"]);
        let actor = &mut self.actors[who];
        actor.txn.savepoint(name).map_err(|error| fatal("savepoint", &error))?;
        actor.ledger.savepoints.retain(|(known, _)| known != name);
        let draft = actor.ledger.draft.clone();
        actor.ledger.savepoints.push((name.to_owned(), draft));
        self.tally.savepoints += 1;
        Ok(())
    }

    fn roll_back(&mut self, who: usize) -> Step<()> {
        let count = self.actors[who].ledger.savepoints.len();
        if count == 0 {
            return Ok(());
        }
        let place = self.dice.index(count);
        let Actor { txn, ledger } = &mut self.actors[who];
        let (name, draft) = ledger.savepoints[place].clone();
        txn.rollback_to(&name).map_err(|error| fatal("rollback to a savepoint", &error))?;
        ledger.savepoints.truncate(place + 1);
        ledger.draft = draft;
        Ok(())
    }

    fn drop_tree(&mut self, who: usize) -> Step<()> {
        let name = self.dice.pick(&TREES);
        let actor = &mut self.actors[who];
        let is_there = actor.ledger.has_tree(self.history.newest(), name);
        let got = actor.txn.drop_tree(CatalogueKind::Tree, name);
        match got {
            Ok(dropped) if dropped == is_there => {
                if dropped {
                    actor.ledger.draft.drop_tree(name);
                    self.tally.trees_dropped += 1;
                }
                Ok(())
            }
            Ok(dropped) => violation(format!("drop of {name}: {dropped}, should be {is_there}")),
            Err(error) if is_refusal(&error) => {
                self.tally.refusals += 1;
                Ok(())
            }
            Err(error) => Err(fatal("drop of a tree", &error)),
        }
    }
}

/// All records of a tree as a transaction sees them; a record met twice or out of order is lost
/// from the result, so that the comparison finds it.
pub fn rows_of(txn: &mut Transaction, tree: TreeRef, reverse: bool) -> _kernel::error::Result<Rows> {
    let range = Range { reverse, ..Range::default() };
    let mut rows = Rows::new();
    let mut seen: Vec<Vec<u8>> = Vec::new();
    let mut from: Option<Vec<u8>> = None;
    loop {
        let batch = txn.scan(tree, &range, from.as_deref(), 61)?;
        for (key, value) in batch.records {
            seen.push(key.clone());
            rows.insert(key, value);
        }
        match batch.next {
            Some(next) => from = Some(next),
            None => break,
        }
    }
    let is_ordered =
        seen.windows(2).all(|pair| if reverse { pair[0] > pair[1] } else { pair[0] < pair[1] });
    Ok(if is_ordered { rows } else { Rows::new() })
}
