//! A recovery from its first look at a directory to an open store.
//!
//! On an overlay the recovery is all or nothing: the database that is installed at its end was
//! recovered, checked and cleanly closed before the first original changed, and is then opened as
//! any other. In place it needs less room, and what it did before it failed stays: every step of
//! it can be repeated.

use super::{CLEAN_MARKER, RECOVERY_MARKER, Store, StoreOptions, is_clean, put_marker, remove_marker};
use crate::disk::Disk;
use crate::disk::overlay::{self, Overlay, Settled};
use crate::error::{Error, Result};
use crate::recovery::{Opening, Progress, RedoReport};
use crate::sync::Arc;

/// The most of the cache and of the log buffer that a recovery on an overlay takes, so that all of
/// it stays under 100 MB. The installed database is opened with what the options say.
const MOST_CACHE: u64 = 40 << 20;
const MOST_LOG_BUFFER: usize = 8 << 20;

/// Where a recovery writes.
pub enum Ground {
    /// To the originals.
    InPlace,
    /// Beside the originals, in their directory, until it is complete.
    Overlay,
    /// To another disk, from where nothing is installed.
    Rehearsal(Arc<dyn Disk>),
}

/// A recovery in progress. To be ended by `finish`, `rehearsed` or `abandon`.
pub struct Recovering {
    base: Arc<dyn Disk>,
    disk: Arc<dyn Disk>,
    overlay: Option<Overlay>,
    is_rehearsal: bool,
    options: StoreOptions,
    pub opening: Opening,
    /// What an earlier recovery had left.
    pub settled: Settled,
}

impl Recovering {
    /// Finishes or drops what an earlier recovery left, and reads the control file; the caller
    /// holds the database's lock. A rehearsal does even that on its own disk.
    pub fn begin(base: Arc<dyn Disk>, options: &StoreOptions, ground: Ground) -> Result<Recovering> {
        let is_rehearsal = matches!(ground, Ground::Rehearsal(_));
        let (overlay, settled) = match ground {
            Ground::InPlace => (None, overlay::settle(&*base)?),
            Ground::Overlay => {
                let settled = overlay::settle(&*base)?;
                (Some(Overlay::inside(Arc::clone(&base))?), settled)
            }
            Ground::Rehearsal(store) => {
                let overlay = Overlay::beside(Arc::clone(&base), store)?;
                let settled = overlay::settle(&overlay)?;
                (Some(overlay), settled)
            }
        };
        let disk = overlay.as_ref().map_or_else(|| Arc::clone(&base), Overlay::disk);
        let mut bounded = options.opening.clone();
        if overlay.is_some() {
            bounded.cache_bytes = bounded.cache_bytes.min(MOST_CACHE);
            bounded.log.buffer_bytes = bounded.log.buffer_bytes.min(MOST_LOG_BUFFER);
        }
        match Opening::begin(Arc::clone(&disk), bounded) {
            Ok(opening) => {
                let options = options.clone();
                Ok(Recovering { base, disk, overlay, is_rehearsal, options, opening, settled })
            }
            Err(error) => {
                if let Some(overlay) = overlay {
                    // The first error is the one to tell; what is left is dropped at the next open.
                    let _ = overlay.discard();
                }
                Err(error)
            }
        }
    }

    /// The disk that the recovery sees and changes.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Bytes written beside the originals so far.
    pub fn overlay_bytes(&self) -> u64 {
        self.overlay.as_ref().map_or(0, Overlay::bytes)
    }

    /// Marks the database as being recovered, then puts whole copies in the place of torn pages.
    pub fn restore_doublewrite(&mut self, progress: &Progress) -> Result<(usize, usize)> {
        put_marker(&*self.disk, RECOVERY_MARKER)?;
        self.disk.remove(CLEAN_MARKER)?;
        self.opening.restore_doublewrite(progress)
    }

    /// Redo. On an overlay the medium takes what it wrote while the recovery goes on.
    pub fn redo(&mut self, progress: &Progress) -> Result<RedoReport> {
        let done = self.opening.redo(progress)?;
        if let Some(overlay) = self.overlay.as_ref().filter(|_| self.options.opening.redo_workers > 1) {
            overlay.sync_ahead();
        }
        Ok(done)
    }

    /// Validation, double-write copies, analysis, redo, undo.
    pub fn run(&mut self, progress: &Progress) -> Result<()> {
        self.opening.validate_log(progress)?;
        self.restore_doublewrite(progress)?;
        self.opening.analyse(progress)?;
        self.redo(progress)?;
        self.opening.undo(progress).map(|_| ())
    }

    /// Takes a checkpoint, removes the marker and opens the store; from an overlay it is installed
    /// first. On an error from an overlay, `Cancelled` among them, the originals are untouched, or will be
    /// finished by the next open: [`Unfinished::is_decided`] tells which.
    pub fn finish(self, progress: &Progress) -> std::result::Result<Store, Unfinished> {
        if self.is_rehearsal {
            let error = Error::internal("a rehearsal is not to be installed");
            return Err(self.give_up(error));
        }
        match self.overlay {
            None => self.finish_in_place().map_err(Unfinished::open),
            Some(overlay) => {
                let closed = close(self.disk, self.opening, &self.options, progress);
                if let Err(error) = closed.and_then(|()| progress.ensure_going()) {
                    return Err(Unfinished::undone(error, overlay.discard()));
                }
                let with_threads = self.options.opening.redo_workers > 1;
                Self::install(&overlay, with_threads, progress)?;
                drop(overlay);
                Store::open(self.base, &self.options).map_err(Unfinished::open)
            }
        }
    }

    /// Opens the store after analysis: pages are redone when they are first needed, losers rolled
    /// back in the background. In place only, and nothing is taken back from here on. Where that
    /// would take more memory than it may, the recovery is carried out before the store opens.
    pub fn open_on_demand(mut self, progress: &Progress) -> Result<Store> {
        if self.overlay.is_some() {
            return Err(Error::internal("redo on demand is for recoveries in place"));
        }
        self.opening.validate_log(progress)?;
        self.opening.analyse(progress)?;
        progress.ensure_going()?;
        self.restore_doublewrite(progress)?;
        if self.opening.can_redo_on_demand() {
            return self.finish_on_demand();
        }
        self.opening.redo(progress)?;
        self.opening.undo(progress)?;
        self.finish_in_place()
    }

    /// The last step of [`Recovering::open_on_demand`], for who takes the steps one by one.
    pub fn finish_on_demand(mut self) -> Result<Store> {
        self.opening.redo_on_demand()?;
        Store::finish(self.disk, self.opening, &self.options)
    }

    fn finish_in_place(self) -> Result<Store> {
        let store = Store::finish(Arc::clone(&self.disk), self.opening, &self.options)?;
        store.checkpoint()?;
        remove_marker(&*self.disk, RECOVERY_MARKER)?;
        Ok(store)
    }

    fn install(
        overlay: &Overlay,
        with_threads: bool,
        progress: &Progress,
    ) -> std::result::Result<(), Unfinished> {
        progress.begin("install", "bytes", overlay.install_bytes());
        let installed = overlay.install(with_threads, &|bytes| {
            progress.add(bytes);
            progress.ensure_going()
        });
        let Err(error) = installed else { return Ok(()) };
        match overlay.is_decided() {
            Ok(false) => Err(Unfinished::undone(error, overlay.discard())),
            Ok(true) => Err(Unfinished { error, is_decided: true, rollback: Ok(()) }),
            // Whether the journal is there cannot be read: the next open will.
            Err(other) => Err(Unfinished { error, is_decided: true, rollback: Err(other) }),
        }
    }

    /// Carries a rehearsal to its end, a closed database on its overlay, and drops it. Returns
    /// the bytes that were written.
    pub fn rehearsed(self, progress: &Progress) -> Result<u64> {
        let bytes = self.overlay_bytes();
        let closed = close(self.disk, self.opening, &self.options, progress);
        let dropped = self.overlay.map_or(Ok(()), |overlay| overlay.discard());
        closed.and(dropped).map(|()| bytes)
    }

    /// What a rehearsal came to, open and read-only. Its overlay lasts as long as its scratch disk.
    pub fn look(self) -> Result<Store> {
        if !self.is_rehearsal {
            return Err(Error::internal("only a rehearsal is looked at"));
        }
        close(Arc::clone(&self.disk), self.opening, &self.options, &Progress::default())?;
        Store::open(self.disk, &StoreOptions { read_only: true, ..self.options })
    }

    /// Stops here; on an overlay the originals are what they were.
    pub fn abandon(self) -> Result<()> {
        if let Some(shared) = self.opening.shared() {
            // What was appended so far may stay or go: the next recovery begins again.
            let _ = shared.core.log.close();
        }
        drop(self.opening);
        drop(self.disk);
        self.overlay.map_or(Ok(()), |overlay| overlay.discard())
    }

    fn give_up(self, error: Error) -> Unfinished {
        Unfinished::undone(error, self.abandon())
    }
}

/// Checkpoints and closes the recovered database where it is.
fn close(
    disk: Arc<dyn Disk>,
    opening: Opening,
    options: &StoreOptions,
    progress: &Progress,
) -> Result<()> {
    let options = StoreOptions { background: false, ..options.clone() };
    let store = Store::finish(Arc::clone(&disk), opening, &options)?;
    write_out(&store, progress)?;
    remove_marker(&*disk, RECOVERY_MARKER)?;
    store.close().map(|_| ())
}

/// Writes out what waits in the cache, which is most of what the close has to do.
fn write_out(store: &Store, progress: &Progress) -> Result<()> {
    let (pool, size) = (&store.shared().core.pool, store.page_size() as u64);
    let waiting = |count: usize| count as u64 * size;
    let total = waiting(pool.dirty_count());
    progress.begin("checkpoint", "bytes", total);
    pool.write_out_older(store.shared().core.log.end(), || {
        progress.set(total.saturating_sub(waiting(pool.dirty_count())));
        !progress.is_cancelled()
    })?;
    progress.ensure_going()
}

/// A recovery that could not be finished.
#[derive(Debug)]
pub struct Unfinished {
    pub error: Error,
    /// The installation was decided: the next open carries it out.
    pub is_decided: bool,
    /// Whether what lay beside the originals could be removed.
    pub rollback: Result<()>,
}

impl Unfinished {
    fn open(error: Error) -> Unfinished {
        Unfinished { error, is_decided: true, rollback: Ok(()) }
    }

    fn undone(error: Error, rollback: Result<()>) -> Unfinished {
        Unfinished { error, is_decided: false, rollback }
    }
}

impl Store {
    /// Opens whatever state the database is in, running a whole recovery where it needs one.
    /// Recovery writes: for reading only, it is refused with `RecoveryNeeded`.
    pub fn open_recovering(
        disk: Arc<dyn Disk>,
        options: &StoreOptions,
        progress: &Progress,
    ) -> Result<Store> {
        Self::open_recovering_on(disk, options, Ground::InPlace, progress)
    }

    /// As [`Store::open_recovering`], but open after analysis; see [`Store::recovery`].
    pub fn open_on_demand(
        disk: Arc<dyn Disk>,
        options: &StoreOptions,
        progress: &Progress,
    ) -> Result<Store> {
        if options.read_only {
            return Self::open(disk, options);
        }
        let recovering = Recovering::begin(Arc::clone(&disk), options, Ground::InPlace)?;
        if is_clean(&*disk, &recovering.opening.control())? {
            recovering.abandon()?;
            return Self::open(disk, options);
        }
        recovering.open_on_demand(progress)
    }

    /// As [`Store::open_recovering`], the recovery on this ground; not for rehearsals.
    pub fn open_recovering_on(
        disk: Arc<dyn Disk>,
        options: &StoreOptions,
        ground: Ground,
        progress: &Progress,
    ) -> Result<Store> {
        if options.read_only {
            return Self::open(disk, options);
        }
        let mut recovering = Recovering::begin(Arc::clone(&disk), options, ground)?;
        if is_clean(&*disk, &recovering.opening.control())? {
            recovering.abandon()?;
            return Self::open(disk, options);
        }
        match recovering.run(progress) {
            Ok(()) => recovering.finish(progress).map_err(|unfinished| unfinished.error),
            Err(error) => Err(recovering.give_up(error).error),
        }
    }
}
