//! Sockets from a service manager, such as systemd: descriptors with names, which the environment lists
//! (sd_listen_fds(3)).

use std::ffi::OsString;
use std::os::fd::RawFd;

/// The number of the first descriptor that a service manager passes.
const FIRST: RawFd = 3;

/// The maximum number of descriptors; a larger one is a mistake.
const MAX: u32 = 65_536;

/// The name of descriptors for which the service manager gives none.
const UNNAMED: &str = "unknown";

/// The variables by which a service manager passes descriptors, asks for notifications and for signs of life. They are
/// for this process, so a program that is started must not get them.
pub const VARIABLES: [&str; 7] = [
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// A descriptor that the service manager has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedFd {
    pub fd: RawFd,
    pub name: String,
}

/// Returns the descriptors that were passed to this process.
pub fn passed_fds() -> Vec<PassedFd> {
    passed_by(std::process::id(), |name| std::env::var_os(name))
}

/// Returns the descriptors that these variables list for the process `pid`. Variables for another process, which has
/// started this one, are not believed.
fn passed_by(pid: u32, variable: impl Fn(&str) -> Option<OsString>) -> Vec<PassedFd> {
    let text = |name: &str| variable(name)?.into_string().ok();
    let number = |name: &str| text(name)?.parse::<u32>().ok();
    if number("LISTEN_PID") != Some(pid) {
        return Vec::new();
    }
    let count = number("LISTEN_FDS").filter(|count| *count <= MAX).unwrap_or(0);
    let names = text("LISTEN_FDNAMES").unwrap_or_default();
    // An empty name keeps its place: a socket must not get the name, and so the rules, of the next one.
    let mut names = names.split(':');
    let mut next_name = || names.next().filter(|name| !name.is_empty()).unwrap_or(UNNAMED);
    let fds = FIRST..FIRST + count as RawFd;
    fds.map(|fd| PassedFd { fd, name: next_name().to_owned() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(variables: &[(&str, &str)]) -> Vec<(RawFd, String)> {
        let find = |name: &str| variables.iter().find(|it| it.0 == name).map(|it| it.1.into());
        passed_by(7, find).into_iter().map(|it| (it.fd, it.name)).collect()
    }

    #[test]
    fn descriptors_of_this_process_have_names() {
        let variables = [("LISTEN_PID", "7"), ("LISTEN_FDS", "3"), ("LISTEN_FDNAMES", "a:b:a")];
        assert_eq!(passed(&variables), [(3, "a".into()), (4, "b".into()), (5, "a".into())]);
        let variables = [("LISTEN_PID", "7"), ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "a")];
        assert_eq!(passed(&variables), [(3, "a".into()), (4, "unknown".into())]);
        assert_eq!(passed(&variables[..2]), [(3, "unknown".into()), (4, "unknown".into())]);
        let variables = [("LISTEN_PID", "7"), ("LISTEN_FDS", "3"), ("LISTEN_FDNAMES", "a::b")];
        assert_eq!(passed(&variables), [(3, "a".into()), (4, "unknown".into()), (5, "b".into())]);
    }

    #[test]
    fn variables_for_another_process_are_not_believed() {
        for pid in ["8", "", "x", "70", "-7"] {
            let variables = [("LISTEN_PID", pid), ("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "a")];
            assert!(passed(&variables).is_empty(), "{pid}");
            assert!(passed(&variables[1..]).is_empty());
        }
        for fds in ["", "x", "-1", "65537", "99999999999"] {
            assert!(passed(&[("LISTEN_PID", "7"), ("LISTEN_FDS", fds)]).is_empty(), "{fds}");
        }
    }
}
