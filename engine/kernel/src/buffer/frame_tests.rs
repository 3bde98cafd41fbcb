//! Pins through hints against claims, in orders drawn from seeds.
#![allow(clippy::unwrap_used)]

use super::frame::Frame;
use crate::sync::{race_point, schedule};
use crate::types::PageId;

const BEFORE: PageId = PageId(7);
const AFTER: PageId = PageId(9);
const SEEDS: u64 = 300;

fn frame() -> Frame {
    let frame = Frame::new();
    frame.set_page(BEFORE);
    frame
}

/// Takes the page of the frame from it and gives it another one, as an eviction and a load do.
fn replace(frame: &Frame) -> bool {
    let Some(alone) = frame.claim_clean() else { return false };
    assert!(!frame.is_dirty(), "a page with changes was evicted");
    race_point();
    frame.take_page(alone);
    race_point();
    let latch = frame.latch.write();
    frame.set_page(AFTER);
    drop(latch);
    frame.unpin();
    true
}

#[test]
fn a_frame_that_a_hint_latched_is_not_given_to_another_page() {
    let (mut held, mut replaced) = (0, 0);
    for seed in 0..SEEDS {
        let frame = &frame();
        let (mut holds, mut is_replaced) = (false, false);
        let look = || {
            let latched = frame.latch_where_it_holds(BEFORE);
            holds = latched.is_some();
            if holds {
                (0..4).for_each(|_| {
                    assert_eq!(frame.page(), BEFORE, "seed {seed}");
                    race_point();
                });
            }
            drop(latched);
        };
        schedule::run(seed, vec![Box::new(look), Box::new(|| is_replaced = replace(frame))]);
        assert!(frame.latch.try_write().is_some(), "seed {seed} left a latch behind");
        held += u64::from(holds);
        replaced += u64::from(is_replaced);
    }
    assert!(held > 10 && held < SEEDS && replaced > 10 && replaced < SEEDS, "{held} {replaced}");
}

#[test]
fn a_frame_that_a_hint_pinned_is_not_given_to_another_page() {
    let (mut held, mut replaced) = (0, 0);
    for seed in 0..SEEDS {
        let frame = &frame();
        let (mut holds, mut is_replaced) = (false, false);
        let look = || {
            holds = frame.pin_where_it_holds(BEFORE);
            if holds {
                (0..4).for_each(|_| {
                    assert_eq!(frame.page(), BEFORE, "seed {seed}");
                    race_point();
                });
                frame.unpin();
            }
        };
        schedule::run(seed, vec![Box::new(look), Box::new(|| is_replaced = replace(frame))]);
        assert!(!frame.is_pinned(), "seed {seed} left a pin or a claim behind");
        held += u64::from(holds);
        replaced += u64::from(is_replaced);
    }
    assert!(held > 10 && held < SEEDS && replaced > 10 && replaced < SEEDS, "{held} {replaced}");
}

#[test]
fn a_frame_that_was_changed_through_a_hint_is_not_evicted() {
    let mut changed = 0;
    for seed in 0..SEEDS {
        let frame = &frame();
        let (mut holds, mut is_replaced) = (false, false);
        let change = || {
            holds = frame.pin_where_it_holds(BEFORE);
            if holds {
                frame.swap_rec_lsn(1);
                race_point();
                frame.unpin();
            }
        };
        // Looked at before it is claimed, as the hand of the clock does.
        let evict = || {
            is_replaced = !frame.is_dirty() && {
                race_point();
                replace(frame)
            }
        };
        schedule::run(seed, vec![Box::new(change), Box::new(evict)]);
        assert!(!(holds && is_replaced), "seed {seed}");
        changed += u64::from(holds && !is_replaced);
    }
    assert!(changed > 10, "{changed}");
}
