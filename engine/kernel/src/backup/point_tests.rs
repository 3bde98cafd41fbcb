//! Points in the log: restored to just there, and told where they cannot be.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;

use super::increment_tests::{Folder, contents, fill};
use super::tests::*;
use super::*;
use crate::disk::Disk;
use crate::store::StoreOptions;
use crate::txn::Isolation;
use crate::types::TxnId;

pub(super) fn archiving(place: Option<PathBuf>) -> StoreOptions {
    let mut options = options(false);
    options.opening.log.segment_bytes = 256 << 10;
    options.opening.log.archive = true;
    options.opening.log.archive_at = place;
    options
}

pub(super) fn on(place: &Path) -> Arc<dyn Disk> {
    Arc::new(OsDisk::new(place))
}

/// One commit and what the database held after it.
pub(super) struct Moment {
    pub lsn: Lsn,
    pub txn: TxnId,
    pub state: increment_tests::Contents,
}

fn step(store: &Store, number: u32) -> Moment {
    let mut txn = store.begin(Isolation::ReadCommitted, false).unwrap();
    let id = txn.id();
    let tree = txn.tree("t", true).unwrap().unwrap();
    for key in number * 3..number * 3 + 40 {
        txn.put(tree, &key.to_be_bytes(), &[number as u8; 700]).unwrap();
    }
    let lsn = txn.commit().unwrap();
    Moment { lsn, txn: id, state: contents(store) }
}

fn wanted(point: Point, logs: &[&Path]) -> PointWanted {
    PointWanted { point, logs: logs.iter().map(|log| (*log).to_owned()).collect(), key: None }
}

fn restored(folder: &Folder, name: &str, wanted: &PointWanted) -> Result<(Reached, Store)> {
    let target = folder.0.join(name);
    let reached = restore_point(&folder.0.join("chain"), Some(&target), wanted, &Progress::default());
    assert!(reached.is_ok() || !target.exists(), "an error leaves nothing behind");
    let store = Store::open_recovering(on(&target), &options(false), &Progress::default());
    reached.map(|reached| (reached, store.unwrap()))
}

/// A database with backups in "chain", its log archived, and its moments in order.
pub(super) fn worked(folder: &Folder, options: &StoreOptions) -> (Store, Vec<Moment>) {
    let store = Store::create(on(&folder.0.join("db")), options).unwrap();
    let mut moments = Vec::new();
    for number in 0..60u32 {
        if number == 10 {
            folder.full(&store, "chain/full-0").unwrap();
        }
        if number == 30 {
            folder.increment(&store, "chain/incr-1", "chain/full-0").unwrap();
        }
        moments.push(step(&store, number));
        if number % 6 == 0 {
            store.checkpoint().unwrap();
        }
    }
    (store, moments)
}

#[test]
fn any_commit_after_a_backup_can_be_restored_to_by_position_transaction_and_time() {
    let folder = Folder::new("point-any");
    std::fs::create_dir(folder.0.join("chain")).unwrap();
    let (store, moments) = worked(&folder, &archiving(None));
    let mut open = begin(&store);
    let tree = open.tree("t", false).unwrap().unwrap();
    open.put(tree, b"in flight", b"never committed").unwrap();
    store.flush().unwrap();
    let db = folder.0.join("db");
    assert!(std::fs::read_dir(db.join("archive")).unwrap().count() > 3);
    for index in [10, 11, 29, 30, 31, 45, 58, 59] {
        let moment = &moments[index];
        let end = moments.get(index + 1).map_or(store.shared().core.log.end(), |next| next.lsn);
        let points = [
            // Just before the next commit, with entries of its transaction already in the log.
            Point::Lsn(end),
            Point::Transaction(moment.txn),
        ];
        for (place, point) in points.into_iter().enumerate() {
            let name = format!("back-{index}-{place}");
            let (reached, back) = restored(&folder, &name, &wanted(point, &[&db])).unwrap();
            assert!(contents(&back) == moment.state, "{name} {reached:?}");
            assert_sound(&back);
            let newest = if index < 30 && index != 29 { "full-0" } else { "incr-1" };
            // The commit of 29 comes before the increment: only the full backup is before it.
            let newest = if index == 29 { "full-0" } else { newest };
            if matches!(point, Point::Transaction(_)) {
                assert!(reached.backup.ends_with(newest), "{name} {:?}", reached.backup);
            }
            back.close().unwrap();
        }
    }
    // By time: of the commit itself, and of just before it.
    let progress = Progress::default();
    let chain = folder.0.join("chain");
    let to = wanted(Point::Transaction(moments[40].txn), &[&db]);
    let at = restore_point(&chain, None, &to, &progress).unwrap();
    let (_, back) = restored(&folder, "time", &wanted(Point::Time(at.committed_at), &[&db])).unwrap();
    assert!(contents(&back) == moments[40].state);
    let (_, back) =
        restored(&folder, "before", &wanted(Point::Time(at.committed_at - 1), &[&db])).unwrap();
    assert!(contents(&back) == moments[39].state);
    // To the end, without what was in flight; what was restored goes on as any other database.
    let (reached, back) = restored(&folder, "end", &wanted(Point::End, &[&db])).unwrap();
    assert!(reached.is_end && contents(&back) == moments[59].state);
    fill(&back, "after", 0..500, 3);
    assert_sound(&back);
    drop(open);
}

#[test]
fn points_before_the_oldest_backup_and_after_the_log_are_told() {
    let folder = Folder::new("point-outside");
    std::fs::create_dir(folder.0.join("chain")).unwrap();
    let (store, moments) = worked(&folder, &archiving(None));
    let db = folder.0.join("db");
    for point in [
        Point::Lsn(moments[3].lsn),
        Point::Transaction(moments[3].txn),
        Point::Time(1),
        Point::Lsn(store.shared().core.log.end().plus(10_000)),
        Point::Transaction(TxnId(1 << 40)),
    ] {
        let error = restored(&folder, "back", &wanted(point, &[&db])).err().unwrap();
        assert_eq!(error.code, Code::PointNotReached, "{point:?} {error}");
    }
    // Without any log there is the end of each backup, and nothing else.
    let error = restored(&folder, "back", &wanted(Point::End, &[])).err().unwrap();
    assert_eq!(error.code, Code::PointNotReached, "{error}");
    let end = Manifest::read(&OsDisk::new(&folder.0.join("chain/full-0"))).unwrap().end_lsn;
    let (reached, back) = restored(&folder, "exact", &wanted(Point::Lsn(end), &[])).unwrap();
    assert_eq!((reached.lsn, reached.commits), (end, 0));
    assert!(contents(&back) == moments[9].state);
}

#[test]
fn a_gap_in_the_archive_is_told_and_points_before_it_are_still_reached() {
    let folder = Folder::new("point-gap");
    std::fs::create_dir(folder.0.join("chain")).unwrap();
    let (_store, moments) = worked(&folder, &archiving(None));
    let db = folder.0.join("db");
    let archive = db.join("archive");
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(&archive).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let lost = names.pop().unwrap();
    let content = std::fs::read(&lost).unwrap();
    std::fs::remove_file(&lost).unwrap();
    let error = restored(&folder, "back", &wanted(Point::End, &[&db])).err().unwrap();
    assert_eq!(error.code, Code::PointNotReached);
    assert!(format!("{:?}", error.field("reason")).contains("gap"), "{error}");
    let (_, back) =
        restored(&folder, "early", &wanted(Point::Transaction(moments[32].txn), &[&db])).unwrap();
    assert!(contents(&back) == moments[32].state);
    // Damage inside a segment is one too: what follows it is not guessed.
    let mut damaged = content.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 64].fill(0x5a);
    std::fs::write(&lost, &damaged).unwrap();
    let error = restored(&folder, "back", &wanted(Point::End, &[&db])).err().unwrap();
    assert_eq!(error.code, Code::PointNotReached, "{error}");
    // The missing part lies elsewhere: that is said, and used.
    std::fs::remove_file(&lost).unwrap();
    let elsewhere = folder.0.join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::write(elsewhere.join(lost.file_name().unwrap()), &content).unwrap();
    let (_, back) = restored(&folder, "whole", &wanted(Point::End, &[&db, &elsewhere])).unwrap();
    assert!(contents(&back) == moments[59].state);
}

#[test]
fn the_log_of_another_history_is_not_rolled_onto_a_backup() {
    let folder = Folder::new("point-history");
    std::fs::create_dir(folder.0.join("chain")).unwrap();
    let (_store, _) = worked(&folder, &archiving(None));
    let db = folder.0.join("db");
    // A database that was restored from the first backup, and went on its own way.
    let to = Manifest::read(&OsDisk::new(&folder.0.join("chain/full-0"))).unwrap().end_lsn;
    let (_, other) = restored(&folder, "other", &wanted(Point::Lsn(to), &[])).unwrap();
    other.close().unwrap();
    drop(other);
    let other = folder.0.join("other");
    let store = Store::open(on(&other), &archiving(None)).unwrap();
    let mut last = None;
    for number in 100..160 {
        last = Some(step(&store, number));
    }
    let last = last.unwrap();
    // Its log goes on from the full backup, not from the increment.
    let (reached, back) = restored(&folder, "own", &wanted(Point::End, &[&other])).unwrap();
    assert!(reached.backup.ends_with("full-0"));
    assert!(contents(&back) == last.state);
    // Segments of both, one after the other, are no log.
    let mixed = folder.0.join("mixed");
    std::fs::create_dir(&mixed).unwrap();
    for (index, place) in [(0, &db), (1, &other)] {
        for folder in ["wal", "archive"] {
            for entry in std::fs::read_dir(place.join(folder)).into_iter().flatten() {
                let path = entry.unwrap().path();
                let number: u64 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
                if number % 2 == index {
                    std::fs::copy(&path, mixed.join(path.file_name().unwrap())).unwrap();
                }
            }
        }
    }
    match restored(&folder, "mix", &wanted(Point::End, &[&mixed])) {
        Err(error) => assert_eq!(error.code, Code::PointNotReached, "{error}"),
        // Where the mixture begins with segments of one history only, it is that history.
        Ok((_, back)) => assert_sound(&back),
    }
}

#[test]
fn a_log_that_waits_too_long_for_its_archive_goes_without_and_the_gap_is_told() {
    let folder = Folder::new("archive-cap");
    std::fs::create_dir(folder.0.join("chain")).unwrap();
    let place = folder.0.join("archive");
    let mut options = archiving(Some(place.clone()));
    options.opening.log.archive_wait_bytes = 1 << 20;
    let store = Store::create(on(&folder.0.join("db")), &options).unwrap();
    folder.full(&store, "chain/full-0").unwrap();
    let told = |store: &Store, kind: &str| {
        let (events, _) = store.shared().events.drain(10_000);
        events.into_iter().filter(|event| event.kind == kind).count()
    };
    // What is within the limit waits.
    (0..15).for_each(|number| drop(step(&store, number)));
    store.checkpoint().unwrap();
    assert_eq!(told(&store, "archive_broken"), 0);
    (15..90).for_each(|number| drop(step(&store, number)));
    store.checkpoint().unwrap();
    let waiting = store.shared().core.log.end().0 - store.shared().core.log.status().oldest.0;
    assert!(waiting < (1 << 20) + 3 * (256 << 10), "{waiting}");
    assert_eq!(told(&store, "archive_broken"), 1);
    assert_sound(&store);
    // It is back, and takes what comes.
    std::fs::create_dir(&place).unwrap();
    let last = step(&store, 90);
    store.checkpoint().unwrap();
    assert_eq!(told(&store, "archive_resumed"), 1);
    let logs = [folder.0.join("db"), place.clone()];
    let to = PointWanted { point: Point::End, logs: logs.to_vec(), key: None };
    let error = restored(&folder, "back", &to).err().unwrap();
    assert_eq!(error.code, Code::PointNotReached);
    // A backup after the gap makes any moment after it reachable again.
    folder.full(&store, "chain/full-1").unwrap();
    let after = step(&store, 91);
    store.flush().unwrap();
    let (_, back) = restored(&folder, "again", &to).unwrap();
    assert!(contents(&back) == after.state && last.lsn < after.lsn);
}

#[test]
fn a_log_survives_an_archive_that_is_gone_full_or_of_another_history() {
    let folder = Folder::new("archive-gone");
    std::fs::create_dir(folder.0.join("chain")).unwrap();
    let place = folder.0.join("archive");
    let store = Store::create(on(&folder.0.join("db")), &archiving(Some(place.clone()))).unwrap();
    folder.full(&store, "chain/full-0").unwrap();
    let mut moments: Vec<Moment> = (0..30).map(|number| step(&store, number)).collect();
    let oldest = store.shared().core.log.status().oldest;
    store.checkpoint().unwrap();
    // The directory is not there: nothing is removed, and it is told.
    assert_eq!(store.shared().core.log.status().oldest, oldest);
    assert!(store.shared().core.log.archive_failure().is_some());
    assert!(!place.exists(), "it may be the place of a disk that is not connected");
    // It comes back, with a segment of somebody else under a number that is needed.
    std::fs::create_dir(&place).unwrap();
    let id = Manifest::read(&OsDisk::new(&folder.0.join("chain/full-0"))).unwrap().database;
    let own = place.join(&id);
    std::fs::create_dir(&own).unwrap();
    let stranger = own.join("000000000001.wal");
    std::fs::write(&stranger, vec![7; 4096]).unwrap();
    store.checkpoint().unwrap();
    assert_eq!(store.shared().core.log.status().oldest, oldest);
    assert_eq!(std::fs::read(&stranger).unwrap(), vec![7; 4096], "it is never written over");
    // An unfinished copy of a crash is no stranger.
    std::fs::write(&stranger, vec![0; 100]).unwrap();
    moments.push(step(&store, 30));
    store.checkpoint().unwrap();
    assert!(store.shared().core.log.status().oldest > oldest);
    assert!(store.shared().core.log.archive_failure().is_none());
    drop(store);
    // The archive and what is left in the database are the whole log.
    let to = wanted(Point::End, &[&folder.0.join("db"), &place]);
    let (_, back) = restored(&folder, "back", &to).unwrap();
    assert!(contents(&back) == moments[30].state);
    assert_sound(&back);
}
