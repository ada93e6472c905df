//! Shared by the targets of `fuzz_targets`.

pub mod wire;
