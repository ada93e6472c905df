//! `relay.toml`.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| relay::inside::read_config(text));
