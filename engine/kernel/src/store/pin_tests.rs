//! What holds the log back, how far, and how transactions end that their owners do not end.
#![allow(clippy::unwrap_used)]

use std::sync::Barrier;

use super::tests::{all, key, options, tree};
use super::*;
use crate::disk::memory::MemoryDisk;
use crate::error::Field;
use crate::txn::{LogLimits, TreeRef};

const SEGMENT: u64 = 64 << 10;

fn begin(store: &Store, isolation: Isolation) -> Transaction {
    store.begin(isolation, false).unwrap()
}

/// A store with small segments and 300 rows of 100 bytes.
fn store_with(limits: LogLimits) -> (Store, TreeRef) {
    let mut options = options();
    options.opening.log.segment_bytes = SEGMENT;
    options.opening.log.buffer_bytes = 16 << 10;
    options.opening.limits = limits;
    let store = Store::create(MemoryDisk::new(61), &options).unwrap();
    let at = update(&store, None, 0);
    (store, at)
}

/// Gives every row a new value; returns the tree.
fn update(store: &Store, at: Option<TreeRef>, value: u8) -> TreeRef {
    let mut txn = begin(store, Isolation::RepeatableRead);
    let at = at.unwrap_or_else(|| tree(&mut txn, "t"));
    (0..300).for_each(|i| assert_eq!(txn.put(at, &key(i), &[value; 100]).unwrap(), value > 0));
    txn.commit().unwrap();
    at
}

/// Rounds of updates that make a megabyte of log, with checkpoints that drop what they may.
fn work(store: &Store, at: TreeRef, rounds: std::ops::Range<u8>) {
    for round in rounds {
        update(store, Some(at), round);
        store.checkpoint().unwrap();
        store.maintain().unwrap();
    }
}

fn log_bytes(store: &Store) -> u64 {
    store.shared().core.log.status().segment_bytes
}

fn held_events(store: &Store) -> Vec<(Field, Field, Field)> {
    let (events, _) = store.shared().events.drain(usize::MAX);
    let held = events.iter().filter(|event| event.kind == "log_held");
    let field = |event: &crate::events::Event, name: &str| {
        let found = event.fields.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.clone()).unwrap()
    };
    held.map(|event| (field(event, "txn"), field(event, "what"), field(event, "action"))).collect()
}

#[test]
fn an_old_snapshot_reads_its_versions_across_segments_and_holds_the_log_for_them() {
    let (store, at) = store_with(LogLimits::default());
    let mut old = begin(&store, Isolation::RepeatableRead);
    assert_eq!(old.get(at, &key(7)).unwrap(), Some(vec![0; 100]));
    work(&store, at, 1..20);
    assert!(store.shared().core.log.status().segments > 8);
    let (lsn, why) = store.checkpointer().keep_from(store.shared(), crate::types::Lsn::MAX);
    assert_eq!((lsn, why), (old.state().pin, format!("snapshot {}", old.id())));
    assert!(all(&mut old, at, false).iter().all(|(_, value)| *value == [0; 100]));
    assert!(all(&mut old, at, true).iter().all(|(_, value)| *value == [0; 100]));
    old.commit().unwrap();
    store.checkpoint().unwrap();
    assert!(log_bytes(&store) < 6 * SEGMENT, "{}", log_bytes(&store));
}

#[test]
fn reading_the_newest_versions_holds_no_log_and_no_garbage() {
    let (store, at) = store_with(LogLimits::default());
    let mut reader = begin(&store, Isolation::ReadCommitted);
    assert_eq!(reader.get(at, &key(7)).unwrap(), Some(vec![0; 100]));
    let used = store.shared().core.space.used_pages();
    work(&store, at, 1..20);
    assert!(log_bytes(&store) < 6 * SEGMENT, "{}", log_bytes(&store));
    let mut txn = begin(&store, Isolation::RepeatableRead);
    (0..300).for_each(|i| assert!(txn.delete(at, &key(i)).unwrap()));
    txn.commit().unwrap();
    store.maintain().unwrap();
    assert!(store.shared().core.space.used_pages() < used, "deleted rows are still there");
    assert_eq!(reader.get(at, &key(7)).unwrap(), None);
}

#[test]
fn a_snapshot_that_would_hold_too_much_log_is_too_old_and_says_what_to_do() {
    let limits = LogLimits { snapshot_bytes: 4 * SEGMENT, ..LogLimits::default() };
    let (store, at) = store_with(limits);
    let mut old = begin(&store, Isolation::RepeatableRead);
    let mut other = begin(&store, Isolation::RepeatableRead);
    assert_eq!(old.get(at, &key(7)).unwrap(), Some(vec![0; 100]));
    work(&store, at, 1..20);
    for txn in [&mut old, &mut other] {
        let error = txn.get(at, &key(7)).unwrap_err();
        assert_eq!(error.code, Code::SnapshotTooOld);
        let Some(Field::Text(detail)) = error.field("detail") else { panic!("{error}") };
        assert!(detail.contains("snapshot_log_limit"), "{detail}");
        assert_eq!(txn.commit().unwrap_err().code, Code::SnapshotTooOld);
        txn.abort().unwrap();
        assert_eq!(txn.status(), "aborted");
    }
    let told = held_events(&store);
    let ids = [old.id(), other.id()].map(|id| Field::from(id.0));
    assert_eq!(told.iter().map(|(txn, ..)| txn.clone()).collect::<Vec<_>>(), ids);
    assert!(told.iter().all(|(_, what, _)| *what == Field::from("snapshot")));
    assert!(log_bytes(&store) < 8 * SEGMENT, "{}", log_bytes(&store));
    assert_eq!(store.check(false, &Progress::default()).unwrap().problems, []);
}

#[test]
fn a_transaction_whose_log_is_kept_for_its_undo_is_no_snapshot_that_is_too_old() {
    let limits = LogLimits { snapshot_bytes: 4 * SEGMENT, ..LogLimits::default() };
    let (store, at) = store_with(limits);
    let mut long = begin(&store, Isolation::RepeatableRead);
    // Its own changes alone are far beyond the limit for snapshots.
    (0..5000).for_each(|i| assert!(!long.put(at, format!("own{i}").as_bytes(), &[1; 100]).unwrap()));
    work(&store, at, 1..5);
    assert_eq!(long.get(at, &key(7)).unwrap(), Some(vec![0; 100]));
    assert_eq!(held_events(&store), []);
    long.commit().unwrap();
    assert_eq!(begin(&store, Isolation::ReadCommitted).count(at).unwrap(), 5300);
}

#[test]
fn a_commit_and_a_limit_that_meet_have_one_outcome() {
    let limits = LogLimits { transaction_bytes: 1, aborts: true, ..LogLimits::default() };
    let (store, at) = store_with(limits);
    let (mut committed, mut given_up) = (0, 0);
    for round in 0..200u64 {
        let met = Barrier::new(2);
        let key = format!("own{round}").into_bytes();
        let mut txn = begin(&store, Isolation::ReadCommitted);
        txn.put(at, &key, b"value").unwrap();
        let outcome = std::thread::scope(|scope| {
            let owner = scope.spawn(|| {
                met.wait();
                (0..round % 5 * 200).for_each(|_| std::hint::spin_loop());
                txn.commit()
            });
            met.wait();
            store.shared().enforce_limits();
            store.maintain().unwrap();
            owner.join().unwrap()
        });
        store.maintain().unwrap();
        let is_there = begin(&store, Isolation::ReadCommitted).get(at, &key).unwrap().is_some();
        match outcome {
            Ok(_) => committed += u64::from(is_there),
            Err(error) => {
                assert_eq!(error.code, Code::TransactionAborted, "{error}");
                given_up += u64::from(!is_there);
            }
        }
    }
    assert_eq!(committed + given_up, 200, "{committed} committed, {given_up} given up");
    assert!(store.shared().txns.is_idle());
    assert_eq!(store.check(false, &Progress::default()).unwrap().problems, []);
}

#[test]
fn a_limit_never_waits_for_an_owner_who_is_at_work_and_who_is_rolled_back_afterwards() {
    let limits = LogLimits { transaction_bytes: 1, aborts: true, ..LogLimits::default() };
    let (store, at) = store_with(limits);
    let mut txn = begin(&store, Isolation::ReadCommitted);
    let told = txn.atomically(|txn| {
        txn.put(at, b"own", b"value")?;
        let _work = txn.ensure_writable()?;
        // As a checkpoint does that falls in the middle of a call.
        store.checkpoint()?;
        store.maintain()?;
        assert_eq!(txn.state().status(), crate::txn::Status::Active);
        txn.put(at, b"own", b"again")
    });
    assert_eq!(told.unwrap_err().code, Code::TransactionAborted);
    store.maintain().unwrap();
    assert_eq!(txn.status(), "aborted");
    assert_eq!(begin(&store, Isolation::ReadCommitted).get(at, b"own").unwrap(), None);
}

#[test]
fn a_transaction_that_holds_too_much_log_is_told_of_or_rolled_back_as_the_setting_says() {
    for aborts in [false, true] {
        let limits = LogLimits { transaction_bytes: 4 * SEGMENT, aborts, ..LogLimits::default() };
        let (store, at) = store_with(limits);
        let mut idle = begin(&store, Isolation::ReadCommitted);
        idle.put(at, b"own", b"value").unwrap();
        work(&store, at, 1..20);
        let action = if aborts { "aborted" } else { "reported" };
        let expected = (idle.id().0.into(), "transaction".into(), action.into());
        assert_eq!(held_events(&store), [expected], "told once");
        if aborts {
            let error = idle.put(at, b"own", b"again").unwrap_err();
            assert_eq!(error.code, Code::TransactionAborted);
            assert!(error.to_string().contains("transaction_log_limit"), "{error}");
            assert!(log_bytes(&store) < 6 * SEGMENT, "{}", log_bytes(&store));
        } else {
            let (lsn, why) = store.checkpointer().keep_from(store.shared(), crate::types::Lsn::MAX);
            assert_eq!((lsn, why), (idle.state().first_lsn(), format!("transaction {}", idle.id())));
            idle.commit().unwrap();
        }
        let own = begin(&store, Isolation::ReadCommitted).get(at, b"own").unwrap();
        assert_eq!(own.is_some(), !aborts);
    }
}

#[test]
fn every_transaction_in_flight_is_rolled_back_at_once_even_those_that_wait() {
    let (store, at) = store_with(LogLimits::default());
    let mut holder = begin(&store, Isolation::ReadCommitted);
    holder.put(at, &key(1), b"held").unwrap();
    let waiting = Barrier::new(2);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let mut txn = begin(&store, Isolation::ReadCommitted);
            txn.put(at, &key(2), b"own").unwrap();
            waiting.wait();
            let told = txn.put(at, &key(1), b"mine").unwrap_err();
            (told.code, txn.commit().unwrap_err().code)
        });
        waiting.wait();
        while store.shared().locks.wait_for_graph().is_empty() {
            std::thread::yield_now();
        }
        let fate = |_| Error::new(Code::TransactionAborted);
        // The waiter may be quicker to roll itself back once it is woken.
        assert!((1..=2).contains(&store.shared().end_all(&fate).unwrap()));
        assert_eq!(waiter.join().unwrap(), (Code::TransactionAborted, Code::TransactionAborted));
    });
    assert_eq!(holder.get(at, &key(1)).unwrap_err().code, Code::TransactionAborted);
    let mut txn = begin(&store, Isolation::RepeatableRead);
    assert!(all(&mut txn, at, false).iter().all(|(_, value)| *value == [0; 100]));
}

#[test]
fn a_close_waits_for_the_step_of_an_owner_and_keeps_every_commit_it_acknowledged() {
    for seed in 0..12u64 {
        let disk = MemoryDisk::new(seed);
        let mut options = options();
        options.background = seed % 2 == 0;
        options.opening.log.background = seed % 2 == 0;
        let store = Store::create(disk.clone(), &options).unwrap();
        let mut txn = begin(&store, Isolation::RepeatableRead);
        let at = tree(&mut txn, "t");
        txn.commit().unwrap();
        let begun = Barrier::new(5);
        let committed: Vec<Vec<Vec<u8>>> = std::thread::scope(|scope| {
            let owners: Vec<_> = (0..4u64)
                .map(|thread| {
                    let (store, begun) = (&store, &begun);
                    scope.spawn(move || {
                        begun.wait();
                        let mut done = Vec::new();
                        for n in 0.. {
                            let key = format!("{thread}-{n:06}").into_bytes();
                            let written = (|| {
                                let mut txn = store.begin(Isolation::RepeatableRead, false)?;
                                txn.put(at, &key, &[1; 300])?;
                                txn.savepoint("s")?;
                                (0..20u8)
                                    .try_for_each(|i| txn.put(at, &[i; 9], &[i; 200]).map(|_| ()))?;
                                txn.rollback_to("s")?;
                                if n % 3 == 0 {
                                    txn.abort()?;
                                    Ok(false)
                                } else {
                                    txn.commit().map(|_| true)
                                }
                            })();
                            match written {
                                Ok(true) => done.push(key),
                                Ok(false) => {}
                                Err(error) => {
                                    let error: Error = error;
                                    if error.code == Code::StoreClosed {
                                        return done;
                                    }
                                    assert!(
                                        matches!(error.code, Code::WriteConflict | Code::Deadlock),
                                        "{error}"
                                    );
                                }
                            }
                        }
                        unreachable!("it works until the store is closed")
                    })
                })
                .collect();
            begun.wait();
            (0..seed * 400).for_each(|_| std::hint::spin_loop());
            store.close().unwrap();
            owners.into_iter().map(|owner| owner.join().unwrap()).collect()
        });
        drop(store);
        let store = Store::open(disk, &options).unwrap();
        let mut txn = begin(&store, Isolation::RepeatableRead);
        let found: Vec<Vec<u8>> = all(&mut txn, at, false).into_iter().map(|(key, _)| key).collect();
        let mut expected: Vec<Vec<u8>> = committed.into_iter().flatten().collect();
        expected.sort();
        assert_eq!(found, expected, "seed {seed}");
        drop(txn);
        assert_eq!(store.check(false, &Progress::default()).unwrap().problems, []);
        store.close().unwrap();
    }
}
