//! Backups that only the holder of a key can read.
//!
//! A key is made of a passphrase (Argon2id, RFC 9106) or of the bytes of a key file. The increments
//! of a chain share it; each backup has a key of its own, made of that one and its id. Every file with
//! content is a stream of chunks, each sealed with XChaCha20-Poly1305:
//!
//! ```text
//! chunk: length u32 | nonce 24, random | sealed bytes | tag 16
//! ```
//!
//! What is sealed with a chunk is where it belongs: backup, file, number, whether it is the last one.
//! So none can be left out, moved, repeated or come from another backup. The manifest stays readable,
//! for whoever looks after backups has no key at hand: it tells sizes, dates and positions in the log,
//! never what is stored. It carries a keyed hash of itself, so that it cannot be changed without the
//! key either.

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::rand_core::RngCore;
use chacha20poly1305::aead::{Aead, AeadCore, KeyInit, OsRng, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use serde_json::{Value, json};

use crate::error::{Code, Error, Result};

/// Bytes sealed together.
pub(super) const CHUNK: usize = 64 << 10;
/// Bytes of a chunk beside its content.
pub(super) const HEAD: usize = 4 + NONCE;
pub(super) const TAG: usize = 16;
const NONCE: usize = 24;
/// What deriving a key from a passphrase costs whoever guesses (RFC 9106, section 4).
const MEMORY_KIB: u32 = 64 << 10;
const PASSES: u32 = 3;
/// Beyond this a manifest is not believed: it would only take memory and time.
const MOST_MEMORY_KIB: u32 = 1 << 20;
const MOST_PASSES: u32 = 32;

/// What a person has to open a backup with.
#[derive(Clone)]
pub enum Secret {
    Passphrase(Vec<u8>),
    /// The content of a key file.
    KeyFile(Vec<u8>),
}

impl std::fmt::Debug for Secret {
    /// Never the secret itself.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind())
    }
}

impl Secret {
    fn kind(&self) -> &'static str {
        match self {
            Secret::Passphrase(_) => "passphrase",
            Secret::KeyFile(_) => "key_file",
        }
    }
}

/// How a backup is sealed, as its manifest says; nothing of it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locks {
    /// Of the chain: a full backup makes it, its increments take it over.
    kind: String,
    salt: [u8; 16],
    memory_kib: u32,
    passes: u32,
    /// Of this backup alone.
    id: [u8; 16],
    check: [u8; 16],
}

impl Locks {
    pub(super) fn value(&self) -> Value {
        json!({
            "cipher": "xchacha20-poly1305", "key": self.kind, "salt": hex(&self.salt),
            "memory_kib": self.memory_kib, "passes": self.passes, "id": hex(&self.id),
            "check": hex(&self.check),
        })
    }

    pub(super) fn from_value(value: &Value) -> Option<Locks> {
        let number = |name: &str| u32::try_from(value[name].as_u64()?).ok();
        let bytes = |name: &str| unhex(value[name].as_str()?);
        let (memory_kib, passes) = (number("memory_kib")?, number("passes")?);
        let is_sane = memory_kib <= MOST_MEMORY_KIB && passes <= MOST_PASSES;
        is_sane.then_some(())?;
        Some(Locks {
            kind: value["key"].as_str()?.to_owned(),
            salt: bytes("salt")?,
            memory_kib,
            passes,
            id: bytes("id")?,
            check: bytes("check")?,
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    OsRng.fill_bytes(&mut bytes);
    bytes
}

/// `BackupLocked`, with the reason.
fn locked(reason: &str) -> Error {
    Error::new(Code::BackupLocked).with("reason", reason)
}

/// The keys of chains that were derived already: it is slow on purpose.
#[derive(Default)]
pub(super) struct Keyring(Vec<(Locks, [u8; 32])>);

impl Keyring {
    fn chain_key(&mut self, secret: &Secret, locks: &Locks) -> Result<[u8; 32]> {
        let same = |known: &Locks| {
            (known.salt, known.memory_kib, known.passes) == (locks.salt, locks.memory_kib, locks.passes)
        };
        if let Some((_, key)) = self.0.iter().find(|(known, _)| same(known)) {
            return Ok(*key);
        }
        let key = derive(secret, locks)?;
        self.0.push((locks.clone(), key));
        Ok(key)
    }

    /// What opens a backup. `BackupLocked` where there is no key, or not the right one.
    pub fn open(&mut self, locks: &Locks, secret: Option<&Secret>) -> Result<Seal> {
        let secret = secret.ok_or_else(|| locked("it is encrypted, and no key was given"))?;
        if secret.kind() != locks.kind {
            let is_file = locks.kind == "key_file";
            return Err(locked(if is_file {
                "it was encrypted with a key file"
            } else {
                "it was encrypted with a passphrase"
            }));
        }
        let seal = Seal::new(&self.chain_key(secret, locks)?, locks.id);
        if seal.check() != locks.check {
            return Err(locked("the key is not the one that it was encrypted with"));
        }
        Ok(seal)
    }

    /// What a new backup is sealed with: in the chain of `parent`, whose key `secret` has to be.
    pub fn create(&mut self, secret: &Secret, parent: Option<&Locks>) -> Result<(Locks, Seal)> {
        let mut locks = match parent {
            Some(parent) => {
                self.open(parent, Some(secret))?;
                parent.clone()
            }
            None => Locks {
                kind: secret.kind().to_owned(),
                salt: random(),
                memory_kib: MEMORY_KIB,
                passes: PASSES,
                id: [0; 16],
                check: [0; 16],
            },
        };
        locks.id = random();
        let seal = Seal::new(&self.chain_key(secret, &locks)?, locks.id);
        locks.check = seal.check();
        Ok((locks, seal))
    }
}

fn derive(secret: &Secret, locks: &Locks) -> Result<[u8; 32]> {
    let mut key = [0; 32];
    match secret {
        Secret::Passphrase(text) => {
            let unfit = |_| locked("what the manifest says of its key is impossible");
            let params = Params::new(locks.memory_kib, locks.passes, 1, Some(32)).map_err(unfit)?;
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                .hash_password_into(text, &locks.salt, &mut key)
                .map_err(unfit)?;
        }
        Secret::KeyFile(content) => {
            let mut hasher = blake3::Hasher::new_derive_key("holdfast 2026 key file of backups");
            hasher.update(&locks.salt).update(content);
            key = *hasher.finalize().as_bytes();
        }
    }
    Ok(key)
}

/// What seals and opens the files of one backup.
#[derive(Clone)]
pub struct Seal {
    key: [u8; 32],
    id: [u8; 16],
}

impl Seal {
    fn new(chain: &[u8; 32], id: [u8; 16]) -> Seal {
        let key = *blake3::keyed_hash(chain, &id).as_bytes();
        Seal { key, id }
    }

    fn check(&self) -> [u8; 16] {
        let mut check = [0; 16];
        check.copy_from_slice(&blake3::keyed_hash(&self.key, b"the right key").as_bytes()[..16]);
        check
    }

    /// The keyed hash of a manifest whose own hash is `id`.
    pub(super) fn sign(&self, id: &str) -> String {
        blake3::keyed_hash(&self.key, id.as_bytes()).to_hex().to_string()
    }

    /// For the chunks of one file, in order.
    pub(super) fn file(&self, name: &str) -> FileSeal {
        let mut place = self.id.to_vec();
        place.extend_from_slice(name.as_bytes());
        FileSeal { cipher: XChaCha20Poly1305::new((&self.key).into()), place, number: 0 }
    }
}

/// Seals or opens the chunks of one file.
pub(super) struct FileSeal {
    cipher: XChaCha20Poly1305,
    place: Vec<u8>,
    number: u64,
}

impl FileSeal {
    /// Where the next chunk belongs.
    fn next(&mut self, is_last: bool) -> Vec<u8> {
        let mut place = self.place.clone();
        place.extend_from_slice(&self.number.to_le_bytes());
        place.push(u8::from(is_last));
        self.number += 1;
        place
    }

    /// The next chunk, as it goes into the file.
    pub fn close(&mut self, bytes: &[u8], is_last: bool) -> Result<Vec<u8>> {
        let nonce = XChaCha20Poly1305::generate_nonce(&mut OsRng);
        let place = self.next(is_last);
        let sealed = self.cipher.encrypt(&nonce, Payload { msg: bytes, aad: &place });
        let sealed = sealed.map_err(|_| Error::internal("a chunk could not be sealed"))?;
        let length = u32::try_from(bytes.len()).map_err(|_| Error::internal("a chunk is too long"))?;
        let mut chunk = length.to_le_bytes().to_vec();
        chunk.extend_from_slice(&nonce);
        chunk.extend_from_slice(&sealed);
        Ok(chunk)
    }

    /// The content of the next chunk and whether it is the last one; none where it is not what was
    /// sealed here.
    pub fn open(&mut self, nonce: &[u8], sealed: &[u8]) -> Option<(Vec<u8>, bool)> {
        let nonce = XNonce::from_slice(nonce);
        let mut place = self.next(false);
        for is_last in [false, true] {
            if let Some(flag) = place.last_mut() {
                *flag = u8::from(is_last);
            }
            if let Ok(bytes) = self.cipher.decrypt(nonce, Payload { msg: sealed, aad: &place }) {
                return Some((bytes, is_last));
            }
        }
        None
    }
}
