//! What transactions did and saw, as the checker needs it.

/// The list under one key: numbers in the order in which they were appended, each used once.
pub type List = Vec<u64>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Append {
        key: u32,
        element: u64,
    },
    /// A range that was read is the reads of all its keys; a key without a list has an empty one.
    Read {
        key: u32,
        list: List,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Committed,
    Aborted,
    /// The power went before the commit was answered.
    Unknown,
}

#[derive(Clone, Debug)]
pub struct Deed {
    pub events: Vec<Event>,
    pub outcome: Outcome,
    /// Moments of one clock that all threads share: before the first step, after the last one.
    pub began: u64,
    pub ended: u64,
}

impl Deed {
    pub fn appends(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.events.iter().filter_map(|event| match event {
            Event::Append { key, element } => Some((*key, *element)),
            Event::Read { .. } => None,
        })
    }

    /// The last element that it appended to a list.
    pub fn last_append(&self, key: u32) -> Option<u64> {
        self.appends().filter(|(other, _)| *other == key).last().map(|(_, element)| element)
    }
}
