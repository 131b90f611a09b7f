//! The directory of the attach that clients share is removed, and then the server is lost.

use super::super::LocalError::*;
use super::super::messages::*;
use super::bench::*;
use crate::engine::{ClientId, Config, Reconnect};
use crate::wire::{Dialect, HEADER, NOFID, kind, tag, types};

const ENOENT: u32 = 2;

/// Two clients share an attach. The first one has removed its directory, by the fid of its attach or by one that it has
/// walked there.
fn removed(by_walk: bool) -> (Net, [ClientId; 2]) {
    let config = Config { attach_once: true, ..Config::default() };
    let mut net = Net::with(Dialect::L, Reconnect::default(), config);
    let clients = [net.attached(), net.attached()];
    for id in clients {
        net.walks(id, 1, &["g"]);
        net.opens(id, 1, 0);
    }
    if by_walk {
        net.walks(clients[0], 2, &["d", ".."]);
    }
    let remove = of_fid(types::TREMOVE, 5, if by_walk { 2 } else { 0 });
    assert_eq!(net.ask(clients[0], &remove), made(types::TREMOVE + 1, 5).done());
    (net, clients)
}

fn attach_again(tag: u16, fid: u32) -> Vec<u8> {
    attach(Dialect::L, tag, fid, NOFID, "u", "a")
}

#[test]
fn client_attaches_to_the_next_tree_after_the_shared_root_was_removed() {
    // The server may give the new directory the number of the old one.
    for (by_walk, id) in [(false, 50), (true, 50), (false, 1), (true, 1)] {
        let (mut net, clients) = removed(by_walk);
        net.lose();
        net.server.add("", 0x80, id);
        let newcomer = net.client();
        net.send(newcomer, &attach_again(6, 0));
        net.send(clients[1], &attach_again(7, 9));
        net.server.seen.clear();
        net.connect();
        assert_eq!(net.server.requests(types::TATTACH).len(), 1, "{by_walk}, {id}");
        for (client, number) in [(newcomer, 6), (clients[1], 7)] {
            let reply = net.bench.client_received(client);
            let path = u64::from(reply[HEADER + 5]);
            assert_eq!((kind(&reply), tag(&reply), path), (105, number, id));
        }
        assert!(net.bench.engine.outage().is_none());
        for client in clients {
            let reply = net.ask(client, &read(8, 1, 0, 10));
            assert!(is_local_error(Dialect::L, &reply, FileGone));
        }
        assert!(is_local_error(Dialect::L, &net.ask(clients[1], &walk(8, 0, 5, &[])), FileGone));
        // What is attached now is restored.
        net.walks(newcomer, 1, &["g"]);
        net.lose();
        net.connect();
        net.opens(newcomer, 1, 0);
        assert_eq!(net.reads(newcomer, 1), "file 4");
    }
}

#[test]
fn client_gets_the_error_of_the_server_after_the_shared_root_was_removed() {
    for by_walk in [false, true] {
        let (mut net, clients) = removed(by_walk);
        net.lose();
        let newcomer = net.client();
        net.send(newcomer, &attach_again(6, 0));
        net.server.failing = vec![(types::TATTACH, ENOENT, 2)];
        net.connect();
        assert_eq!(net.bench.client_received(newcomer), made(7, 6).u32(ENOENT).done());
        let reply = net.ask(clients[1], &attach_again(7, 9));
        assert_eq!(reply, made(7, 7).u32(ENOENT).done());
        assert!(net.bench.engine.outage().is_none());
        assert_eq!((net.server.fids(), net.bench.engine.stats().fids), (0, 0));
        net.server.add("", 0x80, 50);
        for client in [newcomer, clients[1]] {
            assert_eq!(kind(&net.ask(client, &attach_again(7, 9))), 105);
        }
        for client in [newcomer, clients[0], clients[1]] {
            net.bench.disconnect(client);
        }
        net.run();
        // The attach that is kept for the next client.
        assert_eq!((net.server.fids(), net.bench.engine.stats().fids), (1, 1));
    }
}

#[test]
fn client_shares_the_removed_root_while_the_server_has_it() {
    let (mut net, clients) = removed(false);
    let newcomer = net.client();
    net.server.silent = vec![types::TWALK];
    net.send(newcomer, &attach_again(6, 0));
    net.lose();
    net.server.silent.clear();
    net.server.add("", 0x80, 50);
    net.connect();
    let reply = net.bench.client_received(newcomer);
    assert_eq!((kind(&reply), reply[HEADER + 5]), (105, 50));
    net.walks(newcomer, 1, &["g"]);
    for client in clients {
        let reply = net.ask(client, &read(8, 1, 0, 10));
        assert!(is_local_error(Dialect::L, &reply, FileGone));
    }
}
