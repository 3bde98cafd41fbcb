//! Putting records in order of their keys with bounded memory.
//!
//! Records are gathered in one block of memory; a full block is sorted and written as a run
//! into the folder `temp` of the database; at the end the runs are merged. Runs are never
//! synced: after a crash they mean nothing. Their names begin with a number drawn by each
//! process, so that a later one knows them as leftovers and clears them away.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use super::access::Record;
use crate::disk::{Disk, File, OpenMode};
use crate::error::{Error, Result};
use crate::memory;
use crate::sync::{Arc, AtomicU64, Ordering};

/// Where runs are written, below the database directory.
const FOLDER: &str = "temp";
/// Read from a run at a time.
const CHUNK: usize = 256 << 10;
/// What memory is asked for.
const OPERATION: &str = "sort records";

/// Gathers records in any order; equal keys are kept, in the order in which they came.
pub struct Sorter {
    disk: Arc<dyn Disk>,
    budget: usize,
    bytes: Vec<u8>,
    places: Vec<Place>,
    is_ascending: bool,
    runs: Vec<Run>,
    sizes: (usize, u64),
}

/// A record in the block.
#[derive(Clone, Copy)]
struct Place {
    /// The first bytes of the key, big endian: most comparisons end here.
    head: u64,
    start: usize,
    key: u32,
    value: u32,
}

impl Sorter {
    /// Sorts with about `budget` bytes of memory.
    pub fn new(disk: Arc<dyn Disk>, budget: usize) -> Sorter {
        Sorter {
            disk,
            budget,
            bytes: Vec::new(),
            places: Vec::new(),
            is_ascending: true,
            runs: Vec::new(),
            sizes: (0, 0),
        }
    }

    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let used = self.bytes.len() + self.places.len() * size_of::<Place>();
        let is_full = used + key.len() + value.len() > self.budget;
        // Where there is less memory than that, what there is has to do.
        if !self.places.is_empty() && (is_full || self.make_room(key.len() + value.len()).is_err()) {
            self.spill()?;
        }
        self.make_room(key.len() + value.len())?;
        let length = |bytes: &[u8]| {
            u32::try_from(bytes.len())
                .map_err(|_| Error::argument("value", "a record is longer than 4 GiB"))
        };
        let place = Place {
            head: head_of(key),
            start: self.bytes.len(),
            key: length(key)?,
            value: length(value)?,
        };
        if self.is_ascending
            && let Some(last) = self.places.last()
        {
            self.is_ascending = key_at(&self.bytes, last) <= key;
        }
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.places.push(place);
        self.sizes = (self.sizes.0 + 1, self.sizes.1 + (key.len() + value.len()) as u64);
        Ok(())
    }

    fn make_room(&mut self, bytes: usize) -> Result<()> {
        memory::grow(&mut self.bytes, bytes, OPERATION)?;
        memory::grow(&mut self.places, 1, OPERATION)
    }

    /// All records, smallest key first.
    pub fn finish(mut self) -> Result<Sorted> {
        self.sort();
        if self.runs.is_empty() {
            let memory = (self.bytes, self.places, 0);
            return Ok(Sorted { memory, merge: None, sizes: self.sizes });
        }
        self.spill()?;
        let mut merge = Merge { heap: BinaryHeap::new(), runs: std::mem::take(&mut self.runs) };
        for number in 0..merge.runs.len() {
            merge.refill(number)?;
        }
        Ok(Sorted { memory: Default::default(), merge: Some(merge), sizes: self.sizes })
    }

    fn sort(&mut self) {
        if !self.is_ascending {
            let bytes = &self.bytes;
            // Of equal keys the first one stays first. A stable sort would take memory of its own.
            self.places.sort_unstable_by(|a, b| {
                let by_key = || key_at(bytes, a).cmp(key_at(bytes, b));
                // Of two in one place the first has no bytes at all.
                let by_place = (a.start, a.value).cmp(&(b.start, b.value));
                a.head.cmp(&b.head).then_with(by_key).then(by_place)
            });
        }
        self.is_ascending = true;
    }

    fn spill(&mut self) -> Result<()> {
        self.sort();
        let mut run = Run::create(&self.disk)?;
        for place in self.places.drain(..) {
            let end = place.start + place.key as usize + place.value as usize;
            run.write(&place.key.to_le_bytes())?;
            run.write(&place.value.to_le_bytes())?;
            run.write(&self.bytes[place.start..end])?;
        }
        run.rewind()?;
        self.bytes.clear();
        self.runs.push(run);
        Ok(())
    }
}

/// Records in order of their keys.
pub struct Sorted {
    memory: (Vec<u8>, Vec<Place>, usize),
    merge: Option<Merge>,
    sizes: (usize, u64),
}

impl Sorted {
    /// How many records there are in all, and the bytes of their keys and values.
    pub fn sizes(&self) -> (usize, u64) {
        self.sizes
    }

    /// The next record; none at the end.
    pub fn next_record(&mut self) -> Result<Option<Record>> {
        if let Some(merge) = &mut self.merge {
            return merge.next_record();
        }
        let (bytes, places, next) = &mut self.memory;
        let Some(place) = places.get(*next) else { return Ok(None) };
        *next += 1;
        let value = place.start + place.key as usize;
        let value = memory::copied(&bytes[value..value + place.value as usize], OPERATION)?;
        Ok(Some((key_at(bytes, place).to_vec(), value)))
    }
}

/// Key, number of the run, value.
type Candidate = (Vec<u8>, usize, Vec<u8>);

struct Merge {
    /// The next record of each run; the run's number keeps equal keys in order.
    heap: BinaryHeap<Reverse<Candidate>>,
    runs: Vec<Run>,
}

impl Merge {
    fn next_record(&mut self) -> Result<Option<Record>> {
        let Some(Reverse((key, number, value))) = self.heap.pop() else { return Ok(None) };
        self.refill(number)?;
        Ok(Some((key, value)))
    }

    fn refill(&mut self, number: usize) -> Result<()> {
        if let Some((key, value)) = self.runs[number].read_record()? {
            self.heap.push(Reverse((key, number, value)));
        }
        Ok(())
    }
}

/// One sorted run in a file of its own, which goes when the run does.
struct Run {
    disk: Arc<dyn Disk>,
    path: String,
    file: Arc<dyn File>,
    buffer: Vec<u8>,
    /// Read up to here in the buffer.
    place: usize,
    /// Written, or read into the buffer, up to here in the file.
    offset: u64,
}

impl Run {
    fn create(disk: &Arc<dyn Disk>) -> Result<Run> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let path =
            format!("{FOLDER}/{}-{:08}.run", of_this_process(), NEXT.fetch_add(1, Ordering::Relaxed));
        let file = disk.open(&path, OpenMode::Create)?;
        file.truncate(0)?;
        Ok(Run { disk: Arc::clone(disk), path, file, buffer: Vec::new(), place: 0, offset: 0 })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        memory::grow(&mut self.buffer, bytes.len(), OPERATION)?;
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.file.write_at(&self.buffer, self.offset)?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn rewind(&mut self) -> Result<()> {
        self.flush()?;
        self.offset = 0;
        self.buffer = Vec::new();
        Ok(())
    }

    fn read_record(&mut self) -> Result<Option<Record>> {
        if !self.fill(8)? {
            return Ok(None);
        }
        let length =
            |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        let key = length(&self.buffer[self.place..]);
        let value = length(&self.buffer[self.place + 4..]);
        self.place += 8;
        if !self.fill(key + value)? {
            return Err(Error::internal("a run of a sort ends too early"));
        }
        let record = &self.buffer[self.place..self.place + key + value];
        let record = (record[..key].to_vec(), memory::copied(&record[key..], OPERATION)?);
        self.place += key + value;
        Ok(Some(record))
    }

    /// Makes sure that so many bytes are in the buffer; false at the end of the file.
    fn fill(&mut self, count: usize) -> Result<bool> {
        if self.buffer.len() - self.place >= count {
            return Ok(true);
        }
        self.buffer.drain(..self.place);
        self.place = 0;
        let kept = self.buffer.len();
        memory::resize(&mut self.buffer, kept + count.max(CHUNK), OPERATION)?;
        let read = self.file.read_at(&mut self.buffer[kept..], self.offset)?;
        self.buffer.truncate(kept + read);
        self.offset += read as u64;
        Ok(self.buffer.len() >= count)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // What cannot be removed now is removed before the next import.
        let _ = self.disk.remove(&self.path);
    }
}

/// Removes the runs that a process before this one has left behind. A database is open in one
/// process at a time, so theirs are in nobody's use.
pub fn clear_leftovers(disk: &dyn Disk) -> Result<()> {
    for name in disk.list(FOLDER)? {
        if name.ends_with(".run") && !name.starts_with(of_this_process()) {
            disk.remove(&format!("{FOLDER}/{name}"))?;
        }
    }
    Ok(())
}

fn of_this_process() -> &'static str {
    static DRAWN: OnceLock<String> = OnceLock::new();
    DRAWN.get_or_init(|| format!("{:016x}", RandomState::new().hash_one(std::process::id())))
}

fn key_at<'a>(bytes: &'a [u8], place: &Place) -> &'a [u8] {
    &bytes[place.start..place.start + place.key as usize]
}

fn head_of(key: &[u8]) -> u64 {
    let mut head = [0; 8];
    let length = key.len().min(8);
    head[..length].copy_from_slice(&key[..length]);
    u64::from_be_bytes(head)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::disk::memory::MemoryDisk;

    fn sorted(disk: &Arc<dyn Disk>, budget: usize, records: &[Record]) -> Vec<Record> {
        let mut sorter = Sorter::new(Arc::clone(disk), budget);
        records.iter().for_each(|(key, value)| sorter.push(key, value).unwrap());
        let mut sorted = sorter.finish().unwrap();
        std::iter::from_fn(|| sorted.next_record().unwrap()).collect()
    }

    proptest! {
        #[test]
        fn sorting_with_any_budget_is_a_stable_sort(
            keys in prop::collection::vec(prop::collection::vec(0u8..3, 0..12), 0..200),
            budget in prop_oneof![Just(1usize), 50usize..2000, Just(1 << 20)],
        ) {
            let disk: Arc<dyn Disk> = MemoryDisk::new(1);
            let records: Vec<Record> =
                keys.into_iter().enumerate().map(|(n, key)| (key, vec![n as u8; n % 40])).collect();
            let mut expected = records.clone();
            expected.sort_by(|a, b| a.0.cmp(&b.0));
            prop_assert_eq!(sorted(&disk, budget, &records), expected);
            prop_assert_eq!(disk.list(FOLDER).unwrap(), Vec::<String>::new());
        }
    }

    #[test]
    fn leftovers_are_cleared_and_nothing_else() {
        let disk: Arc<dyn Disk> = MemoryDisk::new(1);
        for name in ["temp/0123-00000007.run", "temp/other", "data"] {
            disk.open(name, OpenMode::Create).unwrap();
        }
        let ours = Run::create(&disk).unwrap();
        clear_leftovers(&*disk).unwrap();
        assert!(disk.exists(&ours.path).unwrap());
        drop(ours);
        assert_eq!(disk.list(FOLDER).unwrap(), ["other"]);
        assert!(disk.exists("data").unwrap());
    }

    #[test]
    fn values_longer_than_a_chunk_come_back() {
        let disk: Arc<dyn Disk> = MemoryDisk::new(1);
        let records: Vec<Record> = (0..4u8).rev().map(|n| (vec![n], vec![n; CHUNK * 2 + 7])).collect();
        let expected: Vec<Record> = records.iter().rev().cloned().collect();
        assert_eq!(sorted(&disk, 1000, &records), expected);
    }
}
