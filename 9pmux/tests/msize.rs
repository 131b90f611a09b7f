//! Message sizes as a Linux mount asks for them: it gets through 9pmux what it gets from the server directly.

#![cfg(feature = "program")]

mod support;

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::thread;

use support::client::{Client, NOFID, read};
use support::program::{Program, serve};
use support::{Place, body, message, read_message, string, unix};

/// Starts a server that agrees to every msize of at most `max`, and that returns as many bytes as a read
/// requests.
fn start_server(place: &Place, max: u32) -> String {
    let path = place.path("server");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        while let Ok(Some(got)) = read_message(&mut stream) {
            let reply = match got.kind {
                100 => body(&[&got.u32_at(0).min(max).to_le_bytes(), &got.body[4..]]),
                104 => vec![0; 13],
                116 => {
                    let count = got.u32_at(12);
                    body(&[&count.to_le_bytes(), &vec![7; count as usize]])
                }
                _ => Vec::new(),
            };
            stream.write_all(&message(got.kind + 1, got.tag, &reply)).unwrap();
        }
    });
    unix(&path)
}

/// Attaches a client that offers this msize. Returns the client and the msize that it gets.
fn attach(place: &Place, msize: u32) -> (Client, u32) {
    let mut client = Client::connect(&place.path("s")).unwrap();
    let got = client.rpc(100, &body(&[&msize.to_le_bytes(), &string("9P2000")]));
    assert_eq!(got.kind, 101);
    let attach = body(&[&[0; 4], &NOFID, &string("glenda"), &string("")]);
    assert_eq!(client.rpc(104, &attach).kind, 105);
    (client, got.u32_at(0))
}

#[test]
fn read_of_a_linux_mount_is_one_request() {
    let place = Place::new();
    let server = start_server(&place, u32::MAX);
    let program = Program::start(serve(&[&server, &unix(&place.path("s"))]));
    program.wait_socket(&place.path("s"));
    // What Linux offers by default, with an msize of 1 MiB, and with the largest.
    for (data, headers) in [(128 << 10, 24), (1 << 20, 0), (1 << 20, 24)] {
        let (mut client, msize) = attach(&place, data + headers);
        assert_eq!(msize, data + headers);
        let count = msize - 24;
        for offset in 0..4 {
            let got = client.rpc(116, &read(0, (offset * count) as usize, count));
            assert_eq!((got.kind, got.u32_at(0)), (117, count));
            assert!(
                got.body[4..].iter().all(|byte| *byte == 7) && got.body.len() == count as usize + 4
            );
        }
    }
    let (_, msize) = attach(&place, 8192);
    assert_eq!(msize, 8192, "a small msize is not raised");
}

#[test]
fn msize_of_the_server_limits_the_client() {
    let place = Place::new();
    let server = start_server(&place, 65536);
    let program = Program::start(serve(&[&server, &unix(&place.path("s"))]));
    program.wait_socket(&place.path("s"));
    assert_eq!(attach(&place, 1 << 20).1, 65536);
}

/// Large messages leave no memory with the clients that have sent or received them.
#[test]
fn clients_are_small_again_after_large_reads() {
    const CLIENTS: usize = 64;
    let place = Place::new();
    let server = start_server(&place, u32::MAX);
    let program = Program::start(serve(&[&server, &unix(&place.path("s"))]));
    program.wait_socket(&place.path("s"));
    let before = program.memory();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| attach(&place, 1 << 20).0).collect();
    let count = (1 << 20) - 24;
    for client in &mut clients {
        client.send(116, 1, &read(0, 0, count));
    }
    for client in &mut clients {
        assert_eq!(client.receive().unwrap().u32_at(0), count);
    }
    if let (Some(before), Some(after)) = (before, program.memory()) {
        // The memory that is kept for all buffers, and as much for the buffers of the event loop and the heap.
        let kept = after.saturating_sub(before);
        assert!(kept <= 16 << 20, "{kept} bytes");
    }
}
