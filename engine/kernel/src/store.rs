//! One open database: its parts, its background work, its life from create to close.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::sync::{AtomicBool, Condvar, Mutex, Ordering};

use crate::checkpoint::{CheckpointStatus, Checkpointer};
use crate::control::ControlData;
use crate::disk::{Disk, OpenMode};
use crate::error::{Code, Error, Result};
use crate::events::unix_micros;
use crate::mirror::{MirrorOptions, Mirrors, Source};
use crate::recovery::{Opening, OpeningOptions, Parts, Progress};
use crate::repair::OnDamage;
use crate::txn::{Isolation, Shared, Transaction, collect, tidy};
use crate::types::DatabaseId;
use crate::verify::CheckReport;

mod older_log;
mod recovering;
mod rest;
mod sweeping;

pub use recovering::{Ground, Recovering, Unfinished};
pub use rest::RecoveryStanding;
use rest::Rest;
pub use sweeping::Swept;

/// Present only after a clean shutdown.
pub const CLEAN_MARKER: &str = ".clean_shutdown";
/// Present while somebody, or a recovery, has asked for one.
pub const RECOVERY_MARKER: &str = ".recovery_needed";
/// The log between two checkpoints is at most this part of what the disk has left, but so much it may be.
const DUE_OF_FREE: u64 = 8;
const LEAST_DUE: u64 = 16 << 20;
/// How often background work looks around.
const TICK: Duration = Duration::from_millis(20);

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    pub page_size: usize,
    pub opening: OpeningOptions,
    pub checkpoint_interval: Duration,
    /// A checkpoint is taken after so much log, or sooner where the disk is nearly full.
    pub checkpoint_log_bytes: u64,
    /// Threads of the store's own; without, [`Store::maintain`] does their work when called.
    pub background: bool,
    pub read_only: bool,
    /// Drawn at random where it is `None`.
    pub database: Option<DatabaseId>,
    pub mirrors: MirrorOptions,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions {
            page_size: 8192,
            opening: OpeningOptions {
                cache_bytes: 64 << 20,
                log: crate::log::LogOptions::default(),
                locks: crate::lock::LockOptions::default(),
                image_every: 512,
                redo_workers: 2,
                on_damage: OnDamage::Repair,
                limits: crate::txn::LogLimits::default(),
                redo_index_bytes: 16 << 20,
                helpers: crate::repair::Helpers::default(),
            },
            checkpoint_interval: Duration::from_secs(300),
            checkpoint_log_bytes: 1 << 30,
            background: true,
            read_only: false,
            database: None,
            mirrors: MirrorOptions::default(),
        }
    }
}

/// What background threads and the store share.
struct Work {
    disk: Arc<dyn Disk>,
    shared: Arc<Shared>,
    checkpointer: Arc<Checkpointer>,
    /// What was left of the recovery that opened the store.
    rest: Option<Rest>,
    interval: Duration,
    log_bytes: u64,
    stop: AtomicBool,
    gate: Mutex<()>,
    wake: Condvar,
    /// One at a time gives pages back: two could give back the same, and the second one when
    /// somebody else uses it. A close holds it to its end: nobody changes pages behind it.
    giving_back: Mutex<()>,
}

/// What one background thread does each time it looks around.
type Job = fn(&Work) -> Result<()>;

pub struct Store {
    disk: Arc<dyn Disk>,
    work: Arc<Work>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    page_size: usize,
    /// Held while the marks of backups are changed.
    marks: Mutex<()>,
    mirrors: Mirrors,
}

/// Writes an empty file whose being there says something.
pub fn put_marker(disk: &dyn Disk, name: &str) -> Result<()> {
    disk.open(name, OpenMode::Create)?.sync()?;
    disk.sync_dir("")
}

pub fn remove_marker(disk: &dyn Disk, name: &str) -> Result<()> {
    disk.remove(name)?;
    disk.sync_dir("")
}

/// True where the last shutdown was clean and nobody asked for a recovery.
pub fn is_clean(disk: &dyn Disk, control: &ControlData) -> Result<bool> {
    Ok(!control.clean_end.is_none() && disk.exists(CLEAN_MARKER)? && !disk.exists(RECOVERY_MARKER)?)
}

fn ensure_clean(disk: &dyn Disk, control: &ControlData) -> Result<()> {
    if is_clean(disk, control)? {
        return Ok(());
    }
    Err(Error::new(Code::RecoveryNeeded).with("indicators", vec!["unclean_shutdown".to_owned()]))
}

impl Store {
    /// Opens a cleanly closed database; `RecoveryNeeded` where it was not. One that is opened for
    /// reading only is left as it is, to the last byte.
    pub fn open(disk: Arc<dyn Disk>, options: &StoreOptions) -> Result<Store> {
        if options.read_only {
            return Self::view(disk, options);
        }
        let mut opening = Opening::begin(Arc::clone(&disk), options.opening.clone())?;
        ensure_clean(&*disk, &opening.control())?;
        opening.resume()?;
        remove_marker(&*disk, CLEAN_MARKER)?;
        Self::finish(disk, opening, options)
    }

    /// Turns a finished opening into a store and starts its background work.
    pub fn finish(disk: Arc<dyn Disk>, opening: Opening, options: &StoreOptions) -> Result<Store> {
        let parts = opening.finish()?;
        parts.shared.read_only.store(options.read_only, Ordering::Release);
        creating::forget_creation(&*disk)?;
        Self::start(disk, parts, options)
    }

    fn start(disk: Arc<dyn Disk>, parts: Parts, options: &StoreOptions) -> Result<Store> {
        let Parts { shared, checkpointer, on_demand } = parts;
        let page_size = shared.core.pool.page_size();
        let checkpointer = Arc::new(checkpointer);
        // Before anybody may cut the log.
        let source = Source {
            shared: Arc::clone(&shared),
            checkpointer: Arc::clone(&checkpointer),
            disk: Arc::clone(&disk),
        };
        let mirrors = Mirrors::new(source, options.mirrors, options.background)?;
        checkpointer.set_due(options.checkpoint_log_bytes);
        let work = Arc::new(Work {
            disk: Arc::clone(&disk),
            rest: on_demand.map(|on_demand| Rest::of(on_demand, &disk, &shared)),
            shared,
            checkpointer,
            interval: options.checkpoint_interval,
            log_bytes: options.checkpoint_log_bytes,
            stop: AtomicBool::new(false),
            gate: Mutex::new(()),
            wake: Condvar::new(),
            giving_back: Mutex::new(()),
        });
        let threads =
            if options.background && !work.is_view() { Work::spawn(&work) } else { Vec::new() };
        let (threads, marks) = (Mutex::new(threads), Mutex::new(()));
        Ok(Store { disk, work, threads, page_size, marks, mirrors })
    }

    /// The mirrors that are kept of it.
    pub fn mirrors(&self) -> &Mirrors {
        &self.mirrors
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.work.shared
    }
    pub fn checkpointer(&self) -> &Arc<Checkpointer> {
        &self.work.checkpointer
    }
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }
    pub fn page_size(&self) -> usize {
        self.page_size
    }

    pub fn begin(&self, isolation: Isolation, is_read_only: bool) -> Result<Transaction> {
        self.shared().begin(isolation, is_read_only)
    }

    /// Writes everything out and takes a checkpoint.
    pub fn checkpoint(&self) -> Result<CheckpointStatus> {
        self.work.shared.enforce_limits();
        self.work.checkpointer.take(&self.work.shared, true, &mut || true)
    }

    /// Makes everything committed so far durable, whatever the sync mode.
    pub fn flush(&self) -> Result<()> {
        let log = &self.work.shared.core.log;
        log.flush_to(log.end())
    }

    /// Remembers a backup that is complete, so that increments can be added to it.
    pub(crate) fn remember_backup(&self, id: &str) -> Result<()> {
        if self.is_view() {
            return Ok(());
        }
        let _turn = self.marks.lock();
        crate::backup::marks::add(&*self.disk, id)
    }

    /// Checks every invariant, or only the checksums in the file where `is_quick`. The database
    /// may be in use; see [`verify`].
    pub fn check(&self, is_quick: bool, progress: &Progress) -> Result<CheckReport> {
        self.finish_redo(progress)?;
        self.work.check(is_quick, true, progress)
    }

    /// As [`Store::check`], but pages that are in use and that nothing leads to are no problem.
    pub fn check_in_use(&self, is_quick: bool, progress: &Progress) -> Result<CheckReport> {
        self.finish_redo(progress)?;
        self.work.check(is_quick, false, progress)
    }

    /// What the background threads do, once: for stores without them.
    pub fn maintain(&self) -> Result<()> {
        if self.is_view() {
            return Ok(());
        }
        self.work.clean()?;
        self.work.checkpoint_if_due()?;
        self.work.redo_some(1)?;
        self.give_back()?;
        self.work.complete_recovery()
    }

    /// Gives back at once what was dropped and nobody can see any more, as the background does by
    /// and by. `StoreClosed` where it is closed meanwhile.
    pub fn give_back(&self) -> Result<()> {
        if self.is_view() {
            return Ok(());
        }
        let given = self.work.give_back(&mut || self.work.is_going());
        given.map_err(|error| match error.code {
            Code::Cancelled => Error::new(Code::StoreClosed).because(error),
            _ => error,
        })
    }

    /// Rolls back the transactions still active, writes everything out and marks the shutdown
    /// clean. Returns how many were rolled back. A failed store is closed without the mark, and so
    /// is one with pages that its recovery could not redo: the next open recovers it again.
    pub fn close(&self) -> Result<usize> {
        self.close_or_leave(&Progress::default())
    }

    /// As [`Store::close`]; once `progress` is cancelled, what an early opening has left to redo and to
    /// undo is left to the next open, which goes on from there. Nothing that was committed is lost by it.
    pub fn close_or_leave(&self, progress: &Progress) -> Result<usize> {
        let shared = &self.work.shared;
        if shared.closed.swap(true, Ordering::SeqCst) {
            return Ok(0);
        }
        self.stop_threads();
        if let Some(error) = shared.core.log.failed() {
            self.mirrors.close(false);
            let _ = shared.core.log.close();
            return Err(error);
        }
        let may_leave = self.is_behind();
        let is_redone = self.redo_before_close(progress)?;
        let _turn = self.work.giving_back.lock();
        let aborted = match self.end_transactions(&mut || !may_leave || !progress.is_cancelled()) {
            Ok(aborted) => aborted,
            // A loser that needs a page which could not be redone waits for the next recovery.
            Err(error) if !is_redone && !shared.core.log.has_failed() => {
                drop(error);
                return self.close_unfinished();
            }
            Err(error) => return Err(error),
        };
        if self.is_view() {
            self.mirrors.close(false);
            return shared.core.log.close().map(|_| aborted);
        }
        if !is_redone || !shared.txns.is_idle() {
            return self.close_unfinished().map(|_| aborted);
        }
        self.work.checkpointer.take(shared, true, &mut || true)?;
        shared.core.pool.write_out_all()?;
        self.work.checkpointer.take(shared, true, &mut || true)?;
        shared.core.pool.clear_doublewrite()?;
        let closed = shared.core.log.close();
        self.mirrors.close(closed.is_ok());
        let end = closed?;
        self.work.checkpointer.close(end)?;
        if self.work.rest.is_some() {
            remove_marker(&*self.disk, RECOVERY_MARKER)?;
        }
        put_marker(&*self.disk, CLEAN_MARKER)?;
        self.note_recovered();
        Ok(aborted)
    }

    /// Rolls back every transaction in flight, while `keep_on` says so; returns how many.
    fn end_transactions(&self, keep_on: &mut dyn FnMut() -> bool) -> Result<usize> {
        let shared = &self.work.shared;
        let mut aborted = shared.end_while(&|_| Error::new(Code::StoreClosed), keep_on)?;
        // Those are left that their owners are ending themselves.
        while !shared.txns.is_idle() && keep_on() {
            crate::sync::sleep(Duration::from_micros(100));
            aborted += shared.end_while(&|_| Error::new(Code::StoreClosed), keep_on)?;
        }
        Ok(aborted)
    }

    fn stop_threads(&self) {
        self.stop_checking();
        self.work.stop.store(true, Ordering::Release);
        self.work.wake.notify_all();
        for thread in self.threads.lock().drain(..) {
            // A thread that panicked has nothing more to say here.
            let _ = thread.join();
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.mirrors.close(false);
        self.stop_threads();
    }
}

impl Work {
    fn spawn(work: &Arc<Work>) -> Vec<JoinHandle<()>> {
        let jobs: [(&str, Job); 3] = [
            ("holdfast-cleaner", Work::clean),
            ("holdfast-checkpoint", Work::checkpoint_if_due),
            ("holdfast-collector", Work::collect_garbage),
        ];
        let rest: Option<(&str, Job)> =
            work.rest.is_some().then_some(("holdfast-recovery", Work::recover_rest));
        let asker: Option<(&str, Job)> =
            work.begin_asking().then_some(("holdfast-asker", Work::ask_helpers));
        jobs.into_iter()
            .chain(rest)
            .chain(asker)
            .filter_map(|(name, job)| {
                let work = Arc::clone(work);
                std::thread::Builder::new().name(name.to_owned()).spawn(move || work.run(job)).ok()
            })
            .collect()
    }

    fn run(&self, job: Job) {
        while self.is_going() {
            let done = catch_unwind(AssertUnwindSafe(|| job(self))).unwrap_or_else(|_| {
                Err(self.shared.core.log.fail(Error::internal("a thread of the store's own panicked")))
            });
            if self.shared.core.log.has_failed() {
                self.shared.wake_if_failed();
                self.end_asking();
                return;
            }
            if let Err(error) = done
                && error.code != Code::Cancelled
            {
                self.shared.events.push("background_error", vec![("error", error.to_string().into())]);
                self.pause(Duration::from_secs(1));
            }
            self.pause(TICK);
        }
    }

    fn pause(&self, time: Duration) {
        let mut gate = self.gate.lock();
        if !self.stop.load(Ordering::Acquire) {
            self.wake.wait_until(&mut gate, Instant::now() + time);
        }
    }

    /// True where nothing may be written; see [`Store::view`].
    fn is_view(&self) -> bool {
        self.shared.core.log.is_view()
    }

    fn is_going(&self) -> bool {
        !self.stop.load(Ordering::Acquire)
    }

    /// Keeps clean frames at hand, so that nobody has to wait for one.
    fn clean(&self) -> Result<()> {
        self.shared.core.pool.keep_clean(|| self.is_going())
    }

    fn checkpoint_if_due(&self) -> Result<()> {
        self.shared.enforce_limits();
        let last = self.checkpointer.status();
        let log = self.shared.core.log.end().0.saturating_sub(last.lsn.0);
        let age = Duration::from_micros(u64::try_from(unix_micros() - last.at).unwrap_or(0));
        // An idle database takes no checkpoints: the records of the last one alone are no reason.
        let is_due = log > self.due_bytes(log) || (age > self.interval && log > 4096);
        if is_due {
            self.checkpointer.take(&self.shared, false, &mut || self.is_going())?;
        }
        Ok(())
    }

    /// After how much log a checkpoint is due, now that there is so much. Between two of them the log
    /// grows, to twice as much where pages stay dirty: a small disk shall not fill up with it.
    fn due_bytes(&self, log: u64) -> u64 {
        if log <= LEAST_DUE || self.log_bytes <= LEAST_DUE {
            return self.log_bytes;
        }
        // Where the disk does not tell, there may be enough.
        let free = self.disk.free_bytes().unwrap_or(u64::MAX);
        let due = self.log_bytes.min((free / DUE_OF_FREE).max(LEAST_DUE));
        self.checkpointer.set_due(due);
        due
    }

    fn collect_garbage(&self) -> Result<()> {
        self.give_back(&mut || self.is_going())
    }

    fn give_back(&self, keep_on: &mut dyn FnMut() -> bool) -> Result<()> {
        let _turn = self.giving_back.lock();
        self.give_back_known(keep_on)
    }

    /// As [`Work::give_back`], for who has its turn.
    fn give_back_known(&self, keep_on: &mut dyn FnMut() -> bool) -> Result<()> {
        if self.shared.closed.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.shared.roll_back_orphans(keep_on)?;
        tidy(&self.shared, keep_on)?;
        collect(&self.shared, keep_on).map(|_| ())
    }
}

mod creating;
mod viewing;

pub use creating::is_half_made;

#[cfg(test)]
mod audit_tests;
#[cfg(test)]
mod checkpoint_tests;
#[cfg(test)]
mod courier_tests;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod garbage_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod panic_tests;
#[cfg(test)]
mod pin_tests;
#[cfg(test)]
mod race_tests;
#[cfg(test)]
pub(crate) mod racing;
#[cfg(test)]
mod recovering_tests;
#[cfg(test)]
mod snapshot_tests;
#[cfg(test)]
mod sweeping_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod undo_tests;
