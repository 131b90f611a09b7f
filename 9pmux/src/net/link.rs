//! The start of `9pmux link`.
//!
//! Sockets are announced before the other end is called, so that a failure is known at once. The server of the
//! export is connected when the other end asks for it, but inherited descriptors are claimed at the start.
//! With `listen!` and without a post, each caller is a client of the export, as with `serve`; a server that goes is
//! connected again all the same. With a post, one caller at a time is the other end.

use std::time::Duration;

use rustix::process::Rlimit;
use tracing::warn;

use super::address::{Address, StreamAddress};
use super::announce::{Announcement, announce_all};
use super::descriptors::Claims;
use super::dial::{self, Redial};
use super::driver::{Callers, Driver, ExportServer};
use super::failure::Failure;
use super::listen_address::ListenAddress;
use super::redialler::random_number;
use super::{ServeOptions, check_distinct, descriptors, max_silence, signals};
use crate::engine::{Config, Engine, ServerKind};
use crate::link::{Link, LinkConfig};

/// The options of `9pmux link`.
#[derive(Debug)]
pub struct LinkOptions {
    /// The address of the other end.
    pub stream: StreamAddress,
    /// The address of the server that clients of the other end reach.
    pub export: Option<Address>,
    /// The addresses on which local clients connect.
    pub post: Vec<ListenAddress>,
    /// The maximum time for each connection.
    pub timeout: Duration,
    /// The maximum number of local clients.
    pub max_clients: usize,
    /// The window and the keepalives.
    pub link: LinkConfig,
    /// The limits and the access rules for the export.
    pub export_config: Config,
    /// The limits and the access rules for local clients.
    pub post_config: Config,
    /// True if each message is logged.
    pub messages: bool,
    /// True if local callers that the system says nothing about may attach to the control tree.
    pub control_unknown: bool,
    /// True if the other end may attach to the control tree.
    pub control_link: bool,
    /// Changes the level of the log, as for `serve`.
    pub set_verbosity: Option<fn(u8)>,
}

/// Runs a link until a signal arrives, or the stream ends.
///
/// # Errors
/// Returns the reason if anything but a signal ends it.
pub fn link(options: LinkOptions) -> Result<(), Failure> {
    warn_about_access(&options);
    match options.stream.clone() {
        StreamAddress::Dial(stream) => link_to(&options, &stream),
        StreamAddress::Listen(address) if options.post.is_empty() => listen(&options, address),
        StreamAddress::Listen(address) => await_callers(&options, &address),
    }
}

/// Logs what users may not expect.
fn warn_about_access(options: &LinkOptions) {
    let config = &options.export_config;
    let is_open = config.unames.is_empty() && !config.require_auth;
    if is_open && options.export.as_ref().is_some_and(|export| !matches!(export, Address::Exec(_)))
    {
        warn!(
            "every client of the other end may attach as any user: --uname or --auth required limits that"
        );
    }
    let (StreamAddress::Dial(stream)
    | StreamAddress::Listen(ListenAddress { address: stream, .. })) = &options.stream;
    if let Address::Tcp(..) = stream {
        warn!("nothing protects a tcp! connection: ssh is the usual protection");
    }
}

fn link_to(options: &LinkOptions, stream: &Address) -> Result<(), Failure> {
    let servers = || std::iter::once(stream).chain(&options.export);
    // The stream is no server for the user.
    let far_end = |failure| match &failure {
        Failure::Connect(address, _) if address == stream => failure.of_far_end(),
        _ => failure,
    };
    let mut claims = descriptors::claim(servers(), &options.post).map_err(far_end)?;
    check_distinct(&servers().collect::<Vec<_>>(), &options.post)?;
    let starts = matches!(stream, Address::Exec(_));
    if !starts {
        signals::ignore_hangup().map_err(Failure::system("signals"))?;
    }
    let announced = announce_all(&options.post, &mut claims)?;
    let comes_back = options.post_config.reconnect.is_some() && stream.can_be_dialled_again();
    let server = match comes_back {
        true => None,
        false => Some(dial::dial(stream, &mut claims, options.timeout).map_err(far_end)?),
    };
    if starts {
        signals::ignore_hangup().map_err(Failure::system("signals"))?;
    }
    let signals = signals::Signals::subscribe().map_err(Failure::system("signals"))?;
    // After the command was started: some programs do not work well with a high limit.
    let (source, limit) = export_server(options, &mut claims)?;
    let mut serve = post_options(options, stream, options.post.clone());
    let mut redial = None;
    if comes_back {
        redial = Redial::new(stream, options.timeout, limit);
    } else {
        serve.config.reconnect = None;
    }
    let mut driver = Driver::new(&serve, server, redial, announced, signals).map_err(far_end)?;
    set_link(&mut driver, options, source);
    if comes_back {
        driver.set_stream_comes_back(options.link.clone());
    }
    driver.notify_service_manager(stream);
    driver.run()
}

/// Returns the means to connect to the export's server, and raises the limit of descriptors. Returns also the limit
/// before that.
fn export_server(
    options: &LinkOptions,
    claims: &mut Claims,
) -> Result<(Option<ExportServer>, Rlimit), Failure> {
    let inherited = match &options.export {
        Some(address) if address.is_inherited() => {
            Some(dial::dial(address, claims, options.timeout)?)
        }
        _ => None,
    };
    let limit = descriptors::raise_limit();
    let server = options.export.clone().map(|address| ExportServer {
        redial: Redial::new(&address, options.timeout, limit),
        persists: options.export_config.reconnect.is_some(),
        address,
        inherited,
    });
    Ok((server, limit))
}

/// Returns the options of the post, as those of `serve`.
fn post_options(
    options: &LinkOptions,
    stream: &Address,
    listen: Vec<ListenAddress>,
) -> ServeOptions {
    ServeOptions {
        server: stream.clone(),
        listen,
        timeout: options.timeout,
        max_clients: options.max_clients,
        keepalive: None,
        max_silence: max_silence(options.link.keepalive, true),
        config: options.link.post(options.post_config.clone()),
        messages: options.messages,
        control_unknown: options.control_unknown,
        set_verbosity: options.set_verbosity,
    }
}

/// Makes the driver, with a post, one of a link.
fn set_link(driver: &mut Driver, options: &LinkOptions, source: Option<ExportServer>) {
    let export = options.link.export(options.export_config.clone(), source.is_some());
    let export = Engine::new(Config { seed: random_number(), ..export });
    let mut link = Link::new(export, &options.link, driver.engine_time());
    if options.control_link {
        link.allow_control();
    }
    driver.set_link(link, source, options.messages);
}

/// Links to one caller after the other.
fn await_callers(options: &LinkOptions, address: &ListenAddress) -> Result<(), Failure> {
    let listen = [&options.post[..], std::slice::from_ref(address)].concat();
    let mut claims = descriptors::claim(&options.export, &listen)?;
    check_distinct(&options.export.iter().collect::<Vec<_>>(), &listen)?;
    signals::ignore_hangup().map_err(Failure::system("signals"))?;
    let signals = signals::Signals::subscribe().map_err(Failure::system("signals"))?;
    let announced = announce_all(&listen, &mut claims)?;
    let of_callers = announced.iter().filter(|it| it.address() == &address.address).count();
    let is_client = |it: &&Announcement| matches!(it, Announcement::Client(..));
    let wrong = announced.iter().find(is_client).map(Announcement::address);
    if let Some(address) = wrong.or((of_callers > 1).then_some(&address.address)) {
        let why = "with listen! and --post it must be one listening socket".to_owned();
        return Err(Failure::Announce(address.clone(), why));
    }
    let (source, _) = export_server(options, &mut claims)?;
    let callers = announced.len() - 1;
    let serve = post_options(options, &address.address, listen);
    let mut driver = Driver::new(&serve, None, None, announced, signals)?;
    set_link(&mut driver, options, source);
    let link = options.link.clone();
    driver.set_callers(Callers::new(callers, link, serve.config, options.messages));
    if options.post_config.reconnect.is_some() {
        driver.set_stream_comes_back(options.link.clone());
    }
    driver.notify_service_manager(&address.address);
    driver.run()
}

/// Serves all callers from the export.
fn listen(options: &LinkOptions, address: ListenAddress) -> Result<(), Failure> {
    let server = options.export.clone().expect("the arguments require it");
    let listen = vec![address];
    let mut claims = descriptors::claim([&server], &listen)?;
    check_distinct(&[&server], &listen)?;
    signals::ignore_hangup().map_err(Failure::system("signals"))?;
    let inherited = match &server {
        address if address.is_inherited() => {
            Some(dial::dial(&server, &mut claims, options.timeout)?)
        }
        _ => None,
    };
    let signals = signals::Signals::subscribe().map_err(Failure::system("signals"))?;
    let limit = descriptors::raise_limit();
    let announced = announce_all(&listen, &mut claims)?;
    let redial = Redial::new(&server, options.timeout, limit);
    let serve = ServeOptions {
        server,
        listen,
        timeout: options.timeout,
        max_clients: options.max_clients,
        keepalive: None,
        max_silence: max_silence(None, options.export_config.reconnect.is_some()),
        config: match &inherited {
            // It cannot be connected to again, so 9pmux ends with it.
            Some(_) => options.export_config.clone(),
            None => Config {
                server: match options.export_config.reconnect {
                    Some(_) => ServerKind::Connected,
                    None => ServerKind::OnDemand,
                },
                can_redial: true,
                max_descriptors: 0,
                ..options.export_config.clone()
            },
        },
        messages: options.messages,
        control_unknown: options.control_unknown || options.control_link,
        set_verbosity: options.set_verbosity,
    };
    let mut driver = Driver::new(&serve, inherited, redial, announced, signals)?;
    driver.notify_service_manager(&serve.server);
    driver.run()
}
