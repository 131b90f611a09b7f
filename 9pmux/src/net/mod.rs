//! The I/O around [`engine`](crate::engine): addresses, sockets, signals, and the event loop.
//!
//! | file | content |
//! |---|---|
//! | `address.rs`, `services.rs` | dial strings, parsed, and the names of ports |
//! | `listen_address.rs` | an address on which clients connect, with its options |
//! | `listen_fds.rs`, `notify.rs` | sockets from a service manager, and notifications to it |
//! | `accounts.rs` | names of users, and numbers of groups |
//! | `namespace.rs` | the directory of services with bare names |
//! | `descriptors.rs` | inherited descriptors, claimed before any other descriptor is opened |
//! | `dial.rs`, `child.rs` | the connection to the server: connected, inherited, or to a program that is started |
//! | `redialler.rs`, `redial_pace.rs` | connecting to the server again, beside the event loop, and when |
//! | `outage_log.rs` | what is logged about a server that is away |
//! | `announce.rs`, `post.rs` | listening sockets, and their names in the file system |
//! | `ends.rs` | the pairs of sockets of descriptors in place of fids |
//! | `vsock.rs` | sockets between virtual machines and their host |
//! | `fd.rs` | a descriptor that gets its mode back when it is closed |
//! | `stream.rs`, `watch.rs` | reading and writing one peer, and readiness events |
//! | `signals.rs` | signals as bytes to be read |
//! | `driver`, `peers.rs`, `admission.rs` | the event loop, the connected clients, and their maximum number |
//! | `link.rs` | the start of `9pmux link` |
//! | `pserve.rs`, `background.rs` | the start under the name `9pserve` |
//! | `trace.rs`, `line_limit.rs` | messages for the log, in words, and limits for lines that clients cause |
//! | `failure.rs` | the errors that end the program, with their exit statuses |
//!
//! One thread runs the event loop. In each turn it waits for events, reads each peer that is readable into
//! one shared buffer, passes the bytes to the engine, and writes the resulting output, with one write for
//! each peer. The busier the loop, the more messages each system call transfers.
//!
//! Readiness comes from mio: it covers epoll and kqueue, registers descriptors without unsafe code, and waits
//! with one system call. It reports edges, so `peers.rs` records which peers are readable. A client that must
//! not be read now stays recorded as readable and costs nothing until it may be read again.

mod accounts;
mod address;
mod admission;
mod announce;
mod background;
mod child;
mod descriptors;
mod dial;
mod driver;
mod ends;
mod failure;
mod fd;
mod line_limit;
mod link;
mod listen_address;
mod listen_fds;
mod namespace;
mod notify;
mod outage_log;
mod peers;
mod post;
mod pserve;
mod redial_pace;
mod redialler;
mod services;
mod signals;
mod stream;
mod trace;
mod vsock;
mod watch;

pub use address::{Address, BadAddress, StreamAddress};
pub use failure::Failure;
pub use link::{LinkOptions, link};
pub use listen_address::{Group, ListenAddress, ListenOptions};
pub use pserve::{Pserve, PserveOptions};
pub use vsock::VsockAddress;

#[cfg(feature = "stat")]
use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::engine::{Config, ControlTree};
use crate::link::INTERVALS;

/// The time after which a network connection to the server of `serve` is given up. The end of 9pmux would break all
/// mounts, so it survives what TCP survives.
const MAX_SILENCE: Duration = Duration::from_secs(900);

/// The time after which a network connection is given up that is made again, or that is one of a link, without
/// keepalives.
const MAX_LINK_SILENCE: Duration = Duration::from_secs(45);

/// Returns the time after which a network connection without a sign of life is given up.
pub fn max_silence(keepalive: Option<Duration>, is_made_again: bool) -> Duration {
    let without = if is_made_again { MAX_LINK_SILENCE } else { MAX_SILENCE };
    keepalive.map_or(without, |interval| interval * INTERVALS)
}

/// The options of `9pmux serve`.
#[derive(Debug)]
pub struct ServeOptions {
    /// The address of the server.
    pub server: Address,
    /// The addresses on which clients connect.
    pub listen: Vec<ListenAddress>,
    /// The maximum time for the connection to the server.
    pub timeout: Duration,
    /// The maximum number of clients.
    pub max_clients: usize,
    /// The silence after which the server is asked whether it is there, if it is asked.
    pub keepalive: Option<Duration>,
    /// The time after which the system gives up a network connection to the server without a sign of life.
    pub max_silence: Duration,
    /// True if callers that the system says nothing about may attach to the control tree.
    pub control_unknown: bool,
    /// Changes the level of the log to that of so many `-v`, if clients may.
    pub set_verbosity: Option<fn(u8)>,
    /// The limits of the engine.
    pub config: Config,
    /// True if each message is logged.
    pub messages: bool,
}

/// Connects to a 9pmux as a client of it, with a socket that blocks.
///
/// # Errors
/// Returns the reason if it cannot be reached.
#[cfg(feature = "stat")]
pub(crate) fn connect_blocking(address: &Address, timeout: Duration) -> Result<OwnedFd, String> {
    let mut claims = descriptors::Claims::none();
    let server = dial::dial(address, &mut claims, timeout).map_err(|failure| match failure {
        Failure::Connect(_, why) => why,
        other => other.to_string(),
    })?;
    // The descriptor becomes blocking again with the copy of it.
    let socket = server.stream.output_fd().try_clone_to_owned().map_err(|e| e.to_string())?;
    drop(server);
    Ok(socket)
}

/// Returns the control tree of this process, by this aname.
#[must_use]
pub fn control_tree(aname: String) -> ControlTree {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    ControlTree {
        aname,
        program: concat!("9pmux ", env!("CARGO_PKG_VERSION")).to_owned(),
        pid: std::process::id(),
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        epoch: since_epoch.map_or(0, |time| time.as_secs()),
    }
}

/// Serves clients until a signal arrives, or until the last client has disconnected and no other can connect.
///
/// # Errors
/// Returns the reason if anything else ends it.
pub fn serve(options: ServeOptions) -> Result<(), Failure> {
    let mut claims = descriptors::claim([&options.server], &options.listen)?;
    check_distinct(&[&options.server], &options.listen)?;
    // Before the wait for the server. A server that is started must inherit the disposition of SIGHUP that
    // 9pmux was started with, so then SIGHUP is handled after the start.
    let starts = matches!(options.server, Address::Exec(_));
    if !starts {
        signals::ignore_hangup().map_err(Failure::system("signals"))?;
    }
    // A server that may be away is connected to when clients can connect.
    let server = match options.config.reconnect {
        None => Some(dial::dial(&options.server, &mut claims, options.timeout)?),
        Some(_) => None,
    };
    if starts {
        signals::ignore_hangup().map_err(Failure::system("signals"))?;
    }
    // From here on a signal must lead to the removal of the sockets.
    let signals = signals::Signals::subscribe().map_err(Failure::system("signals"))?;
    // After the server was started: some programs do not work well with a high limit.
    let limit = descriptors::raise_limit();
    let announced = announce::announce_all(&options.listen, &mut claims)?;
    let redial = dial::Redial::new(&options.server, options.timeout, limit);
    let mut driver = driver::Driver::new(&options, server, redial, announced, signals)?;
    driver.notify_service_manager(&options.server);
    driver.run()
}

/// Checks that no address is given twice. Without this check the error would name another program.
fn check_distinct(servers: &[&Address], listen: &[ListenAddress]) -> Result<(), Failure> {
    for (n, ListenAddress { address, .. }) in listen.iter().enumerate() {
        let why = match address {
            // the system chooses a different port for each
            Address::Tcp(_, 0) => continue,
            _ if servers.contains(&address) => "it is the address of the server: choose another",
            _ if listen[..n].iter().any(|it| it.address == *address) => "it is given twice",
            _ => continue,
        };
        return Err(Failure::Announce(address.clone(), why.to_owned()));
    }
    Ok(())
}
