//! The header in front of every data stream: `protocol::stream`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::wire::stream_header(bytes));
