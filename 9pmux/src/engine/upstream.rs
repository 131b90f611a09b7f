//! The server's side of the engine: the state of the connection, and what belongs to the server and to
//! no client.
//!
//! | state | event | next state |
//! |---|---|---|
//! | no version | a client's Tversion, or a dialect chosen in advance | awaiting version |
//! | awaiting version | an Rversion with a version that was offered | ready |
//! | awaiting version | `unknown`, an error or another version, for the dialect that a client chose | no version |
//! | awaiting version | no reply in time or the end of the connection, for the dialect that a client chose | leaving |
//! | awaiting version | an error in reply to a second Tversion, for the dialect that a client chose | leaving |
//! | awaiting version | any other reply; or the same for a dialect chosen in advance | ended |
//! | ready | a Tversion with another dialect, while no client has a session | settling; leaving after a shared attach |
//! | ready | a Tversion while no client has a session, after a second shared attach was refused | leaving |
//! | settling | all that departed clients have left at the server is gone | ready, and then awaiting version |
//! | settling | that takes too long | leaving |
//! | leaving | the event has been handled | lost |
//! | lost | the driver has connected again | no version |
//! | any | the connection ends, or sends bytes that are not 9P | ended; away if the clients outlive the server |
//! | away | the driver has connected | no version, or awaiting version if there are sessions |
//! | awaiting version | the version of sessions that are to be restored | replaying |
//! | replaying | their fids are restored (`restore/`) | ready |
//! | absent | | |
//!
//! # The dialect
//!
//! The connection has one dialect, and the clients in a session own it together: while there is one, a
//! client that offers another dialect gets what version(5) allows. When there is none, the dialect is free,
//! and the next client that offers another one makes 9pmux send a Tversion again (`version.rs`). That
//! Tversion would abort everything upstream, so it is sent when nothing is: no request, and no fid. Until
//! its reply arrives no client can have a session, so nothing else can be sent, and a reply with any tag but
//! NOTAG is a stray. Clients that ask for a version meanwhile wait. With a shared attach a new connection
//! is made instead, or the dialect stays, because the server may refuse a second Tattach.
//!
//! Some servers do not reply to a version that they do not know, or end the connection; some do so to a
//! second Tversion only. Nothing more can then be said on that connection, as a late Rversion could be taken
//! for that of the next offer. The connection is *lost*: the driver closes it and connects again. An offer
//! that was the first on its connection is refused, and remembered for [`REFUSAL_TIME`], so that a client
//! cannot make the others wait for a silent server again and again; an offer after others is repeated on the
//! new connection. An offer that the server refuses is remembered likewise. A driver that cannot connect
//! again says so (`Config::can_redial`), and then such a server ends the engine, but a settling that takes
//! too long leaves the dialect as it is.
//!
//! The wish for a new connection arises in the middle of an event: the reply that ends the last session, or a
//! Tversion behind a flush, is handled while the tables of requests and fids are in use. The state *leaving*
//! records the wish. From then on no further reply of the event is processed, no client gets a session, and
//! clients that ask for a version wait. When the event has been handled, [`Engine::run_ready`] alone drops
//! everything upstream, with the bytes that have arrived, and the state becomes lost. A driver never sees the
//! state leaving.
//!
//! Each transition is one method of [`Upstream`]; other modules read the state.
//!
//! [`Engine::run_ready`]: super::Engine::run_ready

use std::time::Duration;

use super::buffer::Buffer;
use super::end::EndReason;
use super::shared_attach::SharedAttach;
use super::user_queues::UserQueues;
use crate::wire::Dialect;

/// The state of the connection to the server.
pub enum UpstreamState {
    /// No version is agreed, and none has been requested.
    NoVersion,
    /// A Tversion has been sent.
    AwaitingVersion { offer: Dialect, deadline: Duration },
    /// A version is agreed; requests can be forwarded.
    Ready,
    /// A version is agreed; requests can be forwarded as far as their fids are restored (`restore/`).
    Replaying,
    /// A version is agreed, but no client has a session, and one waits for another dialect.
    Settling { deadline: Duration },
    /// The connection is given up at the end of this event, for this reason.
    Leaving(EndReason),
    /// The driver has to connect again. If it cannot, this is the reason for the end.
    Lost(EndReason),
    /// There is no connection. The driver connects when a client asks for the server (`away.rs`), or at once if
    /// sessions are restored (`restore/`).
    Away,
    /// There is no server.
    Absent,
    /// The connection has ended.
    Ended(EndReason),
}

/// The time for which an offer is refused after the server did not reply to it.
pub const REFUSAL_TIME: Duration = Duration::from_secs(60);

/// The server's side.
pub struct Upstream {
    state: UpstreamState,
    /// The number of Tversion that were sent on this connection.
    versions_sent: usize,
    /// The dialect that was offered last.
    pub offered: Dialect,
    /// The times until which dialects are refused, by dialect.
    refused_until: [Duration; Dialect::ALL.len()],
    /// The dialect of the connection; until a version is agreed, the dialect that was offered.
    pub dialect: Dialect,
    /// The maximum length of a message; until a version is agreed, the offered one.
    pub msize: u32,
    /// The msize that the server has agreed to, if clients must not use all of it.
    pub larger_msize: u32,
    /// The number of bytes that were written on this connection.
    pub written: u64,
    /// The beginning of an incomplete message.
    pub inbox: Buffer,
    /// The bytes to be written to the server.
    pub out: Buffer,
    /// Upstream requests with a Tflush that waits for a tag, by user.
    pub deferred_flushes: UserQueues<u16>,
    /// Upstream fids with a Tclunk that waits for a tag, by user.
    pub deferred_clunks: UserQueues<u32>,
    /// The number of 9pmux's own Tclunk in flight.
    pub internal_clunks: usize,
    /// The attach that clients share.
    pub shared_attach: SharedAttach,
    /// Whether the server has permitted a shared attach on this connection.
    pub has_permitted_attach: bool,
    /// Whether it has refused the next one: it may never permit another on this connection.
    pub has_refused_attach: bool,
    /// The time until which something waits for a server that is away.
    pub asked_until: Option<Duration>,
    /// Whether what asks for the server is being refused.
    pub refuses_askers: bool,
    /// The dialect and msize that sessions had when the server went.
    pub promised: Option<(Dialect, u32)>,
    /// The number of Tversion that the other end of a link has not replied to in time.
    pub late_versions: usize,
    /// Whether a keepalive has no reply yet.
    pub awaits_keepalive: bool,
}

impl Default for Upstream {
    fn default() -> Upstream {
        Upstream {
            state: UpstreamState::NoVersion,
            versions_sent: 0,
            offered: Dialect::Plain,
            refused_until: [Duration::ZERO; Dialect::ALL.len()],
            dialect: Dialect::Plain,
            msize: 0,
            larger_msize: 0,
            written: 0,
            inbox: Buffer::default(),
            out: Buffer::default(),
            deferred_flushes: UserQueues::default(),
            deferred_clunks: UserQueues::default(),
            internal_clunks: 0,
            shared_attach: SharedAttach::default(),
            has_permitted_attach: false,
            has_refused_attach: false,
            asked_until: None,
            refuses_askers: false,
            promised: None,
            late_versions: 0,
            awaits_keepalive: false,
        }
    }
}

impl Upstream {
    /// Returns the state.
    pub fn state(&self) -> &UpstreamState {
        &self.state
    }

    /// Returns true if requests can be forwarded.
    #[inline]
    pub fn is_ready(&self) -> bool {
        matches!(self.state, UpstreamState::Ready)
    }

    /// Returns true while fids are being restored.
    #[inline]
    pub fn is_replaying(&self) -> bool {
        matches!(self.state, UpstreamState::Replaying)
    }

    /// Returns true if there is a connection on which something can be sent for clients.
    #[inline]
    pub fn can_send(&self) -> bool {
        matches!(self.state, UpstreamState::Ready | UpstreamState::Replaying)
    }

    /// Returns true while the server has to reply to a Tversion.
    #[inline]
    pub fn is_awaiting_version(&self) -> bool {
        matches!(self.state, UpstreamState::AwaitingVersion { .. })
    }

    /// Returns true while the dialect is about to change, but not before all requests and fids are gone.
    #[inline]
    pub fn is_settling(&self) -> bool {
        matches!(self.state, UpstreamState::Settling { .. })
    }

    /// Returns true if the connection is given up at the end of this event: nothing more is read from it.
    #[inline]
    pub fn is_leaving(&self) -> bool {
        matches!(self.state, UpstreamState::Leaving(_))
    }

    /// Returns true if the driver must connect again.
    pub fn is_lost(&self) -> bool {
        matches!(self.state, UpstreamState::Lost(_))
    }

    /// Returns true if there is no connection: nothing can be read from it.
    pub fn is_disconnected(&self) -> bool {
        use UpstreamState::{Absent, Away, Lost};
        matches!(self.state, Lost(_) | Away | Absent)
    }

    /// Returns true if a Tversion was sent before the last one on this connection.
    pub fn has_negotiated_before(&self) -> bool {
        self.versions_sent > 1
    }

    /// Returns the time at which the state must have changed.
    pub fn deadline(&self) -> Option<Duration> {
        match self.state {
            UpstreamState::AwaitingVersion { deadline, .. } => {
                (deadline != Duration::MAX).then_some(deadline)
            }
            UpstreamState::Settling { deadline } => Some(deadline),
            UpstreamState::Away => self.asked_until,
            _ => None,
        }
    }

    /// Returns true if this dialect must not be offered at this time.
    pub fn is_refused(&self, dialect: Dialect, now: Duration) -> bool {
        now < self.refused_until[dialect as usize]
    }

    /// Refuses a dialect for some time.
    pub fn refuse(&mut self, dialect: Dialect, now: Duration) {
        self.refused_until[dialect as usize] = now.saturating_add(REFUSAL_TIME);
    }

    /// Returns the reason for the end of the connection, if it has ended.
    pub fn end_reason(&self) -> Option<&EndReason> {
        match &self.state {
            UpstreamState::Ended(reason) => Some(reason),
            _ => None,
        }
    }

    /// Returns the agreed dialect, if there is one.
    pub fn ready_dialect(&self) -> Option<Dialect> {
        self.has_agreed().then_some(self.dialect)
    }

    fn has_agreed(&self) -> bool {
        self.can_send() || self.is_settling()
    }

    /// A Tversion is sent.
    pub fn version_sent(&mut self, offer: Dialect, msize: u32, deadline: Duration) {
        self.state = UpstreamState::AwaitingVersion { offer, deadline };
        self.versions_sent += 1;
        self.offered = offer;
        self.dialect = offer;
        self.msize = msize;
    }

    /// The server has agreed to a version.
    pub fn version_agreed(&mut self, dialect: Dialect, msize: u32) {
        self.state = UpstreamState::Ready;
        self.asked_until = None;
        self.promised = None;
        self.dialect = dialect;
        self.msize = msize;
    }

    /// The server does not know the offered dialect; another one may be offered.
    pub fn version_refused(&mut self) {
        self.state = UpstreamState::NoVersion;
        self.dialect = Dialect::Plain;
    }

    /// The server cannot say now whether it knows the version of sessions, which is offered again.
    pub fn postpone_version(&mut self) {
        self.state = UpstreamState::NoVersion;
    }

    /// A client waits for another dialect, and departed clients have left requests or fids.
    pub fn begin_settling(&mut self, deadline: Duration) {
        self.state = UpstreamState::Settling { deadline };
    }

    /// Nothing is upstream any more, or the dialect is kept.
    pub fn settled(&mut self) {
        self.state = UpstreamState::Ready;
    }

    /// The connection is of no use any more. It is lost when the event has been handled.
    pub fn leave(&mut self, reason: EndReason) {
        self.state = UpstreamState::Leaving(reason);
    }

    /// The event has been handled, and the connection is lost. Nothing of the server's side is left.
    pub fn lose(&mut self, reason: EndReason) {
        *self = Upstream {
            state: UpstreamState::Lost(reason),
            refused_until: self.refused_until,
            ..Upstream::default()
        };
    }

    /// The driver has connected again. `msize` is what is offered to the server.
    pub fn connected(&mut self, msize: u32) {
        self.state = UpstreamState::NoVersion;
        self.msize = msize;
    }

    /// There is no connection at the start.
    pub fn begin_without_server(&mut self, state: UpstreamState) {
        self.state = state;
    }

    /// The server has gone, and clients are kept. If there are sessions, what they were promised is kept too.
    pub fn lose_server(&mut self, has_sessions: bool) {
        let agreed = self.has_agreed().then_some((self.dialect, self.msize));
        let promised = self.promised.or(agreed);
        let promised = promised.filter(|_| has_sessions);
        *self = Upstream {
            state: UpstreamState::Away,
            refused_until: self.refused_until,
            asked_until: self.asked_until,
            dialect: promised.map_or(Dialect::Plain, |promised| promised.0),
            msize: self.msize,
            promised,
            ..Upstream::default()
        };
    }

    /// The server has gone, and sessions are to be restored. The version that they have is kept, and the attach that
    /// they share.
    pub fn lose_for_now(&mut self) {
        let agreed = self.has_agreed().then_some((self.dialect, self.msize));
        let promised = self.promised.or(agreed);
        let shared_attach = match std::mem::take(&mut self.shared_attach) {
            live @ SharedAttach::Live { .. } => live,
            _ => SharedAttach::Unattached,
        };
        *self = Upstream {
            state: UpstreamState::Away,
            refused_until: self.refused_until,
            dialect: promised.map_or(Dialect::Plain, |promised| promised.0),
            msize: promised.map_or(self.msize, |promised| promised.1),
            promised,
            shared_attach,
            late_versions: 0,
            ..Upstream::default()
        };
    }

    /// The version of the sessions is agreed, and their fids are restored.
    pub fn begin_replay(&mut self) {
        self.state = UpstreamState::Replaying;
    }

    /// All fids are restored, or dead.
    pub fn end_replay(&mut self) {
        self.state = UpstreamState::Ready;
    }

    /// Something waits for the server, at most until `deadline`.
    pub fn ask(&mut self, deadline: Duration) {
        self.asked_until.get_or_insert(deadline);
    }

    /// Nothing waits for the server any more.
    pub fn end_asking(&mut self) {
        self.asked_until = None;
        self.refuses_askers = false;
    }

    /// The connection has ended. Nothing of the server's side is left.
    pub fn end(&mut self, reason: EndReason) {
        *self = Upstream { state: UpstreamState::Ended(reason), ..Upstream::default() };
    }
}
