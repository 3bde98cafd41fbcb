//! Where in the log the history of each page is: noted by the first repair, so that the next ones
//! read only their own entries.

use crate::error::{Code, Error, Result};
use crate::log::windows::Spots;
use crate::log::{EntryRef, Log};
use crate::recovery::{LogIndex, group_of};
use crate::types::{Lsn, PageId};

/// The most memory for it. Where that is not enough every repair reads all of the log.
const MOST_BYTES: usize = 8 << 20;
/// How many entries are read between two looks at whether to go on.
const PACE: usize = 1024;

/// The positions of all entries that change pages, up to an end.
pub struct Places {
    index: LogIndex,
    /// None before the first repair.
    to: Option<Lsn>,
}

impl Default for Places {
    fn default() -> Places {
        Places { index: LogIndex::none(), to: None }
    }
}

impl Places {
    /// Notes what was appended since the last time, up to `end`; `from` is where the log that is
    /// kept begins. False where that takes too much memory: then there is nothing to read by.
    pub fn bring_up_to(
        &mut self,
        log: &Log,
        from: Lsn,
        end: Lsn,
        keep_on: &mut dyn FnMut() -> bool,
    ) -> Result<bool> {
        let noted = *self.to.get_or_insert_with(|| {
            self.index = LogIndex::new(from, MOST_BYTES);
            from
        });
        // The log may have been cleaned up beyond what was noted.
        let begin = noted.max(from);
        if begin >= end || !self.index.covers(from) {
            return Ok(self.index.covers(from));
        }
        let mut reader = log.reader(begin)?;
        reader.stop_at(end);
        let mut entries = 0usize;
        let outcome = loop {
            match reader.next() {
                Ok(None) => break Ok(()),
                Ok(Some(entry)) => {
                    if let Err(error) = self.index.add_entry(&entry) {
                        break Err(error);
                    }
                }
                Err(error) => break Err(error),
            }
            entries += 1;
            if entries.is_multiple_of(PACE) && !keep_on() {
                break Err(Error::new(Code::Cancelled));
            }
        };
        match outcome {
            Ok(()) => self.to = Some(reader.position()),
            // Half noted is worse than not at all: the next repair begins anew.
            Err(_) => *self = Places::default(),
        }
        match outcome {
            // There is a hole, which only a pass over the whole log gets around.
            Err(error) if error.code == Code::WalCorrupted => Ok(false),
            outcome => outcome.map(|()| self.index.covers(from)),
        }
    }

    /// Gives `each` the entries within `from..end` that change one of `pages` or their neighbours,
    /// in log order. After `bring_up_to` said that it can.
    pub fn read(
        &self,
        log: &Log,
        pages: &[PageId],
        (from, end): (Lsn, Lsn),
        keep_on: &mut dyn FnMut() -> bool,
        mut each: impl FnMut(&EntryRef<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut groups: Vec<PageId> = pages.iter().map(|page| group_of(*page)).collect();
        groups.sort_unstable();
        groups.dedup();
        let entries = groups.iter().flat_map(|group| self.index.entries(*group));
        let mut entries: Vec<Lsn> = entries.filter(|lsn| (from..end).contains(lsn)).collect();
        entries.sort_unstable();
        entries.dedup();
        let mut spots = Spots::new(log.stretch(from, end)?);
        for batch in entries.chunks(PACE) {
            if !keep_on() {
                return Err(Error::new(Code::Cancelled));
            }
            spots.read(batch, |header, body| each(&EntryRef { header: *header, body }))?;
        }
        Ok(())
    }
}
