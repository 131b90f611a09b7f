//! Tversion: 9pmux's own to the server, and each client's to 9pmux.
//!
//! The server agrees to a version once. Each client negotiates its own version and msize within it. A
//! client's Tversion ends its session: the reply is sent when the cleanup of that session has completed
//! or has timed out, and the server's version is known.

use super::clients::ClientState;
use super::inbox::Progress;
use super::local_error::LocalError;
use super::upstream::UpstreamState;
use super::waiting_reads::WaitingReads;
use super::{EndReason, Engine};
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
            // The manual requires an Rversion with `unknown`, but some servers reply with an error to a
            // dialect that they do not know.
            if self.config.dialect.is_none() {
                self.handle_version_unknown(offer);
                return Ok(());
            }
            return Err(EndReason::NoCommonVersion(format!("{}", wire::show(offer, message))));
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
        match agreed {
            Some(dialect) if msize < MIN_MSIZE || msize > self.upstream.msize => {
                Err(EndReason::NoCommonVersion(format!(
                    "{} with an msize of {msize}, {} was offered",
                    dialect.name(),
                    self.upstream.msize
                )))
            }
            Some(dialect) => {
                self.upstream.version_agreed(dialect, msize);
                self.complete_versions(None);
                Ok(())
            }
            None if name == UNKNOWN.as_bytes() && self.config.dialect.is_none() => {
                self.handle_version_unknown(offer);
                Ok(())
            }
            None => Err(EndReason::NoCommonVersion(format!(
                "version '{}', {} was offered",
                name.escape_ascii(),
                offer.name()
            ))),
        }
    }

    /// The server does not know the dialect that a client offered. Another client may offer another one.
    fn handle_version_unknown(&mut self, offer: Dialect) {
        self.upstream.version_refused();
        self.complete_versions(Some(offer));
    }

    /// Resumes the version waiters. If `refused` is a dialect, the clients that offered it get `unknown`.
    fn complete_versions(&mut self, refused: Option<Dialect>) {
        for id in std::mem::take(&mut self.version_waiters) {
            let Some(client_index) = self.clients.index_of(id) else {
                continue;
            };
            if let ClientState::AwaitingVersion { offer, .. } = self.clients.get(client_index).state
            {
                if refused.is_some_and(|dialect| offer == Offer::Dialect(dialect)) {
                    self.push_rversion(client_index, None);
                } else {
                    self.complete_version(client_index);
                }
            }
        }
    }

    /// Ends the connection if the server has not replied to the Tversion in time.
    pub(super) fn expire_version(&mut self) {
        if self.upstream.deadline().is_some_and(|deadline| deadline <= self.now) {
            self.handle_end(EndReason::VersionTimeout);
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
        let id = self.clients.id(client_index);
        self.clients.get(client_index).state =
            ClientState::AwaitingVersion { tag: client_tag, msize, offer };
        match left {
            Some(cleanup_index) => {
                let late = self.now.saturating_add(self.config.cleanup_timeout);
                self.cleanups.set_waiter(cleanup_index, id, late);
            }
            None => self.complete_version(client_index),
        }
        consumed
    }

    /// Replies to a client's Tversion if the server's version is known or does not matter. Otherwise the
    /// client becomes a version waiter.
    pub(super) fn complete_version(&mut self, client_index: u32) {
        let ClientState::AwaitingVersion { offer, .. } = self.clients.get(client_index).state
        else {
            return;
        };
        match (self.upstream.state(), offer) {
            (UpstreamState::Ended(_), _) => {}
            (UpstreamState::Ready, _) => {
                let dialect = Some(self.upstream.dialect).filter(|d| offer.allows(*d));
                self.push_rversion(client_index, dialect);
            }
            (_, Offer::Unknown) => self.push_rversion(client_index, None),
            (state, Offer::Dialect(dialect)) => {
                if matches!(state, UpstreamState::NoVersion) {
                    self.send_version(dialect);
                }
                self.clients.enqueue(&mut self.version_waiters, client_index);
            }
        }
    }

    fn push_rversion(&mut self, client_index: u32, dialect: Option<Dialect>) {
        let max = match self.upstream.state() {
            UpstreamState::Ready => self.upstream.msize,
            _ => self.config.msize,
        };
        let client = self.clients.get(client_index);
        let ClientState::AwaitingVersion { tag, msize, offer } = client.state else {
            return;
        };
        client.session.msize = msize.min(max);
        client.session.dialect = dialect.unwrap_or(Dialect::Plain);
        client.state = if dialect.is_some() { ClientState::Session } else { ClientState::New };
        let mut message =
            version_message(client.session.msize, dialect.map_or(UNKNOWN, Dialect::name));
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

fn version_message(msize: u32, version: &str) -> Vec<u8> {
    let mut message = vec![0; HEADER + 4];
    put_u32(&mut message, HEADER, msize);
    message.extend_from_slice(&(version.len() as u16).to_le_bytes());
    message.extend_from_slice(version.as_bytes());
    message
}
