//! The framing guard of HTTP/1: what it lets through hyper reads as it does. The first byte says how the rest is cut up.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| relay::inside::framing::check(bytes));
