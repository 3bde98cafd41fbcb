//! Opening a database for reading only: nothing is written but the lock file, which is not ours.
//!
//! It must have been closed cleanly: then the pages in their places are all there is. The log
//! takes no entries, so nothing that would write one gets further than its first.

use crate::sync::Ordering;
use std::sync::Arc;

use super::{Store, StoreOptions, ensure_clean};
use crate::checkpoint::Checkpointer;
use crate::control::Control;
use crate::disk::{Disk, OpenMode, overlay};
use crate::error::{Code, Error, Result};
use crate::mirror::standing;
use crate::recovery::{Opening, Parts};

impl Store {
    /// Opens a cleanly closed database without changing it; `RecoveryNeeded` where it was not
    /// closed, for recovery writes.
    pub(super) fn view(disk: Arc<dyn Disk>, options: &StoreOptions) -> Result<Store> {
        if disk.exists(overlay::JOURNAL_PATH)? {
            let indicators = vec!["unfinished_installation".to_owned()];
            return Err(Error::new(Code::RecoveryNeeded).with("indicators", indicators));
        }
        standing::ensure_primary(&*disk)?;
        let control = Control::open(&*disk, OpenMode::Read)?;
        ensure_clean(&*disk, &control.data())?;
        let shared = Opening::view(Arc::clone(&disk), &control, options.opening.clone())?;
        shared.read_only.store(true, Ordering::Release);
        let parts = Parts { shared, checkpointer: Checkpointer::new(control), on_demand: None };
        Self::start(disk, parts, options)
    }

    /// True where the database was opened for reading only: it stays so until it is closed.
    pub fn is_view(&self) -> bool {
        self.work.is_view()
    }

    /// Refuses changes from now on, or takes them again. A database that was opened for reading
    /// only takes none: `ReadOnlyDatabase`.
    pub fn set_read_only(&self, value: bool) -> Result<()> {
        if self.is_view() && !value {
            return Err(Error::new(Code::ReadOnlyDatabase));
        }
        self.shared().read_only.store(value, Ordering::Release);
        Ok(())
    }
}
