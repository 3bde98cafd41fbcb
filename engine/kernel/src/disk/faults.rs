//! Placeholder until the disk lands.
