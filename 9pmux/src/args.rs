//! The arguments.

use std::io::{self, Write, stdout};
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgAction, Parser, Subcommand};
use clap_complete::Shell;
use ninepmux::engine::Config;
use ninepmux::net::{Address, ServeOptions};
use ninepmux::wire::Dialect;

/// The exit status for wrong arguments. What else can go wrong has its own, in `net`.
const USAGE: u8 = 2;

/// 9P multiplexor: many clients share one connection to a server
#[derive(Debug, Parser)]
#[command(name = "9pmux", version, max_term_width = 100)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Serve(Serve),
    /// Print completions for a shell
    #[command(hide = true)]
    Completions {
        shell: Shell,
    },
}

/// Share SERVER's connection with whoever calls LISTEN
///
/// Addresses are dial strings: tcp!host!port, unix!path, fd!n, - for standard input and output, the
/// bare name of a service in the namespace directory; for SERVER also exec!command, for LISTEN tcp!*!port.
#[derive(Debug, clap::Args)]
pub struct Serve {
    /// Where the server is
    #[arg(value_parser = Address::server)]
    server: Address,
    /// Where clients come
    #[arg(required = true, value_parser = Address::listen)]
    listen: Vec<Address>,
    /// Speak this dialect: 9P2000, 9P2000.u or 9P2000.L [default: that of the first client]
    #[arg(long, value_parser = dialect)]
    dialect: Option<Dialect>,
    /// Offer the server messages of up to so many bytes
    #[arg(long, value_name = "BYTES", default_value_t = defaults().msize,
        value_parser = clap::value_parser!(u32).range(256..=16 << 20))]
    msize: u32,
    /// Let clients attach as this user only, a name or, in 9P2000.u and .L, a number; may be repeated
    #[arg(long, value_name = "USER")]
    uname: Vec<String>,
    /// Let clients attach to this tree only; may be repeated
    #[arg(long, value_name = "TREE")]
    aname: Vec<String>,
    /// Attach to the server once: others that ask for the same get walks of that
    #[arg(long)]
    attach_once: bool,
    /// Let one client have so many requests at the server
    #[arg(long, value_name = "N", default_value_t = defaults().max_inflight as u64,
        value_parser = clap::value_parser!(u64).range(1..=60_000))]
    max_inflight: u64,
    /// Let one client have so many fids
    #[arg(long, value_name = "N", default_value_t = defaults().max_fids as u64,
        value_parser = clap::value_parser!(u64).range(1..=1 << 22))]
    max_fids: u64,
    /// Let so many bytes of replies wait for one client
    #[arg(long, value_name = "BYTES", default_value_t = defaults().max_reply_bytes as u64,
        value_parser = clap::value_parser!(u64).range(256..=1 << 30))]
    max_bytes: u64,
    /// Give the server so long to be reached, and to answer Tversion
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    timeout: Duration,
    /// Log clients; twice: each message
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// Say nothing but why it ends
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// Wrong arguments: says so in one line. Help and version, which come as such too, are what was wanted.
pub fn refuse(wrong: &clap::Error) -> ExitCode {
    if !wrong.use_stderr() {
        return printed(wrong.print());
    }
    if wrong.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        crate::log::last(&"what is to be done? see 9pmux --help");
        return ExitCode::from(USAGE);
    }
    let text = wrong.render().to_string();
    let what: Vec<_> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let what = what.join(" ");
    let what = what.strip_prefix("error: ").unwrap_or(&what);
    crate::log::last(&format_args!("{what}: see 9pmux --help and 9pmux serve --help"));
    ExitCode::from(USAGE)
}

/// What became of something that was to be written to standard output. Who closes that has read enough.
pub fn printed(result: io::Result<()>) -> ExitCode {
    match result.and_then(|()| stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            crate::log::last(&format_args!("standard output: {error}"));
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

fn defaults() -> Config {
    Config::default()
}

fn dialect(name: &str) -> Result<Dialect, String> {
    Dialect::from_name(name.as_bytes()).ok_or_else(|| {
        let names: Vec<_> = Dialect::ALL.iter().map(|dialect| dialect.name()).collect();
        format!("one of {}", names.join(", "))
    })
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds".to_owned())?;
    // A day is more than anybody waits for, and less than what overflows.
    if !(0.001..=86_400.0).contains(&seconds) {
        return Err("between 0.001 and 86400".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

impl Serve {
    /// What is to be done.
    pub fn options(self) -> ServeOptions {
        ServeOptions {
            server: self.server,
            listen: self.listen,
            timeout: self.timeout,
            messages: self.verbose > 1,
            config: Config {
                dialect: self.dialect,
                msize: self.msize,
                unames: self.uname,
                anames: self.aname,
                attach_once: self.attach_once,
                max_inflight: self.max_inflight as usize,
                max_fids: self.max_fids as usize,
                max_reply_bytes: self.max_bytes as usize,
                version_timeout: self.timeout,
                ..defaults()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_manual_has_every_option() {
        let manual = include_str!("../man/9pmux.1");
        let mut command = Args::command();
        command.build();
        let serve = command.find_subcommand("serve").unwrap();
        for option in serve.get_arguments().filter_map(|argument| argument.get_long()) {
            assert!(manual.contains(&format!("-{option}")), "{option}");
        }
    }

    fn parse(line: &str) -> Result<ServeOptions, clap::Error> {
        let args = Args::try_parse_from(format!("9pmux {line}").split(' '))?;
        let Command::Serve(serve) = args.command else { panic!("{line}") };
        Ok(serve.options())
    }

    #[test]
    fn what_is_asked_for_is_ordered() {
        let limits = "--msize 8192 --max-fids 7 --max-bytes 300 --timeout 0.5";
        let options = parse(&format!("serve --dialect 9P2000.L {limits} -vv a b -")).unwrap();
        assert_eq!(options.listen, [Address::Service("b".into()), Address::Stdio]);
        assert_eq!(options.config.dialect, Some(Dialect::L));
        assert_eq!((options.config.msize, options.config.max_fids), (8192, 7));
        assert_eq!(options.config.max_reply_bytes, 300);
        assert_eq!(options.config.version_timeout, Duration::from_millis(500));
        assert!(options.messages);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "serve",
            "serve a",
            "serve a b --msize 255",
            "serve a b --max-inflight 0",
            "serve a b --max-bytes 255",
            "serve a b --timeout 0",
            "serve a b --timeout nan",
            "serve a b --dialect 9P2001",
            "serve a b -q -v",
            "serve tcp!*!1 b",
            "serve a exec!b",
            "serve il!a!b c",
            "link a",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
