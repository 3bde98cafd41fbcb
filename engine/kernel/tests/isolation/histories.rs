//! Histories of sixteen threads, judged; and the judge itself, judged.
//!
//! `HOLDFAST_HISTORY_SEEDS=n` runs more histories than a quick test does, `HOLDFAST_ROUNDS=n`
//! longer ones.

use std::collections::BTreeMap;

use _kernel::txn::Isolation::{self, *};

use crate::checker::{Checker, Findings, Flaw, forbidden};
use crate::history::{Deed, Event, List, Outcome};
use crate::workload::{Plan, Sabotage, run};

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

fn plan(seed: u64, level: Option<Isolation>) -> Plan {
    let rounds = from_environment("HOLDFAST_ROUNDS", 60);
    Plan { seed, threads: 16, rounds, level, lives: 1, sabotage: None }
}

/// Flaws of a run that its level forbids; those of read committed where levels are mixed.
fn flaws_of(plan: Plan) -> Findings {
    let history = run(plan).unwrap_or_else(|what| panic!("{plan:?}: {what}"));
    let level = plan.level.unwrap_or(ReadCommitted);
    let mut findings = Checker::judge(&history.deeds, &history.end, level);
    let committed = history.deeds.iter().filter(|deed| deed.outcome == Outcome::Committed).count();
    println!("{plan:?}: {committed} of {} committed, {:?}", history.deeds.len(), findings.keys());
    findings.retain(|flaw, _| forbidden(level).contains(flaw));
    findings
}

fn shows_nothing_forbidden(level: Option<Isolation>, lives: u64) {
    for seed in 0..from_environment("HOLDFAST_HISTORY_SEEDS", 2) {
        let plan = Plan { lives, ..plan(seed, level) };
        let flaws = flaws_of(plan);
        assert!(flaws.is_empty(), "{plan:?}: {flaws:#?}");
    }
}

#[test]
fn sixteen_threads_at_read_committed_show_nothing_forbidden() {
    shows_nothing_forbidden(Some(ReadCommitted), 1);
}

#[test]
fn sixteen_threads_at_repeatable_read_show_nothing_forbidden() {
    shows_nothing_forbidden(Some(RepeatableRead), 1);
}

#[test]
fn sixteen_threads_at_serializable_show_nothing_forbidden() {
    shows_nothing_forbidden(Some(Serializable), 1);
}

#[test]
fn sixteen_threads_at_all_levels_at_once_show_nothing_forbidden() {
    shows_nothing_forbidden(None, 1);
}

#[test]
fn read_committed_shows_nothing_forbidden_across_crashes() {
    shows_nothing_forbidden(Some(ReadCommitted), 3);
}

#[test]
fn repeatable_read_shows_nothing_forbidden_across_crashes() {
    shows_nothing_forbidden(Some(RepeatableRead), 3);
}

#[test]
fn serializable_shows_nothing_forbidden_across_crashes() {
    shows_nothing_forbidden(Some(Serializable), 3);
}

/// Runs with a safeguard left out until the checker says so.
fn assert_noticed(level: Isolation, sabotage: Sabotage) {
    const MOST: u64 = 30;
    for seed in 0..MOST {
        let flaws = flaws_of(Plan { sabotage: Some(sabotage), ..plan(seed, Some(level)) });
        if !flaws.is_empty() {
            println!("{sabotage:?} is noticed by seed {seed}: {:?}", flaws.keys());
            return;
        }
    }
    panic!("{MOST} histories did not show {sabotage:?}");
}

#[test]
fn leaving_out_range_locks_is_noticed() {
    assert_noticed(Serializable, Sabotage::RangeLocks);
}

#[test]
fn leaving_out_the_first_updater_rule_is_noticed() {
    assert_noticed(RepeatableRead, Sabotage::FirstUpdater);
}

// The judge.

fn deed(outcome: Outcome, moment: u64, events: &[Event]) -> Deed {
    Deed { events: events.to_vec(), outcome, began: moment, ended: moment + 100 }
}

fn append(key: u32, element: u64) -> Event {
    Event::Append { key, element }
}

fn read(key: u32, list: &[u64]) -> Event {
    Event::Read { key, list: list.to_vec() }
}

/// What is found in committed transactions that all ran at once.
fn found(deeds: &[&[Event]], end: &[(u32, &[u64])]) -> Vec<Flaw> {
    let deeds: Vec<Deed> = deeds.iter().map(|events| deed(Outcome::Committed, 0, events)).collect();
    judged(&deeds, end)
}

fn judged(deeds: &[Deed], end: &[(u32, &[u64])]) -> Vec<Flaw> {
    let end: BTreeMap<u32, List> = end.iter().map(|(key, list)| (*key, list.to_vec())).collect();
    Checker::judge(deeds, &end, Serializable).into_keys().collect()
}

#[test]
fn a_serial_history_has_no_flaw() {
    let deeds: [&[Event]; 3] = [
        &[read(1, &[]), append(1, 10)],
        &[read(1, &[10]), append(1, 11), read(1, &[10, 11]), append(2, 12)],
        &[read(1, &[10, 11]), read(2, &[12]), read(3, &[])],
    ];
    assert_eq!(found(&deeds, &[(1, &[10, 11]), (2, &[12])]), []);
}

#[test]
fn a_cycle_of_writes_is_g0() {
    let deeds: [&[Event]; 2] = [&[append(1, 10), append(2, 20)], &[append(1, 11), append(2, 21)]];
    assert!(found(&deeds, &[(1, &[10, 11]), (2, &[21, 20])]).contains(&Flaw::G0));
}

#[test]
fn reading_each_other_is_g1c() {
    let deeds: [&[Event]; 2] = [&[append(1, 10), read(2, &[20])], &[append(2, 20), read(1, &[10])]];
    assert_eq!(found(&deeds, &[(1, &[10]), (2, &[20])]), [Flaw::G1c]);
}

#[test]
fn a_lost_update_is_a_lost_append() {
    let deeds: [&[Event]; 2] = [&[read(1, &[]), append(1, 10)], &[read(1, &[]), append(1, 11)]];
    assert_eq!(found(&deeds, &[(1, &[11])]), [Flaw::LostAppend]);
    // Where it was overwritten and yet is there, it was overtaken.
    assert_eq!(found(&deeds, &[(1, &[10, 11])]), [Flaw::GSingle]);
}

#[test]
fn read_skew_is_g_single() {
    let deeds: [&[Event]; 2] = [&[append(1, 10), append(2, 20)], &[read(1, &[]), read(2, &[20])]];
    assert_eq!(found(&deeds, &[(1, &[10]), (2, &[20])]), [Flaw::GSingle]);
}

#[test]
fn write_skew_is_g2() {
    let deeds: [&[Event]; 2] = [&[read(1, &[]), append(2, 20)], &[read(2, &[]), append(1, 10)]];
    assert_eq!(found(&deeds, &[(1, &[10]), (2, &[20])]), [Flaw::G2]);
}

#[test]
fn reads_of_what_was_not_committed_are_told_apart() {
    let writer = [append(1, 10), append(1, 11)];
    let reader = deed(Outcome::Committed, 0, &[read(1, &[10])]);
    let aborted = [deed(Outcome::Aborted, 0, &writer), reader.clone()];
    assert!(judged(&aborted, &[]).contains(&Flaw::AbortedRead));
    let intermediate = [deed(Outcome::Committed, 0, &writer), reader];
    assert!(judged(&intermediate, &[(1, &[10, 11])]).contains(&Flaw::IntermediateRead));
    let nobody = [deed(Outcome::Committed, 0, &[read(1, &[99])])];
    assert!(judged(&nobody, &[]).contains(&Flaw::AbortedRead));
}

#[test]
fn lists_that_contradict_each_other_are_noticed() {
    let deeds: [&[Event]; 4] =
        [&[append(1, 10)], &[append(1, 11)], &[read(1, &[10, 11])], &[read(1, &[11])]];
    assert!(found(&deeds, &[(1, &[10, 11])]).contains(&Flaw::IncompatibleOrder));
    let own: [&[Event]; 1] = [&[append(1, 10), read(1, &[])]];
    assert_eq!(found(&own, &[(1, &[10])]), [Flaw::OwnAppendUnseen]);
}

#[test]
fn a_transaction_sees_what_had_ended_before_it_began() {
    let deeds =
        [deed(Outcome::Committed, 0, &[append(1, 10)]), deed(Outcome::Committed, 1000, &[read(1, &[])])];
    assert_eq!(judged(&deeds, &[(1, &[10])]), [Flaw::GSingle]);
}

#[test]
fn a_commit_that_nobody_answered_is_there_whole_or_not_at_all() {
    let unknown = [deed(Outcome::Unknown, 0, &[append(1, 10), append(2, 20)])];
    assert_eq!(judged(&unknown, &[]), []);
    assert_eq!(judged(&unknown, &[(1, &[10]), (2, &[20])]), []);
    assert_eq!(judged(&unknown, &[(1, &[10])]), [Flaw::LostAppend]);
}
