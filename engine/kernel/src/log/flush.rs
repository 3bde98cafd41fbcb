//! Group commit: one thread writes and syncs for all who wait.
//!
//! Whoever needs a position and finds nobody leading becomes the leader: it seals the group
//! (everything appended so far), writes it and syncs. Appends go on meanwhile and form the next
//! group. Then it hands the lead on to one that waits for that group, before it wakes those whose
//! positions it has reached: between two syncs the medium waits for one thread to wake, not for
//! all of them. Flushes are strictly sequential, so a group's entry can name everything before the
//! group as durable. Who leads and who waits is in [`super::lead`].
//!
//! A segment is written to only after everything in its predecessors was synced, whatever the
//! sync mode: the reader relies on it (see [`super::segments`]).

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::bounce;
use super::lead::{Lead, Waiter, patience};
use super::recent::Piece;
use super::space::Target;
use super::writer::{Core, Wishes};
use super::{LogStatus, SyncMode, segments};
use crate::disk::{File, OpenMode};
use crate::error::{Error, Result};
use crate::sync::{Arc, MutexGuard, Ordering, trip};
use crate::types::Lsn;

/// How often bytes are handed to the operating system where nobody waits for syncs.
const OFF_TICK: Duration = Duration::from_millis(200);

/// The segment being written; only the leader touches it.
pub(super) struct Io {
    pub file: Arc<dyn File>,
    /// Something was written to it since its last sync.
    pub dirty: bool,
}

/// A sealed group: what to write, and where.
struct Group {
    pieces: Vec<Piece>,
    targets: Vec<Target>,
    from: u64,
    to: u64,
    /// It is long, and of a bulk load: not to be read soon.
    is_bulk: bool,
}

/// Held by the leader; hands the lead on, also where this one panics.
struct Leading<'a>(&'a Core);

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(Error::internal("the thread that flushed the log panicked"));
        }
        // After a failure nobody needs to lead: each is told.
        let is_through = |waiter: &Waiter| {
            self.0.has_failed.load(Ordering::Acquire) || self.0.has_reached(waiter.lsn, waiter.sync)
        };
        let called = self.0.lead.lock().pass_on(is_through);
        for (turn, leads) in called {
            turn.call(leads);
        }
    }
}

impl Core {
    /// Returns once everything before `lsn` is written (and synced).
    pub(super) fn reach(&self, lsn: u64, sync: bool) -> Result<()> {
        let lsn = lsn.min(self.end.load(Ordering::Acquire));
        loop {
            if self.has_reached(lsn, sync) {
                return Ok(());
            }
            self.check()?;
            if !self.take_lead(lsn, sync) {
                continue;
            }
            let leading = Leading(self);
            let result = self.flush_group(sync).map_err(|error| self.fail(error));
            drop(leading);
            result?;
        }
    }

    /// Becomes the leader, at once or when called to; false where the position may have been
    /// reached in the meantime.
    fn take_lead(&self, lsn: u64, sync: bool) -> bool {
        let mut lead = self.lead.lock();
        if self.has_reached(lsn, sync) {
            return false;
        }
        if lead.is_led {
            if sync && lead.complete() {
                return true;
            }
            let turn = lead.join(lsn, sync);
            drop(lead);
            if !turn.wait() {
                return false;
            }
            lead = self.lead.lock();
        }
        lead.is_led = true;
        !sync || self.gather(lead, lsn)
    }

    /// Waits for those who were there at the last sync; false where the last of them has taken the
    /// lead.
    ///
    /// Without the wait the first of them would sync for itself alone, and all others stand behind
    /// it: two syncs where one would do. Who commits alone never waits.
    fn gather(&self, mut lead: MutexGuard<'_, Lead>, lsn: u64) -> bool {
        let usual = Duration::from_nanos(self.sync_ns.load(Ordering::Relaxed));
        let Some(turn) = lead.gather(lsn, usual) else {
            return true;
        };
        drop(lead);
        match turn.wait_until(Instant::now() + patience(usual)) {
            Some(leads) => leads,
            None => self.lead.lock().give_up(&turn) || turn.wait(),
        }
    }

    fn has_reached(&self, lsn: u64, sync: bool) -> bool {
        let reached = if sync { &self.durable } else { &self.written };
        reached.load(Ordering::Acquire) >= lsn
    }

    /// Too much is unwritten: makes room as the sync mode asks.
    pub(super) fn drain(&self) -> Result<()> {
        let end = self.end.load(Ordering::Acquire);
        self.reach(end, self.options.sync_mode == SyncMode::Durable)
    }

    /// Ends the group being filled: nothing that is appended from now on belongs to it.
    fn seal(&self) -> Group {
        let mut state = self.state.lock();
        if let Some(lsn) = state.group.take() {
            state.recent.name_durable(lsn, Lsn(self.durable.load(Ordering::Acquire)));
            self.groups.fetch_add(1, Ordering::Relaxed);
        }
        state.write_asked = false;
        let from = self.written.load(Ordering::Acquire);
        let to = state.end;
        let pieces = if from < to { state.recent.pieces(from) } else { Vec::new() };
        let targets = state.slots.targets(from, to);
        let is_bulk = self.options.sync_mode != SyncMode::Off
            && state.expected >= to
            && to.saturating_sub(from) >= bounce::BLOCK as u64;
        Group { pieces, targets, from, to, is_bulk }
    }

    fn flush_group(&self, sync: bool) -> Result<()> {
        let mut io = self.io.lock();
        let group = self.seal();
        // Asked after: whoever panicked in an append may have left half an entry in the group.
        self.check()?;
        for target in &group.targets {
            if let Some(header) = &target.header {
                self.sync_file(&mut io)?;
                let path = || segments::segment_path(segments::FOLDER, target.number);
                io.file = match &target.file {
                    Some(file) => Arc::clone(file),
                    None => self.disk.open(&path(), OpenMode::Write)?,
                };
                io.dirty = true;
                io.file.write_at(&header.encode(), 0)?;
                self.state.lock().slots.set_used(target.number);
                self.rotations.fetch_add(1, Ordering::Relaxed);
            }
            write_part(&mut io, target, &group)?;
        }
        trip("flush");
        self.written.store(group.to, Ordering::Release);
        if sync {
            self.sync_file(&mut io)?;
            self.durable.store(group.to, Ordering::Release);
            self.gate.note_durable();
        }
        Ok(())
    }

    fn sync_file(&self, io: &mut Io) -> Result<()> {
        if io.dirty {
            let begun = Instant::now();
            io.file.sync()?;
            let elapsed = begun.elapsed();
            self.sync_latency.record(elapsed);
            let (before, now) = (self.sync_ns.load(Ordering::Relaxed), elapsed.as_nanos() as u64);
            self.sync_ns.store(before - before / 8 + now / 8, Ordering::Relaxed);
            self.syncs.fetch_add(1, Ordering::Relaxed);
            io.dirty = false;
        }
        Ok(())
    }

    pub(super) fn wish(&self, change: impl FnOnce(&mut Wishes)) {
        change(&mut self.wishes.lock());
        self.wished.notify_all();
    }

    /// The threads that prepare segments and write ahead of need.
    pub(super) fn spawn(self: &Arc<Core>) -> Vec<JoinHandle<()>> {
        let named = |name: &str, work: fn(&Core)| {
            let core = Arc::clone(self);
            std::thread::Builder::new().name(name.to_owned()).spawn(move || work(&core)).ok()
        };
        // Without its threads the log works as with `background = false`, only less evenly.
        let threads = [
            named("holdfast-log-space", Core::prepare_in_background),
            named("holdfast-log-write", Core::write_in_background),
        ];
        threads.into_iter().flatten().collect()
    }

    fn write_in_background(&self) {
        let tick = match self.options.sync_mode {
            SyncMode::Durable => None,
            SyncMode::Interval(ms) => Some(Duration::from_millis(ms.max(1))),
            SyncMode::Off => Some(OFF_TICK),
        };
        loop {
            let mut wishes = self.wishes.lock();
            let due = tick.map(|tick| Instant::now() + tick);
            while !wishes.stop && !wishes.write {
                match due {
                    None => self.wished.wait(&mut wishes),
                    Some(due) => {
                        if self.wished.wait_until(&mut wishes, due).timed_out() {
                            break;
                        }
                    }
                }
            }
            if wishes.stop {
                return;
            }
            wishes.write = false;
            drop(wishes);
            let end = self.end.load(Ordering::Acquire);
            // A failure has poisoned the log; those who need it get the error themselves.
            let _ = self.reach(end, self.options.sync_mode != SyncMode::Off);
        }
    }

    pub(super) fn status(&self) -> LogStatus {
        let state = self.state.lock();
        let groups = self.groups.load(Ordering::Relaxed);
        let bytes = state.end - self.first;
        let (segments, segment_bytes) = state.slots.totals();
        LogStatus {
            incarnation: self.incarnation,
            oldest: state.slots.oldest(),
            end: Lsn(state.end),
            written: Lsn(self.written.load(Ordering::Acquire)),
            durable: Lsn(self.durable.load(Ordering::Acquire)),
            entries: state.entries,
            bytes,
            groups,
            syncs: self.syncs.load(Ordering::Relaxed),
            rotations: self.rotations.load(Ordering::Relaxed),
            segments,
            segment_bytes,
            reserved_undo: state.reserved,
            sync_latency: self.sync_latency.snapshot(),
            group_bytes: bytes.checked_div(groups).unwrap_or(0),
            failed: self.failure.lock().clone(),
        }
    }
}

/// Writes the part of the group that belongs into the segment.
fn write_part(io: &mut Io, target: &Target, group: &Group) -> Result<()> {
    let (from, to) = (group.from.max(target.start), group.to.min(target.limit));
    io.dirty = true;
    if group.is_bulk && bounce::write(&*io.file, &group.pieces, (from, to), target.offset(from))? {
        return Ok(());
    }
    for piece in &group.pieces {
        let part = piece.within(from, to);
        if !part.is_empty() {
            io.file.write_at(part, target.offset(piece.start.max(from)))?;
        }
    }
    Ok(())
}
