//! The structure check of one page: nothing read from a file is indexed before it passed.

use super::records::{GHOST, OVERFLOW};
use super::{HEADER, Kind, NO_FENCE, Page, SLOT, common_prefix, get_u16};

impl Page {
    /// Says what is wrong with the structure, or that nothing is.
    pub fn validate_structure(&self) -> Result<(), String> {
        let Some(kind) = Kind::from_byte(self.bytes[20]) else {
            return Err(format!("unknown page kind {}", self.bytes[20]));
        };
        if get_u16(&self.bytes, 22) != 1 {
            return Err(format!("unknown page format {}", get_u16(&self.bytes, 22)));
        }
        match kind {
            Kind::Leaf if self.level() != 0 => Err("a leaf above level 0".to_owned()),
            Kind::Inner if self.level() == 0 => Err("an inner page at level 0".to_owned()),
            Kind::Leaf | Kind::Inner => self.validate_slots(),
            _ => Ok(()),
        }
    }

    fn validate_slots(&self) -> Result<(), String> {
        let low_length = usize::from(get_u16(&self.bytes, 56));
        let high_length = match get_u16(&self.bytes, 58) {
            NO_FENCE => 0,
            length => usize::from(length),
        };
        let slots_end = HEADER + SLOT * self.slots();
        let heap_end = self.size().saturating_sub(low_length + high_length);
        if slots_end > self.heap_start() || self.heap_start() > heap_end {
            return Err("slots, heap and fences overlap".to_owned());
        }
        let prefix = self.high_fence().map_or(0, |high| common_prefix(self.low_fence(), high));
        if prefix != self.prefix() {
            return Err("the key prefix is not that of the fences".to_owned());
        }
        if self.high_fence().is_none() != self.right().is_none() {
            return Err("right sibling and high fence disagree".to_owned());
        }
        self.validate_extents(heap_end)?;
        self.validate_order()
    }

    fn validate_extents(&self, heap_end: usize) -> Result<(), String> {
        let mut extents = Vec::with_capacity(self.slots());
        for slot in 0..self.slots() {
            match self.raw_extent(slot) {
                Some((at, size)) if at >= self.heap_start() && at + size <= heap_end => {
                    extents.push((at, size))
                }
                _ => return Err(format!("slot {slot} points outside the page's records")),
            }
        }
        extents.sort_unstable();
        if extents.windows(2).any(|pair| pair[0].0 + pair[0].1 > pair[1].0) {
            return Err("records overlap".to_owned());
        }
        let used: usize = extents.iter().map(|e| e.1).sum();
        if used + self.garbage() != heap_end - self.heap_start() {
            return Err("free bytes do not add up".to_owned());
        }
        Ok(())
    }

    fn validate_order(&self) -> Result<(), String> {
        let inner = self.level() > 0;
        if inner && self.slots() == 0 {
            return Err("an inner page without children".to_owned());
        }
        for slot in 0..self.slots() {
            let key = self.key(slot);
            let in_range = key >= self.low_fence() && !self.is_beyond(key);
            if !in_range {
                return Err(format!("the key of slot {slot} lies outside the fences"));
            }
            if slot > 0 && self.key(slot - 1) >= key {
                return Err(format!("the keys of slots {} and {slot} are out of order", slot - 1));
            }
            if !self.slot_head_holds(slot) {
                return Err(format!("slot {slot} does not match its key"));
            }
            if !inner && self.record(slot).flags & !(GHOST | OVERFLOW) != 0 {
                return Err(format!("slot {slot} has unknown flags"));
            }
        }
        Ok(())
    }
}
