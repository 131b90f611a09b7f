//! `include/mux.h` is the header that is generated from the library's source. If `MUX_WRITE_HEADER` is
//! set, the test writes the header instead of comparing it (`make header`).

use std::path::Path;

#[test]
fn header_is_generated_from_the_source() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml");
    let mut builder = cbindgen::Builder::new().with_config(config);
    let files = [
        "layout", "api", "timeout", "cancel", "free", "extra", "sched", "stats", "man3", "private",
        "queue",
    ];
    for file in files {
        builder = builder.with_src(root.join("src/ffi").join(file).with_extension("rs"));
    }
    let mut made = Vec::new();
    builder.generate().expect("the source can be read").write(&mut made);
    let made = in_c(&String::from_utf8(made).expect("text"));
    let path = root.join("include/mux.h");
    if std::env::var_os("MUX_WRITE_HEADER").is_some() {
        std::fs::write(&path, made).expect("include/mux.h can be written");
        return;
    }
    let committed = std::fs::read_to_string(&path).expect("include/mux.h");
    assert!(committed == made, "include/mux.h differs from the source: run `make header`");
}

/// Converts the comments to C's form, without their sections for Rust programmers.
fn in_c(made: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    let mut skipping = false;
    for line in made.lines() {
        let text = line.trim();
        skipping |= text == "* # Safety";
        if skipping && text == "*/" {
            skipping = false;
            while lines.last().is_some_and(|line| line.trim() == "*") {
                lines.pop();
            }
        }
        if !skipping {
            lines.push(line);
        }
    }
    let mut text = lines.join("\n").replace("/**\n", "/*\n");
    for indent in ["        ", "\t\t", "\t"] {
        text = text.replace(&format!("\n{indent}        "), &format!("\n{indent}\t"));
    }
    text.replace("\n        ", "\n\t") + "\n"
}
