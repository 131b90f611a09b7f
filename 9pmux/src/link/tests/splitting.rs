//! The splitter, with its input cut everywhere.

use crate::engine::fuzz::messages::{Random, cut, flush, made, of_fid, read, rversion, version};
use crate::link::splitter::{Rules, Sink, Splitter, TooSmall};
use crate::wire::kind;

const KEEPALIVE: [u8; 9] = [9, 0, 0, 0, 0x6c, 0xfe, 0xff, 0xff, 0xff];
const REPLY: [u8; 7] = [7, 0, 0, 0, 0x6d, 0xfe, 0xff];

/// The parts of a stream, in order. Bytes for the same side are joined.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Export(Vec<u8>),
    Post(Vec<u8>),
    Keepalive,
    Reply,
    Refused(u16, Option<u32>),
}

struct Parts {
    parts: Vec<Part>,
    awaits_reply: bool,
    /// The number of requests that are accepted. Requests for the export are counted when they are complete.
    requests: usize,
}

impl Sink for Parts {
    fn rules(&mut self) -> Rules {
        let Parts { awaits_reply, requests, .. } = *self;
        Rules { awaits_reply, requests, bytes: usize::MAX }
    }

    fn to_export(&mut self, bytes: &[u8]) {
        match self.parts.last_mut() {
            Some(Part::Export(last)) => last.extend(bytes),
            _ => self.parts.push(Part::Export(bytes.to_vec())),
        }
    }

    fn to_post(&mut self, bytes: &[u8]) {
        match self.parts.last_mut() {
            Some(Part::Post(last)) => last.extend(bytes),
            _ => self.parts.push(Part::Post(bytes.to_vec())),
        }
    }

    fn keepalive(&mut self) {
        self.parts.push(Part::Keepalive);
    }

    fn keepalive_reply(&mut self) {
        self.awaits_reply = false;
        self.parts.push(Part::Reply);
    }

    fn refuse(&mut self, tag: u16, releases: Option<u32>) {
        self.parts.push(Part::Refused(tag, releases));
    }
}

fn split(
    pieces: &[&[u8]],
    awaits_reply: bool,
    requests: usize,
) -> (Vec<Part>, Result<(), TooSmall>) {
    let mut parts = Parts { parts: Vec::new(), awaits_reply, requests };
    let mut splitter = Splitter::new();
    for piece in pieces {
        if let Err(error) = splitter.feed(piece, &mut parts) {
            return (parts.parts, Err(error));
        }
    }
    assert!(splitter.is_between_messages());
    (parts.parts, Ok(()))
}

/// Checks that the stream has these parts, whole, in single bytes, and cut at every two places.
#[track_caller]
fn check(stream: &[u8], awaits_reply: bool, requests: usize, expected: &[Part]) {
    assert_eq!(split(&[stream], awaits_reply, requests).0, expected);
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(split(&bytes, awaits_reply, requests).0, expected);
    for first in 0..=stream.len() {
        for second in first..=stream.len() {
            let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
            assert_eq!(split(&pieces, awaits_reply, requests).0, expected, "{first} {second}");
        }
    }
}

#[test]
fn even_types_go_to_the_export_and_odd_types_to_the_post() {
    let requests = [version(8192, "9P2000.L"), read(1, 2, 3, 4), flush(1, 2), flush(0xfffe, 2)];
    let replies =
        [rversion(8192, "9P2000.L"), made(117, 1).u32(3).raw(b"abc").done(), REPLY.to_vec()];
    let mut stream = requests.concat();
    let mut expected = vec![Part::Export(requests.concat())];
    stream.extend(replies.concat());
    expected.push(Part::Post(replies.concat()));
    stream.extend(made(98, 1).done());
    expected.push(Part::Export(made(98, 1).done()));
    check(&stream, false, usize::MAX, &expected);
}

#[test]
fn keepalives_reach_neither_side() {
    let request = of_fid(120, 1, 2);
    let reply = made(121, 1).done();
    // Any reply with the tag counts, whatever its type and length.
    for answer in [REPLY.to_vec(), made(107, 0xfffe).str("no version").done()] {
        let stream =
            [&request[..], &KEEPALIVE, &request, &answer, &reply, &answer, &KEEPALIVE].concat();
        let expected = [
            Part::Export(request.clone()),
            Part::Keepalive,
            Part::Export(request.clone()),
            Part::Reply,
            Part::Post([&reply[..], &answer].concat()),
            Part::Keepalive,
        ];
        check(&stream, true, usize::MAX, &expected);
    }
}

#[test]
fn refused_requests_are_passed_over() {
    let clunk = of_fid(120, 5, 77);
    let remove = of_fid(122, 6, 78);
    let short = made(120, 8).u16(1).done();
    let reply = made(121, 1).done();
    let stream =
        [&read(4, 1, 2, 3)[..], &reply, &clunk, &remove, &short, &flush(9, 4), &version(8192, "x")]
            .concat();
    let expected = [
        Part::Refused(4, None),
        Part::Post(reply),
        Part::Refused(5, Some(77)),
        Part::Refused(6, Some(78)),
        Part::Refused(8, None),
        Part::Export([flush(9, 4), version(8192, "x")].concat()),
    ];
    check(&stream, false, 0, &expected);
}

#[test]
fn requests_are_refused_only_when_all_before_were_handed_on() {
    // The export replies at once, so that there is room for one request again.
    let mut sink = Counts {
        parts: Parts { parts: Vec::new(), awaits_reply: false, requests: 1 },
        questions: 0,
        replies: true,
    };
    let stream = [read(1, 2, 3, 4), read(2, 2, 3, 4), read(3, 2, 3, 4)].concat();
    Splitter::new().feed(&stream, &mut sink).unwrap();
    assert_eq!(sink.parts.parts, [Part::Export(stream)]);
}

#[test]
fn refused_requests_and_keepalives_do_not_ask_for_the_rules_again() {
    let mut sink = Counts {
        parts: Parts { parts: Vec::new(), awaits_reply: false, requests: 2 },
        questions: 0,
        replies: false,
    };
    let reply = made(121, 1).done();
    let stream: Vec<u8> = (0..1000u16)
        .flat_map(|tag| [&read(tag, 2, 3, 4)[..], &reply, &KEEPALIVE, &flush(tag, 7)].concat())
        .collect();
    Splitter::new().feed(&stream, &mut sink).unwrap();
    let refused = sink.parts.parts.iter().filter(|part| matches!(part, Part::Refused(..)));
    assert_eq!((refused.count(), sink.questions), (998, 2));
}

/// Counts how often the rules are asked for.
struct Counts {
    parts: Parts,
    questions: usize,
    /// Whether there is room again for each request that the export has received.
    replies: bool,
}

impl Sink for Counts {
    fn rules(&mut self) -> Rules {
        self.questions += 1;
        self.parts.rules()
    }

    fn to_export(&mut self, bytes: &[u8]) {
        self.parts.to_export(bytes);
        let reads = cut(&mut bytes.to_vec()).iter().filter(|message| kind(message) == 116).count();
        self.parts.requests -= if self.replies { 0 } else { reads };
    }

    fn to_post(&mut self, bytes: &[u8]) {
        self.parts.to_post(bytes);
    }

    fn keepalive(&mut self) {
        self.parts.keepalive();
    }

    fn keepalive_reply(&mut self) {
        self.parts.keepalive_reply();
    }

    fn refuse(&mut self, tag: u16, releases: Option<u32>) {
        self.parts.refuse(tag, releases);
    }
}

#[test]
fn a_size_below_the_header_is_an_error() {
    let request = of_fid(120, 1, 2);
    for size in 0..7u8 {
        let stream = [&request[..], &[size, 0, 0, 0, 100, 0, 0]].concat();
        for cut in 0..=stream.len() {
            let (parts, result) = split(&[&stream[..cut], &stream[cut..]], false, usize::MAX);
            assert_eq!((parts, result), (vec![Part::Export(request.clone())], Err(TooSmall)));
        }
    }
}

#[test]
fn random_streams_are_split_alike_however_they_are_cut() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let mut stream = Vec::new();
        for _ in 0..random.below(20) {
            let kind = *random.pick(&[100, 101, 107, 108, 109, 110, 116, 117, 120, 122, 255]);
            let tag = *random.pick(&[0, 1, 0xfffe, 0xffff]);
            let body = vec![random.next() as u8 | 0xfe; random.below(30)];
            stream.extend(made(kind, tag).raw(&body).done());
            if random.one_in(3) {
                stream.extend(KEEPALIVE);
            }
        }
        let (awaits, requests) = (random.one_in(2), random.below(2) * 1000);
        let whole = split(&[&stream], awaits, requests);
        let mut pieces = Vec::new();
        let mut rest = &stream[..];
        while !rest.is_empty() {
            let n = (1 + random.below(12)).min(rest.len());
            pieces.push(&rest[..n]);
            rest = &rest[n..];
        }
        assert_eq!(split(&pieces, awaits, requests), whole, "seed {seed}");
    }
}
