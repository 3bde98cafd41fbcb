//! Memory whose size somebody else has named: a file, which may be damaged, or a caller.
//!
//! What there is not is `OutOfMemory` (-27), and never the end of the process. Sizes that the
//! kernel chooses itself are small, and are not asked for here.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

use crate::error::{Code, Error, Result};

mod raw;
mod slab;

pub use raw::PageMemory;
pub use slab::Slabs;

/// So many zeros, to be filled from a file.
pub fn zeroed(bytes: usize, operation: &str) -> Result<Vec<u8>> {
    let mut memory = Vec::new();
    reserve(&mut memory, bytes, operation)?;
    memory.resize(bytes, 0);
    Ok(memory)
}

/// Makes room for so many more elements.
pub fn reserve<T>(memory: &mut Vec<T>, more: usize, operation: &str) -> Result<()> {
    memory.try_reserve_exact(more).map_err(|_| lacking(operation))
}

/// Makes it so long, with zeros where it is longer than before.
pub fn resize(memory: &mut Vec<u8>, bytes: usize, operation: &str) -> Result<()> {
    reserve(memory, bytes.saturating_sub(memory.len()), operation)?;
    memory.resize(bytes, 0);
    Ok(())
}

/// True where the system, or the library that compresses, has told of a lack of memory: of nothing else.
pub fn lacks(error: &std::io::Error) -> bool {
    let is_told = || error.to_string().ends_with("not enough memory");
    error.kind() == std::io::ErrorKind::OutOfMemory || is_told()
}

/// A copy of what may be long.
pub fn copied(bytes: &[u8], operation: &str) -> Result<Vec<u8>> {
    let mut memory = Vec::new();
    reserve(&mut memory, bytes.len(), operation)?;
    memory.extend_from_slice(bytes);
    Ok(memory)
}

/// As [`reserve`], and more than that the larger it is, as long as there is enough: for what grows step
/// by step.
pub fn grow<T>(memory: &mut Vec<T>, more: usize, operation: &str) -> Result<()> {
    memory.try_reserve(more).or_else(|_| reserve(memory, more, operation))
}

/// Gives back what it has beyond `bytes` and what it holds, unless there is no memory to do that.
pub fn shrink(memory: &mut Vec<u8>, bytes: usize) {
    let mut smaller = Vec::new();
    if smaller.try_reserve_exact(bytes.max(memory.len())).is_ok() {
        smaller.extend_from_slice(memory);
        *memory = smaller;
    }
}

/// All of them, with room made as they come.
pub fn gathered<T>(items: impl IntoIterator<Item = T>, operation: &str) -> Result<Vec<T>> {
    let items = items.into_iter();
    let mut memory = Vec::new();
    reserve(&mut memory, items.size_hint().0, operation)?;
    for item in items {
        grow(&mut memory, 1, operation)?;
        memory.push(item);
    }
    Ok(memory)
}

/// A copy of text that may be long.
pub fn copied_text(text: &str, operation: &str) -> Result<String> {
    let mut memory = String::new();
    memory.try_reserve_exact(text.len()).map_err(|_| lacking(operation))?;
    memory.push_str(text);
    Ok(memory)
}

/// Makes room for one more key of a map that may grow large.
pub fn widen<K: Eq + Hash, V, S: BuildHasher>(
    map: &mut HashMap<K, V, S>,
    operation: &str,
) -> Result<()> {
    map.try_reserve(1).map_err(|_| lacking(operation))
}

/// Sees whether there would be so many bytes, for what cannot be refused once it has begun.
pub fn ensure_room(bytes: usize, operation: &str) -> Result<()> {
    reserve(&mut Vec::<u8>::new(), bytes, operation)
}

/// The error of it.
pub fn lacking(operation: &str) -> Error {
    Error::new(Code::OutOfMemory).with("operation", operation)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn memory_that_there_is_not_is_told_with_what_it_was_for() {
        for bytes in [1 << 60, usize::MAX] {
            let error = zeroed(bytes, "read a file").unwrap_err();
            assert_eq!(error.code, Code::OutOfMemory);
            assert_eq!(error.field("operation"), Some(&"read a file".into()));
        }
        assert_eq!(zeroed(3, "read a file").unwrap(), [0; 3]);
        let told = zstd::zstd_safe::get_error_name((-64isize).cast_unsigned());
        let error = Error::io("compress", "a file", &std::io::Error::other(told));
        assert_eq!(error.code, Code::OutOfMemory, "{told}");
        let error = Error::io("compress", "a file", &std::io::Error::other("corrupted"));
        assert_eq!(error.code, Code::IoError);
    }
}
