//! Pages against ordered maps: every step is made on a page, carried through the bytes of a log
//! entry, and redone on a copy, which must then be the same to the byte.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const SIZE: usize = 4096;
const TREE: TreeId = TreeId(7);

/// One step, of which the key or the page is drawn from what there is.
#[derive(Clone, Debug)]
enum Step {
    Put {
        key: usize,
        length: usize,
    },
    Delete {
        key: usize,
    },
    /// A change and its undo, as a rollback makes it.
    UndoPut {
        key: usize,
        length: usize,
    },
    Purge {
        page: usize,
    },
    Split {
        page: usize,
        part: usize,
    },
    Merge {
        page: usize,
    },
    Image {
        page: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0usize..200, 0usize..700).prop_map(|(key, length)| Step::Put { key, length }),
        5 => (0usize..200).prop_map(|key| Step::Delete { key }),
        3 => (0usize..200, 0usize..700).prop_map(|(key, length)| Step::UndoPut { key, length }),
        2 => (0usize..9).prop_map(|page| Step::Purge { page }),
        2 => (0usize..9, 0usize..100).prop_map(|(page, part)| Step::Split { page, part }),
        2 => (0usize..9).prop_map(|page| Step::Merge { page }),
        1 => (0usize..9).prop_map(|page| Step::Image { page }),
    ]
}

/// Keys with prefixes in common, of many lengths, the empty one among them.
fn key_of(number: usize) -> Vec<u8> {
    match number {
        0 => Vec::new(),
        number => {
            let mut key = format!("{:03}", number * 7 % 200).into_bytes();
            key.extend(std::iter::repeat_n(b'k', number % 11 * (number % 13)));
            key
        }
    }
}

/// A page and the copy that only ever sees log entries.
struct Twin {
    id: PageId,
    page: Page,
    copy: Page,
}

/// The leaves of one level, in order, and what they should hold.
struct Leaves {
    twins: Vec<Twin>,
    model: BTreeMap<Vec<u8>, (u8, Vec<u8>)>,
    lsn: u64,
    next_page: u32,
}

impl Leaves {
    fn new() -> Leaves {
        let shape = Shape {
            id: PageId(3),
            kind: Kind::Leaf,
            level: 0,
            tree: TREE,
            right: PageId::NONE,
            low: &[],
            high: None,
        };
        let page = Page::format(SIZE, shape);
        let twins = vec![Twin { id: PageId(3), copy: page.clone(), page }];
        Leaves { twins, model: BTreeMap::new(), lsn: 1000, next_page: 4 }
    }

    fn place_of(&self, key: &[u8]) -> usize {
        self.twins.iter().position(|twin| !twin.page.is_beyond(key)).unwrap()
    }

    /// Makes a change, redoes what its entry carries, and compares.
    fn make(&mut self, place: usize, change: &Change<'_>) {
        self.lsn += 100;
        let mark = EntryMark { txn: TxnId(5), lsn: Lsn(self.lsn), end: Lsn(self.lsn + 60) };
        let twin = &mut self.twins[place];
        let id = twin.id;
        let mut body = Vec::new();
        encode_parts(&mut body, TREE, &[Part { page: id, previous: twin.page.lsn(), change: *change }]);
        twin.page.apply(change, mark).unwrap();
        let mut parts = PartReader::new(&body).unwrap();
        let part = parts.next_part().unwrap().unwrap();
        assert_eq!(part.change, *change);
        assert!(parts.next_part().unwrap().is_none() && parts.extra().is_empty());
        twin.copy.redo(part.page, &part.change, mark).unwrap();
        assert_eq!(twin.page.bytes(), twin.copy.bytes(), "{change:?}");
        assert_eq!(twin.page.validate_structure(), Ok(()), "{change:?}");
    }

    fn put(&mut self, key: &[u8], flags: u8, value: &[u8], is_undone: bool) {
        let place = self.place_of(key);
        let page = &self.twins[place].page;
        let found = page.search(key);
        let fits = match found {
            Ok(slot) => page.fits_value(slot, value.len()),
            Err(_) => page.fits_record(key.len(), value.len()),
        };
        if !fits {
            return self.split(place, 50);
        }
        let before = found.ok().map(|slot| page.clone().record(slot).to_version());
        let old = before.as_ref().map(|(flags, stamp, value)| Old {
            version: Version { flags: *flags, value },
            stamp: *stamp,
        });
        let (Ok(slot) | Err(slot)) = found;
        let slot = slot as u16;
        self.make(place, &Change::Put { slot, key, new: Version { flags, value }, old });
        match (is_undone, old) {
            (false, _) => {
                self.model.insert(key.to_vec(), (flags, value.to_vec()));
            }
            (true, None) => self.make(place, &Change::Remove { slot }),
            (true, Some(old)) => self.make(place, &Change::Restore { slot, old }),
        }
    }

    fn split(&mut self, place: usize, part: usize) {
        let page = self.twins[place].page.clone();
        if page.slots() < 2 {
            return;
        }
        let slot = 1 + part * (page.slots() - 1) / 101;
        let (id, separator) = (PageId(self.next_page), page.key(slot).to_vec());
        let shape = Shape {
            id,
            kind: Kind::Leaf,
            level: 0,
            tree: TREE,
            right: page.right(),
            low: &separator,
            high: page.high_fence(),
        };
        let mut right = Page::format(SIZE, shape);
        let records: usize = (0..slot).map(|slot| page.record_size(slot) + SLOT).sum();
        let fences = page.low_fence().len() + separator.len();
        if !right.copy_records(&page, slot, page.slots()) || records + fences > SIZE - HEADER {
            return;
        }
        self.next_page += 1;
        let (page, copy) = (Page::zeroed(SIZE), Page::zeroed(SIZE));
        self.twins.insert(place + 1, Twin { id, page, copy });
        self.make(place + 1, &Change::Image { image: &right.to_image() });
        self.make(place, &Change::Truncate { slot: slot as u16, right: id, high: &separator });
    }

    fn merge(&mut self, place: usize) {
        if place + 1 >= self.twins.len() || self.twins[place + 1].page.slots() > 0 {
            return;
        }
        let (left, empty) = (&self.twins[place].page, &self.twins[place + 1].page);
        let high = empty.high_fence().map(<[u8]>::to_vec);
        let (right, low) = (empty.right(), empty.low_fence().len());
        if left.free_bytes() + low < high.as_ref().map_or(0, Vec::len) {
            return;
        }
        self.make(place, &Change::Absorb { right, high: high.as_deref() });
        self.make(place + 1, &Change::Free);
        self.twins.remove(place + 1);
    }

    fn purge(&mut self, place: usize) {
        let page = &self.twins[place].page;
        let ghosts: Vec<u16> = (0..page.slots())
            .filter(|slot| page.record(*slot).is_ghost())
            .map(|slot| slot as u16)
            .collect();
        let keys: Vec<Vec<u8>> =
            ghosts.iter().map(|slot| page.key(usize::from(*slot)).to_vec()).collect();
        let slots: Vec<u8> = ghosts.iter().flat_map(|slot| slot.to_le_bytes()).collect();
        self.make(place, &Change::Purge { slots: &slots });
        keys.iter().for_each(|key| assert!(self.model.remove(key).is_some()));
    }

    fn take(&mut self, step: &Step) {
        let count = self.twins.len();
        match *step {
            Step::Put { key, length } => self.put(&key_of(key), 0, &vec![key as u8; length], false),
            Step::UndoPut { key, length } => self.put(&key_of(key), 0, &vec![1; length], true),
            Step::Delete { key } => self.put(&key_of(key), GHOST, &[], false),
            Step::Purge { page } => self.purge(page % count),
            Step::Split { page, part } => self.split(page % count, part),
            Step::Merge { page } => self.merge(page % count),
            Step::Image { page } => {
                let image = self.twins[page % count].page.to_image();
                self.make(page % count, &Change::Image { image: &image });
            }
        }
    }

    fn compare(&self) {
        let found: BTreeMap<Vec<u8>, (u8, Vec<u8>)> = self
            .twins
            .iter()
            .flat_map(|twin| (0..twin.page.slots()).map(|slot| twin.page.record(slot)))
            .map(|record| (record.key.to_vec(), (record.flags, record.value.to_vec())))
            .collect();
        assert_eq!(found, self.model);
        for (key, (_, value)) in &self.model {
            let page = &self.twins[self.place_of(key)].page;
            assert_eq!(page.record(page.search(key).unwrap()).value, value);
        }
    }
}

impl Record<'_> {
    fn to_version(self) -> (u8, Stamp, Vec<u8>) {
        (self.flags, self.stamp, self.value.to_vec())
    }
}

proptest! {
    #[test]
    fn leaves_hold_what_a_map_holds_and_redo_gives_the_same_bytes(
        steps in prop::collection::vec(step(), 1..250)
    ) {
        let mut leaves = Leaves::new();
        for step in &steps {
            leaves.take(step);
        }
        leaves.compare();
    }

    #[test]
    fn an_inner_page_routes_as_a_map_does_and_redo_gives_the_same_bytes(
        steps in prop::collection::vec((1usize..200, any::<bool>()), 1..250)
    ) {
        let shape = Shape {
            id: PageId(3), kind: Kind::Inner, level: 1, tree: TREE, right: PageId::NONE, low: &[], high: None,
        };
        let mut page = Page::format(SIZE, shape);
        prop_assert!(page.insert_child(0, &[], PageId(10)));
        let mut copy = page.clone();
        let mut model = BTreeMap::from([(Vec::new(), PageId(10))]);
        for (number, (key, adds)) in steps.into_iter().enumerate() {
            let (key, child) = (key_of(key), PageId(20 + number as u32));
            let change = match page.search(&key) {
                Err(slot) if adds && page.fits_child(key.len()) => {
                    model.insert(key.clone(), child);
                    Change::AddChild { slot: slot as u16, key: &key, child }
                }
                Ok(slot) if !adds => {
                    model.remove(&key);
                    Change::RemoveChild { slot: slot as u16 }
                }
                _ => continue,
            };
            let mark = EntryMark { txn: TxnId::SYSTEM, lsn: Lsn(100), end: Lsn(200) };
            page.apply(&change, mark).unwrap();
            copy.redo(PageId(3), &change, mark).unwrap();
            prop_assert_eq!(page.bytes(), copy.bytes());
            prop_assert_eq!(page.validate_structure(), Ok(()));
            for probe in (0..200).map(key_of) {
                let expected = model.range(..=probe.clone()).next_back().map(|(_, child)| *child);
                let slot = page.search(&probe).unwrap_or_else(|slot| slot.saturating_sub(1));
                prop_assert_eq!(Some(page.child(slot)), expected);
            }
        }
    }
}
