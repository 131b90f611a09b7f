//! The world around [`engine`](crate::engine): addresses, sockets, signals, and the loop that turns.
//!
//! | file | what it holds |
//! |---|---|
//! | `address.rs` | dial strings, parsed; nothing is opened by that |
//! | `namespace.rs` | the directory of bare names |
//! | `descriptors.rs` | descriptors that were handed in: each is claimed once, before any is opened |
//! | `dial.rs`, `child.rs` | the way to the server: connected to, handed in, or started |
//! | `announce.rs`, `post.rs` | where clients come: sockets, and their names in the file system |
//! | `fd.rs` | a descriptor that gets its mode back when it is closed |
//! | `stream.rs`, `watch.rs` | one peer's bytes, and when it has or takes any |
//! | `signals.rs` | SIGTERM and SIGINT as something that can be read |
//! | `driver.rs`, `peers.rs` | the loop, and who is connected |
//! | `trace.rs` | messages for the log, each in words |
//! | `failure.rs` | what can go wrong, with the exit status of each |
//!
//! One thread does it all. It waits once a turn, reads from each peer that has something into one buffer
//! that all of them share, hands that to the engine, and writes to each peer once what has come of it: the
//! more there is to do, the more is done by one call of the system.
//!
//! Readiness is asked of the system through mio: it has the same calls for epoll and kqueue, it needs
//! no unsafe code to register a descriptor, and a wait is one system call, with no timer and no other
//! registration around it. It tells a descriptor's *change* (edges), so who is ready is kept here, in
//! `peers.rs`: a client that is not to be read now stays ready, costs nothing, and is not asked for again.

mod address;
mod announce;
mod child;
mod descriptors;
mod dial;
mod driver;
mod failure;
mod fd;
mod namespace;
mod peers;
mod post;
mod signals;
mod stream;
mod trace;
mod watch;

pub use address::{Address, BadAddress};
pub use failure::Failure;

use std::time::Duration;

use crate::engine::Config;

/// What is to be done.
#[derive(Debug)]
pub struct ServeOptions {
    /// Where the server is.
    pub server: Address,
    /// Where clients come.
    pub listen: Vec<Address>,
    /// How long the server may take to be reached.
    pub timeout: Duration,
    /// The limits.
    pub config: Config,
    /// Whether each message is logged.
    pub messages: bool,
}

/// Serves, until a signal ends it, or the last client there can be has gone.
///
/// # Errors
/// Whatever else ends it.
pub fn serve(options: ServeOptions) -> Result<(), Failure> {
    let mut claims = descriptors::claim(&options)?;
    check_distinct(&options)?;
    // Before the server is waited for; but one that is started has SIGHUP ignored if we were told to.
    let starts = matches!(options.server, Address::Exec(_));
    if !starts {
        signals::ignore_hangup().map_err(Failure::system("signals"))?;
    }
    let server = dial::dial(&options.server, &mut claims, options.timeout)?;
    if starts {
        signals::ignore_hangup().map_err(Failure::system("signals"))?;
    }
    // From here on a signal must find those who remove the sockets again.
    let signals = signals::Signals::subscribe().map_err(Failure::system("signals"))?;
    // Not before the server was started: it may be one that is troubled by a high limit.
    descriptors::raise_limit();
    let announced = options
        .listen
        .iter()
        .map(|address| announce::announce(address, &mut claims))
        .collect::<Result<Vec<_>, _>>()?;
    driver::Driver::new(&options, server, announced, signals)?.run()
}

/// Sees that no address is there twice, which would be told as what else has it.
fn check_distinct(options: &ServeOptions) -> Result<(), Failure> {
    for (n, address) in options.listen.iter().enumerate() {
        let why = match address {
            // the system chooses another for each
            Address::Tcp(_, 0) => continue,
            _ if *address == options.server => "it is the address of the server: choose another",
            _ if options.listen[..n].contains(address) => "it is given twice",
            _ => continue,
        };
        return Err(Failure::Announce(address.clone(), why.to_owned()));
    }
    Ok(())
}
