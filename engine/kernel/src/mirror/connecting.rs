//! How a follower takes a mirror up: it looks at what is in the directory, and goes on with it, makes
//! a copy where it is ours and of no use, or leaves it alone.

use std::time::Instant;

use super::base;
use super::ends::log_end;
use super::follower::{Follower, Phase};
use super::log_mending::kept_nowhere;
use super::rejoin;
use super::shipper::{Shipper, durable_bytes, too_late};
use super::standing::{Role, Standing, superseded};
use super::{diverged, incomplete, not_there};
use crate::disk::{Disk, OpenMode};
use crate::error::{Code, Error, Result};
use crate::log::segments::{self, FOLDER, HEADER_BYTES, SegmentHeader};
use crate::recovery::DATA_PATH;
use crate::sync::{Arc, Ordering};
use crate::types::Lsn;

/// The settings of a database.
const SETTINGS: &str = "reliability.toml";
/// So much of the log before where a mirror ends is compared with the primary's.
const COMPARED: u64 = 64 << 10;

/// What of another history is given up on purpose.
#[derive(Clone, Copy)]
struct Given {
    /// What a mirror holds.
    mirror: bool,
    /// What a former primary holds.
    database: bool,
}

impl Follower {
    /// Looks at what is there, and goes on with it, or copies anew where it is ours and of no use.
    pub(super) fn connect(&self) -> Result<Shipper> {
        self.facts.lock().is_elsewhere = false;
        let disk = &self.source.disk;
        let mine = Standing::read(&**disk)?
            .unwrap_or_else(|| Standing::primary(self.source.shared.core.log.database()));
        let theirs = Standing::read(&*self.target)?;
        let known = mine.mirrors.iter().find(|known| known.path == self.path);
        let gives = Given {
            mirror: known.is_some_and(|known| known.is_renewed || known.is_given_up),
            database: known.is_some_and(|known| known.is_given_up),
        };
        let was_copied = gives.mirror || known.is_some_and(|known| !known.hold.is_none());
        if theirs.is_none() && (was_copied || self.facts.lock().is_begun) {
            // Its disk is not there: a copy would go to another one.
            return Err(not_there(&self.path));
        }
        if let Some(claim) = &self.claim {
            let mut lock = self.lock.lock();
            if lock.is_none() {
                *lock = Some(self.pulse.during(claim)?);
            }
        }
        let connected = self.take_up(&mine, theirs, gives)?;
        self.carry_settings()?;
        Ok(connected)
    }

    fn take_up(&self, mine: &Standing, theirs: Option<Standing>, gives: Given) -> Result<Shipper> {
        let ours = Standing {
            role: Role::Mirror,
            other: self.own.clone(),
            mirrors: Vec::new(),
            parted_at: Lsn::NONE,
            ..mine.clone()
        };
        let Some(theirs) = theirs else { return self.copy(&ours) };
        if theirs.database != mine.database {
            return Err(diverged("it is of another database"));
        }
        match theirs.role {
            Role::Primary if theirs.epoch > mine.epoch => Err(self.yield_to(&theirs)?),
            Role::Primary | Role::Superseded if gives.database && theirs.epoch <= mine.epoch => {
                self.copy(&ours)
            }
            Role::Primary => Err(diverged("it is a database of its own")),
            Role::Copying => self.copy(&ours),
            Role::Mirror if gives.mirror && theirs.epoch <= mine.epoch => self.copy(&ours),
            Role::Superseded => {
                rejoin::ensure_prefix(&self.target, mine, &theirs)?;
                rejoin::make_mirror(&*self.target, &ours)?;
                self.resume(&ours)
            }
            Role::Mirror => self.resume(&ours),
        }
    }

    /// Notes where the mirror is no longer in its directory, so that the next step looks anew: files
    /// of a directory that was removed, or replaced, take what is written all the same.
    pub(super) fn look_at_place(&self) {
        let database = self.source.shared.core.log.database();
        if self.facts.lock().phase != Phase::Following {
            return;
        }
        // Nothing is held: its disk may not answer.
        let is_there = Standing::read(&*self.target).is_ok_and(|theirs| {
            theirs.is_some_and(|theirs| theirs.role == Role::Mirror && theirs.database == database)
        });
        if !is_there {
            self.facts.lock().is_elsewhere = true;
            self.source.shared.core.log.gate().wake();
        }
    }

    /// The settings of the database are the mirror's too, should it take over.
    pub(super) fn carry_settings(&self) -> Result<()> {
        let (disk, target) = (&*self.source.disk, &*self.target);
        if !disk.exists(SETTINGS)? {
            return Ok(());
        }
        let ours = read_small(disk, SETTINGS)?;
        if target.exists(SETTINGS)? && read_small(target, SETTINGS)? == ours {
            return Ok(());
        }
        let file = target.open(SETTINGS, OpenMode::Create)?;
        file.truncate(0)?;
        file.write_at(&ours, 0)?;
        file.sync()?;
        target.sync_dir("")
    }

    /// The mirror has become the primary while this one could not see it: it takes no more changes.
    fn yield_to(&self, theirs: &Standing) -> Result<Error> {
        let fenced = Standing {
            role: Role::Superseded,
            other: self.path.clone(),
            mirrors: Vec::new(),
            ..theirs.clone()
        };
        let _turn = self.standing.lock();
        if self.pulse.is_given_up() {
            return Err(Error::new(Code::Cancelled));
        }
        self.source.shared.read_only.store(true, Ordering::Release);
        fenced.write(&*self.source.disk)?;
        self.tell("database_superseded", vec![("epoch", theirs.epoch.into())]);
        Ok(superseded(&fenced))
    }

    /// Goes on with a whole mirror; one that the log no longer reaches, or that is damaged beyond
    /// what the log of the primary can mend, gets a new copy. `MirrorDiverged` where it holds what
    /// the primary has not.
    fn resume(&self, ours: &Standing) -> Result<Shipper> {
        let (is_damaged, is_log_damaged) = {
            let mut facts = self.facts.lock();
            (std::mem::take(&mut facts.is_damaged), std::mem::take(&mut facts.is_log_damaged))
        };
        let found = match (is_damaged, is_log_damaged) {
            (true, _) => Err(incomplete("it is damaged")),
            (false, true) => self.find_mended_place(),
            (false, false) => match self.find_place() {
                Err(error) if error.code == Code::WalCorrupted => self.find_mended_place(),
                found => found,
            },
        };
        let shipper = match found {
            Ok(shipper) => shipper,
            Err(error)
                if matches!(
                    error.code,
                    Code::MirrorIncomplete
                        | Code::WalCorrupted
                        | Code::ControlDamaged
                        | Code::DatabaseNotFound
                ) =>
            {
                self.tell("mirror_needs_copy", vec![("error", error.to_string().into())]);
                return self.copy(ours);
            }
            Err(error) => return Err(error),
        };
        if Standing::read(&*self.target)?.as_ref() == Some(ours) {
            Standing::confirm(&*self.target)?;
        } else {
            ours.write(&*self.target)?;
        }
        Ok(shipper)
    }

    /// As [`Follower::find_place`], once what is damaged of the mirror's log was replaced.
    fn find_mended_place(&self) -> Result<Shipper> {
        if self.mend_log()? > 0 { self.find_place() } else { Err(kept_nowhere()) }
    }

    fn find_place(&self) -> Result<Shipper> {
        let log = &self.source.shared.core.log;
        if !self.target.exists(DATA_PATH)? {
            return Err(incomplete("the file of its pages is not there"));
        }
        let at = log_end(&self.target, None)?.at;
        let found = segments::discover(&*self.target, log.database())?;
        let headers: Vec<SegmentHeader> = found.iter().filter_map(|info| info.header.ok()).collect();
        let newest = *headers.last().ok_or_else(|| incomplete("it has no log"))?;
        let used = log.in_use();
        if used.last().is_some_and(|last| newest.number > last.number) || at > log.durable() {
            return Err(diverged("it holds more than the database"));
        }
        // Where its log is damaged before its newest segment, it goes on in the one that is damaged.
        let newest = headers.into_iter().rfind(|header| header.start <= at).unwrap_or(newest);
        let synced = self.facts.lock().shipped;
        let same = used.iter().find(|segment| segment.number == newest.number);
        let Some(same) = same.copied() else {
            // It may be through with a segment that is gone here: then it goes on with the next one.
            let next = used.first().filter(|next| next.number == newest.number + 1 && next.start == at);
            let previous = next.map(|next| log.header_of(next.number)).transpose()?.map(|h| h.previous);
            return match previous {
                Some(previous) if previous == newest.incarnation => {
                    Shipper::resume(Arc::clone(&self.target), Arc::clone(log), (at, synced), newest)
                }
                Some(_) => Err(diverged("its log is of another history")),
                None => Err(too_late(at)),
            };
        };
        let path = segments::segment_path(FOLDER, newest.number);
        let file = self.target.open(&path, OpenMode::Read)?;
        let mut theirs = [0; HEADER_BYTES as usize];
        file.read_at(&mut theirs, 0)?;
        if theirs != log.header_bytes(newest.number)? || at > same.limit.max(same.start) {
            return Err(diverged("its log is of another history"));
        }
        let from = Lsn(at.0.saturating_sub(COMPARED)).max(same.start);
        if at > from {
            let zeros =
                || crate::memory::zeroed((at.0 - from.0) as usize, "compare the log of a mirror");
            let mut bytes = (zeros()?, zeros()?);
            file.read_at(&mut bytes.0, same_offset(from, same.start))?;
            durable_bytes(log, from, &mut bytes.1)?;
            if bytes.0 != bytes.1 {
                return Err(diverged("its log is of another history"));
            }
        }
        if at < same.start {
            return Err(too_late(at));
        }
        Shipper::resume(Arc::clone(&self.target), Arc::clone(log), (at, synced), newest)
    }

    fn copy(&self, ours: &Standing) -> Result<Shipper> {
        {
            let mut facts = self.facts.lock();
            facts.phase = Phase::Copying;
            facts.mark = None;
        }
        self.tell("mirror_copy_started", vec![]);
        let _turn = self.pages.lock();
        let started = Instant::now();
        Standing { role: Role::Copying, ..ours.clone() }.write(&*self.target)?;
        self.facts.lock().is_begun = true;
        let done =
            base::copy(&self.source, (&self.target, &self.path), ours, self.number, &self.copying)?;
        self.remember_hold(done.shipper.at());
        self.facts.lock().copies += 1;
        let seconds = started.elapsed().as_secs_f64();
        self.tell("mirror_copied", vec![("pages", done.pages.into()), ("seconds", seconds.into())]);
        Ok(done.shipper)
    }
}

fn read_small(disk: &dyn Disk, path: &str) -> Result<Vec<u8>> {
    let file = disk.open(path, OpenMode::Read)?;
    let mut bytes = crate::memory::zeroed(file.size()?.min(1 << 20) as usize, "read a mirror")?;
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

fn same_offset(lsn: Lsn, start: Lsn) -> u64 {
    HEADER_BYTES + lsn.0 - start.0
}
