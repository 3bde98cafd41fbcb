//! Damaged pages whose history is not in the log any more, made whole from backups.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;

use super::increment_tests::{Contents, Folder, contents, fill};
use super::tests::*;
use super::*;
use crate::disk::{Disk, OpenMode};
use crate::page::Page;
use crate::recovery::DATA_PATH;
use crate::repair::{Elsewhere, Plan, Repairs, Source};
use crate::store::StoreOptions;
use crate::types::PageId;

/// Bytes of a page before its records.
const HEAD: usize = 128;

/// A database with a backup in "chain" that has changed much since, and its log cleaned up.
struct Worked {
    folder: Folder,
    disk: Arc<dyn Disk>,
    store: Store,
    state: Contents,
    /// Every page as it was before the damage.
    whole: Vec<(PageId, Page)>,
}

impl Worked {
    fn new(name: &str, archive: bool) -> Worked {
        let folder = Folder::new(name);
        std::fs::create_dir(folder.0.join("chain")).unwrap();
        let disk: Arc<dyn Disk> = Arc::new(OsDisk::new(&folder.0.join("db")));
        let store = Store::create(Arc::clone(&disk), &cached(4 << 20, archive)).unwrap();
        fill(&store, "cold", 0..3000, 1);
        fill(&store, "hot", 0..1000, 1);
        folder.full(&store, "chain/full-0").unwrap();
        fill(&store, "hot", 0..1000, 2);
        folder.increment(&store, "chain/incr-1", "chain/full-0").unwrap();
        fill(&store, "hot", 500..1000, 3);
        fill(&store, "new", 0..500, 4);
        let state = contents(&store);
        for _ in 0..3 {
            store.shared().core.log.rotate().unwrap();
            store.checkpoint().unwrap();
        }
        store.close().unwrap();
        // Opened again with hardly any of its pages in memory.
        let store = Store::open(Arc::clone(&disk), &cached(48 * 4096, archive)).unwrap();
        let pool = &store.shared().core.pool;
        let pages = (0..pool.file_pages()).map(PageId);
        let whole = pages.map(|id| (id, pool.read_raw(id).unwrap())).collect();
        Worked { folder, disk, store, state, whole }
    }

    /// Damages every page that is not in memory: its middle, or its head too.
    fn damage(&self, with_head: bool) -> Vec<PageId> {
        let pool = &self.store.shared().core.pool;
        let file = self.disk.open(DATA_PATH, OpenMode::Write).unwrap();
        let mut damaged = Vec::new();
        for id in (0..pool.file_pages()).map(PageId) {
            let is_whole = pool.read_raw(id).unwrap().validate(id, Lsn::MAX).is_ok();
            if is_whole && pool.read_cached(id).is_none() {
                let place = u64::from(id.0) * pool.page_size() as u64;
                file.write_at(b"what a failing disk left", place + 900).unwrap();
                if with_head {
                    file.write_at(&[0; 64], place).unwrap();
                }
                damaged.push(id);
            }
        }
        assert!(damaged.len() > 150, "{}", damaged.len());
        damaged
    }

    fn copies(&self, pages: &[PageId]) -> Elsewhere {
        let (folders, logs) = ([self.folder.0.join("chain")], [self.folder.0.join("db")]);
        copies_of(&self.store, &folders, &logs, pages, None, &Progress::default()).unwrap()
    }

    fn plan(&self, pages: &[PageId], elsewhere: &Elsewhere) -> Plan {
        let repairs = Repairs::of(self.store.shared()).unwrap();
        repairs.plan(pages, elsewhere, &mut || true).unwrap()
    }

    fn repair_all(&self, pages: &[PageId], elsewhere: &Elsewhere) {
        for id in pages {
            Repairs::of(self.store.shared()).unwrap().repair(*id, elsewhere).unwrap();
        }
    }
}

fn cached(cache_bytes: u64, archive: bool) -> StoreOptions {
    let mut options = options(false);
    options.opening.cache_bytes = cache_bytes;
    options.opening.log.segment_bytes = 256 << 10;
    options.opening.log.archive = archive;
    options
}

fn archived(worked: &Worked) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(worked.folder.0.join("db/archive")).unwrap();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

#[test]
fn pages_whose_history_is_gone_from_the_log_come_back_from_a_backup_and_the_archive() {
    let worked = Worked::new("copies-archive", true);
    let damaged = worked.damage(true);
    let alone = worked.plan(&damaged, &Elsewhere::default());
    assert!(alone.remedies.len() < damaged.len() / 4, "{}", alone.remedies.len());
    let elsewhere = worked.copies(&damaged);
    let plan = worked.plan(&damaged, &elsewhere);
    assert_eq!((plan.remedies.len(), plan.unhelped.len()), (damaged.len(), 0));
    let of = |source| plan.remedies.iter().filter(move |remedy| remedy.source == source);
    assert!(of(Source::Backup).all(|remedy| remedy.place.contains("incr-1")));
    assert!(of(Source::Backup).any(|remedy| remedy.changes > 0));
    assert!(of(Source::Archive).count() > 5, "what began after the backup");
    worked.repair_all(&damaged, &elsewhere);
    assert!(contents(&worked.store) == worked.state);
    assert_sound(&worked.store);
}

#[test]
fn what_has_not_changed_since_the_backup_needs_no_log() {
    let worked = Worked::new("copies-same", false);
    let damaged = worked.damage(false);
    let elsewhere = worked.copies(&damaged);
    assert!(elsewhere.why().is_some(), "the log since then is not kept");
    let plan = worked.plan(&damaged, &elsewhere);
    // The checksum in the damaged page is that of the page in the backup.
    let from_backup = plan.remedies.iter().filter(|remedy| remedy.source == Source::Backup);
    assert!(from_backup.count() > 100, "{plan:?}");
    assert!(plan.unhelped.len() > 5, "{plan:?}");
    assert!(plan.unhelped[0].1.contains("incr-1"), "{plan:?}");
    let repaired: Vec<PageId> = plan.remedies.iter().map(|remedy| remedy.page).collect();
    worked.repair_all(&repaired, &elsewhere);
    let pool = &worked.store.shared().core.pool;
    for id in repaired {
        let page = pool.read_cached(id).map_or_else(|| pool.read_raw(id).unwrap(), |page| page.clone());
        // Its image in the log gave it a new LSN; what it holds is what it held.
        let (_, before) = worked.whole.iter().find(|(known, _)| *known == id).unwrap();
        assert!(page.bytes()[HEAD..] == before.bytes()[HEAD..], "page {id}");
    }
}

#[test]
fn a_page_that_has_changed_since_is_never_put_back_to_its_state_in_the_backup() {
    let worked = Worked::new("copies-changed", false);
    let damaged = worked.damage(false);
    let elsewhere = worked.copies(&damaged);
    let plan = worked.plan(&damaged, &elsewhere);
    let (page, why) = plan.unhelped[0].clone();
    let error = Repairs::of(worked.store.shared()).unwrap().repair(page, &elsewhere).unwrap_err();
    assert_eq!(error.code, Code::ChecksumMismatch);
    let cause = error.cause.unwrap();
    assert_eq!(cause.code, Code::PointNotReached);
    assert_eq!(cause.field("reason"), Some(&why.into()));
    // Without the head nothing tells that a page is as it was.
    let worked = Worked::new("copies-headless", false);
    let damaged = worked.damage(true);
    let plan = worked.plan(&damaged, &worked.copies(&damaged));
    assert!(plan.remedies.iter().all(|remedy| remedy.source != Source::Backup), "{plan:?}");
}

#[test]
fn a_gap_in_the_archive_is_named() {
    let worked = Worked::new("copies-gap", true);
    let archived = archived(&worked);
    let missing = &archived[archived.len() - 2];
    std::fs::remove_file(missing).unwrap();
    let damaged = worked.damage(true);
    let plan = worked.plan(&damaged, &worked.copies(&damaged));
    assert!(plan.unhelped.len() > 100, "{plan:?}");
    let name = missing.file_name().unwrap().to_str().unwrap();
    assert!(plan.unhelped.iter().all(|(_, why)| why.contains("gap") && why.contains(name)), "{plan:?}");
}

#[test]
fn a_backup_of_another_history_counts_only_where_it_is_what_was_written_last() {
    let worked = Worked::new("copies-foreign", true);
    marks::forget(&*worked.disk).unwrap();
    let damaged = worked.damage(false);
    let elsewhere = worked.copies(&damaged);
    let plan = worked.plan(&damaged, &elsewhere);
    assert!(plan.remedies.iter().filter(|remedy| remedy.source == Source::Backup).count() > 100);
    assert!(plan.remedies.iter().all(|remedy| remedy.source != Source::Archive));
    assert!(plan.unhelped.iter().any(|(_, why)| why.contains("another history")), "{plan:?}");
}

#[test]
fn a_damaged_backup_is_passed_over_for_an_older_one() {
    let worked = Worked::new("copies-older", true);
    let newest = worked.folder.0.join("chain/incr-1").join(PAGES);
    std::fs::write(&newest, b"no longer what it was").unwrap();
    let damaged = worked.damage(true);
    let elsewhere = worked.copies(&damaged);
    let plan = worked.plan(&damaged, &elsewhere);
    assert_eq!((plan.remedies.len(), plan.unhelped.len()), (damaged.len(), 0));
    worked.repair_all(&damaged, &elsewhere);
    assert!(contents(&worked.store) == worked.state);
}
