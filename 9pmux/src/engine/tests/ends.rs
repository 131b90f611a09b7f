//! Invalid messages from the server, and the end of the server.

use std::time::Duration;

use super::LocalError::*;
use super::bench::{Bench, MSIZE};
use super::messages::*;
use crate::engine::{Config, EndReason, Engine};
use crate::wire::{Dialect, tag};

#[test]
fn server_end_fails_requests_and_closes_clients() {
    for dialect in Dialect::ALL {
        let mut bench = Bench::with(dialect, Config { max_inflight: 2, ..Config::default() });
        let (one, _) = bench.attached();
        let (idle, _) = bench.attached();
        let (new, _) = (bench.engine.client_connected(), ());
        let (again, _) = bench.attached();
        let requests = [read(1, 0, 0, 9), walk(2, 0, 5, &[]), empty_write(3, 0), flush(4, 1)];
        bench.client_sends(one, &requests.concat());
        bench.client_sends(one, &read(5, 0, 0, 9)[..12]);
        bench.client_sends(again, &version(8192, dialect.name()));
        bench.engine.server_gone();
        bench.engine.audit();
        let replies = bench.all_received(one);
        let tags: Vec<u16> = replies.iter().map(|m| tag(m)).collect();
        assert_eq!(tags, [1, 2, 4, 3], "what waits too, and not half a message");
        for message in &replies {
            let is_flush = message == &made(109, 4).done();
            assert!(is_flush || is_local_error(dialect, message, ServerGone));
        }
        // A second Tversion has ended the session, and with it the form of its errors.
        assert!(is_local_error(Dialect::Plain, &bench.client_received(again), ServerGone));
        for id in [one, idle, new, again] {
            assert!(bench.engine.is_closing(id) && !bench.engine.wants_read(id));
            assert!(bench.all_received(id).is_empty());
            bench.disconnect(id);
        }
        assert_eq!(bench.engine.end_reason(), Some(&EndReason::ServerClosed));
        assert_eq!(bench.engine.stats().clients, 0);
        let late = bench.engine.client_connected();
        assert!(bench.engine.is_closing(late));
        assert_eq!(bench.engine.next_dirty(), Some(late));
        bench.server(&made(117, 0).u32(0).done());
        assert!(bench.upstream().is_empty());
    }
}

#[test]
fn hang_up_fails_requests_and_closes_clients() {
    let mut bench = Bench::new(Dialect::Plain);
    let (id, _) = bench.attached();
    bench.forwarded(id, &read(1, 0, 0, 9));
    bench.engine.hang_up();
    assert!(is_local_error(Dialect::Plain, &bench.client_received(id), ShuttingDown));
    bench.engine.server_gone();
    assert_eq!(bench.engine.end_reason(), Some(&EndReason::HungUp));
}

#[test]
fn reply_without_a_request_is_dropped_and_counted() {
    for dialect in Dialect::ALL {
        let mut bench = Bench::new(dialect);
        let (id, _) = bench.attached();
        let request = bench.forwarded(id, &read(1, 0, 0, 9));
        let free = tag(&request) + 1;
        for message in [
            made(117, free).u32(0).done(),
            error(dialect, free, "what"),
            made(255, 0xFFFF).done(),
            made(100, 0xFFFF).u32(8192).str("9P2000").done(),
            made(116, 60_000).done(), // A T-message, while no request is in flight.
        ] {
            bench.server(&message);
        }
        assert!(bench.all_received(id).is_empty());
        assert_eq!((bench.engine.stats().dropped, bench.engine.end_reason()), (5, None));
        let reply = made(117, tag(&request)).u32(0).done();
        bench.server(&[&reply[..], &reply[..]].concat());
        assert_eq!(bench.all_received(id).len(), 1, "and the second time too");
        assert_eq!(bench.engine.stats().dropped, 6);
    }
}

#[test]
fn invalid_server_bytes_end_the_connection() {
    for dialect in Dialect::ALL {
        for (bad, words) in [
            (vec![6, 0, 0, 0], "shorter than its header"),
            (made(117, 0).raw(&vec![0; MSIZE as usize]).done(), "msize is 8192"),
            (vec![0xFF; 7], "4294967295 bytes"),
        ] {
            let mut bench = Bench::new(dialect);
            let (id, _) = bench.attached();
            let request = bench.forwarded(id, &read(1, 0, 0, 9));
            let mut bad = bad;
            if bad.len() > 7 {
                crate::wire::put_tag(&mut bad, tag(&request));
            }
            // The message arrives byte by byte.
            for byte in bad {
                bench.server(&[byte]);
            }
            let end = bench.engine.end_reason().expect("the connection has ended").to_string();
            assert!(end.contains(words), "{end}, not {words}");
            assert!(is_local_error(dialect, &bench.client_received(id), ServerGone));
            assert!(bench.engine.is_closing(id));
        }
    }
}

#[test]
fn excess_data_is_an_error_if_it_does_not_fit() {
    let mut bench = Bench::new(Dialect::Plain);
    let id = bench.client_of(300);
    bench.attach(id, 0);
    let request = bench.forwarded(id, &read(1, 0, 0, 9));
    bench.server(&made(117, tag(&request)).u32(290).raw(&[1; 290]).done());
    assert!(is_local_error(Dialect::Plain, &bench.client_received(id), ReplyTooLarge));
}

#[test]
fn trace_has_each_message_once_and_in_order() {
    use std::sync::{Arc, Mutex};

    use crate::engine::TraceEvent;
    use crate::wire::show;

    let config = Config { max_inflight: 1, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let (id, _) = bench.attached();
    let log = Arc::new(Mutex::new(Vec::new()));
    let lines = log.clone();
    bench.engine.set_tracer(Some(Box::new(move |dialect, seen| {
        let (who, message) = match seen {
            TraceEvent::FromClient(_, message) => ("->", message),
            TraceEvent::ToServer(message) => ("   ->", message),
            TraceEvent::FromServer(message) => ("   <-", message),
            TraceEvent::ToClient(_, message) => ("<-", message),
            TraceEvent::Dropped(_) => ("dropped", &[][..]),
            TraceEvent::Unexpected(m) => ("unexpected", m),
            TraceEvent::Refused(_, m, _) => ("refused", m),
            TraceEvent::Garbled(..) => ("garbled", &[][..]),
        };
        lines.lock().unwrap().push(format!("{who} {}", show(dialect, message)));
    })));
    bench.client_sends(
        id,
        &[of_fid(120, 7, 0), of_fid(120, 8, 0), flush(9, 8), flush(10, 7)].concat(),
    );
    let asked = bench.upstream();
    bench.done(&asked[0]);
    bench.done(&asked[1]);
    bench.done(&asked[1]);
    bench.client_sends(id, &of_fid(124, 11, 9));
    bench.client_sends(id, &[0; 4]);
    let expected = "-> Tclunk tag 7 fid 0
   -> Tclunk tag 1 fid 0
-> Tflush tag 9 oldtag 8
<- Rflush tag 9
-> Tflush tag 10 oldtag 7
   -> Tflush tag 2 oldtag 1
   <- Rclunk tag 1
<- Rclunk tag 7
   <- Rflush tag 2
<- Rflush tag 10
   <- Rflush tag 2
dropped (0 bytes, less than a header)
-> Tstat tag 11 fid 9
refused Tstat tag 11 fid 9
<- Rerror tag 11 ename 'unknown fid'
garbled (0 bytes, less than a header)";
    assert_eq!(log.lock().unwrap().join("\n"), expected);
}

#[test]
fn text_of_the_server_is_shown() {
    for (text, words) in [
        (&b"HTTP/1.1 400 Bad Request\r\n"[..], "has sent HTTP: 'HTTP/1.1 400 Bad Request'"),
        (b"\nWelcome to files\n$ ", "has sent text: 'Welcome to files'"),
        (b"\x15\x03\x03\0\x02\x02\x46", "has sent a record of TLS"),
    ] {
        for config in [Config::default(), Config { msize: 1 << 20, ..Config::default() }] {
            let mut engine = Engine::new(Config { dialect: Some(Dialect::Plain), ..config });
            engine.server_bytes(text);
            let end = engine.end_reason().expect("it has ended").to_string();
            assert!(end.contains(words), "{end}, not {words}");
        }
    }
    // In the middle of a session too.
    let mut bench = Bench::new(Dialect::Plain);
    bench.server(b"Segmentation fault\n");
    let end = bench.engine.end_reason().expect("it has ended").to_string();
    assert!(end.contains("'Segmentation fault'"), "{end}");
}

#[test]
fn partial_text_of_the_server_is_shown_when_nothing_follows() {
    let deadline = Config::default().version_timeout;
    let ends: [fn(&mut Engine, Duration); 2] =
        [|engine, _| engine.server_gone(), |engine, deadline| engine.tick(deadline)];
    for end in ends {
        let config = Config { dialect: Some(Dialect::Plain), ..Config::default() };
        let mut engine = Engine::new(config);
        engine.server_bytes(b"busy\n");
        assert_eq!(engine.end_reason(), None);
        end(&mut engine, deadline);
        let end = engine.end_reason().expect("it has ended").to_string();
        assert!(end.contains("has sent text: 'busy'"), "{end}");
    }
}

#[test]
fn every_refusal_of_9pmux_is_traced_with_its_reason() {
    use std::sync::{Arc, Mutex};

    use crate::engine::TraceEvent;
    use crate::wire::show;

    for dialect in Dialect::ALL {
        let unames = vec!["u".to_owned(), "7".to_owned()];
        let mut bench = Bench::with(dialect, Config { unames, ..Config::default() });
        let (id, _) = bench.attached();
        let log = Arc::new(Mutex::new(Vec::new()));
        let seen_log = log.clone();
        bench.engine.set_tracer(Some(Box::new(move |dialect, seen| {
            if let TraceEvent::Refused(client, message, why) = seen {
                assert_eq!(client, id);
                seen_log.lock().unwrap().push(format!("{why}: {}", show(dialect, message)));
            }
        })));
        let number = if dialect == Dialect::Plain { "" } else { " n_uname 7" };
        let not_allowed = "this user or tree is not allowed here";
        let large = made(118, 6).raw(&[0; MSIZE as usize]).done();
        for (message, line) in [
            (
                attach(dialect, 2, 1, !0, "root", "tree"),
                format!(
                    "{not_allowed}: Tattach tag 2 fid 1 afid NOFID uname 'root' aname 'tree'{number}"
                ),
            ),
            (
                auth(dialect, 3, 1, "root", ""),
                format!("{not_allowed}: Tauth tag 3 afid 1 uname 'root' aname ''{number}"),
            ),
            (read(4, 9, 0, 1), "unknown fid: Tread tag 4 fid 9 offset 0 count 1".to_owned()),
            (made(250, 5).done(), "unknown message type: T#250 tag 5 (7 bytes)".to_owned()),
            (large, "message larger than msize: Twrite tag 6".to_owned()),
            (
                version(MSIZE, "9Q"),
                format!(
                    "9pmux does not know its version: Rversion tag NOTAG msize {MSIZE} version 'unknown'"
                ),
            ),
        ] {
            bench.client_sends(id, &message);
            for request in bench.upstream() {
                bench.done(&request);
            }
            bench.all_received(id);
            let lines = std::mem::take(&mut *log.lock().unwrap());
            assert_eq!(lines.len(), 1, "{lines:?}, not {line}");
            assert!(lines[0].starts_with(&line), "{}, not {line}", lines[0]);
        }
    }
}
