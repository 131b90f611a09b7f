//! Tversion: 9pmux's own to the server, and each client's to 9pmux.
//!
//! The server agrees to a version, and each client negotiates its own version and msize within it. A
//! client's Tversion ends its session: the reply is sent when the cleanup of that session has completed
//! or has timed out, and the server's version is known.
//!
//! | a client offers | the reply |
//! |---|---|
//! | a dialect, while the server has agreed to none | waits for a Tversion of 9pmux with that offer |
//! | the server's dialect, or one that implies it, while another client has a session | at once |
//! | another dialect, while another client has a session | `unknown` |
//! | another dialect, while no client has a session | waits for a Tversion of 9pmux with that offer |
//! | a dialect, while no client has a session, after the server has refused a second shared attach | waits for a new connection |
//! | a dialect that the server refused, was silent to, or hung up at a short time ago | `unknown`, or the server's dialect if the offer implies it |
//! | the same, with `--reconnect`, if the server did not refuse it | waits: the offer is made again after those of the other version waiters |
//!
//! The clients that wait are the version waiters. Each change of the server's version is offered to all of
//! them, in their order, before any further Tversion of theirs has an effect. `upstream.rs` has the states,
//! and the rules for a change of the dialect.

use std::collections::VecDeque;

use super::clients::ClientState;
use super::config::ServerKind;
use super::inbox::Progress;
use super::local_error::LocalError;
use super::upstream::UpstreamState;
use super::waiting_reads::WaitingReads;
use super::{EndReason, Engine, VersionEvent};
use crate::wire::{
    self, Dialect, HEADER, NOTAG, Offer, UNKNOWN, check_reply, kind, put_u32, tag, types,
};

/// The smallest msize that is accepted: every message of 9pmux's own fits.
const MIN_MSIZE: u32 = 256;

impl Engine {
    /// Sends a Tversion that offers this dialect.
    pub(super) fn send_version(&mut self, offer: Dialect) {
        let deadline = self.now.saturating_add(self.config.version_timeout);
        let msize = self.config.msize.max(MIN_MSIZE);
        self.upstream.version_sent(offer, msize, deadline);
        let mut message = version_message(msize, offer.name());
        self.send_internal(types::TVERSION, NOTAG, &mut message);
    }

    /// The server has replied to the Tversion.
    pub(super) fn handle_rversion(&mut self, message: &[u8]) -> Result<(), EndReason> {
        let UpstreamState::AwaitingVersion { offer, .. } = *self.upstream.state() else {
            return Ok(());
        };
        if [types::RERROR, types::RLERROR].contains(&kind(message)) {
            if self.config.server == ServerKind::FarEnd && self.has_sessions_to_restore() {
                // Its server is away as well.
                self.offer_later();
                return Ok(());
            }
            // The manual requires an Rversion with `unknown`, but some servers reply with an error to a
            // dialect that they do not know, or to a second Tversion.
            let reply = wire::show(offer, message).to_string();
            return self.handle_version_error(offer, reply);
        }
        if kind(message) != types::RVERSION || check_reply(offer, message).is_err() {
            return Err(EndReason::garbled("no Rversion in reply to Tversion"));
        }
        let Ok((msize, name)) = wire::version(message) else {
            return Err(EndReason::garbled("an Rversion that does not fit its size"));
        };
        let agreed = Dialect::from_name(name).filter(|d| Offer::Dialect(offer).allows(*d));
        // A dialect that was chosen in advance must be agreed exactly.
        let agreed = agreed.filter(|d| self.config.dialect.is_none_or(|chosen| chosen == *d));
        let msize = match self.config.pserve {
            // Some servers that 9pserve accepts reply with an msize of their own.
            Some(_) => msize.min(self.upstream.msize),
            None => msize,
        };
        match agreed {
            Some(dialect) if msize < MIN_MSIZE || msize > self.upstream.msize => {
                let (name, ours) = (dialect.name(), self.upstream.msize);
                let reply = format!("{name} with an msize of {msize}, {ours} was offered");
                match self.config.server {
                    ServerKind::FarEnd => self.handle_version_refused(offer, reply),
                    _ => Err(EndReason::NoCommonVersion(reply)),
                }
            }
            Some(dialect)
                if self.config.server == ServerKind::FarEnd
                    && !self.keeps_promise(dialect, msize) =>
            {
                self.handle_version_refused(offer, format!("an msize of {msize}"))
            }
            Some(dialect) if !self.keeps_promise(dialect, msize) => {
                Err(EndReason::NoCommonVersion(format!(
                    "{} with an msize of {msize}, less than its clients have",
                    dialect.name()
                )))
            }
            Some(dialect) => {
                self.version_is_agreed(dialect, msize);
                Ok(())
            }
            None => {
                let name = name.escape_ascii();
                self.handle_version_refused(offer, format!("version '{name}'"))
            }
        }
    }

    /// The server has agreed to this version.
    fn version_is_agreed(&mut self, dialect: Dialect, msize: u32) {
        let promised = self.upstream.promised.filter(|_| self.clients.sessions() > 0);
        let granted = promised.filter(|_| self.restore.is_some()).map(|promised| promised.1);
        self.upstream.version_agreed(dialect, granted.unwrap_or(msize));
        self.version_events.push(VersionEvent::VersionAgreed { dialect, msize });
        if self.restore.is_some() {
            self.upstream.larger_msize = msize;
            match granted {
                Some(_) => self.begin_replay(),
                None => {
                    self.discard_shared_attach();
                    self.settle_outage();
                }
            }
        }
        self.complete_versions(None);
    }

    /// The server has replied to the Tversion with an error.
    fn handle_version_error(&mut self, offer: Dialect, reply: String) -> Result<(), EndReason> {
        if self.can_repeat_offer() {
            // It may know the version, and not like a second Tversion.
            return Err(EndReason::NoCommonVersion(reply));
        }
        self.handle_version_refused(offer, reply)
    }

    /// Returns true if an offer that has failed should be repeated on a new connection.
    fn can_repeat_offer(&self) -> bool {
        let is_clients = self.config.dialect.is_none() && self.upstream.is_awaiting_version();
        is_clients && self.config.can_redial && self.upstream.has_negotiated_before()
    }

    /// The bytes of the server end the connection.
    pub(super) fn handle_bad_bytes(&mut self, reason: EndReason) {
        match reason {
            EndReason::NoCommonVersion(_) if self.can_repeat_offer() => self.upstream.leave(reason),
            _ => self.handle_end(reason),
        }
    }

    /// The server does not agree to a dialect. If a client has chosen it, the clients that offered it get
    /// `unknown`, and another client may offer another dialect.
    fn handle_version_refused(&mut self, offer: Dialect, reply: String) -> Result<(), EndReason> {
        if self.config.server == ServerKind::FarEnd {
            self.close_sessions();
            self.be_quiet(offer, reply);
            return Ok(());
        }
        if self.config.dialect.is_some() || self.clients.sessions() > 0 {
            let offered = offer.name();
            return Err(EndReason::NoCommonVersion(format!("{reply}, {offered} was offered")));
        }
        self.version_events.push(VersionEvent::VersionRefused { offer, reply });
        self.upstream.refuse(offer, self.now);
        self.upstream.version_refused();
        self.settle_outage();
        self.complete_versions(Some(offer));
        Ok(())
    }

    /// The other end of a link has no server, or none for this offer. The next Tversion of a client asks again.
    fn be_quiet(&mut self, offer: Dialect, reply: String) {
        self.version_events.push(VersionEvent::VersionRefused { offer, reply });
        self.upstream.version_refused();
        for id in std::mem::take(&mut self.version_waiters) {
            if let Some(client_index) = self.clients.index_of(id) {
                self.push_unknown(client_index);
            }
        }
    }

    /// Returns true if this reply of the other end of a link is to a Tversion that it was late for.
    pub(super) fn take_late_version(&mut self, message: &[u8]) -> bool {
        let is_version = [types::RVERSION, types::RERROR, types::RLERROR].contains(&kind(message));
        let is_late = is_version && self.upstream.late_versions > 0;
        self.upstream.late_versions -= usize::from(is_late);
        is_late
    }

    /// Resumes the version waiters. If `refused` is a dialect, the clients that offered it get `unknown`.
    pub(super) fn complete_versions(&mut self, refused: Option<Dialect>) {
        let refused = refused.map(Offer::Dialect);
        self.resume_version_waiters(|engine, client_index| {
            match engine.clients.get(client_index).state {
                ClientState::AwaitingVersion { offer, .. } if Some(offer) == refused => {
                    engine.push_rversion(client_index, None);
                }
                _ => engine.complete_version(client_index),
            }
        });
    }

    /// Calls `resume` for each version waiter, in their order. A client that has sent a further Tversion behind
    /// the first one must not change the dialect before the others have their replies.
    fn resume_version_waiters(&mut self, resume: impl Fn(&mut Engine, u32)) {
        let waiters = std::mem::take(&mut self.version_waiters);
        self.further_versions = Some(VecDeque::new());
        for id in waiters {
            if let Some(client_index) = self.clients.index_of(id) {
                resume(self, client_index);
            }
        }
        while let Some(client_index) = self.further_versions.as_mut().and_then(VecDeque::pop_front)
        {
            self.complete_version(client_index);
        }
        self.further_versions = None;
    }

    /// The server has not replied to the Tversion in time, or departed clients still have requests or fids.
    pub(super) fn expire_version(&mut self) {
        if self.upstream.deadline().is_none_or(|deadline| deadline > self.now) {
            return;
        }
        if self.is_asked_for() {
            self.refuse_askers();
        } else if self.has_sessions_to_restore() {
            self.handle_server_gone(EndReason::VersionTimeout);
        } else if let (ServerKind::FarEnd, &UpstreamState::AwaitingVersion { offer, .. }) =
            (self.config.server, self.upstream.state())
        {
            self.upstream.late_versions += 1;
            self.be_quiet(offer, "it does not reply".to_owned());
        } else if !self.upstream.is_settling() {
            self.handle_server_gone(EndReason::VersionTimeout);
        } else if self.config.can_redial {
            self.upstream.leave(EndReason::ServerClosed);
        } else {
            // The dialect cannot be changed: the waiters get what it allows.
            self.upstream.settled();
            self.resume_version_waiters(Engine::accept_version);
        }
    }

    /// The server has ended the connection, or is silent. If it is because of an offer that a client chose,
    /// the connection is made again, and only that offer is refused.
    pub(super) fn handle_server_gone(&mut self, reason: EndReason) {
        let reason = self.explain_end(reason);
        let offer = match *self.upstream.state() {
            UpstreamState::Lost(_) | UpstreamState::Away | UpstreamState::Absent => return,
            _ if self.config.server == ServerKind::OnDemand || self.restore.is_some() => None,
            UpstreamState::AwaitingVersion { offer, .. } => Some(offer),
            _ => None,
        };
        let is_dislike = matches!(reason, EndReason::ServerClosed | EndReason::VersionTimeout);
        let chosen = self.config.dialect.is_some() || !self.config.can_redial;
        match offer.filter(|_| is_dislike && !chosen) {
            Some(offer) if !self.upstream.has_negotiated_before() => {
                self.version_events
                    .push(VersionEvent::VersionRefused { offer, reply: reason.to_string() });
                self.upstream.refuse(offer, self.now);
                self.upstream.leave(reason);
                self.complete_versions(Some(offer));
            }
            Some(_) => self.upstream.leave(reason),
            None => self.handle_end(reason),
        }
    }

    /// Returns true if a client may have another dialect agreed: the connection is not in use, and none was chosen in
    /// advance.
    fn is_dialect_free(&self) -> bool {
        self.config.dialect.is_none() && self.is_unused()
    }

    /// Returns true if no client has a session, and no descriptor has a fid.
    fn is_unused(&self) -> bool {
        self.clients.sessions() == 0 && !self.descriptors.has_fids()
    }

    /// Returns true if the connection is not in use, and the server may permit a shared attach on another one only.
    fn is_spent(&self) -> bool {
        self.upstream.has_refused_attach && self.config.can_redial && self.is_unused()
    }

    /// Makes the next dialect known to the server, if nothing of the last one is upstream. Must be called
    /// after each event while the upstream is settling.
    pub(super) fn settle(&mut self) {
        if self.requests.len() == 0 && self.fids.len() == 0 {
            self.upstream.settled();
            self.complete_versions(None);
        }
    }

    /// Handles a client's Tversion: its session ends, and a new one begins after the cleanup.
    pub(super) fn handle_tversion(&mut self, client_index: u32, message: &[u8]) -> Progress {
        let client_tag = tag(message);
        let (msize, offer) = match parse_tversion(message) {
            Ok(asked) => asked,
            Err(why) => return self.reject_message(client_index, message, why),
        };
        let consumed = self.consume_message(client_index, message);
        self.clients.get(client_index).waiting_reads = WaitingReads::default();
        let left = self.begin_cleanup(client_index);
        if self.accept_control(client_index, message) {
            return consumed;
        }
        let id = self.clients.id(client_index);
        let state = ClientState::AwaitingVersion { tag: client_tag, msize, offer };
        self.clients.set_state(client_index, state);
        match left {
            Some(cleanup_index) => {
                let late = self.now.saturating_add(self.config.cleanup_timeout);
                self.cleanups.set_waiter(cleanup_index, id, late);
            }
            None => self.request_version(client_index),
        }
        consumed
    }

    /// A client's Tversion has an effect: at once, or when all version waiters have been resumed.
    fn request_version(&mut self, client_index: u32) {
        match &mut self.further_versions {
            Some(further) => further.push_back(client_index),
            None => self.complete_version(client_index),
        }
    }

    /// Replies to a client's Tversion if the server's version is known or does not matter. Otherwise the
    /// client becomes a version waiter.
    pub(super) fn complete_version(&mut self, client_index: u32) {
        let ClientState::AwaitingVersion { offer, .. } = self.clients.get(client_index).state
        else {
            return;
        };
        let Offer::Dialect(dialect) = offer else {
            if self.end_reason().is_none() {
                self.push_rversion(client_index, None);
            }
            return;
        };
        if self.restore.is_some() && self.complete_version_meanwhile(client_index, dialect) {
            return;
        }
        let refused = self.upstream.is_refused(dialect, self.now);
        match self.upstream.state() {
            UpstreamState::Ended(_) => return,
            UpstreamState::Absent => return self.agree_without_server(client_index, dialect),
            UpstreamState::Away if self.upstream.refuses_askers => {
                return self.push_unknown(client_index);
            }
            UpstreamState::Away if self.restore.is_some() => {}
            UpstreamState::Away => self.ask_for_server(),
            UpstreamState::Ready if self.is_spent() => {
                self.upstream.leave(EndReason::ServerClosed);
            }
            UpstreamState::Replaying => return self.accept_version(client_index),
            UpstreamState::Ready => {
                let is_other = ![self.upstream.dialect, self.upstream.offered].contains(&dialect);
                if !is_other || refused || !self.is_dialect_free() {
                    return self.accept_version(client_index);
                }
                if self.has_shared_attach() {
                    // The server may refuse a second Tattach on this connection.
                    if !self.config.can_redial {
                        return self.accept_version(client_index);
                    }
                    self.upstream.leave(EndReason::ServerClosed);
                } else if self.requests.len() == 0 && self.fids.len() == 0 {
                    self.send_version(dialect);
                } else {
                    let deadline = self.now.saturating_add(self.config.cleanup_timeout);
                    self.upstream.begin_settling(deadline);
                }
            }
            UpstreamState::NoVersion if refused => return self.push_rversion(client_index, None),
            UpstreamState::NoVersion => {
                self.send_version(self.config.dialect.unwrap_or(dialect));
            }
            UpstreamState::AwaitingVersion { .. }
            | UpstreamState::Settling { .. }
            | UpstreamState::Leaving(_)
            | UpstreamState::Lost(_) => {}
        }
        self.clients.enqueue(&mut self.version_waiters, client_index);
    }

    /// Replies to a client's Tversion with `unknown`.
    pub(super) fn push_unknown(&mut self, client_index: u32) {
        self.push_rversion(client_index, None);
    }

    /// Replies to a client's Tversion with what the server's version allows.
    pub(super) fn accept_version(&mut self, client_index: u32) {
        if let ClientState::AwaitingVersion { offer, .. } = self.clients.get(client_index).state {
            let dialect = Some(self.upstream.dialect).filter(|d| offer.allows(*d));
            self.push_rversion(client_index, dialect);
        }
    }

    fn push_rversion(&mut self, client_index: u32, dialect: Option<Dialect>) {
        let max = match self.upstream.state() {
            UpstreamState::Ready | UpstreamState::Replaying => self.upstream.msize,
            _ => self.upstream.promised.map_or(self.config.msize, |promised| promised.1),
        };
        let client = self.clients.get(client_index);
        let ClientState::AwaitingVersion { tag, msize, offer } = client.state else {
            return;
        };
        client.session.msize = msize.min(max);
        client.session.dialect = dialect.unwrap_or(Dialect::Plain);
        let msize = client.session.msize;
        let state = if dialect.is_some() { ClientState::Session } else { ClientState::New };
        self.clients.set_state(client_index, state);
        let mut message = version_message(msize, dialect.map_or(UNKNOWN, Dialect::name));
        self.push_reply(client_index, types::RVERSION, tag, &mut message);
        if dialect.is_none() {
            let why = match offer {
                Offer::Dialect(_) => "the server does not speak its dialect",
                Offer::Unknown => "9pmux does not know its version",
            };
            self.trace_refused(client_index, &message, why);
        }
        self.unblock(client_index);
    }
}

/// Returns the msize and the offer of a client's Tversion.
///
/// # Errors
/// The Tversion is malformed, or its msize is too small.
pub(super) fn parse_tversion(message: &[u8]) -> Result<(u32, Offer), LocalError> {
    match wire::version(message) {
        Ok((msize, _)) if msize < MIN_MSIZE => Err(LocalError::SmallMsize),
        Ok((msize, version)) => Ok((msize, Offer::parse(version))),
        Err(_) => Err(LocalError::Malformed),
    }
}

pub(super) fn version_message(msize: u32, version: &str) -> Vec<u8> {
    let mut message = vec![0; HEADER + 4];
    put_u32(&mut message, HEADER, msize);
    message.extend_from_slice(&(version.len() as u16).to_le_bytes());
    message.extend_from_slice(version.as_bytes());
    message
}
