//! The names of ports: those of 9P, and those of the system's services file.

use std::fs;

/// The services file; services(5).
const FILE: &str = "/etc/services";

/// The registered port of 9P.
pub const PORT: u16 = 564;

/// Returns the TCP port with this number or name.
pub fn port(name: &str) -> Option<u16> {
    match name {
        "9fs" | "9pfs" => Some(PORT),
        "styx" => Some(6666),
        _ => name.parse().ok().or_else(|| {
            // Names in the file are ASCII; comments may be anything.
            let file = fs::read(FILE).ok()?;
            find(&String::from_utf8_lossy(&file), name)
        }),
    }
}

/// Finds a TCP service by name or alias. A line of the file is `name port/protocol aliases # comment`.
fn find(file: &str, wanted: &str) -> Option<u16> {
    file.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let name = words.next()?;
        let port = words.next()?.strip_suffix("/tcp")?;
        (name == wanted || words.any(|alias| alias == wanted)).then(|| port.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICES: &str = "# /etc/services\n\
        \n\
        http\t\t80/tcp\t\twww # WorldWideWeb HTTP\n\
        domain 53/udp\n\
        9pfs\t\t564/tcp\t\t\t# plan 9 file service\n\
        broken\n\
        large 99999/tcp\n\
        domain 53/tcp # www2\n";

    #[test]
    fn services_are_found_by_name_and_alias() {
        for (name, port) in [
            ("http", Some(80)),
            ("www", Some(80)),
            ("domain", Some(53)),
            ("9pfs", Some(564)),
            ("broken", None),
            ("large", None),
            ("www2", None),
            ("#", None),
            ("", None),
        ] {
            assert_eq!(find(SERVICES, name), port, "{name}");
        }
    }

    #[test]
    fn numbers_and_names_of_9p_need_no_file() {
        for (name, number) in [("9fs", 564), ("9pfs", 564), ("styx", 6666), ("0", 0), ("80", 80)] {
            assert_eq!(port(name), Some(number), "{name}");
        }
        assert_eq!((port("65536"), port("-1"), port("no service")), (None, None, None));
    }
}
