//! 9pmux in place of plan9port's 9pserve(4), which programs start when they post a service.
//!
//! A program that starts 9pserve waits for the end of the process that it has started, and serves its first request
//! after that. So the socket is announced first, the process continues in the background, and only then the server
//! is spoken to. Until then there is one thread, and no poller.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::address::Address;
use super::announce::{Announcement, Listener, announce};
use super::background;
use super::descriptors::{self, Claims};
use super::dial::{self, ServerConnection};
use super::driver::Driver;
use super::failure::{Failure, error_text};
use super::{ServeOptions, namespace, signals};
use crate::engine::{AttachAs, Config, EndReason, PserveRules};
use crate::wire::Dialect;

/// The msize that is offered to the server, as by 9pserve: some servers have buffers of any size that is offered.
const MSIZE: u32 = 8192;

/// The maximum time for the connection to a server that is dialled.
const DIAL_TIMEOUT: Duration = Duration::from_secs(120);

/// The options of 9pserve. Texts are bytes, as the arguments of a program are.
#[derive(Debug)]
pub struct PserveOptions {
    /// The address on which clients connect.
    pub address: Vec<u8>,
    /// The address of the server; without one it is standard input and output.
    pub server: Option<Vec<u8>>,
    /// The msize that has been agreed with the server already.
    pub msize: Option<u32>,
    /// The tree and the auth fid of an attach that has been authenticated. The user is that of the process.
    pub attach: Option<(Vec<u8>, u32)>,
    /// True if each Tauth is refused.
    pub rejects_auth: bool,
    /// True if standard error becomes a file with the name of the address.
    pub logs_to_file: bool,
    /// The maximum number of clients.
    pub max_clients: usize,
    /// True if each message is logged.
    pub messages: bool,
}

/// A service that is announced and not served yet.
pub struct Pserve {
    server: ServerConnection,
    listener: Listener,
    serve: ServeOptions,
}

impl Pserve {
    /// Connects to the server, announces the address, and continues in the background.
    ///
    /// # Errors
    /// Returns the reason why there is no service. Then nothing is left of it.
    pub fn start(options: PserveOptions) -> Result<Pserve, String> {
        // It fails in the leader of a session.
        let _ = rustix::process::setpgid(None, None);
        let (address, server) = connect(options.server.as_deref())?;
        let listener = announce_literally(&options.address).map_err(|why| {
            format!("announce {}: {why}", String::from_utf8_lossy(&options.address))
        })?;
        if options.logs_to_file {
            log_to_file(&options.address)?;
        }
        background::continue_in_background()
            .map_err(|error| format!("fork: {}", error_text(&error)))?;
        let serve = ServeOptions {
            control_unknown: false,
            set_verbosity: None,
            server: address,
            listen: vec![listener.address().clone().into()],
            timeout: DIAL_TIMEOUT,
            max_clients: options.max_clients,
            keepalive: None,
            max_silence: super::max_silence(None, false),
            config: config(options.msize, options.rejects_auth, options.attach),
            messages: options.messages,
        };
        Ok(Pserve { server, listener, serve })
    }

    /// Serves clients until the server closes the connection or a signal arrives.
    ///
    /// # Errors
    /// Returns the reason if anything else ends it.
    pub fn serve(self) -> Result<(), Failure> {
        signals::ignore_hangup().map_err(Failure::system("signals"))?;
        signals::ignore_stop().map_err(Failure::system("signals"))?;
        let signals = signals::Signals::subscribe().map_err(Failure::system("signals"))?;
        descriptors::raise_limit();
        let announced = vec![Announcement::Listener(self.listener)];
        let driver = Driver::new(&self.serve, Some(self.server), None, announced, signals)?;
        match driver.run() {
            Err(Failure::End(_, EndReason::ServerClosed, _)) => Ok(()),
            other => other,
        }
    }
}

/// The limits and rules of the engine.
fn config(msize: Option<u32>, rejects_auth: bool, attach: Option<(Vec<u8>, u32)>) -> Config {
    let attach =
        attach.map(|(aname, afid)| AttachAs { afid, uname: namespace::user_name(), aname });
    Config {
        dialect: Some(Dialect::Plain),
        msize: msize.unwrap_or(MSIZE),
        adapts: true,
        // The program that has started this one may have much to do before it serves.
        version_timeout: Duration::MAX,
        pserve: Some(PserveRules { has_version: msize.is_some(), rejects_auth, attach }),
        ..Config::default()
    }
}

/// Returns the connection to the server: the inherited one, or one to this address.
fn connect(dialled: Option<&[u8]>) -> Result<(Address, ServerConnection), String> {
    let Some(text) = dialled else {
        let address = Address::Stdio;
        let server = descriptors::claim([&address], &[])
            .and_then(|mut claims| dial::dial(&address, &mut claims, DIAL_TIMEOUT));
        return Ok((address, server.map_err(why)?));
    };
    let failed = |why| format!("dial {}: {why}", String::from_utf8_lossy(text));
    let address = complete(text).map_err(failed)?;
    let server = dial::dial(&address, &mut Claims::none(), DIAL_TIMEOUT)
        .map_err(|failure| failed(why(failure)))?;
    // The inherited connection is closed.
    descriptors::release_stdio().map_err(|error| failed(error_text(&error)))?;
    Ok((address, server))
}

/// Returns the reason of a failure without its object.
fn why(failure: Failure) -> String {
    match failure {
        Failure::Connect(_, why) | Failure::Announce(_, why) => why,
        other => other.to_string(),
    }
}

/// Returns the address of a server, of which the network and the port may be missing.
fn complete(text: &[u8]) -> Result<Address, String> {
    if let Some(path) = text.strip_prefix(b"unix!") {
        return Ok(Address::Unix(path_of(path)));
    }
    if path_of(text).exists() {
        return Ok(Address::Unix(path_of(text)));
    }
    let text = String::from_utf8_lossy(text);
    let (host, port) = match text.split_once('!') {
        Some(("tcp" | "net", rest)) => rest.split_once('!').unwrap_or((rest, "9fs")),
        Some(_) => return Err("bad network: expected unix!, tcp! or net!".to_owned()),
        None => text.rsplit_once(':').unwrap_or((&text, "9fs")),
    };
    Address::server(&format!("tcp!{host}!{port}")).map_err(|error| error.to_string())
}

/// Listens on an address, which is not completed. A socket has all permissions that the umask leaves.
fn announce_literally(address: &[u8]) -> Result<Listener, String> {
    let malformed = "malformed address";
    let bang = address.iter().position(|byte| *byte == b'!').ok_or(malformed)?;
    let (network, rest) = (&address[..bang], &address[bang + 1..]);
    match (network, rest.contains(&b'!')) {
        (_, _) if rest.is_empty() => Err(malformed.to_owned()),
        (b"unix", _) | (b"net", false) => Listener::post(&path_of(rest)),
        (b"net" | b"tcp", true) => {
            let address = format!("tcp!{}", String::from_utf8_lossy(rest));
            let address = Address::listen(&address).map_err(|error| error.to_string())?;
            match announce(&address.into(), &mut Claims::none()).map_err(why)? {
                Announcement::Listener(listener) => Ok(listener),
                Announcement::Client(..) => unreachable!("a tcp address is listened on"),
            }
        }
        (b"tcp", false) => Err(malformed.to_owned()),
        _ => Err("bad network: expected unix!, tcp! or net!".to_owned()),
    }
}

fn path_of(bytes: &[u8]) -> PathBuf {
    OsString::from_vec(bytes.to_vec()).into()
}

/// Makes standard error a file with the name of the address.
fn log_to_file(address: &[u8]) -> Result<(), String> {
    let name = [address.strip_prefix(b"unix!").unwrap_or(address), b".log"].concat();
    let path = path_of(&name);
    replace_stderr(&path)
        .map_err(|error| format!("create {}: {}", path.display(), error_text(&error)))
}

fn replace_stderr(path: &Path) -> io::Result<()> {
    let file = std::fs::File::create(path)?;
    Ok(rustix::stdio::dup2_stderr(&file)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_in_flight_follow_what_the_server_can_use() {
        assert!(config(None, false, None).adapts && config(Some(8192), true, None).adapts);
    }

    #[test]
    fn addresses_of_servers_are_completed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("host:9");
        std::fs::write(&file, "").unwrap();
        let file = file.into_os_string().into_string().unwrap();
        for (text, address) in [
            ("unix!/tmp/a!b", "unix!/tmp/a!b"),
            (&file, &format!("unix!{file}")),
            ("host", "tcp!host!564"),
            ("host:80", "tcp!host!80"),
            ("net!host", "tcp!host!564"),
            ("net!host!80", "tcp!host!80"),
            ("tcp!host", "tcp!host!564"),
            ("tcp!host!80", "tcp!host!80"),
        ] {
            assert_eq!(complete(text.as_bytes()).unwrap().to_string(), address, "{text}");
        }
        for text in ["udp!host!80", "host:x", "tcp!host!x", "exec!cat", "fd!0", "tcp!*!80"] {
            assert!(complete(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_of_clients_are_taken_literally() {
        for (text, part) in [
            ("name", "malformed"),
            ("unix!", "malformed"),
            ("tcp!host", "malformed"),
            ("udp!*!80", "bad network"),
            ("fd!0", "bad network"),
            ("tcp!*!x", "invalid port"),
        ] {
            let why = announce_literally(text.as_bytes()).unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        }
        let directory = tempfile::tempdir().unwrap();
        for (network, name) in [("unix", "a"), ("unix", "b!c"), ("net", "d")] {
            let path = directory.path().join(name);
            let address = format!("{network}!{}", path.display());
            let listener = announce_literally(address.as_bytes()).unwrap();
            assert!(std::os::unix::net::UnixStream::connect(&path).is_ok(), "{address}");
            drop(listener);
        }
        let listener = announce_literally(b"tcp!127.0.0.1!0").unwrap();
        assert!(matches!(listener.address(), Address::Tcp(_, port) if *port != 0));
    }
}
