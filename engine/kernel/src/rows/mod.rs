//! Typed rows over ordered trees of bytes, and their ways in and out.
//!
//! `value` and `schema` say what a table is; `key` and `record` how its cells become bytes;
//! `check` what a column accepts; `index` how index entries are written; `table` keeps rows
//! and indexes in step; `csv`, `jsonl` and `sqlite` read and write the formats of others.

pub mod access;
mod building;
pub mod check;
pub mod compare;
#[cfg(test)]
mod compare_tests;
pub mod csv;
pub mod encoding;
pub mod export;
pub mod import;
#[cfg(test)]
mod import_tests;
pub mod index;
pub mod jsonl;
pub mod key;
#[cfg(test)]
mod model_tests;
pub mod output;
mod paging;
pub mod record;
pub mod schema;
pub mod sort;
pub mod source;
pub mod sqlite;
mod table;
#[cfg(test)]
mod table_tests;
pub mod tables;
#[cfg(test)]
mod tables_tests;
mod transaction;
mod value;

pub use key::Collation;
pub use paging::{Page, Placed};
pub use schema::{Column, ColumnType, Index, Schema};
pub use table::Table;
pub use value::{Row, Value};
