//! The machine beside its model, fed by libFuzzer. What runs is `src/core/fuzz` of the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mux::fuzz_machine(bytes));
