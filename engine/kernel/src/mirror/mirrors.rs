//! The mirrors of an open store, and the threads that keep them.

use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::base::Source;
use super::follower::{Attached, Claim, Follower, MirrorStatus, Phase};
use super::standing::{Known, Role, Standing, superseded};
use super::{MirrorOptions, base, incomplete};
use crate::disk::Disk;
use crate::disk::os::OsDisk;
use crate::error::{Error, Result};
use crate::lockfile::{Holder, LockFile};
use crate::log::SyncMode;
use crate::sync::{Arc, Mutex};
use crate::types::Lsn;

/// How long a mirror is asked, when the database is opened, whether it has taken over.
const ANSWER: Duration = Duration::from_secs(5);
/// What is durable goes over at least so often to a mirror that commits do not wait for.
const PACE: Duration = Duration::from_millis(20);
/// How long a mirror is left alone after it could not be reached.
const RETRY: Duration = Duration::from_secs(1);
/// How often somebody looks whether there is anything to do.
const IDLE: Duration = Duration::from_secs(1);
/// A close waits for so long that the mirrors get the end of the log.
const PARTING: Duration = Duration::from_secs(20);

struct Kept {
    follower: Arc<Follower>,
    threads: Vec<JoinHandle<()>>,
}

impl Kept {
    /// Waits for its threads, which were told to stop; false where the mirror's disk keeps them.
    fn wait_ended(self, due: Instant) -> bool {
        if !self.follower.wait_ended(due) {
            return false;
        }
        for thread in self.threads {
            // A thread that panicked has nothing more to say here.
            let _ = thread.join();
        }
        true
    }
}

/// See the module's documentation.
pub struct Mirrors {
    source: Arc<Source>,
    kept: Mutex<Vec<Kept>>,
    standing: Arc<Mutex<()>>,
    next: crate::sync::AtomicU64,
    runs_threads: bool,
    /// The database's own path, and who has it open; for the mirrors to name.
    own: Mutex<(String, Holder)>,
}

impl Mirrors {
    /// Holds the log for the mirrors that the database knows of; none is attached yet.
    pub fn new(source: Source, options: MirrorOptions, runs_threads: bool) -> Result<Mirrors> {
        source.checkpointer.set_hold_limit(options.hold_bytes);
        source.shared.core.log.set_patience(options.patience);
        let known = Standing::read(&*source.disk)?.map(|standing| standing.mirrors).unwrap_or_default();
        for (number, mirror) in known.iter().enumerate().filter(|(_, known)| !known.hold.is_none()) {
            source.checkpointer.hold(number as u64, mirror.hold);
        }
        Ok(Mirrors {
            source: Arc::new(source),
            kept: Mutex::default(),
            standing: Arc::default(),
            next: crate::sync::AtomicU64::new(known.len() as u64),
            runs_threads,
            own: Mutex::default(),
        })
    }

    /// Attaches the mirrors that the database knows of, in directories of the operating system.
    pub fn attach_known(&self, own: &Path, holder: &Holder) -> Result<()> {
        *self.own.lock() = (own.display().to_string(), holder.clone());
        let known = self.known()?;
        for (number, known) in known.into_iter().enumerate() {
            let path = known.path.clone();
            self.attach(number as u64, known, Arc::new(OsDisk::new(Path::new(&path))), true);
        }
        Ok(())
    }

    fn known(&self) -> Result<Vec<Known>> {
        Ok(Standing::read(&*self.source.disk)?.map(|standing| standing.mirrors).unwrap_or_default())
    }

    /// Begins to keep a mirror in a directory of the operating system. Its first copy is made in the
    /// background; [`Mirrors::status`] tells how far it is.
    pub fn add(&self, path: &Path, is_synchronous: bool) -> Result<Arc<Follower>> {
        let known = self.note(&path.display().to_string(), is_synchronous)?;
        let number = self.next.fetch_add(1, crate::sync::Ordering::Relaxed);
        Ok(self.attach(number, known, Arc::new(OsDisk::new(path)), true))
    }

    /// As [`Mirrors::add`], on any disk.
    pub fn add_on(
        &self,
        path: &str,
        disk: Arc<dyn Disk>,
        is_synchronous: bool,
    ) -> Result<Arc<Follower>> {
        let known = self.note(path, is_synchronous)?;
        let number = self.next.fetch_add(1, crate::sync::Ordering::Relaxed);
        Ok(self.attach(number, known, disk, false))
    }

    /// As [`Mirrors::attach_known`], for one that is on any disk.
    pub fn attach_on(&self, path: &str, disk: Arc<dyn Disk>) -> Result<Arc<Follower>> {
        let known = self.known()?;
        let place = known.iter().position(|known| known.path == path);
        let place = place.ok_or_else(|| unknown(path))?;
        Ok(self.attach(place as u64, known[place].clone(), disk, false))
    }

    /// Enters a mirror in the standing of the database.
    fn note(&self, path: &str, is_synchronous: bool) -> Result<Known> {
        let _turn = self.standing.lock();
        let disk = &*self.source.disk;
        let database = self.source.shared.core.log.database();
        let mut mine = Standing::read(disk)?.unwrap_or_else(|| Standing::primary(database));
        if mine.mirrors.iter().any(|known| known.path == path) {
            return Err(Error::argument("path", "is a mirror of this database already"));
        }
        let known = Known {
            path: path.to_owned(),
            is_synchronous,
            hold: Lsn::NONE,
            is_renewed: false,
            is_given_up: false,
        };
        mine.mirrors.push(known.clone());
        mine.write(disk)?;
        Ok(known)
    }

    fn attach(
        &self,
        number: u64,
        known: Known,
        target: Arc<dyn Disk>,
        is_claimed: bool,
    ) -> Arc<Follower> {
        let (own, holder) = self.own.lock().clone();
        let path = known.path.clone();
        let claim = move || LockFile::acquire(Path::new(&path), &holder);
        let follower = Arc::new(Follower::new(Attached {
            source: Arc::clone(&self.source),
            number,
            known,
            own,
            target,
            claim: is_claimed.then(|| Box::new(claim) as Claim),
            standing: Arc::clone(&self.standing),
        }));
        let threads = if self.runs_threads { spawn(&follower) } else { Vec::new() };
        self.kept.lock().push(Kept { follower: Arc::clone(&follower), threads });
        follower
    }

    /// Stops keeping a mirror. Its files stay, unless they are to go.
    pub fn remove(&self, path: &str, removes_files: bool) -> Result<()> {
        let kept = {
            let mut all = self.kept.lock();
            let place = all.iter().position(|kept| kept.follower.path == path);
            all.remove(place.ok_or_else(|| unknown(path))?)
        };
        let follower = Arc::clone(&kept.follower);
        follower.stop();
        let has_ended = kept.wait_ended(Instant::now() + PARTING);
        follower.detach();
        let turn = self.standing.lock();
        if let Some(mut mine) = Standing::read(&*self.source.disk)? {
            mine.mirrors.retain(|known| known.path != path);
            mine.write(&*self.source.disk)?;
        }
        drop(turn);
        if !removes_files {
            return Ok(());
        }
        if !has_ended {
            return Err(incomplete("its disk does not answer, so its files stay").with("path", path));
        }
        remove_files(&**follower.target())
    }

    /// Gives a mirror that does not follow a new copy: what is in its directory and of another history
    /// is lost. Durable on return; the copy is made in the background, once nobody else has the
    /// directory open.
    pub fn renew(&self, path: &str) -> Result<()> {
        if self.find(path)?.status().phase == Phase::Following {
            return Err(Error::argument("path", format!("{path} follows: it needs no new copy")));
        }
        let turn = self.standing.lock();
        let disk = &*self.source.disk;
        let mut mine = Standing::read(disk)?.ok_or_else(|| unknown(path))?;
        for known in mine.mirrors.iter_mut().filter(|known| known.path == path) {
            (known.hold, known.is_given_up) = (Lsn::NONE, true);
        }
        mine.write(disk)?;
        drop(turn);
        self.source.shared.core.log.gate().wake();
        Ok(())
    }

    pub fn followers(&self) -> Vec<Arc<Follower>> {
        self.kept.lock().iter().map(|kept| Arc::clone(&kept.follower)).collect()
    }

    pub fn find(&self, path: &str) -> Result<Arc<Follower>> {
        let found = self.followers().into_iter().find(|follower| follower.path == path);
        found.ok_or_else(|| unknown(path))
    }

    pub fn status(&self) -> Vec<MirrorStatus> {
        self.followers().iter().map(|follower| follower.status()).collect()
    }

    /// Ends the threads. Before a clean end, what is durable goes over first, where the mirror can
    /// be reached in time. A mirror whose disk does not answer is given up after a while.
    pub fn close(&self, is_clean: bool) {
        let kept = std::mem::take(&mut *self.kept.lock());
        let due = Instant::now() + PARTING;
        // One that was not reached yet may only have had no time to.
        let may_follow =
            |kept: &Kept| matches!(kept.follower.status().phase, Phase::Following | Phase::Connecting);
        let kept: Vec<_> = kept.into_iter().map(|kept| (may_follow(&kept), kept)).collect();
        kept.iter().for_each(|(_, kept)| kept.follower.stop());
        for (may_follow, kept) in kept {
            let follower = Arc::clone(&kept.follower);
            if kept.wait_ended(due) && is_clean && may_follow && Instant::now() < due {
                // A mirror that is lost now is told so when the database is opened next.
                let threads = begin(&follower, "holdfast-mirror", |follower| {
                    let _ = follower.drain();
                });
                let parting = Kept { follower: Arc::clone(&follower), threads: Vec::from_iter(threads) };
                parting.wait_ended(due);
            }
            follower.detach();
        }
    }
}

/// Removes a mirror from its directory; what is no mirror stays.
fn remove_files(target: &dyn Disk) -> Result<()> {
    let theirs = Standing::read(target)?;
    if theirs.is_some_and(|theirs| matches!(theirs.role, Role::Mirror | Role::Copying)) {
        base::clear(target)?;
        target.remove(super::standing::PATH)?;
        target.sync_dir("")?;
    }
    Ok(())
}

fn unknown(path: &str) -> Error {
    Error::argument("path", format!("{path} is no mirror of this database"))
}

/// What a thread of a mirror does until it is stopped.
type Job = fn(&Follower);

fn spawn(follower: &Arc<Follower>) -> Vec<JoinHandle<()>> {
    let jobs: [(&str, Job); 3] = [
        ("holdfast-mirror", ship_along),
        ("holdfast-mirror-redo", redo_along),
        ("holdfast-mirror-watch", watch_along),
    ];
    jobs.into_iter().filter_map(|(name, job)| begin(follower, name, job)).collect()
}

fn begin(follower: &Arc<Follower>, name: &str, job: Job) -> Option<JoinHandle<()>> {
    let its = Arc::clone(follower);
    follower.running.expect_one();
    let work = move || {
        let _turn = its.running.begun();
        job(&its);
    };
    let begun = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    if begun.is_err() {
        drop(follower.running.begun());
    }
    begun.ok()
}

fn watch_along(follower: &Follower) {
    let gate = follower.source.shared.core.log.gate();
    while !follower.is_stopped() {
        follower.look_after();
        gate.nap(Instant::now() + IDLE, || follower.is_stopped());
    }
}

fn ship_along(follower: &Follower) {
    let log = &follower.source.shared.core.log;
    let is_over = || follower.is_stopped();
    while !is_over() {
        if log.sync_mode() == SyncMode::Off {
            // Nobody else syncs: without this the mirror would never get anything.
            let _ = log.flush_to(log.end());
        }
        match follower.step() {
            Ok(()) => {
                let at = follower.shipped().unwrap_or(Lsn::NONE);
                log.await_growth(at, Instant::now() + IDLE, is_over);
                if !follower.is_synchronous {
                    log.gate().nap(Instant::now() + PACE, is_over);
                }
            }
            Err(_) => log.gate().nap(Instant::now() + RETRY, is_over),
        }
        if log.has_failed() {
            // What was durable is over, or the disk cannot be read: either way that is all.
            let _ = follower.step();
            return;
        }
    }
}

fn redo_along(follower: &Follower) {
    let log = &follower.source.shared.core.log;
    let is_over = || follower.is_stopped();
    while !is_over() {
        follower.look_at_place();
        if let Err(error) = follower.redo(false, &follower.redoing) {
            let told = vec![("error", error.to_string().into())];
            follower.source.shared.events.push("mirror_redo_failed", told);
        }
        log.gate().nap(Instant::now() + IDLE, is_over);
    }
}

/// Refuses to open the database in `directory` where one of its mirrors has taken its place, and
/// could not tell it then: `DatabaseSuperseded`, which from now on it says by itself.
pub fn ensure_not_superseded(directory: &Path) -> Result<()> {
    let disk = OsDisk::new(directory);
    let Some(mine) = Standing::read(&disk)? else { return Ok(()) };
    if mine.role != Role::Primary {
        return Ok(());
    }
    for known in &mine.mirrors {
        // One that cannot be reached cannot be asked; it is met when it is there again.
        let Some(theirs) = standing_at(&known.path) else { continue };
        let took_over = theirs.role == Role::Primary
            && theirs.database == mine.database
            && theirs.epoch > mine.epoch;
        if took_over {
            let fenced = Standing {
                role: Role::Superseded,
                epoch: theirs.epoch,
                other: known.path.clone(),
                mirrors: Vec::new(),
                parted_at: theirs.parted_at,
                ..mine
            };
            let error = superseded(&fenced);
            fenced.write(&disk)?;
            return Err(error);
        }
    }
    Ok(())
}

/// What a mirror says of itself, where it does so in time. A thread that is kept by a disk which does
/// not answer ends with that.
fn standing_at(path: &str) -> Option<Standing> {
    let (answer, answers) = std::sync::mpsc::channel();
    let disk = OsDisk::new(Path::new(path));
    let ask = move || {
        // Nobody listens any more where it took too long.
        let _ = answer.send(Standing::read(&disk));
    };
    std::thread::Builder::new().name("holdfast-mirror-ask".to_owned()).spawn(ask).ok()?;
    answers.recv_timeout(ANSWER).ok()?.ok()?
}
