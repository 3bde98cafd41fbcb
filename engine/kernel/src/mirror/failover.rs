//! A mirror takes the place of its primary.
//!
//! What may be lost is said first ([`outlook`]). Then the former primary is fenced, where it can be
//! reached; then one write makes the mirror the primary, with a higher epoch. It needs a recovery,
//! as after a crash, and is opened like any other database. A crash between the two writes leaves
//! neither open to use, and the same call again goes on. The caller holds both locks.

use super::ends::{LogEnd, cut, details, log_end};
use super::incomplete;
use super::rejoin::Unmarked;
use super::standing::{Known, Role, Standing};
use crate::control::Control;
use crate::disk::Disk;
use crate::error::Result;
use crate::recovery::{OpeningOptions, Progress};
use crate::store::{Ground, RECOVERY_MARKER, Recovering, Store, StoreOptions, put_marker};
use crate::sync::Arc;
use crate::types::Lsn;
use crate::verify::CheckReport;

/// The memory of pages that redo in a mirror takes.
const CACHE_BYTES: u64 = 16 << 20;

/// What a fail over comes to.
#[derive(Clone, Debug)]
pub struct Outlook {
    pub epoch: u64,
    /// What the mirror says of its primary's place.
    pub primary: String,
    /// The mirror has everything up to here.
    pub end: Lsn,
    /// What was committed up to then is in it: its last commit, or the checkpoint after that, in
    /// microseconds since the Unix epoch.
    pub last_commit_at: i64,
    /// Log that the recovery will have to redo.
    pub redo_bytes: u64,
    /// What the primary has beyond; `None` where it cannot be read.
    pub missing: Option<Missing>,
    /// Why the end of the mirror's own log is not to be trusted.
    pub broken: Option<String>,
    /// The primary is fenced already: the fail over was begun.
    pub is_begun: bool,
}

/// What the primary has and the mirror has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    pub bytes: u64,
    pub commits: u64,
}

/// What failing over to `mirror` would lose, as far as `primary` can be read; changes nothing.
/// `MirrorIncomplete` where it cannot take over.
pub fn outlook(mirror: &Arc<dyn Disk>, primary: Option<&Arc<dyn Disk>>) -> Result<Outlook> {
    compared(mirror, primary).map(|(outlook, ..)| outlook)
}

fn compared(
    mirror: &Arc<dyn Disk>,
    primary: Option<&Arc<dyn Disk>>,
) -> Result<(Outlook, Standing, LogEnd)> {
    let theirs = Standing::read(&**mirror)?.ok_or_else(|| incomplete("it is no mirror"))?;
    match theirs.role {
        Role::Mirror => {}
        Role::Copying => return Err(incomplete("its first copy is not complete")),
        Role::Primary => return Err(incomplete("it has taken over already")),
        Role::Superseded => return Err(incomplete("another one has taken its own place")),
    }
    let control = Control::read(&**mirror)?;
    let end = log_end(mirror, None)?;
    let mut outlook = Outlook {
        epoch: theirs.epoch,
        primary: theirs.other.clone(),
        end: end.at,
        last_commit_at: end.last_commit_at.max(control.checkpoint_at),
        redo_bytes: end.at.0.saturating_sub(control.redo_lsn.0),
        missing: None,
        broken: end.broken.as_ref().map(details),
        is_begun: false,
    };
    let Some(primary) = primary else { return Ok((outlook, theirs, end)) };
    let standing = match Standing::read(&**primary) {
        Ok(Some(standing)) if standing.database == theirs.database => Some(standing),
        Ok(Some(_)) => return Err(incomplete("the primary that was named is of another database")),
        Ok(None) | Err(_) => None,
    };
    if let Some(standing) = &standing {
        let is_ours = standing.role == Role::Superseded && standing.epoch == theirs.epoch + 1;
        if standing.epoch > theirs.epoch && !is_ours {
            return Err(incomplete("it is of an earlier epoch than the database that was named"));
        }
        outlook.is_begun = is_ours;
    }
    outlook.missing = log_end(primary, Some(end.at))
        .ok()
        .filter(|there| there.broken.is_none())
        .map(|there| Missing { bytes: there.at.0.saturating_sub(end.at.0), commits: there.commits });
    Ok((outlook, theirs, end))
}

/// Makes `mirror`, which lies at `place`, the primary. `primary` is the disk of the former one, where
/// it can be reached: it is fenced first, and may never be opened as a primary again. Where the end
/// of the mirror's log is broken, only with `accepts_cut`.
///
/// On return `mirror` is a database that needs a recovery. After an error it is a mirror as before,
/// and the former primary what it was, unless that could not be written either.
pub fn fail_over(
    mirror: &Arc<dyn Disk>,
    place: &str,
    primary: Option<&Arc<dyn Disk>>,
    accepts_cut: bool,
) -> Result<Outlook> {
    let (outlook, theirs, end) = compared(mirror, primary)?;
    if let Some(broken) = &end.broken
        && !accepts_cut
    {
        let error = incomplete("the end of its log is damaged").with("details", details(broken));
        return Err(error.because(broken.clone()));
    }
    let epoch = theirs.epoch + 1;
    let fenced = Standing {
        role: Role::Superseded,
        epoch,
        mirrors: Vec::new(),
        other: place.to_owned(),
        parted_at: end.at,
        ..theirs.clone()
    };
    let before = primary.and_then(|disk| Standing::read(&**disk).ok().flatten());
    // Where it cannot be written it cannot work either; should it come back, the epoch decides.
    let is_fenced = primary.is_some_and(|disk| fenced.write(&**disk).is_ok());
    let done = promote(&**mirror, &theirs, &end, epoch);
    if let (Err(error), Some(disk), Some(before), true) = (&done, primary, before, is_fenced) {
        let is_still = Standing::read(&**mirror).is_ok_and(|now| now.as_ref() == Some(&theirs));
        if is_still && before.role == Role::Primary {
            before.write(&**disk).map_err(|other| other.because(error.clone()))?;
        }
    }
    done.map(|()| outlook)
}

fn promote(mirror: &dyn Disk, theirs: &Standing, end: &LogEnd, epoch: u64) -> Result<()> {
    if end.broken.is_some() {
        cut(mirror, end)?;
    }
    put_marker(mirror, RECOVERY_MARKER)?;
    // Log is held for the former primary: should it come back, it can follow.
    let former = Known {
        path: theirs.other.clone(),
        is_synchronous: false,
        hold: end.at,
        is_renewed: false,
        is_given_up: false,
    };
    let mirrors = if theirs.other.is_empty() { Vec::new() } else { vec![former] };
    let new = Standing { role: Role::Primary, epoch, mirrors, parted_at: end.at, ..theirs.clone() };
    new.write(mirror)
}

/// Proves a mirror: recovers it beside itself, on `scratch`, and checks every invariant of what
/// comes out. The mirror stays as it is; nobody redoes in it meanwhile, and only log beyond `end` may
/// come to it. Returns where it ends, and the check.
pub fn verify(
    mirror: &Arc<dyn Disk>,
    scratch: Arc<dyn Disk>,
    end: Option<Lsn>,
    progress: &Progress,
) -> Result<(Lsn, CheckReport)> {
    let theirs = Standing::read(&**mirror)?.ok_or_else(|| incomplete("it is no mirror"))?;
    if theirs.role != Role::Mirror {
        return Err(incomplete("its first copy is not complete"));
    }
    let base: Arc<dyn Disk> = Arc::new(Unmarked(Arc::clone(mirror)));
    let options = StoreOptions { background: false, ..StoreOptions::default() };
    let options = StoreOptions { opening: modest(), ..options };
    let mut recovering = Recovering::begin(base, &options, Ground::Rehearsal(scratch))?;
    recovering.opening.read_up_to(end.unwrap_or(Lsn::MAX));
    if let Err(error) = recovering.run(progress) {
        recovering.abandon()?;
        return Err(error);
    }
    let end = recovering.opening.analysis().map_or(Lsn::NONE, |analysis| analysis.end);
    let store = recovering.look()?;
    let report = store.check(false, progress);
    store.close()?;
    Ok((end, report?))
}

/// Opens what a former primary, or a mirror, holds, for reading only: recovered beside itself, on
/// `scratch`, which must last as long as the store. It stays as it is; the caller holds its lock.
pub fn look(
    disk: &Arc<dyn Disk>,
    scratch: Arc<dyn Disk>,
    options: &StoreOptions,
    progress: &Progress,
) -> Result<Store> {
    let base: Arc<dyn Disk> = Arc::new(Unmarked(Arc::clone(disk)));
    let options = StoreOptions { background: false, ..options.clone() };
    let mut recovering = Recovering::begin(base, &options, Ground::Rehearsal(scratch))?;
    match recovering.run(progress) {
        Ok(()) => recovering.look(),
        Err(error) => {
            // The first error is the one to tell; the scratch disk goes anyway.
            let _ = recovering.abandon();
            Err(error)
        }
    }
}

/// What redo in a mirror works with: little, for the database is at work beside it.
pub(super) fn modest() -> OpeningOptions {
    let mut options = StoreOptions::default().opening;
    options.cache_bytes = CACHE_BYTES;
    options.redo_workers = 1;
    options.log.background = false;
    options
}
