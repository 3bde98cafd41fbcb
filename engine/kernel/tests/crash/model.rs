//! What a database should hold: trees of records, what each transaction sees and has changed,
//! and which states a crash may leave.

use std::collections::BTreeMap;
use std::rc::Rc;

use _kernel::txn::Isolation;
use _kernel::types::Lsn;

pub type Rows = BTreeMap<Vec<u8>, Vec<u8>>;
/// Trees by name. Copies share what has not changed.
pub type World = BTreeMap<String, Rc<Rows>>;

/// What a transaction has done with a tree.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    /// Made by this transaction: nothing older shows through.
    Fresh,
    Gone,
}

#[derive(Clone)]
struct TreeDraft {
    fate: Fate,
    rows: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

/// Changes that are not committed.
#[derive(Clone, Default)]
pub struct Draft(BTreeMap<String, TreeDraft>);

impl Draft {
    fn tree(&mut self, name: &str) -> &mut TreeDraft {
        let empty = || TreeDraft { fate: Fate::Kept, rows: BTreeMap::new() };
        self.0.entry(name.to_owned()).or_insert_with(empty)
    }

    pub fn create(&mut self, name: &str) {
        *self.tree(name) = TreeDraft { fate: Fate::Fresh, rows: BTreeMap::new() };
    }

    pub fn drop_tree(&mut self, name: &str) {
        *self.tree(name) = TreeDraft { fate: Fate::Gone, rows: BTreeMap::new() };
    }

    pub fn set(&mut self, name: &str, key: &[u8], value: Option<Vec<u8>>) {
        self.tree(name).rows.insert(key.to_vec(), value);
    }

    pub fn apply(&self, world: &World) -> World {
        let mut after = world.clone();
        for (name, draft) in &self.0 {
            match draft.fate {
                Fate::Gone => {
                    after.remove(name);
                    continue;
                }
                Fate::Fresh => {
                    after.insert(name.clone(), Rc::default());
                }
                Fate::Kept => {}
            }
            let rows = Rc::make_mut(after.entry(name.clone()).or_default());
            for (key, value) in &draft.rows {
                match value {
                    Some(value) => rows.insert(key.clone(), value.clone()),
                    None => rows.remove(key),
                };
            }
        }
        after
    }
}

/// A transaction as it should be.
pub struct Ledger {
    pub isolation: Isolation,
    /// What was committed when it began.
    pub snapshot: Rc<World>,
    pub draft: Draft,
    pub savepoints: Vec<(String, Draft)>,
}

impl Ledger {
    pub fn new(isolation: Isolation, committed: Rc<World>) -> Ledger {
        Ledger { isolation, snapshot: committed, draft: Draft::default(), savepoints: Vec::new() }
    }

    fn base<'w>(&'w self, committed: &'w World) -> &'w World {
        if self.isolation == Isolation::RepeatableRead { &self.snapshot } else { committed }
    }

    pub fn has_tree(&self, committed: &World, name: &str) -> bool {
        match self.draft.0.get(name).map(|draft| draft.fate) {
            Some(Fate::Gone) => false,
            Some(Fate::Fresh) => true,
            Some(Fate::Kept) | None => self.base(committed).contains_key(name),
        }
    }

    pub fn get<'w>(&'w self, committed: &'w World, name: &str, key: &[u8]) -> Option<&'w Vec<u8>> {
        let draft = self.draft.0.get(name);
        if let Some(value) = draft.and_then(|draft| draft.rows.get(key)) {
            return value.as_ref();
        }
        match draft.map(|draft| draft.fate) {
            Some(Fate::Gone | Fate::Fresh) => None,
            Some(Fate::Kept) | None => self.base(committed).get(name)?.get(key),
        }
    }

    /// All that it sees of one tree.
    pub fn rows(&self, committed: &World, name: &str) -> Rows {
        let seen = self.draft.apply(self.base(committed));
        seen.get(name).map(|rows| Rows::clone(rows)).unwrap_or_default()
    }
}

/// The committed states, oldest first, with the commit entry of each.
pub struct History(Vec<(Lsn, Rc<World>)>);

impl History {
    pub fn new(world: Rc<World>) -> History {
        History(vec![(Lsn::NONE, world)])
    }

    /// After a crash: any of these states, nobody knows which.
    pub fn of(states: Vec<Rc<World>>) -> History {
        History(states.into_iter().map(|world| (Lsn::MAX, world)).collect())
    }

    pub fn newest(&self) -> &Rc<World> {
        &self.0[self.0.len() - 1].1
    }

    /// The newest state that somebody was told of; `None` where only the first one is known.
    pub fn acknowledged(&self) -> Option<&Rc<World>> {
        self.0.iter().rev().find(|(lsn, _)| *lsn != Lsn::MAX).map(|(_, world)| world)
    }

    pub fn commit(&mut self, lsn: Lsn, world: World) {
        self.0.push((lsn, Rc::new(world)));
    }

    /// The states that a crash may leave: nothing older than what was certain at `durable`.
    pub fn possible(&self, durable: Lsn) -> impl Iterator<Item = &Rc<World>> {
        let certain = self.0.iter().rposition(|(lsn, _)| *lsn < durable).unwrap_or(0);
        self.0[certain..].iter().map(|(_, world)| world)
    }
}
