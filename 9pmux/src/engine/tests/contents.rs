//! Requests with contents that 9P forbids do not reach the server: invalid strings, names of files and stats, and bytes
//! behind the last field. `check` describes the messages itself and does not use the table of `wire`.

use super::LocalError::{self, *};
use super::bench::Bench;
use super::messages::*;
use crate::engine::Config;
use crate::wire::{
    Dialect, FidUse, FieldKind, HEADER, MESSAGES, Message, NOFID, kind, put_u32, show, tag,
};

/// The fields of each T-message after its header: a digit is a number of that many bytes, `s` is a string, `n` the name
/// of a file, `w` the names of a walk, `d` data, `S` a stat, `?` a number of four bytes that may be absent.
/// `u` and `l` precede a field that only 9P2000.u, or 9P2000.u and 9P2000.L, have.
const FORMS: [(u8, &str); 32] = [
    (8, "4"),
    (12, "44"),
    (14, "4n444"),
    (16, "4ns4"),
    (18, "4n4444"),
    (20, "44n"),
    (22, "4"),
    (24, "48"),
    (26, "4444488888"),
    (30, "44s"),
    (32, "4s84"),
    (40, "484"),
    (50, "4?"),
    (52, "414884s"),
    (54, "41884s"),
    (70, "44n"),
    (72, "4n44"),
    (74, "4n4n"),
    (76, "4n4"),
    (102, "4ssl4"),
    (104, "44ssl4"),
    (108, "2"),
    (110, "44w"),
    (112, "41"),
    (114, "4n41us"),
    (116, "484"),
    (118, "48d"),
    (120, "4"),
    (122, "4"),
    (124, "4"),
    (126, "4S"),
    (100, "4s"),
];

/// The bytes of a message that have not been checked.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or("it ends early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self, bytes: usize) -> Result<usize, String> {
        Ok(self.take(bytes)?.iter().rev().fold(0, |n, byte| n << 8 | usize::from(*byte)))
    }

    fn string(&mut self, dialect: Dialect) -> Result<&'a [u8], String> {
        let length = self.number(2)?;
        let string = self.take(length)?;
        match std::str::from_utf8(string) {
            _ if string.contains(&0) => Err("a string with NUL".to_owned()),
            Err(_) if dialect != Dialect::L => Err("a string that is not UTF-8".to_owned()),
            _ => Ok(string),
        }
    }

    fn name(&mut self, dialect: Dialect) -> Result<(), String> {
        match self.string(dialect)? {
            name if name.contains(&b'/') => Err("a name with a slash".to_owned()),
            _ => Ok(()),
        }
    }

    fn stat(&mut self, dialect: Dialect) -> Result<(), String> {
        let length = self.number(2)?;
        let mut stat = Rest(self.take(length)?);
        if stat.number(2)? != length - 2 {
            return Err("a stat of another size".to_owned());
        }
        stat.take(39)?;
        let name = stat.string(dialect)?;
        if name != b"/" && name.contains(&b'/') {
            return Err("a stat of a name with a slash".to_owned());
        }
        for _ in 0..if dialect == Dialect::U { 4 } else { 3 } {
            stat.string(dialect)?;
        }
        stat.take(if dialect == Dialect::U { 12 } else { 0 })?;
        stat.end("a stat")
    }

    fn end(&self, what: &str) -> Result<(), String> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(format!("{} bytes behind {what}", self.0.len()))
        }
    }
}

/// Checks that a T-message is well-formed in every respect.
fn check(dialect: Dialect, message: &[u8]) -> Result<(), String> {
    let mut rest = Rest(message);
    if rest.number(4)? != message.len() {
        return Err("another size".to_owned());
    }
    let number = rest.number(1)? as u8;
    rest.take(2)?;
    let form = FORMS.iter().find(|form| form.0 == number).ok_or("an unknown type")?.1;
    let mut has = true;
    for field in form.chars() {
        match field {
            'u' => has = dialect == Dialect::U,
            'l' => has = dialect != Dialect::Plain,
            _ if !std::mem::replace(&mut has, true) => {}
            's' => drop(rest.string(dialect)?),
            'n' => rest.name(dialect)?,
            'w' => {
                let count = rest.number(2)?;
                if count > 16 {
                    return Err("too many names".to_owned());
                }
                for _ in 0..count {
                    rest.name(dialect)?;
                }
            }
            'd' => {
                let count = rest.number(4)?;
                rest.take(count)?;
            }
            'S' => rest.stat(dialect)?,
            '?' if rest.0.is_empty() => {}
            '?' => drop(rest.take(4)?),
            digit => drop(rest.take(digit.to_digit(10).expect("a length") as usize)?),
        }
    }
    rest.end("the last field")
}

/// The requests of a dialect that are forwarded.
fn rows(dialect: Dialect) -> impl Iterator<Item = &'static Message> {
    let forwarded = |row: &&Message| row.request.is_some() && ![98, 100, 108].contains(&row.number);
    MESSAGES.iter().filter(move |row| row.dialects.contains(dialect)).filter(forwarded)
}

/// The contents of strings, names, stats and data.
#[derive(Clone, Copy)]
struct Contents<'a> {
    string: &'a [u8],
    name: &'a [u8],
    stat: &'a [u8],
}

/// Returns a request that uses the fids 0 and 1, and creates fid 5. `contents` gives those of the field with this
/// number.
fn request<'a>(
    dialect: Dialect,
    row: &Message,
    mut contents: impl FnMut(usize) -> Contents<'a>,
) -> MessageBuilder {
    let fields = row.request.unwrap_or_default().iter();
    let mut fids = 0;
    let has = fields.filter(|field| field.dialects.contains(dialect)).enumerate();
    has.fold(made(row.number, 9), |message, (n, field)| match field.kind {
        FieldKind::Fid(FidUse::Authenticates) => message.u32(NOFID),
        FieldKind::Fid(FidUse::Creates | FidUse::CreatesAuth | FidUse::CreatesOnFullWalk) => {
            message.u32(5)
        }
        FieldKind::Fid(_) => {
            fids += 1;
            message.u32(fids - 1)
        }
        FieldKind::U8 => message.u8(1),
        FieldKind::U16 | FieldKind::Oldtag => message.u16(1),
        FieldKind::U32 | FieldKind::OptionalU32 | FieldKind::Count | FieldKind::Iounit => {
            message.u32(1)
        }
        FieldKind::U64 => message.u64(1),
        FieldKind::Bytes(n) => message.raw(&vec![1; n as usize]),
        FieldKind::Data => message.u32(3).raw(b"\0/\xFF"),
        FieldKind::String => message.str(contents(n).string),
        FieldKind::Name => message.str(contents(n).name),
        FieldKind::Names => message.u16(2).str("a").str(contents(n).name),
        FieldKind::Stat => message.str(contents(n).stat),
        FieldKind::Qid | FieldKind::Qids => unreachable!("no request has qids"),
    })
}

/// The numbers of the fields that have contents, and whether the contents are the name of a file.
fn fields(dialect: Dialect, row: &Message) -> Vec<(usize, FieldKind)> {
    let fields = row.request.unwrap_or_default().iter();
    let has = fields.filter(|field| field.dialects.contains(dialect)).enumerate();
    let kinds = has.map(|(n, field)| (n, field.kind));
    let with = |kind: &FieldKind| {
        use FieldKind::{Name, Names, Stat, String};
        matches!(kind, Name | Names | Stat | String)
    };
    kinds.filter(|(_, kind)| with(kind)).collect()
}

fn good(dialect: Dialect) -> (Vec<u8>, &'static [u8]) {
    (stat(dialect, "né"), "né".as_bytes())
}

fn ready(dialect: Dialect, lax: bool) -> (Bench, crate::engine::ClientId) {
    let mut bench = Bench::with(dialect, Config { lax, ..Config::default() });
    let (id, _) = bench.attached();
    bench.attach(id, 1);
    (bench, id)
}

/// Checks the handling of a request with one bad field: with `why`, it is refused; without, it reaches the server.
/// With `lax` it always reaches the server, unchanged.
fn is_refused(dialect: Dialect, message: &[u8], why: Option<LocalError>) {
    let (mut bench, id) = ready(dialect, false);
    match why {
        Some(why) => bench.refused(id, message, why),
        None => {
            let asked = bench.forwarded(id, message);
            check(dialect, &asked).unwrap_or_else(|why| panic!("{}: {why}", show(dialect, &asked)));
        }
    }
    let (mut bench, id) = ready(dialect, true);
    assert_eq!(bench.forwarded(id, message).len(), message.len(), "{}", show(dialect, message));
}

#[test]
fn strings_and_names_that_the_dialect_forbids_are_refused() {
    for dialect in Dialect::ALL {
        let l = dialect == Dialect::L;
        for row in rows(dialect) {
            for (bad, why) in [
                (&b"a\0b"[..], Some(BadString)),
                (b"\0", Some(BadString)),
                (b"\xFF", Some(BadString).filter(|_| !l)),
                (b"a\xC0\x80", Some(BadString).filter(|_| !l)),
                (b"\xED\xA0\x80", Some(BadString).filter(|_| !l)),
                (b"a/b", Some(BadName)),
                (b"/", Some(BadName)),
                (b"..", None),
                (b"", None),
                ("\u{10FFFF}né".as_bytes(), None),
            ] {
                let (good_stat, good) = good(dialect);
                let bad_stat = stat(dialect, bad);
                for (field, kind) in fields(dialect, row) {
                    let message = request(dialect, row, |n| match n == field {
                        true => Contents { string: bad, name: bad, stat: &bad_stat },
                        false => Contents { string: good, name: good, stat: &good_stat },
                    });
                    // A string that names no file may have slashes, and a stat is that of a root.
                    let slash = match kind {
                        FieldKind::String => false,
                        FieldKind::Stat => bad != b"/",
                        _ => true,
                    };
                    let why = why.filter(|why| *why != BadName || slash);
                    is_refused(dialect, &message.done(), why);
                }
            }
        }
    }
}

#[test]
fn stat_that_does_not_have_its_size_is_refused() {
    for dialect in [Dialect::Plain, Dialect::U] {
        let good = stat(dialect, "name");
        let wstat = |stat: &[u8]| made(126, 9).u32(0).str(stat).done();
        is_refused(dialect, &wstat(&good), None);
        let inner = |size: usize| [&(size as u16).to_le_bytes()[..], &good[2..]].concat();
        for length in 0..good.len() {
            is_refused(dialect, &wstat(&good[..length]), Some(Malformed));
            // Its size field is correct, but the fields do not fit.
            if length >= 2 {
                let mut short = good[..length].to_vec();
                short[..2].copy_from_slice(&(length as u16 - 2).to_le_bytes());
                is_refused(dialect, &wstat(&short), Some(Malformed));
            }
        }
        for size in [0, 1, good.len() - 3, good.len() - 1, good.len(), 9999, 65535] {
            is_refused(dialect, &wstat(&inner(size)), Some(Malformed));
        }
        let behind = [&good[..], b"\0"].concat();
        is_refused(dialect, &wstat(&behind), Some(Malformed));
        let mut counted = behind.clone();
        counted[..2].copy_from_slice(&(behind.len() as u16 - 2).to_le_bytes());
        is_refused(dialect, &wstat(&counted), Some(Malformed));
        // Each of its strings, longer than the rest of the stat.
        let mut at = 41;
        for _ in 0..if dialect == Dialect::U { 5 } else { 4 } {
            let mut long = good.clone();
            long[at..at + 2].copy_from_slice(&60_000u16.to_le_bytes());
            is_refused(dialect, &wstat(&long), Some(Malformed));
            at += 2 + usize::from(good[at]);
        }
        // The stat of the other dialect.
        let other = if dialect == Dialect::U { Dialect::Plain } else { Dialect::U };
        is_refused(dialect, &wstat(&stat(other, "name")), Some(Malformed));
    }
}

#[test]
fn bytes_behind_the_last_field_are_cut_off() {
    for dialect in Dialect::ALL {
        let (good_stat, good) = good(dialect);
        let contents = |_| Contents { string: good, name: good, stat: &good_stat };
        for row in rows(dialect) {
            for behind in [&b"\0"[..], b"\0\0\0\0", &[0xFF; 300]] {
                let message = request(dialect, row, contents);
                // The size shows whether the optional number is present.
                let whole = message.clone().done().len();
                let (mut bench, id) = ready(dialect, false);
                let asked = bench.forwarded(id, &message.clone().raw(behind).done());
                assert_eq!(asked.len(), whole, "{}", show(dialect, &asked));
                check(dialect, &asked).unwrap_or_else(|why| panic!("T{}: {why}", row.name));
                // The next message is found.
                bench.refused(id, &read(2, 77, 0, 1), UnknownFid);
                let (mut bench, id) = ready(dialect, true);
                let asked = bench.forwarded(id, &message.raw(behind).done());
                assert!(asked.ends_with(behind) && asked.len() == whole + behind.len());
            }
        }
    }
}

/// A server of 9P2000.u could read a number behind the last field as the number of the user.
#[test]
fn number_behind_a_9p2000_attach_does_not_reach_the_server() {
    for once in [false, true] {
        let config =
            Config { unames: vec!["glenda".to_owned()], attach_once: once, ..Config::default() };
        let mut bench = Bench::with(Dialect::Plain, config);
        let id = bench.client();
        let plain = attach(Dialect::Plain, 1, 0, NOFID, "glenda", "");
        let mut message = [&plain[..], &[0; 4]].concat();
        let size = message.len() as u32;
        put_u32(&mut message, 0, size);
        let asked = bench.forwarded(id, &message);
        assert_eq!((asked.len(), kind(&asked)), (plain.len(), 104));
        assert_eq!(asked[HEADER + 4..], plain[HEADER + 4..]);
    }
}

/// Requests with random fields, some of them changed at random: every request that reaches the server is well-formed,
/// and every well-formed request with known fids reaches it.
#[test]
fn every_request_that_reaches_the_server_is_well_formed() {
    let pool: [&[u8]; 9] =
        [b"a", b"", b"..", "né".as_bytes(), b"\xFF", b"\0", b"a/b", b"/", b"\xC3"];
    let mut random = Random::new(5);
    let (mut forwarded, mut refused) = (0, 0);
    for dialect in Dialect::ALL {
        let all: Vec<&Message> = rows(dialect).collect();
        let mut bench = Bench::new(dialect);
        for _ in 0..6000 {
            let id = bench.engine.client_connected();
            bench.client_sends(id, &version(8192, dialect.name()));
            bench.all_received(id);
            bench.attach(id, 0);
            bench.attach(id, 1);
            let row = *random.pick(&all);
            let well = random.one_in(2);
            let reach = if well { 4 } else { pool.len() };
            let stats: Vec<Vec<u8>> = pool.iter().map(|name| stat(dialect, name)).collect();
            let mut message = request(dialect, row, |_| Contents {
                string: pool[random.below(reach)],
                name: pool[random.below(reach)],
                stat: &stats[random.below(reach)],
            })
            .raw(&[7; 3][..if random.one_in(2) { random.below(4) } else { 0 }])
            .done();
            if !well && random.one_in(2) {
                // Behind the fids, so that these stay known.
                let at = HEADER + 4 + random.below(message.len() - HEADER - 3).max(4);
                if let Some(byte) = message.get_mut(at) {
                    *byte = random.next() as u8;
                }
            }
            bench.client_sends(id, &message);
            let asked = bench.upstream();
            let replies = bench.all_received(id);
            let shown = show(dialect, &message);
            assert_eq!(asked.len() + replies.len(), 1, "{shown}");
            assert!(!well || asked.len() == 1, "{shown}");
            for request in &asked {
                check(dialect, request).unwrap_or_else(|why| panic!("{shown}: {why}"));
                forwarded += 1;
            }
            for refusal in &replies {
                assert!(is_error(refusal) && tag(refusal) == 9, "{shown}");
                refused += 1;
            }
            bench.disconnect(id);
            // The server completes everything.
            let mut open = asked;
            loop {
                open.extend(bench.upstream());
                let Some(request) = open.pop() else { break };
                match kind(&request) {
                    108 | 120 => bench.done(&request),
                    _ => bench.failed(&request),
                }
            }
        }
    }
    assert!(forwarded > 9000 && refused > 2000, "{forwarded} {refused}");
}

/// A server of 9P2000 would take the number of a byte behind the stat for a part of it.
#[test]
fn bytes_behind_a_stat_do_not_reach_the_server() {
    for dialect in [Dialect::Plain, Dialect::U] {
        let mut bench = Bench::new(dialect);
        let (id, _) = bench.attached();
        let strings = [0; 2 * 5];
        let (strings, numbers) = match dialect {
            Dialect::U => (&strings[..10], &[0xff; 12][..]),
            _ => (&strings[..8], &[][..]),
        };
        let inside = [&[0xff; 39], strings, numbers].concat();
        let stat = |more: &[u8]| {
            let size = inside.len() as u16;
            let length = size + 2 + more.len() as u16;
            made(126, 1).u32(0).u16(length).u16(size).raw(&inside).raw(more)
        };
        for behind in [&[][..], &[0], &[7; 9]] {
            let request = bench.forwarded(id, &stat(&[]).raw(behind).done());
            assert_eq!(request.len(), stat(&[]).done().len());
            assert_eq!(request[HEADER + 4..], stat(&[]).done()[HEADER + 4..]);
            bench.server(&made(127, tag(&request)).done());
            assert_eq!(kind(&bench.client_received(id)), 127);
            // The same bytes within the stat are refused.
            if !behind.is_empty() {
                bench.refused(id, &stat(behind).done(), Malformed);
            }
        }
    }
}
