//! Connecting to a server again, beside the event loop.
//!
//! Looking up a name blocks, and so does connecting to a unix socket with a full queue, which no poller can watch.
//! Both are done by a thread that lives as long as the attempt; the loop is woken when it has ended. A program is
//! started by the loop itself, after the last one has ended, for which the loop does not wait either.
//!
//! | event | call |
//! |---|---|
//! | a turn of the loop | [`Redialler::advance`] |
//! | the program may have ended | [`Redialler::reap`] |
//! | the end of 9pmux | [`Redialler::shut_down`] |

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::ExitStatus;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread;
use std::time::Instant;

use super::address::Address;
use super::child::ChildServer;
use super::dial::{Redial, ServerConnection};
use super::failure::{Failure, error_text};
use super::redial_pace::RedialPace;
use super::stream::Stream;
use super::watch::{Source, Watch};

/// The sources of the events that concern the connections to one server.
#[derive(Clone, Copy)]
pub struct Sources {
    /// The connection.
    pub server: Source,
    /// The program, if the server was started here.
    pub child: Source,
    /// An attempt to connect.
    pub attempt: Source,
}

/// The means to connect to a server again and again, and its program if it was started here.
pub struct Redialler {
    address: Address,
    sources: Sources,
    /// A connection that has been made, for the first attempt.
    first: Option<ServerConnection>,
    redial: Option<Redial>,
    pace: RedialPace,
    child: Option<ChildServer>,
    attempt: Option<Attempt>,
}

impl Redialler {
    /// Without `redial` each attempt fails. If it `persists`, there is no connection at first, and attempts are made
    /// without end while the server is wanted.
    pub fn new(
        address: Address,
        sources: Sources,
        redial: Option<Redial>,
        persists: bool,
        now: Instant,
    ) -> Redialler {
        let starts = redial.as_ref().is_some_and(Redial::starts);
        let pace = match persists {
            true => RedialPace::persistent(now, starts, random_number()),
            false => RedialPace::new(now),
        };
        Redialler { address, sources, first: None, redial, pace, child: None, attempt: None }
    }

    /// Makes the first attempt return this connection.
    pub fn set_first(&mut self, first: Option<ServerConnection>) {
        self.first = first;
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Returns true if the server is started here.
    pub fn starts(&self) -> bool {
        self.redial.as_ref().is_some_and(Redial::starts)
    }

    /// Returns true if `advance` must be called at once for a server that is wanted.
    pub fn is_busy(&self) -> bool {
        self.attempt.is_none() && !self.is_ending() && self.pace.due().is_none()
    }

    /// Returns the time at which `advance` must be called at the latest, if any.
    pub fn deadline(&self, is_wanted: bool) -> Option<Instant> {
        if self.attempt.is_some() {
            return None;
        }
        let ending = self.child.as_ref().and_then(ChildServer::next_step);
        ending.or(self.pace.due().filter(|_| is_wanted))
    }

    fn is_ending(&self) -> bool {
        self.child.as_ref().is_some_and(|child| child.next_step().is_some())
    }

    /// Begins an attempt to connect if the server `is_wanted`, at the pace of `redial_pace`. The last connection
    /// must have been closed then. Returns the result of an attempt that has ended; the connection is watched.
    /// A connection that is not wanted any more is closed.
    pub fn advance(
        &mut self,
        watch: &Watch,
        now: Instant,
        is_wanted: bool,
        hurry: bool,
    ) -> Option<Result<Stream, Failure>> {
        let result = match &self.attempt {
            Some(attempt) => {
                let result = attempt.result(&self.address)?;
                watch.remove_fd(attempt.notice.as_raw_fd());
                self.attempt = None;
                result
            }
            None => {
                let may_connect = is_wanted && self.pace.may_connect(now);
                let pursues = is_wanted || self.is_ending();
                if pursues && !self.child_ended(watch, now, hurry) || !may_connect {
                    return None;
                }
                self.begin(watch)?
            }
        };
        self.pace.attempted(Instant::now());
        match result {
            Ok(_) if !is_wanted => None,
            Ok(server) => Some(self.adopt(watch, server)),
            Err(failure) => Some(Err(failure)),
        }
    }

    /// Pursues the end of the last program. Returns true if it has ended.
    fn child_ended(&mut self, watch: &Watch, now: Instant, hurry: bool) -> bool {
        let Some(child) = &mut self.child else {
            return true;
        };
        if child.try_shut_down(now, hurry).is_none() {
            return false;
        }
        watch.remove_fd(child.notice_fd());
        self.child = None;
        true
    }

    /// Begins an attempt. Returns its result if it takes no time.
    fn begin(&mut self, watch: &Watch) -> Option<Result<ServerConnection, Failure>> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        let failed = |why| Some(Err(Failure::Connect(self.address.clone(), why)));
        let Some(redial) = &self.redial else {
            return failed("a descriptor cannot be connected to again".to_owned());
        };
        if redial.starts() {
            return Some(redial.connect());
        }
        let redial = redial.clone();
        let begun = Attempt::begin(move || redial.connect()).and_then(|attempt| {
            watch.add(self.sources.attempt, attempt.notice.as_raw_fd())?;
            Ok(attempt)
        });
        match begun {
            Ok(attempt) => {
                self.attempt = Some(attempt);
                None
            }
            Err(error) => failed(error_text(&error)),
        }
    }

    /// Reports events of a connection and of its program from now on.
    pub fn adopt(&mut self, watch: &Watch, server: ServerConnection) -> Result<Stream, Failure> {
        let ServerConnection { stream, child } = server;
        self.child = child;
        let notice = self.child.as_ref().map(ChildServer::notice_fd);
        watch
            .add(self.sources.server, stream.input())
            .and_then(|()| notice.map_or(Ok(()), |fd| watch.add(self.sources.child, fd)))
            .map_err(|error| Failure::Connect(self.address.clone(), poll_error_text(&error)))?;
        Ok(stream)
    }

    /// Collects the status of the program if it has ended.
    pub fn reap(&mut self) {
        if let Some(child) = &mut self.child {
            child.reap();
        }
    }

    /// Waits for the end of the program, at the end of 9pmux. The connection must have been closed.
    pub fn shut_down(&mut self, hurry: impl FnMut() -> bool) -> Option<ExitStatus> {
        self.child.take()?.shut_down(hurry)
    }
}

/// The text for a descriptor that the poller does not accept, such as a file.
pub fn poll_error_text(error: &io::Error) -> String {
    match rustix::io::Errno::from_io_error(error) {
        Some(rustix::io::Errno::PERM) => "not a connection: pass a socket or pipes".to_owned(),
        _ => format!("cannot wait for it: {}", error_text(error)),
    }
}

/// Returns a number that others cannot know; it need not be cryptographic.
pub fn random_number() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// An attempt to connect, by a thread.
struct Attempt {
    result: Receiver<Result<ServerConnection, Failure>>,
    /// Ends when the result is there.
    notice: UnixStream,
}

impl Attempt {
    fn begin(
        connect: impl FnOnce() -> Result<ServerConnection, Failure> + Send + 'static,
    ) -> io::Result<Attempt> {
        let (notice, theirs) = UnixStream::pair()?;
        let (sender, result) = sync_channel(1);
        thread::Builder::new().name("connect".to_owned()).spawn(move || {
            // Variables are dropped in the reverse order, so the notice ends after the result, even in a panic.
            let _theirs = theirs;
            let sender = sender;
            // Without a receiver, 9pmux ends.
            let _ = sender.send(connect());
        })?;
        Ok(Attempt { result, notice })
    }

    /// Returns the result, once, if it is there.
    fn result(&self, address: &Address) -> Option<Result<ServerConnection, Failure>> {
        match self.result.try_recv() {
            Ok(result) => Some(result),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                let why = "the attempt has been broken off".to_owned();
                Some(Err(Failure::Connect(address.clone(), why)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn result_of_an_attempt_is_there_when_its_notice_ends() {
        let address = Address::Service("s".to_owned());
        let (go, wait) = sync_channel::<()>(1);
        let at = address.clone();
        let attempt = Attempt::begin(move || {
            wait.recv().unwrap();
            Err(Failure::Connect(at, "refused".to_owned()))
        });
        let mut attempt = attempt.unwrap();
        assert!(attempt.result(&address).is_none());
        go.send(()).unwrap();
        assert_eq!(attempt.notice.read(&mut [0]).unwrap(), 0);
        let failure = attempt.result(&address).unwrap().err().unwrap();
        assert_eq!(failure.to_string(), "cannot reach the server s: refused");
    }

    #[test]
    fn attempt_that_is_broken_off_has_failed() {
        let address = Address::Service("s".to_owned());
        let mut attempt = Attempt::begin(|| panic!("on purpose")).unwrap();
        assert_eq!(attempt.notice.read(&mut [0]).unwrap(), 0);
        assert!(matches!(attempt.result(&address), Some(Err(Failure::Connect(..)))));
    }
}
