//! Damage done to the files of a database that nobody has open: one bit turned over, or a file cut
//! short. What comes of it is found (a coded error at open, at a read, or by the check) or harmless
//! (the same records are read). A wrong or missing record that nobody notices is a fault of ours.
//!
//! One thing is lost unnoticed, and must be: after an unclean stop, what was flushed last. Nothing
//! in the log can prove that it was ever there.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use _kernel::control::Control;
use _kernel::disk::Disk;
use _kernel::disk::memory::MemoryDisk;
use _kernel::error::{Code, Error};
use _kernel::log::LogReader;
use _kernel::log::record::group_durable;
use _kernel::recovery::Progress;
use _kernel::store::{Store, StoreOptions};
use _kernel::types::Lsn;

use crate::campaign::{chain, contents};
use crate::dice::Dice;
use crate::life::{End, Life, Tally};
use crate::model::{History, World};
use crate::settings;

pub type Files = BTreeMap<String, Vec<u8>>;

/// A database as a shutdown or a crash left it, and what it may be read as.
pub struct Specimen {
    pub files: Files,
    pub options: StoreOptions,
    allowed: Vec<Rc<World>>,
    pub is_clean: bool,
}

/// What became of one damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Harmless,
    FoundAtOpen,
    FoundByRead,
    FoundByCheck,
}

impl Specimen {
    /// A database after some work, shut down or not: every second one was.
    pub fn make(seed: u64) -> Result<Specimen, String> {
        let mut dice = Dice::new(seed);
        let options = settings::draw(&mut dice);
        let memory = MemoryDisk::new(seed);
        let told = |error: Error| chain(&error);
        let store = Store::create(Arc::clone(&memory) as Arc<dyn Disk>, &options).map_err(told)?;
        let mut history = History::new(Rc::new(World::new()));
        let mut tally = Tally::default();
        let steps = dice.between(30, 500);
        let mut life = Life::new(&store, &mut history, &mut dice, &mut tally);
        if let Err(End::Violation(what)) = life.live(steps) {
            return Err(what);
        }
        let is_clean = seed.is_multiple_of(2);
        if is_clean {
            life.leave();
            drop(life);
            store.close().map_err(told)?;
        } else {
            // Its transactions end with the process, not before it.
            memory.kill();
            drop(life);
        }
        drop(store);
        let files = memory.reopen().snapshot();
        let certain = if is_clean { Lsn::MAX } else { proven_durable(&files)? };
        let allowed = history.possible(certain).cloned().collect();
        Ok(Specimen { files, options, allowed, is_clean })
    }

    /// A disk of these files, with room for as many again and a little more.
    pub fn disk(&self, files: &Files) -> Arc<dyn Disk> {
        let disk = MemoryDisk::from_snapshot(1, files);
        let used: usize = files.values().map(Vec::len).sum();
        disk.set_capacity(Some(2 * used as u64 + (32 << 20)));
        disk
    }

    /// Damages a copy, opens it, and reads everything; the error says what was wrong unnoticed.
    pub fn damage(&self, dice: &mut Dice) -> Result<Verdict, String> {
        let mut files = self.files.clone();
        let told = self.hurt(&mut files, dice);
        self.judge(&files).map_err(|what| {
            format!(
                "{told} of a database {}: {what}",
                if self.is_clean { "shut down" } else { "killed" }
            )
        })
    }

    /// One flipped bit, or a cut; mostly where something lies. Says which.
    fn hurt(&self, files: &mut Files, dice: &mut Dice) -> String {
        let parts = ["database.holdfast", "database.holdfast", "wal/", "wal/", "control", "doublewrite"];
        let part = dice.pick(&parts);
        let paths: Vec<&String> = files.keys().filter(|path| path.starts_with(part)).collect();
        let path = paths[dice.index(paths.len())].clone();
        let Some(bytes) = files.get_mut(&path) else { return String::new() };
        let used: Vec<usize> = (0..bytes.len())
            .step_by(64)
            .filter(|at| bytes[*at..].iter().take(64).any(|b| *b != 0))
            .collect();
        let at = match dice.percent(80) && !used.is_empty() {
            true => (used[dice.index(used.len())] + dice.index(64)).min(bytes.len() - 1),
            false => dice.index(bytes.len()),
        };
        if dice.percent(25) {
            bytes.truncate(at);
            return format!("a cut of {path} to {at} bytes");
        }
        let bit = dice.index(8);
        bytes[at] ^= 1 << bit;
        format!("bit {bit} of byte {at} of {path}")
    }

    fn judge(&self, files: &Files) -> Result<Verdict, String> {
        let disk = self.disk(files);
        let store = match Store::open_recovering(Arc::clone(&disk), &self.options, &Progress::default())
        {
            Ok(store) => store,
            Err(error) => return coded(Verdict::FoundAtOpen, &error),
        };
        let found = contents(&store);
        let is_right =
            found.as_ref().is_ok_and(|world| self.allowed.iter().any(|state| **state == *world));
        let report = store.check(false, &Progress::default()).map_err(|error| chain(&error))?;
        match found {
            Err(error) if report.ok || error.code != Code::InternalError => {
                coded(Verdict::FoundByRead, &error)
            }
            _ if !report.ok => Ok(Verdict::FoundByCheck),
            _ if !is_right => Err("other records are read, and nobody noticed".to_owned()),
            _ => self.go_on(disk, store),
        }
    }

    /// What did no harm does none later either.
    fn go_on(&self, disk: Arc<dyn Disk>, store: Store) -> Result<Verdict, String> {
        store.close().map_err(|error| format!("close: {}", chain(&error)))?;
        drop(store);
        let store =
            Store::open(disk, &self.options).map_err(|error| format!("again: {}", chain(&error)))?;
        let world = contents(&store).map_err(|error| format!("read again: {}", chain(&error)))?;
        match self.allowed.iter().any(|state| **state == world) {
            true => Ok(Verdict::Harmless),
            false => Err("other records are read the second time".to_owned()),
        }
    }
}

/// A fault of the program is no finding.
fn coded(verdict: Verdict, error: &Error) -> Result<Verdict, String> {
    match error.code {
        Code::InternalError => Err(format!("{verdict:?}: {}", chain(error))),
        _ => Ok(verdict),
    }
}

/// What the log of a killed database proves to have been durable.
fn proven_durable(files: &Files) -> Result<Lsn, String> {
    let disk: Arc<dyn Disk> = MemoryDisk::from_snapshot(1, files);
    let read = || {
        let control = Control::read(&*disk)?;
        let floor = control.checkpoint_lsn;
        let mut reader = LogReader::open(Arc::clone(&disk), control.database, floor, floor)?;
        let mut durable = floor;
        while let Some(entry) = reader.next()? {
            durable = group_durable(&entry).map_or(durable, |lsn| lsn.max(durable));
        }
        Ok(durable)
    };
    read().map_err(|error| chain(&error))
}
