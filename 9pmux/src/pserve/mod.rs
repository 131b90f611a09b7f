//! The program under the name `9pserve`: the arguments, messages and exit statuses of plan9port's 9pserve(4).
//!
//! Programs that post a service start it, wait for it, and read only whether the status is 0. Its standard error is
//! that of their user, so nothing but the error that ends it is printed there without `-v`.

mod args;

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{Write, stderr};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use ninepmux::engine::EndReason;
use ninepmux::net::{Failure, Pserve, PserveOptions};

use crate::args::MAX_CLIENTS;
use crate::{FAILURE, SUCCESS, Status, log};
use args::{Args, BadArgs};

/// The name of the program that is replaced.
const NAME: &str = "9pserve";

const USAGE: &str = "usage: 9pserve [-lnv] [-A aname afid] [-c addr] [-M msize] address\n\
    \treads/writes 9P messages on stdin/stdout\n";

/// The environment variable with the level of the log, from which `-v` counts.
const LEVEL: &str = "verbose9pserve";

/// Returns true if the program was started under the name 9pserve, which is the first of its arguments.
pub fn is_named(arguments: &[OsString]) -> bool {
    let name = arguments.first().and_then(|name| Path::new(name).file_name());
    name == Some(OsStr::new(NAME))
}

/// The program under this name. Returns its exit status.
pub fn run(arguments: Vec<OsString>) -> Status {
    let mut arguments = arguments.into_iter();
    log::set_name(arguments.next().unwrap_or_default().to_string_lossy().into_owned());
    let args = match args::parse(arguments.map(OsStringExt::into_vec)) {
        Ok(args) => args,
        Err(bad) => return print_usage(&bad),
    };
    let level = env::var(LEVEL).ok().and_then(|level| level.parse::<u8>().ok()).unwrap_or(0);
    let verbose = level.saturating_add(args.verbose);
    match Pserve::start(options(args, verbose)) {
        Ok(service) => serve(service, verbose),
        Err(why) => {
            log::print_error(&why);
            FAILURE
        }
    }
}

fn options(args: Args, verbose: u8) -> PserveOptions {
    PserveOptions {
        address: args.address,
        server: args.server,
        msize: args.msize,
        attach: args.attach,
        rejects_auth: args.rejects_auth,
        logs_to_file: args.logs_to_file,
        max_clients: MAX_CLIENTS as usize,
        messages: verbose > 1,
    }
}

/// Serves clients, in the background.
fn serve(service: Pserve, verbose: u8) -> Status {
    if let Err(error) = log::init(verbose, verbose == 0) {
        log::print_error(&format_args!("starting a thread for the log: {error}"));
        return FAILURE;
    }
    let status = match service.serve() {
        Ok(()) => SUCCESS,
        Err(failure) => {
            log::error(&text(&failure));
            FAILURE
        }
    };
    log::flush();
    status
}

/// The text of a failure, without the advice for the options of `9pmux serve`.
fn text(failure: &Failure) -> String {
    match failure {
        Failure::End(_, reason @ EndReason::NoCommonVersion(_), _)
        | Failure::End(_, reason @ EndReason::Garbled(_), _) => reason.to_string(),
        Failure::Lost(_, error) => format!("connection to the server lost: {error}"),
        other => other.to_string(),
    }
}

fn print_usage(bad: &BadArgs) -> Status {
    let before = match bad {
        BadArgs::NoMsize => "-A must be used with -M\n",
        BadArgs::Usage => "",
    };
    let _ = write!(stderr(), "{before}{USAGE}");
    FAILURE
}
