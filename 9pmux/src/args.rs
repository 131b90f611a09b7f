//! The command line.

use std::io::{self, Write, stdout};
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use ninepmux::engine::Config;
use ninepmux::net::{Address, ListenAddress, ServeOptions, max_silence};
use ninepmux::wire::Dialect;

use crate::control_args::ControlArgs;
use crate::link_args::Link;
use crate::reconnect_args::{NEEDS_ADDRESS, ReconnectArgs};
#[cfg(feature = "stat")]
use crate::stat_args::Stat;
use crate::{FAILURE, SUCCESS, Status};

/// The exit status for invalid arguments. The other statuses are in `net/failure.rs`.
const USAGE: u8 = 2;

/// The default of --max-clients.
pub const MAX_CLIENTS: u32 = 16_000;

/// 9P multiplexor: many clients share one connection to a server
#[derive(Debug, Parser)]
#[command(name = "9pmux", version, max_term_width = 100)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Serve(Box<Serve>),
    Link(Box<Link>),
    #[cfg(feature = "stat")]
    Stat(Box<Stat>),
    /// Print completions for a shell
    #[command(hide = true)]
    Completions {
        shell: Shell,
    },
}

/// The headings of the options in the help.
pub const PROTOCOL: &str = "Protocol options";
pub const ACCESS: &str = "Access options";
pub const LIMITS: &str = "Limits";
pub const LOGGING: &str = "Logging options";

/// Share one connection to SERVER among all clients of LISTEN
///
/// Addresses are dial strings: tcp!host!port, unix!path, fd!n for an open descriptor, - for standard input
/// and output, or the bare name of a service in the namespace directory. SERVER may also be exec!command,
/// which starts the server, and LISTEN may be tcp!*!port, which listens on all addresses of the machine. LISTEN
/// may have options behind it, such as unix!/run/store,mode=0660,group=users,user=self,readonly.
#[derive(Debug, clap::Args)]
pub struct Serve {
    /// Address of the server
    #[arg(value_parser = Address::server)]
    server: Address,
    /// Addresses on which clients connect
    #[arg(required = true)]
    listen: Vec<ListenAddress>,
    /// Dialect: 9P2000, 9P2000.u or 9P2000.L [default: that of the first client]
    ///
    /// 9pmux agrees on this dialect with the server when it starts, and exits if the server does not agree.
    /// By default the first client determines the dialect, until no client has a session. The option should
    /// be used if clients are not trusted.
    #[arg(long, value_parser = dialect, help_heading = PROTOCOL)]
    dialect: Option<Dialect>,
    /// Maximum message size offered to the server
    ///
    /// The msize of a client is at most the size to which the server agrees.
    #[arg(long, value_name = "BYTES", default_value_t = defaults().msize,
        value_parser = clap::value_parser!(u32).range(256..=16 << 20), help_heading = PROTOCOL)]
    msize: u32,
    /// Maximum time to connect to the server, and for its reply to Tversion
    ///
    /// The time limits the connection, and then again the reply to Tversion. It may be a fraction of a
    /// second, at least 0.001. The lookup of a host name is not limited.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds,
        help_heading = PROTOCOL)]
    timeout: Duration,
    /// Silence after which the server is asked whether it is there; 0: never
    ///
    /// After three times that 9pmux gives the server up. This is for servers that reply to other requests while one
    /// takes long. A TCP connection without a sign of life is given up by the system after the same time.
    #[arg(long, value_name = "SECONDS", default_value_t = 0,
        value_parser = clap::value_parser!(u32).range(0..=86_400), help_heading = PROTOCOL)]
    keepalive: u32,
    /// Allow clients to attach as this user only; may be repeated
    ///
    /// In 9P2000.u and 9P2000.L a client may send a numeric user id as well. Then the number must be allowed
    /// too, so a Linux mount needs both: --uname glenda --uname 1002. This is not authentication: any program
    /// that can connect to the socket can send an allowed name.
    #[arg(long, value_name = "USER", help_heading = ACCESS)]
    uname: Vec<String>,
    /// Allow clients to attach to this tree only; may be repeated
    ///
    /// The tree is the aname of Tattach. An empty TREE is the default tree of the server.
    #[arg(long, value_name = "TREE", help_heading = ACCESS)]
    aname: Vec<String>,
    /// Refuse to attach without authentication
    ///
    /// This option is for servers that remember that a connection has authenticated, as diod does: all clients
    /// share the connection, so one client's credential would admit the others too.
    #[arg(long, value_name = "RULE", value_parser = ["required"], help_heading = ACCESS)]
    auth: Option<String>,
    /// Refuse requests that could change a file
    ///
    /// They get the error "read only" (EROFS), and so does a Tremove, which releases its fid all the same. LISTEN may
    /// have the option readonly instead, for its clients only.
    #[arg(long, help_heading = ACCESS)]
    readonly: bool,
    /// Attach to the server only once for each user and tree
    ///
    /// This option is for servers that refuse a second Tattach on a connection. Clients that attach later
    /// with the same user and tree receive a clone of the first client's root.
    #[arg(long, help_heading = ACCESS)]
    attach_once: bool,
    #[command(flatten)]
    control: ControlArgs,
    /// Forward malformed strings, names and stats
    ///
    /// By default requests get an error if a string contains NUL or, except in 9P2000.L, is not UTF-8, if the
    /// name of a file contains a slash, or if a stat does not have its size; and bytes behind the last field of
    /// a message are cut off.
    #[arg(long, help_heading = PROTOCOL)]
    lax: bool,
    #[command(flatten)]
    reconnect: ReconnectArgs,
    /// Maximum number of clients
    ///
    /// Further clients are refused and a warning is logged. An eighth of the number is kept for users and hosts
    /// with few clients, and half of that for those with none.
    #[arg(long, value_name = "N", default_value_t = MAX_CLIENTS,
        value_parser = clap::value_parser!(u32).range(1..=1 << 20), help_heading = LIMITS)]
    max_clients: u32,
    /// Maximum requests in flight per client
    ///
    /// Further requests of the client wait. Waiting clients are served in turn, regardless of the number of
    /// requests of each. Some of the number are kept for requests other than Tread, which may stay in flight
    /// for ever.
    #[arg(long, value_name = "N", default_value_t = defaults().max_inflight as u64,
        value_parser = clap::value_parser!(u64).range(1..=60_000), help_heading = LIMITS)]
    max_inflight: u64,
    /// Maximum fids per client
    ///
    /// A request that would create another fid fails with an error. A Linux mount with a cache keeps a fid for
    /// each name that it has seen.
    #[arg(long, value_name = "N", default_value_t = defaults().max_fids as u64,
        value_parser = clap::value_parser!(u64).range(1..=1 << 22), help_heading = LIMITS)]
    max_fids: u64,
    /// Maximum requests in flight of all clients
    ///
    /// A client may have as many as are still free for it and its user's other clients, and one in any case.
    /// Requests of a departed client count for its user: the user of this machine, or the host.
    #[arg(long, value_name = "N", default_value_t = defaults().max_inflight_all as u64,
        value_parser = clap::value_parser!(u64).range(1..=defaults().max_inflight_all as u64),
        help_heading = LIMITS)]
    max_inflight_all: u64,
    /// Maximum fids of all clients
    ///
    /// They are shared as the requests in flight are.
    #[arg(long, value_name = "N", default_value_t = defaults().max_fids_all as u64,
        value_parser = clap::value_parser!(u64).range(1..=1 << 24), help_heading = LIMITS)]
    max_fids_all: u64,
    /// Maximum descriptors per client that replace fids (Topenfd); 0 for none
    ///
    /// Programs of plan9port ask for a Unix descriptor in place of an open fid. Further ones are refused. All
    /// clients share half of the descriptors that 9pmux may have open, and at most 8192.
    #[arg(long, value_name = "N", default_value_t = defaults().max_descriptors as u64,
        value_parser = clap::value_parser!(u64).range(0..=8192), help_heading = LIMITS)]
    max_descriptors: u64,
    /// Maximum memory of the buffers of all clients
    ///
    /// The less is free, the fewer bytes of replies a client may have. Beyond the limit, the client that holds
    /// most is disconnected.
    #[arg(long, value_name = "BYTES", default_value_t = defaults().max_memory as u64,
        value_parser = clap::value_parser!(u64).range(1 << 20..=1 << 40), help_heading = LIMITS)]
    max_memory: u64,
    /// Maximum bytes of replies per client
    ///
    /// This counts replies that the client has not read, and the largest possible replies to its requests in
    /// flight. While the client has replies to read, further requests wait; otherwise large reads are
    /// shortened, to 8192 bytes at the least.
    #[arg(long, value_name = "BYTES", default_value_t = defaults().max_reply_bytes as u64,
        value_parser = clap::value_parser!(u64).range(256..=1 << 30), help_heading = LIMITS)]
    max_bytes: u64,
    /// Log clients; twice: log each message too
    ///
    /// Once: log listening addresses, clients that connect and disconnect, messages that 9pmux refuses, and
    /// unexpected messages. Twice: log each message too, with the tags and fids of the client or of the server.
    #[arg(short, long, action = ArgAction::Count, help_heading = LOGGING)]
    pub verbose: u8,
    /// Log only the error that ends 9pmux
    #[arg(short, long, conflicts_with = "verbose", help_heading = LOGGING)]
    pub quiet: bool,
}

/// Returns an error for options of a command that contradict each other.
pub fn conflict(name: &str, why: &str) -> clap::Error {
    let mut command = Args::command();
    // Sets the name that the usage shows.
    command.build();
    let command = command.find_subcommand_mut(name).expect("it is a command");
    command.error(ErrorKind::ArgumentConflict, why)
}

/// Prints clap's message: an error to standard error, help and version to standard output.
pub fn print_usage(message: &clap::Error) -> Status {
    let printed = message.print();
    match message.use_stderr() {
        // A closed standard error changes nothing about the status.
        true => USAGE,
        false => printed_status(printed),
    }
}

/// The exit status after output to standard output. A reader that has closed it is not an error.
pub fn printed_status(result: io::Result<()>) -> Status {
    match result.and_then(|()| stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            crate::log::print_error(&format_args!("standard output: {error}"));
            FAILURE
        }
        _ => SUCCESS,
    }
}

pub fn defaults() -> Config {
    Config::default()
}

pub fn dialect(name: &str) -> Result<Dialect, String> {
    Dialect::from_name(name.as_bytes()).ok_or_else(|| {
        let names: Vec<_> = Dialect::ALL.iter().map(|dialect| dialect.name()).collect();
        format!("expected one of {}", names.join(", "))
    })
}

/// Returns the interval of keepalives, if there is one.
pub fn interval(seconds: u32) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    // A day is longer than any useful timeout, and does not overflow.
    if !(0.001..=86_400.0).contains(&seconds) {
        return Err("expected a number between 0.001 and 86400".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

impl Serve {
    /// Checks what clap cannot check.
    ///
    /// # Errors
    /// Returns an error if the options contradict each other.
    pub fn check(&self) -> Result<(), clap::Error> {
        match self.reconnect.is_given() && !self.server.can_be_dialled_again() {
            true => Err(conflict("serve", NEEDS_ADDRESS)),
            false => Ok(()),
        }
    }

    /// The options of the event loop.
    pub fn options(self) -> ServeOptions {
        ServeOptions {
            server: self.server,
            listen: self.listen,
            timeout: self.timeout,
            messages: self.verbose > 1,
            control_unknown: self.control.control_tcp,
            set_verbosity: Some(crate::log::set_verbosity),
            max_clients: self.max_clients as usize,
            keepalive: interval(self.keepalive),
            max_silence: max_silence(interval(self.keepalive), self.reconnect.is_given()),
            config: Config {
                adapts: true,
                dialect: self.dialect,
                msize: self.msize,
                unames: self.uname,
                anames: self.aname,
                attach_once: self.attach_once,
                require_auth: self.auth.is_some(),
                read_only: self.readonly,
                lax: self.lax,
                reconnect: self.reconnect.config(),
                control: self.control.tree(),
                max_inflight: self.max_inflight as usize,
                max_fids: self.max_fids as usize,
                max_descriptors: self.max_descriptors as usize,
                max_memory: self.max_memory as usize,
                max_inflight_all: self.max_inflight_all as usize,
                max_fids_all: self.max_fids_all as usize,
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

    #[test]
    fn the_arguments_are_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_manual_has_every_option() {
        let manual = include_str!("../man/9pmux.1");
        let mut command = Args::command();
        command.build();
        for name in ["serve", "link", "stat"] {
            #[cfg(not(feature = "stat"))]
            if name == "stat" {
                continue;
            }
            let subcommand = command.find_subcommand(name).unwrap();
            for option in subcommand.get_arguments().filter_map(|argument| argument.get_long()) {
                assert!(manual.contains(&format!("-{option}")), "{option}");
            }
        }
    }

    #[test]
    fn short_help_has_one_line_for_each_option_and_long_help_has_headings() {
        let mut command = Args::command();
        command.build();
        let serve = command.find_subcommand_mut("serve").unwrap();
        let short = serve.render_help().to_string();
        let long = serve.render_long_help().to_string();
        for heading in [PROTOCOL, ACCESS, LIMITS, LOGGING] {
            assert!(long.contains(&format!("{heading}:")), "{long}");
        }
        for argument in serve.get_arguments() {
            let help = argument.get_help().unwrap().to_string();
            assert!(!help.contains('\n') && help.len() <= 80, "{help}");
        }
        assert!(long.lines().count() > short.lines().count() + 20);
    }

    fn parse(line: &str) -> Result<ServeOptions, clap::Error> {
        let args = Args::try_parse_from(format!("9pmux {line}").split(' '))?;
        let Command::Serve(serve) = args.command else { panic!("{line}") };
        Ok(serve.options())
    }

    #[test]
    fn arguments_become_options() {
        let limits = "--msize 8192 --max-fids 7 --max-bytes 300 --timeout 0.5";
        let options =
            parse(&format!("serve --lax --readonly --dialect 9P2000.L {limits} -vv a b -"))
                .unwrap();
        assert_eq!(options.listen, [Address::Service("b".into()), Address::Stdio].map(Into::into));
        assert_eq!(options.config.dialect, Some(Dialect::L));
        assert_eq!((options.config.msize, options.config.max_fids), (8192, 7));
        assert_eq!(options.config.max_reply_bytes, 300);
        assert_eq!(options.config.version_timeout, Duration::from_millis(500));
        assert!(options.messages && options.config.lax && options.config.read_only);
        let options = parse("serve a b").unwrap();
        assert!(!options.config.lax && !options.config.read_only && options.keepalive.is_none());
        assert_eq!(options.max_silence, Duration::from_secs(900));
        let options = parse("serve a b --keepalive 5").unwrap();
        assert_eq!(options.keepalive, Some(Duration::from_secs(5)));
        assert_eq!(options.max_silence, Duration::from_secs(15));
        // A server that is connected again may be given up sooner.
        let options = parse("serve a b --reconnect").unwrap();
        assert_eq!(options.max_silence, Duration::from_secs(45));
        let options = parse("serve a b --reconnect --keepalive 60").unwrap();
        assert_eq!(options.max_silence, Duration::from_secs(180));
    }

    #[test]
    fn invalid_arguments_are_refused() {
        for line in [
            "serve",
            "serve a",
            "serve a b --msize 255",
            "serve a b --max-inflight 0",
            "serve a b --max-clients 0",
            "serve a b --auth optional",
            "serve a b --control=",
            "serve a b --max-bytes 255",
            "serve a b --timeout 0",
            "serve a b --timeout nan",
            "serve a b --dialect 9P2001",
            "serve a b -q -v",
            "serve tcp!*!1 b",
            "serve a exec!b",
            "serve il!a!b c",
            "serve a tcp!*!564,mode=0660",
            "serve a b,mode=0660",
            "serve a /s,mode=0999",
            "serve a tcp!*!564,user=self",
            "unlink a",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
