//! How fast a backup may read.

use std::time::{Duration, Instant};

use crate::error::Result;
use crate::recovery::Progress;

/// A cancel is answered within this.
const SLICE: Duration = Duration::from_millis(50);
/// What was not used meanwhile is not saved up for longer than this.
const BURST_S: f64 = 0.25;

/// Lets so many bytes pass a second, on the average since the last pause.
pub(super) struct Pace {
    bytes_per_second: u64,
    /// When what was spent so far is paid for.
    due: Instant,
}

impl Pace {
    /// 0 lets everything pass.
    pub fn new(bytes_per_second: u64) -> Pace {
        Pace { bytes_per_second, due: Instant::now() }
    }

    /// Waits until `bytes` more may be read. `Cancelled` where that was asked for.
    pub fn spend(&mut self, bytes: u64, progress: &Progress) -> Result<()> {
        if self.bytes_per_second == 0 {
            return Ok(());
        }
        let now = Instant::now();
        let oldest = now.checked_sub(Duration::from_secs_f64(BURST_S)).unwrap_or(now);
        self.due = self.due.max(oldest);
        self.due += Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        loop {
            progress.ensure_going()?;
            let left = self.due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            crate::sync::sleep(left.min(SLICE));
        }
    }
}
