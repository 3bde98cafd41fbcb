//! One seed, one run: three lives of a database with a crash after each, recoveries that crash
//! too, and after every recovery the questions that count.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use _kernel::disk::Disk;
use _kernel::disk::memory::MemoryDisk;
use _kernel::error::{Code, Error, Result};
use _kernel::recovery::Progress;
use _kernel::store::{Ground, Store, StoreOptions};
use _kernel::txn::{CatalogueKind, Isolation};
use _kernel::types::Lsn;

use crate::audit::audit;
use crate::dice::Dice;
use crate::life::{End, Life, Tally, is_disk_fault, rows_of};
use crate::model::{History, World};
use crate::settings::{self, Sabotage};

const LIVES: u64 = 3;

/// What happened inside the kernel, in figures.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub work: Tally,
    pub lives: u64,
    pub crashes_in_calls: u64,
    pub kills: u64,
    pub clean_closes: u64,
    pub recoveries: u64,
    pub crashed_recoveries: u64,
    /// Lives that began before their recovery was through, with pages or losers left.
    pub early_lives: u64,
    pub evictions: u64,
    pub pages_written: u64,
    pub checkpoints: u64,
    pub rotations: u64,
    pub splits: u64,
    pub most_pages: u64,
}

impl Figures {
    pub fn add(&mut self, other: &Figures) {
        let pairs = [
            (&mut self.work.commits, other.work.commits),
            (&mut self.work.aborts, other.work.aborts),
            (&mut self.work.changes, other.work.changes),
            (&mut self.work.reads, other.work.reads),
            (&mut self.work.refusals, other.work.refusals),
            (&mut self.work.savepoints, other.work.savepoints),
            (&mut self.work.trees_made, other.work.trees_made),
            (&mut self.work.trees_dropped, other.work.trees_dropped),
            (&mut self.lives, other.lives),
            (&mut self.crashes_in_calls, other.crashes_in_calls),
            (&mut self.kills, other.kills),
            (&mut self.clean_closes, other.clean_closes),
            (&mut self.recoveries, other.recoveries),
            (&mut self.crashed_recoveries, other.crashed_recoveries),
            (&mut self.early_lives, other.early_lives),
            (&mut self.evictions, other.evictions),
            (&mut self.pages_written, other.pages_written),
            (&mut self.checkpoints, other.checkpoints),
            (&mut self.rotations, other.rotations),
            (&mut self.splits, other.splits),
        ];
        pairs.into_iter().for_each(|(sum, more)| *sum += more);
        self.most_pages = self.most_pages.max(other.most_pages);
    }
}

struct Run {
    dice: Dice,
    /// Draws of its own, so that every seed does the same with and without kills within calls.
    killer: Dice,
    options: StoreOptions,
    disk: Arc<MemoryDisk>,
    history: History,
    course: Course,
    figures: Figures,
}

/// What the lives of a campaign have in common.
#[derive(Clone, Copy, Debug, Default)]
pub struct Course {
    pub sabotage: Option<Sabotage>,
    /// Recoveries run on an overlay, not in place.
    pub is_on_overlay: bool,
    /// Databases open after analysis; the rest of a recovery is part of the next life.
    pub is_on_demand: bool,
    /// Most of those that would lose power within a call are killed there: whoever comes next is
    /// shown what was written and not synced, and may lose power after that.
    pub is_killed_within: bool,
}

/// Runs one seed; the error says what the kernel did wrong.
pub fn run(seed: u64, course: Course) -> std::result::Result<Figures, String> {
    let mut dice = Dice::new(seed);
    let options = settings::draw(&mut dice);
    let disk = MemoryDisk::new(dice.next());
    let history = History::new(Rc::new(World::new()));
    let (killer, figures) = (Dice::new(!seed), Figures::default());
    let mut run = Run { dice, killer, options, disk, history, course, figures };
    let mut store = run.create()?;
    for life in 0..LIVES {
        let told = |what: String| format!("life {}: {what}", life + 1);
        run.live(&store).map_err(told)?;
        drop(store);
        store = run.recover().map_err(told)?;
        run.compare(&store).map_err(told)?;
    }
    Ok(run.figures)
}

impl Run {
    fn disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.disk) as Arc<dyn Disk>
    }

    /// The power goes, or the process ends, within the `nth` changing call from now.
    fn end_after(&mut self, nth: u64) {
        if self.course.is_killed_within && self.killer.percent(70) {
            self.figures.kills += 1;
            self.disk.kill_after(nth);
        } else {
            self.disk.crash_after(nth);
        }
    }

    /// Makes the database; the power may go meanwhile.
    fn create(&mut self) -> std::result::Result<Store, String> {
        if self.dice.percent(15) {
            let nth = self.dice.between(1, 40);
            self.end_after(nth);
        }
        let mut created = Store::create(self.disk(), &self.options);
        for _ in 0..2 {
            match created {
                Err(error) if is_disk_fault(&error) => {
                    self.disk = self.disk.reopen();
                    created = Store::create(self.disk(), &self.options);
                }
                Err(error) if error.code == Code::DatabaseExists => {
                    created = self.open();
                }
                _ => break,
            }
        }
        self.disk.crash_after(u64::MAX);
        created.map_err(|error| format!("creation: {error}"))
    }

    fn open(&self) -> Result<Store> {
        if self.course.is_on_demand {
            return Store::open_on_demand(self.disk(), &self.options, &Progress::default());
        }
        let ground = if self.course.is_on_overlay { Ground::Overlay } else { Ground::InPlace };
        Store::open_recovering_on(self.disk(), &self.options, ground, &Progress::default())
    }

    fn sabotage(&self, store: &Store) {
        match self.course.sabotage {
            Some(Sabotage::IgnoreSync(pattern)) => self.disk.ignore_sync(pattern),
            Some(Sabotage::NoDoubleWrite) => store.shared().core.pool.switch_doublewrite_off(),
            Some(Sabotage::NoCompensation) => {
                store.shared().skip_compensation.store(true, Ordering::Relaxed);
            }
            None => {}
        }
    }

    /// One life, and its end: a crash within a call or between calls, a kill, or a shutdown.
    fn live(&mut self, store: &Store) -> std::result::Result<(), String> {
        self.sabotage(store);
        self.figures.lives += 1;
        let is_within = self.dice.percent(60);
        if is_within {
            let bound = self.dice.pick(&[20, 200, 2000]);
            let nth = self.dice.between(1, bound);
            self.end_after(nth);
        }
        let steps = self.dice.between(20, 900);
        let mut life = Life::new(store, &mut self.history, &mut self.dice, &mut self.figures.work);
        let ended = life.live(steps);
        if ended.is_ok() && life.dice.percent(15) {
            if life.dice.percent(50) {
                // Otherwise the transactions are still open: closing rolls them back.
                life.leave();
            }
            let closed = store.close();
            drop(life);
            return self.shut_down(store, closed);
        }
        // Its transactions end with the power, not before it: they must not be rolled back.
        self.figures.crashes_in_calls += u64::from(matches!(ended, Err(End::Crashed)));
        if !self.disk.is_dead() {
            if self.dice.percent(30) {
                self.figures.kills += 1;
                self.disk.kill();
            } else {
                self.disk.crash(self.dice.next());
            }
        }
        match ended {
            Err(End::Violation(what)) => Err(what),
            _ => self.settle(store),
        }
    }

    fn shut_down(&mut self, store: &Store, closed: Result<usize>) -> std::result::Result<(), String> {
        match closed {
            Ok(_) => self.figures.clean_closes += 1,
            Err(error) if is_disk_fault(&error) => {}
            Err(error) => return Err(format!("close: {error}")),
        }
        self.settle(store)
    }

    /// Notes what the life came to, and which states may follow it.
    fn settle(&mut self, store: &Store) -> std::result::Result<(), String> {
        let core = &store.shared().core;
        self.figures.evictions += core.pool.counters.evictions.load(Ordering::Relaxed);
        self.figures.pages_written += core.pool.counters.pages_written.load(Ordering::Relaxed);
        self.figures.checkpoints += store.checkpointer().status().count;
        self.figures.rotations += core.log.status().rotations;
        self.figures.splits += core.splits.load(Ordering::Relaxed);
        self.figures.most_pages = self.figures.most_pages.max(core.space.used_pages());
        let states: Vec<Rc<World>> = self.history.possible(core.log.durable()).cloned().collect();
        self.history = History::of(states);
        Ok(())
    }

    /// Recovers, crashing on the way up to twice.
    fn recover(&mut self) -> std::result::Result<Store, String> {
        let mut crashes = if self.dice.percent(40) { self.dice.between(1, 2) } else { 0 };
        loop {
            self.disk = self.disk.reopen();
            if crashes > 0 {
                let bound = self.dice.pick(&[15, 60, 400]);
                let nth = self.dice.between(1, bound);
                self.end_after(nth);
                crashes -= 1;
            }
            let opened = self.open().and_then(|store| {
                self.go_on(&store)?;
                Ok(store)
            });
            match opened {
                Ok(store) => {
                    self.disk.crash_after(u64::MAX);
                    self.figures.recoveries += 1;
                    return Ok(store);
                }
                Err(error) if self.disk.is_dead() && is_disk_fault(&error) => {
                    self.figures.crashed_recoveries += 1;
                }
                Err(error) => return Err(format!("recovery: {}", chain(&error))),
            }
        }
    }

    /// Does some of what a recovery has left, a checkpoint in the middle of it too; the power may
    /// go meanwhile.
    fn go_on(&mut self, store: &Store) -> Result<()> {
        if store.recovery().is_none() {
            return Ok(());
        }
        for _ in 0..self.dice.below(6) {
            match self.dice.below(5) {
                0 => store.checkpoint().map(|_| ())?,
                1 => store.shared().core.pool.write_out_cold().map(|_| ())?,
                2 => store.maintain()?,
                _ => store.redo_some(self.dice.below(3) as usize)?,
            }
        }
        Ok(())
    }

    /// Holds the database against the states that are allowed, then checks its structure, unless
    /// the next life is to begin before the recovery is through.
    fn compare(&mut self, store: &Store) -> std::result::Result<(), String> {
        let is_through = store.recovery().is_none_or(|recovery| recovery.standing.is_complete);
        if !is_through && self.history.possible(Lsn::NONE).count() == 1 && self.dice.percent(40) {
            // What is left to redo is redone where the next life needs it.
            self.figures.early_lives += 1;
            return Ok(());
        }
        let found = contents(store).map_err(|error| format!("reading back: {}", chain(&error)))?;
        let states: Vec<Rc<World>> = self.history.possible(Lsn::NONE).cloned().collect();
        let Some(state) = states.iter().find(|state| ***state == found) else {
            return Err(format!(
                "none of {} allowed states: {}",
                states.len(),
                differences(&states[states.len() - 1], &found)
            ));
        };
        self.history = History::of(vec![Rc::clone(state)]);
        if !is_through && self.dice.percent(50) {
            self.figures.early_lives += 1;
            return Ok(());
        }
        let finished = store.finish_recovery(&Progress::default());
        finished.map_err(|error| format!("the rest of a recovery: {}", chain(&error)))?;
        store.maintain().map_err(|error| format!("maintenance after recovery: {}", chain(&error)))?;
        audit(store)?;
        check(store)
    }
}

/// The kernel's own check must find nothing either.
pub fn check(store: &Store) -> std::result::Result<(), String> {
    let report =
        store.check(false, &Progress::default()).map_err(|error| format!("check: {}", chain(&error)))?;
    match report.problems.first() {
        None => Ok(()),
        Some(first) => Err(format!("check: {} problems, the first {first:?}", report.problems.len())),
    }
}

/// An error with its causes.
pub fn chain(error: &Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.cause.as_deref();
    while let Some(one) = cause {
        told = format!("{told}, because {one}");
        cause = one.cause.as_deref();
    }
    told
}

/// Reads every tree, both ways.
pub fn contents(store: &Store) -> Result<World> {
    let mut txn = store.begin(Isolation::RepeatableRead, true)?;
    let mut world = World::new();
    for entry in txn.catalogue(CatalogueKind::Tree)? {
        let rows = rows_of(&mut txn, entry.tree, false)?;
        if rows != rows_of(&mut txn, entry.tree, true)? || rows.len() as u64 != txn.count(entry.tree)? {
            return Err(Error::internal("two ways to read a tree disagree").with("tree", entry.name));
        }
        world.insert(entry.name, Rc::new(rows));
    }
    Ok(world)
}

/// Where two states differ, in figures.
fn differences(expected: &World, found: &World) -> String {
    let mut told = Vec::new();
    let names: std::collections::BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    for name in names {
        match (expected.get(name), found.get(name)) {
            (Some(_), None) => told.push(format!("tree {name} is missing")),
            (None, Some(_)) => told.push(format!("tree {name} should not be there")),
            (Some(expected), Some(found)) => {
                let missing = expected.keys().filter(|key| !found.contains_key(*key)).count();
                let extra = found.keys().filter(|key| !expected.contains_key(*key)).count();
                let other =
                    expected.iter().filter(|(key, value)| found.get(*key).is_some_and(|v| v != *value));
                told.push(format!("{name}: {missing} missing, {extra} extra, {} other", other.count()));
            }
            (None, None) => {}
        }
    }
    format!("against the newest: {}", told.join("; "))
}
