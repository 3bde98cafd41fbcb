//! Who has pages that the log alone does not bring back, while a recovery goes on.

use std::fmt;

use super::elsewhere::Elsewhere;
use crate::disk::Disk;
use crate::error::Result;
use crate::log::Log;
use crate::recovery::Progress;
use crate::sync::Arc;
use crate::types::{DatabaseId, Lsn, PageId};

/// What a recovery lacks.
pub struct Lacking<'l> {
    pub pages: &'l [PageId],
    /// The database's disk, and its log, which is open.
    pub disk: &'l Arc<dyn Disk>,
    pub log: &'l Log,
    pub database: DatabaseId,
    pub page_size: usize,
    /// Where redo ends: nothing that was changed later counts.
    pub end: Lsn,
    pub progress: &'l Progress,
}

/// Somebody who may have copies of pages.
pub trait Helper: Send + Sync {
    /// Whole copies of pages, each of a state from before `end`, brought up to where the log begins.
    fn copies(&self, lacking: &Lacking<'_>) -> Result<Elsewhere>;
}

/// All of them, asked in this order.
#[derive(Clone, Default)]
pub struct Helpers(pub Vec<Arc<dyn Helper>>);

impl fmt::Debug for Helpers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} helpers", self.0.len())
    }
}
