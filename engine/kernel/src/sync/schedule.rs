//! A scheduler that lets one thread run at a time, and draws from a seed which one: the same seed
//! gives the same interleaving. Threads hand over wherever they take, give up or wait for a lock.
//!
//! A thread that cannot have a lock stays in the draw and tries again when it is drawn; when nobody
//! has got anywhere for [`PATIENCE`] draws, the run is a deadlock, and every thread panics.

use std::cell::RefCell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Draws without any lock taken after which a run counts as stuck.
const PATIENCE: u64 = 2_000_000;

struct State {
    current: usize,
    running: Vec<bool>,
    seed: u64,
    draws: u64,
    /// Draws since somebody got a lock.
    idle: u64,
    trace: u64,
    is_stuck: bool,
}

/// The threads of one run.
pub struct Scheduler {
    state: Mutex<State>,
    turns: Vec<Condvar>,
}

#[derive(Clone)]
struct Task {
    scheduler: Arc<Scheduler>,
    number: usize,
}

thread_local! {
    static TASK: RefCell<Option<Task>> = const { RefCell::new(None) };
}

fn task() -> Option<Task> {
    if std::thread::panicking() {
        return None;
    }
    TASK.with_borrow(Clone::clone)
}

/// Gives another thread the chance to run; nothing outside of a schedule.
pub fn hand_over() {
    if let Some(task) = task() {
        task.scheduler.hand_over(task.number);
    }
}

/// Runs `attempt` until it succeeds, with others running in between. `None` outside of a schedule.
pub fn until<T>(mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let task = task()?;
    loop {
        task.scheduler.hand_over(task.number);
        if let Some(got) = attempt() {
            task.scheduler.lock().idle = 0;
            return Some(got);
        }
    }
}

/// True in `of` cases out of a thousand, drawn from the seed; `None` outside of a schedule.
pub fn chance(of: u64) -> Option<bool> {
    Some(task()?.scheduler.lock().draw() % 1000 < of)
}

pub fn sleep(time: Duration) {
    match task() {
        Some(task) => task.scheduler.hand_over(task.number),
        None => std::thread::sleep(time),
    }
}

pub fn yield_now() {
    sleep(Duration::ZERO);
}

impl State {
    fn draw(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Chooses who runs next; half of the time the one that runs goes on.
    fn choose(&mut self) {
        let drawn = self.draw();
        self.draws += 1;
        self.idle += 1;
        self.is_stuck |= self.idle > PATIENCE;
        let waiting: Vec<usize> = (0..self.running.len()).filter(|task| self.running[*task]).collect();
        let stays = drawn & 1 == 0 && self.running[self.current];
        if !stays && !waiting.is_empty() {
            self.current = waiting[(drawn >> 1) as usize % waiting.len()];
        }
        self.trace = self.trace.rotate_left(5) ^ self.current as u64;
    }
}

impl Scheduler {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand_over(&self, number: usize) {
        let mut state = self.lock();
        state.choose();
        self.turns[state.current].notify_one();
        self.wait(state, number);
    }

    fn wait(&self, mut state: MutexGuard<'_, State>, number: usize) {
        while state.current != number && !state.is_stuck {
            state = self.turns[number].wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.is_stuck {
            self.turns.iter().for_each(Condvar::notify_all);
            drop(state);
            panic!("nobody gets anywhere: a deadlock");
        }
    }

    fn end(&self, number: usize) {
        let mut state = self.lock();
        state.running[number] = false;
        state.idle = 0;
        state.choose();
        self.turns[state.current].notify_one();
    }
}

/// Ends a task, however it ends.
struct Ending<'s>(&'s Scheduler, usize);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        TASK.with_borrow_mut(|task| *task = None);
        self.0.end(self.1);
    }
}

/// Runs the tasks to their ends, one at a time, in an order drawn from `seed`; returns a number
/// that stands for that order. A panic of a task is passed on.
pub fn run(seed: u64, tasks: Vec<Box<dyn FnOnce() + Send + '_>>) -> u64 {
    let state = State {
        current: 0,
        running: vec![true; tasks.len()],
        seed,
        draws: 0,
        idle: 0,
        trace: 0,
        is_stuck: false,
    };
    let turns = tasks.iter().map(|_| Condvar::new()).collect();
    let scheduler = Arc::new(Scheduler { state: Mutex::new(state), turns });
    std::thread::scope(|scope| {
        for (number, work) in tasks.into_iter().enumerate() {
            let scheduler = Arc::clone(&scheduler);
            scope.spawn(move || {
                let _ending = Ending(&scheduler, number);
                scheduler.wait(scheduler.lock(), number);
                TASK.set(Some(Task { scheduler: Arc::clone(&scheduler), number }));
                work();
            });
        }
    });
    scheduler.lock().trace
}
