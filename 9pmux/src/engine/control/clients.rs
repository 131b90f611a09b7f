//! The file `clients`: a line for each client.

use std::fmt::{self, Display, Formatter};

use super::text::{Lines, word};
use crate::engine::Engine;
use crate::engine::clients::{Blocked, Client, ClientState};

/// The time in milliseconds after which a client that does not take its output is slow.
const SLOW: u32 = 1000;

/// A number, or `-` if there is none.
struct OrNone(Option<u32>);

impl Display for OrNone {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(number) => number.fmt(f),
            None => f.write_str("-"),
        }
    }
}

/// Returns the state of a client, at a time in milliseconds.
fn state(client: &Client, now: u32) -> &'static str {
    match client.state {
        ClientState::New => return "new",
        ClientState::AwaitingVersion { .. } => return "version",
        ClientState::Closing => return "closing",
        ClientState::Session | ClientState::Control => {}
    }
    if is_slow(client, now) {
        return "slow";
    }
    match client.blocked {
        Blocked::OnSelf => "limited",
        Blocked::OnUpstream | Blocked::OnShare | Blocked::OnTurn => "queued",
        Blocked::No if !client.waiting_reads.is_empty() => "queued",
        Blocked::No if !client.session.tags.is_empty() => "active",
        Blocked::No => "idle",
    }
}

fn is_slow(client: &Client, now: u32) -> bool {
    !client.out.is_empty() && now.wrapping_sub(client.took_at) >= SLOW
}

impl Engine {
    /// Returns the number of clients that wait and that are slow, and of dead fids.
    pub(super) fn count_clients(&mut self) -> (u64, u64, u64) {
        let now = self.counters.milliseconds;
        let (mut waiting, mut slow, mut dead) = (0, 0, 0);
        for client_index in self.clients.connected() {
            let client = self.clients.get(client_index);
            waiting += u64::from(client.is_waiting());
            slow += u64::from(is_slow(client, now));
            dead += u64::from(client.session.dead_fids);
        }
        (waiting, slow, dead)
    }

    pub(super) fn write_clients(&mut self, lines: &mut Lines) {
        lines.push(format_args!(
            "id from uid pid user since idle msize fids flight held out in_msgs in_bytes out_bytes refused state"
        ));
        let (now, seconds) = (self.counters.milliseconds, self.counters.seconds);
        let listeners = &self.control.facts.listeners;
        let listeners: Vec<String> = listeners.iter().map(|from| word(from.as_bytes())).collect();
        for client_index in self.clients.connected() {
            let id = self.clients.id(client_index).number();
            let client = self.clients.get(client_index);
            let (user, caller) = (client.user, client.caller);
            let uid = OrNone(self.users.local(user));
            let client = self.clients.get(client_index);
            let from = listeners.get(usize::from(caller.listener));
            let uname = client.uname.as_ref().map(|uname| word(uname));
            let goes_on = lines.push(format_args!(
                "{id} {} {uid} {} {} {} {} {} {} {} {} {} {} {} {} {} {}",
                from.map_or("-", String::as_str),
                OrNone(Some(caller.pid).filter(|pid| *pid > 0)),
                uname.as_deref().unwrap_or("-"),
                seconds - client.connected_at,
                seconds - client.heard_at,
                OrNone(Some(client.session.msize).filter(|msize| *msize > 0)),
                client.session.fid_count(),
                client.session.tags.len(),
                client.inbox.len() + client.waiting_reads.bytes(),
                client.out.len(),
                client.messages,
                client.bytes_read,
                client.bytes_written,
                client.refused,
                state(client, now),
            ));
            if !goes_on {
                return;
            }
        }
    }
}
