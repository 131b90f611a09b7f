//! The errors that end `9pmux stat`. Each has an exit status, and a message of one line.

use std::fmt::{self, Display, Formatter};
use std::io;

use crate::net::Address;

/// Why `9pmux stat` has ended.
#[derive(Debug)]
pub enum StatFailure {
    /// 9pmux cannot be reached.
    Connect(Address, String),
    /// The connection has ended or failed, or 9pmux does not reply.
    Lost(Address),
    /// The program at this address is no 9pmux, or has no control tree.
    NoTree(Address),
    /// The control tree has another name, or is not for this user. This is the name.
    NotAllowed(Address, String),
    /// A key or a signal has ended it while it waited for a reply. This is no error.
    Ended,
    /// The program at this address has refused a request or sent something else than 9P.
    Refused(Address, String),
    /// Standard output cannot be written.
    Output(io::Error),
    /// The terminal cannot be used.
    Terminal(io::Error),
}

impl StatFailure {
    /// Returns the exit status. Status 2 is for invalid arguments.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            StatFailure::Ended => 0,
            StatFailure::Output(_) | StatFailure::Terminal(_) => 1,
            StatFailure::Connect(..) => 3,
            StatFailure::Lost(_) => 5,
            StatFailure::NoTree(_) | StatFailure::NotAllowed(..) => 7,
            StatFailure::Refused(..) => 8,
        }
    }
}

impl Display for StatFailure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            StatFailure::Connect(address, why) => write!(f, "cannot reach {address}: {why}"),
            StatFailure::Lost(address) => write!(f, "{address}: the connection is lost"),
            StatFailure::NoTree(address) => write!(
                f,
                "{address} has no control tree: it is not 9pmux, or was started with --control none"
            ),
            StatFailure::NotAllowed(address @ (Address::Tcp(..) | Address::Vsock(_)), tree) => {
                write!(
                    f,
                    "{address} has no {tree} for a network: 9pmux needs --control-tcp; or it has another name (--control)"
                )
            }
            StatFailure::NotAllowed(address, tree) => write!(
                f,
                "{address} has no {tree} for this user: it is for the user who runs 9pmux, and root; or it has another name (--control)"
            ),
            StatFailure::Ended => f.write_str("ended"),
            StatFailure::Refused(address, why) => write!(f, "{address}: {why}"),
            StatFailure::Output(error) => write!(f, "standard output: {error}"),
            StatFailure::Terminal(error) => write!(f, "the terminal: {error}"),
        }
    }
}
