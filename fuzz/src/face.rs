//! The C face under callbacks that do anything, fed by libFuzzer. What runs is `face/*.c`; this makes
//! the library, instrumented, and the fuzzer part of one program.
#![no_main]

// The library's C functions are what the C files call.
use mux as _;

unsafe extern "C" {
    fn face_run(bytes: *const u8, size: usize) -> i32;
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // SAFETY: as many bytes as it is told, which it only reads.
    unsafe { face_run(bytes.as_ptr(), bytes.len()) };
});
