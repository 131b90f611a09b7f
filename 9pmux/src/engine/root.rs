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
pub enum Root {
    /// Nobody has attached.
    #[default]
    Nobodys,
    /// Our Tattach is upstream.
    Asked { fid: u32, names: Box<[u8]>, waiting: Vec<ClientId> },
    /// The server has answered it with this qid.
    Live { fid: u32, names: Box<[u8]>, qid: [u8; 13] },
    /// It has refused it so, and those who waited are being told.
    Refused { names: Box<[u8]>, error: Vec<u8> },
}

/// How a client's request goes on.
pub enum Way {
    /// As it came.
    Straight,
    /// As a walk of this fid.
    WalkOf(u32),
    /// Not now, or it is answered.
    Step(Progress),
}

impl Engine {
    /// How a Tattach goes on, whose fids are known to be well, and for which there is room upstream.
    pub(super) fn way(&mut self, c: u32, message: &[u8], offsets: &FieldOffsets) -> Way {
        if !self.config.attach_once
            || kind(message) != types::TATTACH
            || u32_at(message, HEADER + 4) != NOFID
        {
            return Way::Straight;
        }
        let asked_for = names(message, offsets);
        match &mut self.upstream.root {
            Root::Live { fid, names, .. } if **names == *asked_for => Way::WalkOf(*fid),
            Root::Refused { names, error } if **names == *asked_for => {
                let error = error.clone();
                let consumed = self.consume_message(c, message);
                self.pass_on(c, tag(message), &error, |_| ());
                Way::Step(consumed)
            }
            Root::Asked { names, waiting, .. } if **names == *asked_for => {
                let id = self.clients.id(c);
                if !std::mem::replace(&mut self.clients.get(c).waits_for_attach, true) {
                    waiting.push(id);
                }
                Way::Step(Progress::Blocked(Blocked::OnSelf))
            }
            Root::Nobodys => {
                self.ask_for_root(c, message, asked_for);
                Way::Step(Progress::Blocked(Blocked::OnSelf))
            }
            _ => Way::Straight,
        }
    }

    /// Sends our own Tattach, for this client and whoever comes meanwhile.
    fn ask_for_root(&mut self, c: u32, message: &[u8], names: &[u8]) {
        let fid = self.fids.allocate_internal();
        let request = UpstreamRequest {
            fids: [fid, NO_FID],
            creates: fid,
            ..UpstreamRequest::internal(types::TATTACH)
        };
        let up = self.requests.allocate(request).expect("there is a tag, since there is room");
        self.fids.get(fid).references += 1;
        self.ask(message, |message| {
            put_tag(message, up);
            put_u32(message, HEADER, fid);
        });
        self.clients.get(c).waits_for_attach = true;
        let waiting = vec![self.clients.id(c)];
        self.upstream.root = Root::Asked { fid, names: names.into(), waiting };
    }

    /// The server has answered that.
    pub(super) fn root_answered(&mut self, message: &[u8], failed: bool) {
        let Root::Asked { fid, names, waiting } = std::mem::take(&mut self.upstream.root) else {
            return;
        };
        debug_assert!(failed || self.fids.get(fid).state == FidState::Live);
        self.upstream.root = match message[HEADER..].first_chunk() {
            Some(qid) if !failed => Root::Live { fid, names, qid: *qid },
            _ => Root::Refused { names, error: message.to_vec() },
        };
        for id in waiting {
            if let Some(c) = self.clients.index_of(id) {
                self.clients.get(c).waits_for_attach = false;
                self.try_again(c);
            }
        }
        if let Root::Refused { .. } = self.upstream.root {
            self.upstream.root = Root::Nobodys;
        }
    }

    /// The walk that a client's Tattach has become is done.
    pub(super) fn tell_attached(&mut self, c: u32, its_tag: u16) {
        if let Root::Live { qid, .. } = self.upstream.root {
            let mut message = [0; HEADER + 13];
            message[HEADER..].copy_from_slice(&qid);
            self.stats.replied += 1;
            self.answer(c, types::RATTACH, its_tag, &mut message);
        }
    }
}
