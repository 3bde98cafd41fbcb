//! A damaged log of a mirror is had again from the database's.
#![allow(clippy::unwrap_used)]

use super::tests::*;
use super::*;
use crate::backup::tests::*;
use crate::disk::Disk;
use crate::disk::memory::MemoryDisk;
use crate::recovery::Progress;
use crate::store::Store;
use crate::sync::Arc;
use crate::txn::TreeRef;

/// A database whose log the mirror has in full, and nobody else from its beginning on, unless it is
/// archived.
fn aged(seed: u64, archives: bool) -> (Store, TreeRef, Arc<MemoryDisk>, Arc<MemoryDisk>, Arc<Follower>) {
    let (primary, mirror) = (MemoryDisk::new(seed), MemoryDisk::new(seed + 1));
    let mut options = options(false);
    options.opening.log.archive = archives;
    let store = Store::create(primary.clone(), &options).unwrap();
    let tree = filled(&store);
    let follower = store.mirrors().add_on(PLACE, mirror.clone(), false).unwrap();
    follower.step().unwrap();
    for round in 0..8 {
        write(&store, tree, 1000 + 200 * round..1200 + 200 * round);
        store.checkpoint().unwrap();
        follower.step().unwrap();
    }
    store.checkpoint().unwrap();
    (store, tree, primary, mirror, follower)
}

/// The segments of the mirror, oldest first.
fn segments_of(mirror: &MemoryDisk) -> Vec<String> {
    mirror.list("wal").unwrap().into_iter().map(|name| format!("wal/{name}")).collect()
}

/// Redo meets what is damaged, the next steps make it good; the mirror is what the database is.
fn assert_made_good(store: &Store, tree: TreeRef, mirror: &MemoryDisk, follower: &Follower) {
    let _ = follower.redo(true, &Progress::default());
    follower.step().unwrap();
    store.checkpoint().unwrap();
    follower.step().unwrap();
    follower.redo(true, &Progress::default()).unwrap().unwrap();
    let now = contents(store, tree);
    let taken = taken_over(&copy_of(mirror), None);
    assert!(contents(&taken, tree_of(&taken)) == now);
    assert_sound(&taken);
}

fn events_of(store: &Store, kind: &str) -> usize {
    store.shared().events.drain(10_000).0.iter().filter(|event| event.kind == kind).count()
}

#[test]
fn a_mirror_gets_the_damaged_part_of_its_log_again_and_no_copy() {
    let (store, tree, _, mirror, follower) = mirrored(1201);
    write(&store, tree, 40..300);
    follower.step().unwrap();
    let path = segments_of(&mirror).pop().unwrap();
    let used = mirror.snapshot()[&path].iter().rposition(|byte| *byte != 0).unwrap() as u64;
    for offset in (5000..used).step_by(30_000) {
        mirror.flip_bit(&path, offset, 3).unwrap();
    }
    assert_made_good(&store, tree, &mirror, &follower);
    let status = follower.status();
    assert_eq!(status.copies, 1);
    assert!((4096..used / 2).contains(&status.log_mended), "{} of {used}", status.log_mended);
    assert_eq!(events_of(&store, "mirror_log_mended"), 1);
}

#[test]
fn a_segment_of_a_mirror_that_is_gone_or_has_no_header_comes_again() {
    for is_gone in [true, false] {
        let (store, tree, _, mirror, follower) = aged(1211, true);
        let paths = segments_of(&mirror);
        assert!(paths.len() > 3, "{paths:?}");
        let middle = &paths[paths.len() / 2];
        if is_gone {
            mirror.remove(middle).unwrap();
        } else {
            mirror.flip_bit(middle, 20, 3).unwrap();
        }
        assert_made_good(&store, tree, &mirror, &follower);
        assert_eq!(follower.status().copies, 1, "gone: {is_gone}");
    }
}

#[test]
fn what_the_log_no_longer_has_comes_from_the_archive_and_else_by_a_copy_which_is_said() {
    for archives in [true, false] {
        let (store, tree, _, mirror, follower) = aged(1221, archives);
        let first = segments_of(&mirror).remove(0);
        mirror.flip_bit(&first, 300_000, 3).unwrap();
        assert_made_good(&store, tree, &mirror, &follower);
        let status = follower.status();
        assert_eq!(status.copies, if archives { 1 } else { 2 }, "archived: {archives}");
        assert_eq!(status.log_mended > 0, archives);
        assert_eq!(events_of(&store, "mirror_needs_copy"), usize::from(!archives));
    }
}

#[test]
fn mending_a_mirror_looks_at_its_log_too() {
    let (store, tree, _, mirror, follower) = mirrored(1231);
    write(&store, tree, 40..200);
    follower.step().unwrap();
    let path = segments_of(&mirror).pop().unwrap();
    let used = mirror.snapshot()[&path].iter().rposition(|byte| *byte != 0).unwrap() as u64;
    // In its last entry, which nothing that comes later vouches for.
    mirror.flip_bit(&path, used - 10, 1).unwrap();
    follower.mend(&Progress::default()).unwrap();
    assert_eq!(follower.status().log_mended, 4096.min(follower.status().log_mended));
    assert!(follower.status().log_mended > 0);
    assert_eq!(follower.status().copies, 1);
    assert_made_good(&store, tree, &mirror, &follower);
    assert_eq!(follower.status().copies, 1);
}

#[test]
fn a_damaged_mirror_of_another_history_stays_as_it_is() {
    let (store, tree, primary, mirror, follower) = mirrored(1241);
    write(&store, tree, 40..60);
    follower.step().unwrap();
    let earlier = copy_of(&primary);
    write(&store, tree, 60..160);
    follower.step().unwrap();
    drop((store, follower));
    // The database is put back to an earlier state by other means, and goes another way.
    let store = recovered(earlier);
    let tree = tree_of(&store);
    write(&store, tree, 300..600);
    let path = segments_of(&mirror).remove(0);
    mirror.flip_bit(&path, 5000, 3).unwrap();
    let before = mirror.snapshot();
    let follower = store.mirrors().attach_on(PLACE, mirror.clone()).unwrap();
    let error = follower.step().unwrap_err();
    assert_eq!(error.code, Code::MirrorDiverged, "{error}");
    assert_eq!(follower.status().phase, Phase::Refused);
    assert!(mirror.snapshot() == before);
}

#[test]
fn a_crash_while_the_log_of_a_mirror_is_mended_costs_no_copy_either() {
    let (mut crashed, mut copies) = (0, 0);
    for nth in 1..24 {
        let (store, tree, _, mirror, follower) = mirrored(1300 + nth);
        write(&store, tree, 40..120);
        follower.step().unwrap();
        let path = segments_of(&mirror).pop().unwrap();
        let used = mirror.snapshot()[&path].iter().rposition(|byte| *byte != 0).unwrap() as u64;
        for eighth in 4..8 {
            mirror.flip_bit(&path, used * eighth / 8, 3).unwrap();
        }
        follower.look_at_log().unwrap();
        mirror.crash_after(nth);
        crashed += u64::from(follower.step().is_err());
        drop(follower);
        store.mirrors().remove(PLACE, false).unwrap();
        let mirror = mirror.reopen();
        let back = store.mirrors().add_on(PLACE, mirror.clone(), false).unwrap();
        back.step().unwrap();
        assert_made_good(&store, tree, &mirror, &back);
        copies += back.status().copies;
    }
    assert!(crashed > 2, "{crashed}");
    assert_eq!(copies, 0);
}

#[test]
fn what_is_damaged_in_the_log_of_the_database_too_does_not_go_over() {
    let (store, tree, primary, mirror, follower) = mirrored(1251);
    write(&store, tree, 40..200);
    follower.step().unwrap();
    let path = segments_of(&mirror).pop().unwrap();
    mirror.flip_bit(&path, 50_000, 3).unwrap();
    primary.flip_bit(&path, 50_001, 5).unwrap();
    assert_made_good(&store, tree, &mirror, &follower);
    assert_eq!((follower.status().copies, follower.status().log_mended), (2, 0));
}

#[test]
fn what_is_damaged_in_the_archive_is_no_other_history() {
    let (store, tree, primary, mirror, follower) = aged(1261, true);
    let first = segments_of(&mirror).remove(0);
    mirror.flip_bit(&first, 300_000, 3).unwrap();
    let archived = first.replace("wal/", "archive/");
    primary.flip_bit(&archived, 100_000, 3).unwrap();
    assert_made_good(&store, tree, &mirror, &follower);
    // What the mirror has whole was not replaced by what is damaged there.
    assert!(follower.status().phase == Phase::Following);
}

#[test]
fn a_mirror_whose_directory_is_emptied_or_replaced_is_noticed_and_what_is_there_is_left_alone() {
    let (store, tree, _, mirror, follower) = mirrored(1271);
    follower.step().unwrap();
    follower.look_at_place();
    follower.step().unwrap();
    assert_eq!(follower.status().phase, Phase::Following);
    let (other, _) = bank(MemoryDisk::new(1281), false);
    let database = other.shared().core.log.database();
    Standing { role: Role::Mirror, ..Standing::primary(database) }.write(&*mirror).unwrap();
    let before = mirror.snapshot();
    write(&store, tree, 40..60);
    follower.look_at_place();
    assert_eq!(follower.step().unwrap_err().code, Code::MirrorDiverged);
    assert!(mirror.snapshot() == before);
    mirror.remove(standing::PATH).unwrap();
    assert_eq!(follower.step().unwrap_err().code, Code::IoError);
    assert_eq!(follower.status().phase, Phase::Lost);
}
