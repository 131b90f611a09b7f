//! One end of a link, against a script at the other end.

use std::time::Duration;

use crate::engine::fuzz::messages::*;
use crate::engine::{ClientId, Config, Engine};
use crate::link::{Link, LinkConfig, LinkEnd, MAX_REQUESTS};
use crate::wire::{NOFID, kind, tag, u32_at};

pub(super) const MSIZE: u32 = 8192;
const L: &str = "9P2000.L";
const KEEPALIVE: [u8; 9] = [9, 0, 0, 0, 0x6c, 0xfe, 0xff, 0xff, 0xff];
const REPLY: [u8; 7] = [7, 0, 0, 0, 0x6d, 0xfe, 0xff];
const INTERVAL: Duration = Duration::from_secs(15);
const WINDOW: usize = 1 << 20;

pub(super) struct Bench {
    pub(super) link: Link,
    pub(super) post: Engine,
}

impl Bench {
    fn new(has_server: bool) -> Bench {
        Bench::with(has_server, Some(INTERVAL))
    }

    fn with(has_server: bool, keepalive: Option<Duration>) -> Bench {
        Bench::sized(WINDOW, MSIZE, has_server, keepalive)
    }

    fn sized(window: usize, msize: u32, has_server: bool, keepalive: Option<Duration>) -> Bench {
        let config = LinkConfig { window, keepalive };
        let base = Config { msize, ..Config::default() };
        let export = Engine::new(config.export(base.clone(), has_server));
        let link = Link::new(export, &config, Duration::ZERO);
        Bench { link, post: Engine::new(config.post(base)) }
    }

    fn arrives(&mut self, bytes: &[u8]) {
        self.link.stream_bytes(&mut self.post, bytes);
        self.audit();
    }

    /// As `arrives`, without an audit, for thousands of messages.
    fn arrives_unchecked(&mut self, bytes: &[u8]) {
        self.link.stream_bytes(&mut self.post, bytes);
    }

    fn audit(&mut self) {
        self.link.export().audit();
        self.post.audit();
    }

    /// Returns the messages that are written to the stream.
    fn written(&mut self) -> Vec<Vec<u8>> {
        let mut all = self.bytes_written();
        let messages = cut(&mut all);
        assert!(all.is_empty());
        messages
    }

    fn bytes_written(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let n = self.link.output(&self.post).len();
            if n == 0 {
                break;
            }
            all.extend_from_slice(self.link.output(&self.post));
            self.link.stream_wrote(&mut self.post, n);
            self.audit();
        }
        all
    }

    #[track_caller]
    fn wrote(&mut self, expected: &[Vec<u8>]) {
        assert_eq!(self.written(), expected);
    }

    fn tick(&mut self, seconds: u64) {
        let now = Duration::from_secs(seconds);
        self.post.tick(now);
        self.link.tick(&mut self.post, now);
        self.audit();
    }

    /// Connects a local client that offers 9P2000.L.
    pub(super) fn client(&mut self) -> ClientId {
        let id = self.post.client_connected();
        self.post.client_bytes(id, &version(MSIZE, L));
        id
    }

    pub(super) fn received(&mut self, id: ClientId) -> Vec<Vec<u8>> {
        let mut bytes = self.post.output(id).to_vec();
        self.post.client_wrote(id, bytes.len());
        cut(&mut bytes)
    }

    /// Makes the other end a server of the post, and attaches a local client.
    fn settled(&mut self) -> ClientId {
        let id = self.client();
        self.wrote(&[version(MSIZE, L)]);
        self.arrives(&rversion(MSIZE, L));
        assert_eq!(self.received(id), [rversion(MSIZE, L)]);
        self.post.client_bytes(id, &attach(crate::wire::Dialect::L, 1, 0, NOFID, "u", "a"));
        let mut sent = self.written();
        sent.retain(|message| message != &KEEPALIVE);
        self.arrives(&made(105, tag(&sent[0])).qid(0, 0).done());
        assert_eq!(kind(&self.received(id)[0]), 105);
        id
    }

    /// Makes the other end a client of the export, whose server has agreed to 9P2000.L, and attaches it.
    fn exporting(&mut self) {
        self.exporting_with(MSIZE);
    }

    fn exporting_with(&mut self, msize: u32) {
        self.arrives(&version(msize, L));
        assert!(self.link.export().wants_redial());
        self.link.export().server_connected();
        self.at_server();
        self.link.export().server_bytes(&rversion(msize, L));
        self.arrives(&attach(crate::wire::Dialect::L, 1, 0, NOFID, "u", "a"));
        let request = self.at_server().remove(0);
        self.link.export().server_bytes(&made(105, tag(&request)).qid(0, 0).done());
        assert_eq!(self.written().len(), 2);
    }

    /// Returns the requests that reach the export's server.
    fn at_server(&mut self) -> Vec<Vec<u8>> {
        let mut bytes = self.link.export().server_output().to_vec();
        self.link.export().server_wrote(bytes.len());
        cut(&mut bytes)
    }
}

#[test]
fn request_that_arrives_byte_by_byte_reaches_the_export_alone() {
    let mut bench = Bench::new(true);
    bench.exporting();
    for byte in read(5, 0, 0, 10) {
        bench.arrives(&[byte]);
    }
    assert_eq!(kind(&bench.at_server()[0]), 116);
    assert_eq!(bench.post.stats().dropped, 0);
}

#[test]
fn reply_without_a_request_is_dropped_and_the_link_goes_on() {
    let mut bench = Bench::new(true);
    bench.exporting();
    bench.arrives(&made(121, 17).done());
    bench.arrives(&rversion(MSIZE, L));
    assert_eq!(bench.post.stats().dropped, 2);
    assert!(bench.link.end_reason().is_none() && bench.written().is_empty());
}

#[test]
fn end_without_an_export_agrees_to_a_version_and_refuses_to_attach() {
    let mut bench = Bench::new(false);
    bench.arrives(&[
        0x15, 0, 0, 0, 0x64, 0xff, 0xff, 0, 0x20, 0, 0, 8, 0, b'9', b'P', b'2', b'0', b'0', b'0',
        b'.', b'L',
    ]);
    bench.wrote(&[rversion(MSIZE, L)]);
    bench.arrives(&attach(crate::wire::Dialect::L, 3, 0, NOFID, "u", "a"));
    bench.wrote(&[made(7, 3).u32(6).done()]);
    bench.arrives(&version(MSIZE, "9P2000"));
    bench.arrives(&attach(crate::wire::Dialect::Plain, 3, 0, NOFID, "u", "a"));
    bench.wrote(&[rversion(MSIZE, "9P2000"), made(107, 3).str("nothing is exported here").done()]);
}

#[test]
fn nothing_is_sent_before_a_local_client_asks() {
    let mut bench = Bench::new(true);
    bench.tick(0);
    assert_eq!(bench.link.next_deadline(&bench.post), None);
    bench.tick(60);
    assert!(bench.written().is_empty());
    bench.client();
    bench.wrote(&[version(MSIZE, L)]);
}

#[test]
fn versions_and_tags_of_the_two_directions_are_independent() {
    let mut bench = Bench::new(true);
    let id = bench.client();
    bench.wrote(&[version(MSIZE, L)]);
    // Both with NOTAG, in one read.
    bench.arrives(&[rversion(MSIZE, L), version(MSIZE, "9P2000")].concat());
    assert_eq!(bench.received(id), [rversion(MSIZE, L)]);
    bench.link.export().server_connected();
    assert_eq!(bench.at_server(), [version(MSIZE, "9P2000")]);
    bench.link.export().server_bytes(&rversion(MSIZE, "9P2000"));
    assert!(bench.written().contains(&rversion(MSIZE, "9P2000")));
    // The same tag in both directions.
    bench.post.client_bytes(id, &attach(crate::wire::Dialect::L, 1, 0, NOFID, "u", "a"));
    let request = bench.written().remove(0);
    bench.arrives(&attach(crate::wire::Dialect::Plain, tag(&request), 0, NOFID, "u", "a"));
    let inner = bench.at_server().remove(0);
    bench.arrives(&made(105, tag(&request)).qid(0, 1).done());
    assert_eq!(bench.received(id), [made(105, 1).qid(0, 1).done()]);
    bench.link.export().server_bytes(&made(105, tag(&inner)).qid(0, 2).done());
    bench.wrote(&[made(105, tag(&request)).qid(0, 2).done()]);
}

#[test]
fn other_end_that_does_not_reply_to_a_question_is_given_up() {
    let patience = Duration::from_secs(5);
    let mut bench = Bench::new(true);
    assert!(!bench.link.ask(&mut bench.post, patience), "it has not agreed to anything");
    let id = bench.settled();
    bench.arrives(&REPLY);
    bench.tick(2);
    assert!(bench.link.ask(&mut bench.post, patience) && bench.link.is_asked());
    bench.wrote(&[KEEPALIVE.to_vec()]);
    assert_eq!(bench.link.next_deadline(&bench.post), Some(Duration::from_secs(7)));
    bench.tick(6);
    bench.arrives(&REPLY[..1]);
    assert!(!bench.link.is_asked());
    bench.tick(8);
    bench.arrives(&REPLY[1..]);
    assert!(bench.link.ask(&mut bench.post, patience));
    bench.tick(13);
    assert_eq!(bench.link.end_reason(), Some(&LinkEnd::Silent(patience)));
    assert!(!bench.link.is_asked() && bench.post.is_closing(id));
}

#[test]
fn metadata_beside_large_replies_is_reported_for_a_short_time() {
    let mut bench = Bench::with(true, None);
    let id = bench.settled();
    bench.exporting();
    let reads = |bench: &mut Bench| {
        for tag in 10..20 {
            bench.arrives(&read(tag, 0, 0, 8000));
        }
        for request in bench.at_server() {
            let reply = made(117, tag(&request)).u32(8000).raw(&[7; 8000]).done();
            bench.link.export().server_bytes(&reply);
        }
        bench.bytes_written();
    };
    bench.tick(1);
    reads(&mut bench);
    assert!(!bench.link.is_mixed());
    bench.post.client_bytes(id, &of_fid(120, 3, 0));
    bench.bytes_written();
    assert!(bench.link.is_mixed());
    bench.tick(2);
    assert!(!bench.link.is_mixed());
    reads(&mut bench);
    assert!(!bench.link.is_mixed());
}

#[test]
fn end_for_lack_of_memory_says_so() {
    let mut bench = Bench::new(true);
    let config = LinkConfig { window: WINDOW, keepalive: None };
    let export = config.export(Config { msize: MSIZE, ..Config::default() }, true);
    let export = Engine::new(Config { max_memory: 4096, ..export });
    bench.link = Link::new(export, &config, Duration::ZERO);
    bench.exporting();
    // The rest of this request does not come.
    bench.arrives(&made(118, 2).raw(&[0; 8000]).done()[..7000]);
    bench.tick(1);
    assert_eq!(bench.link.end_reason(), Some(&LinkEnd::NoMemory));
}

#[test]
fn bytes_that_wait_to_be_read_are_a_sign_of_life() {
    let mut bench = Bench::new(true);
    bench.settled();
    bench.arrives(&KEEPALIVE);
    bench.written();
    // The program was stopped.
    bench.link.stream_readable(Duration::from_secs(1000));
    bench.tick(1000);
    assert_eq!(bench.link.end_reason(), None);
    bench.tick(1045);
    assert_eq!(bench.link.end_reason(), Some(&LinkEnd::Silent(3 * INTERVAL)));
}

#[test]
fn keepalive_is_answered_in_every_state() {
    let mut bench = Bench::new(true);
    bench.arrives(&KEEPALIVE);
    // The other end is known to be a link, so it is asked in turn.
    bench.wrote(&[REPLY.to_vec(), KEEPALIVE.to_vec()]);
    bench.exporting();
    bench.arrives(&KEEPALIVE);
    bench.wrote(&[REPLY.to_vec()]);
    bench.arrives(&REPLY);
    assert_eq!(bench.post.stats().dropped, 0);
    // A Tversion waits for the server of the export.
    let mut bench = Bench::new(true);
    bench.arrives(&version(MSIZE, L));
    bench.arrives(&KEEPALIVE);
    bench.wrote(&[REPLY.to_vec(), KEEPALIVE.to_vec()]);
}

#[test]
fn silent_link_is_dead_after_three_intervals() {
    let mut bench = Bench::new(true);
    bench.settled();
    bench.arrives(&REPLY);
    bench.tick(14);
    assert!(bench.written().is_empty());
    bench.tick(15);
    bench.wrote(&[KEEPALIVE.to_vec()]);
    bench.tick(44);
    assert!(bench.link.end_reason().is_none());
    bench.tick(45);
    let end = bench.link.end_reason().expect("it is dead");
    assert_eq!(end.to_string(), "the other end is silent for 45 seconds");
}

#[test]
fn message_shorter_than_its_header_ends_both_directions() {
    let mut bench = Bench::new(true);
    let id = bench.settled();
    bench.post.client_bytes(id, &read(7, 0, 0, 10));
    bench.arrives(&[6, 0, 0, 0, 100, 0]);
    assert!(matches!(bench.link.end_reason(), Some(LinkEnd::Garbled(_))));
    assert_eq!(bench.received(id), [made(7, 7).u32(5).done()]);
    assert!(bench.post.is_closing(id));
}

#[test]
fn text_that_looks_like_a_request_ends_both_directions() {
    for text in ["SSH-2.0-OpenSSH_9.2\r\n", "bash: 9pmux: command not found\n"] {
        for piece in [1, 4, 5, 100] {
            let mut bench = Bench::new(true);
            bench.client();
            text.as_bytes().chunks(piece).for_each(|piece| bench.arrives(piece));
            let Some(LinkEnd::Garbled(what)) = bench.link.end_reason() else { panic!("{text}") };
            // A part of the text may not have arrived.
            assert!(what.starts_with(&format!("text: '{}", &text[..7])), "{what}");
        }
    }
}

#[test]
fn bytes_that_are_no_reply_end_both_directions() {
    let mut bench = Bench::new(true);
    bench.settled();
    bench.arrives(&made(117, 1).raw(&vec![0; MSIZE as usize]).done());
    assert!(matches!(bench.link.end_reason(), Some(LinkEnd::Garbled(_))));
}

#[test]
fn end_of_a_server_or_client_does_not_end_the_link() {
    let mut bench = Bench::new(true);
    let id = bench.settled();
    bench.exporting();
    bench.link.export().server_gone();
    bench.arrives(&made(24, 4).u32(0).u64(0).done());
    assert!(bench.written().contains(&made(7, 4).u32(2).done()));
    bench.post.client_gone(id);
    assert_eq!(kind(&bench.written()[0]), 120, "its fid is clunked over the link");
    assert!(bench.link.end_reason().is_none());
    bench.arrives(&attach(crate::wire::Dialect::L, 1, 9, NOFID, "u", "a"));
    assert!(bench.link.export().wants_redial());
}

#[test]
fn end_of_the_stream_cleans_up_at_both_sides() {
    let mut bench = Bench::new(true);
    let id = bench.settled();
    bench.exporting();
    bench.arrives(&read(5, 0, 0, 10));
    bench.post.client_bytes(id, &read(7, 0, 0, 10));
    assert_eq!(bench.at_server().len(), 1);
    // Half a message has arrived.
    bench.arrives(&read(6, 0, 0, 10)[..9]);
    bench.link.stream_gone(&mut bench.post);
    assert_eq!(bench.link.end_reason(), Some(&LinkEnd::Closed));
    assert_eq!(bench.received(id), [made(7, 7).u32(5).done()]);
    let requests = bench.at_server();
    assert!(requests.iter().any(|request| kind(request) == 108), "the read is flushed");
    bench.link.export().server_bytes(&made(109, tag(&requests[0])).done());
    assert_eq!(kind(&bench.at_server()[0]), 120, "its fid is clunked");
}

#[test]
fn hanging_up_completes_the_message_that_is_partly_written() {
    let mut bench = Bench::new(true);
    let id = bench.settled();
    bench.exporting();
    bench.written();
    bench.arrives(&read(5, 0, 0, 10));
    bench.post.client_bytes(id, &read(7, 0, 0, 10));
    let mut all = bench.link.output(&bench.post)[..9].to_vec();
    bench.link.stream_wrote(&mut bench.post, 9);
    bench.link.hang_up(&mut bench.post);
    bench.audit();
    all.extend(bench.bytes_written());
    let messages = cut(&mut all);
    assert_eq!(kind(&messages[0]), 116);
    assert_eq!(messages[1..], [made(7, 5).u32(5).done()]);
    assert_eq!(bench.received(id), [made(7, 7).u32(5).done()]);
}

#[test]
fn reading_is_held_back_only_while_no_reply_is_expected() {
    let mut bench = Bench::with(true, None);
    bench.exporting();
    // The server does not read, so requests pile up until this end stops reading the stream.
    let mut sent = 0;
    while bench.link.wants_read(&bench.post) {
        bench.arrives_unchecked(&read(10 + sent, 0, 0, 10));
        sent += 1;
        assert!(sent < 60_000);
    }
    assert!(usize::from(sent) > MAX_REQUESTS);
    // With a request of its own at the other end it must read.
    let id = bench.client();
    bench.written();
    assert!(bench.link.wants_read(&bench.post));
    bench.arrives(&rversion(MSIZE, L));
    assert_eq!(bench.received(id), [rversion(MSIZE, L)]);
    assert!(!bench.link.wants_read(&bench.post));
    bench.post.client_bytes(id, &attach(crate::wire::Dialect::L, 1, 0, NOFID, "u", "a"));
    assert!(bench.link.wants_read(&bench.post));
    let request = bench.written().pop().expect("the Tattach is the last message");
    bench.arrives(&made(105, tag(&request)).qid(0, 0).done());
    assert!(!bench.link.wants_read(&bench.post));
}

#[test]
fn reading_is_not_held_back_while_a_keepalive_has_no_reply() {
    let mut bench = Bench::new(true);
    bench.exporting();
    let mut sent = 0;
    while bench.link.wants_read(&bench.post) {
        bench.arrives_unchecked(&read(10 + sent, 0, 0, 10));
        sent += 1;
    }
    // The other end is known to be a link now, and is asked in turn.
    bench.arrives(&KEEPALIVE);
    assert!(bench.written().contains(&KEEPALIVE.to_vec()));
    assert!(bench.link.wants_read(&bench.post));
    bench.arrives(&REPLY);
    assert!(!bench.link.wants_read(&bench.post));
}

/// Both engines of an end have had many large buffers, which are empty now.
#[test]
fn little_memory_of_empty_buffers_is_kept() {
    const COUNT: u32 = 7000;
    let mut bench = Bench::with(true, None);
    bench.exporting();
    let first = bench.settled();
    let mut clients = vec![first];
    for _ in 0..99 {
        let id = bench.client();
        bench.received(id);
        bench.post.client_bytes(id, &attach(crate::wire::Dialect::L, 1, 0, NOFID, "u", "a"));
        let request = bench.written().pop().expect("a Tattach");
        bench.arrives_unchecked(&made(105, tag(&request)).qid(0, 0).done());
        bench.received(id);
        clients.push(id);
    }
    let data =
        |request: &[u8]| made(117, tag(request)).u32(COUNT).raw(&vec![7; COUNT as usize]).done();
    // The replies for all clients are there before a client reads, and those for the other end before it does.
    for id in &clients {
        bench.post.client_bytes(*id, &read(1, 0, 0, COUNT));
        bench.arrives_unchecked(&read(id.index() as u16, 0, 0, COUNT));
    }
    for request in bench.written() {
        bench.arrives_unchecked(&data(&request));
    }
    for request in bench.at_server() {
        bench.link.export().server_bytes(&data(&request));
    }
    assert!(bench.link.export.held_bytes(bench.link.far) > 100 * COUNT as usize);
    bench.written();
    for id in &clients {
        assert_eq!(bench.received(*id).len(), 1);
    }
    for engine in [&bench.link.export, &bench.post] {
        let kept = engine.stats().spare_bytes;
        assert!(kept > 0 && kept <= WINDOW / 4, "{kept} bytes");
    }
}

#[test]
fn far_end_that_sends_too_much_is_refused_and_then_cut_off() {
    let mut bench = Bench::with(true, None);
    bench.exporting();
    let id = bench.settled();
    bench.post.client_bytes(id, &read(7, 0, 0, 10));
    bench.written();
    let (mut sent, mut refused) = (0, 0);
    while bench.link.end_reason().is_none() {
        bench.arrives_unchecked(&read(10 + sent, 0, 0, 10));
        sent += 1;
        let held = bench.link.export.held_bytes(bench.link.far);
        assert!(held < 2 * WINDOW + 70 * 1024, "{held}");
        assert!(sent < 20_000);
        if usize::from(sent) == 2 * MAX_REQUESTS + 1 {
            refused = bench.link.refusals.len();
        }
    }
    assert_eq!(refused, 1);
    let end = bench.link.end_reason().expect("it has ended").to_string();
    assert_eq!(end, "the other end sends more than a link allows");
    assert!(usize::from(sent) > 2 * MAX_REQUESTS + 64 * 1024 / 11);
}

#[test]
fn reads_that_do_not_fit_are_refused_and_the_link_goes_on() {
    let mut bench = Bench::with(true, None);
    bench.exporting();
    let id = bench.settled();
    bench.post.client_bytes(id, &read(7, 0, 0, 10));
    bench.written();
    // They arrive together, and each needs little room but for its reply.
    let reads: Vec<u8> = (10..2010).flat_map(|tag| read(tag, 0, 0, 8000)).collect();
    bench.arrives(&reads);
    assert_eq!(bench.link.end_reason(), None);
    let held = bench.link.export.held_bytes(bench.link.far);
    assert!(held < 2 * WINDOW + 64 * 1024, "{held}");
    let accepted = bench.at_server().len();
    assert!(accepted >= 2 * WINDOW / 8011, "{accepted}");
    let refused = bench.written();
    assert_eq!(refused.len() + accepted, 2000);
    assert!(refused.iter().all(|reply| kind(reply) == 7 && u32_at(reply, 7) == 11));
}

#[test]
fn plain_client_may_have_more_reads_than_a_link() {
    let mut bench = Bench::with(true, None);
    bench.exporting();
    let reads: Vec<u8> = (10..2010).flat_map(|tag| read(tag, 0, 0, 8000)).collect();
    bench.arrives(&reads);
    assert_eq!(bench.at_server().len(), 2000);
    assert!(bench.link.export.held_bytes(bench.link.far) > 3 * WINDOW + 64 * 1024);
    assert_eq!(bench.link.end_reason(), None);
    // From now on this end expects a reply, and must read.
    bench.client();
    bench.arrives(&read(2010, 0, 0, 8000));
    assert_eq!(bench.link.end_reason(), None);
}

#[test]
fn read_that_exceeds_the_window_is_accepted_alone() {
    let msize = 1 << 20;
    let mut bench = Bench::sized(1 << 18, msize, true, None);
    bench.exporting_with(msize);
    bench.client();
    bench.arrives(&read(1, 0, 0, msize - 24));
    assert_eq!(bench.link.end_reason(), None);
    assert_eq!(bench.at_server().len(), 1);
}

#[test]
fn refused_clunk_releases_its_fid_and_a_flush_is_not_refused() {
    let mut bench = Bench::with(true, None);
    bench.exporting();
    let id = bench.settled();
    bench.post.client_bytes(id, &read(7, 0, 0, 10));
    bench.written();
    for tag in 0..2 * MAX_REQUESTS as u16 {
        bench.arrives_unchecked(&read(10 + tag, 0, 0, 10));
    }
    let before = bench.at_server().len();
    assert!(before > 0);
    bench.arrives(&of_fid(120, 60_000, 0));
    assert_eq!(bench.written()[0], made(7, 60_000).u32(11).done());
    bench.arrives(&flush(60_001, 10));
    // The reads that waited for the fid have got errors, which this client pays with its next turns.
    let mut is_flushed = false;
    for _ in 0..100 {
        bench.tick(0);
        is_flushed |= bench.at_server().iter().any(|message| kind(message) == 108);
    }
    assert!(is_flushed);
    // The fid is unknown now, and is clunked when the reads of it have their replies.
    assert_eq!(bench.link.export.client_info(bench.link.far).map(|info| info.fids), Some(0));
    assert!(u32_at(&REPLY, 0) == 7 && bench.link.end_reason().is_none());
}

#[test]
fn endless_keepalives_that_are_not_read_end_the_link() {
    let mut bench = Bench::new(true);
    for _ in 0..64 * 1024 / 7 {
        bench.arrives(&KEEPALIVE);
    }
    assert!(bench.link.end_reason().is_none());
    // Those that are written do not count.
    bench.written();
    for _ in 0..64 * 1024 / 7 {
        bench.arrives(&KEEPALIVE);
    }
    assert!(bench.link.end_reason().is_none());
    for _ in 0..10 {
        bench.arrives(&KEEPALIVE);
    }
    assert_eq!(bench.link.end_reason(), Some(&LinkEnd::TooMuch));
}

#[test]
fn no_request_has_the_tag_of_a_keepalive() {
    let mut bench = Bench::with(false, None);
    bench.settled();
    let config = LinkConfig { window: 1 << 30, keepalive: None };
    let base = Config { max_inflight: 60_000, ..Config::default() };
    assert_eq!(config.post(base).max_inflight_all, MAX_REQUESTS);
    // The tag pool of an engine has at most this many tags, from 0 on.
    let tags = Config::default().max_inflight_all;
    assert!(tags + tags.div_ceil(64) < 0xfffe);
}

/// The other end sends anything: requests and replies that may be valid, in any order, and cut anywhere.
#[test]
fn any_bytes_of_the_other_end_leave_the_tables_consistent_and_bounded() {
    let mut ends = 0;
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let mut bench = Bench::new(random.one_in(2));
        let id = bench.client();
        for _ in 0..300 {
            let tag = *random.pick(&[0, 1, 2, 0xfffe, 0xffff]);
            let fid = random.below(4) as u32;
            let message = match random.below(14) {
                0 => version(MSIZE, [L, "9P2000", "x"][random.below(3)]),
                1 => attach(crate::wire::Dialect::L, tag, fid, NOFID, "u", "a"),
                2 => walk(tag, fid, random.below(4) as u32, &[]),
                3 => read(tag, fid, 0, random.below(9000) as u32),
                4 => of_fid(120, tag, fid),
                5 => flush(tag, *random.pick(&[0, 1, 0xffff])),
                6 => rversion(MSIZE, L),
                7 => made(105, tag).qid(0, 0).done(),
                8 => made(117, tag).u32(1).raw(&[7]).done(),
                9 => made(7, tag).u32(5).done(),
                10 => KEEPALIVE.to_vec(),
                11 => REPLY.to_vec(),
                12 => made(random.next() as u8, tag).raw(&vec![1; random.below(40)]).done(),
                _ if random.one_in(20) => vec![random.next() as u8; 1 + random.below(20)],
                _ => rwalk(tag, 0),
            };
            let cut = random.below(message.len() + 1);
            bench.arrives(&message[..cut]);
            bench.arrives(&message[cut..]);
            match random.below(8) {
                0 => drop(bench.bytes_written()),
                1 => {
                    bench.post.client_bytes(id, &read(random.below(50) as u16, 0, 0, 100));
                    bench.received(id);
                }
                2 if bench.link.wants_server() => bench.link.export().server_connected(),
                3 => {
                    for request in bench.at_server() {
                        let reply = match kind(&request) {
                            100 => rversion(MSIZE, L),
                            105 => made(105, tag).qid(0, 0).done(),
                            kind => made(kind + 1, crate::wire::tag(&request)).done(),
                        };
                        bench.link.export().server_bytes(&reply);
                    }
                }
                4 if random.one_in(10) => bench.link.export().server_gone(),
                5 => bench.tick(0),
                _ => {}
            }
            bench.audit();
            assert!(bench.link.export.held_bytes(bench.link.far) < 4 * WINDOW);
        }
        ends += usize::from(bench.link.end_reason().is_some());
    }
    assert!(ends > 20 && ends < 180, "{ends} of 200 streams were not 9P");
}
