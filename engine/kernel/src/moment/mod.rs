//! Snapshots: named moments whose pages can be had again while the database goes on.
//!
//! Not to be confused with what a transaction sees (`txn/snapshot.rs`): these last, in files.
//!
//! ```text
//! snapshots/NNNNNNNN.kept   pages as they were before they were first overwritten (frames.rs)
//! snapshots/NNNNNNNN.log    the log that makes one moment of them, and the control file (frames.rs)
//! snapshots/NNNNNNNN.json   name, LSNs, times; written last: without it there is no snapshot
//! ```
//!
//! A snapshot begins between two writes to the data file. From then on a page is kept,
//! compressed and synced, before it is overwritten for the first time (copy on write), so the
//! data file of that moment is: what this snapshot has kept, else what the next one has, and so
//! on, else the data file of now. Its pages lag behind the log as after a crash at that moment;
//! the log from the start of redo to the moment is kept too, and the recovery that everybody
//! knows, on an overlay, makes a whole database of them (`view.rs`).
//!
//! Who overwrites pages knows nothing of it: [`KeepingDisk`] stands between the kernel and the
//! disk, so that redo, repair and the installation of a recovery keep pages too.
//!
//! Invariants:
//! - *Kept before overwritten.* Where a page cannot be kept, the snapshots that would need it
//!   are given up, their manifests removed and that made certain, before it is overwritten: the
//!   database never fails for them. A full disk costs the oldest ones first.
//! - *The first copy counts.* A page is kept once by the newest snapshot; older ones look there.
//!   So of a snapshot that is dropped, what an older one needs is moved there (`dropping.rs`).
//! - *Nothing of the future.* A page whose LSN lies beyond the moment is no part of it: where
//!   one turns up, something was lost or written past us, and reading it is refused.

use crate::error::{Code, Error};

mod chain;
mod dropping;
mod frames;
mod keeping;
mod manifest;
mod revert;
mod take;
mod view;

#[cfg(test)]
mod dropping_tests;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod kill_tests;
#[cfg(test)]
mod race_tests;
#[cfg(test)]
mod rubbish_tests;
#[cfg(test)]
mod tests;

pub use chain::{Chain, Reader, Snapshot, State};
pub use keeping::KeepingDisk;
pub use manifest::Moment;
pub use revert::revert;
pub use take::{Wanted, take};
pub use view::{look, restore, verify};

/// The folder of all of them.
pub const FOLDER: &str = "snapshots";

fn path_of(number: u64, kind: &str) -> String {
    format!("{FOLDER}/{number:08}.{kind}")
}

/// The number and the kind of a file in the folder.
fn parse(name: &str) -> Option<(u64, &str)> {
    let (number, kind) = name.split_once('.')?;
    let is_plain = number.len() >= 8 && number.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| number.parse().ok()).flatten().map(|number| (number, kind))
}

fn damaged(name: &str, detail: impl Into<String>) -> Error {
    Error::new(Code::SnapshotDamaged).with("name", name).with("detail", detail.into())
}

fn not_found(name: &str) -> Error {
    Error::new(Code::SnapshotNotFound).with("name", name)
}
