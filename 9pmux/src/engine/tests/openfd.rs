//! Descriptors (Topenfd): each row of the tables in `descriptors/mod.rs`.

use super::LocalError::*;
use super::bench::{Bench, MSIZE};
use super::messages::*;
use crate::engine::{ClientId, Config, DescriptorId, Limit};
use crate::wire::{Dialect, HEADER, kind, tag, types, u16_at, u32_at};

/// The count of a Tread of a descriptor.
const COUNT: u32 = MSIZE - 24;

fn openfd(tag: u16, fid: u32, mode: u8) -> Vec<u8> {
    made(98, tag).u32(fid).u8(mode).done()
}

fn topen(tag: u16, fid: u32, mode: u8) -> Vec<u8> {
    made(112, tag).u32(fid).u8(mode).done()
}

fn ropen(tag: u16, iounit: u32) -> Vec<u8> {
    made(113, tag).qid(3, 4).u32(iounit).done()
}

fn ropenfd(tag: u16, iounit: u32) -> Vec<u8> {
    made(99, tag).qid(3, 4).u32(iounit).u32(!0).done()
}

fn rread(tag: u16, data: &[u8]) -> Vec<u8> {
    made(117, tag).u32(data.len() as u32).raw(data).done()
}

fn rwrite(tag: u16, count: u32) -> Vec<u8> {
    made(119, tag).u32(count).done()
}

impl Bench {
    /// Connects a client to which descriptors can be passed, and attaches it with fid 0.
    pub(super) fn fd_client(&mut self) -> (ClientId, u32) {
        let (id, fid) = self.attached();
        self.engine.allow_descriptors(id);
        (id, fid)
    }

    /// Returns the changed descriptors.
    fn changed(&mut self) -> Vec<DescriptorId> {
        std::iter::from_fn(|| self.engine.next_descriptor()).collect()
    }

    /// Makes the pair that the engine asks for.
    #[track_caller]
    fn makes_pair(&mut self) -> DescriptorId {
        let wanted: Vec<_> =
            self.changed().into_iter().filter(|id| self.engine.wants_pair(*id)).collect();
        assert_eq!(wanted.len(), 1, "one pair is wanted");
        self.engine.pair_made(wanted[0]);
        self.engine.audit();
        wanted[0]
    }

    /// Sends a Topenfd of fid 0 with tag 9, and returns the Topen and the descriptor.
    #[track_caller]
    fn opening(&mut self, id: ClientId, fid: u32, mode: u8) -> (Vec<u8>, DescriptorId) {
        self.client_sends(id, &openfd(9, fid, mode));
        assert!(self.upstream().is_empty(), "there is no pair yet");
        let descriptor = self.makes_pair();
        (self.server_received(), descriptor)
    }

    /// Opens fid 0 as a descriptor, which the client receives.
    #[track_caller]
    pub(super) fn opened(&mut self, id: ClientId, mode: u8, iounit: u32) -> DescriptorId {
        let (open, descriptor) = self.opening(id, 0, mode);
        self.server(&ropen(tag(&open), iounit));
        self.passed(id, 9, iounit);
        descriptor
    }

    #[track_caller]
    fn passed(&mut self, id: ClientId, tag: u16, iounit: u32) {
        assert_eq!(self.client_received(id), ropenfd(tag, iounit));
        assert!(self.engine.descriptor_to_pass(id).is_some());
        self.engine.descriptor_passed(id);
        assert_eq!(self.engine.descriptor_to_pass(id), None);
        self.engine.audit();
    }

    /// The socket takes all output. Returns it.
    pub(super) fn socket_takes(&mut self, descriptor: DescriptorId) -> Vec<u8> {
        let bytes = self.engine.descriptor_output(descriptor).to_vec();
        self.engine.descriptor_wrote(descriptor, bytes.len());
        self.engine.audit();
        bytes
    }

    fn socket_gives(&mut self, descriptor: DescriptorId, bytes: &[u8]) {
        assert!(self.engine.descriptor_wants_read(descriptor) >= bytes.len());
        self.engine.descriptor_bytes(descriptor, bytes);
        self.engine.audit();
    }

    fn reader_gone(&mut self, descriptor: DescriptorId) {
        self.engine.descriptor_reader_gone(descriptor);
        self.engine.audit();
    }

    fn writer_gone(&mut self, descriptor: DescriptorId) {
        self.engine.descriptor_writer_gone(descriptor);
        self.engine.audit();
    }

    /// Replies to the clunk of this fid, and closes the descriptor.
    #[track_caller]
    fn closed(&mut self, descriptor: DescriptorId, fid: u32) {
        let clunk = self.server_received();
        assert_eq!(clunk, of_fid(120, tag(&clunk), fid));
        self.done(&clunk);
        assert!(self.engine.descriptor_is_closing(descriptor));
        self.engine.descriptor_closed(descriptor);
        self.engine.audit();
        assert_eq!(self.engine.stats().descriptors, 0);
    }
}

fn each_dialect(test: impl Fn(Bench)) {
    test(Bench::new(Dialect::Plain));
    test(Bench::new(Dialect::U));
}

#[test]
fn topenfd_becomes_topen_and_ropen_becomes_ropenfd() {
    each_dialect(|mut bench| {
        for mode in [0, 1, 2, 3, 0x10, 0x11, 0x12, 0x13] {
            let (id, fid) = bench.fd_client();
            let (open, descriptor) = bench.opening(id, 0, mode);
            assert_eq!(open, topen(tag(&open), fid, mode));
            bench.server(&ropen(tag(&open), 7));
            // The client's next reply is behind the descriptor.
            bench.client_sends(id, &flush(5, 77));
            bench.passed(id, 9, 7);
            assert_eq!(bench.client_received(id), made(109, 5).done());
            let asked = bench.upstream();
            let reads = mode & 3 != 1;
            assert_eq!(asked.len(), usize::from(reads));
            for request in asked {
                assert_eq!(request, read(tag(&request), fid, 0, COUNT));
            }
            let unit = if [1, 2].contains(&(mode & 3)) { 7 } else { 0 };
            assert_eq!(bench.engine.descriptor_wants_read(descriptor), unit);
        }
    });
}

#[test]
fn fid_is_the_descriptors_and_its_number_is_free() {
    each_dialect(|mut bench| {
        let (id, fid) = bench.fd_client();
        let other = bench.attach(id, 1);
        bench.opened(id, 1, 0);
        bench.refused(id, &of_fid(120, 3, 0), UnknownFid);
        let walk = bench.forwarded(id, &walk(3, 1, 0, &[]));
        assert_eq!(u32_at(&walk, HEADER), other);
        assert_ne!(u32_at(&walk, HEADER + 4), fid);
        bench.server(&rwalk(tag(&walk), 0));
        bench.client_received(id);
    });
}

#[test]
fn invalid_topenfd_is_refused_and_the_fid_remains() {
    each_dialect(|mut bench| {
        let (id, fid) = bench.attached();
        bench.refused(id, &openfd(9, 0, 0x50), BadOpenfdMode);
        bench.refused(id, &openfd(9, 7, 0x40), BadOpenfdMode);
        bench.refused(id, &openfd(9, 0, 4), BadOpenfdMode);
        bench.refused(id, &openfd(9, 7, 0), UnknownFid);
        bench.refused(id, &openfd(9, 0, 0), NoDescriptors);
        let clunk = bench.forwarded(id, &of_fid(120, 3, 0));
        assert_eq!(u32_at(&clunk, HEADER), fid);
    });
    let mut bench = Bench::new(Dialect::L);
    let (id, _) = bench.fd_client();
    bench.refused(id, &openfd(9, 0, 0), Unsupported);
}

#[test]
fn error_in_reply_to_topen_leaves_the_fid() {
    each_dialect(|mut bench| {
        let (id, fid) = bench.fd_client();
        for wrong in [false, true] {
            let (open, descriptor) = bench.opening(id, 0, 0);
            if wrong {
                bench.server(&rread(tag(&open), b""));
                let told = bench.client_received(id);
                assert!(is_local_error(bench.dialect, &told, UnexpectedReply));
            } else {
                bench.failed(&open);
                assert_eq!(bench.client_received(id), error(bench.dialect, 9, "srv"));
            }
            assert!(bench.engine.descriptor_to_pass(id).is_none());
            assert!(bench.engine.descriptor_is_closing(descriptor));
            bench.engine.descriptor_closed(descriptor);
            assert_eq!(bench.engine.stats().descriptors, 0);
        }
        let clunk = bench.forwarded(id, &of_fid(120, 3, 0));
        assert_eq!(u32_at(&clunk, HEADER), fid);
    });
}

#[test]
fn requests_that_name_the_fid_wait_for_the_ropen() {
    each_dialect(|mut bench| {
        for succeeds in [true, false] {
            let (id, fid) = bench.fd_client();
            bench.attach(id, 1);
            let (open, _) = bench.opening(id, 0, 1);
            bench.client_sends(id, &of_fid(120, 3, 0));
            bench.client_sends(id, &of_fid(124, 4, 1));
            assert!(bench.upstream().is_empty(), "they wait in their order");
            if succeeds {
                bench.server(&ropen(tag(&open), 0));
                let told = bench.all_received(id);
                assert_eq!(told, [ropenfd(9, 0)]);
                bench.engine.descriptor_passed(id);
                assert!(is_local_error(bench.dialect, &bench.client_received(id), UnknownFid));
                assert_eq!(bench.server_received()[4], 124);
            } else {
                bench.failed(&open);
                bench.client_received(id);
                let asked = bench.upstream();
                assert_eq!((asked[0][4], u32_at(&asked[0], HEADER), asked[1][4]), (120, fid, 124));
            }
        }
    });
}

#[test]
fn pair_that_cannot_be_made_is_an_error() {
    each_dialect(|mut bench| {
        let (id, fid) = bench.fd_client();
        bench.client_sends(id, &openfd(9, 0, 0));
        let wanted = bench.changed();
        bench.engine.pair_failed(wanted[0]);
        bench.engine.audit();
        assert!(is_local_error(bench.dialect, &bench.client_received(id), TooManyDescriptors));
        assert_eq!(bench.engine.stats().descriptors, 0);
        // The next one may succeed.
        let (open, _) = bench.opening(id, 0, 0);
        assert_eq!(u32_at(&open, HEADER), fid);
    });
}

#[test]
fn flush_before_the_ropen() {
    each_dialect(|mut bench| {
        let (id, fid) = bench.fd_client();
        // While the pair is made: the pair is used by the next Topenfd.
        bench.client_sends(id, &openfd(9, 0, 0));
        bench.client_sends(id, &flush(5, 9));
        assert_eq!(bench.client_received(id), made(109, 5).done());
        let descriptor = bench.makes_pair();
        assert!(bench.upstream().is_empty());
        let open = bench.forwarded(id, &openfd(9, 0, 0));
        // While the Topen is upstream: the fid remains the client's.
        let flushing = bench.forwarded(id, &flush(5, 9));
        assert_eq!(u16_at(&flushing, HEADER), tag(&open));
        bench.done(&flushing);
        assert_eq!(bench.client_received(id), made(109, 5).done());
        assert!(bench.engine.descriptor_is_closing(descriptor));
        bench.engine.descriptor_closed(descriptor);
        let clunk = bench.forwarded(id, &of_fid(120, 3, 0));
        assert_eq!(u32_at(&clunk, HEADER), fid);
        assert_eq!(bench.engine.stats().descriptors, 0);
    });
}

#[test]
fn flush_after_the_ropen() {
    each_dialect(|mut bench| {
        let (id, fid) = bench.fd_client();
        let (open, descriptor) = bench.opening(id, 0, 0);
        let flushing = bench.forwarded(id, &flush(5, 9));
        bench.server(&ropen(tag(&open), 0));
        bench.passed(id, 9, 0);
        let tread = bench.server_received();
        bench.done(&flushing);
        assert_eq!(bench.client_received(id), made(109, 5).done());
        bench.server(&rread(tag(&tread), b"a"));
        assert_eq!(bench.socket_takes(descriptor), b"a");
        let tread = bench.server_received();
        assert_eq!(tread, read(tag(&tread), fid, 1, COUNT));
    });
}

#[test]
fn client_that_leaves_before_the_ropen_leaves_nothing() {
    each_dialect(|mut bench| {
        for replies in [true, false] {
            let (id, fid) = bench.fd_client();
            let (open, descriptor) = bench.opening(id, 0, 0);
            bench.disconnect(id);
            assert!(bench.engine.descriptor_is_closing(descriptor));
            bench.engine.descriptor_closed(descriptor);
            let flushing = bench.server_received();
            if replies {
                bench.server(&ropen(tag(&open), 0));
            }
            bench.done(&flushing);
            let clunk = bench.server_received();
            assert_eq!(clunk, of_fid(120, tag(&clunk), fid));
            bench.done(&clunk);
            let stats = bench.engine.stats();
            assert_eq!((stats.fids, stats.requests, stats.descriptors), (0, 0, 0));
        }
        // While the pair is wanted, and while it is spare.
        for is_made in [true, false] {
            let (id, _) = bench.fd_client();
            bench.client_sends(id, &openfd(9, 0, 0));
            bench.client_sends(id, &flush(5, 9));
            let wanted = bench.changed()[0];
            if is_made {
                bench.engine.pair_made(wanted);
            }
            bench.disconnect(id);
            assert_eq!(bench.engine.descriptor_is_closing(wanted), is_made);
            bench.engine.descriptor_closed(wanted);
            bench.engine.pair_made(wanted);
            assert_eq!(bench.engine.stats().descriptors, 0);
            let clunk = bench.server_received();
            bench.done(&clunk);
        }
    });
}

#[test]
fn client_that_leaves_before_it_has_the_descriptor_ends_it() {
    each_dialect(|mut bench| {
        for reads in [true, false] {
            let (id, fid) = bench.fd_client();
            let (open, descriptor) = bench.opening(id, 0, 0);
            bench.server(&ropen(tag(&open), 0));
            if reads {
                bench.client_received(id);
            }
            let tread = bench.server_received();
            bench.disconnect(id);
            assert_eq!(bench.engine.descriptor_to_pass(id), None);
            let flushing = bench.server_received();
            assert_eq!(u16_at(&flushing, HEADER), tag(&tread));
            bench.done(&flushing);
            bench.closed(descriptor, fid);
        }
    });
}

#[test]
fn descriptor_outlives_its_client() {
    each_dialect(|mut bench| {
        for again in [true, false] {
            let (id, fid) = bench.fd_client();
            let other = bench.attach(id, 1);
            let descriptor = bench.opened(id, 0, 0);
            let tread = bench.server_received();
            if again {
                bench.client_sends(id, &version(MSIZE, bench.dialect.name()));
            } else {
                bench.disconnect(id);
            }
            let clunk = bench.server_received();
            assert_eq!(clunk, of_fid(120, tag(&clunk), other));
            bench.done(&clunk);
            bench.server(&rread(tag(&tread), b"hello"));
            assert_eq!(bench.socket_takes(descriptor), b"hello");
            let tread = bench.server_received();
            assert_eq!(tread, read(tag(&tread), fid, 5, COUNT));
            bench.server(&rread(tag(&tread), b""));
            bench.closed(descriptor, fid);
            bench.all_received(id);
        }
    });
}

#[test]
fn descriptor_that_ends_at_once_is_passed_all_the_same() {
    each_dialect(|mut bench| {
        let (id, fid) = bench.fd_client();
        let (open, descriptor) = bench.opening(id, 0, 0);
        bench.server(&ropen(tag(&open), 0));
        let tread = bench.server_received();
        bench.server(&rread(tag(&tread), b""));
        assert!(!bench.engine.descriptor_is_closing(descriptor), "it is not passed yet");
        bench.changed();
        bench.passed(id, 9, 0);
        assert_eq!(bench.changed(), [descriptor]);
        bench.closed(descriptor, fid);
    });
}

#[test]
fn one_tread_is_ahead_of_the_reader_and_never_two() {
    each_dialect(|mut bench| {
        let (id, fid) = bench.fd_client();
        let descriptor = bench.opened(id, 0, 512);
        let mut offset = 0;
        for part in [&b"abc"[..], b"d", &[7; COUNT as usize]] {
            let tread = bench.server_received();
            assert_eq!(tread, read(tag(&tread), fid, offset, COUNT));
            bench.changed();
            bench.server(&rread(tag(&tread), part));
            assert_eq!(bench.changed(), [descriptor]);
            assert_eq!(bench.engine.descriptor_output(descriptor), part);
            for _ in 0..part.len() - 1 {
                bench.engine.descriptor_wrote(descriptor, 1);
            }
            assert!(bench.upstream().is_empty());
            bench.engine.descriptor_wrote(descriptor, 1);
            offset += part.len() as u64;
        }
    });
}

#[test]
fn end_of_file_and_error_end_reading() {
    each_dialect(|mut bench| {
        for how in 0..3 {
            let (id, fid) = bench.fd_client();
            let descriptor = bench.opened(id, 3, 0);
            let tread = bench.server_received();
            match how {
                0 => bench.server(&rread(tag(&tread), b"")),
                1 => bench.failed(&tread),
                _ => bench.server(&ropen(tag(&tread), 0)),
            }
            bench.closed(descriptor, fid);
        }
    });
}

#[test]
fn reader_that_closes_is_noticed_at_once() {
    each_dialect(|mut bench| {
        for replies in [true, false] {
            let (id, fid) = bench.fd_client();
            let descriptor = bench.opened(id, 0, 0);
            let tread = bench.server_received();
            bench.reader_gone(descriptor);
            let flushing = bench.server_received();
            assert_eq!(u16_at(&flushing, HEADER), tag(&tread));
            if replies {
                bench.server(&rread(tag(&tread), b"lost"));
                assert!(bench.upstream().is_empty(), "the Rflush is awaited");
            }
            bench.done(&flushing);
            bench.closed(descriptor, fid);
        }
        // With bytes that it has not read.
        let (id, fid) = bench.fd_client();
        let descriptor = bench.opened(id, 0, 0);
        let tread = bench.server_received();
        bench.server(&rread(tag(&tread), b"lost"));
        bench.reader_gone(descriptor);
        assert!(bench.engine.descriptor_output(descriptor).is_empty());
        bench.closed(descriptor, fid);
    });
}

#[test]
fn writes_are_sent_one_at_a_time_and_in_order() {
    each_dialect(|mut bench| {
        for (iounit, max) in [(0, COUNT), (100, 100), (u32::MAX, COUNT)] {
            let (id, fid) = bench.fd_client();
            let descriptor = bench.opened(id, 0x11, iounit);
            assert_eq!(bench.engine.descriptor_wants_read(descriptor), max as usize);
            let mut offset = 0;
            for (n, part) in [&b"abc"[..], &[7; 90], b"d"].into_iter().enumerate() {
                bench.socket_gives(descriptor, part);
                assert_eq!(bench.engine.descriptor_wants_read(descriptor), 0);
                let write = bench.server_received();
                let data = made(118, tag(&write)).u32(fid).u64(offset);
                assert_eq!(write, data.u32(part.len() as u32).raw(part).done());
                offset += part.len() as u64;
                bench.changed();
                match n {
                    // A short count and an error lose these bytes.
                    0 => bench.server(&rwrite(tag(&write), 1)),
                    1 => bench.failed(&write),
                    _ => bench.server(&rread(tag(&write), b"")),
                }
                assert_eq!(bench.changed(), [descriptor]);
            }
            bench.writer_gone(descriptor);
            bench.closed(descriptor, fid);
        }
    });
}

#[test]
fn writer_that_closes_is_awaited() {
    each_dialect(|mut bench| {
        let (id, fid) = bench.fd_client();
        let descriptor = bench.opened(id, 1, 0);
        bench.socket_gives(descriptor, b"last");
        let write = bench.server_received();
        bench.writer_gone(descriptor);
        assert!(bench.upstream().is_empty(), "not before the last reply");
        bench.server(&rwrite(tag(&write), 4));
        bench.closed(descriptor, fid);
    });
}

#[test]
fn both_directions_end_for_themselves() {
    each_dialect(|mut bench| {
        // The server's end of file, and then the writer's close.
        let (id, fid) = bench.fd_client();
        let descriptor = bench.opened(id, 2, 0);
        let tread = bench.server_received();
        assert!(!bench.engine.descriptor_output_ended(descriptor));
        bench.changed();
        bench.server(&rread(tag(&tread), b""));
        assert_eq!(bench.changed(), [descriptor]);
        assert!(bench.engine.descriptor_output_ended(descriptor));
        bench.socket_gives(descriptor, b"later");
        let write = bench.server_received();
        bench.server(&rwrite(tag(&write), 5));
        assert!(!bench.engine.descriptor_is_closing(descriptor));
        bench.writer_gone(descriptor);
        bench.closed(descriptor, fid);
        // The program closes both.
        let (id, fid) = bench.fd_client();
        let descriptor = bench.opened(id, 2, 0);
        let tread = bench.server_received();
        bench.socket_gives(descriptor, b"last");
        let write = bench.server_received();
        bench.reader_gone(descriptor);
        bench.writer_gone(descriptor);
        let flushing = bench.server_received();
        assert_eq!(u16_at(&flushing, HEADER), tag(&tread));
        bench.done(&flushing);
        assert!(bench.upstream().is_empty(), "not before the last reply");
        bench.server(&rwrite(tag(&write), 4));
        bench.closed(descriptor, fid);
    });
}

#[test]
fn end_of_the_server_leaves_what_has_arrived() {
    each_dialect(|mut bench| {
        let (id, _) = bench.fd_client();
        let descriptor = bench.opened(id, 2, 0);
        let tread = bench.server_received();
        bench.server(&rread(tag(&tread), b"rest"));
        let (second, _) = bench.fd_client();
        let (_, opening) = bench.opening(second, 0, 0);
        let (third, _) = bench.fd_client();
        bench.client_sends(third, &openfd(9, 0, 0));
        let wanted = bench.changed().into_iter().find(|id| bench.engine.wants_pair(*id)).unwrap();
        bench.engine.server_gone();
        bench.engine.audit();
        for id in [second, third] {
            assert!(is_local_error(bench.dialect, &bench.client_received(id), ServerGone));
        }
        bench.engine.pair_made(wanted);
        for id in [id, second, third] {
            bench.disconnect(id);
        }
        assert_eq!(bench.socket_takes(descriptor), b"rest");
        for id in [descriptor, opening, wanted] {
            assert!(bench.engine.descriptor_is_closing(id));
            bench.engine.descriptor_closed(id);
        }
        assert_eq!(bench.engine.stats().descriptors, 0);
    });
}

#[test]
fn server_that_replies_to_no_flush_leaves_tags_to_clients() {
    let config = Config { max_descriptors_all: 100, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let other = bench.attached().0;
    let (id, _) = bench.fd_client();
    let mut left = 0;
    for _ in 0..1000 {
        let descriptor = bench.opened(id, 0, 0);
        let was_sent = !bench.upstream().is_empty();
        bench.reader_gone(descriptor);
        let message = bench.server_received();
        if was_sent {
            assert_eq!(kind(&message), types::TFLUSH);
            left += 1;
        } else {
            bench.done(&message);
        }
        bench.engine.descriptor_closed(descriptor);
        bench.attach(id, 0);
    }
    assert_eq!(left, 100, "each has left a Tread and a Tflush");
    assert_eq!(kind(&bench.forwarded(other, &read(1, 0, 0, 10))), types::TREAD);
}

#[test]
fn limits_of_one_client_and_of_all() {
    let config = Config { max_descriptors: 2, max_descriptors_all: 100, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let (id, _) = bench.fd_client();
    let first = bench.opened(id, 1, 0);
    bench.attach(id, 0);
    bench.opened(id, 1, 0);
    bench.attach(id, 0);
    bench.refused(id, &openfd(9, 0, 0), TooManyDescriptors);
    assert_eq!(bench.engine.next_notice().map(|notice| notice.limit), Some(Limit::Descriptors));
    bench.refused(id, &openfd(9, 0, 0), TooManyDescriptors);
    assert_eq!(bench.engine.next_notice(), None, "a client is reported once");
    bench.writer_gone(first);
    let clunk = bench.server_received();
    bench.done(&clunk);
    bench.engine.descriptor_closed(first);
    bench.opened(id, 1, 0);
    // A departed client's descriptors count for its user, and in all.
    bench.disconnect(id);
    assert_eq!(bench.engine.stats().descriptors, 2);
    for clients in 0..200 {
        let (id, _) = bench.fd_client();
        bench.client_sends(id, &openfd(9, 0, 0));
        if bench.changed().iter().any(|id| bench.engine.wants_pair(*id)) {
            assert!(clients < 98, "more than there may be");
        } else {
            assert_eq!(clients, 98);
            assert!(is_local_error(Dialect::Plain, &bench.client_received(id), TooManyDescriptors));
            bench.refused(id, &openfd(9, 0, 0), TooManyDescriptors);
            let limit = bench.engine.next_notice().map(|notice| (notice.client, notice.limit));
            assert_eq!(limit, Some((id, Limit::DescriptorShare)));
            assert_eq!(bench.engine.next_notice(), None, "a client without descriptors as well");
            return;
        }
    }
    panic!("there is no limit of all");
}

#[test]
fn no_descriptors_with_a_limit_of_none() {
    let config = Config { max_descriptors: 0, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let (id, _) = bench.fd_client();
    bench.refused(id, &openfd(9, 0, 0), TooManyDescriptors);
    assert_eq!(bench.engine.next_notice(), None);
}

#[test]
fn user_leaves_descriptors_to_the_others() {
    use crate::engine::User;
    let config = Config { max_descriptors_all: 1000, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let (mut opened, mut tries) = (0, 0);
    // It connects again and again, and opens one descriptor each time.
    while tries < 1000 {
        tries += 1;
        let id = bench.engine.client_connected_as(User::Local(7));
        bench.engine.allow_descriptors(id);
        bench.client_sends(id, &version(MSIZE, "9P2000"));
        bench.all_received(id);
        bench.attach(id, 0);
        bench.client_sends(id, &openfd(9, 0, 1));
        let Some(wanted) = bench.changed().into_iter().find(|id| bench.engine.wants_pair(*id))
        else {
            break;
        };
        bench.engine.pair_made(wanted);
        let open = bench.server_received();
        bench.server(&ropen(tag(&open), 0));
        bench.passed(id, 9, 0);
        bench.engine.client_gone(id);
        opened += 1;
    }
    assert!((300..=600).contains(&opened), "{opened}");
    let (id, _) = bench.fd_client();
    bench.opened(id, 1, 0);
}

#[test]
fn descriptors_count_neither_for_their_client_nor_for_all() {
    let config = Config { max_inflight: 1, max_inflight_all: 1, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let (id, _) = bench.fd_client();
    for _ in 0..5 {
        bench.opened(id, 2, 0);
        assert_eq!(bench.server_received()[4], 116, "its Tread needs no share");
        bench.attach(id, 0);
    }
    let request = bench.forwarded(id, &read(3, 0, 0, 1));
    bench.client_sends(id, &read(4, 0, 0, 1));
    assert!(bench.upstream().is_empty(), "the clients' limit holds");
    bench.server(&rread(tag(&request), b""));
    assert_eq!(bench.server_received()[4], 116);
}

#[test]
fn descriptors_and_clients_take_turns() {
    let config = Config { max_server_bytes: 1, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let (id, _) = bench.fd_client();
    let descriptors: Vec<_> = (0..20)
        .map(|_| {
            let descriptor = bench.opened(id, 1, 0);
            bench.attach(id, 0);
            descriptor
        })
        .collect();
    let (one, _) = bench.attached();
    let (two, _) = bench.attached();
    // The server's output is full, so all of them wait.
    bench.client_sends(one, &of_fid(124, 90, 0));
    for descriptor in &descriptors {
        bench.socket_gives(*descriptor, b"x");
    }
    for client in [one, two] {
        bench.client_sends(client, &[of_fid(124, 91, 0), of_fid(124, 92, 0)].concat());
    }
    let mut kinds = Vec::new();
    while let [request] = &bench.upstream()[..] {
        kinds.push(request[4]);
        if kinds.len() > 60 {
            panic!("{kinds:?}");
        }
    }
    assert_eq!(kinds.iter().filter(|kind| **kind == 118).count(), 20);
    let last_of_client = kinds.iter().rposition(|kind| *kind == 124).unwrap();
    assert!(last_of_client < 12, "{kinds:?}");
    let first = kinds.iter().position(|kind| *kind == 118).unwrap();
    // The descriptors of one user have one of three turns beside two other users.
    assert!(first <= 3, "{kinds:?}");
}

#[test]
fn memory_of_descriptors_is_bounded() {
    let config = Config {
        msize: 1 << 20,
        max_memory: 8 << 20,
        dialect: Some(Dialect::Plain),
        ..Config::default()
    };
    let mut bench = Bench { engine: crate::engine::Engine::new(config), dialect: Dialect::Plain };
    bench.upstream();
    bench.server(&rversion(1 << 20, "9P2000"));
    let (mut all, mut treads) = (0, Vec::new());
    let mut descriptors = Vec::new();
    for _ in 0..5 {
        let (id, _) = bench.fd_client();
        for _ in 0..10 {
            descriptors.push(bench.opened(id, 0, 0));
            let tread = bench.server_received();
            all += u32_at(&tread, HEADER + 12) as usize;
            treads.push(tread);
            bench.attach(id, 0);
        }
    }
    assert!(u32_at(&treads[0], HEADER + 12) > 500_000);
    assert!(u32_at(&treads[49], HEADER + 12) >= 8192);
    assert!(all < 3 << 20, "{all} bytes are expected");
    for tread in treads {
        let count = u32_at(&tread, HEADER + 12);
        bench.engine.server_bytes(&rread(tag(&tread), &vec![1; count as usize]));
    }
    bench.engine.tick(std::time::Duration::from_secs(1));
    bench.engine.audit();
    assert_eq!(bench.engine.stats().clients, 5, "no client is disconnected for it");
    assert!(bench.engine.descriptors.memory() <= all);
    for descriptor in descriptors {
        bench.socket_takes(descriptor);
    }
    assert_eq!(bench.engine.descriptors.memory(), 0);
}

#[test]
fn without_memory_reading_ends() {
    let mut bench = Bench::new(Dialect::Plain);
    let (id, fid) = bench.fd_client();
    let descriptor = bench.opened(id, 0, 0);
    let tread = bench.server_received();
    crate::engine::buffer::FAILING.set(true);
    bench.engine.server_bytes(&rread(tag(&tread), b"abc"));
    crate::engine::buffer::FAILING.set(false);
    bench.closed(descriptor, fid);
}

#[test]
fn dialect_is_not_free_while_a_descriptor_is_open() {
    let mut bench = Bench {
        engine: crate::engine::Engine::new(Config { msize: MSIZE, ..Config::default() }),
        dialect: Dialect::Plain,
    };
    let id = bench.engine.client_connected();
    bench.client_sends(id, &version(MSIZE, "9P2000"));
    bench.upstream();
    bench.server(&rversion(MSIZE, "9P2000"));
    bench.all_received(id);
    bench.engine.allow_descriptors(id);
    let fid = bench.attach(id, 0);
    let descriptor = bench.opened(id, 1, 0);
    bench.disconnect(id);
    let other = bench.engine.client_connected();
    bench.client_sends(other, &version(MSIZE, "9P2000.L"));
    assert_eq!(bench.client_received(other), rversion(MSIZE, "9P2000"));
    bench.disconnect(other);
    bench.writer_gone(descriptor);
    bench.closed(descriptor, fid);
    let other = bench.engine.client_connected();
    bench.client_sends(other, &version(MSIZE, "9P2000.L"));
    assert_eq!(bench.server_received(), version(MSIZE, "9P2000.L"));
}

#[test]
fn disconnected_client_without_memory_ends_what_it_cannot_receive() {
    let mut bench = Bench::new(Dialect::Plain);
    let (id, _) = bench.fd_client();
    let (open, descriptor) = bench.opening(id, 0, 1);
    bench.server(&ropen(tag(&open), 0));
    // A client for whose output there is no memory loses the output.
    crate::engine::buffer::FAILING.set(true);
    bench.engine.client_bytes(id, &flush(5, 77));
    crate::engine::buffer::FAILING.set(false);
    bench.engine.audit();
    assert!(bench.engine.is_closing(id));
    assert_eq!(bench.engine.descriptor_to_pass(id), None);
    assert!(bench.engine.descriptor_is_closing(descriptor));
    bench.disconnect(id);
    bench.engine.descriptor_closed(descriptor);
    for clunk in bench.upstream() {
        bench.done(&clunk);
    }
    let stats = bench.engine.stats();
    assert_eq!((stats.fids, stats.descriptors), (0, 0));
}

#[test]
fn topen_of_a_fid_that_was_not_created_opens_no_descriptor() {
    let mut bench = Bench::new(Dialect::Plain);
    let (id, _) = bench.fd_client();
    bench.client_sends(id, &[walk(1, 0, 5, &["a"]), openfd(9, 5, 0)].concat());
    let walking = bench.server_received();
    let descriptor = bench.makes_pair();
    let open = bench.server_received();
    bench.failed(&walking);
    bench.client_received(id);
    // A server that opens what it does not have.
    bench.server(&ropen(tag(&open), 0));
    assert!(is_local_error(Dialect::Plain, &bench.client_received(id), UnexpectedReply));
    assert!(bench.engine.descriptor_is_closing(descriptor));
}

/// The client has no name for the fid when it is opened.
#[test]
fn topen_of_a_fid_whose_walk_had_too_large_a_reply_opens_no_descriptor() {
    let mut bench = Bench::new(Dialect::Plain);
    let id = bench.client_of(256);
    bench.engine.allow_descriptors(id);
    bench.attach(id, 0);
    bench.client_sends(id, &[walk(1, 0, 5, &["a"]), openfd(9, 5, 0)].concat());
    let walking = bench.server_received();
    let descriptor = bench.makes_pair();
    let open = bench.server_received();
    let rwalk = made(111, tag(&walking)).u16(1).qid(0, 0).raw(&[0; 300]).done();
    bench.server(&rwalk);
    assert!(is_local_error(Dialect::Plain, &bench.client_received(id), ReplyTooLarge));
    bench.server(&ropen(tag(&open), 0));
    assert!(is_local_error(Dialect::Plain, &bench.client_received(id), UnexpectedReply));
    assert!(bench.engine.descriptor_is_closing(descriptor));
    assert_eq!(kind(&bench.server_received()), 120);
}

#[test]
fn lax_cuts_off_what_follows_the_mode() {
    let config = Config { lax: true, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let (id, fid) = bench.fd_client();
    bench.client_sends(id, &made(98, 9).u32(0).u8(1).raw(b"abc").done());
    bench.makes_pair();
    let open = bench.server_received();
    assert_eq!(open, topen(tag(&open), fid, 1));
}

#[test]
fn server_that_may_come_again_ends_descriptors_and_keeps_clients() {
    let (mut bench, id) = super::away::in_session(Dialect::Plain);
    bench.engine.allow_descriptors(id);
    bench.attach(id, 0);
    let descriptor = bench.opened(id, 0, 0);
    let tread = bench.server_received();
    bench.server(&rread(tag(&tread), b"rest"));
    bench.attach(id, 0);
    let (_, opening) = bench.opening(id, 0, 0);
    bench.engine.server_gone();
    bench.engine.audit();
    assert!(is_local_error(Dialect::Plain, &bench.client_received(id), ServerGone));
    assert!(!bench.engine.is_closing(id));
    assert_eq!(bench.socket_takes(descriptor), b"rest");
    for id in [descriptor, opening] {
        assert!(bench.engine.descriptor_is_closing(id));
        bench.engine.descriptor_closed(id);
    }
    assert_eq!(bench.engine.stats().descriptors, 0);
}

#[test]
fn spare_descriptor_ends_with_the_server() {
    let (mut bench, id) = super::away::in_session(Dialect::Plain);
    bench.engine.allow_descriptors(id);
    bench.attach(id, 0);
    bench.client_sends(id, &openfd(9, 0, 0));
    bench.client_sends(id, &flush(5, 9));
    let spare = bench.makes_pair();
    bench.engine.server_gone();
    bench.engine.audit();
    assert!(bench.engine.descriptor_is_closing(spare));
    bench.engine.descriptor_closed(spare);
    bench.engine.audit();
    bench.disconnect(id);
    assert_eq!(bench.engine.stats().descriptors, 0);
}

#[test]
fn driver_closes_a_descriptor_that_had_ended_when_its_client_left() {
    let mut bench = Bench::new(Dialect::Plain);
    let (id, fid) = bench.fd_client();
    let (open, descriptor) = bench.opening(id, 0, 0);
    bench.server(&ropen(tag(&open), 0));
    let tread = bench.server_received();
    bench.server(&rread(tag(&tread), b""));
    bench.changed();
    assert!(!bench.engine.descriptor_is_closing(descriptor));
    bench.disconnect(id);
    assert_eq!(bench.changed(), [descriptor]);
    bench.closed(descriptor, fid);
}
