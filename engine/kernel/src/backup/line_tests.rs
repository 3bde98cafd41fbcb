//! The line of time: every commit is on it, what is not covered is not, and a long one stays short.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use super::increment_tests::Folder;
use super::line::{Line, commits, line};
use super::point_tests::{Moment, archiving, worked};
use super::*;
use crate::store::Store;

fn read(store: &Store, logs: &[PathBuf], starts: &[Lsn], most: usize) -> Line {
    line(store.shared(), logs, starts, most, &Progress::default()).unwrap()
}

fn prepared(name: &str) -> (Folder, Store, Vec<Moment>, PathBuf, Vec<Lsn>) {
    let folder = Folder::new(name);
    std::fs::create_dir(folder.0.join("chain")).unwrap();
    let (store, moments) = worked(&folder, &archiving(None));
    let db = folder.0.join("db");
    let ends = ["full-0", "incr-1"];
    let end = |name| Manifest::read(&OsDisk::new(&folder.0.join("chain").join(name))).unwrap().end_lsn;
    let starts = ends.map(end).to_vec();
    (folder, store, moments, db, starts)
}

#[test]
fn every_commit_after_the_first_known_start_is_on_the_line_and_is_found_again_one_by_one() {
    let (_folder, store, moments, db, starts) = prepared("line-all");
    let found = read(&store, std::slice::from_ref(&db), &starts, 1000);
    assert_eq!(found.runs.len(), 1, "{:?}", found.runs);
    assert_eq!(found.runs[0].read_from, Some(starts[0]));
    assert_eq!(found.bins.len(), 50);
    assert!(!found.checkpoints.is_empty() && found.checkpoints.is_sorted_by_key(|mark| mark.lsn));
    for (bin, moment) in found.bins.iter().zip(&moments[10..]) {
        assert!(bin.from <= moment.lsn && moment.lsn < bin.end && bin.commits == 1);
        assert!(bin.first_at > 0 && bin.first_at == bin.last_at);
    }
    // Three new keys with each commit, of forty that are written.
    assert!(found.bins.iter().all(|bin| bin.rows.values().sum::<i64>() == 3), "{:?}", found.bins[0]);
    let span = (found.bins[0].from, found.end);
    let all = commits(store.shared(), &[db], span, 1000, &Progress::default()).unwrap();
    assert_eq!(all.len(), 50);
    for (commit, (bin, moment)) in all.iter().zip(found.bins.iter().zip(&moments[10..])) {
        assert_eq!((commit.lsn, commit.end, commit.txn), (moment.lsn, bin.end, moment.txn));
        let touched = commit.touched.values().next().unwrap();
        assert_eq!((touched[0], touched[1], commit.is_whole), (3, 37, true));
    }
}

#[test]
fn a_long_line_is_told_in_bins_that_add_up_and_can_be_read_one_by_one() {
    let (_folder, store, _, db, starts) = prepared("line-bins");
    let logs = [db];
    let found = read(&store, &logs, &starts, 16);
    assert!(found.bins.len() <= 16, "{}", found.bins.len());
    assert_eq!(found.bins.iter().map(|bin| bin.commits).sum::<u64>(), 50);
    assert_eq!(found.bins.iter().flat_map(|bin| bin.rows.values()).sum::<i64>(), 150);
    for bin in &found.bins {
        let span = (bin.from, bin.end);
        let inside = commits(store.shared(), &logs, span, 1000, &Progress::default()).unwrap();
        assert_eq!(inside.len() as u64, bin.commits);
        assert_eq!(inside.last().unwrap().end, bin.end);
    }
}

#[test]
fn a_gap_in_the_archive_ends_a_run_and_the_next_backup_begins_another() {
    let (_folder, store, moments, db, starts) = prepared("line-gap");
    let archive = db.join("archive");
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(&archive).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let whole = read(&store, std::slice::from_ref(&db), &starts, 1000);
    let lost = names.remove(names.len() - 2);
    std::fs::remove_file(&lost).unwrap();
    let found = read(&store, std::slice::from_ref(&db), &starts, 1000);
    assert_eq!(found.runs.len(), 2, "{:?}", found.runs);
    assert!(found.runs[0].end < found.runs[1].from);
    assert!(found.bins.len() < whole.bins.len());
    assert!(found.bins.iter().all(|bin| found.runs[bin.run].from <= bin.from));
    assert_eq!(found.bins.last().unwrap().end, whole.bins.last().unwrap().end);
    assert!(moments.last().unwrap().lsn < found.end);
    // Damage ends a run as well, and what follows is not guessed.
    let damaged = &names[names.len() - 2];
    let mut content = std::fs::read(damaged).unwrap();
    let middle = content.len() / 2;
    content[middle..middle + 64].fill(0x5a);
    std::fs::write(damaged, content).unwrap();
    let found = read(&store, &[db], &starts, 1000);
    assert!(found.runs.iter().any(|run| run.is_broken), "{:?}", found.runs);
}
