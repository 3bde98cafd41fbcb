//! What happened in the kernel, for those who watch: a bounded queue that never waits.
//!
//! Invariant: a slow reader loses the oldest events and is told how many; a writer is never
//! held up by a reader.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::Field;
use crate::sync::Mutex;

/// Something that happened; `fields` are the kind's own and never hold stored data.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub kind: &'static str,
    /// Microseconds since the Unix epoch.
    pub at: i64,
    pub fields: Vec<(&'static str, Field)>,
}

/// A bounded queue of events with a count of those that were lost.
pub struct EventQueue {
    capacity: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    events: VecDeque<Event>,
    missed: u64,
}

impl EventQueue {
    pub const DEFAULT_CAPACITY: usize = 4096;

    pub fn new(capacity: usize) -> Self {
        EventQueue { capacity: capacity.max(1), inner: Mutex::new(Inner::default()) }
    }

    /// Adds an event with the present time; drops the oldest one where the queue is full.
    pub fn push(&self, kind: &'static str, fields: Vec<(&'static str, Field)>) {
        let event = Event { kind, at: unix_micros(), fields };
        let mut inner = self.inner.lock();
        if inner.events.len() == self.capacity {
            inner.events.pop_front();
            inner.missed += 1;
        }
        inner.events.push_back(event);
    }

    /// Takes up to `limit` events, oldest first, and the number lost since the last call.
    pub fn drain(&self, limit: usize) -> (Vec<Event>, u64) {
        let mut inner = self.inner.lock();
        let count = limit.min(inner.events.len());
        let taken = inner.events.drain(..count).collect();
        (taken, std::mem::take(&mut inner.missed))
    }
}

impl Default for EventQueue {
    fn default() -> Self {
        EventQueue::new(Self::DEFAULT_CAPACITY)
    }
}

/// The wall clock in microseconds since the Unix epoch; negative before it.
pub fn unix_micros() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_in_order_and_only_once() {
        let queue = EventQueue::default();
        for number in 0..5u64 {
            queue.push("step", vec![("number", Field::from(number))]);
        }
        let (first, missed) = queue.drain(3);
        assert_eq!((first.len(), missed), (3, 0));
        let (rest, _) = queue.drain(100);
        assert_eq!(rest[0].fields[0].1, Field::Int(3));
        assert_eq!(queue.drain(100), (Vec::new(), 0));
    }

    #[test]
    fn a_slow_reader_is_told_how_many_it_missed() {
        let queue = EventQueue::new(4);
        for number in 0..10u64 {
            queue.push("step", vec![("number", Field::from(number))]);
        }
        let (events, missed) = queue.drain(100);
        assert_eq!((events.len(), missed), (4, 6));
        assert_eq!(events[0].fields[0].1, Field::Int(6));
        assert_eq!(queue.drain(100).1, 0);
    }
}
