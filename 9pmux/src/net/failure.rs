//! The errors that end the program. Each has an exit status, and a message of one line that says what to do.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::process::ExitStatus;

use super::address::Address;
use crate::engine::EndReason;
use crate::link::LinkEnd;

/// Why 9pmux cannot serve clients, or has stopped.
#[derive(Debug)]
pub enum Failure {
    /// A system call has failed that should always succeed.
    System(&'static str, io::Error),
    /// The server cannot be reached.
    Connect(Address, String),
    /// 9pmux cannot listen on this address.
    Announce(Address, String),
    /// The session with the server has ended. The status is that of a server that was started here and has exited.
    End(Address, EndReason, Option<ExitStatus>),
    /// The connection to the server has failed.
    Lost(Address, io::Error),
    /// The other end of a link cannot be reached.
    FarEnd(Address, String),
    /// A link has ended. With an error, its stream has failed; the status is that of a program that was started
    /// here as the stream and has exited.
    Link(Address, LinkEnd, Option<io::Error>, Option<ExitStatus>),
}

impl Failure {
    /// The exit status. Status 2 is for invalid arguments and is not used here.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Failure::System(..) => 1,
            Failure::Connect(..) | Failure::FarEnd(..) => 3,
            Failure::Link(_, LinkEnd::Garbled(_) | LinkEnd::TooMuch | LinkEnd::NoMemory, ..) => 8,
            Failure::Link(..) => 5,
            Failure::Announce(..) => 4,
            Failure::End(
                _,
                EndReason::ServerClosed
                | EndReason::HungUp
                | EndReason::Silent(_)
                | EndReason::Commanded,
                _,
            )
            | Failure::Lost(..) => 5,
            Failure::End(_, EndReason::VersionTimeout | EndReason::ReplayTimeout, _) => 6,
            Failure::End(_, EndReason::NoCommonVersion(_), _) => 7,
            Failure::End(_, EndReason::Garbled(_), _) => 8,
        }
    }

    /// The failure to connect to the other end of a link instead of to a server.
    #[must_use]
    pub(super) fn of_far_end(self) -> Failure {
        match self {
            Failure::Connect(address, why) => Failure::FarEnd(address, why),
            other => other,
        }
    }

    pub(super) fn system(what: &'static str) -> impl Fn(io::Error) -> Failure {
        move |error| Failure::System(what, error)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Failure::System(what, error) => write!(f, "{what}: {}", error_text(error)),
            Failure::Connect(server, why) => write!(f, "cannot reach the server {server}: {why}"),
            Failure::FarEnd(stream, why) => {
                write!(f, "cannot reach the other end {stream}: {why}")
            }
            Failure::Link(stream, end, error, status) => {
                match error {
                    Some(error) => {
                        write!(f, "{stream}: the connection is broken: {}", error_text(error))?;
                    }
                    None => write!(f, "{stream}: {end}")?,
                }
                if let Some(status) = status {
                    return write!(
                        f,
                        ", and the command has ended ({status}): see its error output"
                    );
                }
                f.write_str(match end {
                    LinkEnd::Garbled(_) => {
                        ": check that the other end is a 9pmux link, or speaks 9P"
                    }
                    LinkEnd::TooMuch => ": give both ends the same --window",
                    LinkEnd::NoMemory => ": give both ends a smaller --window",
                    _ => ": start both ends again",
                })
            }
            Failure::Announce(address, why) => write!(f, "cannot listen on {address}: {why}"),
            Failure::Lost(server, error) => {
                let why = error_text(error);
                write!(
                    f,
                    "{server}: connection lost: {why}: repair the connection, then start 9pmux again"
                )
            }
            Failure::End(server, end, status) => {
                write!(f, "{server}: {end}")?;
                if let Some(status) = status {
                    return write!(f, ", and exited ({status}): see its error output");
                }
                f.write_str(match end {
                    EndReason::ServerClosed
                    | EndReason::HungUp
                    | EndReason::Silent(_)
                    | EndReason::Commanded => {
                        ": restart the server, then 9pmux"
                    }
                    EndReason::VersionTimeout
                        if server.is_inherited() =>
                    {
                        ": check that it speaks 9P, or raise --timeout; a descriptor cannot be connected to again"
                    }
                    EndReason::VersionTimeout | EndReason::ReplayTimeout => {
                        ": check that it speaks 9P, or raise --timeout"
                    }
                    EndReason::NoCommonVersion(_) => {
                        ": choose a version that it speaks with --dialect, or another --msize"
                    }
                    EndReason::Garbled(_) => {
                        ": check that it speaks 9P, and the --dialect if one is given"
                    }
                })
            }
        }
    }
}

/// The system's message for an error, without its number.
pub(super) fn error_text(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" (os error ") {
        Some((message, _)) => message.to_owned(),
        None => text,
    }
}
