//! Appends, group commit, rotation, room for undo, failure, truncation.

use super::*;
use crate::disk::OpenMode;
use crate::disk::faults::{Call, Failure, Fault, FaultDisk};
use crate::disk::memory::MemoryDisk;
use crate::disk::os::OsDisk;
use crate::disk::tests::TempFolder;
use crate::error::Code;
use crate::log::{segments, undo_room};
use crate::types::Incarnation;

fn on_each_disk(label: &str, check: impl Fn(Arc<dyn Disk>)) {
    let folder = TempFolder::new(label);
    check(Arc::new(OsDisk::new(&folder.0)));
    check(MemoryDisk::new(1));
    check(FaultDisk::new(MemoryDisk::new(1)));
}

#[test]
fn what_was_appended_is_read_back_from_memory_and_from_files() {
    on_each_disk("log-read", |disk| {
        let options = LogOptions { buffer_bytes: 8 << 10, ..small() };
        let log = Log::create(disk.clone(), options, ID).unwrap();
        let spans: Vec<Span> = (0..300).map(|n| append(&log, n, 10 + n as usize).unwrap()).collect();
        for (number, span) in spans.iter().enumerate() {
            let entry = log.read(span.lsn).unwrap();
            assert_eq!(entry.body, body(number as u64, 10 + number));
            assert_eq!(entry.header.end(), span.end);
        }
        assert!(log.read(log.end()).is_err() && log.read(spans[5].lsn.plus(1)).is_err());
        log.flush_to(log.end()).unwrap();
        assert_eq!(log.durable(), log.end());
        drop(log);
        assert_eq!(read_all(&disk).unwrap().0.len(), 300);
    });
}

#[test]
fn under_runs_in_the_step_of_the_append_and_commit_times_never_run_backwards() {
    let log = Log::create(MemoryDisk::new(1), small(), ID).unwrap();
    log.set_commit_floor(50);
    let commit = |time: i64| {
        let mut seen = None;
        let parts: [&[u8]; 2] = [&time.to_le_bytes(), b"rest"];
        let entry = NewEntry::new(TxnId(3), Op::Commit, Lsn::NONE, &parts);
        let span = log.append(&entry, |span| seen = Some(span)).unwrap();
        assert_eq!(seen, Some(span));
        let body = log.read(span.lsn).unwrap().body;
        assert_eq!(&body[8..], b"rest");
        i64::from_le_bytes(body[..8].try_into().unwrap())
    };
    assert_eq!([commit(10), commit(70), commit(60), commit(71)], [50, 70, 70, 71]);
}

#[test]
fn each_group_names_what_was_durable_before_it() {
    let disk = MemoryDisk::new(1);
    let log = Log::create(disk.clone(), small(), ID).unwrap();
    let mut durable = vec![log.durable()];
    for number in 0..10 {
        append(&log, number, 50).unwrap();
        append(&log, number, 50).unwrap();
        log.flush_to(log.end()).unwrap();
        log.flush_to(log.end()).unwrap();
        durable.push(log.durable());
    }
    assert_eq!(log.status().groups, 10);
    let mut reader = LogReader::open(disk, ID, FIRST_LSN, Lsn::NONE).unwrap();
    let mut named = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        named.extend(crate::log::record::group_durable(&entry));
    }
    assert_eq!(named, durable[..10]);
}

#[test]
fn many_threads_share_syncs_and_each_finds_its_commits_durable() {
    on_each_disk("log-group", |disk| {
        let options = LogOptions { background: true, segment_bytes: 64 << 10, ..small() };
        let log = Log::create(disk.clone(), options, ID).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let log = &log;
                scope.spawn(move || {
                    for n in 0..200 {
                        let span = append(log, thread * 1000 + n, 120).unwrap();
                        log.commit_wait(span.end).unwrap();
                        assert!(log.durable() >= span.end);
                    }
                });
            }
        });
        let status = log.status();
        assert!(status.syncs <= 1600 + status.rotations && status.groups <= 1600, "{status:?}");
        log.close().unwrap();
        assert_eq!(append(&log, 1, 8).unwrap_err().code, Code::StoreClosed);
        let mut found = numbers(&read_all(&disk).unwrap().0);
        found.sort_unstable();
        let expected: Vec<u64> = (0..8).flat_map(|t| (0..200).map(move |n| t * 1000 + n)).collect();
        assert_eq!(found, expected);
    });
}

#[test]
fn a_closed_log_is_resumed_where_it_ended() {
    on_each_disk("log-resume", |disk| {
        let mut end = FIRST_LSN;
        for life in 0..6u64 {
            let options = LogOptions { background: life % 2 == 0, ..small() };
            let log = if life == 0 {
                Log::create(disk.clone(), options, ID).unwrap()
            } else {
                Log::resume(disk.clone(), options, ID, Incarnation(1), end).unwrap()
            };
            for n in 0..life * 7 {
                append(&log, life * 100 + n, 90).unwrap();
            }
            log.close().unwrap();
            end = log.end();
        }
        assert_eq!(read_all(&disk).unwrap().0.len(), 7 * 15);
        assert_eq!(read_all(&disk).unwrap().1.end, end);
        let early = Log::resume(disk.clone(), small(), ID, Incarnation(1), Lsn(end.0 - 130));
        assert_eq!(early.err().unwrap().code, Code::WalCorrupted);
    });
}

#[test]
fn a_rotation_ends_the_segment_and_the_stream_goes_on() {
    on_each_disk("log-rotate", |disk| {
        let log = Log::create(disk.clone(), LogOptions { segment_bytes: 8192, ..small() }, ID).unwrap();
        for number in 0..20 {
            append(&log, number, 100).unwrap();
            log.rotate().unwrap();
            log.rotate().unwrap();
        }
        let end = append(&log, 20, 3000).unwrap().end;
        log.close().unwrap();
        let starts = segments::discover(&*disk, ID).unwrap();
        assert_eq!(starts.iter().filter(|info| info.header.is_ok()).count(), 21);
        assert_eq!(numbers(&read_all(&disk).unwrap().0), (0..=20).collect::<Vec<_>>());
        drop(log);
        let log = Log::resume(disk.clone(), small(), ID, Incarnation(1), end).unwrap();
        append(&log, 21, 100).unwrap();
        log.close().unwrap();
        assert_eq!(numbers(&read_all(&disk).unwrap().0), (0..=21).collect::<Vec<_>>());
    });
}

#[test]
fn segments_that_are_known_to_be_filled_are_set_aside_and_the_next_ones_written_beforehand() {
    let disk = FaultDisk::over_memory(MemoryDisk::new(1));
    let log = Log::create(disk.clone(), small(), ID).unwrap();
    let set_aside = || disk.counters().of(Call::Allocate);
    // What is to come fills two whole ones, after the rest of the first, and some of a fourth.
    log.expect(3 * (2048 - segments::HEADER_BYTES) + 100);
    for number in 0..100 {
        append(&log, number, 100).unwrap();
    }
    assert_eq!(set_aside(), 2);
    log.expect(5 * 2048);
    log.expect(0);
    for number in 100..200 {
        append(&log, number, 100).unwrap();
    }
    assert_eq!(set_aside(), 2, "nothing is expected any more");
    log.close().unwrap();
    let disk: Arc<dyn Disk> = disk;
    assert_eq!(numbers(&read_all(&disk).unwrap().0), (0..200).collect::<Vec<_>>());
}

#[test]
fn truncation_removes_whole_segments_and_archives_them_when_asked() {
    for archive in [false, true] {
        on_each_disk("log-truncate", |disk| {
            let log = Log::create(disk.clone(), LogOptions { archive, ..small() }, ID).unwrap();
            let spans: Vec<Span> = (0..100).map(|n| append(&log, n, 100).unwrap()).collect();
            assert_eq!(log.truncate_before(spans[60].lsn).unwrap(), 0, "nothing is durable yet");
            log.flush_to(log.end()).unwrap();
            let removed = log.truncate_before(spans[60].lsn).unwrap();
            assert!(removed > 3 && log.status().oldest <= spans[60].lsn);
            assert_eq!(log.read(spans[60].lsn).unwrap().body, body(60, 100));
            assert_eq!(disk.list("archive").unwrap().len(), if archive { removed as usize } else { 0 });
            assert_eq!(log.truncate_before(Lsn::MAX).unwrap(), log.status().rotations as u32 - removed);
            append(&log, 100, 100).unwrap();
            log.close().unwrap();
            let (entries, _) = read_from(&disk, spans[99].lsn, Lsn::NONE).unwrap();
            assert_eq!(numbers(&entries), [99, 100]);
            assert_eq!(read_all(&disk).unwrap_err().code, Code::WalCorrupted);
        });
    }
}

#[test]
fn a_segment_that_was_damaged_before_it_is_archived_is_told_as_a_gap() {
    for damaged in [false, true] {
        let disk = MemoryDisk::new(1);
        let log = Log::create(disk.clone(), LogOptions { archive: true, ..small() }, ID).unwrap();
        let spans: Vec<Span> = (0..100).map(|n| append(&log, n, 100).unwrap()).collect();
        log.flush_to(log.end()).unwrap();
        // Some go while all is well; entries run across segments.
        let before = log.truncate_before(spans[30].lsn).unwrap();
        assert!(before > 0 && log.take_archive_gap().is_none());
        let oldest = disk.list("wal").unwrap().into_iter().min().unwrap();
        let path = format!("wal/{oldest}");
        let size = disk.snapshot()[&path].len() as u64;
        if damaged {
            disk.flip_bit(&path, size / 2, 3).unwrap();
        }
        let removed = log.truncate_before(spans[90].lsn).unwrap();
        assert!(removed > 1, "the database does not wait for what no longer exists");
        let gap = log.take_archive_gap();
        assert_eq!(gap.as_ref().map(|gap| gap.why.code), damaged.then_some(Code::WalCorrupted));
        if let Some(gap) = gap {
            assert_eq!(gap.first, gap.last, "the segments after it are whole");
        }
        let kept = disk.list("archive").unwrap().len() as u32;
        assert_eq!(kept, before + removed, "the copy stays: it is good up to the damage");
        log.close().unwrap();
    }
}

#[test]
fn a_full_disk_refuses_appends_before_anything_is_placed_and_undo_still_fits() {
    let disk = MemoryDisk::new(1);
    disk.set_capacity(Some(20_000));
    let log = Log::create(disk.clone(), small(), ID).unwrap();
    let undo = undo_room(100);
    let parts: [&[u8]; 1] = [&[1; 100]];
    let change = NewEntry::new(TxnId(1), Op::Update, Lsn::NONE, &parts);
    let mut reserved = 0;
    let refused = loop {
        let end = log.end();
        match log.append(&NewEntry { reserve_undo: undo, ..change }, |_| {}) {
            Ok(_) => reserved += 1,
            Err(error) => {
                assert_eq!(log.end(), end);
                break error;
            }
        }
    };
    assert_eq!(refused.code, Code::DiskFull);
    assert!(log.failed().is_none() && reserved > 20);
    assert_eq!(disk.list("wal").unwrap().len() as u64, log.status().segments, "no half segment stays");
    for _ in 0..reserved {
        let clr = NewEntry { op: Op::Clr, use_undo: undo, ..change };
        let span = log.append(&clr, |_| {}).unwrap();
        log.flush_to(span.end).unwrap();
    }
    assert_eq!(log.status().reserved_undo, 0);
    assert!(log.append(&NewEntry { body: &[&[0; 4000]], ..change }, |_| {}).is_err());
    disk.set_capacity(None);
    append(&log, 1, 4000).unwrap();
    log.close().unwrap();
}

#[test]
fn a_failed_write_or_sync_poisons_the_log_for_good_and_reads_go_on() {
    for call in [Call::Write, Call::Sync] {
        let memory = MemoryDisk::new(1);
        let disk = FaultDisk::over_memory(memory.clone());
        let log = Log::create(disk.clone(), LogOptions { segment_bytes: 8192, ..small() }, ID).unwrap();
        let first = append(&log, 1, 100).unwrap();
        log.flush_to(first.end).unwrap();
        let second = append(&log, 2, 100).unwrap();
        disk.fail(Fault { call: Some(call), nth: 1, for_good: false, failure: Failure::Device });
        let error = log.flush_to(second.end).unwrap_err();
        assert_eq!(error.code, Code::StoreFailed);
        assert_eq!(error.cause.unwrap().code, Code::IoError);
        for error in [log.flush_to(second.end).unwrap_err(), append(&log, 3, 8).unwrap_err()] {
            assert_eq!(error.code, Code::StoreFailed);
        }
        assert!(
            log.try_append(&NewEntry::new(TxnId(1), Op::Update, Lsn::NONE, &[]), |_| {})
                .unwrap()
                .is_err()
        );
        assert_eq!(log.commit_wait(first.end).map_err(|e| e.code), Ok(()));
        assert_eq!(log.read(first.lsn).unwrap().body, body(1, 100));
        assert_eq!((log.durable(), log.failed().unwrap().code), (first.end, Code::StoreFailed));
        drop(log);
        memory.crash(1);
        let (entries, _) = read_all(&(memory.reopen() as Arc<dyn Disk>)).unwrap();
        assert_eq!(numbers(&entries)[0], 1);
    }
}

#[test]
fn without_durable_commits_bytes_are_written_and_synced_only_on_demand() {
    let disk = MemoryDisk::new(1);
    let log = Log::create(disk.clone(), LogOptions { sync_mode: SyncMode::Off, ..small() }, ID).unwrap();
    let span = append(&log, 1, 100).unwrap();
    log.commit_wait(span.end).unwrap();
    log.write_to(span.end).unwrap();
    assert_eq!((log.status().written, log.durable(), log.status().syncs), (span.end, FIRST_LSN, 0));
    log.flush_to(span.end).unwrap();
    assert_eq!((log.durable(), log.status().syncs), (span.end, 1));
}

#[test]
fn the_interval_mode_syncs_by_itself() {
    let options = LogOptions {
        sync_mode: SyncMode::Interval(1),
        background: true,
        segment_bytes: 1 << 16,
        ..small()
    };
    let log = Log::create(MemoryDisk::new(1), options, ID).unwrap();
    let span = append(&log, 1, 100).unwrap();
    let begun = std::time::Instant::now();
    while log.durable() < span.end {
        assert!(begun.elapsed().as_secs() < 10, "nothing was synced");
        std::thread::yield_now();
    }
}

#[test]
fn try_append_never_waits() {
    let disk = MemoryDisk::new(1);
    let log = Log::create(disk.clone(), LogOptions { buffer_bytes: 1000, ..small() }, ID).unwrap();
    let parts: [&[u8]; 1] = [&[1; 100]];
    let entry = NewEntry::new(TxnId(1), Op::Update, Lsn::NONE, &parts);
    let mut placed = 0;
    while log.try_append(&entry, |_| {}).transpose().unwrap().is_some() {
        placed += 1;
    }
    assert!(placed >= 5 && disk.counters().of(Call::Write) == 2, "{placed} without a write");
    log.append(&entry, |_| {}).unwrap();
    assert!(log.try_append(&entry, |_| {}).is_some());
    log.append(&entry, |_| assert!(log.try_append(&entry, |_| {}).is_none())).unwrap();
}

#[test]
fn readers_find_every_entry_while_writers_append_and_segments_go() {
    let options =
        LogOptions { background: true, segment_bytes: 32 << 10, buffer_bytes: 16 << 10, ..small() };
    let disk = MemoryDisk::new(1);
    let log = Log::create(disk.clone(), options, ID).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..3u64 {
            let log = &log;
            scope.spawn(move || {
                let mut mine = Vec::new();
                for n in 0..2000u64 {
                    mine.push(append(log, thread << 32 | n, 60 + (n % 90) as usize).unwrap());
                    let back = mine.len() - 1 - (n as usize * 7) % mine.len().min(40);
                    let found = log.read(mine[back].lsn).unwrap();
                    assert_eq!(numbers(&[found]), [thread << 32 | back as u64]);
                    if n % 100 == 99 {
                        log.flush_to(mine[back].end).unwrap();
                    }
                    if n % 500 == 499 {
                        log.rotate().unwrap();
                    }
                }
            });
        }
    });
    let oldest = log.end().0 - 40_000;
    assert!(log.truncate_before(Lsn(oldest)).unwrap() > 0);
    log.close().unwrap();
    assert!(disk.open(&segments::segment_path("wal", 1), OpenMode::Read).is_err());
}

#[test]
fn few_files_are_open_however_much_log_is_kept_read_and_set_aside_for_undo() {
    let disk = MemoryDisk::new(1);
    let options = LogOptions { buffer_bytes: 4 << 10, ..small() };
    let log = Log::create(disk.clone(), options, ID).unwrap();
    let room = 300_000;
    let aside = NewEntry::new(TxnId(1), Op::Update, Lsn::NONE, &[b"first"]);
    log.append(&NewEntry { reserve_undo: room, ..aside }, |_| {}).unwrap();
    let spans: Vec<Span> = (0..1000).map(|n| append(&log, n, 200).unwrap()).collect();
    for (number, span) in spans.iter().enumerate().rev() {
        assert_eq!(log.read(span.lsn).unwrap().body, body(number as u64, 200));
        let open = log.core.state.lock().slots.open_files();
        assert!(open <= 10, "{open} files are open");
    }
    let held = log.status();
    assert!(held.segments > 250, "{}", held.segments);
    // Once nothing has to be undone, what was prepared for it goes, and so does the old log.
    log.release_undo(room);
    log.truncate_before(log.durable()).unwrap();
    let left = log.status();
    assert!(left.segments <= 6, "{} segments are left", left.segments);
    assert!(disk.list("wal").unwrap().len() as u64 == left.segments);
    let spans: Vec<Span> = (0..300).map(|n| append(&log, n, 200).unwrap()).collect();
    log.flush_to(log.end()).unwrap();
    let end = log.end();
    drop(log);
    let disk: Arc<dyn Disk> = disk;
    let (entries, tail) = read_from(&disk, spans[0].lsn, Lsn::NONE).unwrap();
    assert!(entries.len() == 300 && tail.end == end);
}
