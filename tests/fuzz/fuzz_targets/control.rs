//! The control stream: `protocol::frame`, `protocol::control`, and what the relay makes of a registration.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz::wire::control(bytes);
    for frame in fuzz::wire::frames(bytes) {
        relay::inside::register(&frame);
    }
});
