//! The callers of a listening end with a post: one at a time is the other end.
//!
//! | state | a caller | local clients | a signal |
//! |---|---|---|---|
//! | waiting | becomes the other end | wait to be accepted | ends the program |
//! | connected | makes 9pmux ask the other end whether it is there, or is refused | are accepted | ends the link, and then the program |
//! | asking, and for a second after a reply | waits to be accepted | are accepted | the same |
//! | draining: the link has ended, last replies are written | waits to be accepted | are not accepted | ends the program |
//!
//! A machine that has lost its power or its network does not close its connection, and would keep its place. So the
//! next caller, the *candidate*, waits while the other end is asked. If anything arrives in time the candidate is
//! refused, else the link ends, and the candidate becomes the other end. Without the pause of a second, refused
//! callers could keep the link busy with questions.
//!
//! Each caller gets a post of its own, since all local clients end with the stream. The export outlives the
//! streams: what the last other end has left at the server is cleaned up, and the connection to the server stays.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::Driver;
use super::clients::CloseReason;
use super::control::record_connection;
use crate::engine::{Config, Engine};
use crate::link::LinkConfig;
use crate::net::failure::error_text;
use crate::net::peers::Peer;
use crate::net::redialler::random_number;
use crate::net::stream::{Origin, Stream};
use crate::net::trace::{self, Names};
use crate::net::watch::Source;

/// The time in which the other end must send something, if there is another caller.
const PATIENCE: Duration = Duration::from_secs(5);

/// The time for which no caller is accepted after the other end has replied.
const PAUSE: Duration = Duration::from_secs(1);

/// The state of a listening end.
pub struct Callers {
    /// The index of the listener for callers.
    listener: usize,
    link: LinkConfig,
    /// The configuration of each post.
    post: Config,
    /// True if each message is logged.
    messages: bool,
    is_waiting: bool,
    /// The caller for which the other end is asked whether it is there.
    candidate: Option<Stream>,
    /// The time at which callers are accepted again, after the other end has replied.
    paused_until: Option<Instant>,
    /// The time of the last warning about a refused caller.
    last_refusal: Cell<Option<Instant>>,
}

impl Callers {
    /// Each message is logged from now on if `messages` is true.
    pub(super) fn set_messages(&mut self, messages: bool) {
        self.messages = messages;
    }

    /// `listener` is the index of the listener for callers among those of the driver.
    pub fn new(listener: usize, link: LinkConfig, post: Config, messages: bool) -> Callers {
        Callers {
            listener,
            link,
            post,
            messages,
            is_waiting: true,
            candidate: None,
            paused_until: None,
            last_refusal: Cell::new(None),
        }
    }

    fn is_paused(&self, now: Instant) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }

    /// The other end has gone: the next caller becomes it. Returns that caller if it is there already.
    pub(super) fn await_next(&mut self) -> Option<Stream> {
        self.is_waiting = true;
        self.candidate.take()
    }
}

impl Driver {
    /// Makes the link, which must have been set, wait for callers. It has no stream yet.
    pub fn set_callers(&mut self, callers: Callers) {
        if let Some(link) = &mut self.link {
            link.link.stream_gone(&mut self.engine);
            link.callers = Some(callers);
        }
    }

    fn callers(&self) -> Option<&Callers> {
        self.link.as_ref()?.callers.as_ref()
    }

    pub(super) fn has_callers(&self) -> bool {
        self.callers().is_some()
    }

    /// Returns true if there is no other end, and the next caller becomes it.
    pub(super) fn is_waiting(&self) -> bool {
        self.callers().is_some_and(|callers| callers.is_waiting)
    }

    /// Returns true if this listener is the one for callers.
    pub(super) fn is_for_callers(&self, listener: usize) -> bool {
        self.callers().is_some_and(|callers| callers.listener == listener)
    }

    /// Returns true if connections to this listener are accepted now.
    pub(super) fn accepts(&self, listener: usize) -> bool {
        match self.callers() {
            None => true,
            Some(callers) if callers.is_waiting && !self.stream_comes_back() => {
                callers.listener == listener
            }
            Some(callers) if callers.listener == listener && !callers.is_waiting => {
                callers.candidate.is_none() && !callers.is_paused(self.now) && !self.is_ending()
            }
            Some(_) => !self.is_ending(),
        }
    }

    /// Returns the time at which a caller that waits can be accepted, if it waits for the end of a pause.
    pub(super) fn callers_deadline(&self) -> Option<Instant> {
        let callers = self.callers().filter(|callers| callers.is_paused(self.now))?;
        let listener = self.listeners.get(callers.listener)?;
        callers.paused_until.filter(|_| listener.ready && !callers.is_waiting)
    }

    /// Handles a caller: there may be another end already.
    pub(super) fn add_caller(&mut self, stream: Stream) {
        if self.is_waiting() {
            return self.connect_caller(stream);
        }
        let Some(link) = &mut self.link else {
            return;
        };
        if !link.link.ask(&mut self.engine, PATIENCE) {
            return self.refuse_caller(&stream);
        }
        if let Some(callers) = &mut link.callers {
            info!("another caller waits: {}: asking the other end", stream.describe_peer());
            callers.candidate = Some(stream);
        }
    }

    /// Refuses the candidate if the other end has sent something meanwhile.
    pub(super) fn judge_candidate(&mut self) {
        let Some(link) = self.link.as_mut().filter(|link| link.link.end_reason().is_none()) else {
            return;
        };
        if link.link.is_asked() {
            return;
        }
        let Some(callers) = &mut link.callers else {
            return;
        };
        if let Some(stream) = callers.candidate.take() {
            callers.paused_until = Some(self.now + PAUSE);
            self.refuse_caller(&stream);
        }
    }

    /// Logs that a caller is refused, which is then disconnected.
    fn refuse_caller(&self, stream: &Stream) {
        let Some(callers) = self.callers() else {
            return;
        };
        self.warn_after_interval(
            &callers.last_refusal,
            format_args!(
                "caller refused: {}: another end is connected already",
                stream.describe_peer()
            ),
        );
    }

    /// Makes a caller the other end.
    pub(super) fn connect_caller(&mut self, stream: Stream) {
        let caller = stream.describe_peer();
        if let Err(error) = self.watch.add(Source::Server, stream.input()) {
            return self.warn_rate_limited(format_args!(
                "cannot watch a caller, disconnecting it: {}",
                error_text(&error)
            ));
        }
        info!("the other end has connected: {caller}");
        let now = self.engine_time();
        let Some(link) = &mut self.link else {
            return;
        };
        let Some(callers) = &mut link.callers else {
            return;
        };
        callers.is_waiting = false;
        if link.comes_back.is_some() {
            return self.begin_stream(stream);
        }
        let seed = random_number();
        let post = Engine::new_at(Config { seed, ..callers.post.clone() }, now);
        let earlier = std::mem::replace(&mut self.engine, post);
        self.engine.inherit_counters(earlier);
        record_connection(&mut self.control.server);
        if let Some(limit) = &self.line_limit {
            self.engine.set_tracer(Some(trace::tracer(
                Names::Post,
                callers.messages,
                limit.clone(),
            )));
        }
        link.link.restart(&callers.link, now);
        link.has_warned = false;
        self.server_error = None;
        stream.limit_silence(self.max_silence);
        stream.limit_unsent();
        self.server = Some(Peer::new(stream, Origin::Unknown));
    }

    /// Waits for the next caller, after the link has ended. It may be there already.
    pub(super) fn await_caller(&mut self) {
        let mut candidate = None;
        if let Some(link) = &mut self.link {
            let why = match (self.server_error.take(), link.link.end_reason()) {
                (Some(error), _) => {
                    format!("the connection is broken: {}", error_text(&error.into()))
                }
                (None, Some(end)) => end.to_string(),
                (None, None) => String::new(),
            };
            warn!("{}: {why}: waiting for the next caller", self.server_address);
            link.link.stream_gone(&mut self.engine);
            candidate = link.callers.as_mut().and_then(Callers::await_next);
        }
        if let Some(stream) = self.server.take() {
            self.watch.remove(&stream.stream, stream.write_interest);
        }
        for id in self.peers.ids() {
            self.disconnect_client(id, &CloseReason::ByUs);
        }
        self.end_by = None;
        if let Some(stream) = candidate {
            self.connect_caller(stream);
        }
    }
}
