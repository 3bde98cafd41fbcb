//! Backups that were damaged, and backups that were forged: seals right, content wrong.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use proptest::prelude::*;

use super::*;
use crate::disk::memory::MemoryDisk;
use crate::store::StoreOptions;
use crate::txn::Isolation;

type Files = BTreeMap<String, Vec<u8>>;

/// A small backup, made once.
fn backup() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(|| {
        let mut options = StoreOptions { background: false, page_size: 4096, ..StoreOptions::default() };
        options.opening.log.segment_bytes = 256 << 10;
        options.opening.log.background = false;
        let store = Store::create(MemoryDisk::new(1), &options).unwrap();
        let mut txn = store.begin(Isolation::RepeatableRead, false).unwrap();
        let tree = txn.tree("t", true).unwrap().unwrap();
        for key in 0..300u32 {
            txn.put(tree, &key.to_be_bytes(), &key.to_le_bytes().repeat(9)).unwrap();
        }
        txn.commit().unwrap();
        let target = MemoryDisk::new(2);
        take_to(&store, &*target, &Progress::default()).unwrap();
        target.snapshot()
    })
}

fn disk(files: &Files) -> Arc<MemoryDisk> {
    MemoryDisk::from_snapshot(1, files)
}

/// A disk on which a length that is a lie meets the end of the room.
fn target() -> Arc<MemoryDisk> {
    let disk = MemoryDisk::new(3);
    disk.set_capacity(Some(64 << 20));
    disk
}

/// Restores; what fails must leave nothing behind.
fn restore_files(files: &Files) -> Result<Files> {
    let target = target();
    match restore_to(&*disk(files), &*target, &Progress::default()) {
        Ok(_) => Ok(target.snapshot()),
        Err(error) => {
            assert_eq!(target.snapshot(), Files::new(), "left behind after {error}");
            Err(error)
        }
    }
}

fn pick(files: &mut Files, place: usize) -> (&String, &mut Vec<u8>) {
    let count = files.len();
    files.iter_mut().nth(place % count).unwrap()
}

fn forged(manifest: &Manifest) -> Files {
    let mut manifest = manifest.clone();
    let mut files = backup().clone();
    files.insert(MANIFEST.to_owned(), manifest.encode(None).into_bytes());
    files
}

fn manifest() -> Manifest {
    Manifest::read(&*disk(backup())).unwrap()
}

#[test]
fn a_backup_cannot_name_a_file_outside_the_database() {
    for name in ["wal/../../outside.wal.zst", "wal/../control.zst", "wal//etc/x.zst", "wal/1.wal.zst"] {
        let mut manifest = manifest();
        let segment = manifest.pieces.iter_mut().find(|piece| piece.name.starts_with("wal/")).unwrap();
        let content = backup()[&segment.name].clone();
        segment.name = name.to_owned();
        let mut files = forged(&manifest);
        files.insert(name.to_owned(), content);
        assert_eq!(restore_files(&files).unwrap_err().code, Code::BackupDamaged, "{name}");
    }
}

#[test]
fn sizes_in_a_manifest_are_not_believed() {
    for size in [0, 1, u64::from(u32::MAX), 1 << 50, u64::MAX] {
        for place in 0..manifest().pieces.len() {
            let mut manifest = manifest();
            manifest.pieces[place].restored_bytes = size;
            let forged = forged(&manifest);
            let _ = verify_on(&*disk(&forged), &Progress::default());
            let _ = restore_files(&forged);
            manifest.pieces[place].bytes = size;
            assert!(verify_on(&*disk(&self::forged(&manifest)), &Progress::default()).is_err());
        }
    }
}

proptest! {
    #[test]
    fn any_flipped_bit_or_cut_of_a_backup_is_found(
        place: usize, at: prop::sample::Index, bit in 0u8..8, cuts in prop::bool::weighted(0.3),
    ) {
        let mut files = backup().clone();
        let (name, bytes) = pick(&mut files, place);
        let name = name.clone();
        let at = at.index(bytes.len());
        if cuts {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 1 << bit;
        }
        let verified = verify_on(&*disk(&files), &Progress::default());
        // Spaces and line ends of the manifest are nobody's content.
        let is_layout = name == MANIFEST
            && Manifest::decode(&files[MANIFEST]).is_ok_and(|found| found == manifest());
        prop_assert!(is_layout || verified.is_err(), "byte {at} of {name}");
        prop_assert_eq!(is_layout, restore_files(&files).is_ok());
    }

    #[test]
    fn parts_of_rubbish_under_a_right_seal_give_coded_errors(
        place: usize,
        at: prop::sample::Index,
        rubbish in prop::collection::vec(any::<u8>(), 0..300),
        replaces: bool,
    ) {
        let mut manifest = manifest();
        let count = manifest.pieces.len();
        let piece = &mut manifest.pieces[place % count];
        let mut content = backup()[&piece.name].clone();
        if replaces {
            content = rubbish;
        } else {
            let at = at.index(content.len());
            content.splice(at..(at + rubbish.len()).min(content.len()), rubbish);
        }
        piece.bytes = content.len() as u64;
        piece.hash = blake3::hash(&content).to_hex().to_string();
        let name = piece.name.clone();
        let mut files = forged(&manifest);
        files.insert(name, content);
        let verified = verify_on(&*disk(&files), &Progress::default());
        prop_assert!(verified.is_err_and(|error| error.code != Code::InternalError) || !replaces);
        let _ = restore_files(&files);
    }

    #[test]
    fn notes_of_rubbish_are_no_notes(text in prop::collection::vec(any::<u8>(), 0..400), json in "\\PC{0,200}") {
        for text in [text, json.into_bytes()] {
            let [first, second] = super::unfinished::PATHS.map(str::to_owned);
            let files = [(first, text.clone()), (second, text.clone()), ("backups".to_owned(), text)];
            let disk = disk(&Files::from(files));
            prop_assert_eq!(super::unfinished::Unfinished::read(&*disk), None);
            prop_assert!(!super::marks::has(&*disk, "x").unwrap());
        }
    }

    #[test]
    fn a_manifest_of_rubbish_is_refused(text in prop::collection::vec(any::<u8>(), 0..400), json in "\\PC{0,200}") {
        prop_assert!(Manifest::decode(&text).is_err());
        prop_assert!(Manifest::decode(json.as_bytes()).is_err());
    }
}
