//! Increments: what they hold, what comes back from them, and which ones are refused.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::chain::Link;
use super::restore::{Pass, restore_links};
use super::tests::*;
use super::*;
use crate::disk::memory::MemoryDisk;
use crate::disk::{Disk, OpenMode};
use crate::page::Page;
use crate::recovery::DATA_PATH;
use crate::txn::{CatalogueKind, Range, Transaction, TreeRef};
use crate::types::PageId;

/// A directory of a chain that goes with the test.
pub(super) struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        let place = std::env::temp_dir().join(format!("holdfast-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&place);
        std::fs::create_dir_all(&place).unwrap();
        Folder(place)
    }

    pub fn full(&self, store: &Store, name: &str) -> Result<Summary> {
        take(store, &self.0.join(name), &Wanted::default(), &Progress::default())
    }

    pub fn increment(&self, store: &Store, name: &str, parent: &str) -> Result<Summary> {
        let parent = self.0.join(parent);
        let wanted = Wanted { parent: Some(&parent), ..Wanted::default() };
        take(store, &self.0.join(name), &wanted, &Progress::default())
    }

    /// The database of one backup of the chain, restored and recovered in memory.
    fn restored(&self, name: &str) -> Store {
        recovered(self.copied(name).unwrap())
    }

    fn copied(&self, name: &str) -> Result<Arc<MemoryDisk>> {
        let chain = Chain::open(&self.0.join(name), None)?;
        let disk = MemoryDisk::new(77);
        let done = restore_links(&chain.links(), &*disk, &Progress::default());
        assert!(done.is_ok() || disk.snapshot().is_empty(), "an error leaves nothing behind");
        done.map(|_| disk)
    }

    fn verify(&self, name: &str) -> Result<Summary> {
        verify(&self.0.join(name), None, &Progress::default())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) type Rows = Vec<(Vec<u8>, Vec<u8>)>;
pub(crate) type Contents = BTreeMap<String, Rows>;

/// Everything that is stored, by tree.
pub(crate) fn contents(store: &Store) -> Contents {
    let mut txn = begin(store);
    let trees = txn.catalogue(CatalogueKind::Tree).unwrap();
    trees.into_iter().map(|entry| (entry.name, rows(&mut txn, entry.tree))).collect()
}

fn rows(txn: &mut Transaction, tree: TreeRef) -> Rows {
    let (mut found, mut from) = (Vec::new(), None);
    loop {
        let batch = txn.scan(tree, &Range::default(), from.as_deref(), 256).unwrap();
        found.extend(batch.records);
        match batch.next {
            Some(next) => from = Some(next),
            None => return found,
        }
    }
}

/// Puts records `numbers` of 200 bytes into a tree.
pub(super) fn fill(store: &Store, name: &str, numbers: std::ops::Range<u32>, value: u8) {
    let mut txn = begin(store);
    let tree = txn.tree(name, true).unwrap().unwrap();
    for number in numbers {
        txn.put(tree, format!("{number:08}").as_bytes(), &[value; 200]).unwrap();
    }
    txn.commit().unwrap();
}

fn drop_tree(store: &Store, name: &str) {
    let mut txn = begin(store);
    assert!(txn.drop_tree(CatalogueKind::Tree, name).unwrap());
    txn.commit().unwrap();
    store.maintain().unwrap();
    store.maintain().unwrap();
}

#[test]
fn a_chain_under_eight_writers_is_the_committed_state_at_the_end_of_each_of_its_backups() {
    let folder = Folder::new("chain-writers");
    let (store, tree) = bank(MemoryDisk::new(1), true);
    fill(&store, "cold", 0..4000, 1);
    let mut taken = Vec::new();
    let commits = while_writers_transfer(&store, tree, 3000, || {
        let full = folder.full(&store, "full-0").unwrap();
        taken.push(("full-0".to_owned(), full));
        for round in 1..6 {
            let (name, parent) = (format!("incr-{round}"), taken[taken.len() - 1].0.clone());
            let summary = folder.increment(&store, &name, &parent).unwrap();
            assert_eq!(
                (summary.sequence, summary.parent.as_deref()),
                (round + 1, Some(parent.as_str()))
            );
            taken.push((name, summary));
        }
    });
    for (name, summary) in taken {
        folder.verify(&name).unwrap();
        let restored = folder.restored(&name);
        assert_eq!(total(&restored, tree), ACCOUNTS * START, "{name}");
        let mut txn = begin(&restored);
        assert_as_committed_before(&mut txn, tree, &commits, summary.end_lsn, &name);
        let cold = txn.tree("cold", false).unwrap().unwrap();
        assert_eq!(rows(&mut txn, cold).len(), 4000);
        drop(txn);
        assert_sound(&restored);
    }
}

#[test]
fn pages_that_were_freed_reused_added_or_left_alone_come_back_as_they_were() {
    let folder = Folder::new("chain-pages");
    let store = Store::create(MemoryDisk::new(2), &options(false)).unwrap();
    fill(&store, "cold", 0..3000, 1);
    fill(&store, "gone", 0..3000, 2);
    let mut names = vec!["full-0".to_owned()];
    folder.full(&store, "full-0").unwrap();
    let mut states = vec![contents(&store)];
    let steps: [&dyn Fn(); 6] = [
        // Freed, and nothing in its place.
        &|| drop_tree(&store, "gone"),
        // The same pages, in use again for something else.
        &|| fill(&store, "new", 0..2000, 3),
        // Beyond the end of the file, as far as it was.
        &|| fill(&store, "large", 0..9000, 4),
        // Nothing at all.
        &|| (),
        &|| drop_tree(&store, "large"),
        &|| fill(&store, "new", 500..600, 5),
    ];
    for (round, step) in steps.iter().enumerate() {
        step();
        let name = format!("incr-{round}");
        folder.increment(&store, &name, &names[names.len() - 1]).unwrap();
        names.push(name);
        states.push(contents(&store));
    }
    for (name, state) in names.iter().zip(&states) {
        folder.verify(name).unwrap();
        let restored = folder.restored(name);
        assert!(contents(&restored) == *state, "{name}");
        assert_sound(&restored);
        // What is restored can be written to, in the pages that were freed too.
        fill(&restored, "after", 0..2000, 9);
        assert_sound(&restored);
    }
}

#[test]
fn an_increment_after_one_page_in_a_hundred_has_changed_is_below_three_in_a_hundred() {
    let folder = Folder::new("chain-size");
    let mut options = options(false);
    // As it is by default: what lies before the increment in its segment is not to come along.
    options.opening.log.segment_bytes = 64 << 20;
    let store = Store::create(MemoryDisk::new(3), &options).unwrap();
    let mut seed = 7u64;
    let mut noise = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 56) as u8
    };
    let mut put = |numbers: Vec<u32>| {
        let mut txn = begin(&store);
        let tree = txn.tree("t", true).unwrap().unwrap();
        for number in numbers {
            let value: Vec<u8> = (0..200).map(|_| noise()).collect();
            txn.put(tree, &number.to_be_bytes(), &value).unwrap();
        }
        txn.commit().unwrap();
    };
    // About 40 MB that do not compress.
    for part in 0..20 {
        put((part * 10_000..(part + 1) * 10_000).collect());
    }
    let full = folder.full(&store, "full-0").unwrap();
    let pages = full.pages;
    // Neighbours, so that they are in one page in a hundred.
    put((100_000..102_000).collect());
    let increment = folder.increment(&store, "incr-1", "full-0").unwrap();
    assert!(
        increment.pages >= pages / 100 && increment.pages < pages / 50,
        "{} of {pages}",
        increment.pages
    );
    assert!(increment.bytes * 100 < 3 * pages * 4096, "{} of {}", increment.bytes, pages * 4096);
}

#[test]
fn an_increment_is_refused_where_its_parent_is_missing_damaged_or_of_another_history() {
    let folder = Folder::new("chain-refused");
    let refused = |store: &Store, parent: &str, why: &str| {
        let error = folder.increment(store, "incr-9", parent).unwrap_err();
        assert_eq!(error.code, Code::IncrementRefused, "{error}");
        let reason = format!("{:?}", error.field("reason"));
        assert!(reason.contains(why), "{reason}");
        assert!(!folder.0.join("incr-9").exists());
    };
    let (store, tree) = bank(MemoryDisk::new(4), false);
    refused(&store, "full-0", "missing");
    folder.full(&store, "full-0").unwrap();
    transfer(&store, tree, 0, 1);
    folder.increment(&store, "incr-1", "full-0").unwrap();

    let (other, _) = bank(MemoryDisk::new(5), false);
    refused(&other, "full-0", "another database");

    // Restored meanwhile, from before the newest backup; and gone on beyond it, so that its LSNs
    // are as high as those of the backup.
    let restored = folder.restored("full-0");
    refused(&restored, "incr-1", "");
    refused(&restored, "full-0", "does not remember");
    fill(&restored, "elsewhere", 0..2000, 1);
    refused(&restored, "incr-1", "does not remember");

    let page_file = folder.0.join("full-0").join(PAGES);
    let whole = std::fs::read(&page_file).unwrap();
    std::fs::write(&page_file, &whole[..whole.len() - 1]).unwrap();
    refused(&store, "incr-1", "damaged");
    std::fs::remove_file(&page_file).unwrap();
    refused(&store, "incr-1", "damaged");
    std::fs::write(&page_file, &whole).unwrap();
    folder.increment(&store, "incr-2", "incr-1").unwrap();
    std::fs::remove_dir_all(folder.0.join("full-0")).unwrap();
    refused(&store, "incr-2", "missing");
    assert_eq!(folder.verify("incr-2").unwrap_err().code, Code::BackupDamaged);
    assert_eq!(folder.copied("incr-2").err().unwrap().code, Code::BackupDamaged);
}

#[test]
fn what_a_database_remembers_survives_its_closing_and_its_crashes() {
    let folder = Folder::new("chain-memory");
    let disk = MemoryDisk::new(6);
    let (store, tree) = bank(disk.clone(), false);
    folder.full(&store, "full-0").unwrap();
    transfer(&store, tree, 0, 1);
    store.close().unwrap();
    drop(store);
    let store = Store::open(disk.clone(), &options(false)).unwrap();
    transfer(&store, tree, 0, 2);
    folder.increment(&store, "incr-1", "full-0").unwrap();
    transfer(&store, tree, 0, 3);
    drop(store);
    disk.crash(3);
    let store = recovered(disk.reopen());
    folder.increment(&store, "incr-2", "incr-1").unwrap();
    let restored = folder.restored("incr-2");
    assert!(contents(&restored) == contents(&store));
    assert_sound(&restored);
}

#[test]
fn damage_to_any_file_of_any_backup_of_a_chain_is_found() {
    let folder = Folder::new("chain-damage");
    let (store, tree) = bank(MemoryDisk::new(7), false);
    folder.full(&store, "full-0").unwrap();
    let mut parent = "full-0".to_owned();
    for round in 1..4 {
        transfer(&store, tree, round, round);
        let name = format!("incr-{round}");
        folder.increment(&store, &name, &parent).unwrap();
        parent = name;
    }
    folder.verify("incr-3").unwrap();
    let mut looked = 0;
    for member in ["full-0", "incr-1", "incr-2", "incr-3"] {
        let disk = OsDisk::new(&folder.0.join(member));
        let manifest = Manifest::read(&disk).unwrap();
        let names = manifest.pieces.iter().map(|piece| piece.name.clone()).chain([MANIFEST.to_owned()]);
        for name in names {
            let path = folder.0.join(member).join(&name);
            let whole = std::fs::read(&path).unwrap();
            for place in [0, whole.len() / 2, whole.len() - 3] {
                let mut flipped = whole.clone();
                flipped[place] ^= 0x20;
                std::fs::write(&path, &flipped).unwrap();
                let error = folder.verify("incr-3").unwrap_err();
                assert_eq!(error.code, Code::BackupDamaged, "{member} {name} {error}");
                assert!(format!("{:?}", error.field("path")).contains(member), "{error}");
                looked += 1;
            }
            std::fs::write(&path, &whole).unwrap();
        }
    }
    assert!(looked > 40);
    folder.verify("incr-3").unwrap();
    // Two backups of a chain that changed places.
    for (from, to) in [("incr-1", "x"), ("incr-2", "incr-1"), ("x", "incr-2")] {
        std::fs::rename(folder.0.join(from), folder.0.join(to)).unwrap();
    }
    assert_eq!(folder.verify("incr-3").unwrap_err().code, Code::BackupDamaged);
}

#[test]
fn an_increment_of_a_truncated_data_file_is_refused_by_page() {
    let folder = Folder::new("chain-truncated");
    let disk = MemoryDisk::new(8);
    let store = Store::create(disk.clone(), &options(false)).unwrap();
    fill(&store, "cold", 0..3000, 1);
    folder.full(&store, "full-0").unwrap();
    fill(&store, "warm", 0..300, 1);
    store.close().unwrap();
    drop(store);
    let file = disk.open(DATA_PATH, OpenMode::Write).unwrap();
    let half = file.size().unwrap() / 2 / 4096;
    file.truncate(half * 4096).unwrap();
    let store = Store::open(disk, &options(false)).unwrap();
    let error = folder.increment(&store, "incr-1", "full-0").unwrap_err();
    assert_eq!(error.code, Code::PageNotFound, "{error}");
    assert_eq!(folder.full(&store, "full-2").unwrap_err().code, Code::PageNotFound);
    assert!(!folder.0.join("incr-1").exists());
}

/// A page that the increment leaves to the full backup, in which it is of another moment.
#[test]
fn a_page_of_another_moment_in_the_backup_below_is_found() {
    let store = Store::create(MemoryDisk::new(9), &options(false)).unwrap();
    fill(&store, "t", 0..200, 1);
    let (full, increment) = (MemoryDisk::new(10), MemoryDisk::new(11));
    take_to(&store, &*full, &Progress::default()).unwrap();
    let manifest = Manifest::read(&*full).unwrap();
    let base = Base { name: "full".to_owned(), manifest: manifest.clone() };
    let how = Taken { base: Some(base), ..Taken::default() };
    take_with(&store, &*increment, how, &Progress::default()).unwrap();
    let child = Manifest::read(&*increment).unwrap();
    // The forged one says that it is the parent, and its page is valid, only older.
    let forged = MemoryDisk::from_snapshot(1, &full.snapshot());
    let mut packer = packer::Packer::create(&*forged, PAGES, None).unwrap();
    packer.write(&PAGES_MAGIC).unwrap();
    packer.write(&4096u32.to_le_bytes()).unwrap();
    let mut pages = Vec::new();
    let links = [Link { disk: &*full, manifest: &manifest, place: String::new(), seal: None }];
    let mut layer = pages::Layer::open(&links).unwrap();
    let mut page = Page::zeroed(4096);
    while let Some(id) = layer.next(&mut page).unwrap() {
        pages.push((id, page.clone()));
    }
    let last = pages.len() - 1;
    let older = Lsn(pages[last].1.lsn().0 - 1);
    pages[last].1.set_lsn(older);
    pages[last].1.seal();
    for (id, page) in &pages {
        packer.write(&id.0.to_le_bytes()).unwrap();
        packer.write(page.bytes()).unwrap();
    }
    packer.write(&PageId::NONE.0.to_le_bytes()).unwrap();
    packer.write(&(pages.len() as u32).to_le_bytes()).unwrap();
    let (bytes, hash) = packer.finish().unwrap();
    let mut lie = manifest.clone();
    let piece = lie.pieces.iter_mut().find(|piece| piece.name == PAGES).unwrap();
    (piece.bytes, piece.hash) = (bytes, hash);
    let links = [
        Link { disk: &*increment, manifest: &child, place: "increment".to_owned(), seal: None },
        Link { disk: &*forged, manifest: &lie, place: "full".to_owned(), seal: None },
    ];
    let error = Pass::new(&links, None, &Progress::default()).unwrap().run().unwrap_err();
    assert_eq!(error.code, Code::BackupDamaged);
    assert!(format!("{:?}", error.field("detail")).contains("another moment"), "{error}");
}

#[test]
fn an_increment_that_is_cut_off_at_any_call_never_looks_whole() {
    let store = Store::create(MemoryDisk::new(12), &options(false)).unwrap();
    fill(&store, "t", 0..300, 1);
    let full = MemoryDisk::new(13);
    take_to(&store, &*full, &Progress::default()).unwrap();
    let manifest = Manifest::read(&*full).unwrap();
    let base = Base { name: "full".to_owned(), manifest: manifest.clone() };
    fill(&store, "t", 100..120, 2);
    let (mut cut, mut whole) = (0, 0);
    for nth in 1..60 {
        let target = MemoryDisk::new(100 + nth);
        target.crash_after(nth);
        let how = Taken { base: Some(base.clone()), ..Taken::default() };
        let taken = take_with(&store, &*target, how, &Progress::default());
        let left = target.reopen();
        match Manifest::read(&*left) {
            Err(error) => {
                assert_eq!(error.code, Code::BackupDamaged);
                assert!(taken.is_err());
                cut += 1;
            }
            Ok(child) => {
                let links = [
                    Link { disk: &*left, manifest: &child, place: String::new(), seal: None },
                    Link { disk: &*full, manifest: &manifest, place: String::new(), seal: None },
                ];
                Pass::new(&links, None, &Progress::default()).unwrap().run().unwrap();
                whole += 1;
            }
        }
    }
    assert!(cut > 5 && whole > 5, "{cut} {whole}");
}

#[test]
fn a_throttled_backup_takes_its_time_and_can_be_cancelled() {
    let store = Store::create(MemoryDisk::new(14), &options(false)).unwrap();
    fill(&store, "t", 0..3000, 1);
    let progress = Progress::new();
    let how = Taken { bytes_per_second: 1 << 20, ..Taken::default() };
    let done = take_with(&store, &*MemoryDisk::new(15), how, &progress).unwrap();
    let read = done.pages * 4096;
    assert!(done.seconds > (read as f64 / f64::from(1 << 20)) * 0.5, "{} s for {read}", done.seconds);
    let target = MemoryDisk::new(16);
    let how = Taken { bytes_per_second: 1, ..Taken::default() };
    std::thread::scope(|scope| {
        let taking = scope.spawn(|| take_with(&store, &*target, how, &progress));
        while progress.look().0 != "pages" || progress.look().2 == 0 {
            std::thread::yield_now();
        }
        progress.cancel();
        assert_eq!(taking.join().unwrap().unwrap_err().code, Code::Cancelled);
    });
    assert!(target.snapshot().is_empty());
}
