//! Files of snapshots that are damaged anywhere, or forged under right checksums: what is read is
//! what was written, or an error.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::OnceLock;

use proptest::prelude::*;

use super::frames::{FileHead, Frames, compressor};
use super::manifest::Moment;
use super::tests::{kept_bank, taken, work};
use super::*;
use crate::backup::tests::options;
use crate::disk::Disk;
use crate::disk::memory::MemoryDisk;
use crate::recovery::Progress;
use crate::sync::Arc;

const PATH: &str = "snapshots/00000001.kept";
const BATCHES: u32 = 9;
const EACH: u32 = 4;

/// Content that compresses well, badly, and not at all.
fn content(number: u32) -> Vec<u8> {
    let byte = |at: u32| (number.wrapping_mul(0x9E37_79B9).wrapping_add(at * at) >> 7) as u8;
    match number % 3 {
        0 => vec![0; 4096],
        1 => vec![number as u8; 4096],
        _ => (0..4096).map(byte).collect(),
    }
}

/// A file of frames, and where each batch begins.
fn kept() -> &'static (Vec<u8>, Vec<usize>) {
    static FILE: OnceLock<(Vec<u8>, Vec<usize>)> = OnceLock::new();
    FILE.get_or_init(|| {
        let disk = MemoryDisk::new(1);
        let head = FileHead { page_size: 4096, data_bytes: 1 << 20 };
        let mut frames = Frames::create(&*disk, PATH, head).unwrap();
        let (mut compressor, mut starts) = (compressor().unwrap(), Vec::new());
        for first in (0..BATCHES * EACH).step_by(EACH as usize) {
            let mut batch = frames.batch();
            for number in first..first + EACH {
                batch.put(&mut compressor, number, &content(number)).unwrap();
            }
            starts.push(frames.bytes() as usize);
            batch.write(&*frames.file()).unwrap();
            frames.note(batch).unwrap();
        }
        (disk.snapshot().remove(PATH).unwrap(), starts)
    })
}

fn opened(bytes: Vec<u8>) -> Option<Frames> {
    let disk = MemoryDisk::from_snapshot(1, &BTreeMap::from([(PATH.to_owned(), bytes)]));
    Frames::open(&*disk, PATH, true).unwrap()
}

/// How many of the contents are there; none of them is another one.
fn whole(frames: &Frames) -> u32 {
    let right = |number: &u32| match frames.read(*number) {
        Some(Ok(found)) => {
            assert!(found == content(*number), "{number} is another one");
            true
        }
        Some(Err(_)) | None => false,
    };
    (0..BATCHES * EACH).filter(right).count() as u32
}

/// Every frame is preceded by rubbish: as much damage as there can be.
#[test]
fn a_file_that_is_damaged_everywhere_is_read_in_bounded_time_and_stack() {
    let disk = MemoryDisk::new(1);
    let head = FileHead { page_size: 4096, data_bytes: 1 << 20 };
    let mut frames = Frames::create(&*disk, PATH, head).unwrap();
    let mut compressor = compressor().unwrap();
    let count = 20_000;
    for number in 0..count {
        let mut batch = frames.batch();
        batch.put(&mut compressor, number, &[0; 512]).unwrap();
        batch.write(&*frames.file()).unwrap();
        frames.note(batch).unwrap();
    }
    let mut bytes = disk.snapshot().remove(PATH).unwrap();
    // Each second head is spoiled.
    let frame = (bytes.len() - 28) / count as usize;
    bytes[28..].chunks_mut(2 * frame).for_each(|pair| pair[9] ^= 1);
    let frames = opened(bytes).unwrap();
    assert!(frames.is_damaged);
    assert_eq!(frames.count(), u64::from(count) / 2);
}

proptest! {
    #[test]
    fn kept_pages_are_what_was_kept_or_missing_whatever_is_done_to_their_file(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 0..4),
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
        splice in prop::option::of((
            any::<prop::sample::Index>(), any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 0..200),
        )),
    ) {
        let mut bytes = kept().0.clone();
        for (at, bit) in &edits {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        if let Some((from, to, rubbish)) = splice {
            let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
            bytes.splice(from.min(to)..from.max(to), rubbish);
        }
        bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len() + 1)));
        whole(&opened(bytes).unwrap());
    }

    #[test]
    fn one_flipped_bit_before_the_last_batch_is_found(at: prop::sample::Index, bit in 0u8..8) {
        let (file, starts) = kept();
        let mut bytes = file.clone();
        let at = at.index(starts[starts.len() - 1]);
        bytes[at] ^= 1 << bit;
        let frames = opened(bytes).unwrap();
        prop_assert!(frames.is_damaged || whole(&frames) < BATCHES * EACH);
        // Contents are looked at when they are read, heads when the file is opened.
        prop_assert!(frames.is_damaged || (0..BATCHES * EACH).all(|number| frames.has(number)));
    }

    #[test]
    fn a_file_of_rubbish_holds_nothing(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        prop_assert!(opened(bytes).is_none_or(|frames| frames.is_damaged && frames.count() == 0));
    }

    #[test]
    fn a_manifest_of_rubbish_is_none(text in prop::collection::vec(any::<u8>(), 0..400), json in "\\PC{0,200}") {
        for text in [&text, json.as_bytes()] {
            let path = "snapshots/00000001.json".to_owned();
            let disk = MemoryDisk::from_snapshot(1, &BTreeMap::from([(path.clone(), text.to_vec())]));
            prop_assert_eq!(Moment::read(&*disk, &path).unwrap(), None);
        }
    }
}

#[test]
fn numbers_in_a_manifest_are_not_believed() {
    let memory = MemoryDisk::new(1);
    let base: Arc<dyn Disk> = memory.clone();
    let (store, chain, tree) = kept_bank(&base, false);
    work(&store, tree, 0, 40);
    let snapshot = taken(&store, &chain, "then");
    work(&store, tree, 40, 40);
    store.close().unwrap();
    drop((store, chain));
    let path = path_of(snapshot.number, "json");
    let look_at = |moment: &Moment| {
        moment.write(&*base, &path, FOLDER).unwrap();
        let chain = Chain::load(Arc::clone(&base)).unwrap();
        let room = MemoryDisk::new(2);
        room.set_capacity(Some(64 << 20));
        let scratch: Arc<dyn Disk> = room;
        look(&chain, "then", &scratch, &options(false), &Progress::default()).map(|_| ())
    };
    look_at(&snapshot.moment).unwrap();
    let mut refused = 0;
    for number in [0, 1, 4095, u64::from(u32::MAX), 1 << 50, u64::MAX] {
        for place in 0..snapshot.moment.pieces.len() {
            for field in 0..3 {
                let mut moment = snapshot.moment.clone();
                let piece = &mut moment.pieces[place];
                match field {
                    0 => piece.bytes = number,
                    1 => piece.size = number,
                    _ => piece.first = u32::try_from(number).unwrap_or(u32::MAX),
                }
                if let Err(error) = look_at(&moment) {
                    assert_ne!(error.code, Code::InternalError, "{error}");
                    refused += 1;
                }
            }
        }
        for field in 0..2 {
            let mut moment = snapshot.moment.clone();
            let lsn = if field == 0 { &mut moment.start_lsn } else { &mut moment.end_lsn };
            *lsn = crate::types::Lsn(number);
            if let Err(error) = look_at(&moment) {
                assert_ne!(error.code, Code::InternalError, "{error}");
            }
        }
    }
    assert!(refused > 20, "{refused}");
}
