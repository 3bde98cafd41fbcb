//! Mirrors: a second directory that is kept up to date from the log, and can take the place of the
//! first.
//!
//! ```text
//! MIRROR/
//!   standing             whose mirror it is, and whether its first copy is complete
//!   database.holdfast    a copy of the pages, brought up to date from the log now and then
//!   wal/                 the log of the primary, byte for byte, as far as it has come
//!   control              the checkpoint of the primary that recovery would begin at
//!   doublewrite          as in a database, for the pages being brought up to date
//! ```
//!
//! So a mirror is a database that has not been recovered. It is made like a full backup
//! ([`base`]), follows the log ([`shipper`]), redoes it at each checkpoint of the primary, so that
//! little is left to redo ([`follower`]), and becomes the primary by a recovery ([`failover`]).
//!
//! Invariants:
//! - *A mirror is a prefix.* It holds only what is durable in its primary, whole entries in order,
//!   so whatever the moment, it is a state the primary was in.
//! - *Never half and looks whole.* Until the first copy is complete, `standing` says so and there is
//!   no control file; from then on every state of it can be recovered.
//! - *One primary.* A fail over fences the former primary first, where it can be reached; where not,
//!   the higher epoch counts as soon as the two meet ([`standing`]).
//! - *The database does not wait for ever.* Log is held for a mirror up to a limit; one that comes
//!   back later gets a new copy. What commits do meanwhile is set ([`crate::log::gate`]). A disk
//!   that does not answer at all is given up when the database closes ([`pulse`]).

use crate::error::{Code, Error};
use crate::types::DatabaseId;

mod base;
mod connecting;
mod ends;
mod failover;
#[cfg(test)]
mod fault_tests;
mod follower;
#[cfg(test)]
mod hang_tests;
#[cfg(test)]
mod kill_tests;
#[cfg(test)]
mod leaving_tests;
mod log_mending;
#[cfg(test)]
mod log_mending_tests;
mod mending;
#[cfg(test)]
mod mending_tests;
mod mirrors;
mod pulse;
#[cfg(test)]
mod race_tests;
mod rejoin;
mod shipper;
pub mod standing;
#[cfg(test)]
mod tests;
mod watching;

pub use base::Source;
pub use failover::{Outlook, fail_over, look, outlook, verify};
pub use follower::{Follower, MirrorStatus, Phase};
pub use mending::{FromMirrors, copies_of};
pub use mirrors::{Mirrors, ensure_not_superseded};
pub use standing::{Role, Standing};

/// How the mirrors of a store are kept.
#[derive(Clone, Copy, Debug)]
pub struct MirrorOptions {
    /// The most log that is held for a mirror that does not take it.
    pub hold_bytes: u64,
    pub patience: crate::log::gate::Patience,
}

impl Default for MirrorOptions {
    fn default() -> Self {
        MirrorOptions { hold_bytes: 1 << 30, patience: crate::log::gate::Patience::default() }
    }
}

/// `MirrorDiverged`: it is of another history, and taking it would lose what it holds.
fn diverged(reason: &str) -> Error {
    Error::new(Code::MirrorDiverged).with("reason", reason)
}

/// `MirrorIncomplete`: it cannot be used as it is.
fn incomplete(reason: &str) -> Error {
    Error::new(Code::MirrorIncomplete).with("reason", reason)
}

/// Nothing of a mirror is where it was: its disk may only be away.
fn not_there(path: &str) -> Error {
    Error::new(Code::IoError)
        .with("operation", "open the mirror")
        .with("path", path)
        .with("os_error", "there is no mirror in this directory")
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn database_of(text: &str) -> Option<DatabaseId> {
    let mut id = [0; 16];
    let digits = text.as_bytes();
    if digits.len() != 32 {
        return None;
    }
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(DatabaseId(id))
}
