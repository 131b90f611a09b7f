use super::*;

fn bytes(kind: u8, tag: u16, body: &[u8]) -> Vec<u8> {
    let mut message = (HEADER as u32 + body.len() as u32).to_le_bytes().to_vec();
    message.push(kind);
    message.extend(tag.to_le_bytes());
    message.extend(body);
    message
}

#[test]
fn frame_finds_the_end_of_a_message() {
    let message = bytes(120, 5, &[1, 0, 0, 0]);
    for length in 0..message.len() {
        assert_eq!(frame(&message[..length], 11), Frame::Incomplete);
    }
    assert_eq!(frame(&message, 11), Frame::Message(11));
    assert_eq!(frame(&[&message[..], b"next"].concat(), 11), Frame::Message(11));
    assert_eq!(frame(&message, 10), Frame::TooLarge(11));
    assert_eq!(frame(&message[..7], 10), Frame::TooLarge(11));
    assert_eq!(frame(&message[..6], 10), Frame::Incomplete, "its tag is not there yet");
    for size in 0..7u32 {
        assert_eq!(frame(&size.to_le_bytes(), 10), Frame::TooSmall);
    }
    assert_eq!(frame(&[0xFF; 7], u32::MAX - 1), Frame::TooLarge(u32::MAX));
}

/// The places of fids, counted from after the header, as manuals and other implementations have them.
#[test]
fn fid_offsets_agree_with_the_manuals() {
    use FidUse::*;
    type Row = (&'static str, u8, &'static [(u32, FidUse)]);
    let all: &[Row] = &[
        ("ul.", 102, &[(0, CreatesAuth)]),
        ("ul.", 104, &[(0, Creates), (4, Authenticates)]),
        ("ul.", 108, &[]),
        ("ul.", 110, &[(0, Uses), (4, CreatesOnFullWalk)]),
        ("u.", 112, &[(0, Uses)]),
        ("u.", 114, &[(0, Uses)]),
        ("ul.", 116, &[(0, Uses)]),
        ("ul.", 118, &[(0, Uses)]),
        ("ul.", 120, &[(0, Releases)]),
        ("ul.", 122, &[(0, Releases)]),
        ("u.", 124, &[(0, Uses)]),
        ("u.", 126, &[(0, Uses)]),
        ("u.", 98, &[(0, ReleasesOnSuccess)]),
        ("l", 8, &[(0, Uses)]),
        ("l", 12, &[(0, Uses)]),
        ("l", 14, &[(0, Uses)]),
        ("l", 16, &[(0, Uses)]),
        ("l", 18, &[(0, Uses)]),
        ("l", 20, &[(0, Uses), (4, Uses)]),
        ("l", 22, &[(0, Uses)]),
        ("l", 24, &[(0, Uses)]),
        ("l", 26, &[(0, Uses)]),
        ("l", 30, &[(0, Uses), (4, Creates)]),
        ("l", 32, &[(0, Uses)]),
        ("l", 40, &[(0, Uses)]),
        ("l", 50, &[(0, Uses)]),
        ("l", 52, &[(0, Uses)]),
        ("l", 54, &[(0, Uses)]),
        ("l", 70, &[(0, Uses), (4, Uses)]),
        ("l", 72, &[(0, Uses)]),
        ("l", 74, &[(0, Uses), (6, Uses)]),
        ("l", 76, &[(0, Uses)]),
    ];
    let mut known = 0;
    for (dialect, letter) in [(Dialect::Plain, "."), (Dialect::U, "u"), (Dialect::L, "l")] {
        for kind in (0..=254).step_by(2) {
            let message = bytes(kind, 1, &[0; 200]);
            let expected = all.iter().find(|row| row.1 == kind && row.0.contains(letter));
            match (check_request(dialect, &message), expected) {
                (Ok(offsets), Some((_, _, fids))) => {
                    let found: Vec<_> = offsets.fids().iter().map(|f| (f.0 - 7, f.1)).collect();
                    assert_eq!(found, *fids, "type {kind}");
                    known += 1;
                }
                (Ok(_), None) => assert_eq!(kind, 100),
                (Err(why), None) => assert_eq!(why, Malformed::Type, "type {kind}"),
                (Err(why), Some(_)) => panic!("type {kind}: {why:?}"),
            }
        }
    }
    assert_eq!(known, 13 + 13 + 8 + 19);
}

/// How many bytes a message of each type has after its header, when all its counts are 0: T, then R.
#[test]
fn message_lengths_agree_with_the_manuals() {
    type Row = (&'static str, u8, usize, usize);
    let all: &[Row] = &[
        ("l", 8, 4, 60),
        ("l", 12, 4 + 4, 13 + 4),
        ("l", 14, 4 + 2 + 4 + 4 + 4, 13 + 4),
        ("l", 16, 4 + 2 + 2 + 4, 13),
        ("l", 18, 4 + 2 + 4 + 4 + 4 + 4, 13),
        ("l", 20, 4 + 4 + 2, 0),
        ("l", 22, 4, 2),
        ("l", 24, 4 + 8, 8 + 13 + 3 * 4 + 15 * 8),
        ("l", 26, 4 + 4 + 3 * 4 + 8 + 4 * 8, 0),
        ("l", 30, 4 + 4 + 2, 8),
        ("l", 32, 4 + 2 + 8 + 4, 0),
        ("l", 40, 4 + 8 + 4, 4),
        ("l", 50, 4, 0),
        ("l", 52, 4 + 1 + 4 + 8 + 8 + 4 + 2, 1),
        ("l", 54, 4 + 1 + 8 + 8 + 4 + 2, 1 + 8 + 8 + 4 + 2),
        ("l", 70, 4 + 4 + 2, 0),
        ("l", 72, 4 + 2 + 4 + 4, 13),
        ("l", 74, 4 + 2 + 4 + 2, 0),
        ("l", 76, 4 + 2 + 4, 0),
        (".u", 98, 4 + 1, 13 + 4 + 4),
        (".ul", 100, 4 + 2, 4 + 2),
        (".", 102, 4 + 2 + 2, 13),
        ("ul", 102, 4 + 2 + 2 + 4, 13),
        (".", 104, 4 + 4 + 2 + 2, 13),
        ("ul", 104, 4 + 4 + 2 + 2 + 4, 13),
        (".ul", 108, 2, 0),
        (".ul", 110, 4 + 4 + 2, 2),
        (".u", 112, 4 + 1, 13 + 4),
        (".", 114, 4 + 2 + 4 + 1, 13 + 4),
        ("u", 114, 4 + 2 + 4 + 1 + 2, 13 + 4),
        (".ul", 116, 4 + 8 + 4, 4),
        (".ul", 118, 4 + 8 + 4, 4),
        (".ul", 120, 4, 0),
        (".ul", 122, 4, 0),
        (".u", 124, 4, 2),
        (".u", 126, 4 + 2, 0),
    ];
    for (dialect, letter) in [(Dialect::Plain, "."), (Dialect::U, "u"), (Dialect::L, "l")] {
        let mut known = 0;
        for (_, kind, request, reply) in all.iter().filter(|row| row.0.contains(letter)) {
            known += 1;
            let fits = |length| check_request(dialect, &bytes(*kind, 1, &vec![0; length])).is_ok();
            assert!(fits(*request) && fits(request + 9) && !fits(request - 1), "T of {kind}");
            let fits = |length| check_reply(dialect, &bytes(kind + 1, 1, &vec![0; length])).is_ok();
            assert!(fits(*reply) && fits(reply + 1), "R of {kind}");
            assert!(*reply == 0 || !fits(reply - 1), "R of {kind}");
        }
        let in_table =
            MESSAGES.iter().filter(|row| row.dialects.contains(dialect) && row.request.is_some());
        assert_eq!(in_table.count(), known);
    }
}

#[test]
fn fid_after_a_name_is_found() {
    for length in [0u16, 1, 300] {
        let mut body = vec![1, 0, 0, 0];
        body.extend(length.to_le_bytes());
        body.extend(vec![b'x'; length as usize]);
        body.extend([2, 0, 0, 0, 1, 0, b'y']);
        let offsets = check_request(Dialect::L, &bytes(74, 1, &body)).unwrap();
        assert_eq!(offsets.fids()[1], (7 + 6 + u32::from(length), FidUse::Uses));
        // Each byte less is one too few.
        for less in 0..body.len() {
            let checked = check_request(Dialect::L, &bytes(74, 1, &body[..less]));
            assert_eq!(checked.unwrap_err(), Malformed::Size);
        }
    }
}

#[test]
fn counts_and_iounits_are_found() {
    let read = bytes(116, 1, &[0; 16]);
    assert_eq!(check_request(Dialect::U, &read).unwrap().count, Some(19));
    let readdir = bytes(40, 1, &[0; 16]);
    assert_eq!(check_request(Dialect::L, &readdir).unwrap().count, Some(19));
    for (dialect, kind) in
        [(Dialect::Plain, 113), (Dialect::U, 115), (Dialect::L, 13), (Dialect::L, 15)]
    {
        let reply = check_reply(dialect, &bytes(kind, 1, &[0; 17])).unwrap();
        assert_eq!(reply.iounit, Some(20));
        assert!(check_reply(dialect, &bytes(kind, 1, &[0; 16])).is_err());
    }
    let walked = bytes(111, 1, &[&[2, 0][..], &[0; 26]].concat());
    assert_eq!(check_reply(Dialect::Plain, &walked).unwrap().walked, 2);
    assert!(check_reply(Dialect::Plain, &walked[..walked.len() - 1]).is_err());
}

#[test]
fn errors_exist_only_in_their_dialect() {
    let plain = bytes(107, 1, b"\x02\0no");
    let u = bytes(107, 1, b"\x02\0no\x05\0\0\0");
    let l = bytes(7, 1, b"\x05\0\0\0");
    let fits = |dialect, message: &[u8]| check_reply(dialect, message).is_ok();
    assert!(fits(Dialect::Plain, &plain) && !fits(Dialect::U, &plain) && !fits(Dialect::L, &plain));
    assert!(fits(Dialect::U, &u) && !fits(Dialect::L, &u));
    assert!(fits(Dialect::L, &l) && !fits(Dialect::Plain, &l) && !fits(Dialect::U, &l));
    for dialect in Dialect::ALL {
        assert!(check_request(dialect, &bytes(dialect.error_type() - 1, 1, &[0; 60])).is_err());
        assert!(check_request(dialect, &bytes(117, 1, &[0; 60])).is_err());
        assert!(check_reply(dialect, &bytes(116, 1, &[0; 60])).is_err());
    }
}

#[test]
fn old_tfsync_without_datasync_is_accepted() {
    assert!(check_request(Dialect::L, &bytes(50, 1, &[0; 4])).is_ok());
    assert!(check_request(Dialect::L, &bytes(50, 1, &[0; 6])).is_err());
    assert!(check_request(Dialect::L, &bytes(50, 1, &[0; 8])).is_ok());
}

#[test]
fn arbitrary_bytes_never_panic() {
    let mut random = 7u64;
    for _ in 0..200_000 {
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) as u8
        };
        let length = next() as usize % 60;
        let body: Vec<u8> =
            (0..length).map(|_| if next() % 3 > 0 { next() % 4 } else { next() }).collect();
        let message = bytes(next(), 1, &body);
        for dialect in Dialect::ALL {
            if let Ok(offsets) = check_request(dialect, &message) {
                assert!(offsets.fids().iter().all(|fid| fid.0 as usize + 4 <= message.len()));
                assert!(offsets.count.is_none_or(|at| at as usize + 4 <= message.len()));
                assert!(offsets.end as usize <= message.len());
            }
            let _ = check_reply(dialect, &message);
            assert!(!show(dialect, &message).to_string().contains(['\n', '\0']));
        }
        let _ = version(&message);
    }
}

#[test]
fn messages_are_shown_as_text() {
    let shown = |dialect, message: &[u8]| show(dialect, message).to_string();
    let walk = bytes(110, 3, b"\x01\0\0\0\x02\0\0\0\x02\0\x03\0usr\x02\0a\0");
    assert_eq!(shown(Dialect::L, &walk), r"Twalk tag 3 fid 1 newfid 2 wname ['usr' 'a\0']");
    assert_eq!(
        shown(Dialect::L, &walk[..20]),
        "Twalk tag 3 fid 1 newfid 2 (does not fit its 20 bytes)"
    );
    let attach = bytes(104, 1, b"\0\0\0\0\xff\xff\xff\xff\x01\0u\x02\0\xff\n");
    assert_eq!(
        shown(Dialect::Plain, &attach),
        r"Tattach tag 1 fid 0 afid NOFID uname 'u' aname '\xff\n'"
    );
    let error = bytes(107, 0xFFFF, b"\x02\0no\x05\0\0\0");
    assert_eq!(shown(Dialect::U, &error), "Rerror tag NOTAG ename 'no' errno 5");
    assert_eq!(shown(Dialect::Plain, &error), "Rerror tag NOTAG ename 'no' and 4 bytes more");
    assert_eq!(shown(Dialect::Plain, &bytes(200, 1, &[])), "T#200 tag 1 (7 bytes)");
    assert_eq!(shown(Dialect::Plain, b"xy"), "(2 bytes, less than a header)");
    let read = bytes(117, 1, b"\x03\0\0\0abc");
    assert_eq!(shown(Dialect::Plain, &read), "Rread tag 1 data (3 bytes)");
}
