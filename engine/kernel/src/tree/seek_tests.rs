//! Seeks that come to a page their key does not belong to, as descents among splits do.
#![allow(clippy::unwrap_used)]

use super::{Seek, Standing};
use crate::page::{Kind, Page, Record, Shape, Stamp};
use crate::types::{Lsn, PageId, TreeId, TxnId};

/// A leaf from "k-10" up to "k-20", whose keys share the prefix of its fences.
fn leaf(keys: &[&str]) -> Page {
    let shape = Shape {
        id: PageId(3),
        kind: Kind::Leaf,
        level: 0,
        tree: TreeId(9),
        right: PageId(4),
        low: b"k-11",
        high: Some(b"k-19"),
    };
    let mut page = Page::format(4096, shape);
    let stamp = Stamp { txn: TxnId(1), lsn: Lsn::NONE };
    for (slot, key) in keys.iter().enumerate() {
        assert!(page.insert_record(slot, Record { key: key.as_bytes(), value: b"v", flags: 0, stamp }));
    }
    page
}

fn stands(page: &Page, key: &str) -> &'static str {
    match Seek::At(key.as_bytes()).stand(page) {
        Standing::Here(_) => "here",
        Standing::Right => "right",
        Standing::Astray => "astray",
    }
}

#[test]
fn a_key_that_ends_like_one_of_the_page_but_begins_otherwise_is_not_taken_for_it() {
    let page = leaf(&["k-12", "k-14", "k-16"]);
    for same_ending in ["14", "13", "15"] {
        assert_eq!(stands(&page, &format!("k-{same_ending}")), "here");
        assert_eq!(stands(&page, &format!("m-{same_ending}")), "right");
        assert_eq!(stands(&page, &format!("a-{same_ending}")), "astray");
    }
}

#[test]
fn keys_at_the_ends_of_a_page_are_judged_by_its_fences() {
    let page = leaf(&["k-12", "k-14"]);
    let expected =
        [("k-10", "astray"), ("k-11", "here"), ("k-15", "here"), ("k-19", "right"), ("k-2", "right")];
    for (key, standing) in expected {
        assert_eq!(stands(&page, key), standing, "{key}");
    }
    assert_eq!(stands(&leaf(&[]), "k-12"), "here");
    assert_eq!(stands(&leaf(&[]), "m-12"), "right");
}
