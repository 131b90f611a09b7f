//! A second random world: clients of a server that goes away and comes back.
//!
//! The tree of files is on a disk of its own. The sessions of the server end at any time, with any part of the bytes
//! delivered and any part of the requests executed, some of them even later. Other programs rename, replace and remove
//! files meanwhile. The oracle is what `--reconnect` promises:
//!
//! | promise | place |
//! |---|---|
//! | nothing is executed twice that must not be, and nothing that no client waits for | `Ledger::find`, `Ledger::mark_written` |
//! | no fid reads or writes another file than its own | `Ledger::find`, `Peer::check_reply` |
//! | each reply is the server's, or an error for which there is a reason | `Peer::is_permitted` |
//! | no lock, write, extended attribute or position in a directory is pretended to have outlived the loss | `Peer::check_reply` |
//! | no identity that has authenticated is attached without | `World::check_restored` |
//! | no client has a fid of another user | `World::check_users` |
//! | requests fail in time, and all are replied to when the server stays | `World::check_patience`, `World::finish` |
//! | a server that is busy for a time, or blocks in an open, costs only what it must | `ClientFid::is_dead`, `Peer::is_permitted` |
//! | nothing is left behind | `World::leave` |
//!
//! | file | content |
//! |---|---|
//! | `disk.rs` | the files, and the other programs |
//! | `session.rs` | one session of the server |
//! | `ledger.rs` | all requests of clients and their executions |
//! | `trouble.rs` | a server that is back, and not well |
//! | `client.rs` | a client: its fids, and the replies that it may get |
//! | `requests.rs` | what clients ask |
//! | `world.rs` | the events, and the driver |

mod client;
mod disk;
mod fields;
mod ledger;
mod requests;
mod session;
mod trouble;
mod world;

use std::time::Duration;

pub use world::run;

use crate::wire::Dialect;

/// The types of 9P2000.L that are treated individually.
mod kinds {
    pub const TSTATFS: u8 = 8;
    pub const TSYMLINK: u8 = 16;
    pub const TMKNOD: u8 = 18;
    pub const TRENAME: u8 = 20;
    pub const TREADLINK: u8 = 22;
    pub const TGETATTR: u8 = 24;
    pub const TSETATTR: u8 = 26;
    pub const TXATTRWALK: u8 = 30;
    pub const TXATTRCREATE: u8 = 32;
    pub const TREADDIR: u8 = 40;
    pub const RREADDIR: u8 = 41;
    pub const TFSYNC: u8 = 50;
    pub const TLOCK: u8 = 52;
    pub const TGETLOCK: u8 = 54;
    pub const TMKDIR: u8 = 72;
    pub const TRENAMEAT: u8 = 74;
    pub const TUNLINKAT: u8 = 76;
}

/// The bits of a mode, in 9P2000 and 9P2000.u.
const OTRUNC_PLAIN: u8 = 0x10;
const ORCLOSE: u8 = 0x40;
const OAPPEND_U: u32 = 0x80;

/// The bits of the flags, in 9P2000.L.
const OCREATE: u32 = 0o100;
const OEXCL: u32 = 0o200;
const OTRUNC: u32 = 0o1000;
const OAPPEND: u32 = 0o2000;

fn truncates(dialect: Dialect, mode: u32) -> bool {
    mode & if dialect == Dialect::L { OTRUNC } else { u32::from(OTRUNC_PLAIN) } != 0
}

fn appends(dialect: Dialect, mode: u32) -> bool {
    match dialect {
        Dialect::Plain => false,
        Dialect::U => mode & OAPPEND_U != 0,
        Dialect::L => mode & OAPPEND != 0,
    }
}

fn removes_on_close(dialect: Dialect, mode: u32) -> bool {
    dialect != Dialect::L && mode & u32::from(ORCLOSE) != 0
}

/// The names that clients attach with: a user, and a directory of the root, or the root.
struct Identity {
    uname: &'static str,
    aname: &'static str,
    authenticates: bool,
}

const IDENTITIES: [Identity; 3] = [
    Identity { uname: "ann", aname: "", authenticates: false },
    Identity { uname: "bob", aname: disk::SUBTREE, authenticates: false },
    Identity { uname: "key", aname: "", authenticates: true },
];

/// What is known of the losses of the server.
#[derive(Default)]
struct Losses {
    count: u32,
    /// The number of the server's last session.
    session: u32,
    /// The time of the last loss, while the server is not back.
    since: Option<Duration>,
    /// The time from which clients have not got anywhere, the last time.
    began: Duration,
    now: Duration,
    /// The time of the last loss, and whether the server has since been silent for so long that it may have blocked in
    /// the open of a file.
    last: Duration,
    may_block: bool,
    patience: Option<Duration>,
    /// The server numbers its files anew in each session.
    numbers_anew: bool,
    /// Requests fail at random, and so can the restoring of a fid.
    refuses: bool,
    /// The server has refused requests of a replay for the moment; it has done so for too long, or in a dialect in which
    /// that cannot be said.
    is_busy: bool,
    was_busy_too_long: bool,
}

/// The time in which the server must reply.
const TIMEOUT: Duration = Duration::from_secs(10);

impl Losses {
    /// Time has passed.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.may_block |= self.count > 0 && self.now >= self.last + TIMEOUT;
        self.find_busy_too_long();
    }

    /// The server refuses a request of a replay for the moment.
    fn be_busy(&mut self, dialect: Dialect) {
        self.is_busy = true;
        self.was_busy_too_long |= dialect != Dialect::L;
        self.find_busy_too_long();
    }

    fn find_busy_too_long(&mut self) {
        let is_late =
            self.patience.is_some_and(|patience| self.now >= self.began.saturating_add(patience));
        self.was_busy_too_long |= self.is_busy && is_late;
    }

    /// The connection is lost.
    fn begin(&mut self) {
        self.count += 1;
        self.last = self.now;
        if self.since.is_none() {
            (self.since, self.began) = (Some(self.now), self.now);
        }
    }

    /// Returns true if requests may fail because the server is away.
    fn is_impatient(&self) -> bool {
        match (self.patience, self.since) {
            (Some(patience), Some(since)) => self.now >= since.saturating_add(patience),
            _ => false,
        }
    }
}
