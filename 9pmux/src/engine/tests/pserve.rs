//! The rules of 9pserve. Its process tests have the rest.

use super::bench::{Bench, MSIZE};
use super::messages::*;
use crate::engine::{AttachAs, Config, Engine, PserveRules};
use crate::wire::{Dialect, HEADER, tag, u32_at};

/// A client, and an engine with these rules whose connection has a version.
fn bench(rules: PserveRules) -> (Bench, crate::engine::ClientId) {
    let dialect = Dialect::Plain;
    let pserve = Some(PserveRules { has_version: true, ..rules });
    let config = Config { dialect: Some(dialect), msize: MSIZE, pserve, ..Config::default() };
    let mut bench = Bench { engine: Engine::new(config), dialect };
    assert!(bench.engine.server_output().is_empty());
    let client = bench.client();
    (bench, client)
}

#[test]
fn foreign_afid_is_never_given_to_a_client() {
    let attach = AttachAs { afid: 2, uname: "u".into(), aname: b"tree".to_vec() };
    let (mut bench, client) = bench(PserveRules { attach: Some(attach), ..PserveRules::default() });
    for _ in 0..3 {
        let mut upstream = Vec::new();
        for fid in 0..70 {
            bench.client_sends(client, &attach_of(fid, "tree"));
            let request = bench.server_received();
            assert_eq!(request, attached(tag(&request), u32_at(&request, HEADER)));
            upstream.push(u32_at(&request, HEADER));
            bench.server(&made(105, tag(&request)).qid(0, 0).done());
            bench.client_received(client);
        }
        upstream.sort_unstable();
        assert_eq!(upstream, (0..71).filter(|fid| *fid != 2).collect::<Vec<_>>());
        // Their memory is returned, and the number is still not used.
        for fid in 0..70u32 {
            bench.client_sends(client, &made(120, 1).u32(fid).done());
            let request = bench.server_received();
            bench.server(&made(121, tag(&request)).done());
            bench.client_received(client);
        }
    }
}

/// A client's Tattach without an afid.
fn attach_of(fid: u32, aname: &str) -> Vec<u8> {
    attach(Dialect::Plain, 1, fid, !0, "glenda", aname)
}

/// The Tattach that the server receives.
fn attached(tag: u16, fid: u32) -> Vec<u8> {
    attach(Dialect::Plain, tag, fid, 2, "u", "tree")
}

#[test]
fn other_rules_hold_without_an_attach() {
    let rules = PserveRules { rejects_auth: true, ..PserveRules::default() };
    let (mut bench, client) = bench(rules);
    bench.client_sends(client, &attach_of(0, "any"));
    let request = bench.server_received();
    assert_eq!(request[HEADER + 4..], attach_of(0, "any")[HEADER + 4..]);
    bench.server(&made(105, tag(&request)).qid(0, 0).done());
    bench.client_received(client);
}
