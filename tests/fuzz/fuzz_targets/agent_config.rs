//! `agent.toml`.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| agent::inside::read_config(text));
