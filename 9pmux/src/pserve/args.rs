//! The arguments of plan9port's 9pserve(4): letters may be joined, a value may be joined to its letter or be the next
//! argument, `--` ends the options, and a single address follows.

/// The letters of an invocation with valid arguments.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Args {
    pub address: Vec<u8>,
    /// `-A`: the tree and the auth fid.
    pub attach: Option<(Vec<u8>, u32)>,
    /// `-c`
    pub server: Option<Vec<u8>>,
    /// `-l`
    pub logs_to_file: bool,
    /// `-M`
    pub msize: Option<u32>,
    /// `-n`
    pub rejects_auth: bool,
    /// `-v`, as often as it was given.
    pub verbose: u8,
}

/// The reason why arguments are invalid.
#[derive(Debug, PartialEq, Eq)]
pub enum BadArgs {
    /// They do not fit the usage.
    Usage,
    /// `-A` needs `-M`.
    NoMsize,
}

/// The smallest and the largest msize, as for `9pmux serve`.
const MSIZES: std::ops::RangeInclusive<u32> = 256..=16 << 20;

/// Parses the arguments behind the name of the program.
pub fn parse(arguments: impl IntoIterator<Item = Vec<u8>>) -> Result<Args, BadArgs> {
    let mut arguments = arguments.into_iter().peekable();
    let mut args = Args::default();
    while let Some(word) = arguments.next_if(|word| word.len() > 1 && word[0] == b'-') {
        if word == b"--" {
            break;
        }
        parse_letters(&word[1..], &mut arguments, &mut args)?;
    }
    if args.attach.is_some() && args.msize.is_none() {
        return Err(BadArgs::NoMsize);
    }
    args.address = arguments.next().ok_or(BadArgs::Usage)?;
    match arguments.next() {
        None => Ok(args),
        Some(_) => Err(BadArgs::Usage),
    }
}

/// Parses joined letters. The rest of them, if there is one, is the first value of a letter.
fn parse_letters(
    letters: &[u8],
    arguments: &mut impl Iterator<Item = Vec<u8>>,
    args: &mut Args,
) -> Result<(), BadArgs> {
    for (n, letter) in letters.iter().enumerate() {
        let mut rest = Some(letters[n + 1..].to_vec()).filter(|rest| !rest.is_empty());
        let mut value = || rest.take().or_else(|| arguments.next()).ok_or(BadArgs::Usage);
        match letter {
            // It has no effect in plan9port either.
            b'u' => {}
            b'n' => args.rejects_auth = true,
            b'l' => args.logs_to_file = true,
            b'v' => args.verbose = args.verbose.saturating_add(1),
            b'c' => args.server = Some(value()?),
            b'M' => {
                let msize = number(&value()?).and_then(|n| u32::try_from(n).ok());
                args.msize = Some(msize.filter(|n| MSIZES.contains(n)).ok_or(BadArgs::Usage)?);
            }
            b'A' => args.attach = Some((value()?, afid(&value()?).ok_or(BadArgs::Usage)?)),
            _ => return Err(BadArgs::Usage),
        }
        if matches!(letter, b'c' | b'M' | b'A') {
            break;
        }
    }
    Ok(())
}

fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Parses the number of a fid; -1 is NOFID.
fn afid(text: &[u8]) -> Option<u32> {
    match number(text)? {
        -1 => Some(u32::MAX),
        n => u32::try_from(n).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &[&str]) -> Result<Args, BadArgs> {
        parse(line.iter().map(|word| word.as_bytes().to_vec()))
    }

    fn with_address(change: impl FnOnce(&mut Args)) -> Result<Args, BadArgs> {
        let mut args = Args { address: b"unix!a".to_vec(), ..Args::default() };
        change(&mut args);
        Ok(args)
    }

    #[test]
    fn letters_without_a_value_may_be_joined() {
        assert_eq!(parsed(&["-u", "unix!a"]), with_address(|_| ()));
        for line in [&["-nu", "unix!a"][..], &["-un", "unix!a"], &["-u", "-n", "--", "unix!a"]] {
            assert_eq!(parsed(line), with_address(|args| args.rejects_auth = true), "{line:?}");
        }
        assert_eq!(
            parsed(&["-vlv", "-v", "unix!a"]),
            with_address(|args| (args.verbose, args.logs_to_file) = (3, true))
        );
    }

    #[test]
    fn values_are_joined_to_their_letter_or_follow_it() {
        let msize = || with_address(|args| args.msize = Some(4000));
        assert_eq!(parsed(&["-M4000", "unix!a"]), msize());
        assert_eq!(parsed(&["-uM", "4000", "unix!a"]), msize());
        let attach = |aname: &str, afid| {
            with_address(|args| {
                args.msize = Some(4000);
                args.attach = Some((aname.into(), afid));
            })
        };
        assert_eq!(parsed(&["-u", "-M", "4000", "-A", "", "3", "unix!a"]), attach("", 3));
        assert_eq!(parsed(&["-Aabc", "5", "-M4000", "unix!a"]), attach("abc", 5));
        assert_eq!(parsed(&["-A", "-c", "-1", "-M4000", "unix!a"]), attach("-c", u32::MAX));
        assert_eq!(
            parsed(&["-c", "host", "unix!a"]),
            with_address(|args| args.server = Some(b"host".to_vec()))
        );
        // The address may be anything, also behind `--`, and a lone `-`.
        assert_eq!(parsed(&["--", "-x"]).unwrap().address, b"-x");
        assert_eq!(parsed(&["-"]).unwrap().address, b"-");
    }

    #[test]
    fn invalid_arguments_are_refused() {
        for line in [
            &["-u"][..],
            &[],
            &["a", "b"],
            &["-x", "a"],
            &["--x", "a"],
            &["a", "-u"],
            &["-c"],
            &["-M", "a"],
            &["-M", "255", "a"],
            &["-M", "x", "a"],
            &["-M4000", "-A", "x", "a"],
            &["-M4000", "-A", "x", "-2", "a"],
            &["-M4000", "-A", "x", "4294967296", "a"],
        ] {
            assert_eq!(parsed(line), Err(BadArgs::Usage), "{line:?}");
        }
        assert_eq!(parsed(&["-A", "a", "3", "unix!a"]), Err(BadArgs::NoMsize));
    }
}
