//! Sealed streams: what is written goes in as it comes, and leaves in sealed chunks (`seal.rs`).
//!
//! The files of a backup are written here; those of an emergency backup by whoever can read around
//! the holes of a failing disk. Both are sealed and opened by the same code.

use super::damaged;
use super::seal::{CHUNK, FileSeal, HEAD, Keyring, Locks, Seal, Secret, TAG};
use crate::error::Result;

/// Seals one file.
pub struct Sealer {
    seal: FileSeal,
    /// What waits: it may be the last of the file.
    waiting: Vec<u8>,
}

impl Sealer {
    pub(super) fn new(seal: FileSeal) -> Sealer {
        Sealer { seal, waiting: Vec::with_capacity(CHUNK) }
    }

    /// Takes the next bytes; gives those that go into the file now.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<u8>> {
        let mut sealed = Vec::new();
        while !bytes.is_empty() {
            if self.waiting.len() == CHUNK {
                sealed.extend_from_slice(&self.seal.close(&self.waiting, false)?);
                self.waiting.clear();
            }
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK - self.waiting.len()));
            self.waiting.extend_from_slice(now);
            bytes = later;
        }
        Ok(sealed)
    }

    /// The end of the file; nothing comes after it.
    pub fn finish(&mut self) -> Result<Vec<u8>> {
        let waiting = std::mem::take(&mut self.waiting);
        self.seal.close(&waiting, true)
    }
}

/// Opens one sealed file.
pub struct Opener {
    seal: FileSeal,
    file: String,
    /// The beginning of a chunk.
    waiting: Vec<u8>,
    is_done: bool,
}

impl Opener {
    /// Takes the next bytes of the file; gives what was sealed in them. `BackupDamaged` where they
    /// are not what was sealed there.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<u8>> {
        self.waiting.extend_from_slice(bytes);
        let (mut content, mut at) = (Vec::new(), 0);
        while let Some(head) = self.waiting.get(at..at + HEAD) {
            let length = crate::page::get_u32(head, 0) as usize;
            if self.is_done || length > CHUNK {
                return Err(damaged(&self.file, "a part is not what was sealed there"));
            }
            let Some(sealed) = self.waiting.get(at + HEAD..at + HEAD + length + TAG) else { break };
            let Some((opened, is_last)) = self.seal.open(&head[4..], sealed) else {
                return Err(damaged(&self.file, "a part is not what was sealed there"));
            };
            content.extend_from_slice(&opened);
            self.is_done = is_last;
            at += HEAD + length + TAG;
        }
        self.waiting.drain(..at);
        Ok(content)
    }

    /// `BackupDamaged` where the file did not end with what was sealed last, and nothing after it.
    pub fn finish(&self) -> Result<()> {
        match self.is_done && self.waiting.is_empty() {
            true => Ok(()),
            false => Err(damaged(&self.file, "it is cut short, or something follows its end")),
        }
    }
}

/// What seals and opens the files of one backup that is written elsewhere.
pub struct Vault {
    seal: Seal,
    locks: Locks,
}

impl Vault {
    /// For a new backup.
    pub fn create(secret: &Secret) -> Result<Vault> {
        let (locks, seal) = Keyring::default().create(secret, None)?;
        Ok(Vault { seal, locks })
    }

    /// For one that is there, with what its manifest says of its key. `BackupLocked` where there is
    /// no key, or not the right one; `BackupDamaged` where that cannot be believed.
    pub fn open(locks: &str, secret: Option<&Secret>) -> Result<Vault> {
        let known = serde_json::from_str(locks).ok().and_then(|value| Locks::from_value(&value));
        let locks =
            known.ok_or_else(|| damaged("its manifest", "what it says of its key is impossible"))?;
        let seal = Keyring::default().open(&locks, secret)?;
        Ok(Vault { seal, locks })
    }

    /// What the manifest has to say of the key; nothing of it is secret.
    pub fn locks(&self) -> String {
        self.locks.value().to_string()
    }

    /// The keyed hash of a manifest whose own hash is `id`.
    pub fn sign(&self, id: &str) -> String {
        self.seal.sign(id)
    }

    pub fn sealer(&self, file: &str) -> Sealer {
        Sealer::new(self.seal.file(file))
    }

    pub fn opener(&self, file: &str) -> Opener {
        Opener { seal: self.seal.file(file), file: file.to_owned(), waiting: Vec::new(), is_done: false }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::error::Code;

    fn key() -> Secret {
        Secret::KeyFile(b"sixteen bytes or more of a key".to_vec())
    }

    fn sealed(vault: &Vault, name: &str, content: &[u8], step: usize) -> Vec<u8> {
        let mut sealer = vault.sealer(name);
        let mut file: Vec<u8> =
            content.chunks(step).flat_map(|bytes| sealer.push(bytes).unwrap()).collect();
        file.extend(sealer.finish().unwrap());
        file
    }

    fn opened(vault: &Vault, name: &str, file: &[u8], step: usize) -> Result<Vec<u8>> {
        let mut opener = vault.opener(name);
        let mut content = Vec::new();
        for bytes in file.chunks(step) {
            content.extend(opener.push(bytes)?);
        }
        opener.finish().map(|()| content)
    }

    #[test]
    fn what_is_sealed_in_pieces_is_opened_in_other_pieces() {
        let vault = Vault::create(&key()).unwrap();
        let again = Vault::open(&vault.locks(), Some(&key())).unwrap();
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7] {
            let content: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let file = sealed(&vault, "a", &content, 10_000);
            assert_eq!(opened(&again, "a", &file, 7_777).unwrap(), content);
            assert!(length < 100 || !file.windows(50).any(|window| content.starts_with(window)));
        }
    }

    #[test]
    fn what_was_cut_off_moved_changed_or_added_is_not_opened() {
        let vault = Vault::create(&key()).unwrap();
        let content = vec![5; 2 * CHUNK + 100];
        let file = sealed(&vault, "a", &content, CHUNK);
        let one = HEAD + CHUNK + TAG;
        let mut changed = file.clone();
        changed[one + 50] ^= 1;
        let swapped = [&file[one..2 * one], &file[..one], &file[2 * one..]].concat();
        let wrong = [
            ("a", file[..2 * one].to_vec()),
            ("a", file[..file.len() - 1].to_vec()),
            ("a", [&file[..], b"more"].concat()),
            ("a", [&file[..], &file[2 * one..]].concat()),
            ("a", Vec::new()),
            ("a", changed),
            ("a", swapped),
            ("b", file),
        ];
        for (name, file) in wrong {
            assert_eq!(opened(&vault, name, &file, 5000).unwrap_err().code, Code::BackupDamaged);
        }
    }

    #[test]
    fn a_vault_is_opened_by_its_own_key_alone() {
        let vault = Vault::create(&key()).unwrap();
        let other = Secret::KeyFile(b"sixteen bytes of another key".to_vec());
        let phrase = Secret::Passphrase(b"a long walk in the hills".to_vec());
        for secret in [None, Some(&other), Some(&phrase)] {
            let refused = Vault::open(&vault.locks(), secret).err().unwrap();
            assert_eq!(refused.code, Code::BackupLocked);
        }
        for rubbish in ["", "{}", "[1]"] {
            let refused = Vault::open(rubbish, Some(&key())).err().unwrap();
            assert_eq!(refused.code, Code::BackupDamaged);
        }
        assert_eq!(Vault::open(&vault.locks(), Some(&key())).unwrap().sign("x"), vault.sign("x"));
    }
}
