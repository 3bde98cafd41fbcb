//! A list of pairs whose keys ascend, made a tree by two threads: this one copies the pairs out of
//! Python's memory, with the interpreter's lock, and another one builds, with the transaction.
//!
//! No references are kept, nothing is sorted, each object is looked at once. The lock is given up where
//! the builder is behind; the list may then change under this thread, as under any loop over it.

use std::hint::black_box;

use pyo3::Borrowed;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use super::cell::Cell;
use super::pairs::{GATHERED, touch};
use crate::error::Result;
use crate::txn::{Courier, Delivery, Transaction, TreeRef, WORTH_A_BUILDER, builder, line};

/// Pairs that are looked at before a list counts as one in order.
const PROBES: usize = 256;

/// What has become of a list.
enum Brought {
    Whole(usize),
    /// A pair is none of bytes, or its key is not above the one before.
    Unfit,
    /// The builder has ended, and knows why.
    Refused,
}

/// A list that seems to be in order of its keys.
pub struct Ascending<'l, 'py> {
    list: &'l Bound<'py, PyList>,
    /// Of all keys and values, about.
    bytes: u64,
}

impl<'l, 'py> Ascending<'l, 'py> {
    /// The source, where it is a list, long enough, and of pairs in order as far as some of them tell.
    pub fn of(source: &'l Bound<'py, PyAny>) -> Option<Ascending<'l, 'py>> {
        let list = source.cast_exact::<PyList>().ok()?;
        let count = list.len();
        if count < WORTH_A_BUILDER {
            return None;
        }
        let (mut last, mut bytes) = (None, 0);
        for probe in 0..PROBES {
            let pair = list.get_item(probe * count / PROBES).ok()?;
            let (key, value) = halves(pair.cast_exact().ok()?)?;
            bytes += key.as_bytes().len() + value.as_bytes().len();
            let key = key.to_owned();
            if last.is_some_and(|last: Bound<'_, PyBytes>| last.as_bytes() >= key.as_bytes()) {
                return None;
            }
            last = Some(key);
        }
        Some(Ascending { list, bytes: (bytes * count / PROBES) as u64 })
    }

    /// Fills the tree that `find` finds with all pairs, and returns how many there were. `None`, and
    /// nothing done, where the list turns out to be another one, the tree cannot be filled, or there
    /// is no thread to be had.
    pub fn put(
        &self,
        cell: &Cell,
        find: impl FnOnce(&mut Transaction) -> Result<TreeRef> + Send,
    ) -> PyResult<Option<usize>> {
        let (mut courier, delivery) = line();
        let sizes = (self.list.len(), self.bytes);
        let build = move || cell.work(|txn| fill(txn, find, sizes, &delivery));
        std::thread::scope(|scope| {
            let Some(building) = builder(scope, build) else { return Ok(None) };
            let brought = self.bring(&mut courier);
            // Where it has not said that this was all, the builder takes back what it has built.
            drop(courier);
            let built = self.list.py().detach(|| building.join());
            let built = built.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            match brought {
                // Whatever the builder met, the usual way meets it again.
                Brought::Unfit => Ok(None),
                Brought::Whole(count) => Ok(built?.then_some(count)),
                Brought::Refused => Ok(built.map(|_| None)?),
            }
        })
    }

    fn bring(&self, courier: &mut Courier) -> Brought {
        let mut taken = Taken { courier, last: None };
        let mut pairs = Vec::with_capacity(GATHERED);
        let mut count = 0;
        loop {
            let end = self.list.len().min(count + GATHERED);
            for place in count..end {
                match self.list.get_item(place).map(Bound::cast_into_exact::<PyTuple>) {
                    Ok(Ok(pair)) => pairs.push(pair),
                    _ => return Brought::Unfit,
                }
            }
            if pairs.is_empty() {
                let ended = self.list.py().detach(|| taken.courier.end());
                return if ended.is_ok() { Brought::Whole(count) } else { Brought::Refused };
            }
            if let Some(stop) = taken.add(self.list.py(), &pairs) {
                return stop;
            }
            count += pairs.len();
            pairs.clear();
        }
    }
}

/// What has been taken so far.
struct Taken<'c> {
    courier: &'c mut Courier,
    /// The last key before the batch that is being filled.
    last: Option<Vec<u8>>,
}

impl Taken<'_> {
    /// Adds pairs, unless one does not belong after those before it. Their memory is asked for
    /// together: they lie far from each other, and who takes one after the other waits for each.
    fn add(&mut self, py: Python<'_>, pairs: &[Bound<'_, PyTuple>]) -> Option<Brought> {
        let mut split = Vec::with_capacity(pairs.len());
        for pair in pairs {
            match halves(pair) {
                Some(halves) => split.push(halves),
                None => return Some(Brought::Unfit),
            }
        }
        let touched = split.iter().map(|(key, value)| touch(key.as_bytes()) ^ touch(value.as_bytes()));
        black_box(touched.fold(0, |sum, byte| sum ^ byte));
        for (key, value) in &split {
            let last = self.courier.last_key().or(self.last.as_deref());
            if last.is_some_and(|last| last >= key.as_bytes()) {
                return Some(Brought::Unfit);
            }
            // Where there is no memory, the usual way says so.
            if self.courier.add(key.as_bytes(), value.as_bytes()).is_err() {
                return Some(Brought::Unfit);
            }
            if self.courier.is_full() && !self.pass_on(py) {
                return Some(Brought::Refused);
            }
        }
        None
    }

    fn pass_on(&mut self, py: Python<'_>) -> bool {
        self.last = self.courier.last_key().map(<[u8]>::to_vec);
        match self.courier.try_pass_on() {
            Ok(true) => true,
            Ok(false) => py.detach(|| self.courier.pass_on()).is_ok(),
            Err(_) => false,
        }
    }
}

type Halves<'a, 'py> = (Borrowed<'a, 'py, PyBytes>, Borrowed<'a, 'py, PyBytes>);

fn halves<'a, 'py>(pair: &'a Bound<'py, PyTuple>) -> Option<Halves<'a, 'py>> {
    if pair.len() != 2 {
        return None;
    }
    let half = |place| pair.get_borrowed_item(place).ok()?.cast_exact::<PyBytes>().ok();
    Some((half(0)?, half(1)?))
}

fn fill(
    txn: &mut Transaction,
    find: impl FnOnce(&mut Transaction) -> Result<TreeRef>,
    sizes: (usize, u64),
    delivery: &Delivery,
) -> Result<bool> {
    let at = find(txn)?;
    if !txn.can_fill(at)? {
        return Ok(false);
    }
    txn.fill_with_many(at, sizes, &mut |filling| delivery.unload(filling))?;
    Ok(true)
}
