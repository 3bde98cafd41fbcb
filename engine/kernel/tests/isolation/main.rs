//! Isolation: the anomalies of the literature, one after the other, at every level.
//!
//! `matrix` says what becomes of each anomaly: it happens, or it is kept away by an older version,
//! by waiting, or by an error.

#![allow(clippy::unwrap_used)]

mod matrix;
mod operation;
mod schedule;
