//! One attach for all, where that is chosen: some servers let a connection attach once, and refuse the
//! second client's Tattach.
//!
//! The first Tattach without an afid is kept, and one of our own with the same names goes upstream. Its
//! fid stays, and is no client's. Whoever attaches with these names gets a walk of it, of no names: to the
//! server that is another fid of the same file for the same user, which is what a second attach would
//! have been. Until the server has answered, those who ask for the same wait, each with his Tattach at
//! the front of his inbox, where a flush and an end find it; an error is everybody's, and the next to
//! attach tries again. Other names go on as they came: there is one root, so that nobody can take more.

use super::clients::Blocked;
use super::fids::{FidState, NO_FID};
use super::forward::names;
use super::inbox::Progress;
use super::requests::UpstreamRequest;
use super::{ClientId, Engine};
use crate::wire::{FieldOffsets, HEADER, NOFID, kind, put_tag, put_u32, tag, types, u32_at};

/// The root that all have part in.
#[derive(Default)]
pub enum SharedAttach {
    /// Nobody has attached.
    #[default]
    Unattached,
    /// Our Tattach is upstream.
    Pending { fid: u32, names: Box<[u8]>, waiters: Vec<ClientId> },
    /// The server has answered it with this qid.
    Live { fid: u32, names: Box<[u8]>, qid: [u8; 13] },
    /// It has refused it so, and those who waited are being told.
    Refused { names: Box<[u8]>, error: Vec<u8> },
}

/// How a client's request goes on.
pub enum AttachRoute {
    /// As it came.
    Forward,
    /// As a walk of this fid.
    ByWalk(u32),
    /// Not now, or it is answered.
    Handled(Progress),
}

impl Engine {
    /// How a Tattach goes on, whose fids are known to be well, and for which there is room upstream.
    pub(super) fn route_attach(
        &mut self,
        client_index: u32,
        message: &[u8],
        offsets: &FieldOffsets,
    ) -> AttachRoute {
        if !self.config.attach_once
            || kind(message) != types::TATTACH
            || u32_at(message, HEADER + 4) != NOFID
        {
            return AttachRoute::Forward;
        }
        let wanted = names(message, offsets);
        match &mut self.upstream.shared_attach {
            SharedAttach::Live { fid, names, .. } if **names == *wanted => {
                AttachRoute::ByWalk(*fid)
            }
            SharedAttach::Refused { names, error } if **names == *wanted => {
                let error = error.clone();
                let consumed = self.consume_message(client_index, message);
                self.forward_reply(client_index, tag(message), &error, |_| ());
                AttachRoute::Handled(consumed)
            }
            SharedAttach::Pending { names, waiters, .. } if **names == *wanted => {
                let id = self.clients.id(client_index);
                if !std::mem::replace(&mut self.clients.get(client_index).waits_for_attach, true) {
                    waiters.push(id);
                }
                AttachRoute::Handled(Progress::Blocked(Blocked::OnSelf))
            }
            SharedAttach::Unattached => {
                self.send_shared_attach(client_index, message, wanted);
                AttachRoute::Handled(Progress::Blocked(Blocked::OnSelf))
            }
            _ => AttachRoute::Forward,
        }
    }

    /// Sends our own Tattach, for this client and whoever comes meanwhile.
    fn send_shared_attach(&mut self, client_index: u32, message: &[u8], names: &[u8]) {
        let fid = self.fids.allocate_internal();
        let request = UpstreamRequest {
            fids: [fid, NO_FID],
            creates: fid,
            ..UpstreamRequest::internal(types::TATTACH)
        };
        let upstream_tag =
            self.requests.allocate(request).expect("there is a tag, since there is room");
        self.fids.add_reference(fid);
        self.push_to_server(message, |message| {
            put_tag(message, upstream_tag);
            put_u32(message, HEADER, fid);
        });
        self.clients.get(client_index).waits_for_attach = true;
        let waiters = vec![self.clients.id(client_index)];
        self.upstream.shared_attach = SharedAttach::Pending { fid, names: names.into(), waiters };
    }

    /// The server has answered that.
    pub(super) fn handle_shared_attach_reply(&mut self, message: &[u8], failed: bool) {
        let SharedAttach::Pending { fid, names, waiters } =
            std::mem::take(&mut self.upstream.shared_attach)
        else {
            return;
        };
        debug_assert!(failed || self.fids.get(fid).state == FidState::Live);
        self.upstream.shared_attach = match message[HEADER..].first_chunk() {
            Some(qid) if !failed => SharedAttach::Live { fid, names, qid: *qid },
            _ => SharedAttach::Refused { names, error: message.to_vec() },
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

    /// The walk that a client's Tattach has become is done.
    pub(super) fn push_rattach(&mut self, client_index: u32, client_tag: u16) {
        if let SharedAttach::Live { qid, .. } = self.upstream.shared_attach {
            let mut message = [0; HEADER + 13];
            message[HEADER..].copy_from_slice(&qid);
            self.stats.replied += 1;
            self.push_reply(client_index, types::RATTACH, client_tag, &mut message);
        }
    }
}
