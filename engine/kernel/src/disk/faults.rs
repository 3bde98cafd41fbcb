//! A disk whose every call can be made to fail, to be late, or to meet a full medium.
//!
//! It wraps any other disk. A test runs once to learn how many calls a clean run makes, then
//! once for each of them with that call failing, once and for good.

use std::time::Duration;

use super::memory::MemoryDisk;
pub use super::simulated::{Call, Counters};
use super::{Disk, File, OpenMode};
use crate::error::{Error, Result};
use crate::sync::{Arc, Condvar, Mutex};

/// The error a failing call answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The device failed (EIO).
    Device,
    /// No room is left (ENOSPC).
    Full,
}

/// Which calls are to fail, counted from the moment the fault is set.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Calls of this kind only; `None` counts every call.
    pub call: Option<Call>,
    /// The first call to fail; 1 is the next.
    pub nth: u64,
    /// Every later call of the kind fails too.
    pub for_good: bool,
    pub failure: Failure,
}

struct Armed {
    fault: Fault,
    seen: u64,
}

#[derive(Default)]
struct Plan {
    faults: Vec<Armed>,
    delays: Vec<(Call, Duration)>,
    /// Calls that do not come back, and how many are being kept.
    blocked: Vec<Call>,
    kept: usize,
    /// Bytes that may still be written before the medium is full.
    room: Option<u64>,
    counters: Counters,
    struck: u64,
}

struct Shared {
    inner: Arc<dyn Disk>,
    /// Where known, a failed sync also drops the writes it covered.
    memory: Option<Arc<MemoryDisk>>,
    plan: Mutex<Plan>,
    /// Calls began to be kept, or are let go.
    changed: Condvar,
}

/// Wraps a disk and makes chosen calls fail.
pub struct FaultDisk {
    shared: Arc<Shared>,
}

struct FaultFile {
    shared: Arc<Shared>,
    inner: Arc<dyn File>,
    path: String,
}

impl FaultDisk {
    pub fn new(inner: Arc<dyn Disk>) -> Arc<Self> {
        Self::build(inner, None)
    }

    /// Over a simulated disk, where a sync that fails also drops the writes it covered: they
    /// are read back until the next crash, and never reach the medium.
    pub fn over_memory(memory: Arc<MemoryDisk>) -> Arc<Self> {
        let inner: Arc<dyn Disk> = memory.clone();
        Self::build(inner, Some(memory))
    }

    fn build(inner: Arc<dyn Disk>, memory: Option<Arc<MemoryDisk>>) -> Arc<Self> {
        Arc::new(FaultDisk {
            shared: Arc::new(Shared {
                inner,
                memory,
                plan: Mutex::default(),
                changed: Condvar::default(),
            }),
        })
    }

    /// Adds a fault; it counts calls from now on.
    pub fn fail(&self, fault: Fault) {
        self.shared.plan.lock().faults.push(Armed { fault, seen: 0 });
    }

    /// Every call of this kind takes at least this long from now on.
    pub fn delay(&self, call: Call, time: Duration) {
        self.shared.plan.lock().delays.push((call, time));
    }

    /// No call of this kind comes back before [`FaultDisk::heal`]: a share whose server is gone.
    pub fn block(&self, call: Call) {
        self.shared.plan.lock().blocked.push(call);
    }

    /// Returns once a call is being kept.
    pub fn await_blocked(&self) {
        let mut plan = self.shared.plan.lock();
        while plan.kept == 0 {
            self.shared.changed.wait(&mut plan);
        }
    }

    /// The medium is full once this many more bytes were written or allocated.
    pub fn full_after(&self, bytes: u64) {
        self.shared.plan.lock().room = Some(bytes);
    }

    /// No more faults, delays, blocks or limits; counters stay.
    pub fn heal(&self) {
        let mut plan = self.shared.plan.lock();
        plan.faults.clear();
        plan.delays.clear();
        plan.room = None;
        plan.blocked.clear();
        self.shared.changed.notify_all();
    }

    /// The calls made so far, failed ones included.
    pub fn counters(&self) -> Counters {
        self.shared.plan.lock().counters
    }

    /// How many calls were made to fail so far.
    pub fn struck(&self) -> u64 {
        self.shared.plan.lock().struck
    }
}

impl Plan {
    /// Counts one call that adds `bytes` to the medium; `Some` when it must fail.
    fn judge(&mut self, call: Call, bytes: u64) -> Option<Failure> {
        self.counters.count(call);
        let mut failure = None;
        for armed in &mut self.faults {
            if armed.fault.call.is_none_or(|kind| kind == call) {
                armed.seen += 1;
                let due = armed.seen == armed.fault.nth;
                if due || (armed.fault.for_good && armed.seen > armed.fault.nth) {
                    failure = Some(armed.fault.failure);
                }
            }
        }
        if let Some(room) = &mut self.room {
            if bytes > *room {
                failure = failure.or(Some(Failure::Full));
            } else if failure.is_none() {
                *room -= bytes;
            }
        }
        self.struck += u64::from(failure.is_some());
        failure
    }
}

impl Shared {
    fn enter(&self, call: Call, path: &str, bytes: u64) -> Result<()> {
        let mut plan = self.plan.lock();
        if plan.blocked.contains(&call) {
            plan.kept += 1;
            self.changed.notify_all();
            while plan.blocked.contains(&call) {
                self.changed.wait(&mut plan);
            }
            plan.kept -= 1;
        }
        let failure = plan.judge(call, bytes);
        let wait: Duration = plan.delays.iter().filter(|(kind, _)| *kind == call).map(|(_, t)| *t).sum();
        drop(plan);
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        match failure {
            None => Ok(()),
            Some(Failure::Full) => {
                Err(Error::io(call.name(), path, &std::io::ErrorKind::StorageFull.into()))
            }
            Some(Failure::Device) => {
                Err(Error::io(call.name(), path, &std::io::Error::other("simulated device error")))
            }
        }
    }
}

impl Disk for FaultDisk {
    fn open(&self, path: &str, mode: OpenMode) -> Result<Arc<dyn File>> {
        self.shared.enter(Call::Open, path, 0)?;
        let inner = self.shared.inner.open(path, mode)?;
        Ok(Arc::new(FaultFile { shared: Arc::clone(&self.shared), inner, path: path.to_owned() }))
    }

    fn remove(&self, path: &str) -> Result<()> {
        self.shared.enter(Call::Remove, path, 0)?;
        self.shared.inner.remove(path)
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        self.shared.enter(Call::List, folder, 0)?;
        self.shared.inner.list(folder)
    }

    fn sync_dir(&self, folder: &str) -> Result<()> {
        self.shared.enter(Call::SyncDir, folder, 0)?;
        self.shared.inner.sync_dir(folder)
    }

    fn free_bytes(&self) -> Result<u64> {
        self.shared.enter(Call::FreeBytes, "", 0)?;
        let free = self.shared.inner.free_bytes()?;
        Ok(self.shared.plan.lock().room.map_or(free, |room| room.min(free)))
    }
}

impl FaultFile {
    /// Bytes a call would add to the file. Not asked unless room is limited: it is a call.
    fn growth(&self, end: u64) -> Result<u64> {
        let limited = self.shared.plan.lock().room.is_some();
        Ok(if limited { end.saturating_sub(self.inner.size()?) } else { 0 })
    }
}

impl File for FaultFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.shared.enter(Call::Read, &self.path, 0)?;
        self.inner.read_at(buffer, offset)
    }

    fn read_past_cache(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.shared.enter(Call::Read, &self.path, 0)?;
        self.inner.read_past_cache(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let growth = self.growth(offset + bytes.len() as u64)?;
        self.shared.enter(Call::Write, &self.path, growth)?;
        self.inner.write_at(bytes, offset)
    }

    fn allocate(&self, size: u64) -> Result<()> {
        let growth = self.growth(size)?;
        self.shared.enter(Call::Allocate, &self.path, growth)?;
        self.inner.allocate(size)
    }

    fn truncate(&self, size: u64) -> Result<()> {
        self.shared.enter(Call::Truncate, &self.path, 0)?;
        self.inner.truncate(size)
    }

    fn size(&self) -> Result<u64> {
        self.shared.enter(Call::Size, &self.path, 0)?;
        self.inner.size()
    }

    fn sync(&self) -> Result<()> {
        let verdict = self.shared.enter(Call::Sync, &self.path, 0);
        if verdict.is_err()
            && let Some(memory) = &self.shared.memory
        {
            memory.drop_unsynced(&self.path);
        }
        verdict?;
        self.inner.sync()
    }
}
