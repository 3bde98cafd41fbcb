//! Files whose checksums are right and whose content is not: pages, log entries, control file,
//! segment headers and double-write copies with fields changed and sealed again, and files of
//! rubbish. Nobody can tell all of them from the truth, but every decoder has to live with them:
//! errors are coded, nothing panics, nothing hangs, and no length is believed before its bytes.

use _kernel::error::{Code, Error, Result};
use _kernel::log::record;
use _kernel::log::segments::HEADER_BYTES;
use _kernel::page::Page;
use _kernel::recovery::Progress;
use _kernel::store::Store;
use _kernel::txn::Isolation;
use _kernel::types::{Incarnation, Lsn};

use crate::campaign::{chain, contents};
use crate::damage::{Files, Specimen};
use crate::dice::Dice;

const DATA: &str = "database.holdfast";

/// Forges something in a copy and uses it; the error says what was no coded error.
pub fn run(specimen: &Specimen, dice: &mut Dice) -> std::result::Result<bool, String> {
    let mut files = specimen.files.clone();
    let mut told = Vec::new();
    for _ in 0..dice.pick(&[1, 1, 1, 3]) {
        told.push(forge(specimen, &mut files, dice));
    }
    let used = use_it(specimen, &files);
    match used {
        Ok(()) => Ok(true),
        Err(error) if is_internal(&error) => Err(format!("{}: {}", told.join(", "), chain(&error))),
        Err(_) => Ok(false),
    }
}

fn is_internal(error: &Error) -> bool {
    error.code == Code::InternalError || error.cause.as_deref().is_some_and(is_internal)
}

fn use_it(specimen: &Specimen, files: &Files) -> Result<()> {
    let disk = specimen.disk(files);
    let store = Store::open_recovering(disk, &specimen.options, &Progress::default())?;
    store.check(false, &Progress::default())?;
    // Each may fail by itself; all of them have to be lived with.
    let read = contents(&store).map(|_| ()).or_else(|error| match chain(&error).contains("two ways") {
        true => Ok(()),
        false => Err(error),
    });
    let written = write(&store);
    let kept = store.maintain();
    let closed = store.close().map(|_| ());
    read.and(written).and(kept).and(closed)
}

fn write(store: &Store) -> Result<()> {
    let mut txn = store.begin(Isolation::RepeatableRead, false)?;
    for name in ["accounts", "orders", "forged"] {
        let Some(tree) = txn.tree(name, true)? else { continue };
        for number in 0..40u32 {
            txn.put(tree, format!("{number:06}").as_bytes(), &[7; 90])?;
            txn.delete(tree, format!("burst{number:06}").as_bytes())?;
        }
        txn.put(tree, b"long", &[9; 20_000])?;
    }
    txn.commit().map(|_| ())
}

fn forge(specimen: &Specimen, files: &mut Files, dice: &mut Dice) -> String {
    match dice.below(12) {
        0..=4 => forge_page(specimen, files, dice, DATA),
        5 => forge_page(specimen, files, dice, "doublewrite"),
        6..=8 => forge_entry(files, dice),
        9 => forge_control(files, dice),
        10 => forge_header(files, dice),
        _ => forge_file(files, dice),
    }
}

/// Values that lengths, counts and positions must not be believed to have.
fn extreme(dice: &mut Dice) -> u64 {
    let any = dice.next();
    dice.pick(&[0, 1, 2, 127, 255, 4095, 65_535, 65_536, 0x7FFF_FFFF, 0xFFFF_FFFF, u64::MAX, any])
}

/// Changes a few bytes or words within `bytes[from..]`.
fn scramble(bytes: &mut [u8], from: usize, dice: &mut Dice) {
    let length = bytes.len() - from;
    for _ in 0..dice.between(1, 3) {
        let at = from + dice.index(length);
        match dice.below(3) {
            0 => bytes[at] ^= 1 << dice.index(8),
            1 => bytes[at] = dice.next() as u8,
            _ => {
                let width = dice.pick(&[2, 4, 8]).min(bytes.len() - at);
                let value = extreme(dice).to_le_bytes();
                bytes[at..at + width].copy_from_slice(&value[..width]);
            }
        }
    }
}

fn forge_page(specimen: &Specimen, files: &mut Files, dice: &mut Dice, path: &str) -> String {
    let size = specimen.options.page_size;
    let source = files[DATA].clone();
    let used: Vec<usize> = (0..source.len() / size)
        .filter(|page| source[page * size..(page + 1) * size].iter().any(|byte| *byte != 0))
        .collect();
    let (number, other) = (used[dice.index(used.len())], used[dice.index(used.len())]);
    let mut page = Page::zeroed(size);
    page.bytes_mut().copy_from_slice(&source[number * size..(number + 1) * size]);
    let what = match dice.below(4) {
        // Header and slots decide the most.
        0 => {
            scramble(&mut page.bytes_mut()[16..128], 0, dice);
            "header"
        }
        1 => {
            scramble(&mut page.bytes_mut()[..400], 128, dice);
            "slots"
        }
        2 => {
            scramble(page.bytes_mut(), 16, dice);
            "content"
        }
        _ => {
            // Another page's content under this one's number.
            page.bytes_mut()[20..].copy_from_slice(&source[other * size + 20..(other + 1) * size]);
            "identity"
        }
    };
    page.seal();
    let place = if path == DATA { number } else { dice.index(64) };
    if let Some(file) = files.get_mut(path)
        && (place + 1) * size <= file.len()
    {
        file[place * size..(place + 1) * size].copy_from_slice(page.bytes());
    }
    format!("the {what} of page {number} in {path}")
}

fn a_segment(files: &Files, dice: &mut Dice) -> Option<String> {
    let segments: Vec<&String> = files
        .iter()
        .filter(|(path, bytes)| path.starts_with("wal/") && bytes.iter().any(|byte| *byte != 0))
        .map(|(path, _)| path)
        .collect();
    (!segments.is_empty()).then(|| segments[dice.index(segments.len())].clone())
}

/// Scrambles the body of one entry of a segment and makes its checksum right.
fn forge_entry(files: &mut Files, dice: &mut Dice) -> String {
    let Some(path) = a_segment(files, dice) else { return String::new() };
    let Some(file) = files.get_mut(&path) else { return String::new() };
    let word = |file: &[u8], at: usize| {
        file[at..at + 8].iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte))
    };
    let start = word(file, 40);
    let incarnation = Incarnation(word(file, 28) as u32);
    let mut entries = Vec::new();
    let mut at = HEADER_BYTES as usize;
    // A segment may begin in the middle of an entry.
    while at + record::OVERHEAD < file.len() {
        let lsn = Lsn(start + at as u64 - HEADER_BYTES);
        match record::decode(&file[at..], lsn, incarnation) {
            Ok(entry) => {
                let length = entry.header.len as usize;
                entries.push((at, length));
                at += length;
            }
            Err(_) => at += 1,
        }
    }
    if entries.is_empty() {
        return String::new();
    }
    let (at, length) = entries[dice.index(entries.len())];
    let entry = &mut file[at..at + length];
    let covered = length - 4;
    // Not its own position: then it would be no entry.
    let from = if dice.percent(70) { record::HEADER_BYTES.min(covered - 1) } else { 8 };
    scramble(&mut entry[..covered], from, dice);
    let crc = crc32fast::hash(&entry[..covered]);
    entry[covered..].copy_from_slice(&crc.to_le_bytes());
    format!("the entry at byte {at} of {path}")
}

fn forge_control(files: &mut Files, dice: &mut Dice) -> String {
    let Some(file) = files.get_mut("control") else { return String::new() };
    for at in [0, 4096] {
        let Some(slot) = file.get_mut(at..at + 512) else { continue };
        scramble(&mut slot[..96], 12, dice);
        let hash = blake3::hash(&slot[..496]);
        slot[496..].copy_from_slice(&hash.as_bytes()[..16]);
    }
    "the control file".to_owned()
}

fn forge_header(files: &mut Files, dice: &mut Dice) -> String {
    let Some(path) = a_segment(files, dice) else { return String::new() };
    let Some(file) = files.get_mut(&path) else { return String::new() };
    let header = &mut file[..HEADER_BYTES as usize];
    scramble(&mut header[..68], 28, dice);
    let crc = crc32fast::hash(&header[..508]);
    header[508..].copy_from_slice(&crc.to_le_bytes());
    format!("the header of {path}")
}

/// A whole file of rubbish, or of pieces of itself in another order.
fn forge_file(files: &mut Files, dice: &mut Dice) -> String {
    let paths: Vec<String> = files.keys().cloned().collect();
    let path = paths[dice.index(paths.len())].clone();
    let Some(file) = files.get_mut(&path) else { return String::new() };
    if dice.percent(50) {
        let length = dice.index(file.len() + 1).min(200_000);
        *file = (0..length).map(|_| dice.next() as u8).collect();
    } else if file.len() > 2048 {
        let length = dice.index(file.len() / 2);
        let (from, to) = (dice.index(file.len() - length), dice.index(file.len() - length));
        file.copy_within(from..from + length, to);
    }
    format!("all of {path}")
}
