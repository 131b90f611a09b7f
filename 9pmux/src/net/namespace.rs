//! The namespace directory, which contains the sockets of services with bare names, as in plan9port.

use std::ffi::CStr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use super::failure::error_text;

/// Returns the namespace directory: `$NAMESPACE`, or one in /tmp, which is created if it does not exist.
///
/// # Errors
/// Returns a text if other users may write to `$NAMESPACE`, or if the directory in /tmp belongs to another user
/// or other users may enter it.
pub fn directory() -> Result<PathBuf, String> {
    if let Some(directory) = env::var_os("NAMESPACE").filter(|d| !d.is_empty()) {
        let directory = PathBuf::from(directory);
        // A directory that does not exist is reported when the socket in it is used.
        let shared = fs::metadata(&directory)
            .is_ok_and(|found| found.is_dir() && found.permissions().mode() & 0o022 != 0);
        return match shared {
            true => Err(format!(
                "{}: other users may write to it: make its mode 0700, or choose another by $NAMESPACE",
                directory.display()
            )),
            false => Ok(directory),
        };
    }
    let display = env::var("DISPLAY").unwrap_or_default();
    let directory = PathBuf::from(format!("/tmp/ns.{}.{}", user_name(), display_suffix(&display)));
    match ensure_private(&directory) {
        Ok(()) => Ok(directory),
        Err(error) => Err(format!(
            "{}: {}: choose another by $NAMESPACE",
            directory.display(),
            error_text(&error)
        )),
    }
}

/// Creates the directory, or checks the existing one: in /tmp another user may have made it first.
fn ensure_private(directory: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(directory)?;
    if !found.is_dir() {
        return Err(io::Error::other("not a directory"));
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("it belongs to another user"));
    }
    if found.permissions().mode() & 0o777 != 0o700 {
        return Err(io::Error::other("other users may enter it: make its mode 0700"));
    }
    Ok(())
}

/// The name of the user in the user database, as in plan9port. `$USER` is not used.
pub(super) fn user_name() -> String {
    // SAFETY: the entry is valid until the next call of this kind. It is copied before that, and the only
    // other thread, that of the log, makes no such call.
    let name = unsafe {
        let entry = libc::getpwuid(libc::getuid());
        entry.as_ref().map(|entry| CStr::from_ptr(entry.pw_name).to_string_lossy().into_owned())
    };
    name.unwrap_or_else(|| "none".to_owned())
}

/// The part of the name for the display: without a trailing `.0`, and with `_` for each slash.
fn display_suffix(display: &str) -> String {
    let display = if display.is_empty() { ":0" } else { display };
    let display = match display.rsplit_once(':') {
        Some((_, number)) if number.trim_start_matches(|c: char| c.is_ascii_digit()) == ".0" => {
            &display[..display.len() - 2]
        }
        _ => display,
    };
    display.replace('/', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_name_directories() {
        for (display, name) in [
            ("", ":0"),
            (":0", ":0"),
            (":0.0", ":0"),
            (":10.0", ":10"),
            (":0.1", ":0.1"),
            ("host:0.0", "host:0"),
            ("/tmp/launch/:0", "_tmp_launch_:0"),
            ("wayland.0", "wayland.0"),
        ] {
            assert_eq!(display_suffix(display), name, "{display:?}");
        }
    }
}
