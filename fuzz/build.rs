//! Compiles the C half of the target `face`. With `MUX_FUZZ_ASAN` it is instrumented for AddressSanitizer, like the
//! library.

fn main() {
    println!("cargo::rerun-if-changed=face");
    println!("cargo::rerun-if-env-changed=MUX_FUZZ_ASAN");
    let mut build = cc::Build::new();
    for file in ["tasks", "callbacks", "callers", "face"] {
        build.file(format!("face/{file}.c"));
    }
    build.include("face").include("../include").flag("-std=gnu99").warnings(true);
    build.flag_if_supported("-Wno-clobbered");
    build.opt_level(1).debug(true).force_frame_pointer(true);
    if std::env::var_os("MUX_FUZZ_ASAN").is_some() {
        build.flag("-fsanitize=address");
    }
    for object in build.compile_intermediates() {
        println!("cargo::rustc-link-arg-bin=face={}", object.display());
    }
    // The fuzzer's input also controls the clock.
    println!("cargo::rustc-link-arg-bin=face=-Wl,--wrap=clock_gettime");
}
