//! Whether the disk of a mirror answers.
//!
//! A share whose server is gone, or a disk that is worn out, may keep a call for minutes, or for
//! ever; no thread can be called back from there. So every call is noted while it lasts. Whoever
//! must not wait with it looks how long the oldest has taken, and may give the disk up: from then
//! on each call, also the one under way, ends with `Cancelled`, so that a thread which comes back
//! late touches nothing any more that others have taken over.

use std::time::{Duration, Instant};

use crate::disk::{Disk, File, OpenMode};
use crate::error::{Code, Error, Result};
use crate::sync::{Arc, Mutex};

#[derive(Default)]
struct State {
    /// The calls under way: their numbers, and when they began.
    calls: Vec<(u64, Instant)>,
    next: u64,
    is_given_up: bool,
}

/// The calls to one disk. No other lock is taken while its own is held.
#[derive(Default)]
pub struct Pulse {
    state: Mutex<State>,
}

impl Pulse {
    /// Makes a call. `Cancelled` where the disk was given up before, or meanwhile.
    pub fn during<T>(&self, call: impl FnOnce() -> Result<T>) -> Result<T> {
        let number = {
            let mut state = self.state.lock();
            if state.is_given_up {
                return Err(Error::new(Code::Cancelled));
            }
            state.next += 1;
            let number = state.next;
            state.calls.push((number, Instant::now()));
            number
        };
        let done = call();
        let mut state = self.state.lock();
        state.calls.retain(|(known, _)| *known != number);
        if state.is_given_up { Err(Error::new(Code::Cancelled)) } else { done }
    }

    /// How long the oldest call under way has taken; nothing where there is none.
    pub fn pending(&self) -> Duration {
        let state = self.state.lock();
        state.calls.iter().map(|(_, began)| began.elapsed()).max().unwrap_or_default()
    }

    /// Gives the disk up where a call has been under way for `patience`; true where it is given up.
    pub fn give_up(&self, patience: Duration) -> bool {
        let mut state = self.state.lock();
        state.is_given_up |= state.calls.iter().any(|(_, began)| began.elapsed() >= patience);
        state.is_given_up
    }

    pub fn is_given_up(&self) -> bool {
        self.state.lock().is_given_up
    }
}

/// A disk whose calls are noted in its pulse.
pub struct Watched {
    pub disk: Arc<dyn Disk>,
    pub pulse: Arc<Pulse>,
}

struct WatchedFile {
    file: Arc<dyn File>,
    pulse: Arc<Pulse>,
}

impl Disk for Watched {
    fn open(&self, path: &str, mode: OpenMode) -> Result<Arc<dyn File>> {
        let file = self.pulse.during(|| self.disk.open(path, mode))?;
        Ok(Arc::new(WatchedFile { file, pulse: Arc::clone(&self.pulse) }))
    }
    fn remove(&self, path: &str) -> Result<()> {
        self.pulse.during(|| self.disk.remove(path))
    }
    fn list(&self, folder: &str) -> Result<Vec<String>> {
        self.pulse.during(|| self.disk.list(folder))
    }
    fn sync_dir(&self, folder: &str) -> Result<()> {
        self.pulse.during(|| self.disk.sync_dir(folder))
    }
    fn free_bytes(&self) -> Result<u64> {
        self.pulse.during(|| self.disk.free_bytes())
    }
    fn is_atomic(&self) -> bool {
        self.disk.is_atomic()
    }
}

impl File for WatchedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.pulse.during(|| self.file.read_at(buffer, offset))
    }
    fn read_past_cache(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.pulse.during(|| self.file.read_past_cache(buffer, offset))
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.pulse.during(|| self.file.write_at(bytes, offset))
    }
    fn write_past_cache(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.pulse.during(|| self.file.write_past_cache(bytes, offset))
    }
    fn allocate(&self, size: u64) -> Result<()> {
        self.pulse.during(|| self.file.allocate(size))
    }
    fn truncate(&self, size: u64) -> Result<()> {
        self.pulse.during(|| self.file.truncate(size))
    }
    fn size(&self) -> Result<u64> {
        self.pulse.during(|| self.file.size())
    }
    fn will_write(&self, ranges: &[(u64, u64)]) {
        self.file.will_write(ranges);
    }
    fn sync(&self) -> Result<()> {
        self.pulse.during(|| self.file.sync())
    }
}
