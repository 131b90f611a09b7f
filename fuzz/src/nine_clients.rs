//! 9pmux with clients that send anything, fed by libFuzzer. What runs is `9pmux/src/engine/fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ninepmux::engine::fuzz::clients(bytes));
