//! The users and trees that clients may attach as and to, where they are limited.
//!
//! A server that identifies its users by this connection alone trusts every uname. A Tauth or Tattach
//! is forwarded unchanged or refused: no field is replaced, so that client and server always agree
//! about the user. In 9P2000.u and 9P2000.L a user also has a numeric uid; servers use either, so both
//! are checked.

use super::config::Config;
use crate::wire::{Dialect, u16_at, u32_at};

/// The numeric uid that means none.
const NO_NUMBER: u32 = u32::MAX;

/// Returns true if an attach with these names is permitted: uname, aname and, in some dialects, the
/// numeric uid.
pub fn is_attach_allowed(config: &Config, dialect: Dialect, names: &[u8]) -> bool {
    if config.unames.is_empty() && config.anames.is_empty() {
        return true;
    }
    let (uname, rest) = string(names);
    let (aname, rest) = string(rest);
    let number = if dialect == Dialect::Plain { NO_NUMBER } else { u32_at(rest, 0) };
    let listed = |list: &[String], name: &[u8]| {
        list.is_empty() || list.iter().any(|allowed| allowed.as_bytes() == name)
    };
    // The name may be empty if there is a numeric uid.
    let by_name = uname.is_empty() && number != NO_NUMBER || listed(&config.unames, uname);
    let by_number = number == NO_NUMBER || listed(&config.unames, number.to_string().as_bytes());
    by_name && by_number && listed(&config.anames, aname)
}

/// Splits a string from the bytes behind it. The string must be complete.
fn string(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes[2..].split_at(u16_at(bytes, 0) as usize)
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
            assert!(is_attach_allowed(
                &Config::default(),
                dialect,
                &names(dialect, "glenda", "", 0)
            ));
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
                let allowed =
                    is_attach_allowed(&config, dialect, &names(dialect, uname, aname, NO_NUMBER));
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
                let allowed =
                    is_attach_allowed(&config, dialect, &names(dialect, uname, "", number));
                assert_eq!(allowed, may, "{uname:?} {number}");
            }
        }
    }
}
