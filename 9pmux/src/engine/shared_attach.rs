//! One attach for all clients, as an option: some servers permit one attach per connection and refuse
//! the Tattach of the second client.
//!
//! The first Tattach without an afid is held back, and a Tattach of 9pmux's own with the same names is
//! sent. Its fid is kept. Each client that attaches with these names gets a Twalk of no names from that
//! fid: to the server, the new fid is another fid of the same file for the same user, as after a second
//! attach. Until the server has replied, clients with the same names wait, each with its Tattach at the
//! front of its inbox, where a flush or the end of the connection finds it. An error is sent to all of
//! them, and the next client that attaches tries again. A Tattach with other names is forwarded as
//! usual: there is only one shared attach, so that clients cannot make the server hold more.
//!
//! A session that has attached by the shared fid uses it until the session ends. Without such a session
//! the fid is kept for the next client with the same names, because the server may refuse a second
//! Tattach even after the Tclunk of the first fid. The first client with other names replaces it: the
//! fid is clunked, and this client determines the names. Otherwise a client that has left could lock
//! out all others for ever. After a loss of the server it is not made again without such a session (`restore/roots.rs`).
//! If the server refuses that Tattach, it may refuse all others: the next Tversion while no
//! client has a session makes 9pmux connect again, where it can. For the same reason another dialect is agreed on a
//! new connection, or not at all where 9pmux cannot connect again (`version.rs`).

use std::collections::VecDeque;

use super::clients::{Blocked, ClientState};
use super::fids::{FidState, NO_FID};
use super::foreign_error::error_reply;
use super::inbox::Progress;
use super::local_error::LocalError;
use super::plan::attach_fields;
use super::reply::ReplyOutcome;
use super::requests::UpstreamRequest;
use super::{ClientId, Engine};
use crate::wire::{FieldOffsets, HEADER, NOFID, kind, put_tag, put_u32, tag, types, u32_at};

/// The state of the shared attach.
#[derive(Default)]
pub enum SharedAttach {
    /// No Tattach has been sent.
    #[default]
    Unattached,
    /// The Tattach is upstream.
    Pending { fid: u32, names: Box<[u8]>, waiters: VecDeque<ClientId> },
    /// The server has replied with this qid. `users` is the number of sessions that use it.
    Live { fid: u32, names: Box<[u8]>, qid: [u8; 13], users: usize },
    /// The server has refused it with this error, which is being sent to the waiters.
    Refused { names: Box<[u8]>, error: Vec<u8> },
}

#[cfg(any(test, mux_fuzz))]
impl SharedAttach {
    /// Returns its fid, if it has one.
    pub fn fid(&self) -> Option<u32> {
        match self {
            SharedAttach::Pending { fid, .. } | SharedAttach::Live { fid, .. } => Some(*fid),
            SharedAttach::Unattached | SharedAttach::Refused { .. } => None,
        }
    }
}

/// How a client's request is routed.
pub enum AttachRoute {
    /// It is forwarded as it is.
    Forward,
    /// It becomes a Twalk from this fid.
    ByWalk(u32),
    /// It waits, or has been replied to.
    Handled(Progress),
}

impl Engine {
    /// Returns the route of a request with valid fids, for which there is capacity. Must be called only if
    /// clients share one attach.
    pub(super) fn route_attach(
        &mut self,
        client_index: u32,
        message: &[u8],
        offsets: &FieldOffsets,
    ) -> AttachRoute {
        if kind(message) != types::TATTACH || u32_at(message, HEADER + 4) != NOFID {
            return AttachRoute::Forward;
        }
        let wanted = attach_fields(message, offsets);
        match &mut self.upstream.shared_attach {
            SharedAttach::Live { fid, names, users, .. } if **names == *wanted => {
                let session = &mut self.clients.get(client_index).session;
                *users += usize::from(!std::mem::replace(&mut session.uses_shared_attach, true));
                AttachRoute::ByWalk(*fid)
            }
            SharedAttach::Live { users: 0, .. } => {
                self.clunk_shared_attach();
                // The Tclunk may have taken the last tag.
                if !self.has_tag() {
                    return AttachRoute::Handled(Progress::Blocked(Blocked::OnUpstream));
                }
                self.send_shared_attach(client_index, message, wanted);
                AttachRoute::Handled(Progress::Blocked(Blocked::OnSelf))
            }
            SharedAttach::Unattached => {
                self.send_shared_attach(client_index, message, wanted);
                AttachRoute::Handled(Progress::Blocked(Blocked::OnSelf))
            }
            _ => AttachRoute::Forward,
        }
    }

    /// Makes a client wait for a Tattach of 9pmux's own with the same names, or replies to it with the error
    /// of that Tattach. This needs no capacity: clients that had to wait for some would ask again, one after
    /// the other, for ever. Must be called only if clients share one attach.
    pub(super) fn await_attach(
        &mut self,
        client_index: u32,
        (whole, message): (&[u8], &[u8]),
        offsets: &FieldOffsets,
    ) -> Option<Progress> {
        if kind(message) != types::TATTACH || u32_at(message, HEADER + 4) != NOFID {
            return None;
        }
        let wanted = attach_fields(message, offsets);
        match &mut self.upstream.shared_attach {
            SharedAttach::Refused { names, error } if **names == *wanted => {
                let error = error.clone();
                let consumed = self.consume_message(client_index, whole);
                self.forward_reply(client_index, tag(message), &error, |_| ());
                Some(consumed)
            }
            SharedAttach::Pending { names, waiters, .. } if **names == *wanted => {
                if !std::mem::replace(&mut self.clients.get(client_index).waits_for_attach, true) {
                    self.clients.enqueue(waiters, client_index);
                }
                Some(Progress::Blocked(Blocked::OnSelf))
            }
            _ => None,
        }
    }

    /// Sends the Tattach of 9pmux's own for the names of this client.
    fn send_shared_attach(&mut self, client_index: u32, message: &[u8], names: &[u8]) {
        let fid = self.fids.allocate_internal();
        let request = UpstreamRequest {
            fids: [fid, NO_FID],
            creates: fid,
            ..UpstreamRequest::internal(types::TATTACH)
        };
        let upstream_tag =
            self.allocate_tag(&request).expect("there is a tag, since there is room");
        self.fids.add_reference(fid);
        let size = message.len() as u32;
        self.push_to_server(message, |message| {
            put_u32(message, 0, size);
            put_tag(message, upstream_tag);
            put_u32(message, HEADER, fid);
        });
        self.clients.get(client_index).waits_for_attach = true;
        let waiters = VecDeque::from([self.clients.id(client_index)]);
        self.upstream.shared_attach = SharedAttach::Pending { fid, names: names.into(), waiters };
    }

    /// The server has replied to the Tattach of this fid, which may be another one of 9pmux's own. There is no message if it does not fit the request.
    pub(super) fn handle_shared_attach_reply(
        &mut self,
        fid: u32,
        reply: Option<&[u8]>,
        outcome: ReplyOutcome,
    ) {
        if !matches!(self.upstream.shared_attach, SharedAttach::Pending { fid: own, .. } if own == fid)
        {
            return;
        }
        let failed = outcome != ReplyOutcome::Success;
        let SharedAttach::Pending { fid, names, waiters } =
            std::mem::take(&mut self.upstream.shared_attach)
        else {
            return;
        };
        debug_assert!(failed || self.fids.get(fid).state == FidState::Live);
        self.upstream.has_refused_attach = failed && self.upstream.has_permitted_attach;
        self.upstream.has_permitted_attach |= !failed;
        self.upstream.shared_attach =
            match reply.map(|reply| (reply, reply[HEADER..].first_chunk())) {
                Some((_, Some(qid))) if !failed => {
                    let users = self.mark_shared_attach_users(&waiters);
                    SharedAttach::Live { fid, names, qid: *qid, users }
                }
                Some((error, _)) => SharedAttach::Refused { names, error: error.to_vec() },
                None => {
                    let why = LocalError::UnexpectedReply;
                    let dialect = self.upstream.dialect;
                    let error = error_reply(dialect, why.ename().as_bytes(), why.errno());
                    SharedAttach::Refused { names, error }
                }
            };
        for id in waiters {
            if let Some(client_index) = self.clients.index_of(id) {
                self.clients.get(client_index).waits_for_attach = false;
                self.retry_blocked(client_index);
            }
        }
        if let SharedAttach::Refused { .. } = self.upstream.shared_attach {
            self.upstream.shared_attach = SharedAttach::Unattached;
        }
    }

    /// Records that the sessions of the waiters use the shared attach, also while their requests wait for
    /// capacity. Returns their number.
    fn mark_shared_attach_users(&mut self, waiters: &VecDeque<ClientId>) -> usize {
        let mut users = 0;
        for id in waiters {
            let Some(client_index) = self.clients.index_of(*id) else { continue };
            let client = self.clients.get(client_index);
            // The session that has attached may have ended by a second Tversion.
            if client.state == ClientState::Session {
                client.session.uses_shared_attach = true;
                users += 1;
            }
        }
        users
    }

    /// Returns true if the Tattach is upstream or its fid is kept.
    pub(super) fn has_shared_attach(&self) -> bool {
        !matches!(self.upstream.shared_attach, SharedAttach::Unattached)
    }

    /// A session that has used the shared attach has ended.
    pub(super) fn leave_shared_attach(&mut self) {
        if let SharedAttach::Live { users, .. } = &mut self.upstream.shared_attach {
            *users -= 1;
        }
    }

    /// Clunks the fid of a shared attach that no session uses. If there is a tag, the Tclunk precedes the
    /// next Tattach. A replay that walks from the fid clunks it at its end.
    fn clunk_shared_attach(&mut self) {
        if let SharedAttach::Live { fid, users: 0, .. } = self.upstream.shared_attach {
            self.upstream.shared_attach = SharedAttach::Unattached;
            if self.keep_shared_root(fid) {
                return;
            }
            self.unbind(fid);
            self.release_if_unused(fid);
            self.send_deferred_clunks(usize::MAX, true);
        }
    }

    /// Replies to a client after the Twalk that replaced its Tattach has succeeded.
    pub(super) fn push_rattach(&mut self, client_index: u32, client_tag: u16) {
        // The session of this client uses it, so it is still there.
        if let SharedAttach::Live { qid, .. } = self.upstream.shared_attach {
            let mut message = [0; HEADER + 13];
            message[HEADER..].copy_from_slice(&qid);
            self.stats.replied += 1;
            self.push_reply(client_index, types::RATTACH, client_tag, &mut message);
        }
    }
}
