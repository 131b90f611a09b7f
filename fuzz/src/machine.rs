//! The machine beside its model, driven by libFuzzer. The target itself is `src/core/fuzz` of the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mux::fuzz_machine(bytes));
