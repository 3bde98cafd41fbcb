//! Mirrors on simulated disks, step by step.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::backup::tests::*;
use crate::disk::Disk;
use crate::disk::faults::{Failure, Fault, FaultDisk};
use crate::disk::memory::MemoryDisk;
use crate::log::gate::Patience;
use crate::recovery::Progress;
use crate::store::{Store, StoreOptions};
use crate::sync::Arc;
use crate::txn::TreeRef;
use crate::types::Lsn;
use std::time::Duration;

pub(super) const PLACE: &str = "/mirror";

pub(super) fn write(store: &Store, tree: TreeRef, steps: std::ops::Range<u64>) {
    for step in steps {
        transfer(store, tree, step % WRITERS, step);
    }
}

/// A store at work with a mirror that has its first copy.
pub(super) fn mirrored(seed: u64) -> (Store, TreeRef, Arc<MemoryDisk>, Arc<MemoryDisk>, Arc<Follower>) {
    let (primary, mirror) = (MemoryDisk::new(seed), MemoryDisk::new(seed + 1));
    let (store, tree) = bank(primary.clone(), false);
    write(&store, tree, 0..40);
    let follower = store.mirrors().add_on(PLACE, mirror.clone(), false).unwrap();
    follower.step().unwrap();
    (store, tree, primary, mirror, follower)
}

pub(super) fn dynamic(disk: &Arc<MemoryDisk>) -> Arc<dyn Disk> {
    disk.clone()
}

/// The disk as it is at this moment.
pub(super) fn copy_of(disk: &MemoryDisk) -> Arc<MemoryDisk> {
    MemoryDisk::from_snapshot(7, &disk.snapshot())
}

/// Every key and value of the tree.
pub(super) fn contents(store: &Store, tree: TreeRef) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut txn = begin(store);
    let keys = (0..ACCOUNTS).map(account).chain((0..WRITERS).map(writer_key));
    keys.map(|key| {
        let value = txn.get(tree, &key).unwrap().unwrap();
        (key, value)
    })
    .collect()
}

pub(super) fn tree_of(store: &Store) -> TreeRef {
    begin(store).tree("accounts", false).unwrap().unwrap()
}

/// Fails over and recovers what the mirror holds.
pub(super) fn taken_over(mirror: &Arc<MemoryDisk>, primary: Option<&Arc<MemoryDisk>>) -> Store {
    let primary = primary.map(dynamic);
    fail_over(&dynamic(mirror), PLACE, primary.as_ref(), false).unwrap();
    recovered(mirror.clone())
}

#[test]
fn a_mirror_that_has_followed_becomes_the_database() {
    let (store, tree, primary, mirror, follower) = mirrored(11);
    write(&store, tree, 40..400);
    follower.step().unwrap();
    assert_eq!(follower.status().lag_bytes, 0);
    let before = contents(&store, tree);
    store.close().unwrap();
    drop(store);
    let now = outlook(&dynamic(&mirror), Some(&dynamic(&primary))).unwrap();
    assert_eq!(now.missing.unwrap(), failover::Missing { bytes: 0, commits: 0 });
    let store = taken_over(&mirror, Some(&primary));
    assert!(contents(&store, tree_of(&store)) == before);
    assert_sound(&store);
    // The former primary knows, and cannot be opened any more.
    let error = Store::open(primary.clone(), &options(false)).err().unwrap();
    assert_eq!(error.code, Code::DatabaseSuperseded);
    assert_eq!(error.field("successor"), Some(&PLACE.into()));
}

#[test]
fn what_an_asynchronous_mirror_lacks_is_said_before_it_is_lost() {
    let (store, tree, primary, mirror, follower) = mirrored(21);
    follower.step().unwrap();
    let kept = contents(&store, tree);
    for step in 0..5 {
        let mut txn = begin(&store);
        txn.put(tree, &account(step), &amount(7)).unwrap();
        txn.commit().unwrap();
    }
    let status = follower.status();
    assert!(status.lag_bytes > 0 && status.lag_seconds > 0.0, "{status:?}");
    drop((store, follower));
    let disk = primary.reopen();
    let now = outlook(&dynamic(&mirror), Some(&dynamic(&disk))).unwrap();
    let missing = now.missing.unwrap();
    assert_eq!(missing.commits, 5);
    assert_eq!(missing.bytes, status.lag_bytes);
    assert!(now.last_commit_at > 0);
    let store = taken_over(&mirror, None);
    assert!(contents(&store, tree_of(&store)) == kept);
}

#[test]
fn redo_in_the_mirror_leaves_little_to_redo_and_little_log() {
    let (store, tree, _, mirror, follower) = mirrored(31);
    for round in 0..6 {
        write(&store, tree, 100 * round..100 * (round + 1));
        store.checkpoint().unwrap();
        follower.step().unwrap();
        follower.redo(false, &Progress::default()).unwrap().unwrap();
    }
    let status = store.checkpointer().status();
    assert_eq!(follower.checkpoint(), status.lsn);
    let now = outlook(&dynamic(&mirror), None).unwrap();
    assert!(now.redo_bytes < 64 << 10, "{}", now.redo_bytes);
    assert!(mirror.list("wal").unwrap().len() <= 3);
    write(&store, tree, 600..640);
    follower.step().unwrap();
    let before = contents(&store, tree);
    drop((store, follower));
    let store = taken_over(&mirror, None);
    assert!(contents(&store, tree_of(&store)) == before);
    assert_sound(&store);
}

#[test]
fn transactions_in_flight_at_a_fail_over_are_rolled_back() {
    let (store, tree, _, mirror, follower) = mirrored(41);
    let before = contents(&store, tree);
    let mut open = begin(&store);
    for i in 0..200 {
        open.put(tree, &account(i), &amount(1)).unwrap();
    }
    store.checkpoint().unwrap();
    follower.step().unwrap();
    follower.redo(false, &Progress::default()).unwrap().unwrap();
    let recovered = taken_over(&copy_of(&mirror), None);
    assert!(contents(&recovered, tree_of(&recovered)) == before);
    assert_sound(&recovered);
    open.abort().unwrap();
}

#[test]
fn a_mirror_that_was_gone_catches_up_without_a_copy() {
    let (primary, mirror) = (MemoryDisk::new(51), MemoryDisk::new(52));
    let (store, tree) = bank(primary.clone(), false);
    let gone = FaultDisk::over_memory(mirror.clone());
    let follower = store.mirrors().add_on(PLACE, gone.clone(), false).unwrap();
    follower.step().unwrap();
    gone.fail(Fault { call: None, nth: 1, for_good: true, failure: Failure::Device });
    write(&store, tree, 40..300);
    assert_eq!(follower.step().unwrap_err().code, Code::IoError);
    assert_eq!(follower.status().phase, Phase::Lost);
    drop(follower);
    store.checkpoint().unwrap();
    store.close().unwrap();
    drop(store);
    // Opened again twice, once after a crash, without the mirror; then it is back.
    for _ in 0..2 {
        let store =
            Store::open_recovering(primary.clone(), &options(false), &Progress::default()).unwrap();
        write(&store, tree_of(&store), 300..420);
        store.checkpoint().unwrap();
        drop(store);
    }
    let store = recovered(primary);
    let follower = store.mirrors().attach_on(PLACE, mirror.clone()).unwrap();
    follower.step().unwrap();
    let status = follower.status();
    assert_eq!((status.copies, status.lag_bytes), (0, 0), "{status:?}");
    store.checkpoint().unwrap();
    follower.step().unwrap();
    follower.redo(false, &Progress::default()).unwrap().unwrap();
    let before = contents(&store, tree_of(&store));
    let taken = taken_over(&copy_of(&mirror), None);
    assert!(contents(&taken, tree_of(&taken)) == before);
    assert_sound(&taken);
}

#[test]
fn a_mirror_that_was_gone_too_long_gets_a_new_copy_and_never_fills_the_disk() {
    let (primary, mirror) = (MemoryDisk::new(61), MemoryDisk::new(62));
    let mut few = options(false);
    few.mirrors.hold_bytes = 256 << 10;
    let store = Store::create(primary.clone(), &few).unwrap();
    let tree = filled(&store);
    let follower = store.mirrors().add_on(PLACE, mirror.clone(), false).unwrap();
    follower.step().unwrap();
    for round in 0..12 {
        write(&store, tree, 200 * round..200 * (round + 1));
        store.checkpoint().unwrap();
    }
    assert!(!follower.status().is_held);
    assert!(primary.list("wal").unwrap().len() < 6, "{:?}", primary.list("wal"));
    // The step that finds it out says so; the next one copies.
    assert_eq!(follower.step().unwrap_err().code, Code::MirrorIncomplete);
    follower.step().unwrap();
    assert_eq!(follower.status().copies, 2);
    let (events, _) = store.shared().events.drain(10_000);
    assert!(events.iter().any(|event| event.kind == "mirror_needs_copy"));
    let before = contents(&store, tree);
    let taken = taken_over(&mirror, None);
    assert!(contents(&taken, tree_of(&taken)) == before);
    assert_sound(&taken);
}

#[test]
fn a_database_never_opens_a_mirror_and_a_half_copied_one_never_takes_over() {
    let (store, _, _, mirror, follower) = mirrored(71);
    let error = Store::open(mirror.clone(), &options(false)).err().unwrap();
    assert_eq!(error.code, Code::DatabaseIsMirror);
    let error =
        Store::open_recovering(mirror.clone(), &options(false), &Progress::default()).err().unwrap();
    assert_eq!(error.code, Code::DatabaseIsMirror);
    drop((store, follower));
    let mut standing = Standing::read(&*mirror).unwrap().unwrap();
    standing.role = Role::Copying;
    standing.write(&*mirror).unwrap();
    let error = fail_over(&dynamic(&mirror), PLACE, None, false).unwrap_err();
    assert_eq!(error.code, Code::MirrorIncomplete);
}

#[test]
fn a_mirror_of_another_database_is_refused_and_left_alone() {
    let (store, _, _, _, _) = mirrored(81);
    let (_, _, _, foreign, _) = mirrored(85);
    let other = StoreOptions { database: Some(crate::types::DatabaseId([3; 16])), ..options(false) };
    let third = Store::create(MemoryDisk::new(89), &other).unwrap();
    let before = foreign.snapshot();
    let follower = third.mirrors().add_on("/foreign", foreign.clone(), false).unwrap();
    assert_eq!(follower.step().unwrap_err().code, Code::MirrorDiverged);
    assert_eq!(follower.status().phase, Phase::Refused);
    assert!(foreign.snapshot() == before);
    drop(store);
}

#[test]
fn the_primary_that_could_not_be_reached_yields_when_it_meets_its_successor() {
    let (store, tree, primary, mirror, follower) = mirrored(91);
    write(&store, tree, 40..60);
    follower.step().unwrap();
    // Nobody could tell the primary: both believe in themselves until they meet.
    let successor = taken_over(&mirror, None);
    write(&successor, tree_of(&successor), 60..80);
    drop(follower);
    let follower = store.mirrors().find(PLACE).unwrap();
    // A new connection, as after the network was cut.
    follower.detach();
    assert_eq!(follower.step().unwrap_err().code, Code::DatabaseSuperseded);
    let mut txn = store.begin(crate::txn::Isolation::ReadCommitted, false).unwrap();
    let error = txn.put(tree, b"key", b"value").unwrap_err();
    assert_eq!(error.code, Code::ReadOnlyDatabase);
    drop(txn);
    drop((follower, store));
    let error = Store::open(primary, &options(false)).err().unwrap();
    assert_eq!(error.code, Code::DatabaseSuperseded);
}

#[test]
fn a_former_primary_that_holds_nothing_more_follows_its_successor_and_takes_the_place_back() {
    let (store, tree, primary, mirror, follower) = mirrored(101);
    write(&store, tree, 40..200);
    follower.step().unwrap();
    drop(follower);
    store.close().unwrap();
    drop(store);
    let now = fail_over(&dynamic(&mirror), PLACE, Some(&dynamic(&primary)), false).unwrap();
    assert!(now.missing.is_some());
    // As it would be where paths are known.
    let mut standing = Standing::read(&*mirror).unwrap().unwrap();
    standing.mirrors.push(standing::Known {
        path: "/first".to_owned(),
        is_synchronous: false,
        hold: standing.parted_at,
        is_renewed: false,
        is_given_up: false,
    });
    standing.write(&*mirror).unwrap();
    let successor = recovered(mirror.clone());
    write(&successor, tree_of(&successor), 200..420);
    successor.checkpoint().unwrap();
    let back = successor.mirrors().attach_on("/first", primary.clone()).unwrap();
    back.step().unwrap();
    assert_eq!(back.status().copies, 0, "it caught up from the log");
    successor.checkpoint().unwrap();
    back.step().unwrap();
    back.redo(false, &Progress::default()).unwrap().unwrap();
    let before = contents(&successor, tree_of(&successor));
    successor.close().unwrap();
    drop((back, successor));
    // Fail back: the same act the other way round.
    fail_over(&dynamic(&primary), "/first", Some(&dynamic(&mirror)), false).unwrap();
    let store = recovered(primary);
    assert!(contents(&store, tree_of(&store)) == before);
    assert_sound(&store);
    assert_eq!(Standing::read(&*mirror).unwrap().unwrap().role, Role::Superseded);
}

#[test]
fn a_former_primary_with_changes_of_its_own_is_refused_with_their_number() {
    let (store, tree, primary, mirror, follower) = mirrored(111);
    follower.step().unwrap();
    drop(follower);
    for step in 0..3 {
        let mut txn = begin(&store);
        txn.put(tree, &account(step), &amount(9)).unwrap();
        txn.commit().unwrap();
    }
    drop(store);
    let primary = primary.reopen();
    let now = fail_over(&dynamic(&mirror), PLACE, Some(&dynamic(&primary)), false).unwrap();
    assert_eq!(now.missing.unwrap().commits, 3);
    let successor = recovered(mirror);
    let before = primary.snapshot();
    let back = successor.mirrors().add_on("/first", primary.clone(), false).unwrap();
    let error = back.step().unwrap_err();
    assert_eq!(error.code, Code::MirrorDiverged);
    assert_eq!(error.field("commits"), Some(&3u64.into()));
    assert!(primary.snapshot() == before, "what only it has is still there");
}

#[test]
fn a_commit_is_in_the_synchronous_mirror_when_it_is_acknowledged() {
    let (primary, mirror) = (MemoryDisk::new(121), MemoryDisk::new(122));
    let (store, tree) = bank(primary, true);
    let follower = store.mirrors().add_on(PLACE, mirror.clone(), true).unwrap();
    // A first commit may go before the mirror is in step; from then on none does.
    while !follower.status().is_in_step {
        std::thread::yield_now();
    }
    for step in 0..30 {
        let lsn = transfer(&store, tree, step % WRITERS, step);
        assert!(follower.status().shipped > lsn, "step {step}");
        if step % 10 == 9 {
            let key = writer_key(step % WRITERS);
            let acknowledged = number(&mut begin(&store), tree, &key);
            let taken = taken_over(&copy_of(&mirror), None);
            assert_eq!(number(&mut begin(&taken), tree_of(&taken), &key), acknowledged);
        }
    }
    store.close().unwrap();
}

#[test]
fn a_synchronous_mirror_that_fails_is_given_up_or_the_commit_is_told() {
    for gives_up in [true, false] {
        let (primary, mirror) = (MemoryDisk::new(131), MemoryDisk::new(132));
        let (store, tree) = bank(primary, false);
        store.shared().core.log.set_patience(Patience { time: Duration::from_millis(5), gives_up });
        let follower = store.mirrors().add_on(PLACE, mirror, true).unwrap();
        follower.step().unwrap();
        assert!(follower.status().is_in_step);
        // Nobody ships: the threads are off.
        let mut txn = begin(&store);
        txn.put(tree, &account(1), &amount(5)).unwrap();
        let done = txn.commit();
        assert_eq!(
            done.as_ref().err().map(|error| error.code),
            (!gives_up).then_some(Code::MirrorNotReached)
        );
        assert_eq!(number(&mut begin(&store), tree, &account(1)), 5, "it is committed all the same");
        assert_eq!(follower.status().is_in_step, !gives_up);
        follower.step().unwrap();
        let mut txn = begin(&store);
        txn.put(tree, &account(1), &amount(6)).unwrap();
        assert_eq!(txn.commit().is_ok(), gives_up);
    }
}

#[test]
fn a_mirror_is_proved_by_recovering_it_beside_itself() {
    let (store, tree, _, mirror, follower) = mirrored(141);
    write(&store, tree, 40..200);
    follower.step().unwrap();
    let before = mirror.snapshot();
    let (end, report) = follower.verify(MemoryDisk::new(9), &Progress::default()).unwrap();
    assert_eq!(report.problems, []);
    assert_eq!(Some(end), follower.shipped());
    assert!(mirror.snapshot() == before);
    assert!(end > Lsn::NONE);
}

#[test]
fn a_former_primary_with_changes_of_its_own_is_looked_at_and_then_made_a_mirror_anew() {
    let (store, tree, primary, mirror, follower) = mirrored(171);
    follower.step().unwrap();
    drop(follower);
    write(&store, tree, 40..90);
    let alone = contents(&store, tree);
    drop(store);
    let primary = primary.reopen();
    fail_over(&dynamic(&mirror), PLACE, None, false).unwrap();
    let successor = recovered(mirror.clone());
    let tree = tree_of(&successor);
    write(&successor, tree, 500..540);
    let back = successor.mirrors().add_on("/first", primary.clone(), false).unwrap();
    assert_eq!(back.step().unwrap_err().code, Code::MirrorDiverged);
    // What only it holds can be read, and it stays as it is.
    let before = primary.snapshot();
    let scratch = MemoryDisk::new(9);
    let seen = look(&dynamic(&primary), scratch, &options(false), &Progress::default()).unwrap();
    assert!(contents(&seen, tree_of(&seen)) == alone);
    drop(seen);
    assert!(primary.snapshot() == before);
    assert_eq!(back.step().unwrap_err().code, Code::MirrorDiverged, "it is not given up yet");
    successor.mirrors().renew("/first").unwrap();
    back.step().unwrap();
    assert_eq!((back.status().copies, back.status().phase), (1, Phase::Following));
    assert_eq!(successor.mirrors().renew("/first").unwrap_err().code, Code::InvalidArgument);
    write(&successor, tree, 540..560);
    back.step().unwrap();
    let now = contents(&successor, tree);
    drop((back, successor));
    let taken = taken_over(&primary, None);
    assert!(contents(&taken, tree_of(&taken)) == now);
    assert_sound(&taken);
}

#[test]
fn what_was_given_up_once_is_not_given_up_for_ever() {
    let (store, _, primary, _, follower) = mirrored(181);
    assert_eq!(store.mirrors().renew("/other").unwrap_err().code, Code::InvalidArgument);
    follower.step().unwrap();
    drop(follower);
    let mine = || Standing::read(&*primary).unwrap().unwrap();
    assert!(mine().mirrors.iter().all(|known| !known.is_given_up));
}

/// Once the mirror was told of an argument that nobody had given.
#[test]
fn log_that_is_cut_while_it_is_shipped_makes_a_new_copy_necessary() {
    let (store, tree, _, _, follower) = mirrored(241);
    let log = &store.shared().core.log;
    let from = log.in_use()[0].start;
    drop(follower);
    store.mirrors().remove(PLACE, false).unwrap();
    while log.in_use()[0].start == from {
        write(&store, tree, 40..80);
        store.checkpoint().unwrap();
    }
    let told = super::shipper::durable_bytes(log, from, &mut [0; 64]);
    assert_eq!(told.unwrap_err().code, Code::MirrorIncomplete);
}
