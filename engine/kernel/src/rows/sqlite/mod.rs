//! SQLite databases: reading every table of one without touching it, and writing one.
//!
//! The reader gives each table's columns with their declared types, its primary key and its
//! indexes. What has no counterpart here (triggers, defaults, foreign keys, expressions in
//! indexes, ...) is named in `without`, never dropped in silence.

mod describe;
mod opening;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::SqliteSource;
pub use writer::SqliteTarget;

use std::path::Path;

use rusqlite::ErrorCode;

use super::source::{bad_input, unsupported};
use crate::error::{Code, Error};

/// An identifier as SQL wants it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Translates an error of SQLite about `file`. Its own words tell of files and statements,
/// not of values.
fn sqlite_error(file: &Path, error: &rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => {
            unsupported(file, "it is no SQLite database, or one that is encrypted")
        }
        Some(ErrorCode::DatabaseCorrupt) => bad_input(
            file,
            None,
            None,
            "the SQLite database is damaged; its own recovery tools may help",
        ),
        Some(ErrorCode::DiskFull) => failed(Code::DiskFull, file, error),
        Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            failed(Code::PermissionDenied, file, error)
        }
        _ => failed(Code::IoError, file, error),
    }
}

fn failed(code: Code, file: &Path, error: &rusqlite::Error) -> Error {
    Error::new(code)
        .with("operation", "sqlite")
        .with("path", file.display().to_string())
        .with("os_error", error.to_string())
}
