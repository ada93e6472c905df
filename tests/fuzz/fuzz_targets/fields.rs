//! Forwarding headers: lines of `name: value`, rewritten for the origin.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| relay::inside::fields::check(bytes));
