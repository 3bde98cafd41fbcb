//! The step from analysis to an open store whose redo and undo are still to be done: see
//! [`super::super::ondemand`].

use std::collections::{HashMap, HashSet};

use super::Opening;
use crate::buffer::Overdue;
use crate::error::{Error, Result};
use crate::log::EntryHeader;
use crate::log::windows::{Stretch, Window, Windows};
use crate::recovery::index::LogIndex;
use crate::recovery::undo::adopt;
use crate::recovery::{Analysis, Claims, OnDemand, Progress};
use crate::repair::{Helpers, OnDamage};
use crate::sync::Arc;
use crate::txn::{Shared, TxnState};
use crate::types::{Lsn, TxnId};

/// The most log before the checkpoint that is read for what losers did in it.
const MOST_BEFORE: u64 = 256 << 20;
/// The most pages that may be left: a checkpoint names all of them in one record.
const MOST_PAGES: usize = 1 << 19;

impl Opening {
    /// True where the store can open before redo: after `analyse`, the log being whole and the
    /// index at hand.
    pub fn can_redo_on_demand(&self) -> bool {
        let covers = |analysis: &Analysis| {
            let has_index = analysis.dirty.is_empty() || self.index.covers(analysis.redo_lsn);
            let fits = has_index && analysis.dirty.len() <= MOST_PAGES;
            fits && before(analysis).is_none_or(|first| analysis.start.0 - first.0 <= MOST_BEFORE)
        };
        self.cut.is_none() && !self.is_lenient && self.analysis.as_ref().is_some_and(covers)
    }

    /// In place of `redo` and `undo`: opens the log for writing, and leaves pages and losers to the
    /// open store. From here on nothing is taken back.
    pub fn redo_on_demand(&mut self) -> Result<()> {
        if !self.can_redo_on_demand() {
            return Err(Error::internal("redo on demand without an index"));
        }
        let mut analysis =
            self.analysis.take().ok_or_else(|| Error::internal("redo before analysis"))?;
        let opened = self.leave_to_store(&mut analysis);
        self.analysis = Some(analysis);
        opened
    }

    fn leave_to_store(&mut self, analysis: &mut Analysis) -> Result<()> {
        let shared = self.open_log(analysis)?;
        let pool = &shared.core.pool;
        // Redo cannot meet a full disk, nor a page beyond the end of the file.
        analysis.dirty.keys().max().map_or(Ok(()), |last| pool.ensure(*last))?;
        let (disk, database) = (Arc::clone(&self.disk), self.control().database);
        let log = Stretch::open(disk, database, analysis.redo_lsn, analysis.end)?;
        let index = std::mem::replace(&mut self.index, LogIndex::none());
        let helpers = match self.options.on_damage {
            OnDamage::Report => Helpers::default(),
            OnDamage::Repair | OnDamage::Halt => self.options.helpers.clone(),
        };
        let on_demand = OnDemand::new(analysis, index, log, helpers);
        pool.set_overdue(Arc::clone(&on_demand) as Arc<dyn Overdue>);
        let losers: Vec<Arc<TxnState>> =
            analysis.losers.iter().map(|loser| adopt(&shared, loser)).collect();
        self.lock_trees(&shared, analysis, &on_demand)?;
        // Nobody else ends them: the store rolls them back, the newest first.
        losers.iter().for_each(|state| {
            let _ = state.claim_end();
        });
        shared.orphans.lock().extend(losers.into_iter().rev());
        self.with_help(&on_demand, &shared, || shared.core.space.count_used().map(drop))?;
        self.on_demand = Some(on_demand);
        self.shared = Some(shared);
        Ok(())
    }

    /// Does again what met a page that redo cannot bring back, once helpers were asked for it: the
    /// store has no threads yet that would.
    fn with_help(
        &self,
        on_demand: &OnDemand,
        shared: &Shared,
        work: impl Fn() -> Result<()>,
    ) -> Result<()> {
        loop {
            let done = work();
            let is_damage = done.as_ref().is_err_and(Error::is_page_damage);
            // Each page is asked for once.
            if !is_damage || on_demand.ask_helpers(shared, &self.disk, &Progress::default())? == 0 {
                return done;
            }
        }
    }

    /// Gives losers back the locks on trees that they had.
    fn lock_trees(&self, shared: &Shared, analysis: &mut Analysis, on_demand: &OnDemand) -> Result<()> {
        let mut claims = std::mem::take(&mut analysis.claims);
        if let Some(first) = before(analysis) {
            self.find_claims_before(analysis, first, &mut claims)?;
        }
        for loser in &analysis.losers {
            let claims = claims.remove(&loser.id).unwrap_or_default();
            let lock = || claims.lock(loser.id, &shared.core, &shared.locks);
            self.with_help(on_demand, shared, lock)?;
        }
        Ok(())
    }

    /// What losers did before the checkpoint, from `first` on. That part of the log is kept for
    /// their undo, which verifies every entry of it.
    fn find_claims_before(
        &self,
        analysis: &Analysis,
        first: Lsn,
        claims: &mut HashMap<TxnId, Claims>,
    ) -> Result<()> {
        let losers: HashSet<TxnId> = analysis.losers.iter().map(|loser| loser.id).collect();
        let (disk, database) = (Arc::clone(&self.disk), self.control().database);
        let mut log = Windows::new(Stretch::open(disk, database, first, analysis.start)?, first);
        let mut window = Window::default();
        let mut take = |entry: &EntryHeader, body: &[u8]| match losers.contains(&entry.txn) {
            true => claims.entry(entry.txn).or_default().take(entry, body),
            false => Ok(()),
        };
        while log.next(&mut window, &mut take)? {}
        Ok(())
    }
}

/// Where the first loser began that began before the checkpoint.
fn before(analysis: &Analysis) -> Option<Lsn> {
    analysis.losers.iter().map(|loser| loser.first).filter(|first| *first < analysis.start).min()
}
