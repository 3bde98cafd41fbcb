//! The steps from a directory to an open store, for clean and unclean databases alike.

use crate::sync::{AtomicBool, AtomicU64, Ordering};
use std::collections::HashSet;
use std::sync::Arc;

use super::analysis::{self, Analyser};
use super::index::LogIndex;
use super::survey::{Takers, survey};
use super::{
    Analysis, Beyond, Cut, OnDemand, Progress, RedoReport, UndoReport, cut, lost_end, redo, undo,
};
use crate::buffer::{DOUBLEWRITE_PATH, DoubleWrite, Pool, PoolOptions};
use crate::checkpoint::Checkpointer;
use crate::control::{Control, ControlData};
use crate::core::Core;
use crate::disk::{Disk, File, OpenMode, overlay};
use crate::error::{Code, Error, Result};
use crate::events::EventQueue;
use crate::lock::{LockOptions, LockTable};
use crate::log::segments::{self, SegmentInfo};
use crate::log::windows::Stretch;
use crate::log::{Log, LogOptions, LogReader, TailReason};
use crate::mirror::standing;
use crate::page::Page;
use crate::repair::{Halt, Helpers, OnDamage, Repairs};
use crate::space::Space;
use crate::stats::Stats;
use crate::txn::{Counts, KnownTrees, LogLimits, RowIds, Shared, TidyQueue, TxnManager};
use crate::types::{Incarnation, Lsn, PageId};

mod beyond;
mod early;
pub(super) mod helped;

/// A recovery takes no more cache, whatever the setting allows: its memory has a bound of its own.
const CACHE_AT_MOST: u64 = 40 << 20;
/// The data file.
pub const DATA_PATH: &str = "database.holdfast";

/// What opening needs to know of settings.
#[derive(Clone, Debug)]
pub struct OpeningOptions {
    pub cache_bytes: u64,
    pub log: LogOptions,
    pub locks: LockOptions,
    pub image_every: u16,
    pub redo_workers: usize,
    pub on_damage: OnDamage,
    pub limits: LogLimits,
    /// The most memory for the index that redo reads the log by; without one it reads all of it,
    /// as often as the pages that need it exceed the cache.
    pub redo_index_bytes: usize,
    /// Who is asked for pages that the log alone does not bring back.
    pub helpers: Helpers,
}

/// The segments, as they were found.
#[derive(Debug)]
pub struct LogSurvey {
    pub segments: Vec<SegmentInfo>,
    pub gaps: Vec<String>,
    pub bytes: u64,
}

/// The valid log.
#[derive(Clone, Copy, Debug)]
pub struct LogValidity {
    pub end: Lsn,
    pub entries: u64,
    pub bytes: u64,
    pub reason: TailReason,
}

/// What a store is made of.
pub struct Parts {
    pub shared: Arc<Shared>,
    pub checkpointer: Checkpointer,
    /// What is left to do of the recovery that opened it.
    pub on_demand: Option<Arc<OnDemand>>,
}

/// A database on its way to being open.
pub struct Opening {
    disk: Arc<dyn Disk>,
    control: Control,
    options: OpeningOptions,
    validity: Option<LogValidity>,
    analysis: Option<Analysis>,
    index: LogIndex,
    shared: Option<Arc<Shared>>,
    cut: Option<Cut>,
    on_demand: Option<Arc<OnDemand>>,
    /// A salvage takes what redo can give.
    is_lenient: bool,
    /// Where reading the log is to end, though it may go on.
    stop: Lsn,
}

impl Opening {
    /// Reads the control file; changes nothing, but for what a recovery that was being installed
    /// had still to do.
    pub fn begin(disk: Arc<dyn Disk>, options: OpeningOptions) -> Result<Opening> {
        overlay::settle(&*disk)?;
        standing::ensure_primary(&*disk)?;
        let control = Control::open(&*disk, OpenMode::Write)?;
        Ok(Opening {
            disk,
            control,
            options,
            validity: None,
            analysis: None,
            index: LogIndex::none(),
            shared: None,
            cut: None,
            on_demand: None,
            is_lenient: false,
            stop: Lsn::MAX,
        })
    }

    pub fn control(&self) -> ControlData {
        self.control.data()
    }
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }
    pub fn analysis(&self) -> Option<&Analysis> {
        self.analysis.as_ref()
    }
    pub fn shared(&self) -> Option<&Arc<Shared>> {
        self.shared.as_ref()
    }

    /// Finds the segments, their order and their gaps.
    pub fn survey_log(&self) -> Result<LogSurvey> {
        let data = self.control();
        let found = segments::discover(&*self.disk, data.database)?;
        let bytes = found.iter().map(|segment| segment.size).sum();
        let mut gaps: Vec<String> = found
            .windows(2)
            .filter(|pair| pair[0].number + 1 != pair[1].number)
            .map(|pair| format!("segments {} to {} are missing", pair[0].number + 1, pair[1].number - 1))
            .collect();
        if let Err(error) = segments::extents(&found, data.redo_lsn) {
            gaps.push(error.to_string());
        }
        Ok(LogSurvey { segments: found, gaps, bytes })
    }

    fn reader(&self, from: Lsn) -> Result<LogReader> {
        let data = self.control();
        let floor = data.checkpoint_lsn.max(data.clean_end);
        let mut reader = LogReader::open(Arc::clone(&self.disk), data.database, from, floor)?;
        reader.stop_at(self.stop);
        Ok(reader)
    }

    /// Reads the log up to `lsn` only, where an entry ends: what follows may be being written.
    pub fn read_up_to(&mut self, lsn: Lsn) {
        self.stop = lsn;
    }

    pub(super) fn change_control(&mut self, data: ControlData) -> Result<()> {
        if data == self.control() { Ok(()) } else { self.control.write(data) }
    }

    pub(super) fn log_options(&self) -> LogOptions {
        self.options.log.clone()
    }

    /// Redo around a log that takes no entries; the parts of a store go again.
    pub(super) fn redo_followed(&mut self, log: Log, progress: &Progress) -> Result<RedoReport> {
        let analysis = self.analysis.take().ok_or_else(|| Error::internal("redo before analysis"))?;
        let file: Arc<dyn File> = self.disk.open(DATA_PATH, OpenMode::Write)?;
        let size = self.control().page_size as usize;
        let doublewrite = DoubleWrite::open(&*self.disk, size)?;
        let shared = build(file, doublewrite, log, size, &analysis, &self.options)?;
        self.redo_pages(&shared, &analysis, progress)
    }

    /// Cuts a damaged log at its last valid record; see [`cut`]. Before `validate_log`, and on an
    /// overlay only. `RecoveryImpossible` where no checkpoint is complete before the damage.
    pub fn cut_log(&mut self, beyond: Beyond, progress: &Progress) -> Result<&Cut> {
        if !self.disk.is_atomic() {
            return Err(Error::internal("a log is cut on an overlay only"));
        }
        let cut = cut::cut(&self.disk, &mut self.control, beyond, progress)?;
        self.is_lenient = beyond == Beyond::Keep;
        Ok(self.cut.insert(cut))
    }

    /// Checks every entry from the start of redo on, and finds where the valid log ends. Analysis,
    /// and the index that redo reads by, are made from the same reading.
    pub fn validate_log(&mut self, progress: &Progress) -> Result<LogValidity> {
        let control = self.control();
        // Pages that a cut has emptied need what came before the checkpoint that it left.
        let from = self.cut.as_ref().map_or(control.redo_lsn, |cut| cut.from.min(control.redo_lsn));
        let mut reader = self.reader(from)?;
        let takers = Takers {
            analyser: Analyser::new(&control),
            index: LogIndex::new(from, self.options.redo_index_bytes),
        };
        let (validity, takers) = survey(&mut reader, takers, progress)?;
        if self.cut.is_none() {
            lost_end::refuse(&*self.disk, control.page_size, control.incarnation, validity.end)?;
        }
        self.validity = Some(validity);
        if let Ok(Takers { analyser, index }) = takers {
            (self.analysis, self.index) = (Some(analyser.finish(validity.end)?), index);
        }
        Ok(validity)
    }

    fn validity(&self) -> Result<LogValidity> {
        self.validity.ok_or_else(|| Error::internal("the log has not been validated"))
    }

    /// Puts whole copies from the double-write file in the place of pages that are torn or older.
    /// Returns the copies found and the pages restored.
    pub fn restore_doublewrite(&mut self, progress: &Progress) -> Result<(usize, usize)> {
        let end = self.validity()?.end;
        let data = self.control();
        let size = data.page_size as usize;
        progress.begin("double-write", "pages", 0);
        let file = self.disk.open(DATA_PATH, OpenMode::Write)?;
        let (mut found, mut restored) = (HashSet::new(), 0);
        let doublewrite = DoubleWrite::open(&*self.disk, size)?;
        doublewrite.each_copy(data.redo_lsn, end, data.incarnation, |id, copy| {
            progress.ensure_going()?;
            let offset = u64::from(id.0) * size as u64;
            let mut present = Page::zeroed(size);
            let read = file.read_at(present.bytes_mut(), offset)?;
            let is_sound = read == size && present.validate(id, end).is_ok();
            if !is_sound || present.lsn() < copy.lsn() {
                file.write_at(copy.bytes(), offset)?;
                restored += 1;
            }
            found.insert(id);
            progress.add(1);
            Ok(())
        })?;
        file.sync()?;
        Ok((found.len(), restored))
    }

    /// Analysis, unless it was made while the log was validated. Changes nothing on the disk.
    pub fn analyse(&mut self, progress: &Progress) -> Result<&Analysis> {
        let mut analysis = match self.analysis.take() {
            Some(analysis) => analysis,
            None => {
                let control = self.control();
                let mut reader = self.reader(control.checkpoint_lsn)?;
                analysis::analyse(&mut reader, &control, progress)?
            }
        };
        if let Some(cut) = self.cut.as_ref().filter(|_| !self.is_lenient) {
            analysis.dirty.extend(cut.pages.iter().map(|page| (*page, cut.from)));
            if !cut.pages.is_empty() {
                analysis.redo_lsn = analysis.redo_lsn.min(cut.from);
            }
        }
        Ok(self.analysis.insert(analysis))
    }

    /// Redo, which also opens the log for writing, as a new incarnation.
    pub fn redo(&mut self, progress: &Progress) -> Result<RedoReport> {
        let analysis = self.analysis.take().ok_or_else(|| Error::internal("redo before analysis"))?;
        let result = self.redo_with(&analysis, progress);
        self.analysis = Some(analysis);
        let mut report = result?;
        report.damaged.extend(self.lost_beyond_cut(&report, progress)?);
        if report.damaged.is_empty() || self.is_lenient {
            return Ok(report);
        }
        // What could not be read may be read the next time: then nothing is wrong with it.
        if let Some((_, error)) = report.damaged.iter().find(|(_, why)| why.code == Code::IoError) {
            return Err(error.clone());
        }
        let diagnostics: Vec<String> = report
            .damaged
            .iter()
            .map(|(page, why)| format!("page {page}: {}", why.code.name()))
            .collect();
        let description = match diagnostics.len() {
            1 => "one page could not be redone".to_owned(),
            count => format!("{count} pages could not be redone"),
        };
        let suggestions = ["restore from backup and roll forward", "salvage what can be read"];
        let error = Error::new(Code::InconsistentState)
            .with("description", description)
            .with("diagnostics", diagnostics)
            .with("recovery_suggestions", suggestions.map(str::to_owned).to_vec());
        // What was wrong with the first of them is the cause, with its own words.
        Err(match report.damaged.into_iter().next() {
            Some((_, why)) => error.because(why),
            None => error,
        })
    }

    fn redo_with(&mut self, analysis: &Analysis, progress: &Progress) -> Result<RedoReport> {
        let shared = self.open_log(analysis)?;
        let mut report = self.redo_pages(&shared, analysis, progress)?;
        let damaged: Vec<PageId> = report.damaged.iter().map(|(page, _)| *page).collect();
        let repairs = Arc::clone(Repairs::of(&shared)?);
        let repaired = repairs.repair_after_redo(&damaged, analysis.end, progress)?;
        report.damaged.retain(|(page, _)| !repaired.contains(page));
        self.ask_helpers(&shared, &mut report, analysis.end, progress)?;
        self.shared = Some(shared);
        Ok(report)
    }

    /// The parts of a store around the log, which is open for writing, as a new incarnation.
    fn open_log(&mut self, analysis: &Analysis) -> Result<Arc<Shared>> {
        let found = segments::discover(&*self.disk, self.control().database)?;
        let mut highest = segments::highest_incarnation(&found).max(self.control().incarnation);
        highest = self.cut.as_ref().map_or(highest, |cut| highest.max(cut.incarnation));
        let incarnation = Incarnation(highest.0 + 1);
        let log = Log::open(
            Arc::clone(&self.disk),
            self.options.log.clone(),
            self.control().database,
            incarnation,
            self.cut.as_ref().map_or(analysis.end, |cut| cut.start),
        )?;
        self.control.write(ControlData { incarnation, clean_end: Lsn::NONE, ..self.control.data() })?;
        self.assemble(log, analysis)
    }

    fn redo_pages(
        &mut self,
        shared: &Shared,
        analysis: &Analysis,
        progress: &Progress,
    ) -> Result<RedoReport> {
        let pool = &shared.core.pool;
        let index = std::mem::replace(&mut self.index, LogIndex::none());
        let usable = |bytes: u64| pool.limit_frames((bytes / pool.page_size() as u64) as usize);
        usable(CACHE_AT_MOST.saturating_sub(index.bytes() as u64));
        let mut report = RedoReport::default();
        if !analysis.dirty.is_empty() {
            let (disk, database) = (Arc::clone(&self.disk), self.control().database);
            let log = Stretch::open(disk, database, analysis.redo_lsn, analysis.end)?;
            let work = redo::Work {
                log,
                analysis,
                index: index.covers(analysis.redo_lsn).then_some(&index),
                workers: self.options.redo_workers.max(1),
                is_lenient: self.is_lenient,
            };
            report = redo::redo(pool, work, progress)?;
        }
        usable(CACHE_AT_MOST);
        Ok(report)
    }

    /// The parts of a store around an open log.
    fn assemble(&self, log: Log, analysis: &Analysis) -> Result<Arc<Shared>> {
        let data = self.control();
        let file: Arc<dyn File> = self.disk.open(DATA_PATH, OpenMode::Write)?;
        let doublewrite = DoubleWrite::open(&*self.disk, data.page_size as usize)?;
        let shared = build(file, doublewrite, log, data.page_size as usize, analysis, &self.options)?;
        // From here on: redo and undo may meet damaged pages too.
        Repairs::attend(&shared, Arc::clone(&self.disk), self.options.on_damage);
        Ok(shared)
    }

    /// Rolls back what the crash cut off.
    pub fn undo(&mut self, progress: &Progress) -> Result<UndoReport> {
        let analysis = self.analysis.as_ref().ok_or_else(|| Error::internal("undo before analysis"))?;
        let shared = self.shared.as_ref().ok_or_else(|| Error::internal("undo before redo"))?;
        undo::undo(shared, &analysis.losers, self.options.redo_workers, progress)
    }

    /// What a clean shutdown left in the log; `RecoveryNeeded` where there is more.
    fn analyse_clean(disk: &Arc<dyn Disk>, data: &ControlData) -> Result<Analysis> {
        let (from, floor) = (data.checkpoint_lsn, data.checkpoint_lsn.max(data.clean_end));
        let mut reader = LogReader::open(Arc::clone(disk), data.database, from, floor)?;
        let analysis = analysis::analyse(&mut reader, data, &Progress::default())?;
        if analysis.end != data.clean_end || !analysis.losers.is_empty() || !analysis.dirty.is_empty() {
            return Err(
                Error::new(Code::RecoveryNeeded).with("indicators", vec!["unfinished_log".to_owned()])
            );
        }
        Ok(analysis)
    }

    /// The parts of a store that only reads, after a clean shutdown. Writes nothing.
    pub fn view(disk: Arc<dyn Disk>, control: &Control, options: OpeningOptions) -> Result<Arc<Shared>> {
        let data = control.data();
        let analysis = Self::analyse_clean(&disk, &data)?;
        let log = Log::view(
            Arc::clone(&disk),
            options.log.clone(),
            data.database,
            data.incarnation,
            data.clean_end,
        )?;
        let file = disk.open(DATA_PATH, OpenMode::Read)?;
        let page_size = data.page_size as usize;
        let doublewrite = match disk.exists(DOUBLEWRITE_PATH)? {
            true => DoubleWrite::look(&*disk, page_size)?,
            false => DoubleWrite::absent(page_size),
        };
        let shared = build(file, doublewrite, log, page_size, &analysis, &options)?;
        // Damaged pages are mended in memory only.
        shared.read_only.store(true, Ordering::Release);
        Repairs::attend(&shared, disk, options.on_damage);
        shared.core.space.count_used()?;
        Ok(shared)
    }

    /// Continues where a clean shutdown left off.
    pub fn resume(&mut self) -> Result<()> {
        let data = self.control();
        let analysis = Self::analyse_clean(&self.disk, &data)?;
        let log = Log::resume(
            Arc::clone(&self.disk),
            self.options.log.clone(),
            data.database,
            data.incarnation,
            data.clean_end,
        )?;
        self.control.write(ControlData { clean_end: Lsn::NONE, ..data })?;
        let shared = self.assemble(log, &analysis)?;
        shared.core.space.count_used()?;
        self.shared = Some(shared);
        Ok(())
    }

    /// The open parts; after `undo`, `redo_on_demand` or `resume`.
    pub fn finish(self) -> Result<Parts> {
        let shared = self.shared.ok_or_else(|| Error::internal("finished before redo"))?;
        shared.core.pool.limit_frames(usize::MAX);
        let checkpointer = Checkpointer::new(self.control);
        Ok(Parts { shared, checkpointer, on_demand: self.on_demand })
    }
}

/// Puts pool, log and tables together.
pub fn build(
    file: Arc<dyn File>,
    doublewrite: DoubleWrite,
    log: Log,
    page_size: usize,
    analysis: &Analysis,
    options: &OpeningOptions,
) -> Result<Arc<Shared>> {
    log.set_commit_floor(analysis.last_commit_at);
    let log = Arc::new(log);
    let pool_options = PoolOptions {
        page_size,
        frames: usize::try_from(options.cache_bytes / page_size as u64).unwrap_or(usize::MAX),
        incarnation: log.incarnation(),
    };
    let pool = Arc::new(Pool::new(file, Arc::clone(&log), doublewrite, &pool_options)?);
    let (stats, events) = (Arc::new(Stats::new()), Arc::new(EventQueue::default()));
    Ok(Arc::new(Shared {
        core: Core {
            space: Space::new(Arc::clone(&pool)),
            pool,
            images_since: AtomicU64::new(log.end().0),
            log,
            image_every: options.image_every,
            splits: AtomicU64::new(0),
        },
        txns: TxnManager::new(
            analysis.next_txn,
            analysis.next_tree.max(crate::types::TreeId(2)),
            analysis.counts.clone(),
            analysis.pending.clone(),
        ),
        locks: LockTable::new(options.locks.clone(), Arc::clone(&stats), Arc::clone(&events)),
        stats,
        events,
        logged_counts: crate::sync::Mutex::new(Counts::clone(&analysis.counts)),
        roots: crate::sync::RwLock::default(),
        known_trees: KnownTrees::default(),
        row_ids: RowIds::default(),
        tidy: TidyQueue::noting(&analysis.deletions),
        limits: options.limits,
        orphans: crate::sync::Mutex::default(),
        read_only: AtomicBool::new(false),
        halt: Halt::default(),
        closed: AtomicBool::new(false),
        skip_compensation: AtomicBool::new(false),
        skip_first_updater: AtomicBool::new(false),
        repairs: std::sync::OnceLock::new(),
    }))
}
