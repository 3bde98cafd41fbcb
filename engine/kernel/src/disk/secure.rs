//! Making certain what a process that is gone has written.

use std::ops::Range;

use super::File;
use crate::error::Result;

/// Bytes read and written at a time.
const BLOCK: u64 = 1 << 20;

/// Makes these bytes of a file certain, whoever wrote them; durable on return. Who builds on what
/// another process may have written (overwrites the copy before it, removes what it replaces, tells
/// that it is there) calls this first.
///
/// A killed process leaves bytes that only the system's memory holds. After a failed sync the system
/// may even count them as written and leave them out of every later sync (Rebello et al. 2020), so
/// they are written once more: the same bytes, so a crash here harms nothing.
pub fn secure(file: &dyn File, range: Range<u64>) -> Result<()> {
    let most = range.end.saturating_sub(range.start).min(BLOCK) as usize;
    let mut block = crate::memory::zeroed(most, "secure a file")?;
    let mut at = range.start;
    while at < range.end {
        let wanted = (range.end - at).min(BLOCK) as usize;
        let count = file.read_at(&mut block[..wanted], at)?;
        if count == 0 {
            break;
        }
        file.write_at(&block[..count], at)?;
        at += count as u64;
    }
    file.sync()
}
