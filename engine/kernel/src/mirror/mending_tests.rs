//! Damage on one side is made good from the other.
#![allow(clippy::unwrap_used)]

use super::tests::*;
use super::*;
use crate::backup::tests::*;
use crate::disk::Disk;
use crate::disk::memory::MemoryDisk;
use crate::error::Code;
use crate::recovery::{DATA_PATH, Progress};
use crate::repair::{Elsewhere, Repairs, Source};
use crate::store::Store;
use crate::sync::Arc;
use crate::types::PageId;

const SIZE: u64 = 4096;

fn pages_on(disk: &MemoryDisk) -> u64 {
    disk.snapshot()[DATA_PATH].len() as u64 / SIZE
}

/// Damages every page of the database that is not in memory and that nothing near reaches.
fn damage_beyond_the_log(store: &Store, primary: &MemoryDisk) -> Vec<PageId> {
    let pool = &store.shared().core.pool;
    let whole = |id: &PageId| {
        pool.read_cached(*id).is_none()
            && pool.read_raw(*id).unwrap().validate(*id, store.shared().core.log.end()).is_ok()
    };
    let ids: Vec<PageId> = (0..pool.file_pages()).map(PageId).filter(whole).collect();
    for id in &ids {
        primary.flip_bit(DATA_PATH, u64::from(id.0) * SIZE + 700, 2).unwrap();
    }
    let repairs = Repairs::of(store.shared()).unwrap();
    let near = repairs.plan(&ids, &Elsewhere::default(), &mut || true).unwrap();
    let is_near = |id: &PageId| near.remedies.iter().any(|remedy| remedy.page == *id);
    for id in ids.iter().filter(|id| is_near(id)) {
        primary.flip_bit(DATA_PATH, u64::from(id.0) * SIZE + 700, 2).unwrap();
    }
    ids.into_iter().filter(|id| !is_near(id)).collect()
}

/// A mirrored database whose log no longer reaches back to its beginning.
fn aged(
    seed: u64,
    redoes: bool,
) -> (Store, crate::txn::TreeRef, Arc<MemoryDisk>, Arc<MemoryDisk>, Arc<Follower>) {
    let (store, tree, primary, mirror, follower) = mirrored(seed);
    for round in 0..8 {
        write(&store, tree, 1000 + 200 * round..1200 + 200 * round);
        store.checkpoint().unwrap();
        follower.step().unwrap();
        if redoes {
            follower.redo(false, &Progress::default()).unwrap().unwrap();
        }
    }
    store.checkpoint().unwrap();
    (store, tree, primary, mirror, follower)
}

fn repair_all(store: &Store, pages: &[PageId]) {
    let copies = copies_of(store.mirrors(), pages, &Progress::default()).unwrap();
    let repairs = Repairs::of(store.shared()).unwrap();
    for id in pages {
        repairs.repair(*id, &Elsewhere::default()).unwrap_err();
        let done = repairs.repair(*id, &copies).unwrap();
        assert_eq!((done.source, done.place.as_str()), (Source::Mirror, PLACE));
    }
}

/// Damages the pages of the database, and takes them from the mirror: they hold what they held.
fn assert_comes_back(
    store: &Store,
    primary: &MemoryDisk,
    tree: crate::txn::TreeRef,
    now: &[(Vec<u8>, Vec<u8>)],
) {
    store.shared().core.pool.write_out_all().unwrap();
    let damaged = damage_beyond_the_log(store, primary);
    assert!(!damaged.is_empty());
    repair_all(store, &damaged);
    assert!(contents(store, tree).as_slice() == now);
    assert_sound(store);
}

#[test]
fn a_page_of_the_database_that_the_log_does_not_reach_is_taken_from_the_mirror() {
    let (store, tree, primary, _mirror, _follower) = aged(1011, true);
    let before = contents(&store, tree);
    // What the mirror has not received yet comes from the log of the database.
    write(&store, tree, 5000..5100);
    let now = contents(&store, tree);
    assert!(before != now);
    assert_comes_back(&store, &primary, tree, &now);
}

#[test]
fn a_mirror_that_has_only_the_log_brings_its_page_up_to_date_with_it() {
    let (store, tree, primary, _mirror, follower) = aged(1021, false);
    assert!(follower.status().redone.is_none());
    let now = contents(&store, tree);
    assert_comes_back(&store, &primary, tree, &now);
}

#[test]
fn a_page_that_is_damaged_in_the_mirror_too_stays_damaged_with_its_own_error() {
    let (store, _, primary, mirror, follower) = aged(1031, true);
    store.shared().core.pool.write_out_all().unwrap();
    let damaged = damage_beyond_the_log(&store, &primary);
    for page in 0..pages_on(&mirror) {
        mirror.flip_bit(DATA_PATH, page * SIZE + 900, 3).unwrap();
    }
    let copies = copies_of(store.mirrors(), &damaged, &Progress::default()).unwrap();
    let repairs = Repairs::of(store.shared()).unwrap();
    // Of some the mirror's log has all there is.
    let is_lost = |id: &&PageId| copies.copies.iter().all(|copy| copy.page.id() != **id);
    let lost: Vec<_> = damaged.iter().filter(is_lost).collect();
    assert!(!lost.is_empty());
    for id in lost {
        let error = repairs.repair(*id, &copies).unwrap_err();
        assert!(error.is_page_damage(), "{error}");
    }
    follower.mend(&Progress::default()).unwrap_err();
}

#[test]
fn damaged_pages_of_a_mirror_are_mended_while_both_are_in_use() {
    let (store, tree, _, mirror, follower) = mirrored(1041);
    write(&store, tree, 40..200);
    store.checkpoint().unwrap();
    follower.step().unwrap();
    follower.redo(true, &Progress::default()).unwrap();
    for page in (0..pages_on(&mirror)).step_by(3) {
        mirror.flip_bit(DATA_PATH, page * SIZE + 900, 3).unwrap();
    }
    // The pages of the database are newer than what the mirror has.
    write(&store, tree, 200..400);
    let mended = follower.mend(&Progress::default()).unwrap();
    assert!(mended > 10, "{mended}");
    assert_eq!(follower.mend(&Progress::default()).unwrap(), 0);
    assert_eq!((follower.status().mended, follower.status().copies), (mended, 1));
    write(&store, tree, 400..450);
    store.checkpoint().unwrap();
    follower.step().unwrap();
    follower.redo(false, &Progress::default()).unwrap().unwrap();
    let now = contents(&store, tree);
    let taken = taken_over(&copy_of(&mirror), None);
    assert!(contents(&taken, tree_of(&taken)) == now);
    assert_sound(&taken);
}

#[test]
fn a_page_that_a_mirror_lost_to_zeros_is_mended_too() {
    let (store, tree, _, mirror, follower) = mirrored(1051);
    write(&store, tree, 40..200);
    store.checkpoint().unwrap();
    follower.step().unwrap();
    follower.redo(true, &Progress::default()).unwrap();
    let file = mirror.open(DATA_PATH, crate::disk::OpenMode::Write).unwrap();
    let lost = pages_on(&mirror) / 2;
    file.write_at(&[0; SIZE as usize], lost * SIZE).unwrap();
    file.sync().unwrap();
    follower.mend(&Progress::default()).unwrap();
    let now = contents(&store, tree);
    let taken = taken_over(&copy_of(&mirror), None);
    assert!(contents(&taken, tree_of(&taken)) == now);
    assert_sound(&taken);
}

#[test]
fn a_mirror_that_is_killed_while_it_is_mended_is_mended_the_next_time() {
    let mut cut_off = 0;
    for nth in 1..30 {
        let (store, tree, _, mirror, follower) = mirrored(1100 + nth);
        write(&store, tree, 40..80);
        for page in (0..pages_on(&mirror)).step_by(2) {
            mirror.flip_bit(DATA_PATH, page * SIZE + 900, 3).unwrap();
        }
        mirror.crash_after(nth);
        cut_off += u64::from(follower.mend(&Progress::default()).is_err());
        drop(follower);
        store.mirrors().remove(PLACE, false).unwrap();
        let mirror = mirror.reopen();
        let back = store.mirrors().add_on(PLACE, mirror.clone(), false).unwrap();
        back.step().unwrap();
        back.mend(&Progress::default()).unwrap();
        store.checkpoint().unwrap();
        back.step().unwrap();
        back.redo(true, &Progress::default()).unwrap();
        let now = contents(&store, tree);
        let taken = taken_over(&copy_of(&mirror), None);
        assert!(contents(&taken, tree_of(&taken)) == now, "call {nth}");
        assert_sound(&taken);
    }
    assert!(cut_off > 5, "{cut_off}");
}

/// A database that lost power at work, with its mirror; the pages that redo needs and the log alone
/// does not bring back, and what the database held.
struct Crashed {
    files: std::collections::BTreeMap<String, Vec<u8>>,
    mirror: Arc<MemoryDisk>,
    needed: Vec<u64>,
    held: Vec<(Vec<u8>, Vec<u8>)>,
}

fn crashed(seed: u64) -> Crashed {
    let (store, tree, primary, mirror, follower) = aged(seed, true);
    write(&store, tree, 5000..5040);
    follower.step().unwrap();
    // What the mirror has not received is in the log of the database.
    write(&store, tree, 5040..5080);
    let held = contents(&store, tree);
    drop((store, follower));
    let primary = primary.reopen();
    let mut files = primary.snapshot();
    files.remove(crate::buffer::DOUBLEWRITE_PATH);

    let all = 0..files[DATA_PATH].len() as u64 / SIZE;
    let error = recover_with(&files, &all.collect::<Vec<_>>(), None).err().unwrap();
    assert_eq!(error.code, Code::InconsistentState, "{error}");
    let Some(crate::error::Field::List(told)) = error.field("diagnostics") else { panic!("{error:?}") };
    let page = |line: &String| line.split([' ', ':']).nth(1).unwrap().parse().unwrap();
    Crashed { needed: told.iter().map(page).collect(), files, mirror, held }
}

fn damaged_disk(files: &std::collections::BTreeMap<String, Vec<u8>>, pages: &[u64]) -> Arc<MemoryDisk> {
    let disk = MemoryDisk::from_snapshot(3, files);
    for page in pages {
        disk.flip_bit(DATA_PATH, page * SIZE + 700, 2).unwrap();
    }
    disk
}

fn with_help(mirror: Option<&Arc<MemoryDisk>>) -> crate::store::StoreOptions {
    let mut options = options(false);
    let disks = mirror.map(|mirror| (PLACE.to_owned(), dynamic(mirror)));
    options.opening.helpers.0.push(Arc::new(FromMirrors(disks.into_iter().collect())));
    options
}

fn recover_with(
    files: &std::collections::BTreeMap<String, Vec<u8>>,
    pages: &[u64],
    mirror: Option<&Arc<MemoryDisk>>,
) -> crate::error::Result<Store> {
    Store::open_recovering(damaged_disk(files, pages), &with_help(mirror), &Progress::default())
}

#[test]
fn a_page_that_a_recovery_cannot_redo_is_taken_from_the_mirror() {
    let crashed = crashed(1401);
    assert!(crashed.needed.len() > 2, "{:?}", crashed.needed);
    let error = recover_with(&crashed.files, &crashed.needed, None).err().unwrap();
    assert_eq!(error.code, Code::InconsistentState);
    let before = crashed.mirror.snapshot();
    let store = recover_with(&crashed.files, &crashed.needed, Some(&crashed.mirror)).unwrap();
    assert!(contents(&store, tree_of(&store)) == crashed.held);
    assert_sound(&store);
    assert!(crashed.mirror.snapshot() == before, "the mirror is only read");
    let told = store.shared().events.drain(10_000).0;
    let is_from_mirror = |event: &&crate::events::Event| {
        event.fields.iter().any(|(name, value)| *name == "source" && *value == "mirror".into())
    };
    assert_eq!(told.iter().filter(is_from_mirror).count(), crashed.needed.len());
}

#[test]
fn a_page_that_is_damaged_in_the_mirror_too_stays_what_a_recovery_cannot_redo() {
    let crashed = crashed(1421);
    for page in 0..pages_on(&crashed.mirror) {
        crashed.mirror.flip_bit(DATA_PATH, page * SIZE + 900, 3).unwrap();
    }
    for name in crashed.mirror.list("wal").unwrap() {
        crashed.mirror.remove(&format!("wal/{name}")).unwrap();
    }
    let done = recover_with(&crashed.files, &crashed.needed, Some(&crashed.mirror));
    assert_eq!(done.err().unwrap().code, Code::InconsistentState);
}

/// Open before its redo, with what a repair may take from elsewhere.
fn open_early(crashed: &Crashed, mirror: Option<&Arc<MemoryDisk>>, background: bool) -> Store {
    let options = crate::store::StoreOptions { background, ..with_help(mirror) };
    let disk = damaged_disk(&crashed.files, &crashed.needed);
    Store::open_on_demand(disk, &options, &Progress::default()).unwrap()
}

fn count_of(events: &[crate::events::Event], kind: &str, source: Option<&str>) -> usize {
    let is_of = |event: &crate::events::Event| {
        let mut fields = event.fields.iter();
        source.is_none_or(|source| {
            fields.any(|(name, value)| *name == "source" && *value == source.into())
        })
    };
    events.iter().filter(|event| event.kind == kind && is_of(event)).count()
}

#[test]
fn a_reader_in_a_database_that_opened_early_waits_for_a_page_from_the_mirror() {
    let crashed = crashed(1431);
    let before = crashed.mirror.snapshot();
    let store = open_early(&crashed, Some(&crashed.mirror), true);
    assert!(contents(&store, tree_of(&store)) == crashed.held);
    store.finish_recovery(&Progress::default()).unwrap();
    assert_sound(&store);
    assert!(crashed.mirror.snapshot() == before, "the mirror is only read");
    let told = store.shared().events.drain(10_000).0;
    assert_eq!(count_of(&told, "page_repaired", Some("mirror")), crashed.needed.len());
    assert_eq!(count_of(&told, "page_set_apart", None), 0);
    store.close().unwrap();
}

#[test]
fn the_redo_behind_an_early_opening_takes_pages_from_the_mirror_too() {
    let crashed = crashed(1441);
    let store = open_early(&crashed, Some(&crashed.mirror), false);
    store.finish_recovery(&Progress::default()).unwrap();
    let recovery = store.recovery().unwrap();
    assert!(recovery.standing.is_complete && recovery.standing.damaged.is_empty(), "{recovery:?}");
    assert!(contents(&store, tree_of(&store)) == crashed.held);
    assert_sound(&store);
}

#[test]
fn a_page_that_nobody_has_is_set_apart_once_the_mirror_was_asked() {
    let crashed = crashed(1451);
    assert!(crashed.needed.len() > 2, "{:?}", crashed.needed);
    for page in 0..pages_on(&crashed.mirror) {
        crashed.mirror.flip_bit(DATA_PATH, page * SIZE + 900, 3).unwrap();
    }
    for name in crashed.mirror.list("wal").unwrap() {
        crashed.mirror.remove(&format!("wal/{name}")).unwrap();
    }
    // Not one that the opening itself cannot do without.
    let needed = vec![*crashed.needed.last().unwrap()];
    let crashed = Crashed { needed, ..crashed };
    for background in [true, false] {
        let store = open_early(&crashed, Some(&crashed.mirror), background);
        let page = PageId(crashed.needed[0] as u32);
        let error = store.shared().core.pool.read(page).err().unwrap();
        assert!(error.is_page_damage(), "{error}");
        store.finish_redo(&Progress::default()).unwrap();
        let recovery = store.recovery().unwrap();
        assert_eq!(recovery.stage, "stuck");
        assert_eq!(recovery.standing.damaged.len(), crashed.needed.len());
        let told = store.shared().events.drain(10_000).0;
        assert_eq!(count_of(&told, "page_set_apart", None), crashed.needed.len(), "{background}");
        let apart = Repairs::of(store.shared()).unwrap().set_apart();
        assert_eq!(apart.len(), crashed.needed.len());
        store.close().unwrap();
    }
}
