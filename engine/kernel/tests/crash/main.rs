//! Crash campaigns: simulated power failures and kills from seeds, faults of every disk call,
//! campaigns that leave a safeguard out and have to fail, and many threads at once.
//!
//! `HOLDFAST_SEEDS=n` runs more seeds than a quick test does, `HOLDFAST_FIRST_SEED=n` begins
//! elsewhere; `HOLDFAST_DAMAGES=n` damages more files. A failing seed is printed; the same seed
//! gives the same run. `HOLDFAST_SABOTAGE=name` leaves a safeguard out of that campaign, which then
//! has to fail. `python -m tests.crash` runs it for as long as one likes.

#![allow(clippy::unwrap_used)]

mod audit;
mod campaign;
mod damage;
mod dice;
mod faults;
mod forgery;
mod life;
mod model;
mod settings;
mod stress;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use _kernel::disk::faults::{Call, Failure, Fault};
use campaign::{Course, Figures};
use settings::Sabotage;

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

fn named(name: &str) -> Sabotage {
    Sabotage::named(name).unwrap_or_else(|| panic!("there is no sabotage named {name}"))
}

/// Runs seeds on all processors; returns the figures and what failed, by seed.
fn run_seeds(first: u64, count: u64, course: Course) -> (Figures, Vec<(u64, String)>) {
    let next = AtomicU64::new(first);
    let total = Mutex::new((Figures::default(), Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    let outcome = catch_unwind(AssertUnwindSafe(|| campaign::run(seed, course)))
                        .unwrap_or_else(|_| Err("the kernel panicked".to_owned()));
                    let mut total = total.lock().unwrap();
                    match outcome {
                        Ok(figures) => total.0.add(&figures),
                        Err(what) => total.1.push((seed, what)),
                    }
                }
            });
        }
    });
    let (figures, mut failed) = total.into_inner().unwrap();
    failed.sort();
    (figures, failed)
}

/// Runs as many seeds as asked for, and fails with the first that went wrong.
fn run_campaign(count: u64, course: Course) {
    let (figures, failed) = run_seeds(from_environment("HOLDFAST_FIRST_SEED", 0), count, course);
    println!("{count} seeds: {figures:#?}");
    for (seed, what) in &failed {
        println!("seed {seed}: {what}");
    }
    assert!(failed.is_empty(), "{} of {count} seeds failed, the first is {}", failed.len(), failed[0].0);
    if count >= 100 {
        let happened = [
            figures.evictions,
            figures.checkpoints,
            figures.rotations,
            figures.splits,
            figures.crashed_recoveries,
        ];
        assert!(happened.iter().all(|count| *count > 0), "the campaign missed something: {figures:#?}");
    }
}

#[test]
fn every_acknowledged_commit_survives_crashes_and_nothing_else_does() {
    let sabotage = std::env::var("HOLDFAST_SABOTAGE").ok().map(|name| named(&name));
    let course = Course { sabotage, ..Course::default() };
    run_campaign(from_environment("HOLDFAST_SEEDS", 1000), course);
}

#[test]
fn recoveries_on_an_overlay_survive_crashes_at_any_step_too() {
    let course = Course { is_on_overlay: true, ..Course::default() };
    run_campaign(from_environment("HOLDFAST_SEEDS", 400), course);
}

#[test]
fn databases_that_open_before_their_recovery_is_through_survive_crashes_at_any_step_too() {
    let sabotage = std::env::var("HOLDFAST_SABOTAGE").ok().map(|name| named(&name));
    let course = Course { is_on_demand: true, sabotage, ..Course::default() };
    run_campaign(from_environment("HOLDFAST_SEEDS", 300), course);
}

#[test]
fn a_kill_within_any_call_and_a_power_failure_after_it_lose_nothing() {
    let course = Course { is_killed_within: true, ..Course::default() };
    run_campaign(from_environment("HOLDFAST_SEEDS", 200), course);
    for (is_on_overlay, is_on_demand) in [(true, false), (false, true)] {
        let course = Course { is_on_overlay, is_on_demand, ..course };
        run_campaign(from_environment("HOLDFAST_SEEDS", 120), course);
    }
}

/// Runs with a safeguard left out until somebody notices.
fn assert_noticed(sabotage: Sabotage) {
    const MOST: u64 = 400;
    for seed in 0..MOST {
        let (_, failed) = run_seeds(seed, 1, Course { sabotage: Some(sabotage), ..Course::default() });
        if let Some((seed, what)) = failed.first() {
            println!("{sabotage:?} is noticed by seed {seed}: {what}");
            return;
        }
    }
    panic!("{MOST} seeds did not notice {sabotage:?}");
}

#[test]
fn leaving_out_the_sync_of_the_log_is_noticed() {
    assert_noticed(named("log-sync"));
}

#[test]
fn leaving_out_the_sync_of_the_data_file_is_noticed() {
    assert_noticed(named("data-sync"));
}

#[test]
fn leaving_out_the_doublewrite_copy_is_noticed() {
    assert_noticed(named("doublewrite"));
}

#[test]
fn leaving_out_compensation_records_is_noticed() {
    assert_noticed(named("compensation"));
}

/// Disk calls of several runs fail in turn, once and for good: `share` calls of each run, spread
/// over it, or all of them with `HOLDFAST_STRIDE=1`.
fn fail_calls(
    call: Option<Call>,
    failure: Failure,
    share: u64,
    run: impl Fn(u64, Option<Fault>) -> faults::Outcome + Sync,
) {
    let (mut failed, mut struck, mut calls) = (Vec::new(), 0, 0);
    for seed in 0..from_environment("HOLDFAST_FAULT_SEEDS", 8) {
        let clean = run(seed, None).unwrap();
        let total = call.map_or(clean.calls, |call| clean.of(call));
        calls += total;
        let stride = from_environment("HOLDFAST_STRIDE", (total / share).max(1));
        for nth in (1 + seed % stride..=total).step_by(stride as usize) {
            for for_good in [false, true] {
                let fault = Fault { call, nth, for_good, failure };
                let outcome = catch_unwind(AssertUnwindSafe(|| run(seed, Some(fault))))
                    .unwrap_or_else(|_| Err("the kernel panicked".to_owned()));
                match outcome {
                    Ok(report) => struck += u64::from(report.struck > 0),
                    Err(what) => {
                        failed.push(format!("seed {seed} call {nth}, for good {for_good}: {what}"))
                    }
                }
            }
        }
    }
    println!("{failure:?}: {calls} calls, faults struck in {struck} runs, {} went wrong", failed.len());
    failed.iter().take(20).for_each(|what| println!("{what}"));
    assert!(failed.is_empty(), "{} of the runs with {failure:?} went wrong", failed.len());
    assert!(struck > 0, "no fault struck");
}

#[test]
fn any_failing_call_leaves_a_coded_error_and_a_database_that_recovers() {
    fail_calls(None, Failure::Device, 25, faults::run);
}

#[test]
fn after_any_failing_sync_writes_are_refused_reads_go_on_and_recovery_decides() {
    fail_calls(Some(Call::Sync), Failure::Device, 25, faults::run);
}

#[test]
fn a_full_disk_at_any_write_loses_nothing() {
    fail_calls(Some(Call::Write), Failure::Full, 15, faults::run);
}

#[test]
fn a_disk_that_fills_up_and_is_given_room_again_takes_writes_again() {
    let mut struck = 0;
    for seed in 0..from_environment("HOLDFAST_FAULT_SEEDS", 8) {
        for room in (0..20).map(|step| step * 48_000 + seed * 1000) {
            let report = faults::run_full(seed, room);
            let report = report.unwrap_or_else(|what| panic!("seed {seed}, room {room}: {what}"));
            struck += u64::from(report.struck > 0);
        }
    }
    assert!(struck > 0, "no disk was full");
}

#[test]
fn a_recovery_may_lose_power_at_any_call_twice_over() {
    for seed in 0..from_environment("HOLDFAST_FAULT_SEEDS", 8) {
        let run = |first, second| {
            let report = faults::run_crashed_recoveries(seed, first, second);
            report
                .unwrap_or_else(|what| panic!("seed {seed}, power lost at {first} and {second}: {what}"))
        };
        let calls = run(u64::MAX, u64::MAX).calls;
        let stride = from_environment("HOLDFAST_STRIDE", (calls / 15).max(1));
        let mut dice = dice::Dice::new(seed);
        for first in (1..=calls).step_by(stride as usize) {
            assert!(run(first, dice.between(1, calls)).struck > 0, "no power was lost");
        }
    }
}

#[test]
fn a_full_disk_at_any_call_loses_nothing() {
    fail_calls(None, Failure::Full, 25, faults::run);
}

#[test]
fn a_recovery_that_meets_a_failing_call_can_be_run_again() {
    for is_on_overlay in [false, true] {
        let run = |seed, fault| faults::run_recovery(seed, fault, is_on_overlay);
        fail_calls(None, Failure::Device, 12, run);
        fail_calls(None, Failure::Full, 12, run);
    }
}

/// Damages of one specimen before the next is made.
const DEEDS_EACH: u64 = 20;
/// Nothing takes so long, not even where many others want the processors: it hangs. A descent that is led
/// astray gives way at each restart, and then waits for all of them.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(600);

/// One thing done to a specimen; the error says what the kernel did wrong.
type Deed<V> = fn(&damage::Specimen, &mut dice::Dice) -> Result<V, String>;

fn hurt_specimen<V>(seed: u64, deed: Deed<V>) -> Vec<Result<V, String>> {
    let specimen = match damage::Specimen::make(seed) {
        Ok(specimen) => specimen,
        Err(what) => return vec![Err(format!("specimen {seed}: {what}"))],
    };
    let one = |number| {
        let mut dice = dice::Dice::new(seed * 1000 + number);
        catch_unwind(AssertUnwindSafe(|| deed(&specimen, &mut dice)))
            .unwrap_or_else(|_| Err("the kernel panicked".to_owned()))
            .map_err(|what| format!("specimen {seed}, number {number}: {what}"))
    };
    (0..DEEDS_EACH).map(one).collect()
}

/// Does `deed` to specimens `count` times, on all processors, and tells what came of it.
fn hurt<V: Ord + std::fmt::Debug + Send + 'static>(count: u64, deed: Deed<V>) {
    let first = from_environment("HOLDFAST_FIRST_SEED", 0);
    let specimens = from_environment("HOLDFAST_DAMAGES", count).div_ceil(DEEDS_EACH);
    let next = Arc::new(AtomicU64::new(first));
    let (tell, told) = std::sync::mpsc::channel();
    for _ in 0..std::thread::available_parallelism().map_or(1, |n| n.get()) {
        let (next, tell) = (Arc::clone(&next), tell.clone());
        // Not joined: where one hangs, the test has to end all the same.
        std::thread::spawn(move || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + specimens || tell.send(hurt_specimen(seed, deed)).is_err() {
                    return;
                }
            }
        });
    }
    let (mut counts, mut wrong) = (BTreeMap::new(), Vec::new());
    for _ in 0..specimens {
        for outcome in told.recv_timeout(PATIENCE).expect("a damaged database hangs") {
            match outcome {
                Ok(verdict) => *counts.entry(verdict).or_insert(0u64) += 1,
                Err(what) => wrong.push(what),
            }
        }
    }
    println!("{counts:?}, {} went wrong", wrong.len());
    wrong.iter().take(20).for_each(|what| println!("{what}"));
    assert!(wrong.is_empty(), "{} went wrong", wrong.len());
    assert!(counts.len() > 1, "nothing was found, or nothing was harmless: {counts:?}");
}

#[test]
fn a_flipped_bit_or_a_cut_is_found_or_harmless() {
    hurt(600, |specimen, dice| specimen.damage(dice));
}

#[test]
fn forged_content_under_right_checksums_gives_coded_errors_and_nothing_worse() {
    hurt(240, forgery::run);
}

/// Sixteen threads, and as many rounds as a quick test may take.
fn stress(ending: stress::Ending, most_seeds: u64) {
    let rounds = from_environment("HOLDFAST_ROUNDS", 100);
    for seed in 0..from_environment("HOLDFAST_STRESS_SEEDS", most_seeds) {
        match stress::run(seed, 16, rounds, ending) {
            Ok(figures) => println!("seed {seed}, {ending:?}: {figures}"),
            Err(what) => panic!("seed {seed}, {ending:?}: {what}"),
        }
    }
}

#[test]
fn sixteen_threads_leave_what_they_committed_after_a_shutdown() {
    stress(stress::Ending::Close, 2);
}

#[test]
fn sixteen_threads_leave_what_they_committed_after_a_crash() {
    stress(stress::Ending::Crash, 2);
}

#[test]
fn sixteen_threads_may_lose_power_at_any_moment() {
    stress(stress::Ending::CrashAtWork, 12);
}
