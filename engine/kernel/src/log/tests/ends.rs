//! Every way in which a log can end, forged byte by byte.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::disk::memory::MemoryDisk;
use crate::error::Code;
use crate::log::reader::TailReason;
use crate::log::record::{Flaw, GROUP_BYTES};
use crate::log::segments::{HEADER_BYTES, segment_path};
use crate::types::Incarnation;

type Files = BTreeMap<String, Vec<u8>>;

/// A log of entries 0, 1, 2, .. of 100 bytes of body, one group each; their spans; its files.
fn log_of(count: u64, segment_bytes: u64) -> (Vec<Span>, Files) {
    let disk = MemoryDisk::new(1);
    let log = Log::create(disk.clone(), LogOptions { segment_bytes, ..small() }, ID).unwrap();
    let spans = (0..count)
        .map(|number| {
            let span = append(&log, number, 100).unwrap();
            log.flush_to(span.end).unwrap();
            span
        })
        .collect();
    (spans, disk.snapshot())
}

fn disk_of(files: &Files) -> Arc<dyn Disk> {
    MemoryDisk::from_snapshot(1, files)
}

fn first(files: &mut Files) -> &mut Vec<u8> {
    files.get_mut("wal/000000000001.wal").unwrap()
}

/// The place of a position in the first segment's file.
fn at(lsn: Lsn) -> usize {
    (HEADER_BYTES + lsn.0 - FIRST_LSN.0) as usize
}

/// The last group gone wrong: the log ends before its entry, for the reason given.
fn ends_before_last(damage: impl Fn(&mut Vec<u8>, Span), reason: Flaw) {
    let (spans, mut files) = log_of(3, 8192);
    damage(first(&mut files), spans[2]);
    let (entries, tail) = read_all(&disk_of(&files)).unwrap();
    assert_eq!(numbers(&entries), [0, 1]);
    assert_eq!((tail.end, tail.reason), (spans[2].lsn, TailReason::Flaw(reason)));
}

#[test]
fn an_untouched_log_ends_in_zeros_after_its_last_entry() {
    let (spans, files) = log_of(3, 8192);
    let (entries, tail) = read_all(&disk_of(&files)).unwrap();
    assert_eq!(numbers(&entries), [0, 1, 2]);
    assert_eq!((tail.end, tail.reason), (spans[2].end, TailReason::Flaw(Flaw::Zeros)));
    assert_eq!(tail.discarded_bytes, 0);
}

#[test]
fn a_segment_in_use_that_was_cut_is_damage_wherever_that_was() {
    let (_, files) = log_of(3, 2048);
    for size in 1..2048 {
        let mut cut = files.clone();
        first(&mut cut).truncate(size);
        assert_eq!(read_all(&disk_of(&cut)).unwrap_err().code, Code::WalCorrupted, "{size} bytes");
    }
}

#[test]
fn a_later_segment_that_was_cut_within_its_header_is_damage() {
    let (_, mut files) = log_of(30, 2048);
    let last = segment_path("wal", files.len() as u64);
    for size in [1, 100, 511] {
        files.get_mut(&last).unwrap().truncate(size);
        assert_eq!(read_all(&disk_of(&files)).unwrap_err().code, Code::WalCorrupted, "{size} bytes");
    }
}

#[test]
fn an_entry_cut_in_its_header_is_the_end() {
    ends_before_last(|file, span| file[at(span.lsn) + 20..].fill(0), Flaw::BadLength);
}

#[test]
fn an_entry_cut_in_its_payload_is_the_end() {
    ends_before_last(|file, span| file[at(span.lsn) + 60..].fill(0), Flaw::BadChecksum);
}

#[test]
fn an_entry_cut_in_its_checksum_is_the_end() {
    ends_before_last(|file, span| file[at(span.end) - 2..].fill(0), Flaw::BadChecksum);
}

#[test]
fn zeros_are_the_end() {
    ends_before_last(|file, span| file[at(span.lsn)..].fill(0), Flaw::Zeros);
}

#[test]
fn rubbish_is_the_end() {
    ends_before_last(|file, span| file[at(span.lsn)..].fill(0xA5), Flaw::WrongLsn);
    let noise = |file: &mut Vec<u8>, span: Span| {
        let mut state = 1u32;
        for byte in &mut file[at(span.lsn)..] {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (state >> 24) as u8;
        }
    };
    ends_before_last(noise, Flaw::WrongLsn);
}

#[test]
fn bytes_of_an_old_segment_are_the_end() {
    // The same place of another segment, and the same segment of an older history.
    let copy_from_first = |file: &mut Vec<u8>, span: Span| {
        let old = file[at(FIRST_LSN)..at(FIRST_LSN) + 300].to_vec();
        file[at(span.lsn)..at(span.lsn) + 300].copy_from_slice(&old);
    };
    ends_before_last(copy_from_first, Flaw::WrongLsn);
    ends_before_last(|file, span| reencode(file, span, |bytes| bytes[24] = 9), Flaw::WrongIncarnation);
}

/// Changes an entry and gives it a checksum that fits again.
fn reencode(file: &mut [u8], span: Span, change: impl Fn(&mut [u8])) {
    let entry = &mut file[at(span.lsn)..at(span.end)];
    change(entry);
    let covered = entry.len() - 4;
    let crc = crc32fast::hash(&entry[..covered]);
    entry[covered..].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn a_wrong_lsn_or_length_is_the_end_even_under_a_right_checksum() {
    ends_before_last(|file, span| reencode(file, span, |bytes| bytes[0] ^= 1), Flaw::WrongLsn);
    for length in [0u32, 39, u32::MAX, (64 << 20) + 1] {
        let set = |bytes: &mut [u8]| bytes[20..24].copy_from_slice(&length.to_le_bytes());
        ends_before_last(|file, span| reencode(file, span, set), Flaw::BadLength);
    }
    let beyond = |bytes: &mut [u8]| bytes[20..24].copy_from_slice(&100_000u32.to_le_bytes());
    ends_before_last(|file, span| reencode(file, span, beyond), Flaw::CutShort);
}

#[test]
fn a_segment_of_another_database_is_not_read() {
    let (_, files) = log_of(3, 8192);
    let mut reader = LogReader::open(disk_of(&files), DatabaseId([8; 16]), FIRST_LSN, Lsn::NONE);
    assert_eq!(reader.as_mut().err().unwrap().code, Code::WalCorrupted);
    // As a last file it is no part of the log.
    let (spans, mut files) = log_of(3, 8192);
    let other = MemoryDisk::new(1);
    Log::create(other.clone(), small(), DatabaseId([8; 16])).unwrap();
    files.insert(segment_path("wal", 2), other.snapshot()[&segment_path("wal", 1)].clone());
    assert_eq!(read_all(&disk_of(&files)).unwrap().1.end, spans[2].end);
}

#[test]
fn entries_run_across_segments() {
    let (spans, files) = log_of(60, 2048);
    assert!(files.len() > 4);
    let crossing = |span: &&Span| (span.lsn.0 - 512) / 1536 != (span.end.0 - 1 - 512) / 1536;
    assert!(spans.iter().filter(crossing).count() > 2);
    let (entries, tail) = read_all(&disk_of(&files)).unwrap();
    assert_eq!(numbers(&entries), (0..60).collect::<Vec<_>>());
    assert_eq!(tail.end, spans[59].end);
    // From each entry's own position on, the rest is read.
    let (rest, _) = read_from(&disk_of(&files), spans[40].lsn, Lsn::NONE).unwrap();
    assert_eq!(numbers(&rest), (40..60).collect::<Vec<_>>());
}

#[test]
fn an_entry_longer_than_several_segments_is_read_back() {
    let disk = MemoryDisk::new(1);
    let log = Log::create(disk.clone(), small(), ID).unwrap();
    append(&log, 1, 100).unwrap();
    let span = append(&log, 2, 200_000).unwrap();
    log.flush_to(span.end).unwrap();
    let long = log.read(span.lsn).unwrap();
    drop(log);
    let (entries, _) = read_all(&(disk as Arc<dyn Disk>)).unwrap();
    assert_eq!(numbers(&entries), [1, 2]);
    assert_eq!(entries[1], long);
}

#[test]
fn a_segment_missing_empty_short_or_damaged_in_the_middle_is_damage() {
    let (_, files) = log_of(60, 2048);
    let middle = segment_path("wal", 3);
    let spoilt: [&dyn Fn(&mut Files); 5] = [
        &|files| drop(files.remove(&middle)),
        &|files| files.get_mut(&middle).unwrap().clear(),
        &|files| files.get_mut(&middle).unwrap().truncate(1000),
        &|files| files.get_mut(&middle).unwrap()[30] ^= 1,
        &|files| files.get_mut(&middle).unwrap()[1000] ^= 1,
    ];
    for (case, spoil) in spoilt.iter().enumerate() {
        let mut files = files.clone();
        spoil(&mut files);
        let error = read_all(&disk_of(&files)).unwrap_err();
        assert_eq!(error.code, Code::WalCorrupted, "case {case}");
        assert!(error.field("details").is_some() && error.field("lsn").is_some());
    }
}

#[test]
fn a_segment_missing_empty_or_unused_at_the_end_is_the_end() {
    let (spans, mut files) = log_of(60, 2048);
    let last = files.keys().last().unwrap().clone();
    let number = files.len() as u64;
    // Prepared files, finished or not, change nothing.
    for (index, bytes) in [vec![], vec![0; 100], vec![0; 2048]].into_iter().enumerate() {
        files.insert(segment_path("wal", number + 1 + index as u64), bytes);
        assert_eq!(read_all(&disk_of(&files)).unwrap().1.end, spans[59].end);
    }
    // Losing the last segment is an end, unless something vouches for what was in it.
    files.retain(|path, _| *path < last);
    let (_, tail) = read_all(&disk_of(&files)).unwrap();
    assert!(tail.end < spans[59].end);
    let error = read_from(&disk_of(&files), FIRST_LSN, spans[59].end).unwrap_err();
    assert_eq!(error.code, Code::WalCorrupted);
}

#[test]
fn a_hole_before_a_durable_group_is_damage_and_a_torn_last_group_is_an_end() {
    let (spans, files) = log_of(3, 8192);
    for (index, span) in spans.iter().enumerate() {
        for offset in (span.lsn.0..span.end.0).step_by(7) {
            let mut files = files.clone();
            first(&mut files)[at(Lsn(offset))] ^= 0x40;
            match read_all(&disk_of(&files)) {
                Ok((entries, tail)) => {
                    assert_eq!((index, numbers(&entries)), (2, vec![0, 1]));
                    assert_eq!(tail.end, span.lsn);
                    assert!(tail.discarded_bytes > 0);
                }
                Err(error) => assert_eq!((error.code, index < 2), (Code::WalCorrupted, true)),
            }
        }
    }
}

#[test]
fn a_last_segment_whose_header_is_damaged_still_proves_what_was_durable() {
    let (spans, mut files) = log_of(60, 2048);
    let last = files.keys().last().unwrap().clone();
    assert!(
        spans[59].lsn.0 - (spans[59].lsn.0 - 512) % 1536 + 200 < spans[59].lsn.0,
        "two groups in it"
    );
    files.get_mut(&last).unwrap()[..512].fill(0);
    assert_eq!(read_all(&disk_of(&files)).unwrap_err().code, Code::WalCorrupted);
}

#[test]
fn a_new_incarnation_makes_what_lay_beyond_its_start_count_no_more() {
    let (spans, mut files) = log_of(6, 8192);
    // Entry 4 was lost unsynced and entry 5 was not: nothing proves that 4 was durable.
    first(&mut files)[at(spans[4].lsn)..at(spans[4].end)].fill(0);
    let group = at(spans[4].end)..at(spans[4].end) + GROUP_BYTES;
    first(&mut files)[group].fill(0);
    let disk = disk_of(&files);
    let (_, tail) = read_all(&disk).unwrap();
    assert_eq!(tail.end, spans[4].lsn);
    assert!(tail.discarded_bytes > 0);
    let log = Log::open(disk.clone(), small(), ID, Incarnation(2), tail.end).unwrap();
    // Now an entry of exactly the old length stands where 4 was, and 5 would follow it.
    for number in 100..140 {
        let span = append(&log, number, 100).unwrap();
        log.flush_to(span.end).unwrap();
    }
    drop(log);
    let (entries, _) = read_all(&disk).unwrap();
    assert_eq!(numbers(&entries), (0..4).chain(100..140).collect::<Vec<_>>());
    assert!(Log::open(disk, small(), ID, Incarnation(2), tail.end).is_err());
}

#[test]
fn several_recoveries_in_a_row_that_write_nothing_leave_a_readable_log() {
    let (spans, files) = log_of(5, 8192);
    let disk = disk_of(&files);
    for incarnation in 2..6 {
        let end = read_all(&disk).unwrap().1.end;
        assert_eq!(end, spans[4].end);
        drop(Log::open(disk.clone(), small(), ID, Incarnation(incarnation), end).unwrap());
    }
    let log = Log::open(disk.clone(), small(), ID, Incarnation(6), spans[4].end).unwrap();
    log.flush_to(append(&log, 9, 10).unwrap().end).unwrap();
    assert_eq!(numbers(&read_all(&disk).unwrap().0), [0, 1, 2, 3, 4, 9]);
}

#[test]
fn another_version_is_told_as_such() {
    let (_, mut files) = log_of(1, 8192);
    let file = first(&mut files);
    file[8] = 9;
    let crc = crc32fast::hash(&file[..508]);
    file[508..512].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(read_all(&disk_of(&files)).unwrap_err().code, Code::FormatUnsupported);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn arbitrary_bytes_never_panic_or_hang_the_reader(
        noise in proptest::collection::vec(any::<u8>(), 1..400),
        place in 0usize..6000,
        second in any::<bool>(),
        cut in proptest::option::of(0usize..4096),
    ) {
        let (_, mut files) = log_of(20, 2048);
        let path = segment_path("wal", if second { 2 } else { 1 });
        let file = files.get_mut(&path).unwrap();
        if let Some(cut) = cut {
            file.truncate(cut);
        }
        if !file.is_empty() {
            let from = place % file.len();
            let to = (from + noise.len()).min(file.len());
            file[from..to].copy_from_slice(&noise[..to - from]);
        }
        if let Ok((entries, _)) = read_all(&disk_of(&files)) {
            let expected: Vec<u64> = (0..entries.len() as u64).collect();
            prop_assert_eq!(numbers(&entries), expected, "only true entries, in order");
        }
    }
}
