//! The C face with arbitrary callbacks, driven by libFuzzer. The target itself is `face/*.c`; this file links the
//! instrumented library and the fuzzer into one program.
#![no_main]

// The C files call the library's C functions.
use mux as _;

unsafe extern "C" {
    fn face_run(bytes: *const u8, size: usize) -> i32;
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // SAFETY: `bytes` is valid for its length, and the function only reads it.
    unsafe { face_run(bytes.as_ptr(), bytes.len()) };
});
