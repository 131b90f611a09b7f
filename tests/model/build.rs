//! Makes the checked source use the checker's clock, cells and numbers.

fn main() {
    println!("cargo::rustc-cfg=mux_model");
    println!("cargo::rerun-if-changed=build.rs");
}
