//! Dropped snapshots give their room back.
//!
//! Of what a dropped snapshot has kept, the one before it needs the pages that it has not kept
//! itself: those are moved down, into its file; nobody needs the others. The oldest one has nobody
//! before it, and needs no moving.
//!
//! The manifest goes first, and that is made certain: from then on there is no such snapshot. Then
//! batch after batch is appended to the file of the one before, and synced; the files of the
//! dropped one go last. A crash on the way leaves a page in both files, as the same bytes, and the
//! next drop, or the next snapshot, goes on. The keeper is let go of after each batch, so that work
//! on the database waits for one batch at most.

use super::chain::{BATCH, Chain, Keeper, Link};
use super::{FOLDER, path_of};
use crate::error::{Code, Result};
use crate::memory;
use crate::sync::Ordering;

/// So many more turns than there are batches to move; then the rest goes in one turn, so that who
/// keeps pages all the while cannot hold it up for ever.
const GRACE: usize = 8;

/// A dropped snapshot, the one before it, and what of the one is still to be moved to the other.
struct Leaving {
    below: u64,
    gone: u64,
    owed: Vec<u32>,
}

impl Link {
    /// Somebody wants this snapshot itself, not only what it has kept for others.
    fn is_wanted(&self) -> bool {
        self.moment.is_some() || !self.is_taken || self.readers.load(Ordering::Acquire) > 0
    }

    /// The pages that this one needs from `later`, the next one.
    fn owed_by(&self, later: &Link) -> Result<Vec<u32>> {
        let owed = later.frames.numbers().filter(|page| self.needs(*page));
        let mut owed = memory::gathered(owed, "drop a snapshot")?;
        owed.sort_unstable();
        Ok(owed)
    }
}

impl Chain {
    /// Drops the snapshot of this name; certain on return. Its room is given back but for pages that
    /// an older one needs. While somebody looks at it, or the disk has no room to move those pages,
    /// it is given back by the next snapshot that is taken or dropped. `SnapshotNotFound`.
    pub fn drop_named(&self, name: &str) -> Result<()> {
        {
            let _keeper = self.keeper.lock();
            let number = self.named(name)?.number;
            self.base().remove(&path_of(number, "json"))?;
            self.base().sync_dir(FOLDER)?;
            if let Some(link) = self.links.write().iter_mut().find(|link| link.number == number) {
                link.moment = None;
            }
        }
        self.settle()
    }

    /// Gives back the room of all snapshots that were dropped, as far as nobody needs it.
    pub(super) fn settle(&self) -> Result<()> {
        let (mut passed, mut current, mut turns) = (0, 0, 0);
        loop {
            let mut keeper = self.keeper.lock();
            self.prune(&mut keeper)?;
            let Some(leaving) = self.next_leaving(passed)? else { return Ok(()) };
            if current != leaving.gone {
                (current, turns) = (leaving.gone, leaving.owed.len().div_ceil(BATCH) + GRACE);
            }
            let most = if turns == 0 { usize::MAX } else { BATCH };
            turns = turns.saturating_sub(1);
            let is_last = leaving.owed.len() <= most;
            if !self.move_down(&leaving, most)? {
                passed = leaving.gone;
            } else if is_last {
                self.forget(&mut keeper, leaving.gone)?;
            }
        }
    }

    /// The oldest one behind `passed` that can go once what it owes is moved.
    fn next_leaving(&self, passed: u64) -> Result<Option<Leaving>> {
        let links = self.links.read();
        let leaving = links.windows(2).find(|pair| {
            let (below, gone) = (&pair[0], &pair[1]);
            let is_damaged = below.frames.is_damaged || gone.frames.is_damaged;
            gone.number > passed && !gone.is_wanted() && !is_damaged
        });
        let Some([below, gone]) = leaving else { return Ok(None) };
        Ok(Some(Leaving { below: below.number, gone: gone.number, owed: below.owed_by(gone)? }))
    }

    /// Moves the first `most` pages; durable on return. False where they have to stay: what was kept
    /// is damaged, which its reader is to be told, or the disk has no room.
    fn move_down(&self, leaving: &Leaving, most: usize) -> Result<bool> {
        // Also where nothing is left to move: a process that was killed may have moved it, and not synced.
        self.make_writable(leaving.below)?;
        for pages in leaving.owed[..leaving.owed.len().min(most)].chunks(BATCH) {
            let links = self.links.read();
            let find = |number: u64| links.iter().find(|link| link.number == number);
            let (Some(below), Some(gone)) = (find(leaving.below), find(leaving.gone)) else {
                return Ok(false);
            };
            let (mut batch, file) = (below.frames.batch(), below.frames.file());
            for page in pages {
                match gone.frames.stored(*page) {
                    Some(Ok((raw, stored))) => batch.put_stored(*page, raw, &stored)?,
                    Some(Err(_)) | None => return Ok(false),
                }
            }
            drop(links);
            match self.ensure_room(batch.len()).and_then(|()| batch.write(&*file)) {
                Ok(()) => {}
                Err(error) if error.code == Code::DiskFull => return Ok(false),
                Err(error) => return Err(error),
            }
            let mut links = self.links.write();
            if let Some(below) = links.iter_mut().find(|link| link.number == leaving.below) {
                below.frames.note(batch)?;
            }
        }
        Ok(true)
    }

    /// Removes the oldest files as far as nobody needs them, and the log of all that were dropped.
    pub(super) fn prune(&self, keeper: &mut Keeper) -> Result<()> {
        let numbers: Vec<u64> = {
            let links = self.links.read();
            let count = links.iter().position(Link::is_wanted).unwrap_or(links.len());
            links[..count].iter().map(|link| link.number).collect()
        };
        for number in numbers {
            self.forget(keeper, number)?;
        }
        let mut links = self.links.write();
        for link in links.iter_mut().filter(|link| !link.is_wanted() && link.log_bytes > 0) {
            self.base().remove(&path_of(link.number, "log"))?;
            link.log_bytes = 0;
        }
        Ok(())
    }

    /// Removes the files of a snapshot from which nobody needs anything. Where that fails, or is not
    /// certain yet when the power fails, they are found again and do no harm.
    fn forget(&self, _keeper: &mut Keeper, number: u64) -> Result<()> {
        self.links.write().retain(|link| link.number != number);
        self.base().remove(&path_of(number, "kept"))?;
        self.base().remove(&path_of(number, "log"))?;
        self.base().sync_dir(FOLDER)
    }
}
