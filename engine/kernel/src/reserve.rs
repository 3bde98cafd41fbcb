//! Memory set aside for what cannot be refused.
//!
//! Where the size of something is named by others, it is asked for through `memory`, and `OutOfMemory`
//! is the answer where there is none. What is left are small things, a node of a map, an entry of a list,
//! for which Rust's library ends the process when they find no room. So pieces are set aside beforehand:
//! where the system refuses something small, one of them is given back to it, and it is asked again. From
//! then on changes are refused ([`ensure`]) until all pieces could be set aside once more; what brings
//! transactions to their end goes on meanwhile.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Code, Error, Result};

/// So large is each piece; what is asked for without a way to refuse it is no larger. The system has a
/// piece of this size back as soon as it is given up.
pub const PIECE: usize = 256 << 10;
const PIECES: usize = 16;

/// Vectors without elements, for the memory that they have. Only ever tried: an allocator must not wait.
static ASIDE: [Mutex<Vec<u8>>; PIECES] = [const { Mutex::new(Vec::new()) }; PIECES];
static IS_LOW: AtomicBool = AtomicBool::new(false);

/// An allocator that has pieces set aside, over the one that has the memory.
pub struct Reserved<A>(pub A);

#[cfg(feature = "extension-module")]
#[global_allocator]
static ALLOCATOR: Reserved<std::alloc::System> = Reserved(std::alloc::System);

/// `OutOfMemory` where pieces were needed and cannot be set aside again. Costs one look at a flag else.
pub fn ensure(operation: &str) -> Result<()> {
    if !IS_LOW.load(Ordering::Relaxed) || set_aside() {
        return Ok(());
    }
    Err(Error::new(Code::OutOfMemory).with("operation", operation))
}

/// Sets aside what is lacking; false where there is no memory for it.
pub fn set_aside() -> bool {
    // First, so that who needs a piece meanwhile is not overlooked.
    IS_LOW.store(false, Ordering::SeqCst);
    let is_whole = ASIDE.iter().all(|place| {
        let Ok(mut piece) = place.try_lock() else { return true };
        piece.capacity() > 0 || piece.try_reserve_exact(PIECE).is_ok()
    });
    if !is_whole {
        IS_LOW.store(true, Ordering::SeqCst);
    }
    is_whole
}

/// Gives a piece back to the system; false where none is left.
pub(crate) fn give_back() -> bool {
    ASIDE.iter().any(|place| {
        let Ok(mut piece) = place.try_lock() else { return false };
        if piece.capacity() == 0 {
            return false;
        }
        IS_LOW.store(true, Ordering::SeqCst);
        drop(std::mem::take(&mut *piece));
        true
    })
}
