//! Dial strings: `tcp!host!port`, `unix!path`, `fd!n`, `exec!command`, `-`, or the bare name of a service.
//!
//! They are only parsed here, so an invalid address is reported as an invalid argument before anything is
//! opened.

use std::fmt::{self, Display, Formatter, Write};
use std::path::PathBuf;
use std::str::FromStr;

/// The registered port of 9P.
const PORT: u16 = 564;

/// The address of a server, or an address on which clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A host and a port. The host `*` means all addresses of this machine.
    Tcp(String, u16),
    /// A socket in the file system.
    Unix(PathBuf),
    /// A socket in the namespace directory.
    Service(String),
    /// An inherited descriptor.
    Fd(i32),
    /// A command that starts the server.
    Exec(String),
    /// Standard input and output.
    Stdio,
}

/// Why a text is not an address.
#[derive(Debug, PartialEq, Eq)]
pub struct BadAddress(String);

impl Display for BadAddress {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadAddress {}

fn bad<T>(why: impl Into<String>) -> Result<T, BadAddress> {
    Err(BadAddress(why.into()))
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Address, BadAddress> {
        if text == "-" {
            return Ok(Address::Stdio);
        }
        let Some((network, rest)) = text.split_once('!') else {
            return match text {
                "" => bad("the address is empty"),
                "." | ".." => bad("a directory is not an address"),
                _ if text.contains('/') => Ok(Address::Unix(text.into())),
                _ => Ok(Address::Service(text.to_owned())),
            };
        };
        match network {
            "tcp" | "net" => {
                let (host, port) = match rest.split_once('!') {
                    Some((host, port)) => (host, parse_port(port)?),
                    None => (rest, PORT),
                };
                match host {
                    "" => bad(
                        "the host is missing: tcp!host!port, or tcp!*!port to listen on all addresses",
                    ),
                    _ => Ok(Address::Tcp(host.to_owned(), port)),
                }
            }
            "unix" if rest.is_empty() => bad("the path is missing: unix!path"),
            "unix" => Ok(Address::Unix(rest.into())),
            "fd" => match rest.parse() {
                Ok(n) if n >= 0 => Ok(Address::Fd(n)),
                _ => bad("expected the number of a descriptor, as in fd!3"),
            },
            "exec" if rest.trim().is_empty() => bad("the command is missing: exec!command args"),
            "exec" => Ok(Address::Exec(rest.to_owned())),
            _ => bad("unknown network: expected tcp!, unix!, fd! or exec!"),
        }
    }
}

fn parse_port(port: &str) -> Result<u16, BadAddress> {
    match port {
        "9fs" | "9pfs" => Ok(PORT),
        "styx" => Ok(6666),
        _ => port.parse().or_else(|_| {
            bad(format!("invalid port '{port}': expected a number below 65536, 9fs or styx"))
        }),
    }
}

impl Address {
    /// Parses the address of a server.
    ///
    /// # Errors
    /// Returns an error if the address is invalid, or can only be listened on.
    pub fn server(text: &str) -> Result<Address, BadAddress> {
        match text.parse()? {
            Address::Tcp(host, _) if host == "*" => {
                bad("'*' means every address of this machine: only LISTEN can use it")
            }
            address => Ok(address),
        }
    }

    /// Parses an address on which clients connect.
    ///
    /// # Errors
    /// Returns an error if the address is invalid, or can only be that of a server.
    pub fn listen(text: &str) -> Result<Address, BadAddress> {
        match text.parse()? {
            Address::Exec(_) => bad("exec! starts a server: only SERVER can use it"),
            address => Ok(address),
        }
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(host, port) => write!(f, "tcp!{}!{port}", OneLine(host)),
            Address::Unix(path) => write!(f, "unix!{}", OneLine(&path.to_string_lossy())),
            Address::Service(name) => OneLine(name).fmt(f),
            Address::Fd(n) => write!(f, "fd!{n}"),
            Address::Exec(command) => write!(f, "exec!{}", OneLine(command)),
            Address::Stdio => f.write_str("-"),
        }
    }
}

/// Displays a text that may contain line breaks, such as a command, in one line.
struct OneLine<'a>(&'a str);

impl Display for OneLine<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c.is_control() {
            true => write!(f, "{}", c.escape_debug()),
            false => f.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_parsed_and_displayed_unchanged() {
        for text in [
            "tcp!localhost!9999",
            "tcp!::1!564",
            "unix!/tmp/a!b",
            "plumb",
            "fd!3",
            "exec!ramfs -i",
            "-",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("/tmp/s".parse(), Ok(Address::Unix("/tmp/s".into())));
        assert_eq!("./s".parse(), Ok(Address::Unix("./s".into())));
        assert_eq!("net!h!9fs".parse(), Ok(Address::Tcp("h".into(), 564)));
        assert_eq!("tcp!h".parse(), Ok(Address::Tcp("h".into(), 564)));
    }

    #[test]
    fn invalid_addresses_are_refused() {
        for text in [
            "",
            ".",
            "..",
            "tcp!",
            "tcp!h!x",
            "tcp!h!65536",
            "unix!",
            "fd!",
            "fd!-1",
            "fd!x",
            "exec!",
            "exec! ",
            "il!h!1",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
        assert!(Address::server("tcp!*!564").is_err());
        assert!(Address::listen("exec!cat").is_err());
        assert!(Address::listen("tcp!*!564").is_ok());
    }
}
