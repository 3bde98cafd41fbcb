//! Bodies of the log and rows of the catalogue that are rubbish: an error, never a panic, and no more memory
//! than as many bytes can ask for.

use proptest::prelude::*;

use crate::checkpoint::Tables;
use crate::log::segments::SegmentHeader;
use crate::txn::{CatalogueEntry, Ended};

/// Rubbish in which some words are small, as counts are.
fn rubbish() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![any::<u32>(), 0u32..4, Just(u32::MAX)];
    prop::collection::vec(word, 0..80).prop_flat_map(|words| (Just(words), 0usize..4)).prop_map(
        |(words, cut)| {
            let mut bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
            bytes.truncate(bytes.len().saturating_sub(cut));
            bytes
        },
    )
}

proptest! {
    #[test]
    fn the_tables_of_a_checkpoint(bytes in rubbish()) {
        if let Ok(tables) = Tables::decode(&bytes) {
            prop_assert!(12 * tables.dirty.len() + 32 * tables.active.len() <= bytes.len());
        }
    }

    #[test]
    fn the_end_of_a_transaction(bytes in rubbish()) {
        if let Ok(ended) = Ended::decode(&bytes) {
            prop_assert!(12 * ended.deltas.len() + 5 * ended.garbage.len() <= bytes.len());
        }
    }

    #[test]
    fn the_header_of_a_segment(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(SegmentHeader::decode(&bytes).is_err());
    }

    #[test]
    fn a_row_of_the_catalogue(key in prop::collection::vec(any::<u8>(), 0..40), value in rubbish()) {
        if let Ok(row) = CatalogueEntry::decode(&key, &value) {
            prop_assert!(row.description.len() + 8 == value.len());
        }
    }
}
