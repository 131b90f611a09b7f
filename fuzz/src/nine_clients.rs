//! 9pmux with arbitrary bytes from clients, driven by libFuzzer. The target itself is `9pmux/src/engine/fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ninepmux::engine::fuzz::clients(bytes));
