//! Long values: each chain is whole, and as long as its record says.

use super::trees::Walk;
use crate::error::Result;
use crate::page::Page;
use crate::tree::overflow::{self, MAX_VALUE, Reference};
use crate::tree::{Seek, Waiting};
use crate::types::PageId;

/// What following a chain came to.
enum Outcome {
    Whole(Vec<PageId>),
    Broken,
    /// One of its pages is damaged, which has been noted.
    Damaged,
}

impl Walk<'_, '_> {
    pub(super) fn check_long_value(&mut self, leaf: PageId, key: &[u8], value: &[u8]) -> Result<()> {
        let Ok(reference) = Reference::decode(value) else {
            self.check.is_walk_whole = false;
            self.note(leaf, "the reference to a long value cannot be read");
            return Ok(());
        };
        // A chain stays as long as a record refers to it: broken, with the record there before
        // and after, it is damage.
        for _ in 0..3 {
            match self.follow(reference)? {
                Outcome::Damaged => {
                    self.check.is_walk_whole = false;
                    return Ok(());
                }
                Outcome::Whole(pages) => {
                    for page in pages {
                        self.check.progress.add(1);
                        if !self.check.reached.insert(page) {
                            self.check.twice.push((page, self.name.to_owned()));
                        }
                    }
                    return Ok(());
                }
                Outcome::Broken if !self.is_still(key, value)? => {
                    self.check.is_walk_whole = false;
                    return Ok(());
                }
                Outcome::Broken => {}
            }
        }
        self.check.is_walk_whole = false;
        self.note(leaf, "the pages of a long value are not all there");
        Ok(())
    }

    fn is_still(&self, key: &[u8], value: &[u8]) -> Result<bool> {
        let Some(leaf) = self.tree.leaf::<Waiting>(Seek::At(key))? else { return Ok(false) };
        let found = leaf.search(key).ok().map(|slot| leaf.record(slot));
        Ok(found.is_some_and(|record| record.is_overflow() && record.value == value))
    }

    fn follow(&mut self, reference: Reference) -> Result<Outcome> {
        let length = usize::try_from(reference.length).unwrap_or(usize::MAX);
        if length > MAX_VALUE {
            return Ok(Outcome::Broken);
        }
        let (mut pages, mut have, mut at) = (Vec::new(), 0, reference.head);
        while have < length {
            if at.is_none() {
                return Ok(Outcome::Broken);
            }
            let Some(page) = self.check.fetch(at, self.name)? else { return Ok(Outcome::Damaged) };
            match self.piece(&page, &reference) {
                Some(bytes) if bytes > 0 && have + bytes <= length => have += bytes,
                _ => return Ok(Outcome::Broken),
            }
            pages.push(at);
            at = page.right();
        }
        Ok(if at.is_none() { Outcome::Whole(pages) } else { Outcome::Broken })
    }

    fn piece(&self, page: &Page, reference: &Reference) -> Option<usize> {
        overflow::piece(page, self.tree.id, &reference.name).map(<[u8]>::len)
    }
}
