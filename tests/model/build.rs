//! Tells the checked source that the checker's clock, cells and numbers are to be in it.

fn main() {
    println!("cargo::rustc-cfg=mux_model");
    println!("cargo::rerun-if-changed=build.rs");
}
