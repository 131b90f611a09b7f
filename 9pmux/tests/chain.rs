//! A 9pmux whose server is another 9pmux, which sees all clients of the first as one client.

#![cfg(feature = "program")]

mod support;

use support::client::{Client, read};
use support::program::Program;
use support::stub::{HELLO, Stub};
use support::{Place, unix, wait_for};

/// Blocks `reads` reads of each of `clients` clients, beside which other clients continue.
fn block_reads(clients: u16, reads: u16, inner_options: &[&str], others_read: bool) {
    let (stub, place) = (Stub::new(), Place::new());
    let (inner, outer) = (place.path("inner"), place.path("outer"));
    let mut programs = [
        Program::serving(&stub.address(), &inner, inner_options),
        Program::serving(&unix(&inner), &outer, &[]),
    ];
    // One client of each 9pmux is already there.
    let mut others = [Client::attach(&outer), Client::attach(&inner)];
    let mut blocked = Vec::new();
    for _ in 0..clients {
        let mut client = Client::attach(&outer);
        client.open(1, "slow");
        for tag in 0..reads {
            client.send(116, 10 + tag, &read(1, 0, 60_000));
        }
        // A reply shows that 9pmux has seen the reads.
        client.stat(0);
        blocked.push(client);
    }
    wait_for("a read is blocked", || stub.held() > 0);
    for other in &mut others {
        other.stat(0);
    }
    for socket in [&outer, &inner] {
        let mut other = Client::attach(socket);
        other.open(1, "hello");
        if others_read || socket == &inner {
            assert_eq!(other.read_all(1), HELLO);
        }
        other.stat(1);
    }
    assert!(programs.iter_mut().all(Program::runs));
    drop(blocked);
    wait_for("the reads are flushed", || stub.held() == 0);
    stub.assert_content();
}

// The replies may have more bytes than the inner 9pmux permits one client.
#[test]
fn nine_blocked_reads_stop_nothing() {
    block_reads(9, 1, &["--max-bytes", "524288"], true);
}

// Beyond the inner --max-inflight, reads wait in their order, as those of any client do.
#[test]
fn three_hundred_blocked_reads_stop_reads_only() {
    block_reads(300, 1, &[], false);
}

#[test]
fn blocked_reads_of_few_clients_stop_reads_only() {
    block_reads(5, 240, &[], false);
}

#[test]
fn larger_limit_of_the_inner_9pmux_admits_all_reads() {
    block_reads(300, 1, &["--max-inflight", "4096"], true);
}
