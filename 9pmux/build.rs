//! Links the unwinder of gcc statically on Linux with glibc: without `libgcc_s.so.1` 9pmux starts faster, which matters
//! under the name 9pserve. Writes nothing into the source tree.
//!
//! The standard library asks for the shared one. The linker finds the static one first, since it comes with this crate,
//! and then does not need the other. Where there is none, nothing changes.

use std::env;
use std::path::Path;
use std::process::Command;

const UNWINDER: &str = "libgcc_eh.a";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = |name: &str| env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    let is_glibc = target("OS") == "linux" && target("ENV") == "gnu";
    if is_glibc && env::var_os("CARGO_FEATURE_PROGRAM").is_some() && linker_has_unwinder() {
        println!("cargo::rustc-link-lib=dylib:+verbatim={UNWINDER}");
    }
}

/// Asks the compiler that links for the path of its static unwinder. It returns the bare name if it has none.
fn linker_has_unwinder() -> bool {
    let linker = env::var_os("RUSTC_LINKER").unwrap_or_else(|| "cc".into());
    let asked = Command::new(linker).arg(format!("-print-file-name={UNWINDER}")).output();
    let path = asked.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    path.is_some_and(|path| Path::new(path.trim_end()).is_absolute())
}
