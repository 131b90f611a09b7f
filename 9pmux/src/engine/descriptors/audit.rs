//! The invariants of descriptors.
//!
//! 1. Exactly the requests with a descriptor as their owner are in the states of its directions.
//! 2. An open descriptor has a live fid of its own, and at least one direction. All others have neither.
//! 3. A descriptor with a request that waits is in the queue, and is there while there is no capacity.
//! 4. A descriptor holds bytes for the socket only while reading is held, or when it is closing.
//! 5. A client counts exactly its descriptors. One is wanted or spare only for its client, and the marks of a
//!    client's output are its descriptors that were not passed.
//! 6. The numbers of open descriptors, of their requests and of their bytes are counted.

use std::collections::{BTreeMap, HashMap};

use super::DescriptorUse;
use super::{DescriptorState, Reading, Writing};
use crate::engine::Engine;
use crate::engine::fids::{FidState, NO_FID, Owner};
use crate::wire::types;

impl Engine {
    /// Returns the user of each descriptor.
    pub(in crate::engine) fn users_of_descriptors(&mut self) -> Vec<u32> {
        let indices = self.descriptors.indices().into_iter();
        indices.map(|index| self.descriptors.get(index).user).collect()
    }

    pub(in crate::engine) fn audit_descriptors(&mut self) {
        let requests: Vec<_> = self.requests.iter().map(|(tag, request)| (tag, *request)).collect();
        let moves = |use_: DescriptorUse| use_ == DescriptorUse::Moves;
        let counted = requests.iter().filter(|(_, request)| moves(request.descriptor_use)).count();
        assert_eq!(counted, self.requests.for_descriptors());
        let mut sent: BTreeMap<(u32, u8), u16> = BTreeMap::new();
        for (tag, request) in &requests {
            if let Owner::Descriptor(index) = request.owner {
                assert_eq!(request.fids, [self.descriptors.get(index).fid, NO_FID]);
                let twice = sent.insert((index, request.kind), *tag);
                assert_eq!(twice, None, "two requests of one direction");
            }
        }
        let (mut open, mut bytes, mut held) = (0, (0, 0), HashMap::new());
        for index in self.descriptors.indices() {
            open += usize::from(self.descriptors.get(index).state == DescriptorState::Open);
            self.audit_descriptor(index, &mut sent);
            let descriptor = self.descriptors.get(index);
            let buffered = descriptor.buffered();
            bytes = (bytes.0 + buffered, bytes.1 + buffered + descriptor.expected);
            *held.entry(descriptor.client).or_insert(0) += 1;
        }
        assert!(sent.is_empty(), "requests of no direction");
        assert_eq!(open, self.descriptors.open);
        assert_eq!(bytes, (self.descriptors.buffered, self.descriptors.claimed));
        self.descriptors.ready.audit();
        assert!(!self.has_ready_descriptor(), "a descriptor waits, and there is capacity");
        for client_index in self.clients.connected() {
            let id = self.clients.id(client_index);
            self.audit_descriptors_of(client_index, held.get(&id).copied().unwrap_or(0));
        }
    }

    fn audit_descriptor(&mut self, index: u32, sent: &mut BTreeMap<(u32, u8), u16>) {
        let id = self.descriptors.id(index);
        let listed = self.descriptors.ready.items().filter(|other| other.1 == id).count();
        let descriptor = self.descriptors.get(index);
        let (reading, writing) = (descriptor.reading, descriptor.writing);
        if let Reading::Sent(tag) = reading {
            assert_eq!(sent.remove(&(index, types::TREAD)), Some(tag));
        }
        if let Writing::Sent(tag) = writing {
            assert_eq!(sent.remove(&(index, types::TWRITE)), Some(tag));
        }
        let is_due = reading == Reading::Due || writing == Writing::Due;
        assert!(!is_due || descriptor.queued, "it waits for ever");
        assert_eq!(listed, usize::from(descriptor.queued));
        let is_closing = descriptor.state == DescriptorState::Closing;
        let is_held = reading == Reading::Held;
        assert!(if is_held {
            !descriptor.out.is_empty()
        } else {
            is_closing || descriptor.out.is_empty()
        });
        assert_eq!(descriptor.piece.is_empty(), writing != Writing::Due);
        let has_ended = reading == Reading::Ended && writing == Writing::Ended;
        let fid = descriptor.fid;
        let is_open = descriptor.state == DescriptorState::Open;
        assert_eq!((!has_ended, fid != NO_FID), (is_open, is_open));
        if is_open {
            let record = self.fids.get(fid);
            let expected = (Owner::Descriptor(index), FidState::Live, true);
            assert_eq!((record.owner, record.state, record.bound), expected);
        }
    }

    fn audit_descriptors_of(&mut self, client_index: u32, held: usize) {
        let id = self.clients.id(client_index);
        let client = self.clients.get(client_index);
        let openings: Vec<u32> = client.session.openings.iter().map(|o| o.descriptor).collect();
        let Some(own) = &client.descriptors else {
            return assert_eq!((held, openings.len()), (0, 0));
        };
        assert!(own.held == held && held > 0 && !own.failed);
        let wanted = own.wanted.map(|index| (index, DescriptorState::Wanted));
        let spare = own.spare.map(|index| (index, DescriptorState::Spare));
        let opening = openings.iter().map(|index| (*index, DescriptorState::Opening));
        let mut early: BTreeMap<_, _> = wanted.into_iter().chain(spare).chain(opening).collect();
        let mut marks: Vec<u32> = own.marks().collect();
        marks.sort_unstable();
        let mut unpassed = Vec::new();
        for index in self.descriptors.indices() {
            let descriptor = self.descriptors.get(index);
            if descriptor.client != id {
                continue;
            }
            if descriptor.unpassed {
                unpassed.push(index);
            }
            match descriptor.state {
                DescriptorState::Open | DescriptorState::Closing => {}
                state => assert_eq!(early.remove(&index), Some(state)),
            }
        }
        assert!(early.is_empty());
        assert_eq!(marks, unpassed);
    }
}
