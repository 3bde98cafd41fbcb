//! The storage kernel of Holdfast.
//!
//! Layers, lowest first; imports only go down:
//! `types`, `error`, `memory`, `reserve`, `hash` · `disk` · `log`, `stats`, `lock` · `page`, `buffer`,
//! `space` · `tree` · `txn` · `checkpoint`, `recovery`, `verify`, `backup`, `mirror` · `store` · `moment`, `rows` ·
//! `python`, which is compiled with the feature `extension-module` only.

pub mod backup;
pub mod buffer;
pub mod checkpoint;
pub mod control;
pub mod core;
pub mod disk;
pub mod error;
pub mod events;
pub mod hash;
pub mod lock;
pub mod lockfile;
pub mod log;
pub mod logview;
pub mod memory;
pub mod mirror;
pub mod moment;
pub mod page;
#[cfg(feature = "extension-module")]
pub mod python;
pub mod recovery;
pub mod repair;
pub mod reserve;
pub mod rows;
#[cfg(test)]
mod rubbish_tests;
pub mod salvage;
pub mod space;
pub mod stats;
pub mod store;
pub mod sync;
pub mod tree;
pub mod txn;
pub mod types;
pub mod verify;
pub mod workload;
