//! Options of a store, from a dictionary; an unknown or unfit one is named.

use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::backup::FromBackups;
use crate::error::Error;
use crate::lock::VictimPolicy;
use crate::log::SyncMode;
use crate::repair::OnDamage;
use crate::store::StoreOptions;

fn unfit(name: &'static str, issue: &str) -> PyErr {
    Error::argument(name, issue).into()
}

fn seconds(name: &'static str, value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value)
        .map_err(|_| unfit(name, "must be a number of seconds, not below 0"))
}

/// Reads the dictionary of `Store.open`.
pub(crate) fn store_options(options: &Bound<'_, PyDict>) -> PyResult<StoreOptions> {
    let mut chosen = StoreOptions::default();
    let mut sync_interval_ms = 100;
    let mut sync_mode = "durable".to_owned();
    let mut backups = FromBackups { folders: Vec::new(), logs: Vec::new() };
    for (name, value) in options {
        let name: String = name.extract()?;
        let opening = &mut chosen.opening;
        match name.as_str() {
            "page_size" => chosen.page_size = value.extract()?,
            "cache_bytes" => opening.cache_bytes = value.extract()?,
            "segment_bytes" => opening.log.segment_bytes = value.extract()?,
            "log_buffer_bytes" => opening.log.buffer_bytes = value.extract()?,
            "archive_log" => opening.log.archive = value.extract()?,
            "archive_at" => opening.log.archive_at = value.extract()?,
            "archive_wait_bytes" => opening.log.archive_wait_bytes = value.extract()?,
            "sync_mode" => sync_mode = value.extract()?,
            "sync_interval_ms" => sync_interval_ms = value.extract()?,
            "checkpoint_interval_s" => {
                chosen.checkpoint_interval = seconds("checkpoint_interval_s", value.extract()?)?;
            }
            "checkpoint_log_bytes" => chosen.checkpoint_log_bytes = value.extract()?,
            "lock_timeout_s" => opening.locks.timeout = seconds("lock_timeout_s", value.extract()?)?,
            "deadlock_victim" => opening.locks.victim = victim(&value.extract::<String>()?)?,
            "image_every_changes" => opening.image_every = value.extract()?,
            "on_damage" => opening.on_damage = on_damage(&value.extract::<String>()?)?,
            "snapshot_log_bytes" => opening.limits.snapshot_bytes = value.extract()?,
            "transaction_log_bytes" => opening.limits.transaction_bytes = value.extract()?,
            "aborts_long_transactions" => opening.limits.aborts = value.extract()?,
            "mirror_hold_bytes" => chosen.mirrors.hold_bytes = value.extract()?,
            "mirror_patience_s" => {
                chosen.mirrors.patience.time = seconds("mirror_patience_s", value.extract()?)?;
            }
            "gives_up_mirrors" => chosen.mirrors.patience.gives_up = value.extract()?,
            "backup_folders" => backups.folders = value.extract()?,
            "log_places" => backups.logs = value.extract()?,
            "read_only" => chosen.read_only = value.extract()?,
            _ => return Err(Error::argument("options", format!("there is no option {name:?}")).into()),
        }
    }
    chosen.opening.log.sync_mode = match sync_mode.as_str() {
        "durable" => SyncMode::Durable,
        "interval" => SyncMode::Interval(sync_interval_ms),
        "off" => SyncMode::Off,
        _ => return Err(unfit("sync_mode", "must be durable, interval or off")),
    };
    if !backups.folders.is_empty() {
        chosen.opening.helpers.0.push(Arc::new(backups));
    }
    Ok(chosen)
}

fn on_damage(name: &str) -> PyResult<OnDamage> {
    match name {
        "isolate_and_repair" => Ok(OnDamage::Repair),
        "report" => Ok(OnDamage::Report),
        "halt" => Ok(OnDamage::Halt),
        _ => Err(unfit("on_damage", "must be isolate_and_repair, report or halt")),
    }
}

fn victim(name: &str) -> PyResult<VictimPolicy> {
    [VictimPolicy::Youngest, VictimPolicy::LeastWork]
        .into_iter()
        .find(|policy| policy.name() == name)
        .ok_or_else(|| unfit("deadlock_victim", "must be youngest or least_work"))
}
