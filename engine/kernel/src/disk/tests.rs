//! What every disk must do, on all four; then what only the simulated ones do.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::faults::{Call, Failure, Fault, FaultDisk};
use super::memory::MemoryDisk;
use super::os::OsDisk;
use super::overlay::Overlay;
use super::{AlignedBuffer, Disk, OpenMode};
use crate::error::{Code, Field};
use crate::sync::Arc;

/// A folder of the system's temporary directory that goes with the value.
pub(crate) struct TempFolder(pub std::path::PathBuf);

impl TempFolder {
    pub(crate) fn new(label: &str) -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("holdfast-{label}-{}-{number}", std::process::id());
        TempFolder(std::env::temp_dir().join(name))
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn on_each_disk(label: &str, check: impl Fn(&dyn Disk)) {
    let folder = TempFolder::new(label);
    check(&OsDisk::new(&folder.0));
    check(&*MemoryDisk::new(1));
    check(&*FaultDisk::new(MemoryDisk::new(1)));
    check(&Overlay::inside(MemoryDisk::new(1)).unwrap());
}

#[test]
fn bytes_written_at_a_place_are_read_back_and_gaps_are_zeros() {
    on_each_disk("bytes", |disk| {
        let file = disk.open("wal/one", OpenMode::Create).unwrap();
        file.write_at(b"world", 10).unwrap();
        file.write_at(b"hello", 0).unwrap();
        file.sync().unwrap();
        disk.sync_dir("wal").unwrap();
        let mut bytes = [9u8; 20];
        assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 15);
        assert_eq!(&bytes[..15], b"hello\0\0\0\0\0world");
        assert_eq!(file.read_at(&mut bytes, 100).unwrap(), 0);
        assert_eq!(disk.open("wal/one", OpenMode::Read).unwrap().size().unwrap(), 15);
    });
}

#[test]
fn all_that_was_written_is_among_the_data_and_what_is_not_is_zeros() {
    on_each_disk("data", |disk| {
        let file = disk.open("wal/one", OpenMode::Create).unwrap();
        file.allocate(4 << 20).unwrap();
        let places = [0u64, 70_001, 1_500_000, (4 << 20) - 3];
        for place in places {
            file.write_at(b"abc", place).unwrap();
        }
        let is_data = |at: u64| {
            let data = file.data(0, 4 << 20).unwrap();
            data.iter().any(|part| part.contains(&at))
        };
        assert!(places.iter().all(|place| is_data(*place) && is_data(place + 2)));
        let mut bytes = vec![0; 4 << 20];
        file.read_at(&mut bytes, 0).unwrap();
        for data in file.data(0, 4 << 20).unwrap() {
            bytes[data.start as usize..data.end as usize].fill(0);
        }
        assert!(bytes.iter().all(|byte| *byte == 0));
        // Within the stretch that was asked for, and nothing beyond.
        let part = file.data(70_002, 70_003).unwrap();
        assert_eq!((part.len(), &part[0]), (1, &(70_002..70_003)));
    });
}

#[test]
fn a_missing_file_is_told_apart_and_removing_it_is_no_error() {
    on_each_disk("missing", |disk| {
        for mode in [OpenMode::Read, OpenMode::Write] {
            let error = disk.open("nowhere", mode).err().unwrap();
            assert_eq!(error.code, Code::IoError);
            assert_eq!(error.field("missing"), Some(&Field::Int(1)));
        }
        disk.remove("nowhere").unwrap();
        assert!(disk.list("no/folder").unwrap().is_empty());
    });
}

#[test]
fn list_names_the_files_of_one_folder_sorted() {
    on_each_disk("list", |disk| {
        for path in ["b", "a", "wal/2", "wal/1"] {
            disk.open(path, OpenMode::Create).unwrap();
        }
        assert_eq!(disk.list("").unwrap(), ["a", "b"]);
        assert_eq!(disk.list("wal").unwrap(), ["1", "2"]);
        assert!(disk.exists("wal/1").unwrap() && !disk.exists("wal/3").unwrap());
        disk.remove("wal/1").unwrap();
        assert_eq!(disk.list("wal").unwrap(), ["2"]);
    });
}

#[test]
fn allocation_grows_with_zeros_and_never_shrinks() {
    on_each_disk("allocate", |disk| {
        let file = disk.open("data", OpenMode::Create).unwrap();
        file.write_at(&[7; 100], 0).unwrap();
        file.allocate(5000).unwrap();
        file.allocate(10).unwrap();
        assert_eq!(file.size().unwrap(), 5000);
        let mut bytes = [1u8; 5000];
        assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 5000);
        assert!(bytes[..100].iter().all(|b| *b == 7) && bytes[100..].iter().all(|b| *b == 0));
        file.truncate(50).unwrap();
        assert_eq!(file.size().unwrap(), 50);
        assert!(disk.free_bytes().unwrap() > 0);
    });
}

#[test]
fn a_file_opened_for_reading_refuses_writes() {
    on_each_disk("readonly", |disk| {
        disk.open("data", OpenMode::Create).unwrap();
        assert!(disk.open("data", OpenMode::Read).unwrap().write_at(b"x", 0).is_err());
    });
}

#[test]
fn paths_cannot_leave_the_database_directory() {
    let folder = TempFolder::new("paths");
    let disk = OsDisk::new(&folder.0);
    for path in ["../x", "/etc/x", "a//b", "a/../../b", "c:x", "a\\b", "."] {
        assert_eq!(disk.open(path, OpenMode::Create).err().unwrap().code, Code::InvalidArgument);
    }
}

#[cfg(unix)]
#[test]
fn files_and_folders_are_private_to_their_owner() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempFolder::new("private");
    OsDisk::new(&folder.0).open("wal/one", OpenMode::Create).unwrap();
    let mode = |path: &str| std::fs::metadata(folder.0.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("wal"), mode("wal/one")), (0o700, 0o700, 0o600));
}

#[test]
fn what_was_synced_survives_every_crash_and_what_was_not_may_tear_in_sectors() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let disk = MemoryDisk::new(seed);
        let file = disk.open("data", OpenMode::Create).unwrap();
        file.write_at(&[1; 2048], 0).unwrap();
        file.sync().unwrap();
        disk.sync_dir("").unwrap();
        file.write_at(&[2; 1024], 512).unwrap();
        disk.crash(seed);
        assert!(file.size().is_err(), "a handle of the old life must not work");
        let after = disk.reopen().snapshot()["data"].clone();
        assert!(after.len() == 2048 && after[..512].iter().all(|b| *b == 1));
        assert!(after[1536..].iter().all(|b| *b == 1));
        for sector in after.chunks(512) {
            assert!(sector.iter().all(|b| *b == sector[0]), "a sector is whole");
        }
        outcomes.insert((after[512], after[1024]));
    }
    assert_eq!(outcomes.len(), 4, "each combination of the two sectors happens");
}

#[test]
fn unsynced_writes_are_reordered() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let disk = MemoryDisk::new(seed);
        let file = disk.open("data", OpenMode::Create).unwrap();
        disk.sync_dir("").unwrap();
        file.write_at(&[1; 512], 0).unwrap();
        file.write_at(&[2; 512], 0).unwrap();
        disk.crash(seed);
        seen.insert(disk.reopen().snapshot()["data"].first().copied());
    }
    assert!(seen.contains(&None) && seen.contains(&Some(1)) && seen.contains(&Some(2)));
}

#[test]
fn names_are_certain_only_after_the_folder_was_synced() {
    let (mut created, mut removed) = ([0; 2], [0; 2]);
    for seed in 0..100 {
        let disk = MemoryDisk::new(seed);
        for path in ["wal/old", "wal/kept"] {
            disk.open(path, OpenMode::Create).unwrap().sync().unwrap();
        }
        disk.sync_dir("wal").unwrap();
        disk.open("wal/new", OpenMode::Create).unwrap().sync().unwrap();
        disk.remove("wal/old").unwrap();
        disk.crash(seed);
        let names = disk.reopen().list("wal").unwrap();
        assert!(names.contains(&"kept".to_owned()));
        created[usize::from(names.contains(&"new".to_owned()))] += 1;
        removed[usize::from(names.contains(&"old".to_owned()))] += 1;
    }
    assert!(created.iter().chain(&removed).all(|count| *count > 10), "{created:?} {removed:?}");
}

#[test]
fn the_nth_change_and_everything_after_it_fails_until_the_disk_is_reopened() {
    let disk = MemoryDisk::new(3);
    let file = disk.open("data", OpenMode::Create).unwrap();
    disk.crash_after(2);
    file.write_at(b"a", 0).unwrap();
    let error = file.write_at(b"b", 1).unwrap_err();
    assert_eq!(error.field("os_error"), Some(&Field::Text("simulated crash".into())));
    assert!(file.read_at(&mut [0], 0).is_err() && disk.list("").is_err() && disk.is_dead());
    let next = disk.reopen();
    assert!(next.list("").is_ok() && file.size().is_err());
}

#[test]
fn a_killed_process_loses_nothing_that_was_written() {
    let disk = MemoryDisk::new(3);
    disk.open("data", OpenMode::Create).unwrap().write_at(b"abc", 0).unwrap();
    disk.kill();
    assert_eq!(disk.reopen().snapshot()["data"], b"abc");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let run = |seed| {
        let disk = MemoryDisk::new(seed);
        for i in 0..20u8 {
            let file = disk.open(&format!("wal/{}", i % 3), OpenMode::Create).unwrap();
            file.write_at(&[i; 700], u64::from(i) * 300).unwrap();
        }
        disk.crash(seed);
        disk.reopen().hash()
    };
    assert_eq!(run(5), run(5));
    assert!((6..20).any(|seed| run(seed) != run(5)));
}

#[test]
fn a_left_out_sync_and_a_full_disk_are_simulated() {
    let survives = |seed: u64| {
        let disk = MemoryDisk::new(seed);
        disk.ignore_sync("wal/0");
        let file = disk.open("wal/0", OpenMode::Create).unwrap();
        disk.sync_dir("wal").unwrap();
        file.write_at(&[1; 600], 0).unwrap();
        file.sync().unwrap();
        disk.crash(seed);
        disk.reopen().snapshot()["wal/0"] == [1; 600]
    };
    assert!((0..20).any(|seed| !survives(seed)));
    let disk = MemoryDisk::new(3);
    disk.set_capacity(Some(1000));
    let file = disk.open("data", OpenMode::Create).unwrap();
    file.write_at(&[1; 900], 0).unwrap();
    assert_eq!(file.write_at(&[1; 200], 900).unwrap_err().code, Code::DiskFull);
    assert_eq!((file.size().unwrap(), disk.free_bytes().unwrap()), (900, 100));
    disk.remove("data").unwrap();
    assert_eq!(disk.free_bytes().unwrap(), 1000);
}

#[test]
fn the_chosen_call_fails_once_or_for_good_with_the_chosen_error() {
    let disk = FaultDisk::new(MemoryDisk::new(1));
    let file = disk.open("data", OpenMode::Create).unwrap();
    disk.fail(Fault { call: Some(Call::Write), nth: 2, for_good: false, failure: Failure::Device });
    let write = || file.write_at(b"x", 0).map_err(|e| e.code);
    assert_eq!([write(), write(), write()], [Ok(()), Err(Code::IoError), Ok(())]);
    disk.fail(Fault { call: None, nth: 1, for_good: true, failure: Failure::Full });
    assert_eq!([write(), write()], [Err(Code::DiskFull); 2]);
    assert_eq!((disk.struck(), disk.counters().of(Call::Write)), (3, 5));
    disk.heal();
    disk.full_after(10);
    assert_eq!(file.write_at(&[0; 12], 0).unwrap_err().code, Code::DiskFull);
    file.write_at(&[0; 11], 0).unwrap();
    disk.delay(Call::Sync, Duration::from_millis(1));
    file.sync().unwrap();
}

#[test]
fn a_failed_sync_drops_the_writes_it_covered() {
    let memory = MemoryDisk::new(1);
    let disk = FaultDisk::over_memory(Arc::clone(&memory));
    let file = disk.open("data", OpenMode::Create).unwrap();
    disk.sync_dir("").unwrap();
    disk.fail(Fault { call: Some(Call::Sync), nth: 1, for_good: false, failure: Failure::Device });
    file.write_at(b"gone", 0).unwrap();
    assert!(file.sync().is_err());
    file.sync().unwrap();
    let mut bytes = [0; 4];
    file.read_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"gone", "the system still shows it");
    memory.crash(1);
    assert_eq!(memory.reopen().snapshot()["data"], b"", "a later sync did not bring it back");
}

#[test]
fn a_flipped_bit_is_seen_now_and_after_a_crash() {
    let disk = MemoryDisk::new(1);
    let file = disk.open("data", OpenMode::Create).unwrap();
    file.write_at(&[0; 4], 0).unwrap();
    file.sync().unwrap();
    disk.sync_dir("").unwrap();
    disk.flip_bit("data", 2, 3).unwrap();
    disk.crash(1);
    assert_eq!(disk.reopen().snapshot()["data"], [0, 0, 8, 0]);
}

#[test]
fn what_was_written_past_the_cache_is_read_back_whether_it_was_aligned_or_not() {
    on_each_disk("past", |disk| {
        let file = disk.open("doublewrite", OpenMode::Create).unwrap();
        file.allocate(64 << 10).unwrap();
        file.sync().unwrap();
        // Half of it is what the system has cached.
        file.write_at(&[1; 20_000], 0).unwrap();
        let mut buffer = AlignedBuffer::default();
        buffer.begin(32 << 10, 0).unwrap();
        buffer.extend(&[2; 32 << 10]);
        file.write_past_cache(buffer.bytes(), 8192).unwrap();
        file.write_past_cache(&buffer.bytes()[..5000], 4096).unwrap();
        file.write_past_cache(&[3; 10], 1).unwrap();
        file.write_past_cache(&[], 0).unwrap();
        file.sync().unwrap();
        let mut bytes = vec![9; 64 << 10];
        assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 64 << 10);
        let expected = [(1, 1), (3, 10), (1, 4085), (2, 36_864), (0, 24_576)];
        let expected: Vec<u8> = expected.iter().flat_map(|&(byte, count)| vec![byte; count]).collect();
        assert!(bytes == expected);
    });
}

#[test]
fn what_is_read_past_the_cache_is_what_was_written_cached_or_not_and_ends_with_the_file() {
    on_each_disk("read", |disk| {
        let content: Vec<u8> = (0..50_001u32).map(|at| (at / 7) as u8).collect();
        let file = disk.open("pages", OpenMode::Create).unwrap();
        let mut buffer = AlignedBuffer::default();
        buffer.begin(40_960, 0).unwrap();
        buffer.extend(&content[..40_960]);
        file.write_past_cache(buffer.bytes(), 0).unwrap();
        file.sync().unwrap();
        // What comes after is what the system has cached, and some of what comes before.
        file.write_at(&content[40_960..], 40_960).unwrap();
        file.read_at(&mut [0; 100], 8192).unwrap();
        for mode in [OpenMode::Read, OpenMode::Write] {
            let file = disk.open("pages", mode).unwrap();
            for (at, size) in
                [(0, 65_536), (0, 8192), (8192, 49_152), (49_152, 4096), (3, 4096), (53_248, 4096)]
            {
                let mut read = AlignedBuffer::zeroed(size).unwrap();
                let count = file.read_past_cache(read.bytes_mut(), at).unwrap();
                let expected =
                    &content[content.len().min(at as usize)..content.len().min(at as usize + size)];
                assert!(read.bytes()[..count] == *expected, "{count} bytes at {at}");
            }
        }
    });
}
