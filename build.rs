//! Gives the shared library its name for the linker; writes nothing into the source tree.
//!
//! `nodelete` because the procs that muxprocs started may outlive a `dlclose`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let system = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    let width = std::env::var("CARGO_CFG_TARGET_POINTER_WIDTH").unwrap_or_default();
    // How much room plan9port's Mux has for ours depends on the system's mutex.
    if system != "linux" || width != "64" {
        println!("cargo::rustc-cfg=mux_boxed");
    }
    if matches!(
        system.as_str(),
        "linux" | "android" | "freebsd" | "netbsd" | "openbsd" | "dragonfly"
    ) {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libmux.so.1");
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
