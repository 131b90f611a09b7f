//! Selects how the C interface stores the library's part of a Mux; writes nothing into the source tree.
//!
//! The space for it in plan9port's Mux depends on the system's mutex. It is large enough on 64-bit Linux;
//! elsewhere the Mux holds a pointer to a block of memory (`mux_boxed`).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let system = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    let width = std::env::var("CARGO_CFG_TARGET_POINTER_WIDTH").unwrap_or_default();
    if system != "linux" || width != "64" {
        println!("cargo::rustc-cfg=mux_boxed");
    }
}
