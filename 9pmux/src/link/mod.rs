//! A link: 9P in both directions over one stream.
//!
//! An end of a link has two engines. The *export* serves the other end's clients from the local server, and the
//! *post* serves local clients from the other end's server. The stream is a client of the export and the server
//! of the post, so every rule of the engine holds in both directions:
//!
//! ```text
//! stream --> splitter --T--> export   (a client of it is the other end)  <--> local server
//!                     --R--> post     (its server is the other end)      <--> local clients
//! stream <-- whole messages in turns: the export's output to that client, the post's output to its server
//! ```
//!
//! # Ownership
//!
//! | thing | owned by |
//! |---|---|
//! | the export, and its client, which is the other end | [`Link`] |
//! | the post | the driver, for which it is the engine of its clients; it is passed to each method |
//! | the splitter, the turns, the keepalives | [`Link`] |
//! | a message between the two engines | there is none: they share no tag, fid or client |
//!
//! # Flow control
//!
//! The replies to an end's own requests stand behind the requests of the other end. If an end stopped reading
//! because of a request, it would wait for its replies for ever. So:
//!
//! | rule | place |
//! |---|---|
//! | F1: the post sends no more than the window allows | `engine/window.rs` |
//! | F2: the export accepts twice the window, in requests and in bytes, and refuses requests beyond | [`Link::stream_bytes`], `splitter.rs` |
//! | F3: an end stops reading only while its post has nothing outstanding, and awaits no reply to a keepalive | [`Link::wants_read`] |
//! | F4: whole messages, in turns | `turns.rs` |
//! | F5: a reply that was read is always accepted | the engine |
//!
//! # Ends
//!
//! | event | effect on the export | effect on the post | the link |
//! |---|---|---|---|
//! | the local server goes | its clients get errors (`engine/away.rs`) | none | goes on |
//! | a local client goes | none | its fids are clunked over the stream | goes on |
//! | the stream ends, [`Link::stream_gone`] | the other end's requests are flushed, its fids clunked | its clients get errors, and are closed | ends |
//! | the stream is silent, or its bytes are no 9P | the same | the same | ends |
//! | the local server comes back without the version of its sessions | the same as for `Link::hang_up` | the same | ends |
//! | [`Link::hang_up`] | the other end gets errors | its clients get errors, and are closed | ends when its output is written |
//!
//! A message that is partly written when its engine ends is completed, so that the rest can be read.
#![forbid(unsafe_code)]

mod config;
mod end;
mod keepalive;
mod splitter;
mod turns;

#[cfg(test)]
mod tests;

pub use config::LinkConfig;
pub use end::LinkEnd;
#[cfg(feature = "program")]
pub(crate) use keepalive::INTERVALS;
pub(crate) use keepalive::{Action, Keepalive, Situation};
pub use splitter::{Rules, Sink, Splitter, TooSmall};

use std::collections::VecDeque;
use std::time::Duration;

use crate::engine::{ClientId, ClientOrigin, CloseCause, EndReason, Engine, LinkCounters};
use turns::{Kind, Side, Turns};

/// The maximum number of requests that a post has at the other end. A user of this machine alone may have half of
/// them (`engine/shares.rs`), and they should suffice for 1024 requests of Tstat, which cost little of the window.
pub const MAX_REQUESTS: usize = 4096;

/// The maximum bytes of refusals and of replies to keepalives that wait to be written.
const MAX_REFUSALS: usize = 64 * 1024;

/// The time for which large replies and requests for metadata count as simultaneous.
const SIMULTANEOUS: Duration = Duration::from_millis(100);

/// One end of a link. A driver reports events by these methods, with the post, and obtains actions:
///
/// | method | event or action |
/// |---|---|
/// | [`stream_bytes`](Link::stream_bytes), [`stream_wrote`](Link::stream_wrote), [`stream_gone`](Link::stream_gone) | an event of the stream |
/// | [`stream_readable`](Link::stream_readable) | the stream has an event, before `tick` |
/// | [`tick`](Link::tick) | time has passed |
/// | [`check_export`](Link::check_export) | the export has an event of its server |
/// | [`ask`](Link::ask) | another caller wants the place of the other end |
/// | [`output`](Link::output) | the bytes to be written to the stream |
/// | [`wants_read`](Link::wants_read) | whether to read from the stream |
/// | [`is_mixed`](Link::is_mixed) | whether the system should hold few bytes of the output |
/// | [`next_deadline`](Link::next_deadline) | the latest time of the next `tick` |
/// | [`end_reason`](Link::end_reason) | whether to stop, when the last output is written |
///
/// The driver connects the export's server and the post's clients as it does for an [`Engine`], but must not use
/// the server's side of the post, nor the client's side of the export. The time of the link is the time of
/// the two engines.
pub struct Link {
    export: Engine,
    far: ClientId,
    /// The origin of the other end, for the control tree of the export.
    far_caller: ClientOrigin,
    splitter: Splitter,
    turns: Turns,
    keepalive: Keepalive,
    now: Duration,
    window: usize,
    /// The bytes of the export's output that were written to the stream.
    written: u64,
    /// The positions behind refusals in the export's output, and their lengths.
    refusals: VecDeque<(u64, usize)>,
    /// The sum of these lengths.
    refused_bytes: usize,
    /// The least number of bytes that the export has held for the other end since reading could last be held back.
    held_before: usize,
    /// The times of the last turn of each kind.
    bulk_at: Option<Duration>,
    metadata_at: Option<Duration>,
    /// True if there is no stream, and another one should come.
    awaits_stream: bool,
    end: Option<LinkEnd>,
}

impl Link {
    /// Returns an end of a link. `export` is the engine of the export, which has no client yet; its time is
    /// `now`.
    #[must_use]
    pub fn new(mut export: Engine, config: &LinkConfig, now: Duration) -> Link {
        let far = export.client_connected();
        Link {
            export,
            far,
            far_caller: ClientOrigin::default(),
            splitter: Splitter::new(),
            turns: Turns::new(),
            keepalive: Keepalive::new(config.keepalive, now),
            now,
            window: config.window,
            written: 0,
            refusals: VecDeque::new(),
            refused_bytes: 0,
            held_before: 0,
            bulk_at: None,
            metadata_at: None,
            awaits_stream: false,
            end: None,
        }
    }

    /// Returns the engine of the export, for its server's side.
    pub fn export(&mut self) -> &mut Engine {
        &mut self.export
    }

    /// Permits the other end to attach to the control tree of the export.
    pub fn allow_control(&mut self) {
        self.far_caller.may_control = true;
        self.export.describe_client(self.far, self.far_caller);
    }

    /// Returns the counters of the link. `post` is its post.
    #[must_use]
    pub fn counters(&self, post: &Engine) -> LinkCounters {
        let stats = post.stats();
        LinkCounters {
            peer_requests: self.export.stats().received,
            keepalives: stats.keepalives,
            window_waits: stats.window_waits,
        }
    }

    /// Returns true if the other end asks for the export's server, and it is not connected.
    #[must_use]
    pub fn wants_server(&self) -> bool {
        self.end.is_none() && self.export.wants_redial()
    }

    /// Reports bytes that were read from the stream, cut anywhere.
    pub fn stream_bytes(&mut self, post: &mut Engine, bytes: &[u8]) {
        if self.end.is_some() {
            return;
        }
        self.keepalive.heard(self.now);
        let mut splitter = std::mem::take(&mut self.splitter);
        let split = splitter.feed(bytes, &mut Sides { link: self, post });
        self.splitter = splitter;
        if split.is_err() {
            let what = "a message shorter than its header".to_owned();
            self.end(post, LinkEnd::Garbled(what));
        }
        self.check(post);
        self.act(post);
    }

    /// Reports that the first `n` bytes of the output were written.
    pub fn stream_wrote(&mut self, post: &mut Engine, n: usize) {
        match self.turns.take_kind() {
            Some(Kind::Bulk) => self.bulk_at = Some(self.now),
            Some(Kind::Metadata) => self.metadata_at = Some(self.now),
            None => {}
        }
        let side = self.turns.wrote(n, self.export.output(self.far), post.server_output());
        match side {
            Some(Side::Export) => {
                self.export.client_wrote(self.far, n);
                self.written += n as u64;
                while let Some((end, len)) = self.refusals.front().copied() {
                    if end > self.written {
                        break;
                    }
                    self.refusals.pop_front();
                    self.refused_bytes -= len;
                }
            }
            Some(Side::Post) => post.server_wrote(n),
            None => {}
        }
    }

    /// Returns the bytes to be written to the stream: whole messages, or the rest of one.
    pub fn output<'a>(&'a mut self, post: &'a Engine) -> &'a [u8] {
        self.turns.next(self.export.output(self.far), post.server_output())
    }

    /// Returns true while requests for metadata and large replies are written by turns. The system should then hold few
    /// bytes that the other end has not read, because each such request waits for all of them. Otherwise many bytes
    /// should be held, which needs fewer system calls.
    #[must_use]
    pub fn is_mixed(&self) -> bool {
        let is_recent = |at: Option<Duration>| at.is_some_and(|at| self.now - at < SIMULTANEOUS);
        is_recent(self.bulk_at) && is_recent(self.metadata_at)
    }

    /// Reports that the stream has ended or failed.
    pub fn stream_gone(&mut self, post: &mut Engine) {
        self.end.get_or_insert(LinkEnd::Closed);
        self.export.client_gone(self.far);
        post.server_gone();
    }

    /// Begins with a new stream, after the last one has ended. The post is new, or has lost its server. The export
    /// goes on: what the last other end has left at its server is cleaned up.
    pub fn restart(&mut self, config: &LinkConfig, now: Duration) {
        self.export.client_gone(self.far);
        self.far = self.export.client_connected();
        self.export.describe_client(self.far, self.far_caller);
        self.splitter = Splitter::new();
        self.turns = Turns::new();
        self.keepalive = Keepalive::new(config.keepalive, now);
        self.now = now;
        self.window = config.window;
        self.written = 0;
        self.refusals.clear();
        self.refused_bytes = 0;
        self.held_before = 0;
        (self.bulk_at, self.metadata_at) = (None, None);
        self.awaits_stream = false;
        self.end = None;
    }

    /// The stream has ended, or there was none, and [`restart`](Link::restart) will be called with another one. The
    /// post, which must have [`Config::reconnect`](crate::engine::Config::reconnect), goes on then.
    pub fn await_stream(&mut self) {
        self.export.client_gone(self.far);
        self.awaits_stream = true;
        self.end = None;
    }

    /// Returns true if there is no stream, and another one should come.
    #[must_use]
    pub fn awaits_stream(&self) -> bool {
        self.awaits_stream && self.end.is_none()
    }

    /// Ends the link on behalf of the program: what is outstanding in both directions gets an error.
    pub fn hang_up(&mut self, post: &mut Engine) {
        self.end(post, LinkEnd::HungUp);
        self.export.hang_up();
    }

    /// Returns true if the driver should read from the stream.
    #[must_use]
    pub fn wants_read(&self, post: &Engine) -> bool {
        self.end.is_none() && (self.must_read(post) || self.export.wants_read(self.far))
    }

    /// Returns true while replies are expected that stand behind whatever the other end has sent (F3).
    fn must_read(&self, post: &Engine) -> bool {
        self.keepalive.awaits_reply() || post.outstanding() > 0 || post.awaits_version()
    }

    /// Reports that there are bytes to be read. Without this, time in which the program itself was stopped would be
    /// the silence of the other end.
    pub fn stream_readable(&mut self, now: Duration) {
        self.keepalive.heard(now);
    }

    /// Asks the other end whether it is there, for another caller. The link ends if nothing arrives for `patience`.
    /// Returns false if the other end must not be asked.
    pub fn ask(&mut self, post: &mut Engine, patience: Duration) -> bool {
        let situation = self.situation(post);
        let is_asked = self.keepalive.ask(self.now, patience, situation);
        self.act(post);
        is_asked
    }

    /// Returns true from [`ask`](Link::ask) until the other end has sent something, or the link has ended.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.end.is_none() && self.keepalive.is_asked()
    }

    /// Reports the time, which must also have been reported to the post.
    pub fn tick(&mut self, post: &mut Engine, now: Duration) {
        self.now = self.now.max(now);
        self.export.tick(now);
        self.check(post);
        self.act(post);
    }

    /// Returns the time at which [`tick`](Link::tick) must be called at the latest, if any.
    #[must_use]
    pub fn next_deadline(&self, post: &Engine) -> Option<Duration> {
        let keepalive = match self.has_stream() {
            true => self.keepalive.deadline(self.now, self.situation(post)),
            false => None,
        };
        self.export.next_deadline().into_iter().chain(keepalive).min()
    }

    /// Returns the reason if the link has ended. The outputs may then contain last replies.
    #[must_use]
    pub fn end_reason(&self) -> Option<&LinkEnd> {
        self.end.as_ref()
    }

    fn situation(&self, post: &Engine) -> Situation {
        Situation {
            settled: post.dialect().is_some(),
            is_busy: post.outstanding() > 0,
            reads: self.wants_read(post),
        }
    }

    fn has_stream(&self) -> bool {
        self.end.is_none() && !self.awaits_stream
    }

    /// Sends a keepalive if one is due, or ends a link that is dead.
    fn act(&mut self, post: &mut Engine) {
        if !self.has_stream() {
            return;
        }
        let situation = self.situation(post);
        match self.keepalive.act(self.now, situation) {
            Action::Nothing => {}
            Action::Send => post.send_keepalive(),
            Action::Dead(silence) => self.end(post, LinkEnd::Silent(silence)),
        }
    }

    /// Ends the link if one of its engines has ended, or holds too much.
    fn check(&mut self, post: &mut Engine) {
        if !self.has_stream() {
            return;
        }
        if let Some(reason) = post.take_lost_server() {
            self.end(post, LinkEnd::of_post(reason));
        } else if let Some(EndReason::Garbled(what)) = post.end_reason() {
            let what = what.clone();
            self.end(post, LinkEnd::Garbled(what));
        } else if self.export.is_closing(self.far) {
            let end = match self.export.close_cause(self.far) {
                Some(CloseCause::NoMemory) => LinkEnd::NoMemory,
                Some(CloseCause::Garbled(what)) => LinkEnd::Garbled(what.clone()),
                // Only the other end itself can name it.
                Some(CloseCause::Dropped) => LinkEnd::Closed,
                None => LinkEnd::Garbled("bytes that are not 9P".to_owned()),
            };
            self.end(post, end);
        } else if self.refused_bytes > MAX_REFUSALS || self.holds_too_much(post) {
            self.end(post, LinkEnd::TooMuch);
        }
    }

    /// Ends the link if the export has ended by its server. Must be called after events of the export's server.
    pub fn check_export(&mut self, post: &mut Engine) {
        if let Some(EndReason::NoCommonVersion(what)) = self.export.end_reason() {
            let what = what.clone();
            self.end(post, LinkEnd::NoCommonVersion(what));
        }
    }

    /// Returns true if the export holds more for the other end than the messages that are always accepted explain.
    /// A plain client knows no window: the requests that it had before this end had to read are not counted.
    fn holds_too_much(&mut self, post: &Engine) -> bool {
        let held = self.export.held_bytes(self.far);
        if !self.must_read(post) {
            self.held_before = held;
            return false;
        }
        self.held_before = self.held_before.min(held);
        // A request and a reply of any length may come on top.
        let msize = self.export.session_msize(self.far) as usize;
        let limit = 2 * self.window + self.window.max(2 * msize);
        held > limit.max(self.held_before.saturating_add(msize)) + MAX_REFUSALS
    }

    /// Ends the link. The rest of a request that is partly written is kept, and nothing else of the post.
    fn end(&mut self, post: &mut Engine, why: LinkEnd) {
        if self.end.is_some() {
            return;
        }
        self.turns.end(Side::Post, post.server_output());
        match why.is_final() {
            true => post.hang_up(),
            false => post.server_gone(),
        }
        self.end = Some(why);
    }

    /// Counts bytes that the other end makes this end write for nothing.
    fn count_refusal(&mut self, len: usize) {
        let end = self.written + self.export.output(self.far).len() as u64;
        self.refusals.push_back((end, len));
        self.refused_bytes += len;
    }
}

/// The two engines, as the receivers of the splitter.
struct Sides<'a> {
    link: &'a mut Link,
    post: &'a mut Engine,
}

impl Sink for Sides<'_> {
    fn rules(&mut self) -> Rules {
        let awaits_reply = self.link.keepalive.awaits_reply();
        if !self.link.must_read(self.post) {
            // The driver stops reading in time.
            return Rules { awaits_reply, requests: usize::MAX, bytes: usize::MAX };
        }
        let load = self.link.export.load(self.link.far);
        let bytes = (2 * self.link.window).saturating_sub(load.bytes);
        let requests = (2 * MAX_REQUESTS).saturating_sub(load.requests);
        // The room for a reply is known when its request is handed on, so no more than surely fit are handed on
        // at once.
        let fitting = bytes / (self.link.export.session_msize(self.link.far) as usize).max(1);
        Rules { awaits_reply, requests: requests.min(fitting.max(1)), bytes }
    }

    fn to_export(&mut self, bytes: &[u8]) {
        self.link.export.client_bytes(self.link.far, bytes);
    }

    fn to_post(&mut self, bytes: &[u8]) {
        self.post.server_bytes(bytes);
    }

    fn keepalive(&mut self) {
        self.link.keepalive.asked();
        let len = self.link.export.push_keepalive_reply(self.link.far);
        self.link.count_refusal(len);
    }

    fn keepalive_reply(&mut self) {
        self.link.keepalive.replied();
    }

    fn refuse(&mut self, tag: u16, releases: Option<u32>) {
        let len = self.link.export.refuse(self.link.far, tag, releases);
        self.link.count_refusal(len);
    }
}
