//! Ordered visits, one leaf at a time: no latch and no pin is kept between two leaves.

use super::{Latching, Seek, Tree, Waiting};
use crate::error::Result;
use crate::page::Record;

/// Where a visit goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// At this fence: the first key of the leaf to the right, or, backwards, the end of the
    /// leaf to the left.
    Fence(Vec<u8>),
    /// Nowhere: this was the last leaf.
    End,
    /// The visitor had enough.
    Stopped,
}

impl Tree<'_> {
    /// Shows `visit` the records from `start` on of the leaf that holds it, ascending.
    /// `visit` runs under the leaf's latch: it copies what it needs and answers whether to go on.
    pub fn visit_forward(
        &self,
        start: &[u8],
        visit: &mut dyn FnMut(Record<'_>) -> bool,
    ) -> Result<Next> {
        Ok(self.try_visit_forward::<Waiting>(start, visit)?.unwrap_or(Next::Stopped))
    }

    /// As [`Tree::visit_forward`]; `None` where a latch or a page would have to be waited for.
    pub fn try_visit_forward<L: Latching>(
        &self,
        start: &[u8],
        visit: &mut dyn FnMut(Record<'_>) -> bool,
    ) -> Result<Option<Next>> {
        let Some((leaf, place)) = self.leaf_and_place::<L>(Seek::At(start))? else { return Ok(None) };
        let (Ok(first) | Err(first)) = place;
        for slot in first..leaf.slots() {
            if !visit(leaf.record(slot)) {
                return Ok(Some(Next::Stopped));
            }
        }
        Ok(Some(leaf.high_fence().map_or(Next::End, |high| Next::Fence(high.to_vec()))))
    }

    /// Shows `visit` the records below `before` (`None`: the end) of one leaf, descending.
    pub fn visit_backward(
        &self,
        before: Option<&[u8]>,
        visit: &mut dyn FnMut(Record<'_>) -> bool,
    ) -> Result<Next> {
        let Some((leaf, place)) = self.leaf_and_place::<Waiting>(Seek::Below(before))? else {
            return Ok(Next::Stopped);
        };
        let (Ok(end) | Err(end)) = place;
        for slot in (0..end).rev() {
            if !visit(leaf.record(slot)) {
                return Ok(Next::Stopped);
            }
        }
        let low = leaf.low_fence();
        Ok(if low.is_empty() { Next::End } else { Next::Fence(low.to_vec()) })
    }
}
