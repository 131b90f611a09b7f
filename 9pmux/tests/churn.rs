//! Clients that come and go without end: nothing of them stays.

#![cfg(feature = "program")]

mod support;

use std::sync::atomic::Ordering::SeqCst;

use support::client::{Client, read};
use support::program::{Program, Signal};
use support::stub::Stub;
use support::{Place, wait_for};

/// One that comes, and goes as `n` says: well-behaved, with fids open, with requests at the server, in the
/// middle of a message, before it has begun.
fn comes_and_goes(socket: &std::path::Path, n: usize) {
    let mut client = Client::connect(socket).unwrap();
    if n % 7 == 0 {
        return;
    }
    client.version();
    client.begin();
    client.open(1, "hello");
    client.open(2, "slow");
    match n % 5 {
        0 => client.clunk(1),
        1 => (0..20).for_each(|tag| client.send(116, tag, &read(2, 0, 10))),
        2 => (0..20).for_each(|tag| client.send(116, tag, &read(1, 0, 10))),
        // a message that says that it is longer
        3 => client.send_bytes(&[100, 0, 0, 0, 118, 1, 0]),
        _ => client.version(),
    }
}

#[test]
fn nothing_of_those_who_have_gone_stays() {
    let number = |name: &str, otherwise| {
        std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise)
    };
    let clients: usize = number("MUX_CLIENTS", 6000);
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let program = Program::serving(&stub.address(), &socket, &[]);
    // with one client
    let mut first = Client::attach(&socket);
    first.stat(0);
    let descriptors = program.descriptors();
    drop(first);
    let come = |from: usize, to: usize| {
        std::thread::scope(|scope| {
            for part in 0..4 {
                let socket = &socket;
                scope.spawn(move || {
                    (from..to).filter(|n| n % 4 == part).for_each(|n| comes_and_goes(socket, n))
                });
            }
        });
        wait_for("what they left is flushed and clunked", || (stub.held(), stub.fids()) == (0, 0));
        wait_for("its descriptors are closed", || program.descriptors() <= descriptors);
        program.memory()
    };
    // by then it has whatever it needs for so many at once
    let before = come(0, clients / 3);
    let after = come(clients / 3, clients);
    if let (Some(before), Some(after)) = (before, after) {
        eprintln!("{clients} clients: {before} bytes after a third of them, {after} at the end");
        assert!(after < before + (512 << 10), "from {before} bytes to {after}");
    }
    assert_eq!(stub.counts.connections.load(SeqCst), 1);
    stub.assert_content();
    program.signal(Signal::TERM);
    let (status, said) = program.end();
    assert!(status.success(), "{status}");
    assert_eq!(said, [""; 0]);
}
