//! Paths: one that is accepted leads where every origin's reading of it leads.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| relay::inside::path::check(bytes));
