//! Many pairs of Python at once: taken from any mapping or iterable, put in order, made a tree.

use std::hint::black_box;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyAny, PyBytes, PyTuple};

use crate::error::Result;
use crate::memory;
use crate::txn::{Transaction, TreeRef};

/// Pairs that are looked at together before they are copied.
pub const GATHERED: usize = 32;
/// Room for so many pairs is made beforehand, if there are said to be so many.
const MOST_RESERVED: usize = 1 << 20;
/// Bytes that come from memory together.
const LINE: usize = 64;
/// What memory is asked for.
const OPERATION: &str = "take pairs";
/// So many pairs are worth a second thread to sort them.
const WORTH_A_THREAD: usize = 100_000;

/// A key and a value, as Python has them in memory.
pub type Pair = (PyBackedBytes, PyBackedBytes);
/// The first bytes in which keys may differ, and the place of the pair.
type Rank = (u128, usize);

/// What was read so far, and the first that is no pair of bytes.
#[derive(Default)]
struct Taken {
    pairs: Vec<Pair>,
    unfit: Option<PyErr>,
}

impl Taken {
    fn take(&mut self, key: Bound<'_, PyAny>, value: Bound<'_, PyAny>) -> Result<()> {
        match bytes(key).and_then(|key| Ok((key, bytes(value)?))) {
            Ok(pair) => {
                memory::grow(&mut self.pairs, 1, OPERATION)?;
                self.pairs.push(pair);
            }
            Err(error) => drop(self.unfit.get_or_insert(error)),
        }
        Ok(())
    }

    fn end(self) -> PyResult<Vec<Pair>> {
        self.unfit.map_or(Ok(self.pairs), Err)
    }
}

/// The pairs of any mapping or iterable of pairs, as `dict.update` takes them. It is read to its
/// end before anything is made of it: it may be made from the very tree that is to be changed. So
/// its own errors come before those of what it gave.
pub fn pairs_of(source: &Bound<'_, PyAny>) -> PyResult<Vec<Pair>> {
    let mut taken = Taken::default();
    if source.hasattr("keys")? {
        for key in source.call_method0("keys")?.try_iter()? {
            let key = key?;
            let value = source.get_item(&key)?;
            taken.take(key, value)?;
        }
        return taken.end();
    }
    memory::reserve(&mut taken.pairs, source.len().unwrap_or(0).min(MOST_RESERVED), OPERATION)?;
    // Objects lie far from each other: some are taken together, then all of their halves, so that
    // the processor waits for the memory of many at once.
    let mut items = source.try_iter()?;
    let (mut whole, mut split) = (Vec::with_capacity(GATHERED), Vec::with_capacity(GATHERED));
    loop {
        for item in items.by_ref().take(GATHERED) {
            whole.push(item?);
        }
        if whole.is_empty() {
            return taken.end();
        }
        for pair in whole.drain(..) {
            split.push(halves(&pair)?);
        }
        split.drain(..).try_for_each(|(key, value)| taken.take(key, value))?;
    }
}

fn halves<'py>(pair: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    if let Ok(pair) = pair.cast_exact::<PyTuple>()
        && pair.len() == 2
    {
        return Ok((pair.get_item(0)?, pair.get_item(1)?));
    }
    let parts = pair.try_iter()?.collect::<PyResult<Vec<_>>>()?;
    let [key, value]: [Bound<'_, PyAny>; 2] =
        parts.try_into().map_err(|_| PyValueError::new_err("a pair is a key and a value"))?;
    Ok((key, value))
}

fn bytes(object: Bound<'_, PyAny>) -> PyResult<PyBackedBytes> {
    Ok(object.cast_into::<PyBytes>()?.into())
}

/// Builds an empty tree of this transaction from pairs in any order; of equal keys the last counts.
pub fn build(txn: &mut Transaction, at: TreeRef, pairs: &[Pair]) -> Result<()> {
    let order = sorted(pairs)?;
    let bytes = pairs.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum();
    let filled = txn.fill_beside(at, (pairs.len(), bytes), &mut |push| {
        for begin in (0..order.len()).step_by(GATHERED) {
            let end = order.len().min(begin + GATHERED);
            gather(pairs, &order[begin..end]);
            for rank in begin..end {
                let (head, place) = order[rank];
                let (key, value) = &pairs[place];
                let comes_again = |&(next, other): &Rank| next == head && *pairs[other].0 == **key;
                if !order.get(rank + 1).is_some_and(comes_again) {
                    push(key, value)?;
                }
            }
        }
        Ok(())
    });
    filled.map(|_| ())
}

/// Has the memory of these pairs fetched, all of it at the same time: they lie far from each other,
/// and who copies one after the other waits for each.
fn gather(pairs: &[Pair], ranks: &[Rank]) {
    let pairs = ranks.iter().map(|(_, place)| &pairs[*place]);
    black_box(pairs.fold(0, |sum, (key, value)| sum ^ touch(key) ^ touch(value)));
}

/// Has bytes come from memory.
pub fn touch(bytes: &[u8]) -> u8 {
    bytes.iter().step_by(LINE).fold(0, |sum, byte| sum ^ byte)
}

/// The places of pairs in the order of their keys, then of the places. The first bytes in which
/// keys may differ are kept beside each place: most comparisons need nothing else.
fn sorted(pairs: &[Pair]) -> Result<Vec<Rank>> {
    let first: &[u8] = pairs.first().map_or(&[], |(key, _)| key);
    let shared = pairs.iter().fold(first.len(), |shared, (key, _)| {
        first[..shared].iter().zip(key.iter()).take_while(|(one, other)| one == other).count()
    });
    let head = |key: &[u8]| {
        let rest = &key[shared..];
        let mut head = [0; 16];
        let length = rest.len().min(head.len());
        head[..length].copy_from_slice(&rest[..length]);
        u128::from_be_bytes(head)
    };
    let mut order: Vec<Rank> = Vec::new();
    memory::reserve(&mut order, pairs.len(), OPERATION)?;
    order.extend(pairs.iter().enumerate().map(|(place, (key, _))| (head(key), place)));
    let compare = |one: &Rank, other: &Rank| {
        let by_key = || pairs[one.1].0[shared..].cmp(&pairs[other.1].0[shared..]);
        one.0.cmp(&other.0).then_with(by_key).then(one.1.cmp(&other.1))
    };
    let is_sorted = || order.is_sorted_by(|one, other| compare(one, other).is_lt());
    // What a stable sort takes for itself, and has no way to be refused.
    let has_room = || memory::reserve(&mut Vec::<Rank>::new(), order.len(), OPERATION).is_ok();
    if order.len() < WORTH_A_THREAD || is_sorted() || !has_room() {
        order.sort_unstable_by(compare);
        return Ok(order);
    }
    let (low, high) = order.split_at_mut(pairs.len() / 2);
    std::thread::scope(|scope| {
        // Where there can be no other thread, the sort below finds more to do.
        let _ = std::thread::Builder::new().spawn_scoped(scope, || low.sort_unstable_by(compare));
        high.sort_unstable_by(compare);
    });
    // Stable sorting finds the two runs, and has only to merge them.
    order.sort_by(compare);
    Ok(order)
}
