//! A corpus in one text file: one input a line, in hexadecimal, the shortest first. The file is small, git can compress
//! it, a change is a few lines, and the unit tests can read it.
//!
//! `corpus pack DIR >FILE`, `corpus unpack DIR <FILE`.

use std::fs;
use std::io::{self, BufRead};
use std::path::Path;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, how, dir] = &arguments[..] else {
        return Err(io::Error::other("usage: corpus pack|unpack DIR"));
    };
    match how.as_str() {
        "pack" => pack(dir.as_ref()),
        _ => unpack(dir.as_ref()),
    }
}

fn pack(dir: &Path) -> io::Result<()> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(dir)? {
        let bytes = fs::read(entry?.path())?;
        lines.push(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    }
    lines.sort_by(|one, other| (one.len(), one).cmp(&(other.len(), other)));
    lines.dedup();
    for line in lines.iter().filter(|line| !line.is_empty()) {
        println!("{line}");
    }
    Ok(())
}

fn unpack(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    for (number, line) in io::stdin().lock().lines().enumerate() {
        let line = line?;
        let byte = |pair: &[u8]| {
            let pair = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(pair, 16).ok()
        };
        let bytes: Option<Vec<u8>> = line.as_bytes().chunks(2).map(byte).collect();
        let bytes = bytes.ok_or_else(|| io::Error::other(format!("line {}", number + 1)))?;
        fs::write(dir.join(format!("seed-{number}")), bytes)?;
    }
    Ok(())
}
