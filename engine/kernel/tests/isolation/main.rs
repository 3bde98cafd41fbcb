//! Isolation: the anomalies of the literature, one after the other, at every level.
//!
//! `matrix` says what becomes of each anomaly: it happens, or it is kept away by an older version,
//! by waiting, or by an error. `ranges` says
//! what serializable transactions lock, and what they do not. `histories` judges what many threads
//! at once have seen.

#![allow(clippy::unwrap_used)]

mod checker;
#[path = "../crash/dice.rs"]
mod dice;
mod graph;
mod histories;
mod history;
mod matrix;
mod operation;
mod ranges;
mod schedule;
mod workload;
