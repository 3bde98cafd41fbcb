//! Memory that runs out at any point: the kernel says so, or does what it was asked for; it never ends the
//! process, and no commit is lost. An allocator with a budget refuses.

// An allocator cannot be written without; it only counts, refuses, and hands on to the system's.
#![allow(unsafe_code, clippy::unwrap_used)]

mod budget;
#[path = "../common/folder.rs"]
mod folder;
mod refusals;

use std::sync::Arc;

use _kernel::disk::os::OsDisk;
use _kernel::error::{Code, Result};
use _kernel::recovery::Progress;
use _kernel::reserve;
use _kernel::store::{Store, StoreOptions};
use _kernel::txn::{Isolation, Range, Transaction, TreeRef};

use budget::within;
use folder::Folder;

const LONG: usize = 3 << 20;
const STEPS: i64 = 48;

fn options() -> StoreOptions {
    let mut options = StoreOptions { background: false, ..StoreOptions::default() };
    options.opening.cache_bytes = 2 << 20;
    options.opening.log.segment_bytes = 4 << 20;
    options.opening.log.background = false;
    options
}

fn long(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(LONG / 8)
}

fn with<T>(
    store: &Store,
    work: impl FnOnce(&mut Transaction, TreeRef) -> Result<T>,
) -> Result<(Transaction, T)> {
    let mut txn = store.begin(Isolation::RepeatableRead, false)?;
    let at = txn.tree("t", true)?.unwrap();
    let done = work(&mut txn, at)?;
    Ok((txn, done))
}

fn scan(txn: &mut Transaction, at: TreeRef) -> Result<u64> {
    let (mut count, mut from) = (0, None);
    loop {
        let batch = txn.scan(at, &Range::default(), from.as_deref(), 100)?;
        count += batch.records.len() as u64;
        match batch.next {
            Some(next) => from = Some(next),
            None => return Ok(count),
        }
    }
}

/// What is tried with too little memory, one after the other; each may be refused. Returns how many
/// long values were committed.
fn work(store: &Store, values: &[Vec<u8>], told: &mut dyn FnMut(Result<()>)) -> u64 {
    let mut committed = 0;
    for (number, value) in (0u64..).zip(values) {
        let put = with(store, |txn, at| txn.put(at, &number.to_be_bytes(), value));
        let done = put.and_then(|(mut txn, _)| txn.commit());
        // Numbered without a gap, as who writes them in turn would.
        let is_over = done.is_err();
        told(done.map(|_| ()));
        if is_over {
            break;
        }
        committed += 1;
    }
    told(with(store, scan).map(|_| ()));
    let many = with(store, |txn, at| {
        (0..3000u32).try_for_each(|row| {
            txn.put(at, &u64::from(row + 100).to_be_bytes()[..], &[7; 300]).map(drop)
        })
    });
    told(many.and_then(|(mut txn, ())| txn.abort()));
    told(store.checkpoint().map(|_| ()));
    told(store.check(false, &Progress::default()).map(|report| assert_eq!(report.problems, [])));
    told(store.maintain());
    committed
}

/// A life with a budget of so many bytes beyond what there is once the database is open; returns how many
/// times memory was refused, and how much there was at most beyond that.
fn live(budget: i64) -> (u64, i64) {
    let folder = Folder::new(&format!("scarcity-{budget}"));
    let values: Vec<Vec<u8>> = (0..3).map(long).collect();
    assert!(reserve::set_aside());
    let store = Store::create(Arc::new(OsDisk::new(&folder.0)), &options()).unwrap();
    let mut codes = Vec::with_capacity(100);
    let (refused, most, (committed, closed)) = within(budget, || {
        let mut told = |done: Result<()>| codes.push(done.err().map(|error| error.code));
        let committed = work(&store, &values, &mut told);
        (committed, store.close().map_err(|error| error.code))
    });
    drop(store);
    let is_allowed = |code: &Code| matches!(code, Code::OutOfMemory);
    assert!(codes.iter().flatten().all(is_allowed), "{budget} bytes: {codes:?}");
    assert!(closed.as_ref().err().is_none_or(is_allowed), "{budget} bytes: {closed:?}");
    assert!(refused > 0 || codes.iter().all(Option::is_none) && closed.is_ok(), "{codes:?}");
    let store =
        Store::open_recovering(Arc::new(OsDisk::new(&folder.0)), &options(), &Progress::default())
            .unwrap();
    let (mut txn, ()) = with(&store, |txn, at| {
        let found = scan(txn, at)?;
        assert!((committed..=committed + 1).contains(&found), "{budget} bytes: {found} of {committed}");
        for number in 0..found {
            assert!(txn.get(at, &number.to_be_bytes())?.unwrap() == values[number as usize], "{number}");
        }
        Ok(())
    })
    .unwrap();
    txn.abort().unwrap();
    assert_eq!(store.check(false, &Progress::default()).unwrap().problems, []);
    (refused, most)
}

#[test]
fn memory_that_runs_out_at_any_point_is_told_and_loses_nothing() {
    let _alone = budget::alone();
    let (refused, most) = live(i64::MAX / 2);
    assert_eq!(refused, 0);
    // Some of it is there again for the next one: below it, and down to nothing.
    let mut refusing = 0;
    for step in 0..STEPS {
        refusing += u64::from(live(most * step / STEPS).0 > 0);
    }
    assert!(refusing > STEPS as u64 / 2, "the budget was hardly ever too small");
}
