//! An address on which clients connect, with options behind it: `unix!/run/9p/store,mode=0660,group=users,readonly`.
//!
//! Options are taken from the end of the text for as long as its last word is one. Everything before is the address, so
//! a path may contain commas.

use std::str::FromStr;

use super::address::{Address, BadAddress, bad};

/// An address on which clients connect, and what these clients may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    /// The address.
    pub address: Address,
    /// Its options.
    pub options: ListenOptions,
}

/// The options of an address on which clients connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenOptions {
    /// The mode of the socket.
    pub mode: Option<u32>,
    /// The group of the socket.
    pub group: Option<Group>,
    /// Whether a client may attach as the user that has connected only.
    pub self_only: bool,
    /// Whether requests that could change a file are refused.
    pub read_only: bool,
}

/// A group of users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Group {
    /// Its name.
    Name(String),
    /// Its number.
    Number(u32),
}

impl From<Address> for ListenAddress {
    fn from(address: Address) -> ListenAddress {
        ListenAddress { address, options: ListenOptions::default() }
    }
}

impl FromStr for ListenAddress {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<ListenAddress, BadAddress> {
        let mut options = ListenOptions::default();
        let mut rest = text;
        while let Some((before, word)) = rest.rsplit_once(',') {
            if !options.take(word)? {
                break;
            }
            rest = before;
        }
        let address = Address::listen(rest)?;
        options.check(&address)?;
        Ok(ListenAddress { address, options })
    }
}

impl ListenAddress {
    /// Returns the word at the end of a name that was perhaps meant as an option.
    #[must_use]
    pub fn doubtful_word(&self) -> Option<&str> {
        let name = match &self.address {
            Address::Unix(path) => path.to_str()?,
            Address::Service(name) | Address::NamedFd(name) => name,
            _ => return None,
        };
        let (_, word) = name.rsplit_once(',')?;
        (!word.contains('/')).then_some(word)
    }
}

impl ListenOptions {
    /// Returns true if the options limit what clients may do.
    #[must_use]
    pub fn have_rules(&self) -> bool {
        self.self_only || self.read_only
    }

    /// Records an option. Returns false if the word is not an option.
    fn take(&mut self, word: &str) -> Result<bool, BadAddress> {
        let is_repeated = match word.split_once('=') {
            _ if word.contains('/') => return Ok(false),
            None if word == "readonly" => std::mem::replace(&mut self.read_only, true),
            Some(("user", "self")) => std::mem::replace(&mut self.self_only, true),
            Some(("mode", mode)) => self.mode.replace(parse_mode(mode)?).is_some(),
            Some(("group", group)) => self.group.replace(parse_group(group)?).is_some(),
            Some(("user", _)) => return bad("user= accepts self only"),
            _ => return Ok(false),
        };
        if is_repeated { bad(format!("the option {word} is given twice")) } else { Ok(true) }
    }

    /// Checks that the address may have these options.
    fn check(&self, address: &Address) -> Result<(), BadAddress> {
        let has_file = matches!(address, Address::Unix(_));
        if (self.mode.is_some() || self.group.is_some()) && !has_file {
            return bad("mode= and group= are for unix! addresses");
        }
        if self.self_only && matches!(address, Address::Tcp(..) | Address::Vsock(_)) {
            return bad("user=self is for Unix sockets: over a network the caller is not known");
        }
        if self.self_only && cfg!(not(target_os = "linux")) {
            return bad("user=self needs Linux");
        }
        Ok(())
    }
}

fn parse_mode(text: &str) -> Result<u32, BadAddress> {
    let is_octal = text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    match u32::from_str_radix(text, 8) {
        Ok(mode @ 0..=0o777) if is_octal => Ok(mode),
        _ => bad(format!("invalid mode '{text}': expected an octal number up to 0777")),
    }
}

fn parse_group(text: &str) -> Result<Group, BadAddress> {
    let is_number = text.bytes().all(|digit| digit.is_ascii_digit());
    let is_name = |c: char| !c.is_whitespace() && !c.is_control() && c != ':';
    match text.parse() {
        // The highest number means no group.
        Ok(number) if is_number && number < u32::MAX => Ok(Group::Number(number)),
        Err(_) if !is_number && !text.starts_with(['-', '+']) && text.chars().all(is_name) => {
            Ok(Group::Name(text.to_owned()))
        }
        _ => bad(format!("invalid group '{text}': expected the name or the number of a group")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ListenAddress, BadAddress> {
        text.parse()
    }

    #[test]
    fn options_are_taken_from_the_end() {
        let parsed = parse("unix!/a,b,mode=0660,group=users,user=self,readonly").unwrap();
        assert_eq!(parsed.address, Address::Unix("/a,b".into()));
        let options = ListenOptions {
            mode: Some(0o660),
            group: Some(Group::Name("users".into())),
            self_only: true,
            read_only: true,
        };
        assert_eq!(parsed.options, options);
        assert_eq!(parse("/s,mode=7").unwrap().options.mode, Some(7));
        assert_eq!(parse("/s,group=100").unwrap().options.group, Some(Group::Number(100)));
        for text in ["tcp!*!564,readonly", "fd!3,readonly", "-,readonly", "plumb,readonly"] {
            assert!(parse(text).unwrap().options.read_only, "{text}");
        }
        for text in ["fd!3,user=self", "-,user=self", "plumb,user=self"] {
            assert!(parse(text).unwrap().options.self_only, "{text}");
        }
        assert_eq!(parse("tcp!h!1").unwrap(), Address::Tcp("h".into(), 1).into());
    }

    #[test]
    fn paths_with_commas_stay_valid() {
        for (text, path) in [
            ("/a,b/s", "/a,b/s"),
            ("/a,mode=7/s", "/a,mode=7/s"),
            ("/a,readonly,x", "/a,readonly,x"),
            ("/a,readonly/s,readonly", "/a,readonly/s"),
            ("/a,,readonly", "/a,"),
        ] {
            assert_eq!(parse(text).unwrap().address, Address::Unix(path.into()), "{text}");
        }
    }

    #[test]
    fn word_that_may_be_meant_as_an_option_is_found() {
        let word = |text: &str| parse(text).unwrap().doubtful_word().map(str::to_owned);
        assert_eq!(word("/s,read-only").as_deref(), Some("read-only"));
        assert_eq!(word("s,ro,readonly").as_deref(), Some("ro"));
        assert_eq!(word("/a,b/s"), None);
        assert_eq!(word("/s,readonly"), None);
    }

    #[test]
    fn invalid_options_are_refused() {
        for (text, why) in [
            ("/s,mode=", "octal"),
            ("/s,mode=8", "octal"),
            ("/s,mode=+660", "octal"),
            ("/s,mode=1777", "octal"),
            ("/s,mode=0660,mode=0600", "twice"),
            ("/s,readonly,readonly", "twice"),
            ("/s,group=", "group"),
            ("/s,group=a:b", "group"),
            ("/s,group=-1", "group"),
            ("/s,group=4294967295", "group"),
            ("/s,group=99999999999", "group"),
            ("/s,user=ann", "self only"),
            ("tcp!*!564,mode=0660", "unix!"),
            ("plumb,group=users", "unix!"),
            ("fd!3,mode=0660", "unix!"),
            ("tcp!*!564,user=self", "network"),
            #[cfg(target_os = "linux")]
            ("vsock!*!564,user=self", "network"),
            #[cfg(target_os = "linux")]
            ("vsock!*!564,mode=0660", "unix!"),
            (",readonly", "empty"),
            ("exec!cat,readonly", "SERVER"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
