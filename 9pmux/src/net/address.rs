//! Dial strings: `tcp!host!port`, `unix!path`, `vsock!cid!port`, `fd!n`, `fd!name`, `exec!command`, `-`, or the bare name of a service.
//!
//! They are only parsed here, so an invalid address is reported as an invalid argument before anything is
//! opened.

use std::fmt::{self, Display, Formatter, Write};
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;

use super::listen_address::ListenAddress;
use super::services::{self, PORT};
use super::vsock::{ANY_CID, VsockAddress};

/// The address of a server, or an address on which clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A host and a port. The host `*` means all addresses of this machine.
    Tcp(String, u16),
    /// A virtual machine or its host, and a port.
    Vsock(VsockAddress),
    /// A socket in the file system.
    Unix(PathBuf),
    /// A socket in the namespace directory.
    Service(String),
    /// An inherited descriptor.
    Fd(i32),
    /// The descriptors of this name that the service manager has passed.
    NamedFd(String),
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

pub(super) fn bad<T>(why: impl Into<String>) -> Result<T, BadAddress> {
    Err(BadAddress(why.into()))
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Address, BadAddress> {
        if text == "-" {
            return Ok(Address::Stdio);
        }
        let Some((network, rest)) = text.split_once('!') else {
            if let Some(right) = in_another_form(text) {
                return bad(format!("write {right}"));
            }
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
                let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
                    Some(inside) if inside.parse::<Ipv6Addr>().is_ok() => inside,
                    _ => host,
                };
                match host {
                    _ if is_host_and_port(host) => {
                        bad(format!("write tcp!{}", host.replacen(':', "!", 1)))
                    }
                    "" => bad(
                        "the host is missing: tcp!host!port, or tcp!*!port to listen on all addresses",
                    ),
                    _ => Ok(Address::Tcp(host.to_owned(), port)),
                }
            }
            "vsock" if cfg!(not(target_os = "linux")) => bad("vsock! needs Linux"),
            "vsock" => parse_vsock(rest).map(Address::Vsock),
            "unix" if rest.is_empty() => bad("the path is missing: unix!path"),
            "unix" => Ok(Address::Unix(rest.into())),
            "fd" => match rest.parse() {
                Ok(n) if n >= 0 => Ok(Address::Fd(n)),
                Err(_) if is_descriptor_name(rest) => Ok(Address::NamedFd(rest.to_owned())),
                _ => bad("expected the number or the name of a descriptor, as in fd!3"),
            },
            "exec" if rest.trim().is_empty() => bad("the command is missing: exec!command args"),
            "exec" => Ok(Address::Exec(rest.to_owned())),
            _ if services::port(rest).is_some() => bad(format!(
                "unknown network: expected tcp!, unix!, vsock!, fd! or exec!: write tcp!{text}"
            )),
            _ => bad("unknown network: expected tcp!, unix!, vsock!, fd! or exec!"),
        }
    }
}

fn parse_vsock(text: &str) -> Result<VsockAddress, BadAddress> {
    let (cid, port) = text.split_once('!').unwrap_or((text, "9fs"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let port = match port {
        "9fs" => Some(PORT.into()),
        // The highest number means any port.
        port => port.parse().ok().filter(|number| is_number(port) && *number < u32::MAX),
    };
    let cid = match cid {
        "*" => Some(ANY_CID),
        cid => cid.parse().ok().filter(|number| is_number(cid) && *number != ANY_CID),
    };
    match (cid, port) {
        (None, _) => bad(
            "the number of the machine is missing: vsock!cid!port, where cid 2 is the host and 1 this machine",
        ),
        (_, None | Some(0)) => bad("invalid port: vsock!cid!port has a number above 0 or 9fs"),
        (Some(cid), Some(port)) => Ok(VsockAddress { cid, port }),
    }
}

fn parse_port(port: &str) -> Result<u16, BadAddress> {
    services::port(port).map_or_else(
        || {
            bad(format!(
                "invalid port '{port}': expected a number below 65536, 9fs, styx or the name of a service"
            ))
        },
        Ok,
    )
}

/// Returns true if a service manager may give this name to a descriptor, and it is no number.
fn is_descriptor_name(text: &str) -> bool {
    let is_number = text.trim_start_matches(['-', '+']).bytes().all(|c| c.is_ascii_digit());
    let is_valid = |c: char| c.is_ascii() && !c.is_ascii_control() && c != ':';
    !is_number && text.len() < 256 && text.chars().all(is_valid)
}

/// Returns true for `host:port`, where the host is a name or an IPv4 address.
fn is_host_and_port(text: &str) -> bool {
    text.split_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// Returns the right form of an address in a form that other programs use, such as `host:port`.
fn in_another_form(text: &str) -> Option<String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Some(format!("unix!{}", path.strip_prefix("//").unwrap_or(path)));
    }
    let rest = ["tcp://", "9p://", "tcp:"].iter().find_map(|prefix| text.strip_prefix(prefix));
    let (host, port) = match rest.unwrap_or(text).rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => (host, Some(port)),
        _ => (rest?, None),
    };
    let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = inside.unwrap_or(host).trim_end_matches('/');
    if host.is_empty() || host.contains('/') || (host.contains(':') && inside.is_none()) {
        return None;
    }
    Some(match port {
        Some(port) => format!("tcp!{host}!{port}"),
        None => format!("tcp!{host}"),
    })
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
            Address::Vsock(VsockAddress { cid: ANY_CID, .. }) => {
                bad("'*' means every number of this machine: only LISTEN can use it")
            }
            address => Ok(address),
        }
    }

    /// Returns true if a server with this address can be connected to more than once.
    #[must_use]
    pub fn can_be_dialled_again(&self) -> bool {
        !self.is_inherited()
    }

    /// Returns true if the address is one of descriptors that were open when 9pmux was started.
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        matches!(self, Address::Fd(_) | Address::NamedFd(_) | Address::Stdio)
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

/// The address of the other end of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamAddress {
    /// The other end is called, started or inherited.
    Dial(Address),
    /// Other ends call here.
    Listen(ListenAddress),
}

impl FromStr for StreamAddress {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<StreamAddress, BadAddress> {
        match text.strip_prefix("listen!") {
            Some("-") => bad("- is one connection: write - without listen!"),
            Some(address) => address.parse().map(StreamAddress::Listen),
            None => Address::server(text).map(StreamAddress::Dial),
        }
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(host, port) => write!(f, "tcp!{}!{port}", OneLine(host)),
            Address::Vsock(address) => write!(f, "vsock!{address}"),
            Address::Unix(path) => write!(f, "unix!{}", OneLine(&path.to_string_lossy())),
            Address::Service(name) => OneLine(name).fmt(f),
            Address::Fd(n) => write!(f, "fd!{n}"),
            Address::NamedFd(name) => write!(f, "fd!{}", OneLine(name)),
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
            "fd!files",
            "exec!ramfs -i",
            "-",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("/tmp/s".parse(), Ok(Address::Unix("/tmp/s".into())));
        assert_eq!("./s".parse(), Ok(Address::Unix("./s".into())));
        assert_eq!("net!h!9fs".parse(), Ok(Address::Tcp("h".into(), 564)));
        assert_eq!("tcp!h".parse(), Ok(Address::Tcp("h".into(), 564)));
        for text in ["tcp!::1!564", "tcp![::1]!564", "tcp![::1]", "tcp!::1"] {
            assert_eq!(text.parse(), Ok(Address::Tcp("::1".into(), 564)), "{text}");
        }
        // A slash makes a path, and a colon alone no host and port.
        for (text, address) in [
            ("./a:564", Address::Unix("./a:564".into())),
            ("/tmp/ns.ann.:0/plumb", Address::Unix("/tmp/ns.ann.:0/plumb".into())),
            (":564", Address::Service(":564".into())),
            ("a:b", Address::Service("a:b".into())),
            ("::1", Address::Service("::1".into())),
        ] {
            assert_eq!(text.parse(), Ok(address), "{text}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn machines_have_numbers() {
        for (text, cid, port) in [
            ("vsock!2!564", 2, 564),
            ("vsock!3", 3, 564),
            ("vsock!1!9fs", 1, 564),
            ("vsock!*!70000", u32::MAX, 70_000),
        ] {
            let address = Address::Vsock(VsockAddress { cid, port });
            assert_eq!(text.parse().as_ref(), Ok(&address), "{text}");
            assert_eq!(address.to_string().parse(), Ok(address));
        }
        for text in [
            "vsock!",
            "vsock!!564",
            "vsock!host!564",
            "vsock!4294967295!564",
            "vsock!2!",
            "vsock!2!0",
            "vsock!2!+1",
            "vsock!2!4294967295",
            "vsock!2!http",
            "vsock!2!564!1",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
        assert!(Address::server("vsock!*!1").is_err() && Address::listen("vsock!*!1").is_ok());
    }

    #[test]
    fn other_forms_get_the_right_spelling() {
        for (text, right) in [
            ("127.0.0.1:564", "tcp!127.0.0.1!564"),
            ("files:5640", "tcp!files!5640"),
            ("[::1]:564", "tcp!::1!564"),
            ("tcp:files:564", "tcp!files!564"),
            ("tcp:files", "tcp!files"),
            ("tcp://files:564", "tcp!files!564"),
            ("tcp://files/", "tcp!files"),
            ("9p://files", "tcp!files"),
            ("tcp!files:564", "tcp!files!564"),
            ("tcp!127.0.0.1:564!564", "tcp!127.0.0.1!564"),
            ("unix:/tmp/s", "unix!/tmp/s"),
            ("unix:///tmp/s", "unix!/tmp/s"),
            ("files!564", "tcp!files!564"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.ends_with(&format!("write {right}")), "{text}: {error}");
        }
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
            "fd!99999999999",
            "fd!a:b",
            "fd!\u{e9}",
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
