//! Pages and changes of rubbish under right checksums: an error, never a panic, and a page that
//! takes a change is a legal one afterwards.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const SIZE: usize = 4096;
const ID: PageId = PageId(9);

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} page of {} slots", self.kind(), get_u16(&self.bytes, 44))
    }
}

/// Bytes changed in place: single bits, bytes, and words that lengths must not be believed to have.
#[derive(Clone, Debug)]
enum Blow {
    Flip(usize, u8),
    Word(usize, u64, usize),
}

fn blow() -> impl Strategy<Value = Blow> {
    let words =
        prop_oneof![Just(0), Just(1), Just(0xFFFF), Just(0xFFFF_FFFF), Just(u64::MAX), any::<u64>()];
    // Small places are the header's, where the most is decided.
    let place = || prop_oneof![16usize..180, 16usize..SIZE];
    prop_oneof![
        (place(), 0u8..8).prop_map(|(at, bit)| Blow::Flip(at, bit)),
        (place(), words, prop_oneof![Just(1usize), Just(2), Just(4), Just(8)])
            .prop_map(|(at, word, width)| Blow::Word(at, word, width)),
    ]
}

fn strike(bytes: &mut [u8], blows: &[Blow]) {
    for blow in blows {
        match *blow {
            Blow::Flip(at, bit) => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            Blow::Word(at, word, width) => {
                if let Some(place) = bytes.get_mut(at..at + width) {
                    place.copy_from_slice(&word.to_le_bytes()[..width]);
                }
            }
        }
    }
}

/// A leaf, an inner page, or a map, with something in it.
fn page() -> impl Strategy<Value = Page> {
    (0u8..4, 0usize..60, any::<bool>()).prop_map(|(what, records, has_right)| {
        let kind = [Kind::Leaf, Kind::Inner, Kind::SpaceMap, Kind::Overflow][usize::from(what)];
        let shape = Shape {
            id: ID,
            kind,
            level: u8::from(kind == Kind::Inner),
            tree: TreeId(4),
            right: if has_right { PageId(10) } else { PageId::NONE },
            low: b"key",
            high: has_right.then_some(&b"key9"[..]),
        };
        let mut page = Page::format(SIZE, shape);
        for number in 0..records.max(1) {
            let key = format!("key{number:03}").into_bytes();
            let value = vec![number as u8; number];
            match kind {
                Kind::Leaf => {
                    let stamp = Stamp { txn: TxnId(3), lsn: Lsn(40) };
                    page.insert_record(number, Record { key: &key, value: &value, flags: 0, stamp });
                }
                Kind::Inner => {
                    page.insert_child(number, &key, PageId(number as u32));
                }
                _ => page.payload_mut()[number] = 0x55,
            }
        }
        page.set_lsn(Lsn(50));
        page
    })
}

/// A change with any fields, as a body carries it.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let bytes = || {
        prop_oneof![
            "key[0-9]{0,3}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..40),
            Just(vec![7u8; 5000]),
        ]
    };
    let slot = || prop_oneof![0u16..70, any::<u16>()];
    let number = || prop_oneof![0u32..70, Just(u32::MAX), any::<u32>()];
    let fields = (0u8..13, slot(), number(), number(), bytes(), bytes(), any::<u8>(), any::<bool>());
    (fields, page()).prop_map(|((what, slot, first, second, key, value, flags, is_there), page)| {
        let flags = if flags > 200 { flags } else { flags % 4 };
        let new = Version { flags, value: &value };
        let old = Old { version: new, stamp: Stamp { txn: TxnId(1), lsn: Lsn(2) } };
        let image = page.to_image();
        let right = if is_there { PageId(second) } else { PageId::NONE };
        let change = match what {
            0 | 1 => Change::Put { slot, key: &key, new, old: is_there.then_some(old) },
            2 => Change::Restore { slot, old },
            3 => Change::Remove { slot },
            4 => Change::Purge { slots: &value },
            5 | 6 => Change::AddChild { slot, key: &key, child: PageId(first) },
            7 => Change::RemoveChild { slot },
            8 => Change::Image { image: if is_there { &image } else { &value } },
            9 => Change::Truncate { slot, right: PageId(first), high: &key },
            10 => Change::Absorb { right, high: is_there.then_some(&key) },
            11 => Change::Free,
            _ => Change::Map { first, count: second, used: is_there },
        };
        let mut body = Vec::new();
        encode_parts(&mut body, TreeId(4), &[Part { page: ID, previous: Lsn(50), change }]);
        body
    })
}

/// Asks everything that can be asked of a page that was believed.
fn use_page(page: &Page) {
    let _ = page.to_image();
    if !matches!(page.kind(), Kind::Leaf | Kind::Inner) {
        return;
    }
    let _ = (page.low_fence(), page.high_fence(), page.free_bytes());
    for slot in 0..page.slots() {
        let key = page.key(slot);
        assert_eq!(page.search(key), Ok(slot));
        match page.kind() {
            Kind::Leaf => drop(page.record(slot).value.to_vec()),
            _ => drop(page.child(slot)),
        }
    }
}

fn redo_all(page: &mut Page, body: &[u8]) {
    let Ok(mut parts) = PartReader::new(body) else { return };
    while let Ok(Some(part)) = parts.next_part() {
        let before = page.clone();
        let mark = EntryMark { txn: TxnId(6), lsn: Lsn(60), end: Lsn(99) };
        match page.redo(ID, &part.change, mark) {
            Ok(()) => {
                assert_eq!(page.validate_structure(), Ok(()), "after {:?}", part.change);
                use_page(page);
            }
            Err(error) => {
                assert_eq!(error.code, Code::PageDamaged);
                assert!(page.bytes() == before.bytes(), "changed by {:?}", part.change);
            }
        }
    }
}

proptest! {
    #[test]
    fn a_page_of_rubbish_is_refused(bytes in prop::collection::vec(any::<u8>(), SIZE)) {
        let mut page = Page::zeroed(SIZE);
        page.bytes_mut().copy_from_slice(&bytes);
        prop_assert_eq!(page.validate(ID, Lsn::MAX).unwrap_err().code, Code::ChecksumMismatch);
        page.seal();
        prop_assert_eq!(page.validate(ID, Lsn::MAX).unwrap_err().code, Code::PageDamaged);
    }

    #[test]
    fn a_page_whose_fields_are_wrong_is_refused_or_can_be_used(
        page in page(),
        blows in prop::collection::vec(blow(), 0..5),
        body in body(),
    ) {
        let mut page = page;
        strike(page.bytes_mut(), &blows);
        page.seal();
        if page.validate(ID, Lsn::MAX).is_ok() {
            use_page(&page);
            redo_all(&mut page, &body);
        }
    }

    #[test]
    fn a_change_that_does_not_fit_is_refused_and_one_that_does_leaves_a_legal_page(
        page in page(),
        body in body(),
    ) {
        redo_all(&mut page.clone(), &body);
    }

    #[test]
    fn the_body_of_an_entry_may_hold_anything(
        body in body(),
        page in page(),
        blows in prop::collection::vec(blow(), 0..5),
        cut in 0usize..400,
        rubbish in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut page = page;
        let mut struck = body.clone();
        // The places of blows are those of pages: the first 16 bytes of a body matter too.
        let shifted = if struck.len() > 20 { struck.as_mut_slice() } else { &mut [] };
        strike(shifted, &blows);
        redo_all(&mut page, &struck);
        redo_all(&mut page, &body[..cut.min(body.len())]);
        redo_all(&mut page, &rubbish);
    }
}
