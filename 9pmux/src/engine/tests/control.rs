//! The control tree: the same files in each dialect, and nothing of it reaches the server.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::LocalError::{self, *};
use super::bench::{Bench, MSIZE};
use super::messages::*;
use crate::engine::{
    ClientId, ClientOrigin, Config, ControlCommand, ControlTree, Facts, Reconnect, ServerFacts,
    ServerKind, TraceEvent, User,
};
use crate::wire::{Dialect, HEADER, NOFID, kind, show, tag, u16_at, u32_at};

const TREE: &str = "/mux";

fn tree() -> ControlTree {
    ControlTree {
        aname: TREE.to_owned(),
        program: "9pmux 1.2.3".to_owned(),
        pid: 4711,
        uid: 1000,
        gid: 100,
        epoch: 1_000_000,
    }
}

fn config() -> Config {
    Config { control: Some(tree()), ..Config::default() }
}

fn permit(bench: &mut Bench, id: ClientId) {
    let caller = ClientOrigin { may_control: true, pid: 77, listener: 0 };
    bench.engine.describe_client(id, caller);
}

/// Returns a client that has attached fid 0 to the control tree.
fn control_client(bench: &mut Bench) -> ClientId {
    let id = bench.client();
    permit(bench, id);
    let answer = served(bench, id, &attach(bench.dialect, 1, 0, NOFID, "ann", TREE));
    assert_eq!(answer[HEADER..], [0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    id
}

/// Returns the reply to a message that does not reach the server.
#[track_caller]
fn served(bench: &mut Bench, id: ClientId, message: &[u8]) -> Vec<u8> {
    bench.client_sends(id, message);
    assert!(bench.upstream().is_empty(), "it reaches the server");
    let answer = bench.client_received(id);
    let (asked, got) = (show(bench.dialect, message), show(bench.dialect, &answer));
    assert_eq!(kind(&answer), kind(message) + 1, "{asked}: {got}");
    assert_eq!(tag(&answer), tag(message));
    answer
}

fn open(dialect: Dialect, tag: u16, fid: u32, writes: bool) -> Vec<u8> {
    match dialect {
        Dialect::L => made(12, tag).u32(fid).u32(writes.into()).done(),
        _ => made(112, tag).u32(fid).u8(writes.into()).done(),
    }
}

/// Walks from the root to a file, as this fid, and opens it.
#[track_caller]
fn opened(bench: &mut Bench, id: ClientId, fid: u32, name: &str) {
    served(bench, id, &walk(1, 0, fid, &[name]));
    served(bench, id, &open(bench.dialect, 1, fid, name == "ctl"));
}

/// Returns what a fid has at an offset.
#[track_caller]
fn read_at(bench: &mut Bench, id: ClientId, fid: u32, offset: usize, count: u32) -> Vec<u8> {
    served(bench, id, &read(1, fid, offset as u64, count))[HEADER + 4..].to_vec()
}

#[track_caller]
fn read_all(bench: &mut Bench, id: ClientId, fid: u32, count: u32) -> String {
    let mut bytes = Vec::new();
    loop {
        let part = read_at(bench, id, fid, bytes.len(), count);
        if part.is_empty() {
            return String::from_utf8(bytes).unwrap();
        }
        bytes.extend(part);
    }
}

/// Returns the text of a file, read with a fid that is clunked again.
#[track_caller]
fn text(bench: &mut Bench, id: ClientId, name: &str) -> String {
    opened(bench, id, 90, name);
    let text = read_all(bench, id, 90, 8192);
    served(bench, id, &of_fid(120, 1, 90));
    text
}

/// Returns the value of a name in the file `stats`.
#[track_caller]
fn stat_of(bench: &mut Bench, id: ClientId, name: &str) -> u64 {
    let text = text(bench, id, "stats");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}: {text}")).parse().unwrap()
}

/// Returns the field of a client's line in the file `clients`.
#[track_caller]
fn column(bench: &mut Bench, reader: ClientId, of: ClientId, name: &str) -> String {
    let text = text(bench, reader, "clients");
    let mut lines = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let column = lines.next().unwrap().iter().position(|it| *it == name).unwrap();
    let of = of.number().to_string();
    lines.find(|line| line[0] == of).expect("its line")[column].to_owned()
}

fn each(test: impl Fn(Bench, ClientId)) {
    for dialect in Dialect::ALL {
        let mut bench = Bench::with(dialect, config());
        let id = control_client(&mut bench);
        test(bench, id);
    }
}

#[test]
fn file_is_read_at_all_offsets_and_stays_the_same() {
    each(|mut bench, id| {
        opened(&mut bench, id, 5, "stats");
        let whole = read_all(&mut bench, id, 5, 8192);
        assert!(whole.starts_with("clients 1\n"), "{whole}");
        for _ in 0..3 {
            bench.client();
        }
        assert_eq!(read_all(&mut bench, id, 5, 7), whole);
        assert_eq!(read_at(&mut bench, id, 5, 2, 3), &whole.as_bytes()[2..5]);
        assert!(read_at(&mut bench, id, 5, usize::MAX, 3).is_empty());
        // A second one shows new numbers.
        assert_eq!(stat_of(&mut bench, id, "clients"), 4);
    });
}

#[test]
fn names_are_walked_and_unknown_ones_are_not_found() {
    each(|mut bench, id| {
        bench.refused(id, &walk(1, 0, 5, &["nothing"]), FileNotFound);
        bench.refused(id, &walk(1, 0, 5, &["fids"]), FileNotFound);
        let partial = served(&mut bench, id, &walk(1, 0, 5, &["stats", "below"]));
        assert_eq!(partial[HEADER..HEADER + 2], [1, 0]);
        // A walk that was not complete has made no fid.
        bench.refused(id, &of_fid(120, 1, 5), UnknownFid);
        let up = served(&mut bench, id, &walk(1, 0, 5, &["..", "..", "stats", ".."]));
        assert_eq!((up[HEADER], up[HEADER + 2 + 3 * 13]), (4, 0x80));
        served(&mut bench, id, &walk(1, 5, 5, &["ctl"]));
        bench.refused(id, &walk(1, 0, 5, &["stats"]), FidInUse);
        bench.refused(id, &walk(1, 0, NOFID, &["stats"]), BadFid);
        assert_eq!(served(&mut bench, id, &walk(1, 5, 6, &[])).len(), HEADER + 2);
    });
}

#[test]
fn file_opens_only_in_its_own_mode() {
    each(|mut bench, id| {
        let (reads, writes) = (open(bench.dialect, 1, 5, false), open(bench.dialect, 1, 6, true));
        served(&mut bench, id, &walk(1, 0, 5, &["stats"]));
        bench.refused(id, &open(bench.dialect, 1, 5, true), PermissionDenied);
        bench.refused(id, &read(1, 5, 0, 10), NotOpen);
        served(&mut bench, id, &reads);
        bench.refused(id, &open(bench.dialect, 1, 5, false), AlreadyOpen);
        bench.refused(id, &walk(1, 5, 6, &[]), AlreadyOpen);
        bench.refused(id, &empty_write(1, 5), OwnFile);
        served(&mut bench, id, &walk(1, 0, 6, &["ctl"]));
        bench.refused(id, &open(bench.dialect, 1, 6, false), PermissionDenied);
        bench.refused(id, &empty_write(1, 6), NotOpen);
        served(&mut bench, id, &writes);
        bench.refused(id, &read(1, 6, 0, 10), PermissionDenied);
    });
}

#[test]
fn directory_is_read_in_whole_entries() {
    for dialect in [Dialect::Plain, Dialect::U] {
        let mut bench = Bench::with(dialect, config());
        let id = control_client(&mut bench);
        served(&mut bench, id, &walk(1, 0, 5, &[]));
        served(&mut bench, id, &open(dialect, 1, 5, false));
        let (mut names, mut offset) = (Vec::new(), 0);
        loop {
            let entry = read_at(&mut bench, id, 5, offset, 100);
            if entry.is_empty() {
                break;
            }
            offset += entry.len();
            assert_eq!(u16_at(&entry, 0) as usize + 2, entry.len(), "one entry");
            let len = u16_at(&entry, 41) as usize;
            names.push(String::from_utf8(entry[43..43 + len].to_vec()).unwrap());
        }
        assert_eq!(names, ["version", "stats", "clients", "upstream", "latency", "metrics", "ctl"]);
        bench.refused(id, &read(1, 5, 3, 100), BadOffset);
        bench.refused(id, &read(1, 5, 0, 20), BadOffset);
        assert_eq!(read_all_entries(&mut bench, id), offset);
    }
}

fn read_all_entries(bench: &mut Bench, id: ClientId) -> usize {
    read_at(bench, id, 5, 0, 8000).len()
}

#[test]
fn treaddir_has_each_entry_once() {
    let mut bench = Bench::with(Dialect::L, config());
    let id = control_client(&mut bench);
    served(&mut bench, id, &walk(1, 0, 5, &[]));
    bench.refused(id, &made(40, 1).u32(5).u64(0).u32(99).done(), NotOpen);
    served(&mut bench, id, &open(Dialect::L, 1, 5, false));
    bench.refused(id, &read(1, 5, 0, 99), IsDirectory);
    let (mut names, mut offset) = (Vec::new(), 0);
    loop {
        let answer = served(&mut bench, id, &made(40, 1).u32(5).u64(offset).u32(32).done());
        let entry = &answer[HEADER + 4..];
        if entry.is_empty() {
            break;
        }
        offset = u64::from(u32_at(entry, 13));
        let len = u16_at(entry, 22) as usize;
        assert_eq!(entry.len(), 24 + len, "one entry");
        assert_eq!(entry[21], if entry[0] == 0x80 { 4 } else { 8 });
        names.push(String::from_utf8(entry[24..].to_vec()).unwrap());
    }
    assert_eq!(
        names,
        [".", "..", "version", "stats", "clients", "upstream", "latency", "metrics", "ctl"]
    );
    opened(&mut bench, id, 6, "stats");
    bench.refused(id, &made(40, 1).u32(6).u64(0).u32(99).done(), NotDirectory);
}

#[test]
fn attributes_are_those_of_files_of_the_process() {
    let mut bench = Bench::with(Dialect::L, config());
    bench.engine.tick(Duration::from_secs(5));
    let id = control_client(&mut bench);
    served(&mut bench, id, &walk(1, 0, 5, &["stats"]));
    for (fid, mode, links) in [(0, 0o040_555, 2), (5, 0o100_444, 1)] {
        let answer = served(&mut bench, id, &made(24, 1).u32(fid).u64(0x7FF).done());
        assert_eq!(answer.len(), HEADER + 8 + 13 + 132);
        let at = |offset: usize| u32_at(&answer, HEADER + 21 + offset);
        assert_eq!((at(0), at(4), at(8), at(12)), (mode, 1000, 100, links));
        assert_eq!((at(28), at(52), at(68)), (0, 1_000_005, 1_000_005), "size and times");
    }
    for dialect in [Dialect::Plain, Dialect::U] {
        let mut bench = Bench::with(dialect, config());
        let id = control_client(&mut bench);
        served(&mut bench, id, &walk(1, 0, 5, &["ctl"]));
        let answer = served(&mut bench, id, &of_fid(124, 1, 5));
        let stat = &answer[HEADER + 2..];
        assert_eq!(u16_at(&answer, HEADER) as usize, stat.len());
        assert_eq!((stat[8], u32_at(stat, 21), u32_at(stat, 33)), (0, 0o200, 0));
        assert_eq!(&stat[41..57], b"\x03\x00ctl\x04\x001000\x03\x00100");
        assert_eq!(stat.len(), if dialect == Dialect::U { 77 } else { 63 });
    }
}

#[test]
fn only_clients_with_permission_attach_and_no_attach_reaches_the_server() {
    for dialect in Dialect::ALL {
        let mut bench = Bench::with(dialect, config());
        let id = bench.client();
        bench.refused(id, &attach(dialect, 1, 0, NOFID, "ann", TREE), NotAllowed);
        permit(&mut bench, id);
        bench.refused(id, &auth(dialect, 1, 9, "ann", TREE), NoAuthNeeded);
        bench.refused(id, &attach(dialect, 1, NOFID, NOFID, "ann", TREE), BadFid);
        bench.refused(id, &attach(dialect, 1, 0, 9, "ann", TREE), NotAuth);
        served(&mut bench, id, &attach(dialect, 1, 0, NOFID, "ann", TREE));
        bench.refused(id, &attach(dialect, 1, 0, NOFID, "ann", TREE), FidInUse);
        bench.refused(id, &attach(dialect, 1, 0, NOFID, "ann", "a"), FidInUse);
        bench.refused(id, &attach(dialect, 1, 1, 0, "ann", "a"), NotAuth);
        bench.refused(id, &auth(dialect, 1, 0, "ann", "a"), FidInUse);
        // Other trees are those of the server.
        bench.attach(id, 1);
        let mut bench = Bench::new(dialect);
        let id = bench.client();
        permit(&mut bench, id);
        let request = bench.forwarded(id, &attach(dialect, 1, 0, NOFID, "ann", TREE));
        assert_eq!(kind(&request), 104, "without the tree its name is the server's");
    }
}

#[test]
fn access_rules_for_the_server_do_not_concern_the_tree() {
    let access = Config {
        unames: vec!["bob".to_owned()],
        anames: vec!["x".to_owned()],
        require_auth: true,
        ..config()
    };
    let mut bench = Bench::with(Dialect::L, access);
    let id = control_client(&mut bench);
    assert_eq!(column(&mut bench, id, id, "user"), "ann");
}

#[test]
fn user_without_a_name_has_a_number() {
    for (dialect, user) in [(Dialect::Plain, "-"), (Dialect::U, "7"), (Dialect::L, "7")] {
        let mut bench = Bench::with(dialect, config());
        let id = control_client(&mut bench);
        served(&mut bench, id, &attach(dialect, 1, 1, NOFID, "", TREE));
        assert_eq!(column(&mut bench, id, id, "user"), user);
    }
}

#[test]
fn fids_of_both_worlds_are_apart() {
    for dialect in Dialect::ALL {
        let mut bench = Bench::with(dialect, config());
        let id = control_client(&mut bench);
        bench.attach(id, 1);
        bench.refused(id, &walk(1, 1, 0, &[]), FidInUse);
        bench.refused(id, &walk(1, 0, 1, &[]), FidInUse);
        bench.refused(id, &walk(1, 33, 0, &[]), UnknownFid);
        served(&mut bench, id, &walk(1, 0, 5, &["stats"]));
        if dialect == Dialect::L {
            let rename = |a, b| made(20, 1).u32(a).u32(b).str("n").done();
            let link = |a, b| made(70, 1).u32(a).u32(b).str("n").done();
            let renameat = |a, b| made(74, 1).u32(a).str("n").u32(b).str("n").done();
            for (a, b, why) in
                [(0, 1, TwoServers), (1, 0, TwoServers), (0, 5, OwnFile), (0, 33, UnknownFid)]
            {
                bench.refused(id, &rename(a, b), why);
                bench.refused(id, &link(a, b), why);
                bench.refused(id, &renameat(a, b), why);
            }
            bench.refused(id, &made(30, 1).u32(1).u32(5).str("x").done(), FidInUse);
            bench.refused(id, &made(30, 1).u32(5).u32(8).str("x").done(), OwnFile);
            bench.refused(id, &made(8, 1).u32(5).done(), OwnFile);
            bench.refused(id, &made(14, 1).u32(0).str("n").u32(0).u32(0).u32(0).done(), OwnFile);
            let zeros = [0; 12];
            let setattr =
                |valid| made(26, 1).u32(5).u32(valid).raw(&zeros).u64(0).raw(&[0; 32]).done();
            bench.refused(id, &setattr(8), OwnFile);
        } else {
            let create = made(114, 1).u32(0).str("n").u32(0).u8(0);
            let create = if dialect == Dialect::U { create.str("") } else { create };
            bench.refused(id, &create.done(), OwnFile);
            bench.refused(id, &made(126, 1).u32(5).str(stat(dialect, "n")).done(), OwnFile);
            bench.refused(id, &made(98, 1).u32(5).u8(0).done(), OwnFile);
        }
        // A Tremove releases the fid.
        bench.refused(id, &of_fid(122, 1, 5), OwnFile);
        bench.refused(id, &of_fid(120, 1, 5), UnknownFid);
        let request = bench.forwarded(id, &walk(1, 1, 2, &[]));
        bench.server(&rwalk(tag(&request), 0));
        bench.client_received(id);
        assert_eq!(bench.engine.stats().fids, 2);
    }
}

#[test]
fn flushed_clunk_does_not_take_the_name_of_a_local_fid() {
    let mut bench = Bench::with(Dialect::Plain, config());
    let id = control_client(&mut bench);
    bench.attach(id, 1);
    bench.forwarded(id, &of_fid(120, 2, 1));
    let flushing = bench.forwarded(id, &flush(3, 2));
    served(&mut bench, id, &attach(Dialect::Plain, 4, 1, NOFID, "ann", TREE));
    bench.done(&flushing);
    assert_eq!(bench.all_received(id).len(), 1, "the Rflush");
    // The forwarded fid is clunked, since its client has no name for it any more.
    assert_eq!(bench.upstream().len(), 1);
    assert_eq!(served(&mut bench, id, &walk(1, 1, 1, &["stats"])).len(), HEADER + 2 + 13);
}

#[test]
fn texts_and_fids_are_bounded_and_end_with_their_session() {
    let mut bench = Bench::with(Dialect::L, config());
    let mut clients = Vec::new();
    for _ in 0..16 {
        let id = control_client(&mut bench);
        for fid in 1..=4 {
            opened(&mut bench, id, fid, "version");
        }
        served(&mut bench, id, &walk(1, 0, 5, &["version"]));
        bench.refused(id, &open(Dialect::L, 1, 5, false), TooManyDescriptors);
        clients.push(id);
    }
    let other = control_client(&mut bench);
    served(&mut bench, other, &walk(1, 0, 1, &["version"]));
    bench.refused(other, &open(Dialect::L, 1, 1, false), TooManyDescriptors);
    // A clunk, a Tversion and the end of a client free them.
    served(&mut bench, clients[0], &of_fid(120, 1, 4));
    served(&mut bench, other, &open(Dialect::L, 1, 1, false));
    bench.client_sends(clients[0], &version(MSIZE, "9P2000.L"));
    bench.client_received(clients[0]);
    bench.disconnect(clients[1]);
    for fid in 2..=4 {
        opened(&mut bench, other, fid, "version");
    }
    assert!(bench.engine.has_control_clients());
    for id in clients.into_iter().chain([other]) {
        bench.disconnect(id);
    }
    assert!(!bench.engine.has_control_clients());
    assert!(bench.upstream().is_empty());
    let id = control_client(&mut bench);
    for fid in 1..256 {
        served(&mut bench, id, &walk(1, 0, fid, &[]));
    }
    bench.refused(id, &walk(1, 0, 256, &[]), TooManyFids);
}

#[test]
fn local_fids_count_against_the_limit_of_fids() {
    let mut bench = Bench::with(Dialect::L, Config { max_fids: 2, ..config() });
    let id = control_client(&mut bench);
    bench.attach(id, 1);
    bench.refused(id, &walk(1, 0, 2, &[]), TooManyFids);
    bench.refused(id, &walk(1, 1, 2, &[]), TooManyFids);
    assert_eq!(bench.engine.client_info(id).unwrap().fids, 2);
}

#[test]
fn tag_in_use_is_refused() {
    let mut bench = Bench::with(Dialect::L, config());
    let id = control_client(&mut bench);
    bench.attach(id, 1);
    bench.forwarded(id, &made(24, 9).u32(1).u64(0).done());
    bench.refused(id, &of_fid(120, 9, 0), DuplicateTag);
    bench.refused(id, &made(24, 1).u32(0).raw(&[0]).done(), Malformed);
}

#[test]
fn numbers_agree_with_what_clients_do() {
    each(|mut bench, id| {
        let (other, _) = bench.attached();
        let before = stat_of(&mut bench, id, "requests_total");
        let tstat = if bench.dialect == Dialect::L { 24 } else { 124 };
        let ask = |tag, fid| match tstat {
            24 => made(24, tag).u32(fid).u64(0).done(),
            _ => of_fid(124, tag, fid),
        };
        for n in 0..5 {
            bench.forwarded(other, &ask(n, 0));
        }
        bench.refused(other, &ask(9, 99), UnknownFid);
        // Twalk, Topen, the Treads and Tclunk of the reader count as well.
        assert_eq!(stat_of(&mut bench, id, "requests_total"), before + 6 + 5);
        assert_eq!(stat_of(&mut bench, id, "in_flight"), 5);
        assert_eq!(stat_of(&mut bench, id, "refused_total"), 1);
        for (name, value) in [
            ("flight", "5"),
            ("state", "active"),
            ("refused", "1"),
            ("in_msgs", "8"),
            ("user", "u"),
            ("fids", "1"),
            ("msize", "8192"),
            ("uid", "-"),
            ("out", "0"),
        ] {
            assert_eq!(column(&mut bench, id, other, name), value, "{name}");
        }
        bench.disconnect(other);
        bench.upstream();
        assert_eq!(text(&mut bench, id, "clients").lines().count(), 2);
        assert_eq!(stat_of(&mut bench, id, "left_behind"), 6);
        let by_type = match tstat {
            24 => "requests_total{type=\"Tgetattr\"}",
            _ => "requests_total{type=\"Tstat\"}",
        };
        assert_eq!(stat_of(&mut bench, id, by_type), 6);
    });
}

#[test]
fn state_of_a_client_says_what_it_waits_for() {
    let limit = Config { max_inflight: 1, max_inflight_all: 2, ..config() };
    let mut bench = Bench::with(Dialect::Plain, limit);
    let reader = control_client(&mut bench);
    let new = bench.engine.client_connected_as(User::Local(1000));
    let (one, _) = bench.attached();
    let (two, _) = bench.attached();
    assert_eq!(column(&mut bench, reader, new, "state"), "new");
    assert_eq!(column(&mut bench, reader, new, "uid"), "1000");
    assert_eq!(column(&mut bench, reader, one, "state"), "idle");
    bench.forwarded(one, &of_fid(124, 1, 0));
    assert_eq!(column(&mut bench, reader, one, "state"), "active");
    bench.client_sends(one, &of_fid(124, 2, 0));
    assert_eq!(column(&mut bench, reader, one, "state"), "limited");
    assert_eq!(column(&mut bench, reader, one, "held"), "11");
    bench.client_sends(two, &of_fid(124, 1, 77));
    bench.engine.tick(Duration::from_millis(999));
    assert_eq!(column(&mut bench, reader, two, "state"), "idle");
    bench.engine.tick(Duration::from_millis(1000));
    assert_eq!(column(&mut bench, reader, two, "state"), "slow");
    assert_eq!(stat_of(&mut bench, reader, "slow_clients"), 1);
    bench.all_received(two);
    assert_eq!(column(&mut bench, reader, two, "state"), "idle");
}

#[test]
fn commands_are_executed_or_kept_for_the_driver() {
    each(|mut bench, id| {
        let (other, _) = bench.attached();
        opened(&mut bench, id, 5, "ctl");
        let write =
            |data: &str| made(118, 1).u32(5).u64(0).u32(data.len() as u32).raw(data.as_bytes());
        for wrong in
            ["", "drop", "drop x", "drop -1", "verbose 3", "drop 1 2", "reconnect", "cache drop"]
        {
            bench.refused(id, &write(wrong).done(), UnknownCommand);
        }
        bench.refused(id, &write("drop 99").done(), NoSuchClient);
        let answer = served(&mut bench, id, &write("verbose 2\n").done());
        assert_eq!(u32_at(&answer, HEADER), 10);
        assert_eq!(bench.engine.next_control_command(), Some(ControlCommand::Verbose(2)));
        assert_eq!(bench.engine.next_control_command(), None);
        // A client with output that it does not read is closed at once, and its fids are clunked.
        bench.client_sends(other, &of_fid(120, 1, 99));
        bench.client_sends(id, &write(&format!("drop {}", other.number())).done());
        assert!(bench.engine.is_closing(other) && bench.engine.output(other).is_empty());
        assert_eq!(bench.upstream().iter().map(|m| kind(m)).collect::<Vec<_>>(), [120]);
        bench.disconnect(other);
        // Also itself.
        bench.all_received(id);
        bench.client_sends(id, &write(&format!("drop {}", id.number())).done());
        assert!(bench.engine.is_closing(id));
    });
}

#[test]
fn shells_may_truncate_the_commands() {
    let mut bench = Bench::with(Dialect::L, config());
    let id = control_client(&mut bench);
    served(&mut bench, id, &walk(1, 0, 5, &["ctl"]));
    let setattr = |valid: u32, size: u64| {
        made(26, 1).u32(5).u32(valid).raw(&[0; 12]).u64(size).raw(&[0; 32]).done()
    };
    served(&mut bench, id, &setattr(0x68, 0));
    bench.refused(id, &setattr(0x68, 1), OwnFile);
    bench.refused(id, &setattr(0x69, 0), OwnFile);
    served(&mut bench, id, &made(12, 1).u32(5).u32(0o1001).done());
    served(&mut bench, id, &walk(1, 0, 6, &["stats"]));
    bench.refused(id, &made(12, 1).u32(6).u32(0o1000).done(), PermissionDenied);
}

#[test]
fn version_of_the_tree_needs_no_server() {
    let kinds = [ServerKind::Connected, ServerKind::OnDemand, ServerKind::Absent];
    for server in kinds {
        let config = Config { server, reconnect: None, ..config() };
        let engine = crate::engine::Engine::new(config);
        let mut bench = Bench { engine, dialect: Dialect::Plain };
        let id = bench.engine.client_connected();
        permit(&mut bench, id);
        bench.client_sends(id, &version(MSIZE, "9P2000.mux"));
        assert_eq!(bench.client_received(id), rversion(MSIZE, "9P2000.mux"));
        bench.refused(id, &attach(Dialect::Plain, 1, 0, NOFID, "ann", "a"), NotAllowed);
        bench.refused(id, &auth(Dialect::Plain, 1, 0, "ann", "a"), NotAllowed);
        bench.refused(id, &of_fid(120, 1, 3), UnknownFid);
        served(&mut bench, id, &attach(Dialect::Plain, 1, 0, NOFID, "ann", TREE));
        assert!(text(&mut bench, id, "version").starts_with("9pmux 1.2.3 pid 4711 up 0\n"));
        bench.client_sends(id, &flush(5, 1));
        assert_eq!(bench.client_received(id), made(109, 5).done());
        assert!(bench.upstream().is_empty() && !bench.engine.wants_redial());
        // The next client still determines the dialect.
        if server == ServerKind::Connected {
            let next = bench.engine.client_connected();
            bench.client_sends(next, &version(MSIZE, "9P2000.L"));
            let request = bench.server_received();
            assert_eq!(&request[HEADER + 4..], b"\x08\09P2000.L");
            assert!(text(&mut bench, id, "upstream").contains("- version 0 - - 0 0 0 0 -\n"));
        }
        // The client may begin a session.
        bench.client_sends(id, &version(MSIZE, "9P2000"));
        assert!(!bench.engine.has_control_clients());
    }
}

#[test]
fn messages_of_a_control_client_are_logged_in_its_dialect() {
    let mut bench = Bench::with(Dialect::L, config());
    let id = bench.engine.client_connected();
    permit(&mut bench, id);
    bench.client_sends(id, &version(MSIZE, "9P2000.mux"));
    bench.client_received(id);
    // That of the server is another one.
    bench.dialect = Dialect::Plain;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let to = seen.clone();
    bench.engine.set_tracer(Some(Box::new(move |dialect, event| {
        if let TraceEvent::FromClient(_, m) | TraceEvent::Refused(_, m, _) = event {
            to.lock().unwrap().push(show(dialect, m).to_string());
        }
    })));
    bench.refused(id, &attach(Dialect::Plain, 1, 0, NOFID, "ann", "a"), NotAllowed);
    let line = "Tattach tag 1 fid 0 afid NOFID uname 'ann' aname 'a'";
    assert_eq!(*seen.lock().unwrap(), [line, line]);
}

#[test]
fn control_client_does_not_keep_the_dialect() {
    let mut bench = Bench { engine: crate::engine::Engine::new(config()), dialect: Dialect::L };
    let id = bench.engine.client_connected();
    permit(&mut bench, id);
    bench.client_sends(id, &version(MSIZE, "9P2000.mux"));
    bench.client_received(id);
    for dialect in [Dialect::L, Dialect::Plain] {
        let next = bench.engine.client_connected();
        bench.client_sends(next, &version(MSIZE, dialect.name()));
        assert_eq!(bench.upstream(), [version(1_048_600, dialect.name())]);
        bench.server(&rversion(MSIZE, dialect.name()));
        assert_eq!(bench.client_received(next), rversion(MSIZE, dialect.name()));
        bench.disconnect(next);
    }
}

#[test]
fn without_the_tree_its_version_is_another_name_of_9p2000() {
    let mut bench = Bench::new(Dialect::Plain);
    let id = bench.engine.client_connected();
    bench.client_sends(id, &version(MSIZE, "9P2000.mux"));
    assert_eq!(bench.client_received(id), rversion(MSIZE, "9P2000"));
    let mut bench = Bench::with(Dialect::Plain, config());
    let id = bench.engine.client_connected();
    bench.client_sends(id, &version(MSIZE, "9P2000.muxx"));
    assert_eq!(bench.client_received(id), rversion(MSIZE, "9P2000"));
}

#[test]
fn tree_is_served_while_the_server_is_away() {
    let config = Config { server: ServerKind::OnDemand, can_redial: true, ..config() };
    let engine = crate::engine::Engine::new(config);
    let mut bench = Bench { engine, dialect: Dialect::L };
    let id = bench.engine.client_connected();
    permit(&mut bench, id);
    bench.client_sends(id, &version(MSIZE, "9P2000.L"));
    bench.engine.server_connected();
    assert_eq!(bench.upstream().len(), 1);
    bench.server(&rversion(MSIZE, "9P2000.L"));
    bench.client_received(id);
    served(&mut bench, id, &attach(Dialect::L, 1, 0, NOFID, "ann", TREE));
    opened(&mut bench, id, 5, "version");
    bench.attach(id, 1);
    bench.engine.server_gone();
    bench.engine.audit();
    assert_eq!(read_at(&mut bench, id, 5, 0, 5), b"9pmux");
    assert_eq!(stat_of(&mut bench, id, "fids_dead"), 1);
    bench.refused(id, &made(24, 1).u32(1).u64(0).done(), NoSuchFile);
    served(&mut bench, id, &of_fid(120, 1, 1));
    assert_eq!(stat_of(&mut bench, id, "fids_dead"), 0);
}

#[test]
fn tree_is_served_and_lists_paths_while_sessions_wait_for_the_server() {
    let config = Config { reconnect: Some(Reconnect::default()), ..config() };
    let engine = crate::engine::Engine::new(Config { dialect: Some(Dialect::L), ..config });
    let mut bench = Bench { engine, dialect: Dialect::L };
    bench.engine.server_connected();
    bench.upstream();
    bench.server(&rversion(MSIZE, "9P2000.L"));
    let id = control_client(&mut bench);
    let fid = bench.attach(id, 1);
    let request = bench.forwarded(id, &walk(1, 1, 2, &["a b"]));
    bench.server(&rwalk(tag(&request), 1));
    bench.client_received(id);
    let number = id.number();
    bench.engine.server_gone();
    bench.engine.audit();
    assert_eq!(
        text(&mut bench, id, "fids"),
        format!(
            "id fid upstream_fid state path\n{number} 1 {fid} away a\n{number} 2 {} away a/a\\x20b\n",
            fid + 1
        )
    );
    assert_eq!(stat_of(&mut bench, id, "reconnects_total"), 0);
    opened(&mut bench, id, 7, "ctl");
    let write = made(118, 1).u32(7).u64(0).u32(10).raw(b"reconnect\n").done();
    served(&mut bench, id, &write);
    assert_eq!(bench.engine.next_control_command(), Some(ControlCommand::Reconnect));
}

#[test]
fn upstreams_are_listed_with_what_the_driver_knows() {
    let mut bench = Bench::with(Dialect::U, config());
    let id = control_client(&mut bench);
    bench.attach(id, 1);
    let server = |address: &str, error: &str| ServerFacts {
        address: address.to_owned(),
        tries: 3,
        last_error: error.to_owned(),
    };
    let other = bench.engine.upstream_row(server("exec!a b", ""));
    let facts = Facts {
        listeners: vec!["unix!/tmp/x".to_owned()],
        server: server("tcp!h!564", "refused\n"),
        other: Some(other),
        refused_connections: 2,
        ..Facts::default()
    };
    bench.engine.report_facts(facts);
    bench.engine.tick(Duration::from_secs(7));
    assert_eq!(
        text(&mut bench, id, "upstream"),
        "address state since dialect msize tries fids requests out_bytes last_error\n\
         tcp!h!564 ready 7 9P2000.u 8192 3 1 0 0 refused\\x0a\n\
         exec!a\\x20b ready 0 9P2000.u 8192 3 1 0 0 -\n"
    );
    assert_eq!(column(&mut bench, id, id, "from"), "unix!/tmp/x");
    assert_eq!(column(&mut bench, id, id, "pid"), "77");
    assert_eq!(stat_of(&mut bench, id, "refused_connections_total"), 2);
    assert_eq!(stat_of(&mut bench, id, "accepted_total"), 3);
}

#[test]
fn latencies_and_metrics_have_the_same_counts() {
    let mut bench = Bench::with(Dialect::Plain, config());
    let id = control_client(&mut bench);
    bench.attach(id, 1);
    let request = bench.forwarded(id, &of_fid(124, 1, 1));
    bench.engine.tick(Duration::from_micros(3));
    bench.failed(&request);
    bench.client_received(id);
    let latency = text(&mut bench, id, "latency");
    let line = latency.lines().find(|line| line.starts_with("Tstat ")).unwrap();
    assert!(line.starts_with("Tstat 1 3 0 1 0 0 "), "{line}");
    let columns = latency.lines().next().unwrap().split(' ').count();
    assert!(latency.lines().all(|line| line.split(' ').count() == columns));
    let metrics = text(&mut bench, id, "metrics");
    for line in [
        "# TYPE ninepmux_clients gauge",
        "ninepmux_clients 1",
        "# TYPE ninepmux_requests_total counter",
        "ninepmux_requests_total{type=\"Tstat\"} 1",
        "# TYPE ninepmux_request_duration_seconds histogram",
        "ninepmux_request_duration_seconds_bucket{type=\"Tstat\",le=\"0.000002\"} 0",
        "ninepmux_request_duration_seconds_bucket{type=\"Tstat\",le=\"0.000004\"} 1",
        "ninepmux_request_duration_seconds_bucket{type=\"Tstat\",le=\"67.108864\"} 1",
        "ninepmux_request_duration_seconds_bucket{type=\"Tstat\",le=\"+Inf\"} 1",
        "ninepmux_request_duration_seconds_sum{type=\"Tstat\"} 0.000003",
        "ninepmux_request_duration_seconds_count{type=\"Tstat\"} 1",
    ] {
        assert!(metrics.lines().any(|it| it == line), "{line}");
    }
}

#[test]
fn snapshot_of_many_clients_is_whole() {
    let mut bench = Bench::with(Dialect::L, config());
    let id = control_client(&mut bench);
    for _ in 0..2000 {
        bench.engine.client_connected();
    }
    let clients = text(&mut bench, id, "clients");
    assert_eq!(clients.lines().count(), 2002);
    assert!(clients.lines().all(|line| line.split(' ').count() == 17));
}

#[test]
fn reply_waits_for_space_beside_replies_of_the_server() {
    let limit = Config { max_reply_bytes: 1000, ..config() };
    let mut bench = Bench::with(Dialect::Plain, limit);
    let id = control_client(&mut bench);
    bench.attach(id, 1);
    opened(&mut bench, id, 5, "stats");
    let request = bench.forwarded(id, &of_fid(124, 1, 1));
    bench.client_sends(id, &read(2, 5, 0, 8000));
    assert!(bench.all_received(id).is_empty(), "the reply to the Tstat has no space beside it");
    bench.failed(&request);
    let tags: Vec<u16> = bench.all_received(id).iter().map(|m| tag(m)).collect();
    assert_eq!(tags, [1, 2]);
}

#[test]
fn all_errors_fit_a_message() {
    assert!(LocalError::ALL.iter().all(|why| why.ename().len() <= 64 - HEADER - 2 - 4));
}

/// Prints the time that a snapshot of 10,000 clients takes: `cargo test --release -- --ignored --nocapture snapshot_time`.
#[test]
#[ignore = "a measurement"]
fn snapshot_time() {
    let mut bench = Bench::with(Dialect::L, config());
    let id = control_client(&mut bench);
    for _ in 0..10_000 {
        bench.engine.client_connected_as(User::Local(1000));
    }
    for name in ["clients", "stats", "metrics"] {
        served(&mut bench, id, &walk(1, 0, 5, &[name]));
        let request = open(Dialect::L, 1, 5, false);
        let since = std::time::Instant::now();
        bench.engine.client_bytes(id, &request);
        println!("{name}: {:?}", since.elapsed());
        bench.client_received(id);
        let size = bench.engine.client_info(id).map_or(0, |info| info.output);
        assert_eq!(size, 0);
        served(&mut bench, id, &of_fid(120, 1, 5));
    }
}
