//! One run on a disk that fails one call, or every call from one on: each error is coded, the
//! store goes on or stops taking writes, what it shows is committed, and it recovers.

use std::rc::Rc;
use std::sync::Arc;

use _kernel::disk::Disk;
use _kernel::disk::faults::{Call, Counters, Fault, FaultDisk};
use _kernel::disk::memory::MemoryDisk;
use _kernel::error::Code;
use _kernel::log::SyncMode;
use _kernel::recovery::Progress;
use _kernel::store::{Ground, Store, StoreOptions};

use crate::audit::audit;
use crate::campaign::{chain, check, contents};
use crate::dice::Dice;
use crate::life::{End, Life, Tally, is_disk_fault};
use crate::model::{History, World};
use crate::settings;

const STEPS: u64 = 600;

pub type Outcome = Result<Report, String>;

pub struct Report {
    pub calls: u64,
    pub struck: u64,
    counters: Counters,
}

impl Report {
    fn of_disk(disk: &FaultDisk) -> Report {
        let counters = disk.counters();
        Report { calls: counters.total(), struck: disk.struck(), counters }
    }

    /// The calls of one kind.
    pub fn of(&self, call: Call) -> u64 {
        self.counters.of(call)
    }
}

fn draw(dice: &mut Dice) -> StoreOptions {
    let mut options = settings::draw(dice);
    options.opening.log.sync_mode = SyncMode::Durable;
    options.opening.cache_bytes = 20 * options.page_size as u64;
    options
}

/// One run with a fault set before the database is made.
pub fn run(seed: u64, fault: Option<Fault>) -> Outcome {
    let mut dice = Dice::new(seed);
    let options = draw(&mut dice);
    let memory = MemoryDisk::new(seed);
    let disk = FaultDisk::over_memory(Arc::clone(&memory));
    if let Some(fault) = fault {
        disk.fail(fault);
    }
    let mut history = History::new(Rc::new(World::new()));
    let store = create(&disk, &options)?;
    work(&store, &disk, &mut history, &mut dice)?;
    let states: Vec<Rc<World>> = history.possible(store.shared().core.log.durable()).cloned().collect();
    if dice.percent(50) {
        let _ = store.close();
    }
    drop(store);
    let states = if dice.percent(40) { restart(&disk, &memory, &options, &states)? } else { states };
    reopen(&disk, &memory, &options, &states)?;
    Ok(Report::of_disk(&disk))
}

/// The process begins anew, on the same system: what a failed sync dropped is still seen. Then the
/// power fails. What the recovery in between has shown is what must be there for good.
fn restart(
    disk: &Arc<FaultDisk>,
    memory: &Arc<MemoryDisk>,
    options: &StoreOptions,
    states: &[Rc<World>],
) -> Result<Vec<Rc<World>>, String> {
    disk.heal();
    memory.kill();
    let again = memory.reopen();
    let store = Store::open_recovering(again.clone(), options, &Progress::default())
        .map_err(|error| format!("recovery by the next process: {}", chain(&error)))?;
    let found = contents(&store).map_err(|error| format!("reading on: {}", chain(&error)))?;
    drop(store);
    again.crash(11);
    let state = states.iter().find(|state| ***state == found);
    state
        .map(|state| vec![Rc::clone(state)])
        .ok_or_else(|| "the next process is shown other records".to_owned())
}

/// One run on a disk with room for so many more bytes, which is then given room again. No room is
/// needed where it could not be refused: the store never fails for the lack of it.
pub fn run_full(seed: u64, room: u64) -> Outcome {
    let mut dice = Dice::new(seed);
    let options = draw(&mut dice);
    let memory = MemoryDisk::new(seed);
    let disk = FaultDisk::over_memory(Arc::clone(&memory));
    let mut history = History::new(Rc::new(World::new()));
    let store = create(&disk, &options)?;
    disk.full_after(room);
    work(&store, &disk, &mut history, &mut dice)?;
    if let Some(error) = store.shared().core.log.failed() {
        return Err(format!("a full disk failed the store: {}", chain(&error)));
    }
    let states: Vec<Rc<World>> = history.possible(store.shared().core.log.durable()).cloned().collect();
    drop(store);
    reopen(&disk, &memory, &options, &states)?;
    Ok(Report::of_disk(&disk))
}

/// A recovery that the power leaves after `first` changing calls, one after that which it leaves
/// after `second`, and one that it lets end.
pub fn run_crashed_recoveries(seed: u64, first: u64, second: u64) -> Outcome {
    let mut dice = Dice::new(seed);
    let options = draw(&mut dice);
    let (memory, states) = crashed(seed, &mut dice, &options)?;
    let mut memory = memory.reopen();
    let (mut struck, mut calls) = (0, None);
    for nth in [first, second] {
        let before = memory.counters().changes;
        memory.crash_after(nth);
        let disk = Arc::clone(&memory) as Arc<dyn Disk>;
        match Store::open_recovering(disk, &options, &Progress::default()) {
            Ok(store) => drop(store),
            Err(error) if is_disk_fault(&error) => struck += 1,
            Err(error) => return Err(format!("recovery: {}", chain(&error))),
        }
        calls.get_or_insert(memory.counters().changes - before);
        memory = memory.reopen();
    }
    memory.crash_after(u64::MAX);
    let disk = FaultDisk::over_memory(Arc::clone(&memory));
    reopen(&disk, &memory, &options, &states)?;
    Ok(Report { calls: calls.unwrap_or(0), struck, counters: disk.counters() })
}

/// A database whose power went while transactions were open, and what it may hold.
fn crashed(
    seed: u64,
    dice: &mut Dice,
    options: &StoreOptions,
) -> Result<(Arc<MemoryDisk>, Vec<Rc<World>>), String> {
    let memory = MemoryDisk::new(seed);
    let mut history = History::new(Rc::new(World::new()));
    let store = Store::create(Arc::clone(&memory) as Arc<dyn Disk>, options)
        .map_err(|error| error.to_string())?;
    let mut tally = Tally::default();
    let mut life = Life::new(&store, &mut history, dice, &mut tally);
    if let Err(End::Violation(what)) = life.live(STEPS) {
        return Err(what);
    }
    // What is open when the power goes is what undo has to do.
    memory.crash(seed);
    drop(life);
    let states = history.possible(store.shared().core.log.durable()).cloned().collect();
    Ok((memory, states))
}

/// One run without a fault, and a recovery with one, which is then run again.
pub fn run_recovery(seed: u64, fault: Option<Fault>, is_on_overlay: bool) -> Outcome {
    let ground = || if is_on_overlay { Ground::Overlay } else { Ground::InPlace };
    let mut dice = Dice::new(seed);
    let options = draw(&mut dice);
    let (memory, states) = crashed(seed, &mut dice, &options)?;
    let memory = memory.reopen();
    let disk = FaultDisk::over_memory(Arc::clone(&memory));
    if let Some(fault) = fault {
        disk.fail(fault);
    }
    let faulty = Arc::clone(&disk) as Arc<dyn Disk>;
    match Store::open_recovering_on(Arc::clone(&faulty), &options, ground(), &Progress::default()) {
        Ok(_) => {}
        Err(error) if is_disk_fault(&error) => {
            disk.heal();
            // Without a crash in between: what the failed attempt left is still there.
            Store::open_recovering_on(faulty, &options, ground(), &Progress::default())
                .map_err(|error| format!("second recovery: {}", chain(&error)))?;
        }
        Err(error) => return Err(format!("recovery: {}", chain(&error))),
    }
    let report = Report::of_disk(&disk);
    reopen(&disk, &memory, &options, &states)?;
    Ok(report)
}

fn create(disk: &Arc<FaultDisk>, options: &StoreOptions) -> Result<Store, String> {
    let faulty = || Arc::clone(disk) as Arc<dyn Disk>;
    match Store::create(faulty(), options) {
        Ok(store) => Ok(store),
        Err(error) if is_disk_fault(&error) => {
            disk.heal();
            let again = match Store::create(faulty(), options) {
                Err(error) if error.code == Code::DatabaseExists => {
                    Store::open_recovering(faulty(), options, &Progress::default())
                }
                other => other,
            };
            again.map_err(|error| format!("second creation: {}", chain(&error)))
        }
        Err(error) => Err(format!("creation: {}", chain(&error))),
    }
}

/// Works until the fault is met; then the store must still answer reads with what is committed.
fn work(
    store: &Store,
    disk: &Arc<FaultDisk>,
    history: &mut History,
    dice: &mut Dice,
) -> Result<(), String> {
    let mut tally = Tally::default();
    let mut life = Life::new(store, history, dice, &mut tally);
    let ended = life.live(STEPS);
    disk.heal();
    life.leave();
    drop(life);
    match ended {
        Err(End::Violation(what)) => return Err(what),
        Ok(()) => return Ok(()),
        Err(End::Crashed) => {}
    }
    let has_failed = store.shared().core.log.failed().is_some();
    let found = contents(store)
        .map_err(|error| format!("reading after the fault (failed: {has_failed}): {}", chain(&error)))?;
    // What a failed commit would have added is not shown, whatever recovery will decide.
    if history.acknowledged().is_none_or(|acknowledged| **acknowledged != found) {
        return Err(format!("after the fault (failed: {has_failed}) other records are shown"));
    }
    if has_failed {
        refuse(store)?;
    } else {
        // A rollback that met the fault, and whose owner is gone, is done now.
        store.maintain().map_err(|error| format!("maintenance after the fault: {}", chain(&error)))?;
        go_on(store, history)?;
    }
    Ok(())
}

/// A store that has failed says so to every writer, and its status says why.
fn refuse(store: &Store) -> Result<(), String> {
    let written = (|| {
        let mut txn = store.begin(_kernel::txn::Isolation::ReadCommitted, false)?;
        let tree = txn.tree("after", true)?.ok_or_else(|| _kernel::error::Error::internal("no tree"))?;
        txn.put(tree, b"key", b"value")?;
        txn.commit()
    })();
    match written {
        Err(error) if error.code == Code::StoreFailed => {}
        other => return Err(format!("a write to a failed store: {other:?}")),
    }
    let told = store.shared().core.log.status().failed.and_then(|error| error.cause);
    told.map(|_| ()).ok_or_else(|| "a failed store does not say why".to_owned())
}

/// A store that has not failed takes writes again once the disk works.
fn go_on(store: &Store, history: &mut History) -> Result<(), String> {
    let done = (|| {
        let mut txn = store.begin(_kernel::txn::Isolation::ReadCommitted, false)?;
        let tree = txn.tree("after", true)?.ok_or_else(|| _kernel::error::Error::internal("no tree"))?;
        txn.put(tree, b"key", b"value")?;
        txn.commit()
    })();
    let lsn = done.map_err(|error| format!("a write after the fault: {}", chain(&error)))?;
    let mut after = World::clone(history.newest());
    after.insert("after".to_owned(), Rc::new([(b"key".to_vec(), b"value".to_vec())].into()));
    history.commit(lsn, after);
    Ok(())
}

fn reopen(
    disk: &Arc<FaultDisk>,
    memory: &Arc<MemoryDisk>,
    options: &StoreOptions,
    states: &[Rc<World>],
) -> Result<(), String> {
    disk.heal();
    memory.crash(7);
    let life: Arc<dyn Disk> = memory.reopen();
    let store = Store::open_recovering(life, options, &Progress::default())
        .map_err(|error| format!("recovery: {}", chain(&error)))?;
    let found = contents(&store).map_err(|error| format!("reading back: {}", chain(&error)))?;
    if !states.iter().any(|state| **state == found) {
        return Err(format!("none of {} allowed states after recovery", states.len()));
    }
    store.maintain().map_err(|error| format!("maintenance: {}", chain(&error)))?;
    audit(&store)?;
    check(&store)
}
