//! Tversion: ours to the server, once, and the clients' to us, each for itself.

use super::clients::ClientState;
use super::inbox::Progress;
use super::refusal::Refusal;
use super::upstream::Agreed;
use super::{End, Engine};
use crate::wire::{
    self, Dialect, HEADER, NOTAG, Offer, UNKNOWN, check_reply, kind, put_u32, tag, types,
};

/// With less, no message of ours is sure to fit.
const LEAST_MSIZE: u32 = 256;

impl Engine {
    /// Asks the server for a version, the only time that it agrees to one.
    pub(super) fn ask_version(&mut self, offer: Dialect) {
        let deadline = self.now.saturating_add(self.config.version_timeout);
        self.upstream.agreed = Agreed::Asked { offer, deadline };
        self.upstream.dialect = offer;
        self.upstream.msize = self.config.msize.max(LEAST_MSIZE);
        let mut message = version_message(self.upstream.msize, offer.name());
        self.send_ours(types::TVERSION, NOTAG, &mut message);
    }

    /// The server has answered that.
    pub(super) fn version_answered(&mut self, message: &[u8]) -> Result<(), End> {
        let Agreed::Asked { offer, .. } = self.upstream.agreed else {
            return Ok(());
        };
        if [types::RERROR, types::RLERROR].contains(&kind(message)) {
            // Not what the manual has for it, but some servers have nothing else to say of what they do
            // not know.
            if self.config.dialect.is_none() {
                self.version_unknown(offer);
                return Ok(());
            }
            return Err(End::NoVersion(format!("{}", wire::show(offer, message))));
        }
        if kind(message) != types::RVERSION || check_reply(offer, message).is_err() {
            return Err(End::garbled("no Rversion in answer to Tversion"));
        }
        let Ok((msize, name)) = wire::version(message) else {
            return Err(End::garbled("an Rversion that does not fit its size"));
        };
        let agreed = Dialect::from_name(name).filter(|d| Offer::Dialect(offer).allows(*d));
        // Who chose the dialect wants that one, and no less.
        let agreed = agreed.filter(|d| self.config.dialect.is_none_or(|chosen| chosen == *d));
        match agreed {
            Some(dialect) if msize < LEAST_MSIZE || msize > self.upstream.msize => {
                Err(End::NoVersion(format!(
                    "{} with an msize of {msize}, {} was offered",
                    dialect.name(),
                    self.upstream.msize
                )))
            }
            Some(dialect) => {
                self.upstream.agreed = Agreed::Settled;
                self.upstream.dialect = dialect;
                self.upstream.msize = msize;
                self.greet_all(None);
                Ok(())
            }
            None if name == UNKNOWN.as_bytes() && self.config.dialect.is_none() => {
                self.version_unknown(offer);
                Ok(())
            }
            None => Err(End::NoVersion(format!(
                "version '{}', {} was offered",
                name.escape_ascii(),
                offer.name()
            ))),
        }
    }

    /// The server does not know what one client has asked for, and may be asked for what another does.
    fn version_unknown(&mut self, offer: Dialect) {
        self.upstream.agreed = Agreed::Nothing;
        self.upstream.dialect = Dialect::Plain;
        self.greet_all(Some(offer));
    }

    /// Goes on with those who have waited for the server's version. Without one, those who asked for
    /// `refused` are told so.
    fn greet_all(&mut self, refused: Option<Dialect>) {
        for id in std::mem::take(&mut self.version_waiters) {
            let Some(c) = self.clients.index_of(id) else {
                continue;
            };
            if let ClientState::AwaitingVersion { offer, .. } = self.clients.get(c).state {
                if refused.is_some_and(|dialect| offer == Offer::Dialect(dialect)) {
                    self.answer_version(c, None);
                } else {
                    self.greet(c);
                }
            }
        }
    }

    /// The server has had its time.
    pub(super) fn late_version(&mut self) {
        if self.upstream.deadline().is_some_and(|deadline| deadline <= self.now) {
            self.end(End::NoAnswer);
        }
    }

    /// A client's Tversion: what it had before is flushed and clunked first.
    pub(super) fn begin_session(&mut self, c: u32, message: &[u8]) -> Progress {
        let its_tag = tag(message);
        let (msize, offer) = match asked_version(message) {
            Ok(asked) => asked,
            Err(why) => return self.reject_message(c, message, why),
        };
        let consumed = self.consume_message(c, message);
        let left = self.clean_up(c);
        let id = self.clients.id(c);
        self.clients.get(c).state = ClientState::AwaitingVersion { tag: its_tag, msize, offer };
        match left {
            Some(g) => {
                let late = self.now.saturating_add(self.config.cleanup_timeout);
                self.cleanups.tell(g, id, late);
            }
            None => self.greet(c),
        }
        consumed
    }

    /// Answers a client's Tversion, if the server's version is known or does not matter.
    pub(super) fn greet(&mut self, c: u32) {
        let ClientState::AwaitingVersion { offer, .. } = self.clients.get(c).state else {
            return;
        };
        match (&self.upstream.agreed, offer) {
            (Agreed::Ended(_), _) => {}
            (Agreed::Settled, _) => {
                let dialect = Some(self.upstream.dialect).filter(|d| offer.allows(*d));
                self.answer_version(c, dialect);
            }
            (_, Offer::Unknown) => self.answer_version(c, None),
            (agreed, Offer::Dialect(dialect)) => {
                if matches!(agreed, Agreed::Nothing) {
                    self.ask_version(dialect);
                }
                self.clients.enqueue(&mut self.version_waiters, c);
            }
        }
    }

    fn answer_version(&mut self, c: u32, dialect: Option<Dialect>) {
        let most = match self.upstream.agreed {
            Agreed::Settled => self.upstream.msize,
            _ => self.config.msize,
        };
        let client = self.clients.get(c);
        let ClientState::AwaitingVersion { tag, msize, .. } = client.state else {
            return;
        };
        client.msize = msize.min(most);
        client.state = if dialect.is_some() { ClientState::Session } else { ClientState::New };
        let mut message = version_message(client.msize, dialect.map_or(UNKNOWN, Dialect::name));
        self.answer(c, types::RVERSION, tag, &mut message);
        self.go_on(c);
    }
}

/// What a client's Tversion asks for, if it may begin a session.
pub(super) fn asked_version(message: &[u8]) -> Result<(u32, Offer), Refusal> {
    match wire::version(message) {
        Ok((msize, _)) if msize < LEAST_MSIZE => Err(Refusal::SmallMsize),
        Ok((msize, version)) => Ok((msize, Offer::parse(version))),
        Err(_) => Err(Refusal::Malformed),
    }
}

fn version_message(msize: u32, version: &str) -> Vec<u8> {
    let mut message = vec![0; HEADER + 4];
    put_u32(&mut message, HEADER, msize);
    message.extend_from_slice(&(version.len() as u16).to_le_bytes());
    message.extend_from_slice(version.as_bytes());
    message
}
