//! The medium behind [`super::memory::MemoryDisk`]: certain bytes, changes in between, and
//! what a power loss makes of them.

use std::collections::{BTreeMap, HashMap};

use crate::error::{Error, Result};

/// A disk writes sectors of this size whole or not at all.
pub(super) const SECTOR: usize = 512;

/// Counts the lives of a medium; a handle works only in the life it was opened in.
pub(super) type Life = u64;

/// The kinds of calls a disk receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    Open,
    Read,
    Write,
    Allocate,
    Truncate,
    Size,
    Sync,
    SyncDir,
    Remove,
    List,
    FreeBytes,
}

impl Call {
    pub const ALL: [Call; 11] = [
        Call::Open,
        Call::Read,
        Call::Write,
        Call::Allocate,
        Call::Truncate,
        Call::Size,
        Call::Sync,
        Call::SyncDir,
        Call::Remove,
        Call::List,
        Call::FreeBytes,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Call::Open => "open",
            Call::Read => "read",
            Call::Write => "write",
            Call::Allocate => "allocate",
            Call::Truncate => "truncate",
            Call::Size => "size",
            Call::Sync => "sync",
            Call::SyncDir => "sync_dir",
            Call::Remove => "remove",
            Call::List => "list",
            Call::FreeBytes => "free_bytes",
        }
    }
}

/// How often each kind of call was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    by_call: [u64; Call::ALL.len()],
    /// Calls that changed the medium: those a crash countdown counts.
    pub changes: u64,
}

impl Counters {
    pub(super) fn count(&mut self, call: Call) {
        self.by_call[call as usize] += 1;
    }

    pub fn of(&self, call: Call) -> u64 {
        self.by_call[call as usize]
    }

    pub fn total(&self) -> u64 {
        self.by_call.iter().sum()
    }
}

/// A small seeded generator (splitmix64): the simulator must give the same run on every
/// platform and for every version of its dependencies.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Dice(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.next() % bound as u64) as usize }
    }

    fn flip(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

/// A change that no sync has covered yet.
pub(super) enum Pending {
    Write { offset: u64, bytes: Vec<u8> },
    Size(u64),
}

/// A file: what is seen, what is certain, and the changes that lead from one to the other.
#[derive(Default)]
pub(super) struct Inode {
    pub current: Vec<u8>,
    pub durable: Vec<u8>,
    pub pending: Vec<Pending>,
}

pub(super) enum NameChange {
    Created { path: String, inode: u64 },
    Removed { path: String },
}

impl NameChange {
    fn path(&self) -> &str {
        match self {
            NameChange::Created { path, .. } | NameChange::Removed { path } => path,
        }
    }

    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            NameChange::Created { path, inode } => names.insert(path.clone(), *inode),
            NameChange::Removed { path } => names.remove(path),
        };
    }
}

fn put(target: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if target.len() < end {
        target.resize(end, 0);
    }
    target[offset..end].copy_from_slice(bytes);
}

/// How a power loss treats one file: real disks lose all, nothing, the end, or anything.
enum Mood {
    LoseAll,
    KeepAll,
    KeepPrefix,
    Each { shuffled: bool },
}

impl Mood {
    fn draw(dice: &mut Dice) -> Mood {
        match dice.below(8) {
            0 => Mood::LoseAll,
            1 => Mood::KeepAll,
            2 | 3 => Mood::KeepPrefix,
            4 | 5 => Mood::Each { shuffled: false },
            _ => Mood::Each { shuffled: true },
        }
    }
}

impl Inode {
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        put(&mut self.current, offset as usize, bytes);
        self.pending.push(Pending::Write { offset, bytes: bytes.to_vec() });
    }

    pub(super) fn resize(&mut self, size: u64) {
        if size != self.current.len() as u64 {
            self.current.resize(size as usize, 0);
            self.pending.push(Pending::Size(size));
        }
    }

    /// A sync: every change so far is certain.
    pub(super) fn settle(&mut self) {
        for change in self.pending.drain(..) {
            match change {
                Pending::Write { offset, bytes } => put(&mut self.durable, offset as usize, &bytes),
                Pending::Size(size) => self.durable.resize(size as usize, 0),
            }
        }
    }

    fn lose_power(&mut self, dice: &mut Dice) {
        let mut pending = std::mem::take(&mut self.pending);
        match Mood::draw(dice) {
            Mood::LoseAll => {}
            Mood::KeepAll => self.keep(&pending),
            Mood::KeepPrefix => {
                let kept = dice.below(pending.len() + 1);
                self.keep(&pending[..kept]);
                if let Some(Pending::Write { offset, bytes }) = pending.get(kept) {
                    self.tear(*offset, bytes, dice);
                }
            }
            Mood::Each { shuffled } => {
                if shuffled {
                    for i in (1..pending.len()).rev() {
                        pending.swap(i, dice.below(i + 1));
                    }
                }
                for change in &pending {
                    match (dice.below(3), change) {
                        (0, _) => {}
                        (1, Pending::Write { offset, bytes }) => self.tear(*offset, bytes, dice),
                        _ => self.keep(std::slice::from_ref(change)),
                    }
                }
            }
        }
        self.current = self.durable.clone();
    }

    fn keep(&mut self, changes: &[Pending]) {
        for change in changes {
            match change {
                Pending::Write { offset, bytes } => put(&mut self.durable, *offset as usize, bytes),
                Pending::Size(size) => self.durable.resize(*size as usize, 0),
            }
        }
    }

    /// Some sectors of a write arrive, others do not.
    fn tear(&mut self, offset: u64, bytes: &[u8], dice: &mut Dice) {
        let mut at = 0;
        while at < bytes.len() {
            let place = offset as usize + at;
            let count = (SECTOR - place % SECTOR).min(bytes.len() - at);
            if dice.flip() {
                put(&mut self.durable, place, &bytes[at..at + count]);
            }
            at += count;
        }
    }
}

/// Everything the simulated disk knows; shared by its lives.
pub(super) struct Medium {
    pub life: Life,
    pub dead: bool,
    pub names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    pub name_changes: Vec<NameChange>,
    pub inodes: HashMap<u64, Inode>,
    next_inode: u64,
    pub used: u64,
    pub capacity: Option<u64>,
    pub countdown: Option<u64>,
    /// The countdown ends the process, not the power: what was written is still seen afterwards.
    pub is_kill: bool,
    pub ignored_syncs: Vec<String>,
    pub counters: Counters,
    dice: Dice,
}

impl Medium {
    pub(super) fn new(seed: u64) -> Self {
        Medium {
            life: 1,
            dead: false,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            inodes: HashMap::new(),
            next_inode: 1,
            used: 0,
            capacity: None,
            countdown: None,
            is_kill: false,
            ignored_syncs: Vec::new(),
            counters: Counters::default(),
            dice: Dice::new(seed),
        }
    }

    pub(super) fn next_seed(&mut self) -> u64 {
        self.dice.next()
    }

    fn new_inode(&mut self, inode: Inode) -> u64 {
        let number = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(number, inode);
        number
    }

    pub(super) fn create(&mut self, path: &str) -> u64 {
        let inode = self.new_inode(Inode::default());
        self.names.insert(path.to_owned(), inode);
        self.name_changes.push(NameChange::Created { path: path.to_owned(), inode });
        inode
    }

    pub(super) fn insert_durable(&mut self, path: &str, bytes: Vec<u8>) {
        self.used += bytes.len() as u64;
        let inode =
            self.new_inode(Inode { current: bytes.clone(), durable: bytes, pending: Vec::new() });
        self.names.insert(path.to_owned(), inode);
        self.durable_names.insert(path.to_owned(), inode);
    }

    pub(super) fn inode(&mut self, number: u64) -> Result<&mut Inode> {
        self.inodes.get_mut(&number).ok_or_else(|| Error::internal("a simulated file without its bytes"))
    }

    pub(super) fn visible(&mut self, path: &str) -> Result<&mut Inode> {
        let number = self.names.get(path).copied();
        let number = number.ok_or_else(|| Error::argument("path", "no such simulated file"))?;
        self.inode(number)
    }

    pub(super) fn lacks_room(&self, more: u64) -> bool {
        more > 0 && self.capacity.is_some_and(|capacity| self.used.saturating_add(more) > capacity)
    }

    pub(super) fn is_sync_ignored(&self, path: &str) -> bool {
        self.ignored_syncs.iter().any(|pattern| path.contains(pattern.as_str()))
    }

    pub(super) fn countdown_strikes(&mut self) -> bool {
        match &mut self.countdown {
            Some(left) if *left <= 1 => {
                self.countdown = None;
                self.dead = true;
            }
            Some(left) => *left -= 1,
            None => {}
        }
        self.dead
    }

    /// A directory sync: the names of `folder` so far are certain.
    pub(super) fn settle_names(&mut self, folder: &str) {
        let changes = std::mem::take(&mut self.name_changes);
        let (settled, open) = changes
            .into_iter()
            .partition(|change| change.path().rsplit_once('/').map_or("", |(f, _)| f) == folder);
        self.name_changes = open;
        let settled: Vec<NameChange> = settled;
        for change in &settled {
            change.apply(&mut self.durable_names);
        }
        self.drop_orphans();
    }

    /// Removed files whose removal is certain keep no bytes, unless a handle may still use
    /// them: those of this life do, so bytes go only with the life.
    fn drop_orphans(&mut self) {
        if self.name_changes.is_empty() {
            let (names, durable) = (&self.names, &self.durable_names);
            let used: std::collections::HashSet<u64> =
                names.values().chain(durable.values()).copied().collect();
            for (number, inode) in &mut self.inodes {
                if !used.contains(number) {
                    inode.pending = Vec::new();
                    inode.durable = Vec::new();
                }
            }
        }
    }

    pub(super) fn lose_power(&mut self, seed: u64) {
        let mut dice = Dice::new(seed);
        let changes = std::mem::take(&mut self.name_changes);
        let cautious = dice.below(3);
        for change in &changes {
            let kept = match cautious {
                0 => false,
                1 => true,
                _ => dice.flip(),
            };
            if kept {
                change.apply(&mut self.durable_names);
            }
        }
        self.names = self.durable_names.clone();
        let mut numbers: Vec<u64> = self.names.values().copied().collect();
        numbers.sort_unstable();
        self.inodes.retain(|number, _| numbers.binary_search(number).is_ok());
        for number in numbers {
            if let Some(inode) = self.inodes.get_mut(&number) {
                inode.lose_power(&mut dice);
            }
        }
        self.used = self.inodes.values().map(|inode| inode.current.len() as u64).sum();
        self.begin_life();
    }

    pub(super) fn begin_life(&mut self) {
        self.life += 1;
        self.dead = false;
        self.countdown = None;
        self.is_kill = false;
    }
}
