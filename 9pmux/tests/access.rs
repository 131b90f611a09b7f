//! What clients may do: `--readonly`, and the options of listeners.

#![cfg(feature = "program")]

mod support;

use support::client::{Client, write};
use support::program::Program;
use support::store::Store;
use support::{Got, Place, body, string};

/// The error "read only" of 9P2000.L.
fn is_read_only(got: &Got) -> bool {
    got.kind == 7 && got.body == 30u32.to_le_bytes()
}

/// Walks from the root to a file.
fn walk(client: &mut Client, fid: u32, name: &str) {
    let walk = body(&[&[0; 4], &fid.to_le_bytes(), &[1, 0], &string(name)]);
    assert_eq!(client.rpc(110, &walk).kind, 111, "{name}");
}

#[test]
fn read_only_clients_read_and_change_nothing() {
    let store = Store::new("9P2000.L");
    store.put("file", b"data");
    let place = Place::new();
    let socket = place.path("s");
    let _program = Program::serving(&store.address(), &socket, &["--readonly"]);
    let mut client = Client::attach_in(&socket, "9P2000.L");
    walk(&mut client, 1, "file");
    let fid = 1u32.to_le_bytes();
    for flags in [1u32, 2, 0o101, 0o1000] {
        assert!(is_read_only(&client.rpc(12, &body(&[&fid, &flags.to_le_bytes()]))), "{flags:o}");
    }
    assert_eq!(client.rpc(12, &body(&[&fid, &[0; 4]])).kind, 13);
    assert_eq!(client.read(1, 0, 100), b"data");
    assert!(is_read_only(&client.rpc(118, &write(1, 0, b"other"))));
    let create = body(&[&[0; 4], &string("new"), &[0; 12]]);
    assert!(is_read_only(&client.rpc(14, &create)));
    let unlink = body(&[&[0; 4], &string("file"), &[0; 4]]);
    assert!(is_read_only(&client.rpc(76, &unlink)));
    // Removing releases the fid, here and at the server.
    assert!(is_read_only(&client.rpc(122, &fid)));
    store.wait_requests(120, 1);
    walk(&mut client, 1, "file");
    assert_eq!(store.get("file").as_deref(), Some(&b"data"[..]));
    assert!(store.get("new").is_none());
    for kind in [14, 76, 118, 122] {
        assert!(store.requests(kind).is_empty(), "a message of type {kind} has reached the server");
    }
}
