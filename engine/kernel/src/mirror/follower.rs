//! One mirror of an open database: it connects, ships, redoes, and tells how it stands.
//!
//! Two steps, each done again and again by a thread of its own: [`Follower::step`] brings over what
//! is durable; [`Follower::redo`] brings the mirror's pages up to it at each checkpoint. A step that
//! fails ends the connection; the next one begins with a look at what is there.

use std::time::{Duration, Instant};

use super::base::{self, Source};
use super::incomplete;
use super::pulse::{Pulse, Watched};
use super::rejoin::Unmarked;
use super::shipper::{Mark, Shipper};
use super::standing::{Known, Standing};
use super::watching::Running;
#[cfg(test)]
use crate::control::Control;
use crate::disk::Disk;
use crate::error::{Code, Error, Field, Result};
use crate::lockfile::LockFile;
use crate::log::segments;
use crate::recovery::{Advance, Opening, Progress};
use crate::sync::{Arc, AtomicBool, Mutex, Ordering};
use crate::types::{Incarnation, Lsn};
use crate::verify::CheckReport;

/// After a commit has given a mirror up, it is not waited for again before this.
const SETTLE: Duration = Duration::from_secs(10);

/// What a mirror is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing has been tried yet.
    Connecting,
    /// Its first copy, or a new one, is being made.
    Copying,
    Following,
    /// It cannot be reached or written to; it is tried again.
    Lost,
    /// It is of another history, or has taken over: it is left alone.
    Refused,
}

impl Phase {
    pub fn name(self) -> &'static str {
        match self {
            Phase::Connecting => "connecting",
            Phase::Copying => "copying",
            Phase::Following => "following",
            Phase::Lost => "lost",
            Phase::Refused => "refused",
        }
    }
}

/// How a mirror stands.
#[derive(Clone, Debug)]
pub struct MirrorStatus {
    pub path: String,
    pub is_synchronous: bool,
    /// Commits wait for it at this moment.
    pub is_in_step: bool,
    pub phase: Phase,
    pub error: Option<Error>,
    /// Everything before is in the mirror, synced; none where that is not known.
    pub shipped: Lsn,
    /// Its pages have everything before.
    pub redone: Lsn,
    pub lag_bytes: u64,
    /// Since when it lacks something; by a clock that nobody sets.
    pub lag_seconds: f64,
    /// The log it needs is still held for it.
    pub is_held: bool,
    pub copies: u64,
    pub copied: u64,
    pub to_copy: u64,
    pub shipped_bytes: u64,
    /// Damaged pages of it that were replaced by those of the database.
    pub mended: u64,
    /// Bytes of its damaged log that were replaced by those of the database.
    pub log_mended: u64,
}

pub(super) struct Facts {
    pub phase: Phase,
    error: Option<Error>,
    is_in_step: bool,
    not_before: Option<Instant>,
    pub shipped: Lsn,
    pub redone: Lsn,
    /// When it last had everything.
    level_at: Instant,
    pub copies: u64,
    shipped_bytes: u64,
    pub mark: Option<Mark>,
    /// It is damaged beyond its single pages: it needs a new copy.
    pub is_damaged: bool,
    /// Its log is damaged, and may be had again from the database's.
    pub is_log_damaged: bool,
    /// What is in its directory now is not what was connected to: files that are open may be gone.
    pub is_elsewhere: bool,
    /// A copy was begun in its directory since then: that is there, unless its disk went.
    pub is_begun: bool,
    pub mended: u64,
    pub log_mended: u64,
}

impl Facts {
    fn is_whole(&self) -> bool {
        !self.is_damaged && !self.is_log_damaged && !self.is_elsewhere
    }
}

/// Takes the lock of a mirror's directory.
pub type Claim = Box<dyn Fn() -> Result<LockFile> + Send + Sync>;

/// See the module's documentation. Locks in this order: `session`, `pages`, `facts`.
pub struct Follower {
    pub(super) source: Arc<Source>,
    pub(super) number: u64,
    pub(super) path: String,
    pub(super) is_synchronous: bool,
    /// The primary's own path.
    pub(super) own: String,
    pub(super) target: Arc<dyn Disk>,
    pub(super) claim: Option<Claim>,
    pub(super) lock: Mutex<Option<LockFile>>,
    session: Mutex<Option<Shipper>>,
    /// Held while the mirror's pages change.
    pub(super) pages: Mutex<()>,
    pub(super) facts: Mutex<Facts>,
    pub(super) copying: Progress,
    pub(super) redoing: Progress,
    /// Whether the target answers.
    pub(super) pulse: Arc<Pulse>,
    pub(super) running: Running,
    stop: AtomicBool,
    /// Held while the standing of the primary changes.
    pub(super) standing: Arc<Mutex<()>>,
}

/// What a follower is made of.
pub struct Attached {
    pub source: Arc<Source>,
    pub number: u64,
    pub known: Known,
    pub own: String,
    pub target: Arc<dyn Disk>,
    pub claim: Option<Claim>,
    pub standing: Arc<Mutex<()>>,
}

impl Follower {
    pub fn new(attached: Attached) -> Follower {
        let Attached { source, number, known, own, target, claim, standing } = attached;
        if !known.hold.is_none() {
            source.checkpointer.hold(number, known.hold);
        }
        let gate = source.shared.core.log.gate();
        gate.watch();
        if known.is_synchronous && gate.is_strict() && !known.hold.is_none() {
            // Where no commit may go without it, none does from the first moment on.
            gate.keep_in_step(number, Lsn::NONE);
        }
        let facts = Facts {
            phase: Phase::Connecting,
            error: None,
            is_in_step: false,
            not_before: None,
            shipped: known.hold,
            redone: Lsn::NONE,
            level_at: Instant::now(),
            copies: 0,
            shipped_bytes: 0,
            mark: None,
            is_damaged: false,
            is_log_damaged: false,
            is_elsewhere: false,
            is_begun: false,
            mended: 0,
            log_mended: 0,
        };
        let pulse = Arc::<Pulse>::default();
        let target: Arc<dyn Disk> = Arc::new(Watched { disk: target, pulse: Arc::clone(&pulse) });
        Follower {
            source,
            number,
            path: known.path,
            is_synchronous: known.is_synchronous,
            own,
            target,
            claim,
            lock: Mutex::new(None),
            session: Mutex::new(None),
            pages: Mutex::new(()),
            facts: Mutex::new(facts),
            copying: Progress::default(),
            redoing: Progress::default(),
            pulse,
            running: Running::default(),
            stop: AtomicBool::new(false),
            standing,
        }
    }

    pub fn target(&self) -> &Arc<dyn Disk> {
        &self.target
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Has its threads end soon; a copy, or redo, under way is given up.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.copying.cancel();
        self.redoing.cancel();
        self.source.shared.core.log.gate().wake();
    }

    /// After the threads have ended, or were given up: nobody waits for it, nothing is held. The lock
    /// goes, unless a thread is still with the mirror's disk: then it goes with that.
    pub fn detach(&self) {
        let log = &self.source.shared.core.log;
        log.gate().let_go(self.number);
        self.source.checkpointer.release(self.number);
        if self.pulse.is_given_up() {
            return;
        }
        *self.session.lock() = None;
        *self.lock.lock() = None;
    }

    /// Everything before is in the mirror; `None` without a connection.
    pub fn shipped(&self) -> Option<Lsn> {
        self.session.lock().as_ref().map(Shipper::at)
    }

    fn keep_on(&self) -> Result<()> {
        if self.is_stopped() { Err(Error::new(Code::Cancelled)) } else { Ok(()) }
    }

    /// Brings over what is durable now. An error says why the mirror is lost, and is in its status.
    pub fn step(&self) -> Result<()> {
        self.step_to(self.source.shared.core.log.durable(), &|| self.keep_on())
    }

    /// As [`Follower::step`], up to the log's end, also while the database closes.
    pub fn drain(&self) -> Result<()> {
        let is_wanted =
            || if self.pulse.is_given_up() { Err(Error::new(Code::Cancelled)) } else { Ok(()) };
        self.step_to(self.source.shared.core.log.durable(), &is_wanted)
    }

    fn step_to(&self, to: Lsn, keep_on: &dyn Fn() -> Result<()>) -> Result<()> {
        let mut session = self.session.lock();
        let done = (|| {
            if !self.facts.lock().is_whole() {
                *session = None;
            }
            let shipper = match &mut *session {
                Some(shipper) => shipper,
                none => none.insert(self.connect()?),
            };
            let bytes = shipper.ship(to, keep_on)?;
            self.note_shipped(shipper, bytes);
            Ok(())
        })();
        if let Err(error) = &done {
            *session = None;
            self.note_lost(error);
        }
        done
    }

    fn note_shipped(&self, shipper: &mut Shipper, bytes: u64) {
        let (at, log) = (shipper.at(), &self.source.shared.core.log);
        let is_level = at >= log.durable();
        let held = self.source.checkpointer.held(self.number, log.end());
        self.source.checkpointer.hold(self.number, at);
        let answers = self.is_answering();
        let mut facts = self.facts.lock();
        // Its other thread may be waiting for the disk.
        let was_lost = answers && facts.phase != Phase::Following;
        if answers {
            facts.phase = Phase::Following;
            facts.error = None;
        }
        facts.shipped = at;
        facts.shipped_bytes += bytes;
        facts.mark = shipper.take_mark().or(facts.mark);
        if is_level {
            facts.level_at = Instant::now();
        }
        drop(facts);
        if was_lost {
            self.tell("mirror_following", vec![("lsn", at.0.into())]);
        }
        if bytes > 0 && held.is_none_or(|before| before.0 >> 24 != at.0 >> 24) {
            self.remember_hold(at);
        }
        self.keep_in_step(at, is_level);
    }

    /// Commits wait for a synchronous mirror from when it has caught up until it fails them.
    fn keep_in_step(&self, at: Lsn, is_level: bool) {
        if !self.is_synchronous {
            return;
        }
        let gate = self.source.shared.core.log.gate();
        let mut facts = self.facts.lock();
        if facts.is_in_step && !gate.is_in_step(self.number) {
            facts.is_in_step = false;
            facts.not_before = Some(Instant::now() + SETTLE);
            drop(facts);
            self.tell("mirror_out_of_step", vec![("reason", "it did not answer in time".into())]);
            return;
        }
        let may = is_level && facts.not_before.is_none_or(|time| time <= Instant::now());
        if facts.is_in_step || may {
            gate.keep_in_step(self.number, at);
            let is_new = !std::mem::replace(&mut facts.is_in_step, true);
            drop(facts);
            if is_new {
                self.tell("mirror_in_step", vec![("lsn", at.0.into())]);
            }
        }
    }

    fn note_lost(&self, error: &Error) {
        let phase = match error.code {
            Code::MirrorDiverged | Code::DatabaseSuperseded => Phase::Refused,
            Code::Cancelled => Phase::Connecting,
            _ => Phase::Lost,
        };
        self.note_phase(phase, error);
        // Others may have it, but not while pages are being written there.
        let turn = self.pages.lock();
        *self.lock.lock() = None;
        drop(turn);
    }

    /// Commits do not wait for it any more; whoever is to know is told.
    pub(super) fn note_phase(&self, phase: Phase, error: &Error) {
        let gate = self.source.shared.core.log.gate();
        if !gate.is_strict() {
            gate.let_go(self.number);
        }
        let mut facts = self.facts.lock();
        let is_new = facts.phase != phase;
        let was_in_step = std::mem::replace(&mut facts.is_in_step, false);
        facts.phase = phase;
        facts.error = (phase != Phase::Connecting).then(|| error.clone());
        drop(facts);
        if is_new && phase != Phase::Connecting {
            let code = i64::from(error.code.number());
            self.tell("mirror_lost", vec![("code", code.into()), ("error", error.to_string().into())]);
        }
        if was_in_step && !gate.is_strict() {
            self.tell("mirror_out_of_step", vec![("reason", error.to_string().into())]);
        }
    }

    pub(super) fn tell(&self, kind: &'static str, mut fields: Vec<(&'static str, Field)>) {
        fields.push(("path", self.path.as_str().into()));
        self.source.shared.events.push(kind, fields);
    }

    /// So that a database that is opened again holds the log for it from the first moment on.
    pub(super) fn remember_hold(&self, lsn: Lsn) {
        let _turn = self.standing.lock();
        if self.pulse.is_given_up() {
            return;
        }
        let disk = &*self.source.disk;
        let Ok(Some(mut mine)) = Standing::read(disk) else { return };
        for known in mine.mirrors.iter_mut().filter(|known| known.path == self.path) {
            known.hold = lsn;
            (known.is_renewed, known.is_given_up) = (false, false);
        }
        // Where this fails, more log is held than need be.
        let _ = mine.write(disk);
    }

    /// Brings the mirror's pages up to what it has of the log, where a checkpoint of the primary has
    /// come over since the last time, or `at_once`. Returns how far they are. Damaged pages that are met
    /// are replaced by the primary's; where that does not help, the mirror gets a new copy.
    pub fn redo(&self, at_once: bool, progress: &Progress) -> Result<Option<Lsn>> {
        let error = match self.redo_once(at_once, progress) {
            Err(error) if error.is_page_damage() => error,
            other => return self.judged(other),
        };
        match self.mend(progress) {
            Ok(_) => self.judged(self.redo_once(true, progress)),
            // Its disk is gone, which says nothing of its pages.
            Err(other) if matches!(other.code, Code::IoError | Code::Cancelled) => Err(error),
            Err(_) => self.judged(Err(error)),
        }
    }

    /// Notes what the next step is to cure: damaged pages by a new copy, a damaged log by that of the
    /// database.
    fn judged(&self, done: Result<Option<Lsn>>) -> Result<Option<Lsn>> {
        if let Err(error) = &done {
            let mut facts = self.facts.lock();
            facts.is_damaged |= error.is_page_damage() && error.code != Code::IoError;
            facts.is_log_damaged |= error.code == Code::WalCorrupted;
        }
        done
    }

    fn redo_once(&self, at_once: bool, progress: &Progress) -> Result<Option<Lsn>> {
        let _turn = self.pages.lock();
        let (to, mark) = {
            let mut facts = self.facts.lock();
            let is_due = facts.mark.is_some() || at_once;
            if facts.phase != Phase::Following || !facts.is_whole() || !is_due {
                return Ok(None);
            }
            (facts.shipped, facts.mark.take())
        };
        let done = self.redo_to(to, mark, progress);
        let mut facts = self.facts.lock();
        match &done {
            Ok(()) => facts.redone = to,
            Err(_) => facts.mark = facts.mark.or(mark),
        }
        drop(facts);
        done.map(|()| Some(to))
    }

    fn redo_to(&self, to: Lsn, mark: Option<Mark>, progress: &Progress) -> Result<()> {
        let disk: Arc<dyn Disk> = Arc::new(Unmarked(Arc::clone(&self.target)));
        let found = segments::discover(&*disk, self.source.shared.core.log.database())?;
        let incarnation: Incarnation = segments::highest_incarnation(&found);
        let advance = mark.map(|mark| Advance {
            checkpoint_lsn: mark.begin,
            redo_lsn: mark.redo_lsn,
            at: mark.at,
            next_txn: mark.next_txn,
        });
        Opening::begin(disk, super::failover::modest())?.follow(to, incarnation, advance, progress)?;
        self.carry_settings()?;
        match mark {
            Some(mark) => base::clean_log(&*self.target, &self.source.shared, mark.keep_from),
            None => Ok(()),
        }
    }

    /// Proves the mirror as far as it has come; see [`super::verify`]. Shipping goes on meanwhile.
    pub fn verify(&self, scratch: Arc<dyn Disk>, progress: &Progress) -> Result<(Lsn, CheckReport)> {
        let _turn = self.pages.lock();
        let facts = self.facts.lock();
        let (phase, shipped) = (facts.phase, facts.shipped);
        drop(facts);
        if phase != Phase::Following {
            return Err(incomplete("it cannot be reached, or is being copied"));
        }
        super::verify(&self.target, scratch, Some(shipped), progress)
    }

    /// What recovery of the mirror would begin at, for tests.
    #[cfg(test)]
    pub fn checkpoint(&self) -> Lsn {
        Control::read(&*self.target).map_or(Lsn::NONE, |data| data.checkpoint_lsn)
    }

    pub fn status(&self) -> MirrorStatus {
        let log = &self.source.shared.core.log;
        let (durable, end) = (log.durable(), log.end());
        let (_, _, copied, to_copy, _) = self.copying.look();
        let is_held = self.source.checkpointer.held(self.number, end).is_some();
        let facts = self.facts.lock();
        let lag_bytes =
            if facts.shipped.is_none() { 0 } else { durable.0.saturating_sub(facts.shipped.0) };
        let lags = lag_bytes > 0 || facts.phase != Phase::Following;
        MirrorStatus {
            path: self.path.clone(),
            is_synchronous: self.is_synchronous,
            is_in_step: facts.is_in_step && log.gate().is_in_step(self.number),
            phase: facts.phase,
            error: facts.error.clone(),
            shipped: facts.shipped,
            redone: facts.redone,
            lag_bytes,
            lag_seconds: if lags { facts.level_at.elapsed().as_secs_f64() } else { 0.0 },
            is_held,
            copies: facts.copies,
            copied,
            to_copy,
            shipped_bytes: facts.shipped_bytes,
            mended: facts.mended,
            log_mended: facts.log_mended,
        }
    }
}
