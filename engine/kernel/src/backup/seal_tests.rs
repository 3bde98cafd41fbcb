//! Encrypted backups: they come back with their key, and with nothing else.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use super::increment_tests::{Folder, contents, fill};
use super::tests::*;
use super::*;
use crate::disk::Disk;
use crate::disk::memory::MemoryDisk;

fn file(content: &[u8]) -> Secret {
    Secret::KeyFile(content.to_vec())
}

fn sealed(
    folder: &Folder,
    store: &Store,
    name: &str,
    parent: Option<&str>,
    key: &Secret,
) -> Result<Summary> {
    let parent = parent.map(|parent| folder.0.join(parent));
    let wanted = Wanted { parent: parent.as_deref(), key: Some(key), ..Wanted::default() };
    take(store, &folder.0.join(name), &wanted, &Progress::default())
}

fn verified(folder: &Folder, name: &str, key: Option<&Secret>) -> Result<Summary> {
    verify(&folder.0.join(name), key, &Progress::default())
}

fn restored(folder: &Folder, name: &str, key: Option<&Secret>) -> Result<Store> {
    let target = folder.0.join("back");
    restore(&folder.0.join(name), &target, key, &Progress::default())?;
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::new(&target));
    Store::open_recovering(disk, &options(false), &Progress::default())
}

/// Every file in a directory of the folder, with its content.
fn files(folder: &Folder, name: &str) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for place in [folder.0.join(name), folder.0.join(name).join("wal")] {
        for entry in std::fs::read_dir(place).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                found.push((path.clone(), std::fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn filled() -> Store {
    let store = Store::create(MemoryDisk::new(60), &options(false)).unwrap();
    fill(&store, "t", 0..3000, 1);
    store
}

#[test]
fn a_chain_that_is_encrypted_comes_back_with_its_key_and_with_no_other() {
    let folder = Folder::new("sealed");
    let store = filled();
    let (right, wrong) = (file(&[1; 32]), file(&[2; 32]));
    sealed(&folder, &store, "full-0", None, &right).unwrap();
    fill(&store, "t", 100..300, 2);
    sealed(&folder, &store, "incr-1", Some("full-0"), &right).unwrap();
    for name in ["full-0", "incr-1"] {
        for key in [None, Some(&wrong), Some(&Secret::Passphrase(vec![1; 32]))] {
            assert_eq!(verified(&folder, name, key).unwrap_err().code, Code::BackupLocked);
            assert_eq!(restored(&folder, name, key).err().unwrap().code, Code::BackupLocked);
            assert!(!folder.0.join("back").exists(), "nothing was written");
        }
        verified(&folder, name, Some(&right)).unwrap();
    }
    // An increment is sealed with the key of the backup that it adds to, or not taken.
    let refused = |key| sealed(&folder, &store, "incr-2", Some("incr-1"), key).unwrap_err().code;
    assert_eq!(refused(&wrong), Code::BackupLocked);
    assert_eq!(folder.increment(&store, "incr-2", "incr-1").unwrap_err().code, Code::BackupLocked);
    folder.full(&store, "full-3").unwrap();
    let error = sealed(&folder, &store, "incr-4", Some("full-3"), &right).unwrap_err();
    assert_eq!(error.code, Code::IncrementRefused);
    let back = restored(&folder, "incr-1", Some(&right)).unwrap();
    assert!(contents(&back) == contents(&store));
    assert_sound(&back);
}

#[test]
fn a_passphrase_opens_what_it_closed() {
    let folder = Folder::new("passphrase");
    let store = filled();
    let phrase = |text: &str| Secret::Passphrase(text.as_bytes().to_vec());
    sealed(&folder, &store, "full-0", None, &phrase("a long walk in the hills")).unwrap();
    let error = verified(&folder, "full-0", Some(&phrase("a long walk in the hill"))).unwrap_err();
    assert_eq!(error.code, Code::BackupLocked);
    let back = restored(&folder, "full-0", Some(&phrase("a long walk in the hills"))).unwrap();
    assert!(contents(&back) == contents(&store));
}

#[test]
fn nothing_that_is_stored_can_be_read_in_an_encrypted_backup() {
    let folder = Folder::new("sealed-bytes");
    let store = filled();
    let mut txn = begin(&store);
    let tree = txn.tree("names", true).unwrap().unwrap();
    txn.put(tree, b"who", b"somebody whom nobody should know").unwrap();
    txn.commit().unwrap();
    sealed(&folder, &store, "full-0", None, &file(b"the key of the house")).unwrap();
    let zstd = [0x28, 0xb5, 0x2f, 0xfd];
    for (path, content) in files(&folder, "full-0") {
        let has = |bytes: &[u8]| content.windows(bytes.len()).any(|window| window == bytes);
        assert!(!has(b"somebody whom"), "{path:?}");
        if path.extension().is_some_and(|ending| ending == "zst") {
            assert!(!content.starts_with(&zstd), "{path:?}");
        }
    }
}

#[test]
fn a_part_that_was_changed_moved_or_left_out_is_found() {
    let folder = Folder::new("sealed-forged");
    let store = filled();
    let key = file(&[7; 40]);
    sealed(&folder, &store, "full-0", None, &key).unwrap();
    sealed(&folder, &store, "full-1", None, &key).unwrap();
    let (here, there) = (files(&folder, "full-0"), files(&folder, "full-1"));
    // A file of another backup under the same key, with a manifest that vouches for it.
    for ((path, content), (_, other)) in here.iter().zip(&there) {
        if path.extension().is_none_or(|ending| ending != "zst") {
            continue;
        }
        let mut forged = vec![other.clone(), content[..content.len() / 2].to_vec()];
        for place in [0, 10, content.len() / 2, content.len() - 1] {
            let mut flipped = content.clone();
            flipped[place] ^= 1;
            forged.push(flipped);
        }
        for bytes in forged {
            std::fs::write(path, &bytes).unwrap();
            let error = verified(&folder, "full-0", Some(&key)).unwrap_err();
            assert_eq!(error.code, Code::BackupDamaged, "{path:?} {error}");
        }
        std::fs::write(path, content).unwrap();
    }
    verified(&folder, "full-0", Some(&key)).unwrap();
    // The manifest itself, changed by somebody who can compute its hash but has no key.
    let disk = OsDisk::new(&folder.0.join("full-0"));
    let mut manifest = Manifest::read(&disk).unwrap();
    let mac = manifest.mac.clone().unwrap();
    manifest.taken_at += 1;
    let mut forged: serde_json::Value = serde_json::from_str(&manifest.encode(None)).unwrap();
    forged["mac"] = mac.into();
    std::fs::write(folder.0.join("full-0").join(MANIFEST), forged.to_string()).unwrap();
    assert!(Manifest::read(&disk).is_ok(), "its own hash is right");
    assert_eq!(verified(&folder, "full-0", Some(&key)).unwrap_err().code, Code::BackupDamaged);
}
