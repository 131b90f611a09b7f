//! 9pmux with a server that sends anything, fed by libFuzzer. What runs is `9pmux/src/share/fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ninepmux::share::fuzz::server(bytes));
