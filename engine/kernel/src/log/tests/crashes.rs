//! Power loss at every call, failure of every call: what was acknowledged is found, in order,
//! and nothing that was never appended.

use super::*;
use crate::disk::faults::{Failure, Fault, FaultDisk};
use crate::disk::memory::MemoryDisk;
use crate::error::Code;
use crate::types::Incarnation;

/// A small seeded generator; the same run for the same seed on every platform.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// What the workload did so far, over all lives of the log.
struct Model {
    dice: Dice,
    mode: SyncMode,
    /// Every entry appended and not lost: its span and its number.
    appended: Vec<(Span, u64)>,
    next_number: u64,
    /// Flushed up to here, so it must be found.
    acknowledged: Lsn,
    /// Nothing before this is needed any more.
    from: Lsn,
    incarnation: u32,
}

impl Model {
    fn new(seed: u64) -> Self {
        let mode = if seed % 3 == 2 { SyncMode::Off } else { SyncMode::Durable };
        Model {
            dice: Dice(seed),
            mode,
            appended: Vec::new(),
            next_number: 0,
            acknowledged: FIRST_LSN,
            from: FIRST_LSN,
            incarnation: 0,
        }
    }

    fn options(&self) -> LogOptions {
        LogOptions { sync_mode: self.mode, buffer_bytes: 6000, ..small() }
    }

    /// Opens the log after checking what is there. The outer error is a failed call; the inner
    /// text tells what the log got wrong.
    fn recover(&mut self, disk: &Arc<dyn Disk>) -> Result<std::result::Result<Log, String>> {
        if self.incarnation == 0 {
            let log = Log::create(disk.clone(), self.options(), ID)?;
            self.incarnation = 1;
            return Ok(Ok(log));
        }
        let (entries, tail) = match read_from(disk, self.from, self.acknowledged) {
            Ok(found) => found,
            Err(error) if error.code == Code::WalCorrupted => return Ok(Err(error.to_string())),
            Err(error) => return Err(error),
        };
        if let Err(wrong) = self.compare(&entries, tail.end) {
            return Ok(Err(wrong));
        }
        let found = crate::log::segments::discover(&**disk, ID)?;
        self.incarnation = crate::log::segments::highest_incarnation(&found).0 + 1;
        Ok(Ok(Log::open(disk.clone(), self.options(), ID, Incarnation(self.incarnation), tail.end)?))
    }

    fn compare(&mut self, entries: &[Entry], end: Lsn) -> std::result::Result<(), String> {
        let needed = |(span, _): &&(Span, u64)| span.lsn >= self.from;
        let expected: Vec<u64> = self.appended.iter().filter(needed).map(|(_, n)| *n).collect();
        let found = numbers(entries);
        if !expected.starts_with(&found) {
            return Err(format!("found {found:?}, appended {expected:?}"));
        }
        if end < self.acknowledged {
            return Err(format!("acknowledged up to {}, found up to {end}", self.acknowledged));
        }
        self.appended.retain(|(span, _)| span.end <= end);
        // Recovery syncs what it found, so from now on it is certain.
        self.acknowledged = end;
        Ok(())
    }

    fn work(&mut self, log: &Log, steps: u64) -> Result<()> {
        for _ in 0..steps {
            match self.dice.below(24) {
                0 => log.rotate()?,
                1 => log.write_to(log.end())?,
                2 => {
                    self.from = self
                        .appended
                        .iter()
                        .map(|(s, _)| s.lsn)
                        .rfind(|l| *l < self.acknowledged)
                        .unwrap_or(self.from)
                        .max(self.from);
                    log.truncate_before(self.from)?;
                }
                3..8 => {
                    let end = log.end();
                    log.flush_to(end)?;
                    self.acknowledged = end;
                }
                _ => {
                    let len = if self.dice.below(20) == 0 { 3000 } else { 8 + self.dice.below(300) };
                    let (number, appended) = (self.next_number, &mut self.appended);
                    self.next_number += 1;
                    let parts = body(number, len as usize);
                    let entry = NewEntry::new(TxnId(1), Op::Insert, Lsn::NONE, &[]);
                    log.append(&NewEntry { body: &[&parts], ..entry }, |span| {
                        appended.push((span, number))
                    })?;
                }
            }
        }
        Ok(())
    }
}

/// Runs several lives, each crashed at the call `nth`; answers what the log got wrong.
fn crashed_lives(seed: u64, nth: u64, ignored_sync: Option<&str>) -> std::result::Result<bool, String> {
    let mut memory = MemoryDisk::new(seed);
    if let Some(pattern) = ignored_sync {
        memory.ignore_sync(pattern);
    }
    let mut model = Model::new(seed);
    let mut crashed = false;
    for life in 0..4 {
        memory.crash_after(nth + life * 3);
        let disk: Arc<dyn Disk> = memory.clone();
        let opened =
            model.recover(&disk).map(|log| log.map_err(|e| format!("seed {seed} nth {nth}: {e}")));
        if let Ok(log) = opened {
            let log = log?;
            let worked = model.work(&log, 40);
            assert!(worked.is_ok() || memory.is_dead(), "{worked:?}");
        }
        crashed |= memory.is_dead();
        if model.dice.below(5) == 0 && !memory.is_dead() {
            memory.kill();
        } else {
            memory.crash(seed * 1000 + nth + life);
        }
        memory = memory.reopen();
    }
    // A last life without a crash: everything must be in order.
    let disk: Arc<dyn Disk> = memory;
    match model.recover(&disk) {
        Ok(log) => log.map(|_| crashed).map_err(|e| format!("seed {seed} nth {nth}: {e}")),
        Err(error) => Err(format!("seed {seed} nth {nth}: {error}")),
    }
}

#[test]
fn a_crash_at_every_call_loses_nothing_that_was_acknowledged() {
    let mut crashes = 0u64;
    for seed in 0..24 {
        for nth in 1.. {
            match crashed_lives(seed, nth, None) {
                Ok(true) => crashes += 1,
                Ok(false) => break,
                Err(wrong) => panic!("{wrong}"),
            }
        }
    }
    println!("{crashes} runs of four crashed lives");
    assert!(crashes > 1000);
}

#[test]
fn leaving_out_the_sync_of_segments_or_of_their_folder_is_noticed() {
    for pattern in ["wal/0", "wal/"] {
        let noticed =
            (0..40).filter(|seed| (20..60).any(|nth| crashed_lives(*seed, nth, Some(pattern)).is_err()));
        assert!(noticed.count() > 10, "{pattern}");
    }
}

#[test]
fn every_call_that_fails_once_or_for_good_leaves_what_was_acknowledged() {
    for seed in 0..6 {
        for (for_good, failure) in [
            (false, Failure::Device),
            (true, Failure::Device),
            (false, Failure::Full),
            (true, Failure::Full),
        ] {
            for nth in 1.. {
                let memory = MemoryDisk::new(seed);
                let faulty = FaultDisk::over_memory(memory.clone());
                faulty.fail(Fault { call: None, nth, for_good, failure });
                let mut model = Model::new(seed);
                let disk: Arc<dyn Disk> = faulty.clone();
                if let Ok(log) = model.recover(&disk) {
                    let log = log.unwrap();
                    while model.next_number < 80 && log.failed().is_none() {
                        if model.work(&log, 10).is_err() && for_good {
                            break;
                        }
                    }
                    let _ = log.close();
                }
                // A kill first: what a failed sync dropped is then still seen by the recovery,
                // which must make it certain before it builds on it.
                memory.kill();
                let killed = memory.reopen();
                let seen: Arc<dyn Disk> = killed.clone();
                let first = model.recover(&seen).unwrap().map(drop);
                killed.crash(nth);
                let disk: Arc<dyn Disk> = killed.reopen();
                if let Err(wrong) = first.and_then(|()| model.recover(&disk).unwrap().map(drop)) {
                    panic!("seed {seed} nth {nth} for good {for_good} {failure:?}: {wrong}");
                }
                if faulty.struck() == 0 {
                    break;
                }
            }
        }
    }
}
