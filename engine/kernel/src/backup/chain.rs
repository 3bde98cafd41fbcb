//! Backups that add to each other, in a directory of their own each, side by side.

use std::path::{Path, PathBuf};

use super::manifest::{MANIFEST, Manifest, Piece};
use super::seal::{Keyring, Seal, Secret};
use super::unpacker::Unpacker;
use super::{at, damaged};
use crate::disk::Disk;
use crate::disk::os::OsDisk;
use crate::error::{Error, Result};

/// The names of backups in a chain begin so; unfinished ones end with a suffix of their own.
const NAMES: [&str; 2] = ["full-", "incr-"];
const UNFINISHED: &str = "partial";
/// More increments than this take a full backup between them: each is open while one is restored.
pub(super) const MOST_LINKS: usize = 256;

/// One backup of a chain that is being read.
#[derive(Clone)]
pub(super) struct Link<'p> {
    pub disk: &'p dyn Disk,
    pub manifest: &'p Manifest,
    /// Its directory, for errors; empty where it has none.
    pub place: String,
    /// What opens its files, where they are sealed.
    pub seal: Option<Seal>,
}

impl Link<'_> {
    /// Says where the damage is.
    pub fn tell(&self, error: Error) -> Error {
        at(&self.place, error)
    }

    /// Opens a compressed part. A missing one is damage.
    pub fn unpack(&self, piece: &Piece) -> Result<Unpacker> {
        Unpacker::open(self.disk, &piece.name, self.seal.as_ref())
            .map_err(|error| piece.tell_missing(error))
    }
}

impl Piece {
    pub(super) fn tell_missing(&self, error: Error) -> Error {
        if error.field("missing").is_some() { damaged(&self.name, "it is missing") } else { error }
    }

    pub(super) fn ensure_hash(&self, (bytes, hash): (u64, String)) -> Result<()> {
        if bytes != self.bytes {
            let detail = format!("it has {bytes} bytes instead of {}", self.bytes);
            return Err(damaged(&self.name, detail));
        }
        if hash != self.hash {
            return Err(damaged(&self.name, "its content is not what was written"));
        }
        Ok(())
    }
}

/// A backup and, one after the other, those it adds to; the last one is full.
pub(super) struct Chain {
    members: Vec<(Box<dyn Disk>, Manifest, PathBuf)>,
    seals: Vec<Option<Seal>>,
}

/// What opens the files of a backup; none where they are not sealed. `BackupLocked` without the
/// right key, `BackupDamaged` where the manifest was changed by somebody who has no key.
pub(super) fn unlock(
    manifest: &Manifest,
    keys: &mut Keyring,
    key: Option<&Secret>,
) -> Result<Option<Seal>> {
    let Some(locks) = &manifest.locks else { return Ok(None) };
    let seal = keys.open(locks, key)?;
    if manifest.mac.as_deref() != Some(seal.sign(&manifest.id).as_str()) {
        return Err(damaged(MANIFEST, "it was changed by somebody without the key"));
    }
    Ok(Some(seal))
}

impl Chain {
    /// The chain that ends with the backup in `tip`. `BackupDamaged` where a part of it is missing,
    /// `BackupLocked` where `key` does not open it.
    pub fn open(tip: &Path, key: Option<&Secret>) -> Result<Chain> {
        let mut members: Vec<(Box<dyn Disk>, Manifest, PathBuf)> = Vec::new();
        let mut place = tip.to_owned();
        loop {
            let disk = Box::new(OsDisk::new(&place));
            let text = place.display().to_string();
            let manifest = Manifest::read(&*disk).map_err(|error| at(&text, error))?;
            if let Some((_, child, _)) = members.last() {
                ensure_parent(child, &manifest).map_err(|error| at(&text, error))?;
            }
            let parent = manifest.parent.as_ref().map(|parent| parent.name.clone());
            members.push((disk, manifest, place.clone()));
            let Some(name) = parent else { return Chain { members, seals: Vec::new() }.unlocked(key) };
            if members.len() >= MOST_LINKS {
                return Err(at(&text, damaged(MANIFEST, "more backups add to each other than can be")));
            }
            place = beside(&place, &name)?;
        }
    }

    fn unlocked(mut self, key: Option<&Secret>) -> Result<Chain> {
        let mut keys = Keyring::default();
        for (_, manifest, place) in &self.members {
            let seal = unlock(manifest, &mut keys, key);
            self.seals.push(seal.map_err(|error| at(&place.display().to_string(), error))?);
        }
        Ok(self)
    }

    pub fn links(&self) -> Vec<Link<'_>> {
        let members = self.members.iter().zip(&self.seals);
        members
            .map(|((disk, manifest, place), seal)| Link {
                disk: &**disk,
                manifest,
                place: place.display().to_string(),
                seal: seal.clone(),
            })
            .collect()
    }

    pub fn tip(&self) -> Option<&Manifest> {
        self.members.first().map(|(_, manifest, _)| manifest)
    }
}

/// True where `manifest` is what `child` adds to; both are of one database and one size of page.
pub(super) fn ensure_parent(child: &Manifest, manifest: &Manifest) -> Result<()> {
    let is_named = child.parent.as_ref().is_some_and(|parent| parent.id == manifest.id);
    let fits = child.database == manifest.database
        && child.page_size == manifest.page_size
        && child.end_lsn >= manifest.end_lsn
        && child.redo_lsn >= manifest.redo_lsn;
    if is_named && fits {
        return Ok(());
    }
    Err(damaged(MANIFEST, "it is not the backup that the increment after it was made for"))
}

/// The directory `name` beside `place`. A name that leads elsewhere is damage.
fn beside(place: &Path, name: &str) -> Result<PathBuf> {
    let is_plain =
        !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', ':', '\0']);
    match place.parent() {
        Some(above) if is_plain => Ok(above.join(name)),
        _ => Err(at(
            &place.display().to_string(),
            damaged(MANIFEST, "the name of the backup that it adds to is impossible"),
        )),
    }
}

/// The finished backups in a directory, with those of their manifests that can be read.
fn finished(source: &Path) -> Result<Vec<(Manifest, PathBuf)>> {
    let text = source.display().to_string();
    let entries = std::fs::read_dir(source).map_err(|e| Error::io("list", &text, &e))?;
    let is_finished = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        NAMES.iter().any(|start| name.starts_with(start))
            && path.extension().is_none_or(|ending| ending != UNFINISHED)
            && path.join(MANIFEST).exists()
    };
    let backups = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_finished);
    Ok(backups.filter_map(|path| Some((Manifest::read(&OsDisk::new(&path)).ok()?, path))).collect())
}

/// The directory of the newest finished backup in a chain, or `source` itself where it is one.
pub(super) fn newest(source: &Path) -> Result<PathBuf> {
    if source.join(MANIFEST).exists() {
        return Ok(source.to_owned());
    }
    let date = |manifest: &Manifest| (manifest.sequence, manifest.taken_at, manifest.end_lsn);
    let found = finished(source)?.into_iter().max_by_key(|(manifest, _)| date(manifest));
    found.map(|(_, path)| path).ok_or_else(|| {
        at(&source.display().to_string(), damaged(MANIFEST, "there is no finished backup"))
    })
}

/// The backups in a directory, newest first, or the one that `source` is.
pub(super) fn candidates(source: &Path) -> Result<Vec<(Manifest, PathBuf)>> {
    if source.join(MANIFEST).exists() {
        return Ok(vec![(Manifest::read(&OsDisk::new(source))?, source.to_owned())]);
    }
    let mut found = finished(source)?;
    found.sort_by_key(|(manifest, _)| std::cmp::Reverse((manifest.sequence, manifest.taken_at)));
    Ok(found)
}

/// The number of the next backup in a directory that may not exist yet.
pub(super) fn next_sequence(chain: &Path) -> u64 {
    // What cannot be listed has no numbers; that it cannot be written to is told soon enough.
    let found = finished(chain).unwrap_or_default();
    found.iter().map(|(manifest, _)| manifest.sequence).max().unwrap_or(0).saturating_add(1)
}
