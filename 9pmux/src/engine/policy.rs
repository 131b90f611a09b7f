//! Limits of what clients may do: the users and trees that they may attach as and to, and whether they may change files.
//!
//! The configuration limits all clients. The [`Rules`] of a listener limit the clients that have connected by it.
//!
//! A server that identifies its users by this connection alone trusts every uname. A Tauth or Tattach
//! is forwarded unchanged or refused: no field is replaced, so that client and server always agree
//! about the user. In 9P2000.u and 9P2000.L a user also has a numeric uid; servers use either, so both
//! are checked.

use super::config::Config;
use crate::wire::{Dialect, HEADER, flags, kind, mode, types, u16_at, u32_at};

/// The numeric uid that means none.
const NO_NUMBER: u32 = u32::MAX;

/// The rules of a listener, for a client that has connected by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Whether requests that could change a file are refused.
    pub read_only: bool,
    /// The process that has connected, if it may attach as its own user only.
    pub caller: Option<Box<Caller>>,
}

/// The process that has made a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Its user, if the system knows it. Without one no attach is permitted.
    pub uid: Option<u32>,
    /// The login name of that user, if it has one.
    pub name: Option<String>,
}

/// The fields of a Tauth or Tattach after its fids.
#[derive(Clone, Copy, Debug)]
pub struct AttachNames<'a> {
    pub uname: &'a [u8],
    pub aname: &'a [u8],
    /// The numeric uid, if the dialect has one and it is given.
    pub number: Option<u32>,
}

impl<'a> AttachNames<'a> {
    /// Parses these fields. The strings must be complete.
    pub fn parse(fields: &'a [u8]) -> AttachNames<'a> {
        let (uname, rest) = split_string(fields);
        let (aname, rest) = split_string(rest);
        let number = (rest.len() >= 4).then(|| u32_at(rest, 0));
        AttachNames { uname, aname, number: number.filter(|number| *number != NO_NUMBER) }
    }
}

/// Splits a string from the bytes behind it. The string must be complete.
fn split_string(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes[2..].split_at(u16_at(bytes, 0) as usize)
}

impl Caller {
    /// Returns true if it may attach with these fields after the fids. The superuser may attach as any user.
    pub fn may_attach_as(&self, dialect: Dialect, fields: &[u8]) -> bool {
        let Some(uid) = self.uid else {
            return false;
        };
        let AttachNames { uname, number, .. } = AttachNames::parse(fields);
        let is_own_name = self.name.as_ref().is_some_and(|name| name.as_bytes() == uname);
        let is_own = match dialect {
            Dialect::Plain => match &self.name {
                Some(_) => is_own_name,
                None => uname == uid.to_string().as_bytes(),
            },
            Dialect::U | Dialect::L => match number {
                None => is_own_name,
                Some(number) => number == uid && (uname.is_empty() || is_own_name),
            },
        };
        uid == 0 || is_own
    }
}

/// Returns true if a request could change a file: any type of which it is not known that it cannot. A Twrite to an auth
/// fid does not change a file, which this does not know. A Tremove releases its fid even if it is refused, and is
/// handled elsewhere.
pub fn may_change(dialect: Dialect, message: &[u8]) -> bool {
    match kind(message) {
        types::TAUTH | types::TATTACH | types::TWALK | types::TREAD | types::TCLUNK => false,
        types::TSTAT | types::TGETATTR | types::TSTATFS | types::TREADDIR | types::TREADLINK => {
            false
        }
        types::TXATTRWALK | types::TFSYNC | types::TLOCK | types::TGETLOCK => false,
        types::TREMOVE => false,
        types::TOPEN | types::TOPENFD => {
            let bits = message[HEADER + 4];
            matches!(bits & mode::ACCESS, mode::WRITE | mode::READ_WRITE)
                || bits & (mode::TRUNCATE | mode::REMOVE_ON_CLOSE) != 0
        }
        types::TLOPEN => {
            u32_at(message, HEADER + 4) & (flags::ACCESS | flags::CREATE | flags::TRUNCATE) != 0
        }
        types::TWSTAT => !is_sync(dialect, message),
        _ => true,
    }
}

/// The length of the numbers of a stat, which are before its strings.
const STAT_NUMBERS: usize = 39;

/// Returns true if each field of a Twstat says that it does not change, which makes a server write its data to the
/// disk. Before the stat is its size, and at its beginning the size of the rest.
pub fn is_sync(dialect: Dialect, message: &[u8]) -> bool {
    let stat = &message[HEADER + 4..];
    // The strings are empty.
    let (strings, own_numbers) = match dialect {
        Dialect::U => (5 * 2, 3 * 4),
        Dialect::Plain | Dialect::L => (4 * 2, 0),
    };
    let size = 2 + STAT_NUMBERS + strings + own_numbers;
    let has_size = usize::from(u16_at(stat, 0)) == size && stat.len() >= 2 + size;
    if !has_size || usize::from(u16_at(stat, 2)) != size - 2 {
        return false;
    }
    let (numbers, rest) = stat[4..2 + size].split_at(STAT_NUMBERS);
    let (strings, own_numbers) = rest.split_at(strings);
    let are_unset = |numbers: &[u8]| numbers.iter().all(|byte| *byte == 0xFF);
    are_unset(numbers) && are_unset(own_numbers) && strings.iter().all(|byte| *byte == 0)
}

/// Returns true if the configuration permits an attach with these fields after the fids.
pub fn is_attach_allowed(config: &Config, fields: &[u8]) -> bool {
    if config.unames.is_empty() && config.anames.is_empty() {
        return true;
    }
    let AttachNames { uname, aname, number } = AttachNames::parse(fields);
    let listed = |list: &[String], name: &[u8]| {
        list.is_empty() || list.iter().any(|allowed| allowed.as_bytes() == name)
    };
    // The name may be empty if there is a numeric uid.
    let by_name = uname.is_empty() && number.is_some() || listed(&config.unames, uname);
    let by_number =
        number.is_none_or(|number| listed(&config.unames, number.to_string().as_bytes()));
    by_name && by_number && listed(&config.anames, aname)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dialect: Dialect, uname: &str, aname: &str, number: u32) -> Vec<u8> {
        let mut names = Vec::new();
        for name in [uname, aname] {
            names.extend((name.len() as u16).to_le_bytes());
            names.extend(name.as_bytes());
        }
        if dialect != Dialect::Plain {
            names.extend(number.to_le_bytes());
        }
        names
    }

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn empty_lists_permit_all() {
        for dialect in Dialect::ALL {
            assert!(is_attach_allowed(&Config::default(), &names(dialect, "glenda", "", 0)));
        }
    }

    #[test]
    fn only_listed_users_and_trees_are_permitted() {
        let config = Config {
            unames: list(&["glenda", "rsc"]),
            anames: list(&["", "main"]),
            ..Config::default()
        };
        for dialect in Dialect::ALL {
            for (uname, aname, may) in [
                ("glenda", "main", true),
                ("rsc", "", true),
                ("rs", "", false),
                ("rscc", "", false),
                ("", "", false),
                ("glenda\0", "", false),
                ("glenda", "mai", false),
                ("glenda", "main/", false),
            ] {
                let allowed = is_attach_allowed(&config, &names(dialect, uname, aname, NO_NUMBER));
                assert_eq!(allowed, may, "{uname:?} {aname:?}");
            }
        }
    }

    #[test]
    fn numeric_uid_must_be_listed_too() {
        let config = Config { unames: list(&["glenda", "1000"]), ..Config::default() };
        for dialect in [Dialect::U, Dialect::L] {
            for (uname, number, may) in [
                ("glenda", 1000, true),
                ("glenda", NO_NUMBER, true),
                ("", 1000, true),
                ("glenda", 0, false),
                ("", 0, false),
                ("root", 1000, false),
                ("", NO_NUMBER, false),
            ] {
                let allowed = is_attach_allowed(&config, &names(dialect, uname, "", number));
                assert_eq!(allowed, may, "{uname:?} {number}");
            }
        }
    }
}
