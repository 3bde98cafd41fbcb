//! Filling an empty tree by two threads: the caller brings records, another one makes pages of them.
//!
//! ```text
//! Courier: push -> batch of copies -> Delivery: pages, log
//!            ^---- emptied batches ------'
//! ```
//!
//! Records cross as copies, many at a time; few batches wait, and their memory goes round, so that it
//! stays in the processor's cache. The tree is finished only after the caller has said that nothing is
//! to come: where it fails, or panics, what was built is taken back as after any other error.

use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::thread::{Scope, ScopedJoinHandle, scope};

use super::{Filling, Records, Transaction, TreeRef};
use crate::error::{Error, Result};

/// Bytes of records that cross together.
const BATCH_BYTES: usize = 128 << 10;
/// Batches that wait for the builder.
const WAITING: usize = 8;
/// A batch of more, for it holds a long value, is built of before the next one is begun.
const LONG_BATCH: usize = 2 * BATCH_BYTES;
/// So many records are worth a second thread.
pub const WORTH_A_BUILDER: usize = 4096;

enum Load {
    Batch(Records),
    /// Nothing comes after it.
    End,
}

/// Takes records from who brings them to the thread that builds.
pub struct Courier {
    batch: Records,
    give: SyncSender<Load>,
    /// Batches to be filled again.
    spare: Receiver<Records>,
    /// Batches that have not come back.
    away: usize,
    /// The builder has ended, and knows why.
    is_refused: bool,
}

/// The other end: where the records arrive.
pub struct Delivery {
    given: Receiver<Load>,
    emptied: Sender<Records>,
}

/// Takes a record, whose key must be above every earlier one.
pub type Push<'p> = &'p mut dyn FnMut(&[u8], &[u8]) -> Result<()>;

/// Both ends.
pub fn line() -> (Courier, Delivery) {
    let ((give, given), (emptied, spare)) = (sync_channel(WAITING), channel());
    let courier = Courier { batch: fresh(), give, spare, away: 0, is_refused: false };
    (courier, Delivery { given, emptied })
}

fn fresh() -> Records {
    Records::with_capacity(BATCH_BYTES / 64, BATCH_BYTES + BATCH_BYTES / 8)
}

impl Courier {
    /// Adds a record; its key must be above every earlier one. Waits for nobody: a batch that
    /// [`Courier::is_full`] is to be passed on. `OutOfMemory` where it finds no room.
    pub fn add(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.batch.push_long(key, value)
    }

    pub fn is_full(&self) -> bool {
        self.batch.size_bytes() >= BATCH_BYTES
    }

    /// The last key of the batch.
    pub fn last_key(&self) -> Option<&[u8]> {
        self.batch.last_key()
    }

    /// Passes the batch on; waits while too many of them wait.
    pub fn pass_on(&mut self) -> Result<()> {
        let is_long = self.batch.size_bytes() > LONG_BATCH;
        let load = self.load();
        self.give.send(load).map_err(|_| self.refused())?;
        while is_long && self.away > 0 {
            self.spare.recv().map_err(|_| self.refused())?;
            self.away -= 1;
        }
        Ok(())
    }

    /// As [`Courier::pass_on`]; false, and nothing done, where the builder would have to be waited for.
    pub fn try_pass_on(&mut self) -> Result<bool> {
        if self.batch.size_bytes() > LONG_BATCH {
            return Ok(false);
        }
        let load = self.load();
        match self.give.try_send(load) {
            Ok(()) => Ok(true),
            Err(TrySendError::Full(Load::Batch(batch))) => {
                (self.batch, self.away) = (batch, self.away - 1);
                Ok(false)
            }
            Err(_) => Err(self.refused()),
        }
    }

    /// Takes the batch away, for an empty one.
    fn load(&mut self) -> Load {
        let next = self.spare.try_recv().inspect(|_| self.away -= 1).unwrap_or_else(|_| fresh());
        self.away += 1;
        Load::Batch(std::mem::replace(&mut self.batch, next))
    }

    /// Passes on what is left, and that nothing follows. A courier dropped without it stops the builder.
    pub fn end(&mut self) -> Result<()> {
        self.pass_on()?;
        self.give.send(Load::End).map_err(|_| self.refused())
    }

    fn refused(&mut self) -> Error {
        self.is_refused = true;
        Error::internal("the records are not taken any more")
    }
}

impl Delivery {
    /// Pushes everything that arrives, until the courier says that it was all; an error where it is
    /// gone without that.
    pub fn unload(&self, filling: &mut Filling<'_>) -> Result<()> {
        while let Ok(load) = self.given.recv() {
            let Load::Batch(mut records) = load else { return Ok(()) };
            records.iter().try_for_each(|(key, value)| filling.push(key, value))?;
            records.clear();
            // Nobody may be there any more to fill it.
            let _ = self.emptied.send(records);
        }
        Err(Error::internal("the records of a bulk build have stopped coming"))
    }
}

/// A thread to build by; `None` where there is none to be had.
pub fn builder<'s, T: Send + 's>(
    scope: &'s Scope<'s, '_>,
    build: impl FnOnce() -> T + Send + 's,
) -> Option<ScopedJoinHandle<'s, T>> {
    let thread = std::thread::Builder::new().name("holdfast-build".to_owned());
    thread.spawn_scoped(scope, build).ok()
}

impl Transaction {
    /// As [`Transaction::fill_with_many`], with what `bring` pushes on this thread, while another one
    /// builds of it where there is much. An error of `bring` comes before one of the builder's.
    pub fn fill_beside(
        &mut self,
        at: TreeRef,
        sizes: (usize, u64),
        bring: &mut dyn FnMut(Push<'_>) -> Result<()>,
    ) -> Result<u64> {
        if sizes.0 >= WORTH_A_BUILDER
            && let Some(built) = self.fill_by_two(at, sizes, bring)
        {
            return built;
        }
        self.fill_with_many(at, sizes, &mut |filling| bring(&mut |key, value| filling.push(key, value)))
    }

    fn fill_by_two(
        &mut self,
        at: TreeRef,
        sizes: (usize, u64),
        bring: &mut dyn FnMut(Push<'_>) -> Result<()>,
    ) -> Option<Result<u64>> {
        let (mut courier, delivery) = line();
        let build = move || self.fill_with_many(at, sizes, &mut |filling| delivery.unload(filling));
        scope(|scope| {
            let building = builder(scope, build)?;
            let brought = bring(&mut |key, value| {
                courier.add(key, value)?;
                if courier.is_full() { courier.pass_on() } else { Ok(()) }
            });
            let brought = brought.and_then(|()| courier.end());
            let is_refused = courier.is_refused;
            // Where it has not said that this was all, the builder takes back what it has built.
            drop(courier);
            let built = building.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Some(if is_refused { built } else { brought.and(built) })
        })
    }
}
