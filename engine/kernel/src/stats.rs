//! Counters and latency histograms cheap enough for the hot path.
//!
//! A histogram is log-linear: 16 buckets for each power of two, so a figure is right to
//! about 6 %. Buckets are relaxed atomics, sharded by thread, so that recording costs one
//! uncontended addition. Point operations are counted exactly but timed only one in
//! [`SAMPLE_EVERY`], because reading the clock twice costs more than finding a record.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::sync::{AtomicU64, AtomicUsize, Ordering};

/// One in this many point operations of a thread is timed.
pub const SAMPLE_EVERY: u32 = 16;

const SHARDS: usize = 4;
const SUB_BITS: u32 = 4;
const SUB: usize = 1 << SUB_BITS;
/// Up to 2^40 ns, eighteen minutes; what is slower lands in the last bucket.
const TOP_BIT: u32 = 40;
const BUCKETS: usize = SUB + (TOP_BIT - SUB_BITS) as usize * SUB;

macro_rules! named {
    ($(#[$doc:meta])* $type:ident { $($variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type { $($variant),* }

        impl $type {
            pub const ALL: &'static [$type] = &[$($type::$variant),*];

            pub fn name(self) -> &'static str {
                match self { $($type::$variant => $text),* }
            }
        }
    };
}

named! {
    /// The operations whose latency is kept.
    Timed {
        Get = "get",
        Put = "put",
        Commit = "commit",
        Sync = "sync",
        LockWait = "lock_wait",
        Checkpoint = "checkpoint",
        PageRead = "page_read",
    }
}

named! {
    /// What is counted.
    Counter {
        Begun = "begun",
        Committed = "committed",
        Written = "written",
        Aborted = "aborted",
        Conflicts = "conflicts",
        Deadlocks = "deadlocks",
        LockWaits = "lock_waits",
        LockTimeouts = "lock_timeouts",
        Inserts = "inserts",
        Updates = "updates",
        Deletes = "deletes",
        Scanned = "scanned",
    }
}

/// One histogram, read out. Times in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Latency {
    pub count: u64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
}

/// A histogram of durations; any number of threads may record and read.
pub struct Histogram {
    shards: Vec<Shard>,
}

struct Shard {
    buckets: Vec<AtomicU64>,
    /// Operations seen, timed or not.
    count: AtomicU64,
    max_ns: AtomicU64,
}

impl Histogram {
    pub fn new() -> Self {
        let shard = || Shard {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            count: AtomicU64::new(0),
            max_ns: AtomicU64::new(0),
        };
        Histogram { shards: (0..SHARDS).map(|_| shard()).collect() }
    }

    /// Counts one operation that took `elapsed`.
    pub fn record(&self, elapsed: Duration) {
        self.count();
        self.time(elapsed);
    }

    /// Counts one operation without a time.
    fn count(&self) {
        self.shards[shard_of_thread()].count.fetch_add(1, Ordering::Relaxed);
    }

    fn time(&self, elapsed: Duration) {
        let ns = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let shard = &self.shards[shard_of_thread()];
        shard.buckets[bucket_of(ns)].fetch_add(1, Ordering::Relaxed);
        if ns > shard.max_ns.load(Ordering::Relaxed) {
            shard.max_ns.fetch_max(ns, Ordering::Relaxed);
        }
    }

    /// The figures so far. Not one instant: operations may end while it reads.
    pub fn snapshot(&self) -> Latency {
        let mut buckets = vec![0u64; BUCKETS];
        let (mut count, mut max_ns) = (0, 0);
        for shard in &self.shards {
            count += shard.count.load(Ordering::Relaxed);
            max_ns = max_ns.max(shard.max_ns.load(Ordering::Relaxed));
            for (sum, bucket) in buckets.iter_mut().zip(&shard.buckets) {
                *sum += bucket.load(Ordering::Relaxed);
            }
        }
        // A bucket's upper bound may lie above the slowest operation ever seen.
        let quantile = |share| quantile_ns(&buckets, share).min(max_ns) as f64 / 1000.0;
        Latency { count, p50_us: quantile(0.50), p99_us: quantile(0.99), max_us: max_ns as f64 / 1000.0 }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram::new()
    }
}

/// Every counter and histogram of one open database.
pub struct Stats {
    counters: Vec<AtomicU64>,
    histograms: Vec<Histogram>,
}

impl Stats {
    pub fn new() -> Self {
        Stats {
            counters: Counter::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            histograms: Timed::ALL.iter().map(|_| Histogram::new()).collect(),
        }
    }

    pub fn add(&self, counter: Counter, amount: u64) {
        self.counters[counter as usize].fetch_add(amount, Ordering::Relaxed);
    }

    pub fn counter(&self, counter: Counter) -> u64 {
        self.counters[counter as usize].load(Ordering::Relaxed)
    }

    /// Records one operation that took `elapsed`.
    pub fn record(&self, timed: Timed, elapsed: Duration) {
        self.histograms[timed as usize].record(elapsed);
    }

    /// Measures from here until the lap is dropped.
    pub fn lap(&self, timed: Timed) -> Lap<'_> {
        Lap { histogram: &self.histograms[timed as usize], started: Some(Instant::now()) }
    }

    /// Counts a point operation; times it where it is this thread's turn to be sampled.
    pub fn sampled_lap(&self, timed: Timed) -> Lap<'_> {
        Lap { histogram: &self.histograms[timed as usize], started: sampling().then(Instant::now) }
    }

    pub fn latency(&self, timed: Timed) -> Latency {
        self.histograms[timed as usize].snapshot()
    }

    /// All latencies by name, in a fixed order.
    pub fn latencies(&self) -> Vec<(&'static str, Latency)> {
        Timed::ALL.iter().map(|timed| (timed.name(), self.latency(*timed))).collect()
    }

    /// All counters by name, in a fixed order.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        Counter::ALL.iter().map(|counter| (counter.name(), self.counter(*counter))).collect()
    }
}

impl Default for Stats {
    fn default() -> Self {
        Stats::new()
    }
}

/// A running measurement; it ends when it is dropped, on error paths too.
pub struct Lap<'a> {
    histogram: &'a Histogram,
    started: Option<Instant>,
}

impl Drop for Lap<'_> {
    fn drop(&mut self) {
        self.histogram.count();
        if let Some(started) = self.started {
            self.histogram.time(started.elapsed());
        }
    }
}

fn bucket_of(ns: u64) -> usize {
    if ns < SUB as u64 {
        return ns as usize;
    }
    let top = 63 - ns.leading_zeros();
    if top >= TOP_BIT {
        return BUCKETS - 1;
    }
    let sub = (ns >> (top - SUB_BITS)) as usize & (SUB - 1);
    SUB + (top - SUB_BITS) as usize * SUB + sub
}

/// The largest value that falls into a bucket.
fn upper_bound_ns(bucket: usize) -> u64 {
    if bucket < SUB {
        return bucket as u64;
    }
    let shift = (bucket - SUB) / SUB;
    let sub = (bucket - SUB) % SUB;
    (((SUB + sub + 1) as u64) << shift) - 1
}

fn quantile_ns(buckets: &[u64], share: f64) -> u64 {
    let total: u64 = buckets.iter().sum();
    let rank = (total as f64 * share).ceil() as u64;
    let mut seen = 0;
    for (bucket, count) in buckets.iter().enumerate() {
        seen += count;
        if *count > 0 && seen >= rank {
            return upper_bound_ns(bucket);
        }
    }
    0
}

fn shard_of_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static SHARD: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS);
    SHARD.with(|shard| *shard)
}

fn sampling() -> bool {
    thread_local!(static TURN: Cell<u32> = const { Cell::new(0) });
    TURN.with(|turn| {
        let now = turn.get();
        turn.set(now.wrapping_add(1));
        now % SAMPLE_EVERY == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_lies_within_its_bucket_to_seven_percent() {
        for ns in (0..2_000u64).chain((11..40).map(|bit| (1 << bit) + 12345)) {
            let upper = upper_bound_ns(bucket_of(ns));
            assert!(upper >= ns, "{ns} above its bucket's bound {upper}");
            assert!(upper as f64 <= ns as f64 * 1.07, "{ns} far below its bound {upper}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_follow_what_was_recorded() {
        let histogram = Histogram::new();
        for us in 1..=1000 {
            histogram.record(Duration::from_micros(us));
        }
        let latency = histogram.snapshot();
        assert_eq!(latency.count, 1000);
        assert!((latency.p50_us - 500.0).abs() < 40.0, "{latency:?}");
        assert!((latency.p99_us - 990.0).abs() < 70.0, "{latency:?}");
        assert_eq!(latency.max_us, 1000.0);
    }

    #[test]
    fn an_empty_histogram_reads_as_zero() {
        assert_eq!(Histogram::new().snapshot(), Latency::default());
    }

    #[test]
    fn nothing_is_lost_when_threads_record_at_once() {
        let stats = Stats::new();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        drop(stats.sampled_lap(Timed::Get));
                        stats.add(Counter::Inserts, 1);
                    }
                });
            }
        });
        assert_eq!(stats.latency(Timed::Get).count, 80_000);
        assert_eq!(stats.counter(Counter::Inserts), 80_000);
        assert_eq!(stats.latencies()[0].0, "get");
    }
}
