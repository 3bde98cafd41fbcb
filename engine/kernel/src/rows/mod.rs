//! Typed rows over ordered trees of bytes, and their ways in and out.
//!
//! `value` and `schema` say what a table is; `key` and `record` how its cells become bytes;
//! `check` what a column accepts; `index` how index entries are written; `table` keeps rows
//! and indexes in step; `csv`, `jsonl` and `sqlite` read and write the formats of others.

pub mod check;
pub mod key;
pub mod record;
pub mod schema;
mod value;

pub use key::Collation;
pub use schema::{Column, ColumnType, Index, Schema};
pub use value::{Row, Value};
