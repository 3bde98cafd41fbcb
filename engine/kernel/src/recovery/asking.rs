//! Pages of an open store that redo cannot bring back, and who may have copies of them.
//!
//! What log and double-write file do not bring back is not set apart before mirrors and backups were
//! asked for it. These may be far away, or hang. So one thread asks that holds no latch meanwhile, and
//! readers wait for the answer without the page's latch, and no longer than [`PATIENCE`]: then they
//! get the page's error. Each page is asked for once.

use std::cell::Cell;
use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::error::{Code, Error};
use crate::repair::Helpers;
use crate::sync::{Condvar, Mutex};
use crate::types::PageId;

/// The longest that a reader waits for a page from elsewhere.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Default)]
struct State {
    wanted: Vec<PageId>,
    /// Whether they were brought back or not.
    asked: HashSet<PageId>,
    /// A thread is there that asks.
    is_attended: bool,
}

/// Which pages the helpers are to be asked for, and were.
pub(super) struct Asking {
    pub helpers: Helpers,
    /// Held by who asks; nothing else is held when it is taken.
    pub turn: Mutex<()>,
    state: Mutex<State>,
    answered: Condvar,
}

thread_local! {
    static IS_AT_WORK: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` of a thread that carries the recovery out: it does not wait for what others are to
/// do, which may be itself.
pub(super) fn at_work<T>(work: impl FnOnce() -> T) -> T {
    let before = IS_AT_WORK.replace(true);
    let done = work();
    IS_AT_WORK.set(before);
    done
}

/// Damage that a copy helps against; what could not be read may be read the next time.
pub(super) fn is_helped(error: &Error) -> bool {
    error.is_page_damage() && error.code != Code::IoError
}

impl Asking {
    pub fn new(helpers: Helpers) -> Asking {
        Asking { helpers, turn: Mutex::new(()), state: Mutex::default(), answered: Condvar::new() }
    }

    /// True until the helpers were asked for the page.
    pub fn may_help(&self, page: PageId) -> bool {
        !self.helpers.0.is_empty() && !self.state.lock().asked.contains(&page)
    }

    /// The page is to be asked for, unless it was.
    pub fn want(&self, page: PageId) {
        if !self.helpers.0.is_empty() {
            let mut state = self.state.lock();
            if !state.asked.contains(&page) && !state.wanted.contains(&page) {
                state.wanted.push(page);
            }
        }
    }

    /// What is to be asked for now.
    pub fn wanted(&self) -> Vec<PageId> {
        self.state.lock().wanted.clone()
    }

    pub fn is_idle(&self) -> bool {
        self.state.lock().wanted.is_empty()
    }

    /// The helpers were asked for these.
    pub fn note_asked(&self, pages: &[PageId]) {
        let mut state = self.state.lock();
        state.wanted.retain(|page| !pages.contains(page));
        state.asked.extend(pages);
        drop(state);
        self.answered.notify_all();
    }

    /// A thread asks from now on, or no longer: then nobody waits for it.
    pub fn attend(&self, is_attended: bool) {
        self.state.lock().is_attended = is_attended;
        self.answered.notify_all();
    }

    /// Waits until the page was asked for; true if it was.
    pub fn wait(&self, page: PageId) -> bool {
        self.want(page);
        let due = Instant::now() + PATIENCE;
        let mut state = self.state.lock();
        while !state.asked.contains(&page) {
            let is_vain = self.helpers.0.is_empty() || !state.is_attended || IS_AT_WORK.get();
            if is_vain || self.answered.wait_until(&mut state, due).timed_out() {
                return false;
            }
        }
        true
    }
}
