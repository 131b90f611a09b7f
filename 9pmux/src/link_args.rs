//! The command line of `9pmux link`.

use std::time::Duration;

use clap::ArgAction;
use ninepmux::engine::Config;
use ninepmux::link::LinkConfig;
use ninepmux::net::{Address, LinkOptions, ListenAddress, StreamAddress};
use ninepmux::wire::Dialect;

use crate::args::{
    ACCESS, LIMITS, LOGGING, MAX_CLIENTS, PROTOCOL, conflict, defaults, dialect, interval, seconds,
};
use crate::control_args::ControlArgs;
use crate::reconnect_args::{NEEDS_ADDRESS, ReconnectArgs};

/// Serve in both directions over one connection
///
/// STREAM is the connection to the other end, which should be another 9pmux link: an address of a server as
/// for 9pmux serve, exec!command to start a program such as ssh, - for standard input and output, or
/// listen!ADDRESS to wait for callers. Each end can export a server to the other end, offer the other end's
/// server to local clients, or both.
#[derive(Debug, clap::Args)]
pub struct Link {
    /// Connection to the other end
    stream: StreamAddress,
    /// Server that clients of the other end reach
    ///
    /// It is connected when the other end asks for it, and again after it has gone.
    #[arg(long, value_name = "SERVER", value_parser = Address::server)]
    export: Option<Address>,
    /// Address on which local clients reach the other end; may be repeated
    #[arg(long, value_name = "LISTEN")]
    post: Vec<ListenAddress>,
    /// Maximum bytes outstanding towards the other end
    ///
    /// This counts requests and the room for their replies. An end accepts twice its own window, so both ends
    /// should have the same.
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 20,
        value_parser = clap::value_parser!(u32).range(262_144..=1 << 30), help_heading = LIMITS)]
    window: u32,
    /// Silence after which the other end is asked whether it is there; 0: never
    ///
    /// After three times that the connection is given up.
    #[arg(long, value_name = "SECONDS", default_value_t = 15,
        value_parser = clap::value_parser!(u32).range(0..=86_400), help_heading = PROTOCOL)]
    keepalive: u32,
    /// Dialect: 9P2000, 9P2000.u or 9P2000.L [default: that of the first client]
    ///
    /// With --post, the other end is offered this dialect at the start.
    #[arg(long, value_parser = dialect, help_heading = PROTOCOL)]
    dialect: Option<Dialect>,
    /// Maximum message size offered in both directions
    #[arg(long, value_name = "BYTES", default_value_t = defaults().msize,
        value_parser = clap::value_parser!(u32).range(256..=16 << 20), help_heading = PROTOCOL)]
    msize: u32,
    /// Maximum time for a connection, and for a reply to Tversion
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds,
        help_heading = PROTOCOL)]
    timeout: Duration,
    /// Allow the other end's clients to attach as this user only; may be repeated
    #[arg(long, value_name = "USER", help_heading = ACCESS)]
    uname: Vec<String>,
    /// Allow the other end's clients to attach to this tree only; may be repeated
    #[arg(long, value_name = "TREE", help_heading = ACCESS)]
    aname: Vec<String>,
    /// Refuse the other end's clients to attach without authentication
    #[arg(long, value_name = "RULE", value_parser = ["required"], help_heading = ACCESS)]
    auth: Option<String>,
    /// Refuse requests of the other end's clients that could change a file
    #[arg(long, help_heading = ACCESS)]
    readonly: bool,
    /// Allow local clients to attach as this user only; may be repeated
    #[arg(long, value_name = "USER", help_heading = ACCESS)]
    post_uname: Vec<String>,
    /// Allow local clients to attach to this tree only; may be repeated
    #[arg(long, value_name = "TREE", help_heading = ACCESS)]
    post_aname: Vec<String>,
    /// Attach only once for each user and tree, in both directions
    #[arg(long, help_heading = ACCESS)]
    attach_once: bool,
    #[command(flatten)]
    control: ControlArgs,
    /// Let the other end attach to the tree with this end's state
    #[arg(long, help_heading = ACCESS)]
    control_link: bool,
    #[command(flatten)]
    reconnect: ReconnectArgs,
    /// Maximum requests in flight per local client
    #[arg(long, value_name = "N", default_value_t = defaults().max_inflight as u64,
        value_parser = clap::value_parser!(u64).range(1..=60_000), help_heading = LIMITS)]
    max_inflight: u64,
    /// Maximum fids per local client
    #[arg(long, value_name = "N", default_value_t = defaults().max_fids as u64,
        value_parser = clap::value_parser!(u64).range(1..=1 << 22), help_heading = LIMITS)]
    max_fids: u64,
    /// Maximum bytes of replies per local client
    #[arg(long, value_name = "BYTES", default_value_t = defaults().max_reply_bytes as u64,
        value_parser = clap::value_parser!(u64).range(256..=1 << 30), help_heading = LIMITS)]
    max_bytes: u64,
    /// Log clients; twice: log each message too
    #[arg(short, long, action = ArgAction::Count, help_heading = LOGGING)]
    pub verbose: u8,
    /// Log only the error that ends 9pmux
    #[arg(short, long, conflicts_with = "verbose", help_heading = LOGGING)]
    pub quiet: bool,
}

impl Link {
    /// Checks what clap cannot check.
    ///
    /// # Errors
    /// Returns an error if the options contradict each other, or leave nothing to do.
    pub fn check(&self) -> Result<(), clap::Error> {
        if self.export.is_none() && self.post.is_empty() {
            return Err(conflict("link", "nothing to do: --export SERVER, --post LISTEN, or both"));
        }
        if self.exports_its_stream() {
            let why = "STREAM is the other end, and --export a server at this end: they must not be the same";
            return Err(conflict("link", why));
        }
        if matches!(&self.stream, StreamAddress::Listen(listen) if listen.options.have_rules())
            && !self.post.is_empty()
        {
            let why = "readonly and user=self of listen! are for callers without --post: --readonly and --uname limit the other end";
            return Err(conflict("link", why));
        }
        let stream_comes_back = match &self.stream {
            StreamAddress::Dial(stream) => stream.can_be_dialled_again(),
            StreamAddress::Listen(_) => true,
        };
        let is_possible = match &self.export {
            Some(export) => export.can_be_dialled_again(),
            None => stream_comes_back,
        };
        match self.reconnect.is_given() && !is_possible {
            true => Err(conflict("link", NEEDS_ADDRESS)),
            false => Ok(()),
        }
    }

    /// Returns true if the server of the export would be the other end itself. A command is another program each time.
    fn exports_its_stream(&self) -> bool {
        let (StreamAddress::Dial(stream)
        | StreamAddress::Listen(ListenAddress { address: stream, .. })) = &self.stream;
        !matches!(stream, Address::Exec(_)) && self.export.as_ref() == Some(stream)
    }

    /// The options of a link.
    pub fn options(self) -> LinkOptions {
        let config = Config {
            dialect: self.dialect,
            msize: self.msize,
            attach_once: self.attach_once,
            version_timeout: self.timeout,
            reconnect: self.reconnect.config(),
            control: self.control.tree(),
            ..defaults()
        };
        LinkOptions {
            stream: self.stream,
            export: self.export,
            post: self.post,
            timeout: self.timeout,
            max_clients: MAX_CLIENTS as usize,
            messages: self.verbose > 1,
            control_unknown: self.control.control_tcp,
            control_link: self.control_link,
            set_verbosity: Some(crate::log::set_verbosity),
            link: LinkConfig { window: self.window as usize, keepalive: interval(self.keepalive) },
            export_config: Config {
                // For the callers of `listen!`.
                adapts: true,
                unames: self.uname,
                anames: self.aname,
                require_auth: self.auth.is_some(),
                read_only: self.readonly,
                ..config.clone()
            },
            post_config: Config {
                unames: self.post_uname,
                anames: self.post_aname,
                max_inflight: self.max_inflight as usize,
                max_fids: self.max_fids as usize,
                max_reply_bytes: self.max_bytes as usize,
                ..config
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command};
    use clap::Parser;

    fn parse_link(line: &str) -> Result<LinkOptions, clap::Error> {
        let args = Args::try_parse_from(format!("9pmux {line}").split(' '))?;
        let Command::Link(link) = args.command else { panic!("{line}") };
        link.check()?;
        Ok(link.options())
    }

    #[test]
    fn arguments_of_a_link_become_options() {
        let access =
            "--uname ann --aname / --auth required --readonly --post-uname bob --post-aname /x";
        let options = parse_link(&format!(
            "link a --export b --post c --post d {access} --window 262144 --keepalive 0 --max-fids 7"
        ))
        .unwrap();
        assert_eq!(options.stream, StreamAddress::Dial(Address::Service("a".into())));
        assert_eq!((options.export, options.post.len()), (Some(Address::Service("b".into())), 2));
        assert_eq!((options.link.window, options.link.keepalive), (262_144, None));
        let (export, post) = (options.export_config, options.post_config);
        assert_eq!((&export.unames[0], &export.anames[0]), (&"ann".to_owned(), &"/".to_owned()));
        assert_eq!((&post.unames[0], &post.anames[0]), (&"bob".to_owned(), &"/x".to_owned()));
        assert!(export.require_auth && !post.require_auth && post.max_fids == 7);
        assert!(export.read_only && !post.read_only);
        assert!(export.adapts && options.link.post(post).adapts);
        assert!(!options.link.export(export, true).adapts, "all callers are one client");
        assert!(parse_link("link exec!a --export exec!a").is_ok());
        assert!(parse_link("link listen!/s,mode=0660,readonly --export a").is_ok());
        assert!(parse_link("link listen!/s,mode=0660 --export a --post b,readonly").is_ok());
        let options = parse_link("link listen!tcp!*!5641 --export b").unwrap();
        assert_eq!(options.stream, StreamAddress::Listen(Address::Tcp("*".into(), 5641).into()));
        assert_eq!(options.link.keepalive, Some(Duration::from_secs(15)));
    }

    #[test]
    fn invalid_arguments_of_a_link_are_refused() {
        for line in [
            "link",
            "link a",
            "link a --export b --export c",
            "link a --export tcp!*!1",
            "link a --post exec!b",
            "link a --post b --window 1000",
            "link a --export a",
            "link a --export a --post b",
            "link listen!a --export a",
            "link - --export -",
            "link tcp!*!1 --post b",
            "link listen!- --export b",
            "link listen!exec!a --export b",
            "link listen!a",
            "link listen!/s,readonly --export a --post b",
            "link listen!tcp!*!1,group=users --export a",
        ] {
            assert!(parse_link(line).is_err(), "{line}");
        }
    }
}
