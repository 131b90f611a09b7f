//! The rules of listeners: which requests of a client must not reach the server.
//!
//! They are decided here by the names of the messages, and by the fields of the directories that a Twstat changes.

use super::names::names;
use crate::engine::{Caller, Config, Rules};
use crate::wire::{Dialect, HEADER, check_request, kind, message as row, types, u16_at, u32_at};

/// The rules of the listener by which a client has connected.
#[derive(Clone, Debug, Default)]
pub struct ModelRules {
    pub read_only: bool,
    /// The user that may be attached as: the numeric uid, if it is known, and the name, if there is one.
    self_only: Option<(Option<u32>, Option<String>)>,
}

impl ModelRules {
    /// Chooses the rules of a new client with this number, in some of the runs, by its byte `n`. Clients attach as user
    /// 7, named `u` and their own number.
    pub fn new(config: &Config, n: u8, number: u32) -> ModelRules {
        let mut rules = ModelRules { read_only: config.read_only, self_only: None };
        if config.seed & 0x18 == 0x18 {
            rules.read_only |= n & 1 != 0;
            let uid = [Some(7), Some(7), Some(8), None][usize::from(n >> 2) % 4];
            let name =
                [Some(number), Some(number), None, Some(number + 1)][usize::from(n >> 4) % 4];
            rules.self_only = (n & 2 != 0).then(|| (uid, name.map(|n| format!("u{n}"))));
        }
        rules
    }

    /// Returns the rules for 9pmux.
    pub fn rules(&self) -> Rules {
        let caller =
            |(uid, name): &(Option<u32>, Option<String>)| Caller { uid: *uid, name: name.clone() };
        let caller = self.self_only.as_ref().map(caller).map(Box::new);
        Rules { read_only: self.read_only, caller }
    }

    /// Returns true if an attach may have these names.
    pub fn allow(&self, dialect: Dialect, names: &[u8]) -> bool {
        let Some((uid, own)) = &self.self_only else {
            return true;
        };
        let end = 2 + usize::from(u16_at(names, 0));
        let uname = String::from_utf8_lossy(&names[2..end]).into_owned();
        let number = u32_at(names, names.len() - 4);
        let is_own = Some(&uname) == own.as_ref();
        match (dialect, uid) {
            (_, None) => false,
            (Dialect::Plain, Some(uid)) => is_own || own.is_none() && uname == uid.to_string(),
            (_, Some(_)) if number == u32::MAX => is_own,
            (_, Some(uid)) => number == *uid && (is_own || uname.is_empty()),
        }
    }

    /// Returns true if a request is no attach that these rules refuse.
    pub fn allow_request(&self, dialect: Dialect, message: &[u8]) -> bool {
        let attaches = [types::TAUTH, types::TATTACH].contains(&kind(message));
        let offsets = check_request(dialect, message).expect("it was forwarded");
        !attaches || self.allow(dialect, names(message, &offsets))
    }
}

/// The messages with which a file cannot be changed.
const HARMLESS: [&str; 16] = [
    "auth",
    "attach",
    "walk",
    "read",
    "clunk",
    "stat",
    "getattr",
    "statfs",
    "readdir",
    "readlink",
    "xattrwalk",
    "fsync",
    "lock",
    "getlock",
    "flush",
    "version",
];

/// Returns true if a request changes files, or opens one so that it can be changed.
pub fn changes(dialect: Dialect, message: &[u8]) -> bool {
    let name = row(dialect, kind(message)).map_or("", |row| row.name);
    match name {
        "open" | "openfd" => ![0, 3].contains(&(message[11] % 4)) || message[11] & 0x50 > 0,
        "lopen" => u32_at(message, 11) % 4 != 0 || u32_at(message, 11) & 0x240 != 0,
        "wstat" => {
            let stat = &message[HEADER + 6..][..usize::from(u16_at(message, HEADER + 4))];
            let own =
                if dialect == Dialect::U { [&[0; 2][..], &[255; 12]].concat() } else { Vec::new() };
            let fields = [&[255; 39][..], &[0; 8], &own].concat();
            let sync = [&(fields.len() as u16).to_le_bytes()[..], &fields].concat();
            stat != sync
        }
        name => !HARMLESS.contains(&name),
    }
}
