//! Clients that connect and disconnect continuously leave nothing behind.

#![cfg(feature = "program")]

mod support;

use std::sync::atomic::Ordering::SeqCst;

use support::client::{Client, read};
use support::program::{Program, Signal};
use support::stub::Stub;
use support::{Place, wait_for};

/// A client that connects and disconnects in a way chosen by `n`: properly, with open fids, with requests in flight,
/// in the middle of a message, or before its first message.
fn connect_and_leave(socket: &std::path::Path, n: usize) {
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
        // an incomplete message
        3 => client.send_bytes(&[100, 0, 0, 0, 118, 1, 0]),
        _ => client.version(),
    }
}

#[test]
fn departed_clients_leave_nothing_behind() {
    let number = |name: &str, otherwise| {
        std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise)
    };
    let clients: usize = number("MUX_CLIENTS", 6000);
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let program = Program::serving(&stub.address(), &socket, &[]);
    // the baseline, with one client
    let mut first = Client::attach(&socket);
    first.stat(0);
    let descriptors = program.descriptors();
    drop(first);
    let come = |from: usize, to: usize| {
        std::thread::scope(|scope| {
            for part in 0..4 {
                let socket = &socket;
                scope.spawn(move || {
                    (from..to).filter(|n| n % 4 == part).for_each(|n| connect_and_leave(socket, n))
                });
            }
        });
        wait_for("the departed clients' requests and fids are cleaned up", || {
            (stub.held(), stub.fids()) == (0, 0)
        });
        wait_for("its descriptors are closed", || program.descriptors() <= descriptors);
        program.memory()
    };
    // By now 9pmux has allocated what it needs for this number of clients.
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
