//! Random settings of a run, and what is left out on purpose in a campaign that has to fail.

use std::time::Duration;

use _kernel::lock::LockOptions;
use _kernel::log::{LogOptions, SyncMode};
use _kernel::mirror::MirrorOptions;
use _kernel::recovery::OpeningOptions;
use _kernel::store::StoreOptions;
use _kernel::txn::LogLimits;
use _kernel::types::DatabaseId;

use crate::dice::Dice;

/// A safeguard that a negative campaign leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// Syncs of files whose path contains this do nothing.
    IgnoreSync(&'static str),
    NoDoubleWrite,
    NoCompensation,
}

impl Sabotage {
    /// Every sabotage under the name by which a campaign asks for it.
    const NAMED: [(&str, Sabotage); 4] = [
        ("log-sync", Sabotage::IgnoreSync("wal/")),
        ("data-sync", Sabotage::IgnoreSync("database.holdfast")),
        ("doublewrite", Sabotage::NoDoubleWrite),
        ("compensation", Sabotage::NoCompensation),
    ];

    pub fn named(name: &str) -> Option<Sabotage> {
        Self::NAMED.iter().find(|(known, _)| *known == name).map(|(_, sabotage)| *sabotage)
    }
}

pub fn draw(dice: &mut Dice) -> StoreOptions {
    let page_size = dice.pick(&[4096usize, 4096, 8192]);
    let sync_mode = match dice.below(10) {
        0..=6 => SyncMode::Durable,
        7 => SyncMode::Interval(10),
        _ => SyncMode::Off,
    };
    StoreOptions {
        page_size,
        opening: OpeningOptions {
            cache_bytes: dice.between(16, 64) * page_size as u64,
            log: LogOptions {
                segment_bytes: dice.pick(&[48 << 10, 128 << 10, 512 << 10, 1 << 20]),
                buffer_bytes: dice.pick(&[64 << 10, 256 << 10]),
                sync_mode,
                background: false,
                ..LogOptions::default()
            },
            // One thread plays all transactions: what cannot be had at once is not waited for.
            locks: LockOptions { timeout: Duration::ZERO, ..LockOptions::default() },
            image_every: dice.pick(&[4, 32, 512]),
            redo_workers: 1,
            on_damage: _kernel::repair::OnDamage::Repair,
            limits: LogLimits::default(),
            redo_index_bytes: dice.pick(&[0, 256, 8 << 20]),
            helpers: _kernel::repair::Helpers::default(),
        },
        checkpoint_interval: Duration::from_secs(3600),
        checkpoint_log_bytes: dice.pick(&[32 << 10, 128 << 10, 1 << 20]),
        background: false,
        mirrors: MirrorOptions::default(),
        read_only: false,
        database: Some(DatabaseId([9; 16])),
    }
}
