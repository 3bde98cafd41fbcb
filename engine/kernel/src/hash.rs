//! The hash tables of hot paths. Their function is made for short keys, and is drawn anew in each
//! process as the standard library's is, so that nobody outside can choose keys that collide.

use std::collections::HashMap;

/// A map that is asked for each operation or each transaction.
pub type FastMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
